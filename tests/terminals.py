"""A real pseudo-terminal with a program on it, and what a person would see there."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Self

_PART = re.compile(r"\x1b\[(?P<number>\d*)(?P<control>[A-Za-z])|(?P<letter>[^\x1b])")


def resize(fd: int, width: int, height: int) -> None:
    """Give a terminal this size; 0 is one that does not say it."""
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


class Terminal:
    """A terminal that runs one program, with all three streams of it, as its session. A context manager.

    Args:
        environment: what its environment has beside, or instead of, ours; None takes a name away.

    Attributes:
        raw: all that the program has written so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        width: int = 80,
        height: int = 24,
        environment: Mapping[str, str | None] | None = None,
    ) -> None:
        self._command = command
        self.width, self.height = width, height
        wanted = {**os.environ, "TERM": "xterm", "NO_COLOR": None, "PYTHONUTF8": "1", **(environment or {})}
        self._environment = {name: value for name, value in wanted.items() if value is not None}
        self.raw = ""

    def __enter__(self) -> Self:
        self._leader, follower = pty.openpty()
        resize(follower, self.width, self.height)
        try:
            # A terminal sends its Ctrl-C to the session that it controls.
            self.process = subprocess.Popen(
                ["setsid", "--ctty", *self._command],
                stdin=follower,
                stdout=follower,
                stderr=follower,
                env=self._environment,
            )
        finally:
            os.close(follower)
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._leader)

    def type(self, keys: str) -> None:
        """Press keys; Ctrl-C is ``\\x03``."""
        os.write(self._leader, keys.encode())

    def wait_until(self, holds: Callable[[], bool], what: str, patience_s: float = 120) -> None:
        """Read what the program writes until `holds`; the test fails after `patience_s`."""
        deadline = time.monotonic() + patience_s
        while not holds():
            assert time.monotonic() < deadline, f"not within {patience_s} s: {what}; seen:\n{self.text()}"
            self._read(0.05)

    def wait(self, patience_s: float = 120) -> int:
        """Read until the program has ended, and return its exit code."""
        deadline = time.monotonic() + patience_s
        while self._read(0.05) or self.process.poll() is None:
            assert time.monotonic() < deadline, f"has not ended; seen:\n{self.text()}"
        return self.process.wait()

    def text(self) -> str:
        """Return what the terminal shows now and what has scrolled away, without trailing spaces."""
        return "\n".join(self.lines())

    def lines(self) -> list[str]:
        """Return the lines of `text`."""
        return shown(self.raw, self.height)

    def _read(self, patience_s: float) -> bool:
        """Take in what is there; False where nothing is."""
        if not select.select([self._leader], [], [], patience_s)[0]:
            return False
        try:
            data = os.read(self._leader, 65536)
        except OSError:  # EIO: nobody has the other side any more
            return False
        self.raw += data.decode()
        return bool(data)


def shown(raw: str, height: int) -> list[str]:
    """Return the lines that a terminal of this height shows after `raw`, behind those that scrolled away.

    Knows the few control sequences that the program uses; any other one fails the test.
    """
    lines, row, column = [""], 0, 0
    for part in _PART.finditer(raw.replace("\r\n", "\n\r")):
        top = max(len(lines) - height, 0)
        match part["control"], part["letter"]:
            case "H", _:
                row, column = top, 0
            case "K", _:
                lines[row] = lines[row][:column]
            case "J", _:
                lines[row:] = [lines[row][:column]]
            case "m", _:
                pass
            case None, "\n":
                row += 1
                lines += [""] * (row + 1 - len(lines))
            case None, "\r":
                column = 0
            case None, letter:
                lines[row] = f"{lines[row]:<{column}}"[:column] + letter + lines[row][column + 1 :]
                column += 1
            case control, _:
                raise AssertionError(f"an unknown control sequence: {control}")
    return [line.rstrip() for line in lines]
