"""Parts of a daemon without threads and processes: they move when a test says so."""

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from certbotless.base.clock import SystemClock
from certbotless.service.process import Worker
from certbotless.service.timetable import Job, Timetable
from certbotless.service.wire import Addresses


class Jobs(Timetable):
    """A timetable that runs a job when a test calls `run`.

    Attributes:
        planned: by name, when a job is to be run, and the job.
    """

    def __init__(self) -> None:
        self.planned: dict[str, tuple[datetime, Job]] = {}

    def after(self, name: str, wait_s: float, job: Job, thread: str = "") -> None:
        moment = datetime.now(UTC) + timedelta(seconds=min(wait_s, 1e9))
        if wait_s != math.inf and (name not in self.planned or moment < self.planned[name][0]):
            self.planned[name] = moment, job

    def plan(self, name: str, moment: datetime | None, job: Job) -> None:
        self.planned.pop(name, None)
        if moment is not None:
            self.planned[name] = moment, job

    def run(self, *names: str) -> None:
        """Run these jobs, in this order; each must be planned."""
        for name in names:
            self.planned.pop(name)[1]()

    def is_due(self, name: str) -> bool:
        """Whether the job is to be run now."""
        return name in self.planned and self.planned[name][0] <= datetime.now(UTC)


class StillWorker(Worker):
    """A worker that is no process. It ends when a test sets `has_gone`.

    Attributes:
        raw, addresses: what it was started with.
        asked: how often it was asked to end.
    """

    left_s = 60.0

    def __init__(self, raw: bytes, addresses: Mapping[str, Addresses], timeout_s: float) -> None:
        self.raw, self.addresses = raw, addresses
        self.asked = 0
        self.is_ending = self.has_gone = False

    @property
    def unfinished(self) -> frozenset[str]:
        return frozenset() if self.has_gone else frozenset(self.addresses)

    def has_ended(self) -> bool:
        return self.has_gone

    def ask_to_end(self) -> None:
        self.asked += 1
        self.is_ending = True


class MovedClock(SystemClock):
    """The machine's clock, which is ahead by as many seconds as a test says."""

    ahead_s = 0.0

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.ahead_s)

    def monotonic(self) -> float:
        return super().monotonic() + self.ahead_s
