"""The living part: looks when it is time, and starts a child for whatever is due. Light.

The parent observes, decides and schedules; a child with the code of `--once` acts, so a hang, a leak or a
crash of a library ends with the child. All that the parent does is a job of the timetable: the worker owns
what is remembered, and two more threads wait for the network. The main thread does what a scheduler cannot:
it sees signals, edits of the file and jumps of the clock, and feeds the watchdog.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..base import privileges
from ..base.clock import SystemClock
from ..base.concurrent import together
from ..base.errors import StoreError
from ..base.locks import DaemonLock
from ..base.systemd import Watchdog, notify
from ..config import checks
from ..config.live import Source
from ..config.settings import Config, Site
from ..model.decision import CONFIRM_OF, WRITES
from ..model.ledger import Ledger, local_backoff
from ..model.view import View
from ..notify import alerts, outbox
from ..notify.alerts import Steady
from ..observe import client_visit
from ..observe.dns_schedule import DnsSchedule
from ..observe.views import Crashes, Looking, look
from ..report import status_json
from ..state import daemon_file
from ..state.ledger_file import LedgerFile
from ..state.site import SiteFile
from ..world.dns.nameservers import NameServers
from ..world.lan.watch import Lan
from .timetable import Timetable
from .worker import Addresses, Child, Errand

if TYPE_CHECKING:
    from .http_paths import Web

logger = logging.getLogger(__name__)

# What the wall clock may gain or lose against the monotonic one within a tick: more is a jump or a suspend.
_JUMP_S = 5.0
# The threads that wait for the network: for looks, and for what name servers show by now.
_LOOKS, _SERVERS = "looks", "servers"
_LOOKERS = 8
# Name servers are asked no more often, however many sites take turns.
_TURN_S = 1.0
# The kernel tells of each address and each route; what it tells within so long is one piece of news.
_BURST_S = 0.1
_PAGE_EVERY_S = 1.0
# Together with a child's own clean-up this stays within the 5 s that a stop may take.
_STOP_TIMEOUT_S = 4.0
# One site's look takes 6 s at most; an idle machine may have forgotten us for a while.
_LEAST_PATIENCE_S = 10.0
# A child is ended for a new LAN address so often within the longest run: where addresses come and go, one
# must come to its end. It writes no record with an address that is gone.
_MOST_MISLED = 3
# Between two children for the same thing that left no trace.
_LEAST_PAUSE = timedelta(seconds=30)
# An errand asks everybody at once, so it takes as long as the slowest. One that left no trace is not started
# again at every look, but so long after its last start; one that failed later and later.
_ERRAND_TIMEOUT_S = 600.0
_PAUSES = {"visit": timedelta(minutes=1), "notify": timedelta(seconds=5)}


@dataclass(slots=True)
class _Look:
    """A look at some sites, from its beginning to what follows from it.

    Attributes:
        raw, config: in force when it began.
        is_outdated: the configuration was edited, or the clock has jumped, since it began.
        locked: the domains that a command was at work on.
        views: what was seen; None until all of it was.
    """

    raw: bytes
    config: Config
    sites: Sequence[Site]
    is_outdated: bool = False
    locked: frozenset[str] = frozenset()
    ledger: Ledger = ()
    views: Sequence[View] | None = None


class Daemon:
    """One daemon on one state directory.

    Args:
        source: the configuration file; None reads standard input, once.

    Raises:
        ConfigError, SecretUnreadable: it cannot start with this configuration.
    """

    def __init__(self, source: Path | None) -> None:
        self._source = Source(source)
        self._raw, self._config = self._source.raw, self._source.config
        self._clock = SystemClock()
        # The wall clock against the monotonic one, from before the first look is planned by the former.
        self._drift_s = time.time() - time.monotonic()
        # Signal handlers put into it; unlike an Event's, its lock bears being interrupted by them.
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._edits: SimpleQueue[tuple[bytes, Config]] = SimpleQueue()
        self._timetable = Timetable(_LOOKS, _SERVERS)
        self._schedule = DnsSchedule(self._clock, lambda: self._timetable.after("shown", 0, self._look_soon))
        self._follow_servers()
        self._lan = Lan()
        self._follow_addresses()
        self._current: _Look | None = None
        self._must_look = False
        self._crashes = Crashes()
        self._children: list[Child] = []
        self._errands: dict[str, Errand] = {}
        self._resting_until_s: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._tries = _Tries()
        self._misled_at: dict[str, list[float]] = {}
        self._problems: dict[str, tuple[str, ...]] = {}
        self._watchdog = Watchdog()
        self._patience_s = max((self._watchdog.time_s or 0) / 2, _LEAST_PATIENCE_S)
        self._next_sign_s = time.monotonic()
        self._steady = Steady()
        self._told = self._untold = ""
        self._web: Web | None = None
        self._web_fault = ""
        self._has_stopped = threading.Event()

    def become_owner(self) -> None:
        """Become the owner of the state directory, if root has started us.

        Raises:
            SecretUnreadable: he cannot read what his children will need.
            StoreError: a folder could not be made.
        """
        config = self._config
        privileges.become_owner(config.state_dir, config.certs_dirs)
        config.prove_readable()

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code.

        Raises:
            AlreadyRunning, StoreError: it cannot run.
        """
        # The watchdog ends a daemon that hangs by SIGABRT: then the journal has where each thread was.
        faulthandler.enable()
        with DaemonLock(self._config.state_dir, self._clock):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, self._on_signal)
            self._tell()
            signal.signal(signal.SIGCHLD, self._on_signal)
            self._timetable.start()
            self._lan.listen(partial(self._timetable.after, "addresses", _BURST_S, self._look_at_addresses))
            self._follow_http()
            checks.log(self._config, self._source.path)
            logger.info("daemon.started pid=%d sites=%d", os.getpid(), len(self._config.sites))
            self._look_soon()
            notify("READY=1")
            try:
                self._watch()
            finally:
                notify("STOPPING=1")
                self._timetable.after("stop", 0, self._stop)
                self._has_stopped.wait(_STOP_TIMEOUT_S + 1)
                self._timetable.stop()
                if self._web is not None:
                    self._web.close()
            logger.info("daemon.stopped")
        return 0

    # The main thread.

    def _on_signal(self, number: int, _: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._clock.stop()
        self._signals.put(number)

    def _watch(self) -> None:
        """Hand over what happens as jobs, and feed the watchdog, until a signal stops us."""
        while not self._clock.is_stopped:
            number = 0
            with suppress(Empty):
                number = self._signals.get(timeout=self._source.poll_within_s)
            if number == signal.SIGCHLD:
                self._timetable.after("children", 0, self._reap)
            self._follow_source(is_asked=number == signal.SIGHUP)
            before_s, self._drift_s = self._drift_s, time.time() - time.monotonic()
            if abs(self._drift_s - before_s) > _JUMP_S:
                logger.info("clock.jumped by_s=%.0f", self._drift_s - before_s)
                self._timetable.after("jump", 0, self._look_anew)
                self._timetable.all_now()
            if self._is_looking():
                self._watchdog.ping()

    def _follow_source(self, *, is_asked: bool) -> None:
        refused = self._source.refused, self._source.refused_digest
        config = self._source.poll(time.monotonic(), is_asked=is_asked)
        if (self._source.refused, self._source.refused_digest) != refused:
            self._timetable.after("bulletin", 0, self._tell)
        if config is not None:
            self._edits.put((self._source.raw, config))
            self._timetable.after("edited", 0, self._on_edit)

    def _is_looking(self) -> bool:
        """Whether no job has crashed, and no job, look or site of a look is overdue."""
        late_s = max(time.monotonic() - self._next_sign_s, self._timetable.busy_s)
        return late_s < self._patience_s and not self._timetable.has_crashed

    # The worker: all that follows, but for what waits for the network.

    def _tell(self) -> None:
        daemon_file.tell(self._config.state_dir, self._source.refused, self._source.refused_digest)

    # The configuration.

    def _on_edit(self) -> None:
        """Act at once on an edit of the file or of a secret."""
        before = self._config
        with suppress(Empty):
            while True:
                self._raw, self._config = self._edits.get_nowait()
        if self._config is not before:
            self._follow_servers()
            self._follow_addresses()
            self._follow_http()
            checks.log(self._config, self._source.path)
            for site in before.sites:
                self._timetable.plan(f"due:{site.domain}", None, self._look_soon)
            # Children that are at work on what was edited are ended; what they began is resumed.
            digests = {site.domain: self._config.digest(site) for site in self._config.sites}
            stale = {site.domain for site in before.sites if digests.get(site.domain) != before.digest(site)}
            self._ask_to_end(stale, "the configuration was edited")
        self._look_anew()

    def _follow_servers(self) -> None:
        self._servers = NameServers(self._config.dns.nameservers, self._clock, is_brief=True)
        self._schedule.follow(self._servers, self._config.check_every)

    def _follow_addresses(self) -> None:
        self._lan.follow(rule for site in self._config.sites for rule in site.rules.values())

    def _follow_http(self) -> None:
        """Have the status page where the file wants it; a daemon without one loads nothing for it."""
        is_as_wanted = False
        try:
            if self._web is None and self._config.http is not None:
                from .http_paths import Web  # noqa: PLC0415

                self._web = Web(
                    self._config, self._source.name, lambda: self._source.refused, self._is_looking
                )
            is_as_wanted = self._web is None or self._web.follow(self._config.http)
            self._web_fault = ""
        except Exception as exc:
            # No page is worth the end of the looks, as where an upgrade has just taken its files away.
            if (fault := repr(exc)) != self._web_fault:
                self._web_fault = fault
                logger.exception("page.not_made hint=tried again each second")
        if not is_as_wanted:
            self._timetable.after("http", _PAGE_EVERY_S, self._follow_http)

    # What makes it look.

    def _look_soon(self) -> None:
        """Look now; if a look goes on, once more after it."""
        self._must_look = True
        self._next_sign_s = min(self._next_sign_s, time.monotonic())
        self._timetable.after("look", 0, self._look)

    def _look_anew(self) -> None:
        """Look now, as if for the first time: configuration or clock is another one than before."""
        if self._current is not None:
            self._current.is_outdated = True
        self._tries.forget()  # what they wait for may be years away now
        self._schedule.forget()
        self._look_soon()

    def _look_at_addresses(self) -> None:
        if self._lan.look():
            self._schedule.forget()
            self._look_soon()
        self._plan_addresses()

    def _plan_addresses(self) -> None:
        self._timetable.after("addresses", self._lan.wait_s(), self._look_at_addresses)

    def _ask_servers(self) -> None:
        """Ask them about the sites whose turn has come; on a thread of its own."""
        self._schedule.ask_due()
        self._plan_servers()

    def _plan_servers(self) -> None:
        self._timetable.after("servers", max(self._schedule.wait_s(), _TURN_S), self._ask_servers, _SERVERS)

    # The look.

    def _look(self) -> None:
        """Have all sites looked at that no child is at work on."""
        # At a fixed rate, and planned before anything can fail.
        self._timetable.after("look", self._config.check_every.total_seconds(), self._look)
        if self._clock.is_stopped:
            return
        self._lan.look()
        self._plan_addresses()
        self._end_misled()
        if self._current is not None:
            return
        self._must_look = False
        self._next_sign_s = time.monotonic()
        busy = {domain for child in self._children for domain in child.unfinished}
        free = [site for site in self._config.sites if site.domain not in busy]
        self._current = _Look(self._raw, self._config, free)
        self._timetable.after("observe", 0, partial(self._observe, self._current), _LOOKS)

    def _observe(self, current: _Look) -> None:
        """Look at the sites, on a thread of its own."""
        config, now = current.config, datetime.now(UTC)
        try:
            files = {site.domain: SiteFile(config.state_dir, site.domain) for site in current.sites}
            current.locked = frozenset(domain for domain, file in files.items() if file.is_locked)
            current.ledger = LedgerFile(config.state_dir, config.certs_dirs).seen()
            looking = Looking(
                config,
                self._schedule.shown,
                current.ledger,
                address_of=self._lan.address,
                crashes=self._crashes,
            )
            current.views = together(lambda site: self._look_at(site, looking, now), current.sites, _LOOKERS)
        finally:
            self._timetable.after("seen", 0, self._seen)

    def _look_at(self, site: Site, looking: Looking, now: datetime) -> View:
        view = look(site, looking, now)
        self._next_sign_s = time.monotonic()
        return view

    def _seen(self) -> None:
        """Tell what was seen, act on it, and plan what comes next."""
        current, self._current = self._current, None
        self._next_sign_s = time.monotonic() + self._config.check_every.total_seconds()
        if self._must_look:
            self._look_soon()
        if current is None or current.views is None:
            return
        self._tell_problems(current.views)
        self._tell_systemd(current.views, len(current.config.sites) - len(current.views))
        # What an edit or a jump of the clock has overtaken starts nothing; the next look comes at once.
        if not current.is_outdated:
            self._act(current, current.views)
        self._follow_http()
        if self._web is not None:
            self._web.show(current.config, current.views, current.ledger)

    def _act(self, current: _Look, views: Sequence[View]) -> None:
        """Start one child for all that is due, and have told and tried what else there is.

        Where a command is at work, nothing is started; but it may have been stopped, and is looked at.
        """
        raw, config = current.raw, current.config
        for view in views:
            self._schedule.judge(view)
        self._plan_servers()
        ripe = [v for v in views if v.site.domain not in current.locked and not self._must_settle(v)]
        due = {v.site.domain: v.seen.addresses for v in ripe if self._tries.may(v, config.check_every)}
        for view in views:
            self._plan_due(view)
        if due and not self._clock.is_stopped:
            self._children.append(Child(raw, due, config.longest_run.total_seconds()))
            self._plan_reap()
        self._timetable.after("visit", 0, partial(self._visit, raw, config, views))
        if config.notify:
            self._timetable.after("notify", 0, partial(self._notify, config, views))

    def _plan_due(self, view: View) -> None:
        """Look when something of the site comes due: its renewal, or what has to wait."""
        moments = [view.decision.next_renewal, self._tries.moment(view.site.domain)]
        moments += [step.wait_until for step in view.decision.steps]
        # One that came while it was looked at counts: the next look may be a day away.
        coming = [moment for moment in moments if moment is not None and moment > view.seen.at]
        self._timetable.plan(f"due:{view.site.domain}", min(coming, default=None), self._look_soon)

    def _must_settle(self, view: View) -> bool:
        """Whether a record is due whose address is too new; all of its site waits, a minute at most."""
        due = {step.action for step in view.decision.due(view.seen.at)} & WRITES.keys()
        return any(not self._lan.is_settled(view.site.rules[WRITES[action]]) for action in due)

    def _tell_problems(self, views: Sequence[View]) -> None:
        for view in views:
            problems = tuple(problem.advice for problem in view.decision.problems)
            if problems != self._problems.get(view.site.domain, ()):
                self._problems[view.site.domain] = problems
                for problem in problems:
                    logger.warning("look.blind domain=%s problem=%s", view.site.domain, problem)

    def _tell_systemd(self, views: Sequence[View], busy: int) -> None:
        """Say in a line, as `systemctl status` shows it, how all stands."""
        line = status_json.headline(views, busy)
        if refused := self._source.refused:
            line = f"{line}; an edit is refused: {refused[0]}"
        if line != self._told:
            self._told = line
            notify(f"STATUS={line}")

    # Processes.

    def _end_misled(self) -> None:
        """End children that began with another LAN address: a new one does not wait for a certificate."""
        begun = {
            d: child.addresses[d] for child in self._children for d in child.unfinished if not child.is_ending
        }
        misled = {
            site.domain
            for site in self._config.sites
            if site.domain in begun
            for type_, then in begun[site.domain].items()
            if self._lan.settled(site.rules[type_]) not in ("", then)
        }
        now_s, longest_s = self._clock.monotonic(), self._config.longest_run.total_seconds()
        for domain in sorted(misled):
            lately = [at for at in self._misled_at.get(domain, ()) if now_s - at < longest_s]
            if len(lately) >= _MOST_MISLED:
                misled.discard(domain)
            else:
                lately.append(now_s)
            self._misled_at[domain] = lately
        self._ask_to_end(misled, "the LAN address has changed")

    def _ask_to_end(self, domains: set[str], why: str) -> None:
        for child in self._children:
            if stale := child.unfinished & domains:
                logger.info("child.ended_early domains=%s reason=%s", ",".join(sorted(stale)), why)
                child.ask_to_end()

    def _reap(self) -> None:
        """Take leave of processes that ended, end those past their deadline, and look at what they left."""
        ended = [child for child in self._children if child.has_ended()]
        self._children = [child for child in self._children if child not in ended]
        self._schedule.forget([domain for child in ended for domain in child.addresses])
        for name in [name for name, errand in self._errands.items() if errand.has_ended()]:
            self._failures[name] = self._failures[name] + 1 if self._errands.pop(name).has_failed else 0
        self._plan_reap()
        if ended and not self._clock.is_stopped:
            self._look_soon()

    def _plan_reap(self) -> None:
        """See to the processes when the next one of them is overdue."""
        left_s = [process.left_s for process in [*self._children, *self._errands.values()]]
        self._timetable.after("children", min(left_s, default=math.inf), self._reap)

    def _visit(self, raw: bytes, config: Config, views: Sequence[View]) -> None:
        """Have sites visited as a client does, when it is time."""
        visits = client_visit.remembered(config.state_dir)
        if any(client_visit.is_due(view, visits) for view in views):
            self._start_errand("visit", raw)

    def _notify(self, config: Config, views: Sequence[View]) -> None:
        """Have the messages sent that are due."""
        if "notify" in self._errands:
            return  # it will have written down what it sent by the next look
        domains, visits = (site.domain for site in config.sites), client_visit.remembered(config.state_dir)
        found = alerts.conditions(datetime.now(UTC), domains, views, visits, self._source.refused)
        try:
            post = outbox.due(config, found, self._steady, alerts.patience(config.check_every))
        except StoreError as exc:
            if self._untold != str(exc):
                logger.warning("notify.not_told error=%s", exc)
            self._untold = str(exc)
            return
        self._untold = ""
        if post.letters:
            self._start_errand("notify", post.dump_json())

    def _start_errand(self, name: str, needs: bytes) -> None:
        """Start what changes none of the four facts, unless it runs, or rests since its last start.

        Args:
            needs: what it reads on its standard input.
        """
        now_s = time.monotonic()
        is_resting = now_s < self._resting_until_s.get(name, now_s)
        if is_resting or name in self._errands or self._clock.is_stopped:
            return
        pause = local_backoff(self._failures[name] + 1, _PAUSES[name])
        self._resting_until_s[name] = now_s + pause.total_seconds()
        self._errands[name] = Errand(needs, name, _ERRAND_TIMEOUT_S)
        self._plan_reap()

    def _stop(self) -> None:
        """End all processes; no job after this one starts any."""
        running = [*self._children, *self._errands.values()]
        for process in running:
            process.ask_to_end()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in running:
            process.end(max(deadline - time.monotonic(), 0.1))
        self._has_stopped.set()


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
        before, count, not_before = self._tries.get(domain, (({}, frozenset()), 0, now))
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

    def moment(self, domain: str) -> datetime | None:
        """Return from when on a child may be started again for the same; None if there was none."""
        tried = self._tries.get(domain)
        return None if tried is None else tried[2]

    def forget(self) -> None:
        """Let everything be tried at once, as after an edit."""
        self._tries.clear()
