"""What the daemon does when: named jobs (APScheduler), each of which is one moment. Light.

A job plans its own next run, so a clock that jumps leaves no backlog. All jobs but those that wait for the
network share one thread, the job thread: what only they touch needs no lock.

Source: APScheduler 3 waits by the monotonic clock for moments of the wall clock, so `all_now` is called by
what notices a jump of the wall clock (`service.daemon`).
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger

logger = logging.getLogger(__name__)

_JOBS = "default"

Job = Callable[[], None]


class Timetable:
    """The jobs of one daemon, by name. Each name belongs to one function. Safe to use from any thread.

    Args:
        threads: the names of further threads, for jobs that would keep the job thread waiting.
    """

    def __init__(self, *threads: str) -> None:
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={name: ThreadPoolExecutor(1) for name in (_JOBS, *threads)},
            # A late run is a run all the same. What is asked for while it runs is run once more after it.
            job_defaults={"misfire_grace_time": None, "max_instances": 2},
        )
        # Of two threads that plan the same job, the one with the later moment must not win.
        self._planning = threading.Lock()
        self._crashed: set[str] = set()
        # By thread, when the job began that it is at.
        self._began_s: dict[str, float] = {}

    def start(self) -> None:
        """Begin with the jobs that are planned by now."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing more; what runs is not waited for."""
        self._scheduler.shutdown(wait=False)

    def after(self, name: str, wait_s: float, job: Job, thread: str = _JOBS) -> None:
        """Run a job in so many seconds, unless it is planned for before; never, if they are infinite."""
        if wait_s == math.inf:
            return
        moment = datetime.now(UTC) + timedelta(seconds=wait_s)
        with self._planning:
            planned = self._scheduler.get_job(name)
            if planned is None or moment < planned.next_run_time:
                self._add(name, moment, job, thread)

    def plan(self, name: str, moment: datetime | None, job: Job) -> None:
        """Run a job at this moment (aware) and at no other; None: not at all."""
        with self._planning:
            planned = self._scheduler.get_job(name)
            if moment is not None and (planned is None or planned.next_run_time != moment):
                self._add(name, moment, job, _JOBS)
            elif moment is None and planned is not None:
                with suppress(JobLookupError):  # it has just begun
                    planned.remove()

    def all_now(self) -> None:
        """Run every job now: the clock by which they were planned has jumped. Each plans itself again."""
        for job in self._scheduler.get_jobs():
            with suppress(JobLookupError):  # it has just begun
                job.modify(next_run_time=datetime.now(UTC))

    @property
    def has_crashed(self) -> bool:
        """Whether the last run of a job ended by a fault of the program."""
        return bool(self._crashed)

    @property
    def busy_s(self) -> float:
        """For how long the job thread has been at its present job, in seconds; 0 if it has none."""
        now_s = time.monotonic()
        return now_s - self._began_s.get(_JOBS, now_s)

    def _add(self, name: str, moment: datetime, job: Job, thread: str) -> None:
        self._scheduler.add_job(
            self._run,
            DateTrigger(moment),
            (name, job, thread),
            id=name,
            next_run_time=moment,
            executor=thread,
            replace_existing=True,
        )

    def _run(self, name: str, job: Job, thread: str) -> None:
        """Run a job; a fault of the program in it keeps no other job from being run."""
        self._began_s[thread] = time.monotonic()
        try:
            job()
            self._crashed.discard(name)
        except Exception:
            logger.exception("job.crashed name=%s", name)
            self._crashed.add(name)
        finally:
            del self._began_s[thread]
