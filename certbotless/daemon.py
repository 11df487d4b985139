"""The living part: looks on a schedule, and starts a child for whatever is due. Light.

The parent observes, decides and schedules; a child with the code of `--once` acts, so a hang, a leak or a
crash of a library ends with the child. The main thread ticks each second: configuration, clock, children.

Source: sd_notify(3); APScheduler 3 sleeps on a monotonic wait, so a clock that jumps must re-arm it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from apscheduler.schedulers.background import BackgroundScheduler

from . import config as configuration
from .clock import SystemClock
from .config import Config, Site
from .errors import CertbotlessError, ConfigError
from .look import View, look
from .nameservers import NameServers
from .state import LedgerFile, daemon_lock

logger = logging.getLogger(__name__)

_TICK_S = 1.0
# What the wall clock may gain or lose against the monotonic one within a tick: more is a jump or a suspend.
_JUMP_S = 5.0
_LOOKERS = 8
# The longest that a child may take beyond the propagation of its records: the CA's time, and a restart.
_CHILD_MARGIN = timedelta(minutes=30)
# Together with the child's own clean-up this stays within the 5 s that a stop may take.
_STOP_TIMEOUT_S = 4.0


@dataclass(slots=True)
class _Child:
    """A run for some sites."""

    process: subprocess.Popen[bytes]
    domains: frozenset[str]
    deadline: float


class Daemon:
    """One daemon on one state directory.

    Args:
        source: the configuration file; None where it came from standard input, so it cannot be edited.
        raw: its bytes.
        config: what they mean.
    """

    def __init__(self, source: Path | None, raw: bytes, config: Config) -> None:
        self._source = source
        self._raw = raw
        self._config = config
        self._clock = SystemClock()
        # Signal handlers put into it; unlike an Event's, its lock bears being interrupted by them.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._must_reload = False
        self._children: list[_Child] = []
        self._children_lock = threading.Lock()
        self._servers = NameServers(config.dns.nameservers, self._clock)
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._job: Any = None

    def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code.

        Raises:
            AlreadyRunning, StoreError: it cannot run.
        """
        with daemon_lock(self._config.state_dir, self._clock):
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._on_stop)
            signal.signal(signal.SIGHUP, self._on_reload)
            logger.info("daemon.started pid=%d sites=%d", os.getpid(), len(self._config.sites))
            self._job = self._scheduler.add_job(
                self._look_guarded,
                "interval",
                seconds=self._config.check_every.total_seconds(),
                next_run_time=datetime.now(UTC),
                misfire_grace_time=None,
                coalesce=True,
            )
            self._scheduler.start()
            _notify("READY=1")
            try:
                self._tick_until_stopped()
            finally:
                _notify("STOPPING=1")
                self._scheduler.shutdown(wait=False)
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

    def _tick_until_stopped(self) -> None:
        stamp = self._file_stamp()
        drift_s = time.time() - time.monotonic()
        while not self._clock.is_stopped:
            with suppress(Empty):
                self._wake.get(timeout=_TICK_S)
            if self._must_reload or self._file_stamp() != stamp:
                self._must_reload = False
                stamp = self._file_stamp()
                self._reload()
            now_drift_s = time.time() - time.monotonic()
            if abs(now_drift_s - drift_s) > _JUMP_S:
                logger.info("clock.jumped by_s=%.0f", now_drift_s - drift_s)
                drift_s = now_drift_s
                self._look_at(datetime.now(UTC))
            self._reap()

    def _look_at(self, moment: datetime) -> None:
        """Have the next look at `moment`, then go on every `check_every`."""
        self._job.modify(next_run_time=moment)

    def _file_stamp(self) -> tuple[int, ...]:
        """Return what changes with every edit, however the editor saves; empty where there is no file."""
        if self._source is None:
            return ()
        try:
            found = self._source.stat()
        except OSError:
            return (0,)
        return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)

    def _reload(self) -> None:
        """Take the edited file if all of it is good; else keep the last good one, and say what is wrong."""
        if self._source is None:
            return
        try:
            raw = configuration.read(self._source)
            edited = configuration.parse(raw, str(self._source))
            for secret in edited.secrets().values():
                secret.read()
        except ConfigError as exc:
            for fault in exc.faults:
                logger.error("config.refused %s", fault)
            return
        except CertbotlessError as exc:
            logger.error("config.refused %s", exc)
            return
        if edited.state_dir != self._config.state_dir:
            logger.error("config.refused state_dir cannot change while the daemon runs; restart it")
            return
        is_same_text = raw == self._raw
        self._raw, self._config = raw, edited
        self._servers = NameServers(edited.dns.nameservers, self._clock)
        self._job.reschedule("interval", seconds=edited.check_every.total_seconds(), timezone=UTC)
        self._look_at(datetime.now(UTC))
        if not is_same_text:
            logger.info("config.accepted sites=%d", len(edited.sites))
            for warning in edited.warnings():
                logger.warning("config.careless %s", warning)

    # The look, in the scheduler's thread.

    def _look_guarded(self) -> None:
        try:
            self._look()
        except Exception:
            # The next look comes all the same.
            logger.exception("look.crashed")

    def _look(self) -> None:
        """Look at every site that no child is at work on, and start one child for all that is due."""
        config, raw = self._config, self._raw
        busy = self._busy()
        sites = [site for site in config.sites if site.domain not in busy]
        if not sites:
            return
        views = self._views(config, sites)
        due = [view.site.domain for view in views if view.decision.due(view.seen.at)]
        for view in views:
            for problem in view.decision.problems:
                logger.debug("look.blind domain=%s problem=%s", view.site.domain, problem)
        if due and not self._clock.is_stopped:
            self._start_child(config, raw, due)
        self._wake_for(views)

    def _views(self, config: Config, sites: Sequence[Site]) -> list[View]:
        ledger, now = LedgerFile(config.state_dir).entries(), datetime.now(UTC)
        if len(sites) == 1:
            return [look(sites[0], config, self._servers, ledger, now)]
        with ThreadPoolExecutor(max_workers=min(len(sites), _LOOKERS)) as pool:
            return list(pool.map(lambda site: look(site, config, self._servers, ledger, now), sites))

    def _wake_for(self, views: Sequence[View]) -> None:
        """Look earlier than the interval says where something comes due before."""
        now = datetime.now(UTC)
        moments = [view.decision.next_renewal for view in views]
        moments += [step.wait_until for view in views for step in view.decision.steps]
        coming = [moment for moment in moments if moment is not None and moment > now]
        regular = self._job.next_run_time
        if coming and regular is not None and min(coming) < regular:
            self._look_at(min(coming))

    # Children.

    def _busy(self) -> frozenset[str]:
        with self._children_lock:
            return frozenset().union(*(child.domains for child in self._children))

    def _start_child(self, config: Config, raw: bytes, domains: Sequence[str]) -> None:
        # A file and not a pipe: a child that is slow to read holds nobody up.
        with tempfile.TemporaryFile() as stdin:
            stdin.write(raw)
            stdin.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-m", "certbotless", "--config", "-", "--once", *domains],
                stdin=stdin,
                stdout=subprocess.DEVNULL,
            )
        timeout = config.dns.propagation_timeout + _CHILD_MARGIN
        deadline = time.monotonic() + timeout.total_seconds()
        with self._children_lock:
            self._children.append(_Child(process, frozenset(domains), deadline))
        logger.debug("child.started pid=%d domains=%s", process.pid, ",".join(domains))

    def _reap(self) -> None:
        """Take leave of children that ended, and end those past their deadline."""
        with self._children_lock:
            children = list(self._children)
        for child in children:
            code = child.process.poll()
            if code is None and time.monotonic() > child.deadline:
                logger.error("child.overdue pid=%d domains=%s", child.process.pid, ",".join(child.domains))
                _end(child.process, _STOP_TIMEOUT_S)
                code = child.process.poll()
            if code is not None:
                if code < 0 or code not in (0, 1):
                    logger.error("child.failed pid=%d exit=%d", child.process.pid, code)
                with self._children_lock:
                    self._children.remove(child)

    def _stop_children(self) -> None:
        with self._children_lock:
            processes = [child.process for child in self._children]
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for process in processes:
            _end(process, max(deadline - time.monotonic(), 0.1))


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Ask to end, then make it."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _notify(state: str) -> None:
    """Tell systemd, if it wants to know."""
    address = configuration.notify_socket()
    if not address:
        return
    # An abstract address is written with an @.
    path = f"\0{address[1:]}" if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notifier:
            notifier.connect(path)
            notifier.sendall(state.encode())
    except OSError as exc:
        logger.warning("systemd.not_told error=%s", exc.strerror)
