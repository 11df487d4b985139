"""What a person at a terminal sees of a run: a line for each step, which ends in its time, as it happens.

The last line says what is at work and what is waited for, and is drawn anew until it is done; warnings and
errors stand above it as anywhere else. All of it is made from the lines of the log, so there is no second
story; where nobody sits at a terminal the log itself is shown, and this module is not used.

Source: ECMA-48 (erase to the end of the line).
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self, TextIO

from .story import RUN_ENDED, site, turn_of
from .terminal import Screen, cells

_ERASE = "\r\x1b[K"
# Often enough for a clock that shows seconds.
_TICK_S = 0.5
_MARK_WIDTH, _TIME_WIDTH = 10, 11
# Longer lines are hard to follow to their end, where the time is.
_MOST_WIDTH = 100

# What is waited for, by the first word of the line that says so, and what the rest of the line adds to it.
WAITS = {
    "alidns.again": ("the DNS API", ""),
    "ca.issuing": ("the CA to issue", ""),
    "ca.validating": ("the CA to validate", ""),
    "certificate.proving": ("the new certificate to be served", "at="),
    "command.running": ("the command", ""),
    "container.executing": ("the program in the container", ""),
    "container.restarting": ("the container to restart", ""),
    "dns.waiting": ("the name servers to show it", "servers="),
    "lock.waiting": ("another run", ""),
    "target.shared": ("other sites that share the target", "with="),
}


@dataclass(slots=True)
class _Work:
    """What is done for a site now; `step` is empty between two steps, `detail` says more of a wait."""

    step: str
    reason: str
    began_s: float
    waits_for: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """A step that is over, for whatever reason."""

    domain: str
    step: str
    reason: str
    is_done: bool
    took_s: float


class Board:
    """Who is at what, from what the log says. Knows no terminal; times are seconds of one clock."""

    def __init__(self) -> None:
        self._works: dict[str, _Work] = {}

    def hear(self, domain: str, level: int, message: str, now_s: float) -> Ended | None:
        """Take in a line about a site, and return the step that ends with it, if one does."""
        key, turn = turn_of(message) or ("", "")
        work = self._works.get(domain)
        if message.startswith(RUN_ENDED):
            self._works.pop(domain, None)
        elif turn == "due" and level > logging.DEBUG:  # upkeep is no step that anybody waits for
            self._works[domain] = _Work(key, message.partition(" reason=")[2], now_s)
        elif turn and work is not None and work.step == key:
            del self._works[domain]
            return Ended(domain, key, work.reason, turn == "done", now_s - work.began_s)
        else:
            self._hear_of_wait(domain, level, message, now_s)
        return None

    def _hear_of_wait(self, domain: str, level: int, message: str, now_s: float) -> None:
        event, _, more = message.partition(" ")
        work = self._works.get(domain)
        if event in WAITS:
            work = self._works.setdefault(domain, _Work("", "", now_s))
            work.waits_for, field = WAITS[event]
            work.detail = f" ({more.partition(field)[2]})" if field else ""
        elif work is not None and level == logging.INFO:  # what was waited for has happened
            work.waits_for = work.detail = ""

    def doing(self, screen: Screen, now_s: float) -> str:
        """Return in one line what is at work, and what is waited for; empty if nothing is."""
        if not self._works:
            return ""
        text = self._of_one(now_s) if len(self._works) == 1 else self._of_several(now_s)
        # A letter in the last column would let some terminals go to the next line.
        return screen.cut(text, screen.width - 1)

    def _of_one(self, now_s: float) -> str:
        ((domain, work),) = self._works.items()
        step = f" {work.step}" if work.step else ""
        waits = f", waits for {work.waits_for}{work.detail}" if work.waits_for else ""
        return f"{domain}{step} {duration(now_s - work.began_s, digits=0)}{waits}"

    def _of_several(self, now_s: float) -> str:
        oldest_s = now_s - min(work.began_s for work in self._works.values())
        counts = Counter(work.waits_for for work in self._works.values())
        texts = [
            f"{count} {'wait' if count > 1 else 'waits'} for {what}" if what else f"{count} at work"
            for what, count in counts.most_common()
        ]
        return f"{len(self._works)} sites, {duration(oldest_s, digits=0)}: {'; '.join(texts)}"


def line_of(ended: Ended, screen: Screen) -> str:
    """Return the line that stays of a step."""
    mark = "ok" if ended.is_done else "not done"
    room = min(screen.width - 1, _MOST_WIDTH) - _MARK_WIDTH - _TIME_WIDTH
    text = screen.cut(f"{ended.domain}  {ended.step}: {ended.reason}", room)
    padding = " " * (room - cells(text))
    painted = screen.paint(f"{mark:<{_MARK_WIDTH}}", "green" if ended.is_done else "yellow")
    return f"{painted}{text}{padding}{duration(ended.took_s):>{_TIME_WIDTH}}"


def duration(seconds: float, digits: int = 1) -> str:
    """Return a time as a person says it."""
    if seconds < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest:02d} s"


class Progress(logging.Handler):
    """Shows a run on the terminal `stream`; use it as a context manager around the run.

    Args:
        formatter: of warnings and errors.
    """

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(formatter)
        self._stream = stream
        self._board = Board()
        self._drawn = ""
        self._is_over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._is_over.set()
        self._ticker.join()
        self._board = Board()
        self._draw()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a line of the log changes; the handler's lock is held."""
        above = [self.format(record)] if record.levelno >= logging.WARNING else []
        domain = site()
        if domain:
            ended = self._board.hear(domain, record.levelno, record.getMessage(), time.monotonic())
            above += [line_of(ended, Screen.of(self._stream))] if ended is not None else []
        self._draw(above)

    def say(self, line: str) -> None:
        """Print a line on standard output, which may be the same terminal."""
        self.acquire()
        try:
            self._draw([], is_blank=True)
            print(line, flush=True)  # noqa: T201  (it is what the command prints)
            self._draw()
        finally:
            self.release()

    def _tick(self) -> None:
        while not self._is_over.wait(_TICK_S):
            self.acquire()
            try:
                self._draw()
            finally:
                self.release()

    def _draw(self, above: Sequence[str] = (), *, is_blank: bool = False) -> None:
        """Write lines that stay, and below them what is at work; in one go, so that nothing flickers."""
        screen = Screen.of(self._stream)
        doing = "" if is_blank or not screen.moves else self._board.doing(screen, time.monotonic())
        if doing == self._drawn and not above:
            return
        erase = _ERASE if self._drawn else ""
        self._drawn = doing
        with suppress(OSError):  # the run goes on without its terminal
            self._stream.write(erase + "".join(f"{line}\n" for line in above) + screen.paint(doing, "dim"))
            self._stream.flush()
