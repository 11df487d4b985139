"""The living part: looks on a schedule, and starts a child for whatever is due. Light.

The parent observes, decides and schedules; a child with the code of `--once` acts, so a hang, a leak or a
crash of a library ends with the child. The main thread ticks each second: configuration, clock, children.

Source: APScheduler 3 sleeps on a monotonic wait, so a clock that jumps must re-arm it.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from . import bulletin, owner, report
from .bulletin import Bulletin
from .child import Addresses, Child
from .clock import SystemClock, is_possible
from .config import RUN_MARGIN, Config, Site
from .configfile import careless
from .decide import CONFIRM_OF, Intent
from .errands import Errands
from .lan import Lan
from .ledger import Ledger, local_backoff
from .ledgerfile import LedgerFile
from .locks import daemon_lock
from .look import Crashes, View, look
from .nameservers import NameServers
from .pulse import Pulse
from .renewal import Start
from .source import Source
from .spread import Spread
from .state import SiteFile
from .systemd import Watchdog, notify
from .together import together

if TYPE_CHECKING:
    from .web import Web

logger = logging.getLogger(__name__)

# What the wall clock may gain or lose against the monotonic one within a tick: more is a jump or a suspend.
_JUMP_S = 5.0
_LOOKERS = 8
# Together with a child's own clean-up this stays within the 5 s that a stop may take.
_STOP_TIMEOUT_S = 4.0
# One site's look takes 6 s at most; an idle machine may have forgotten us for a while.
_LEAST_PATIENCE_S = 10.0
# A child is ended for a new LAN address so often within the longest run: where addresses come and go, one
# must come to its end. It writes no record with an address that is gone.
_MOST_MISLED = 3
# Between two children for the same thing that left no trace.
_LEAST_PAUSE = timedelta(seconds=30)


class Daemon:
    """One daemon on one state directory.

    Args:
        source: the configuration file; None reads standard input, once.

    Raises:
        ConfigError, SecretUnreadable: it cannot start with this configuration.
    """

    def __init__(self, source: Path | None) -> None:
        self._source = Source(source)
        # Text and meaning are swapped as one: a child gets the text of what was decided upon.
        self._accepted = (self._source.raw, self._source.config)
        self._clock = SystemClock()
        self._start = Start.drawn(self._clock.now(), 0)
        # The wall clock against the monotonic one, from before the first look is planned by the former.
        self._drift_s = time.time() - time.monotonic()
        # Signal handlers put into it; unlike an Event's, its lock bears being interrupted by them.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._must_reload = False
        self._spread = Spread(self._clock, self._on_news)
        self._follow_servers()
        self._lan = Lan()
        self._follow_addresses()
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._job: Any = None
        self._must_look_again = False
        self._children: list[Child] = []
        self._children_lock = threading.Lock()
        self._errands = Errands(self._clock)
        self._tries = _Tries()
        self._misled_at: dict[str, list[float]] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._watchdog = Watchdog()
        self._pulse = Pulse(max((self._watchdog.time_s or 0) / 2, _LEAST_PATIENCE_S))
        self._told = ""
        self._web: Web | None = None
        self._web_fault = ""
        self._has_crashed = False
        self._crashes = Crashes()

    @property
    def _config(self) -> Config:
        return self._accepted[1]

    def become_owner(self) -> None:
        """Become the owner of the state directory, if root has started us.

        Raises:
            SecretUnreadable: he cannot read what his children will need.
            StoreError: a folder could not be made.
        """
        config = self._config
        owner.become_owner(config.state_dir, config.certs_dirs)
        config.prove_readable()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code.

        Raises:
            AlreadyRunning, StoreError: it cannot run.
        """
        # The watchdog ends a daemon that hangs by SIGABRT: then the journal has where each thread was.
        faulthandler.enable()
        with daemon_lock(self._config.state_dir, self._clock):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_stop)
            signal.signal(signal.SIGHUP, self._on_reload)
            self._begin()
            signal.signal(signal.SIGCHLD, self._on_news)
            self._lan.listen(self._on_news)
            self._follow_http()
            self._log_warnings()
            logger.info("daemon.started pid=%d sites=%d", os.getpid(), len(self._config.sites))
            self._job = self._scheduler.add_job(
                self._look_guarded,
                _Every.of(self._config.check_every),
                next_run_time=datetime.now(UTC),
                misfire_grace_time=None,
                coalesce=True,
            )
            self._scheduler.start()
            notify("READY=1")
            try:
                self._tick_until_stopped()
            finally:
                notify("STOPPING=1")
                self._scheduler.shutdown(wait=False)
                if self._web is not None:
                    self._web.close()
                self._stop_children()
            logger.info("daemon.stopped")
        return 0

    # The main thread.

    def _on_stop(self, *_: object) -> None:
        self._clock.stop()
        self._wake.put(None)

    def _on_reload(self, *_: object) -> None:
        self._must_reload = True
        self._wake.put(None)

    def _on_news(self, *_: object) -> None:
        self._wake.put(None)

    def _tick_until_stopped(self) -> None:
        while not self._clock.is_stopped:
            with suppress(Empty):
                self._wake.get(timeout=min(self._source.poll_within_s, self._lan.wait_s()))
            self._follow_edits()
            self._follow_http()
            before_s, self._drift_s = self._drift_s, time.time() - time.monotonic()
            if abs(self._drift_s - before_s) > _JUMP_S:
                logger.info("clock.jumped by_s=%.0f", self._drift_s - before_s)
                if not is_possible(self._start.at):
                    self._begin()  # only now it is known when
                self._tries.forget()  # what they wait for may be years away now
                self._spread.forget()
                self._look_soon()
            if self._lan.tick():
                self._spread.forget()
                self._look_soon()
            if self._spread.tick():
                self._look_soon()
            self._reap()
            if self._must_look_again:
                # The scheduler starts no look while it counts one as running, and forgets that it was asked.
                self._job.modify(next_run_time=datetime.now(UTC))
            if self._pulse.is_felt:
                self._watchdog.ping()

    def _look_soon(self) -> None:
        """Look now; if a look is running, once more after it."""
        self._must_look_again = True
        self._pulse.ask()
        self._job.modify(next_run_time=datetime.now(UTC))

    def _begin(self) -> None:
        """Draw, once, how long what is overdue by now waits."""
        self._start = Start.drawn(datetime.now(UTC), random.random())  # noqa: S311  (it spreads a fleet)
        self._tell()

    def _tell(self) -> None:
        source = self._source
        bulletin.tell(self._config.state_dir, Bulletin(self._start, source.refused, source.refused_digest))

    # The configuration.

    def _follow_edits(self) -> None:
        """Act at once on an edit of the file or of a secret; what was refused is told."""
        # Never set where it is not: a SIGHUP may have come since it was read.
        if is_asked := self._must_reload:
            self._must_reload = False
        refused = self._source.refused, self._source.refused_digest
        change = self._source.poll(time.monotonic(), is_asked=is_asked)
        if (self._source.refused, self._source.refused_digest) != refused:
            self._tell()
        if change is None:
            return
        self._accepted = (self._source.raw, self._source.config)
        if change.after is not change.before:
            self._follow_servers()
            self._job.reschedule(_Every.of(change.after.check_every))
            self._follow_addresses()
            self._follow_http()
            self._log_warnings()
            self._stop_outdated(change.before, change.after)
        self._tries.forget()
        self._spread.forget()
        self._look_soon()

    def _follow_servers(self) -> None:
        self._servers = NameServers(self._config.dns.nameservers, self._clock, is_brief=True)
        self._spread.follow(self._servers, self._config.check_every)

    def _follow_addresses(self) -> None:
        self._lan.follow(rule for site in self._config.sites for rule in (site.address, site.address6))

    def _follow_http(self) -> None:
        """Have the status page where the file wants it; a daemon without one loads nothing for it."""
        try:
            if self._web is None and self._config.http is not None:
                from .web import Web  # noqa: PLC0415

                self._web = Web(
                    self._config,
                    self._source.name,
                    lambda: self._source.refused,
                    self._is_looking,
                    RUN_MARGIN,
                )
            if self._web is not None:
                self._web.follow(self._config.http)
            self._web_fault = ""
        except Exception as exc:
            # No page is worth the end of the looks, as where an upgrade has just taken its files away.
            if (fault := repr(exc)) != self._web_fault:
                self._web_fault = fault
                logger.exception("page.not_made hint=tried again each second")

    def _log_warnings(self) -> None:
        for warning in [*careless(self._source.path, self._config), *self._config.warnings()]:
            logger.warning("config.careless %s", warning)

    def _stop_outdated(self, before: Config, edited: Config) -> None:
        """End children that are at work on what has been edited; what they began is resumed."""
        digests = {site.domain: edited.digest(site) for site in edited.sites}
        stale = {site.domain for site in before.sites if digests.get(site.domain) != before.digest(site)}
        self._ask_to_end(stale, "the configuration was edited")

    # The look, in the scheduler's thread.

    def _look_guarded(self) -> None:
        self._must_look_again = False
        self._pulse.beat()
        try:
            self._look()
            self._has_crashed = False
        except Exception:
            # The next look comes all the same.
            logger.exception("look.crashed")
            self._has_crashed = True
        if self._must_look_again and not self._clock.is_stopped:
            self._job.modify(next_run_time=datetime.now(UTC))
        self._pulse.rest((self._job.next_run_time - datetime.now(UTC)).total_seconds())

    def _is_looking(self) -> bool:
        return self._pulse.is_felt and not self._has_crashed

    def _look_at(self, site: Site, config: Config, ledger: Ledger, now: datetime) -> View:
        view = look(
            site,
            config,
            self._servers,
            ledger,
            now,
            Intent(start=self._start),
            address_of=self._lan.address,
            crashes=self._crashes,
            shown_by=self._spread.shown,
        )
        self._spread.judge(view)
        self._pulse.beat()
        return view

    def _look(self) -> None:
        """Look at every site that no child is at work on, and start one child for all that is due.

        Where a command is at work, nothing is started; but it may have been stopped, and is looked at.
        """
        raw, config = self._accepted
        self._lan.look()
        with self._children_lock:
            busy = {domain for child in self._children for domain in child.unfinished}
        self._end_misled(config)
        free = [site for site in config.sites if site.domain not in busy]
        locked = {site.domain for site in free if SiteFile(config.state_dir, site.domain).is_locked}
        ledger, now = LedgerFile(config.state_dir, config.certs_dirs).seen(), datetime.now(UTC)
        views = together(lambda site: self._look_at(site, config, ledger, now), free, _LOOKERS)
        self._tell_problems(views)
        self._tell_systemd(views, len(config.sites) - len(free))
        ripe = [v for v in views if v.site.domain not in locked and not self._must_settle(v)]
        due = {v.site.domain: v.seen.addresses for v in ripe if self._tries.may(v, config.check_every)}
        if due:
            self._start_child(config, raw, due)
        self._wake_for(views)
        # What cannot be shown or told keeps none of the above from being done.
        if self._web is not None:
            self._web.show(config, views, ledger)
        self._errands.start(config, raw, views, self._source.refused)

    def _must_settle(self, view: View) -> bool:
        """Whether a record is due whose address is too new; all of its site waits, a minute at most."""
        rules = {"record": view.site.address, "record6": view.site.address6}
        due = {step.action for step in view.decision.due(view.seen.at)} & rules.keys()
        return any(not self._lan.is_settled(rules[action]) for action in due)

    def _tell_problems(self, views: Sequence[View]) -> None:
        for view in views:
            problems = tuple(problem.advice for problem in view.decision.problems)
            if problems != self._problems.get(view.site.domain, ()):
                self._problems[view.site.domain] = problems
                for problem in problems:
                    logger.warning("look.blind domain=%s problem=%s", view.site.domain, problem)

    def _tell_systemd(self, views: Sequence[View], busy: int) -> None:
        """Say in a line, as `systemctl status` shows it, how all stands."""
        line = report.headline(views, busy)
        if refused := self._source.refused:
            line = f"{line}; an edit is refused: {refused[0]}"
        if line != self._told:
            self._told = line
            notify(f"STATUS={line}")

    def _wake_for(self, views: Sequence[View]) -> None:
        """Look earlier than the interval says where something comes due before."""
        now = datetime.now(UTC)
        moments = [view.decision.next_renewal for view in views]
        moments += [step.wait_until for view in views for step in view.decision.steps]
        moments += self._tries.moments()
        coming = [moment for moment in moments if moment is not None and moment > now]
        regular = self._job.next_run_time
        if coming and regular is not None and min(coming) < regular:
            self._job.modify(next_run_time=min(coming))

    # Children.

    def _start_child(self, config: Config, raw: bytes, addresses: Mapping[str, Addresses]) -> None:
        with self._children_lock:
            # A look that began before an edit knows nothing of it; the next one comes at once.
            if not self._clock.is_stopped and config is self._config:
                self._children.append(Child(raw, addresses, config.longest_run.total_seconds()))

    def _end_misled(self, config: Config) -> None:
        """End children that began with another LAN address: a new one does not wait for a certificate."""
        with self._children_lock:
            begun = {
                d: child.addresses[d]
                for child in self._children
                for d in child.unfinished
                if not child.is_ending
            }
        misled = {
            site.domain
            for site in config.sites
            if site.domain in begun
            for rule, then in zip((site.address, site.address6), begun[site.domain], strict=True)
            if self._lan.settled(rule) not in ("", then)
        }
        now_s, longest_s = self._clock.monotonic(), config.longest_run.total_seconds()
        for domain in sorted(misled):
            lately = [at for at in self._misled_at.get(domain, ()) if now_s - at < longest_s]
            if len(lately) >= _MOST_MISLED:
                misled.discard(domain)
            else:
                lately.append(now_s)
            self._misled_at[domain] = lately
        self._ask_to_end(misled, "the LAN address has changed")

    def _ask_to_end(self, domains: set[str], why: str) -> None:
        with self._children_lock:
            for child in self._children:
                if stale := child.unfinished & domains:
                    logger.info("child.ended_early domains=%s reason=%s", ",".join(sorted(stale)), why)
                    child.ask_to_end()

    def _reap(self) -> None:
        """Take leave of children that ended, end those past their deadline, and look at what they left."""
        with self._children_lock:
            ended = [child for child in self._children if child.has_ended()]
            self._children = [child for child in self._children if child not in ended]
        self._spread.forget([domain for child in ended for domain in child.addresses])
        self._errands.running()
        if ended and not self._clock.is_stopped:
            self._look_soon()

    def _stop_children(self) -> None:
        with self._children_lock:
            running = [*self._children, *self._errands.running()]
            for child in running:
                child.ask_to_end()
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            for child in running:
                child.end(max(deadline - time.monotonic(), 0.1))


