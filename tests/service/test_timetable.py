"""The timetable: each job once at its moment, whatever the others do. Real threads and time."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from queue import SimpleQueue

import pytest
from support.bed import wait_until

from certbotless.service.timetable import Timetable

HOUR_S = 3600.0
# Where a job must not come: so long is waited for it.
QUIET_S = 0.3


def now() -> datetime:
    return datetime.now(UTC)


class Runs:
    """Jobs that note that they ran, and those that go on until they are let go."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.threads: set[str] = set()
        self._gate: SimpleQueue[None] = SimpleQueue()

    def noting(self, name: str) -> Callable[[], None]:
        def job() -> None:
            self.noted.append(name)
            self.threads.add(threading.current_thread().name)

        return job

    def long(self) -> None:
        self.noted.append("began")
        self._gate.get()
        self.noted.append("ended")

    def let_go(self) -> None:
        self._gate.put(None)

    def wait_for(self, *names: str) -> None:
        wait_until(lambda: len(self.noted) >= len(names), f"{names} have run, so far {self.noted}")
        assert self.noted == [*names]


@pytest.fixture
def runs() -> Runs:
    return Runs()


@pytest.fixture
def timetable() -> Iterator[Timetable]:
    made = Timetable("other")
    made.start()
    yield made
    made.stop()


def test_a_job_runs_once_at_the_earliest_moment_that_it_was_asked_for(
    timetable: Timetable, runs: Runs
) -> None:
    """In whichever order; what is past is now, and a wait without end asks for nothing."""
    began = time.monotonic()
    for wait_s in (HOUR_S, 0.2, HOUR_S, math.inf):
        timetable.after("a", wait_s, runs.noting("a"))
    runs.wait_for("a")
    assert time.monotonic() - began >= 0.2
    timetable.plan("b", now() - timedelta(days=365), runs.noting("b"))
    runs.wait_for("a", "b")
    time.sleep(QUIET_S)
    assert runs.noted == ["a", "b"]


def test_a_planned_moment_may_be_put_off_and_given_up(timetable: Timetable, runs: Runs) -> None:
    timetable.plan("a", now() + timedelta(seconds=0.1), runs.noting("a"))
    timetable.plan("a", now() + timedelta(hours=1), runs.noting("a"))
    timetable.plan("b", now() + timedelta(seconds=0.1), runs.noting("b"))
    timetable.plan("b", None, runs.noting("b"))
    timetable.plan("c", None, runs.noting("c"))
    time.sleep(QUIET_S)
    assert runs.noted == []
    timetable.plan("a", now(), runs.noting("a"))
    runs.wait_for("a")


def test_jobs_run_on_one_thread_but_for_those_of_another(timetable: Timetable, runs: Runs) -> None:
    """What takes long on a thread of its own keeps no job waiting; the worker is not busy with it."""
    timetable.after("long", 0, runs.long, "other")
    runs.wait_for("began")
    assert timetable.busy_s == 0
    for number in range(20):
        timetable.after(str(number), 0, runs.noting(str(number)))
    wait_until(lambda: len(runs.noted) == 21, "all have run")
    assert len(runs.threads) == 1
    timetable.after("too long", 0, runs.long)
    wait_until(lambda: timetable.busy_s >= 0.1, "the worker is busy")
    for _ in range(2):
        runs.let_go()
    wait_until(lambda: timetable.busy_s == 0, "it has nothing to do")


def test_what_is_asked_for_while_it_runs_is_run_once_more(timetable: Timetable, runs: Runs) -> None:
    """However often it is asked for: what it will see is the same."""
    timetable.after("long", 0, runs.long)
    runs.wait_for("began")
    for _ in range(5):
        timetable.after("long", 0, runs.long)
        time.sleep(0.05)
    runs.let_go()
    runs.wait_for("began", "ended", "began")
    runs.let_go()
    runs.wait_for("began", "ended", "began", "ended")
    time.sleep(QUIET_S)
    assert runs.noted == ["began", "ended", "began", "ended"]


def test_a_job_that_crashes_is_told_and_stops_no_other(
    timetable: Timetable, runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback, until it has run well again."""

    def broken() -> None:
        raise ZeroDivisionError

    timetable.after("a", 0, broken)
    timetable.after("b", 0, runs.noting("b"))
    runs.wait_for("b")
    assert timetable.has_crashed
    assert [(r.message, r.exc_info is not None) for r in caplog.records] == [("job.crashed name=a", True)]
    timetable.after("a", 0, runs.noting("a"))
    runs.wait_for("b", "a")
    wait_until(lambda: not timetable.has_crashed, "it has run well")


@pytest.mark.row(55)
def test_after_a_jump_of_the_clock_every_job_runs_once(timetable: Timetable, runs: Runs) -> None:
    """Also one that was planned by a clock that was 50 years ahead; the past leaves no backlog."""
    timetable.plan("a", now() + timedelta(days=50 * 365), runs.noting("a"))
    timetable.after("b", HOUR_S, runs.noting("b"))
    timetable.all_now()
    wait_until(lambda: len(runs.noted) == 2, "both have run")
    time.sleep(QUIET_S)
    assert sorted(runs.noted) == ["a", "b"]


def test_planning_from_many_threads_while_all_is_run_now_loses_no_job(
    timetable: Timetable, runs: Runs
) -> None:
    """Jobs begin while they are moved and given up: the scheduler's complaints end nobody."""

    def plan(_: int) -> None:
        for number in range(200):
            timetable.after("a", number % 3 / 1000, runs.noting("a"))
            timetable.plan("b", now() if number % 2 else None, runs.noting("b"))
            timetable.all_now()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(plan, range(4)))
    ran = runs.noted.count("a")
    timetable.after("a", 0, runs.noting("a"))
    wait_until(lambda: runs.noted.count("a") > ran, "it still runs")


def test_nothing_runs_after_the_end(runs: Runs) -> None:
    timetable = Timetable()
    timetable.start()
    timetable.after("a", 0.1, runs.noting("a"))
    timetable.stop()
    timetable.after("b", 0, runs.noting("b"))
    time.sleep(QUIET_S)
    assert runs.noted == []
