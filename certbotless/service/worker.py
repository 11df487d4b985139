"""Runs of our own program in processes of their own. Light.

Each gets what it needs on its standard input. A `Child` gets the configuration as last accepted, does what
is due for some sites, and says on its standard output which are done. An `Errand` changes none of the four
facts.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

logger = logging.getLogger(__name__)

_KILL_AFTER_S = 4.0


# By the type of their records; empty for none.
Addresses = Mapping[str, str]


class _Process:
    """One running process.

    Args:
        raw: what it reads on its standard input; it may hold secrets.
        arguments: of the command line, after the configuration.
        what: what it is about, for the log.
        timeout_s: after this it is ended.
    """

    def __init__(
        self, raw: bytes, arguments: Sequence[str], what: str, timeout_s: float, stdout: int | None
    ) -> None:
        self._what = what
        self._deadline = time.monotonic() + timeout_s
        self._is_asked_to_end = False
        # Secrets may stand in the file: memory, not a disk; and a child that reads slowly holds nobody up.
        with open(os.memfd_create("config"), "w+b") as stdin:
            stdin.write(raw)
            stdin.seek(0)
            # Without -P, whatever is called certbotless in the working directory would be run instead of us.
            program = [sys.executable, "-P", "-m", "certbotless"]
            self._process = subprocess.Popen(
                [*program, "--config", "-", *arguments], stdin=stdin, stdout=stdout
            )
        logger.debug("child.started pid=%d %s", self._process.pid, what)

    def has_ended(self) -> bool:
        """Return whether it is gone; one that is overdue is ended first, which may take 4 s."""
        code = self._process.poll()
        if code is None and time.monotonic() > self._deadline:
            logger.error("child.overdue pid=%d %s", self._process.pid, self._what)
            self.end(_KILL_AFTER_S)
            code = self._process.returncode
        if code is None:
            return False
        # One that has not come to its own handlers yet ends by the signal itself.
        is_as_asked = self._is_asked_to_end and code == -signal.SIGTERM
        if code not in (0, 1) and not is_as_asked:
            logger.error("child.failed pid=%d exit=%d", self._process.pid, code)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return True

    @property
    def left_s(self) -> float:
        """In how many seconds it is overdue."""
        return max(self._deadline - time.monotonic(), 0)

    @property
    def has_failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self._process.returncode not in (None, 0)

    @property
    def is_ending(self) -> bool:
        """Whether it was asked to end."""
        return self._is_asked_to_end

    def ask_to_end(self) -> None:
        """Let it clean up and end; what it began is resumed by the next one."""
        self._is_asked_to_end = True
        self._process.terminate()

    def end(self, timeout_s: float) -> None:
        """Ask it to end, and kill it if it has not after `timeout_s`."""
        self.ask_to_end()
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Errand(_Process):
    """Something beside the four facts, by its name (cli, `--errand`)."""

    def __init__(self, raw: bytes, name: str, timeout_s: float) -> None:
        super().__init__(raw, [f"--errand={name}"], f"errand={name}", timeout_s, subprocess.DEVNULL)


class Child(_Process):
    """A run of `--once`.

    Args:
        addresses: the sites that it shall work on, each with its LAN addresses at the start. It writes a
            record with no others.
    """

    def __init__(self, raw: bytes, addresses: Mapping[str, Addresses], timeout_s: float) -> None:
        settled = [f"--settled={domain}={','.join(each.values())}" for domain, each in addresses.items()]
        what = f"domains={','.join(addresses)}"
        super().__init__(raw, ["--once", *settled, *addresses], what, timeout_s, subprocess.PIPE)
        self.addresses = addresses
        self._left = set(addresses)
        self._unread = b""
        reports = self._process.stdout
        self._reports = reports.fileno()  # type: ignore[union-attr]  # a pipe was asked for
        os.set_blocking(self._reports, False)

    @property
    def unfinished(self) -> frozenset[str]:
        """The sites that it has not reported as done."""
        self._read_reports()
        return frozenset(self._left)

    def _read_reports(self) -> None:
        """Take in the lines ``DOMAIN: ...`` that are there by now."""
        try:
            while chunk := os.read(self._reports, 4096):
                self._unread += chunk
        except BlockingIOError:
            pass
        *lines, self._unread = self._unread.split(b"\n")
        self._left -= {line.decode("ascii", "replace").partition(":")[0] for line in lines}
