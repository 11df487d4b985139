"""Processes of our own program: workers and helpers. Light.

`wire` has what each of them reads and writes.
"""

import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from . import wire
from .wire import Addresses

logger = logging.getLogger(__name__)

_KILL_AFTER_S = 4.0
# A helper asks all sites or receivers at once, so it takes as long as the slowest answer.
_HELPER_TIMEOUT_S = 600.0
# The most that any user may give a pipe (pipe(7)): what 1,000 sites that fail have to say.
_REPORTS_BYTES = 1 << 20


class Process:
    """One running process.

    Args:
        stdin: what it reads on its standard input; it may hold secrets.
        arguments: of the command line, after the configuration.
        what: the subject of its work, for the log.
        timeout_s: after this it is ended.

    Attributes:
        is_ending: it was asked to end.
    """

    def __init__(
        self, stdin: bytes, arguments: Sequence[str], what: str, timeout_s: float, stdout: int | None
    ) -> None:
        self._what = what
        self._deadline = time.monotonic() + timeout_s
        self.is_ending = False
        # The configuration may hold secrets, so it is in memory and on no disk. A process that reads it
        # slowly does not block us.
        with open(os.memfd_create("config"), "w+b") as file:
            file.write(stdin)
            file.seek(0)
            # Without -P, a module called certbotless in the working directory would be run in our place.
            program = [sys.executable, "-P", "-m", "certbotless"]
            self._process = subprocess.Popen(
                [*program, "--config", "-", *arguments], stdin=file, stdout=stdout
            )
        logger.debug("worker.started pid=%d %s", self._process.pid, what)

    def has_ended(self) -> bool:
        """Return whether it has ended. One that is overdue is ended first, which may take 4 s."""
        code = self._process.poll()
        if code is None and time.monotonic() > self._deadline:
            logger.error("worker.overdue pid=%d %s", self._process.pid, self._what)
            self.end(_KILL_AFTER_S)
            code = self._process.returncode
        if code is None:
            return False
        # A process that has not set its signal handlers yet is ended by the signal itself.
        is_as_asked = self.is_ending and code == -signal.SIGTERM
        if code not in (0, 1) and not is_as_asked:
            logger.error("worker.failed pid=%d exit=%d", self._process.pid, code)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return True

    @property
    def left_s(self) -> float:
        """In how many seconds it is overdue."""
        return max(self._deadline - time.monotonic(), 0)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended with another exit code than 0."""
        return self._process.returncode not in (None, 0)

    def ask_to_end(self) -> None:
        """Let it clean up and end. The next process resumes what it began."""
        self.is_ending = True
        self._process.terminate()

    def end(self, timeout_s: float) -> None:
        """Ask it to end, and kill it if it has not ended after `timeout_s`."""
        self.ask_to_end()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def start_helper(name: str, stdin: bytes) -> Process:
    """Start one of `wire.HELPERS`, which changes none of the four facts; `wire` says what it reads."""
    return Process(stdin, [f"{wire.ERRAND}={name}"], f"errand={name}", _HELPER_TIMEOUT_S, subprocess.DEVNULL)


class Worker(Process):
    """A process that makes the facts of some sites true.

    Args:
        raw: the configuration.
        addresses: the sites, each with its LAN addresses at the start. It publishes no others.
        timeout_s: after this it is ended.
    """

    def __init__(self, raw: bytes, addresses: Mapping[str, Addresses], timeout_s: float) -> None:
        what = f"domains={','.join(addresses)}"
        super().__init__(raw, wire.worker_arguments(addresses), what, timeout_s, subprocess.PIPE)
        self.addresses = addresses
        self._left = set(addresses)
        self._unread = b""
        self._reports = self._process.stdout.fileno()  # type: ignore[union-attr]  # a pipe was asked for
        os.set_blocking(self._reports, False)
        # Reports are read at each check, which may be a day away: a full pipe would keep a worker waiting.
        with suppress(OSError):  # this user has too many pipes: it waits, then
            fcntl.fcntl(self._reports, fcntl.F_SETPIPE_SZ, _REPORTS_BYTES)

    @property
    def unfinished(self) -> frozenset[str]:
        """The sites that it has not reported as done by now."""
        with suppress(BlockingIOError):
            while chunk := os.read(self._reports, 4096):
                self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        self._left -= set(map(wire.domain_of, lines))
        return frozenset(self._left)
