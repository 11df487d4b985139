"""What a person at a terminal sees of a run: a line for each step, which ends in its time, as it happens.

The last line says what is at work and what is waited for, and is drawn again until that is done. Warnings and
errors are above it. All of it is made from the log and the events of its lines (`base.log_context`). Where
standard error is no terminal the log itself is shown, without this module.
"""

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

from ..base.log_context import Event, event_of, site
from ..base.times import elapsed
from ..base.words import _
from ..model.decision import named
from .terminal import Terminal

# Often enough for a clock that shows seconds.
_TICKS_PER_S = 2
# Longer lines are hard to follow to their end, where the time is.
_MOST_WIDTH = 100


@dataclass(slots=True)
class _Work:
    """What is done for a site now. `step` is empty between two steps; `detail` says more of a wait."""

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

    @property
    def text(self) -> str:
        """The step and its reason."""
        return _("{}: {}").format(_(named(self.step)), _(self.reason))


class Board:
    """What is at work for each site, from the events of runs. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._works: dict[str, _Work] = {}

    def take(self, domain: str, event: Event, now_s: float) -> Ended | None:
        """Take in an event of a site; return the step that ends with it, if one does.

        With any change a wait is over.
        """
        work = self._works.get(domain)
        match event:
            case Event("begins", {"step": str(key), "reason": str(reason)}):
                self._works[domain] = _Work(key, reason, now_s)
            case Event("waits", {"what": str(what), "detail": detail}):
                work = self._works.setdefault(domain, _Work("", "", now_s))
                work.waits_for, work.detail = what, f" ({detail})" if detail else ""
            case Event("run ended"):
                self._works.pop(domain, None)
            case Event(kind, {"step": key}) if work is not None and work.step == key:
                del self._works[domain]
                return Ended(domain, work.step, work.reason, kind == "done", now_s - work.began_s)
            case Event(kind) if kind and work is not None:
                work.waits_for = work.detail = ""
        return None

    def doing(self, now_s: float) -> str:
        """Return in one line what is at work, and what is waited for; empty if nothing is."""
        # A copy: another thread may change it meanwhile.
        works = dict(self._works)
        if not works:
            return ""
        took = elapsed(now_s - min(work.began_s for work in works.values()), digits=0)
        if len(works) == 1:
            ((domain, work),) = works.items()
            line = f"{domain} {_(named(work.step))} {took}" if work.step else f"{domain} {took}"
            form = _("{}, waits for {}{}") if work.waits_for else "{}"
            return form.format(line, _(work.waits_for), work.detail)
        texts = [
            _waiting(count).format(count, _(what)) if what else _("{} running").format(count)
            for what, count in Counter(work.waits_for for work in works.values()).most_common()
        ]
        return _("{} sites, {}: {}").format(len(works), took, _("; ").join(texts))


def _waiting(count: int) -> str:
    return _("{} waits for {}") if count == 1 else _("{} wait for {}")


def line_of(ended: Ended, screen: Terminal) -> Table:
    """Return the line that stays of a step."""
    mark, style = (_("ok"), "green") if ended.is_done else (_("not done"), "yellow")
    line = Table.grid(
        Column(width=10, style=style),
        Column(ratio=1, no_wrap=True, overflow=screen.cut),
        Column(width=11, justify="right"),
    )
    line.width = min(screen.width, _MOST_WIDTH)
    line.add_row(mark, f"{ended.domain}  {ended.text}", elapsed(ended.took_s))
    return line


class Progress(logging.Handler):
    """Shows a run on the terminal `stream`, and warnings and errors in the form of `formatter`.

    Use it as a context manager around the run.
    """

    def __init__(self, stream: TextIO, formatter: logging.Formatter) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(formatter)
        self._screen = Terminal(stream)
        self._board = Board()
        self._drawn = ""
        # Standard output may be a file: rich must not redirect it to the screen.
        self._live = Live(
            console=self._screen,
            get_renderable=self._doing,
            refresh_per_second=_TICKS_PER_S,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        with self._unless_gone():
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        with self._unless_gone():
            self._live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Show what a line of the log changes. The handler's lock is held."""
        domain, now_s = site(), time.monotonic()
        ended = self._board.take(domain, event_of(record), now_s) if domain else None
        with self._unless_gone():
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
    def _unless_gone(self) -> Iterator[None]:
        """Draw. A run goes on if its terminal is gone."""
        try:
            yield
        except OSError:
            self._screen.quiet = True
