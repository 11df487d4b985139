"""What the place that text goes to can take: how wide it is, which letters it has, and whether colours.

Source: no-color.org (NO_COLOR); ECMA-48 (control sequences); Unicode annex 11 (wide letters).
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass
from typing import Literal, TextIO

from .errors import printable

# Of a file or a pipe, and of a terminal that does not say.
WIDTH, HEIGHT = 80, 24
# With less nothing can be laid out: such a terminal breaks the lines itself.
_LEAST_WIDTH = 20

Style = Literal["", "bold", "dim", "red", "green", "yellow"]
_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33"}


@dataclass(frozen=True, slots=True)
class Screen:
    """Where text goes; sizes in cells and lines.

    Attributes:
        moves: whether it is a terminal that knows how to move its cursor.
    """

    width: int = WIDTH
    height: int = HEIGHT
    encoding: str = "utf-8"
    has_colours: bool = False
    moves: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Screen:
        """Return what `stream` can take now: a terminal may be resized at any time."""
        width, height, encoding = WIDTH, HEIGHT, stream.encoding or "ascii"
        if not stream.isatty():
            return cls(width, height, encoding)
        try:
            size = os.get_terminal_size(stream.fileno())
        except OSError:
            pass
        else:
            # A serial line says 0.
            width, height = max(size.columns or WIDTH, _LEAST_WIDTH), size.lines or HEIGHT
        moves = os.environ.get("TERM") != "dumb"
        return cls(width, height, encoding, moves and not os.environ.get("NO_COLOR"), moves)

    def has(self, letters: str) -> bool:
        """Whether it can show these letters."""
        try:
            letters.encode(self.encoding)
        except (UnicodeEncodeError, LookupError):
            return False
        return True

    def paint(self, text: str, style: Style) -> str:
        """Return the text in a style, or as it is where there are no colours."""
        code = _CODES.get(style) if self.has_colours else None
        return f"\x1b[{code}m{text}\x1b[0m" if code and text else text

    def legible(self, text: object, limit: int = 1000) -> str:
        """Return any text as one line of letters that it has, free of anything that acts on a terminal."""
        line = printable(text, limit)
        return line if self.has(line) else line.encode("ascii", "backslashreplace").decode()

    def wrap(self, text: str, width: int) -> list[str]:
        """Return legible text in lines of at most `width` cells, but 2 at least, broken at spaces."""
        width = max(width, 2)
        lines, line = [], ""
        for word in self.legible(text).split():
            rest = word
            if line and cells(line) + 1 + cells(rest) <= width:
                line = f"{line} {rest}"
                continue
            if line:
                lines.append(line)
            while cells(rest) > width:
                start = _start(rest, width)
                lines.append(start)
                rest = rest[len(start) :]
            line = rest
        return [*lines, line] if line or not lines else lines

    def cut(self, text: str, width: int) -> str:
        """Return legible text in one line of at most `width` cells, marked where something is left out."""
        line = self.legible(text)
        if cells(line) <= width:
            return line
        dots = "…" if self.has("…") else "..."
        return (_start(line, max(width - cells(dots), 0)) + dots)[: max(width, 0)]


def cells(text: str) -> int:
    """Return how many cells of a terminal a line of text takes."""
    if text.isascii():
        return len(text)
    return sum(_cells_of(letter) for letter in text)


def _cells_of(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def _start(text: str, width: int) -> str:
    """Return as much of the start as fits into `width` cells."""
    end = taken = 0
    while end < len(text) and taken + _cells_of(text[end]) <= width:
        taken += _cells_of(text[end])
        end += 1
    return text[:end]
