"""What a person sees: on a real pseudo-terminal with a program on it, and of what is written to a stream."""

import codecs
import fcntl
import io
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from certbotless.report import terminal
from support.bed import Bed

_PART = re.compile(r"\x1b\[(?P<number>\??[\d;]*)(?P<control>[A-Za-z])|(?P<letter>[^\x1b])")


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
        # A test run by workers has COLUMNS and LINES, which count more than the terminal's own size.
        wanted: dict[str, str | None] = {**os.environ, "TERM": "xterm", "PYTHONUTF8": "1"}
        wanted |= dict.fromkeys(("NO_COLOR", "COLUMNS", "LINES")) | dict(environment or {})
        self._environment = {name: value for name, value in wanted.items() if value is not None}
        self.raw = ""
        # A letter may come in two reads.
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

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

    def resize(self, width: int, height: int) -> None:
        """Give it another size, as who pulls at the corner of its window."""
        self.height = height
        resize(self._leader, width, height)

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
        self.raw += self._decode(data)
        return bool(data)


def shown(raw: str, height: int) -> list[str]:
    """Return the lines that a terminal of this height shows after `raw`, behind those that scrolled away.

    Knows the few control sequences that the program uses; any other one fails the test.
    """
    lines: list[list[str]] = [[]]
    row = column = 0
    main = None
    for part in _PART.finditer(raw.replace("\r\n", "\n\r")):
        top = 0 if main else max(len(lines) - height, 0)  # nothing scrolls on the alternate screen
        match part["control"], part["number"] or part["letter"]:
            case "H", _:
                row, column = top, 0
            case "A", "1":
                row = max(row - 1, top)
            case "K", "2":
                lines[row] = []
            case "h", "?1049":
                main, lines, row, column = (lines, row, column), [[]], 0, 0
            case "l", "?1049" if main:
                (lines, row, column), main = main, None
            case "m", _:
                pass
            case None, "\n":
                row += 1
                lines += [[]] * (row + 1 - len(lines))
            case None, "\r":
                column = 0
            case None, str(letter):
                width = cells(letter)
                before = lines[row][:column] + [" "] * (column - len(lines[row]))
                lines[row] = [*before, letter, *[""] * (width - 1), *lines[row][column + width :]]
                column += width
            case control:
                raise AssertionError(f"an unknown control sequence: {control}")
    texts = ["".join(line).rstrip() for line in (lines[:height] if main else lines)]
    while len(texts) > row + 1 and not texts[-1]:  # where the cursor was before it went up
        texts.pop()
    return texts


def cells(text: str) -> int:
    """Return how many cells of a terminal a text takes (Unicode annex 11), by Python's own table."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


class _Paper(io.TextIOWrapper):
    """A stream in memory as the program's standard output is, which may say that it is a terminal."""

    def __init__(self, encoding: str, is_terminal: bool) -> None:
        super().__init__(io.BytesIO(), encoding, "backslashreplace", newline="")
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


def written(
    draw: Callable[[terminal.Terminal], terminal.Drawing],
    width: int | None = None,
    *,
    encoding: str = "utf-8",
    is_terminal: bool = False,
) -> str:
    """Return what shows a drawing on a stream of this kind."""
    with _Paper(encoding, is_terminal) as paper:
        screen = terminal.Terminal(paper)
        if width is not None:
            screen.width = width
        screen.show(draw(screen))
        paper.flush()
        paper.seek(0)
        return paper.read()


ENTER = "\n"


def answer(terminal: Terminal, *answers: tuple[str, str]) -> None:
    """Wait for each question, and answer it."""
    for question, text in answers:
        terminal.wait_until(lambda q=question: _is_asked(terminal, q), f"it asks for {question}")  # type: ignore[misc]
        terminal.type(text if text == ENTER else f"{text}\n")


def _is_asked(terminal: Terminal, question: str) -> bool:
    last = terminal.raw.rpartition("\n")[2]
    return question in last and last.endswith(": ")


def lead_to_stand_ins(bed: Bed, file: Path, ca_bundle: str | Path = "") -> None:
    """Add what a real user's file does without: where the stand-ins are."""
    text = file.read_text()
    text = text.replace("\nacme:\n", f"\nacme:\n  ca_bundle: {ca_bundle or bed.ca.ca_bundle}\n")
    if "\n  endpoint: " not in text:
        text = text.replace("\naliyun:\n", f"\naliyun:\n  endpoint: {bed.dns.endpoint}\n")
    text += f"dns: {{nameservers: {list(bed.dns.nameservers)}}}\n"
    file.write_text(text)
