"""Time as an outside thing: decisions take `now`, waiting code takes a clock.

After a stop, every sleep of the clock raises `Interrupted`. So all that waits ends at once and cleans up.
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
from .words import Text

# A clock that shows less is wrong: this code is younger. Set it with each release.
RELEASED = datetime(2026, 11, 1, tzinfo=UTC)
# With a clock that is further from the CA's nothing is ordered: what seems to be due may not be.
TRUSTED_SKEW = timedelta(hours=1)
# A certificate may begin so far ahead of our clock: clocks differ. With a clock that is further behind
# nothing is ordered, for not every CA dates its certificates back.
START_SLACK = timedelta(minutes=5)
# NTP may step back by so much.
_STEP = timedelta(minutes=1)


def is_possible(now: datetime) -> bool:
    """Whether a correct clock can show this; one without a battery starts in 1970."""
    return now >= RELEASED


def is_believable(noted: datetime, now: datetime) -> bool:
    """Whether a moment that was noted as past is past. If not, the clock has gone back since."""
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
    """The machine's clock. Any thread or signal handler may stop it.

    The stop is a token in a queue; every waiter takes it and puts it back, so the queue may be empty for a
    moment. A signal handler may use a SimpleQueue even while it interrupts a user of it, unlike the lock of
    an Event.
    """

    def __init__(self) -> None:
        self._stop: SimpleQueue[None] = SimpleQueue()
        self._is_stopped = False

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if not self._is_stopped:
            try:
                self._stop.get(timeout=max(seconds, 0))
            except Empty:
                return
            self._stop.put(None)
        raise Interrupted(Text("asked to stop"), hint=Text("the next run carries on"))

    def stop(self) -> None:
        """Make every present and later sleep raise `Interrupted`."""
        self._is_stopped = True
        self._stop.put(None)

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._is_stopped


class SlotClock:
    """A clock that gives its slot back while it sleeps: all waits overlap, only talking is limited.

    Use it as a context manager around all that is done for one site. Cleaning up after a stop needs no slot.
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
        """Hold no slot inside; then wait for one again, unless there was none before."""
        takes_again = self._has_slot
        self._give()
        try:
            yield
        except Interrupted:
            takes_again = False
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
        timeout_s: from now; `expired` is true after it.
        first_s, most_s: the shortest and the longest wait.
        share: each wait is this share of the time waited so far, so a change is noticed at most that late.
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
        """Seconds until the deadline, never negative; less than a microsecond is none.

        A sum of floats may miss the deadline by its last bit, which no sleep of a test's clock makes good.
        """
        return max(round(self._timeout_s - self.waited_s, 6), 0)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.left_s == 0

    def wait(self, at_least_s: float = 0) -> None:
        """Sleep for the next step, or as long as the other side has asked for, but not past the deadline."""
        step_s = min(max(self.waited_s * self._share, self._first_s), self._most_s)
        self._clock.sleep(min(max(step_s, at_least_s), self.left_s))
