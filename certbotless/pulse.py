"""Whether the looks go on: what a watchdog may be told.

A look that hangs stops its pulse, and so does a scheduler that starts none; a look at many sites keeps it by
each site that is done, and what children are at work on does not count.
"""

from __future__ import annotations

import time


class Pulse:
    """The pulse of the looks; beaten by their threads, felt by the main one.

    Args:
        patience_s: how long one site, or the start of a look that is due, may take.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._next_by_s = 0.0
        self.beat()

    def beat(self) -> None:
        """A look begins, or has done a site: the next beat is due."""
        self._next_by_s = time.monotonic() + self._patience_s

    def ask(self) -> None:
        """A look is asked for: it must begin in time, and one that hangs is given no more of it."""
        self._next_by_s = min(self._next_by_s, time.monotonic() + self._patience_s)

    def rest(self, seconds: float) -> None:
        """A look is done, and the next one comes in so many seconds."""
        self._next_by_s = time.monotonic() + max(seconds, 0) + self._patience_s

    @property
    def is_felt(self) -> bool:
        """Whether no beat is overdue."""
        return time.monotonic() < self._next_by_s
