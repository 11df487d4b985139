"""The daemon: listens to signals and edits, and publishes what the checks have found. Light.

This process observes, decides and schedules. What is due is done by workers, which run the code of `--once`,
so a hang, a leak or a crash of a library ends with the worker. `Checker` says when sites are checked,
`Workers` owns the processes. Both run as jobs of the timetable, on one thread, and so does the daemon's part
but for the main thread. The main thread does what a scheduler cannot: it waits for signals, reads the file
again, notices jumps of the clock, and feeds the watchdog.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from ..base import privileges
from ..base.checked import dump
from ..base.clock import SystemClock
from ..base.errors import CertbotlessError, StoreError
from ..base.locks import DaemonLock
from ..base.systemd import Watchdog, notify
from ..config import checks
from ..config.fingerprints import Fingerprints
from ..config.live import Source
from ..config.settings import Config
from ..model.view import View
from ..notify import alerts, outbox
from ..notify.alerts import Steady
from ..observe import client_visit
from ..report import status_json
from ..state import daemon_file
from ..state.site import SiteFile
from ..world.lan.watch import Lan
from .checker import THREADS, Check, Checker
from .timetable import Timetable
from .workers import STOP_TIMEOUT_S, Workers

if TYPE_CHECKING:
    from .http_paths import Web
    from .root_share import Share

logger = logging.getLogger(__name__)

# What the wall clock may gain or lose against the monotonic one within a tick: more is a jump or a suspend.
_JUMP_S = 5.0
_PAGE_EVERY_S = 1.0
# The check of one site takes 6 s at most. On an idle machine this process may get no CPU for a while.
_LEAST_PATIENCE_S = 10.0


class Daemon:
    """One daemon on one state directory.

    Args:
        source: the configuration file; None reads standard input, once.

    Raises:
        ConfigError, SecretUnreadable: it cannot start with this configuration.
    """

    def __init__(self, source: Path | None) -> None:
        self._source = Source(source)
        self._config = self._source.config
        # The text and the meaning of the last edit.
        self._edited = self._source.raw, self._source.config
        self._clock = SystemClock()
        # The wall clock against the monotonic one, from before the first check is planned by the former.
        self._drift_s = time.time() - time.monotonic()
        # Signal handlers put into it; unlike an Event's, its lock bears being interrupted by them.
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._timetable = Timetable(*THREADS)
        self._workers = Workers(self._timetable, self._clock)
        self._checker = Checker(self._timetable, self._workers, Lan(), self._clock, self._publish)
        self._checker.follow(*self._edited)
        self._watchdog = Watchdog()
        self._patience_s = max((self._watchdog.time_s or 0) / 2, _LEAST_PATIENCE_S)
        self._steady = Steady()
        self._headline = self._outbox_fault = ""
        self._web: Web | None = None
        self._share: Share | None = None
        self._page_faults: dict[str, str] = {}
        self._has_stopped = threading.Event()

    def run(self) -> int:
        """Become the owner of the state directory, run until SIGTERM or SIGINT, and return the exit code.

        Raises:
            AlreadyRunning, StoreError: it cannot run.
            SecretUnreadable: the owner cannot read what the workers will need.
        """
        privileges.become_owner(self._config.state_dir, self._config.certs_dirs)
        checks.prove_readable(self._config)
        # The watchdog ends a daemon that hangs by SIGABRT: then the journal has where each thread was.
        faulthandler.enable()
        with DaemonLock(self._config.state_dir, self._clock):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD):
                signal.signal(number, self._on_signal)
            self._write_refusal()
            self._timetable.start()
            self._update_pages()
            checks.log(self._config, self._source.path)
            logger.info("daemon.started pid=%d sites=%d", os.getpid(), len(self._config.sites))
            self._renew_digests()
            self._checker.start()
            notify("READY=1")
            try:
                self._listen()
            finally:
                notify("STOPPING=1")
                self._timetable.after("stop", 0, self._stop)
                self._has_stopped.wait(STOP_TIMEOUT_S + 1)
                self._timetable.stop()
                for page in (self._web, self._share):
                    if page is not None:
                        page.close()
            logger.info("daemon.stopped")
        return 0

    def _renew_digests(self) -> None:
        """Write the digests of today into states of an older version, so that an edit differs from them."""
        fingerprints = Fingerprints.of(self._config)
        for site in self._config.kept:
            file = SiteFile(self._config.state_dir, site.domain)
            with suppress(CertbotlessError):  # the first run does the same
                if file.load().has_old_digest:
                    with file.locked(self._clock, 0):
                        file.tidy()
                        digests = fingerprints.digests(self._config, site)
                        file.change(**file.state.under(*digests).to_dict())

    # The main thread.

    def _on_signal(self, number: int, _: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._clock.stop()
        self._signals.put(number)

    def _listen(self) -> None:
        """Plan jobs for what happens, and feed the watchdog, until a signal stops us."""
        while not self._clock.is_stopped:
            number = 0
            with suppress(Empty):
                number = self._signals.get(timeout=self._source.poll_within_s)
            if number == signal.SIGCHLD:
                self._timetable.after("children", 0, self._workers.reap)
            self._poll_source(is_asked=number == signal.SIGHUP)
            before_s, self._drift_s = self._drift_s, time.time() - time.monotonic()
            if abs(self._drift_s - before_s) > _JUMP_S:
                logger.info("clock.jumped by_s=%.0f", self._drift_s - before_s)
                self._timetable.after("jump", 0, self._checker.check_afresh)
                self._timetable.all_now()
            if self._is_on_time():
                self._watchdog.ping()

    def _poll_source(self, *, is_asked: bool) -> None:
        refused = self._source.refused, self._source.refused_digest
        config = self._source.poll(time.monotonic(), is_asked=is_asked)
        if (self._source.refused, self._source.refused_digest) != refused:
            self._timetable.after("bulletin", 0, self._write_refusal)
        if config is not None:
            self._edited = self._source.raw, config
            self._timetable.after("edited", 0, self._on_edit)

    def _is_on_time(self) -> bool:
        """Whether no job has crashed, and no job, check or site of a check is overdue."""
        late_s = max(self._checker.late_s, self._timetable.busy_s)
        return late_s < self._patience_s and not self._timetable.has_crashed

    # Jobs of the timetable.

    def _write_refusal(self) -> None:
        """Let commands know which edit is refused."""
        daemon_file.tell(self._config.state_dir, self._source.refused, self._source.refused_digest)

    def _on_edit(self) -> None:
        """Act at once on an edit of the file or of a secret."""
        before, (raw, self._config) = self._config, self._edited
        if self._config is not before:
            self._checker.follow(raw, self._config)
            self._workers.end_edited(before, self._config)
            self._update_pages()
            checks.log(self._config, self._source.path)
        self._checker.check_afresh()

    def _stop(self) -> None:
        """End all processes; no job after this one starts any."""
        self._workers.stop()
        self._has_stopped.set()

    def _publish(self, check: Check, views: Sequence[View]) -> None:
        """Show what a check has found in systemd, on the status page and, if it is in force, by messages."""
        config = check.config
        seen = {view.site.domain for view in views}
        line = status_json.headline(views, sum(site.domain not in seen for site in config.sites))
        if refused := self._source.refused:
            line = f"{line}; an edit is refused: {refused[0]}"
        if line != self._headline:
            self._headline = line
            notify(f"STATUS={line}")
        if not check.is_outdated:
            self._timetable.after("visit", 0, partial(self._visit, check, views))
            if config.notify:
                self._timetable.after("notify", 0, partial(self._notify, config, views))
        self._update_pages()
        if self._web is not None:
            self._web.show(config, views, check.ledger)

    def _update_pages(self) -> None:
        """Have the pages where the file wants them; a daemon without one loads nothing for it."""
        # Each of them: a fault of one is none of the other.
        found = [self._has("http", self._follow_web), self._has("local_ca.share", self._follow_share)]
        if not all(found):
            self._timetable.after("http", _PAGE_EVERY_S, self._update_pages)

    def _has(self, key: str, follow: Callable[[], bool]) -> bool:
        """Whether a page is as the file wants it."""
        try:
            is_as_wanted = follow()
            self._page_faults.pop(key, None)
        except Exception as exc:
            # The checks go on without a page, as where an upgrade has just taken its files away.
            if (fault := repr(exc)) != self._page_faults.get(key):
                self._page_faults[key] = fault
                logger.exception("http.not_started key=%s hint=%s", key, "it is tried again each second")
            return False
        return is_as_wanted

    def _follow_web(self) -> bool:
        http = self._config.http
        if self._web is None and http is not None:
            from .http_paths import Web  # noqa: PLC0415

            seen = status_json.Seen(self._config)
            self._web = Web(seen, self._source.name, lambda: self._source.refused, self._is_on_time)
        return self._web is None or self._web.follow(http)

    def _follow_share(self) -> bool:
        if self._share is None and self._config.local_ca.share is not None:
            from .root_share import Share  # noqa: PLC0415

            self._share = Share(self._config)
        return self._share is None or self._share.follow(self._config)

    def _visit(self, check: Check, views: Sequence[View]) -> None:
        """Have sites visited as a client does, when it is time."""
        visits = client_visit.remembered(check.config.state_dir)
        if any(client_visit.is_due(view, visits) for view in views):
            self._workers.help("visit", check.raw)

    def _notify(self, config: Config, views: Sequence[View]) -> None:
        """Have the messages sent that are due."""
        if self._workers.is_helping("notify"):
            return  # it will have written down what it sent by the next check
        domains, visits = (site.domain for site in config.kept), client_visit.remembered(config.state_dir)
        found = alerts.conditions(self._clock.now(), domains, views, visits, self._source.refused)
        try:
            post = outbox.due(config, found, self._steady, alerts.patience(config.check_every))
        except StoreError as exc:
            if self._outbox_fault != str(exc):
                logger.warning("notify.not_sent error=%s", exc)
            self._outbox_fault = str(exc)
            return
        self._outbox_fault = ""
        if post.letters:
            self._workers.help("notify", dump(post))
