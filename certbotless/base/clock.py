"""Time as an outside thing: decisions take `now`, waiting code takes a clock.

A clock that was told to stop raises `Interrupted` from its next sleep, so everything that waits ends at once
and cleans up on the way out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Protocol

from .errors import Interrupted

# A clock that shows less is wrong: this code is younger. To be set anew with each release.
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
# A clock that is further from the CA's orders nothing: what it says is due may not be.
TRUSTED_SKEW = timedelta(hours=1)
# A certificate that begins so far ahead of our clock is published all the same: clocks differ. Not every CA
# dates its certificates back, so with a clock that is further behind than this none is ordered.
START_SLACK = timedelta(minutes=5)
# NTP may step back by as much without anybody's noticing.
_STEP = timedelta(minutes=1)


def is_possible(now: datetime) -> bool:
    """Whether a clock that is right may say so; one without a battery starts in 1970."""
    return now >= RELEASED


def is_believable(noted: datetime, now: datetime) -> bool:
    """Whether a moment that was written down as past is past; else the clock has gone back since."""
    return noted <= now + _STEP


class Clock(Protocol):
    """What waiting code needs of time."""

    def now(self) -> datetime:
        """Return the present as aware UTC."""

    def monotonic(self) -> float:
        """Return seconds that never go back; only differences mean anything."""

    def sleep(self, seconds: float) -> None:
        """Wait. Raises `Interrupted` when asked to stop."""


class SystemClock:
    """The machine's clock, with a stop that any thread or signal handler may pull.

    The stop is a token in a queue that every waiter looks at and leaves there: unlike the lock of an Event, a
    SimpleQueue may be used by a signal handler that interrupts its own user.
    """

    def __init__(self) -> None:
        self._stop: SimpleQueue[None] = SimpleQueue()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        try:
            self._stop.get(timeout=max(seconds, 0))
        except Empty:
            return
        self._stop.put(None)
        raise Interrupted("asked to stop", hint="the next run carries on")

    def stop(self) -> None:
        """Make every present and later sleep raise `Interrupted`."""
        self._stop.put(None)

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return not self._stop.empty()


class SlotClock:
    """A clock whose sleepers hold no slot: all waits overlap, only talking is limited.

    Use as a context manager around all that one site does. After a stop it cleans up without a slot.
    """

    def __init__(self, clock: Clock, slots: threading.BoundedSemaphore) -> None:
        self.now, self.monotonic = clock.now, clock.monotonic
        self._clock = clock
        self._slots = slots
        self._has_slot = False

    def __enter__(self) -> SlotClock:
        self._take()
        return self

    def __exit__(self, *exc: object) -> None:
        self._give()

    def sleep(self, seconds: float) -> None:
        with self.slot_for_others():
            self._clock.sleep(seconds)

    @contextmanager
    def slot_for_others(self) -> Iterator[None]:
        """Hold no slot inside, and wait for one at the end, unless it was entered without one."""
        takes_again = self._has_slot
        self._give()
        try:
            yield
        except Interrupted:
            takes_again = False  # after a stop it cleans up without a slot
            raise
        finally:
            if takes_again:
                self._take()

    def _take(self) -> None:
        self._slots.acquire()
        self._has_slot = True

    def _give(self) -> None:
        if self._has_slot:
            self._has_slot = False
            self._slots.release()


class Pace:
    """Polling that starts fast and slows down with the time already waited, under one deadline.

    Args:
        timeout_s: from now; `expired` turns true after it.
        first_s, most_s: the shortest and the longest wait.
        share: each wait is this share of the time waited so far, so what is polled for is noticed
            at most that share late.
    """

    def __init__(
        self, clock: Clock, timeout_s: float, *, first_s: float, most_s: float, share: float = 1 / 8
    ) -> None:
        self._clock = clock
        self._start = clock.monotonic()
        self._timeout_s = timeout_s
        self._first_s = first_s
        self._most_s = most_s
        self._share = share

    @property
    def waited_s(self) -> float:
        """Seconds since the start."""
        return self._clock.monotonic() - self._start

    @property
    def left_s(self) -> float:
        """Seconds until the deadline, never negative."""
        return max(self._timeout_s - self.waited_s, 0)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.left_s == 0

    def wait(self, at_least_s: float = 0) -> None:
        """Sleep for the next step, or for as long as the other side asked, but not past the deadline."""
        step_s = min(max(self.waited_s * self._share, self._first_s), self._most_s)
        self._clock.sleep(min(max(step_s, at_least_s), self.left_s))
