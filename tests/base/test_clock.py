"""Clocks that stop, share slots, and pace what is polled."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeClock

from certbotless.base.clock import Pace, SlotClock, SystemClock
from certbotless.base.errors import Interrupted


def test_the_system_clock_is_aware_utc() -> None:
    clock = SystemClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert clock.now().utcoffset() == timedelta()
    assert clock.monotonic() <= clock.monotonic()


def test_a_stopped_clock_ends_every_later_sleep_at_once() -> None:
    clock = SystemClock()
    was_stopped = clock.is_stopped
    clock.stop()
    assert (was_stopped, clock.is_stopped) == (False, True)
    began = time.monotonic()
    with pytest.raises(Interrupted):
        clock.sleep(60)
    assert time.monotonic() - began < 60


def test_a_stop_is_seen_at_once_also_while_those_who_wait_wake() -> None:
    """Each of them takes the token for a moment: what comes next must not begin in such a one."""

    def wait() -> None:
        with suppress(Interrupted):
            clock.sleep(60)

    clock = SystemClock()
    waiting = [threading.Thread(target=wait) for _ in range(8)]
    for thread in waiting:
        thread.start()
    clock.stop()
    while any(thread.is_alive() for thread in waiting):
        assert clock.is_stopped
        with pytest.raises(Interrupted):
            clock.sleep(0)


def test_a_sleep_under_way_ends_when_the_clock_is_stopped() -> None:
    clock, ended = SystemClock(), threading.Event()

    def sleeper() -> None:
        with pytest.raises(Interrupted):
            clock.sleep(60)
        ended.set()

    thread = threading.Thread(target=sleeper)
    thread.start()
    clock.stop()
    thread.join(60)
    assert ended.is_set()


@pytest.mark.parametrize("seconds", [0, -1])
def test_a_sleep_of_nothing_returns(seconds: float) -> None:
    SystemClock().sleep(seconds)


def is_free(slots: threading.BoundedSemaphore) -> bool:
    if free := slots.acquire(blocking=False):
        slots.release()
    return free


def test_a_slot_is_held_but_for_sleeping() -> None:
    slots, fake, free_in_sleep = threading.BoundedSemaphore(1), FakeClock(), []
    fake.on_sleep = lambda: free_in_sleep.append(is_free(slots))
    with SlotClock(fake, slots) as clock:
        assert not is_free(slots)
        clock.sleep(5)
        assert not is_free(slots)
        assert clock.now() == fake.now()
        assert clock.monotonic() == 5
    assert free_in_sleep == [True]
    assert is_free(slots)


def test_a_sleep_that_is_interrupted_leaves_the_slots_as_they_were() -> None:
    slots, fake = threading.BoundedSemaphore(1), FakeClock()
    fake.stop()
    with SlotClock(fake, slots) as clock:
        with pytest.raises(Interrupted):
            clock.sleep(5)
        # What is to be cleaned up now needs no slot.
        assert is_free(slots)
    assert is_free(slots)


def test_many_sleepers_need_no_more_than_one_slot() -> None:
    slots, meeting = threading.BoundedSemaphore(1), threading.Barrier(8, timeout=60)
    passed = []

    def site() -> None:
        fake = FakeClock()
        fake.on_sleep = meeting.wait  # returns only once all eight are asleep
        with SlotClock(fake, slots) as clock:
            clock.sleep(1)
            passed.append(True)

    threads = [threading.Thread(target=site) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(passed) == 8


@given(
    timeout_s=st.floats(0, 1e5),
    first_s=st.floats(0.01, 10),
    most_s=st.floats(10, 100),
    share=st.floats(0.01, 1),
    asked_s=st.lists(st.floats(0, 1e6), max_size=50),
)
def test_a_pace_ends_at_its_deadline_and_never_later(
    timeout_s: float, first_s: float, most_s: float, share: float, asked_s: list[float]
) -> None:
    clock = FakeClock()
    pace = Pace(clock, timeout_s, first_s=first_s, most_s=most_s, share=share)
    for at_least_s in asked_s:
        before_s = pace.waited_s
        pace.wait(at_least_s)
        waited_s = pace.waited_s - before_s
        assert waited_s <= max(most_s, at_least_s) + 1e-6
        assert pace.expired or waited_s >= min(first_s, at_least_s or first_s) - 1e-6
    assert pace.waited_s <= timeout_s + 1e-6
    assert pace.left_s == pytest.approx(timeout_s - pace.waited_s, abs=1e-6)
    if pace.expired:
        clock.sleeps.clear()
        pace.wait()
        assert clock.sleeps == [0]


def test_a_pace_starts_fast_and_notices_at_most_its_share_late() -> None:
    clock = FakeClock()
    pace = Pace(clock, 600, first_s=0.1, most_s=5, share=1 / 8)
    while not pace.expired:
        before_s = pace.waited_s
        pace.wait()
        step_s = pace.waited_s - before_s
        assert step_s <= max(0.1, before_s / 8) + 1e-9
        assert step_s <= 5
    assert clock.sleeps[0] == 0.1
    assert max(clock.sleeps) == 5
    assert len(clock.sleeps) < 200


@pytest.mark.parametrize("start_s", [0, 458.1, 725.85])
def test_a_deadline_is_reached_wherever_the_clock_began(start_s: float) -> None:
    """Sums of floats may miss it by their last bit."""
    clock = FakeClock()
    clock.advance(start_s)
    pace = Pace(clock, 600, first_s=0.2, most_s=10)
    for _ in range(200):
        if pace.expired:
            return
        pace.wait()
    pytest.fail(f"{pace.left_s} s are left")
