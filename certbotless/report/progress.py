"""What a person at a terminal sees of a run: a line for each step, which ends in its time, as it happens.

The last line says what is at work and what is waited for, and is drawn anew until it is done; warnings and
errors stand above it as anywhere else. All of it is made from the lines of the log, so there is no second
story; where nobody sits at a terminal the log itself is shown, and this module is not used.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TextIO

from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from ..base.log_context import RUN_ENDED, site, turn_of
from .terminal import Terminal

# Often enough for a clock that shows seconds.
_TICKS_PER_S = 2
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

    def doing(self, now_s: float) -> str:
        """Return in one line what is at work, and what is waited for; empty if nothing is."""
        # A copy: another thread may hear of more meanwhile.
        works = dict(self._works)
        if not works:
            return ""
        took = duration(now_s - min(work.began_s for work in works.values()), digits=0)
        if len(works) == 1:
            ((domain, work),) = works.items()
            step = f" {work.step}" if work.step else ""
            waits = f", waits for {work.waits_for}{work.detail}" if work.waits_for else ""
            return f"{domain}{step} {took}{waits}"
        texts = [
            f"{count} {'wait' if count > 1 else 'waits'} for {what}" if what else f"{count} at work"
            for what, count in Counter(work.waits_for for work in works.values()).most_common()
        ]
        return f"{len(works)} sites, {took}: {'; '.join(texts)}"


def line_of(ended: Ended, screen: Terminal) -> Table:
    """Return the line that stays of a step."""
    mark, style = ("ok", "green") if ended.is_done else ("not done", "yellow")
    line = Table.grid(
        Column(width=10, style=style),
        Column(ratio=1, no_wrap=True, overflow=screen.cut),
        Column(width=11, justify="right"),
    )
    line.width = min(screen.width, _MOST_WIDTH)
    line.add_row(mark, f"{ended.domain}  {ended.step}: {ended.reason}", duration(ended.took_s))
    return line


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
        self._screen = Terminal(stream)
        self._board = Board()
        self._drawn = ""
        # Standard output may be a file: nothing is led from there to the screen.
        self._live = Live(
            console=self._screen,
            get_renderable=self._doing,
            refresh_per_second=_TICKS_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        with self._or_nobody():
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._or_nobody():
            self._live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a line of the log changes; the handler's lock is held."""
        domain, now_s = site(), time.monotonic()
        ended = self._board.hear(domain, record.levelno, record.getMessage(), now_s) if domain else None
        with self._or_nobody():
            if record.levelno >= logging.WARNING:
                for line in self.format(record).splitlines():
                    self._screen.print(line, soft_wrap=True)
            if ended is not None:
                self._screen.print(line_of(ended, self._screen))
            if (doing := self._board.doing(now_s)) != self._drawn:
                self._drawn = doing
                self._live.refresh()

    def say(self, line: str) -> None:
        """Print a line on standard output, which may be the same terminal."""
        self.acquire()
        try:
            self.__exit__()
            print(line, flush=True)  # noqa: T201  (it is what the command prints)
            self.__enter__()
        finally:
            self.release()

    def _doing(self) -> Text:
        return self._screen.one_line(self._board.doing(time.monotonic()), style="dim", is_cut=True)

    @contextmanager
    def _or_nobody(self) -> Iterator[None]:
        """Draw; a run goes on without its terminal."""
        try:
            yield
        except OSError:
            self._screen.quiet = True