class _Every(IntervalTrigger):  # type: ignore[misc]  # the library has no types
    """An interval without a backlog: after a jump of the clock the library would list all that was missed."""

    @classmethod
    def of(cls, interval: timedelta) -> _Every:
        """Return the trigger of an interval that begins now."""
        return cls(seconds=interval.total_seconds(), timezone=UTC)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the next moment, always one to come."""
        coming: datetime = super().get_next_fire_time(previous_fire_time, now)
        return coming if coming > now else now + timedelta(seconds=self.interval_length)


class _Tries:
    """Keeps a child that changes nothing from being started at every look.

    What fails is kept with its retry time in the site's state; this holds where not even that could be
    written, or the child crashed.
    """

    def __init__(self) -> None:
        self._tries: dict[str, tuple[tuple[Addresses, frozenset[str]], int, datetime]] = {}

    def may(self, view: View, check_every: timedelta) -> bool:
        """Whether a child may be started for what is due; says yes only to who starts it."""
        domain, now = view.site.domain, view.seen.at
        # A record that is spreading needs no help, only looks.
        due = frozenset(step.key for step in view.decision.due(now) if step.action not in CONFIRM_OF.values())
        before, count, not_before = self._tries.get(domain, ((("", ""), frozenset()), 0, now))
        if not due:
            self._tries.pop(domain, None)
            return False
        # With another address everything is another thing.
        wanted = (view.seen.addresses, due)
        if wanted == before and now < not_before:
            return False
        count = count + 1 if wanted == before else 1
        wait = local_backoff(count, min(check_every, _LEAST_PAUSE))
        self._tries[domain] = (wanted, count, now + wait)
        return True

    def moments(self) -> list[datetime]:
        """Return from when on each of them may be tried again."""
        return [not_before for _, _, not_before in self._tries.values()]

    def forget(self) -> None:
        """Start anew, as after an edit."""
        self._tries.clear()
