"""All processes of one daemon: when one is started and ended, and what follows from its end. Light."""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta

from ..base.clock import SystemClock
from ..config.addresses import AddressRule
from ..config.fingerprints import Fingerprints
from ..config.settings import Config
from ..model.decision import CONFIRM_OF
from ..model.ledger import local_backoff
from ..model.view import View
from .process import Process, Worker, start_helper
from .timetable import Timetable
from .wire import Addresses

logger = logging.getLogger(__name__)

# Together with a worker's own clean-up this stays within the 5 s that a stop may take.
STOP_TIMEOUT_S = 4.0
# So many workers of a site are ended for a new LAN address within the longest run. The next one goes on, so
# that a certificate is renewed where addresses come and go. No worker writes a record with an old address.
_MOST_MISLED = 3
# Between two workers for the same steps, where the first one left no trace.
_LEAST_PAUSE = timedelta(seconds=30)
# Between two starts of a helper; longer after each failure.
_HELPER_PAUSES = {"visit": timedelta(minutes=1), "notify": timedelta(seconds=5)}


class Workers:
    """The processes of one daemon. Each method runs in the job thread.

    Args:
        start_worker: takes the configuration, the addresses by domain and the timeout in seconds.

    Attributes:
        on_ended: called with the domains of workers that have ended; to be set.
        pauses: between workers for the same steps.
    """

    def __init__(
        self,
        timetable: Timetable,
        clock: SystemClock,
        start_worker: Callable[[bytes, Mapping[str, Addresses], float], Worker] = Worker,
    ) -> None:
        self._timetable, self._clock, self._start_worker = timetable, clock, start_worker
        self.on_ended: Callable[[Collection[str]], None]
        self._workers: list[Worker] = []
        self.pauses = StartPauses()
        self._misled_at: dict[str, list[float]] = {}
        self._helpers: dict[str, Process] = {}
        self._no_helper_until_s: dict[str, float] = {}
        self._failures: Counter[str] = Counter()

    # Workers.

    def start(self, raw: bytes, config: Config, views: Iterable[View]) -> None:
        """Start one worker for all that is due at these sites, unless it was started a moment ago."""
        may_start = [view for view in views if self.pauses.may_start(view, config.check_every)]
        due = {view.site.domain: view.seen.addresses for view in may_start}
        if due and not self._clock.is_stopped:
            self._workers.append(self._start_worker(raw, due, config.longest_run.total_seconds()))
            self._plan_reap()

    @property
    def busy(self) -> set[str]:
        """The domains that a worker is at work on."""
        return {domain for worker in self._workers for domain in worker.unfinished}

    def end_edited(self, before: Config, after: Config) -> None:
        """Ask workers to end that are at work on a site whose configuration has changed."""
        old, new = Fingerprints.of(before), Fingerprints.of(after)
        digests = {site.domain: new.digests(after, site) for site in after.kept}
        edited = {s.domain for s in before.kept if digests.get(s.domain) != old.digests(before, s)}
        self._ask_to_end(edited, "the configuration was edited")

    def end_misled(self, config: Config, settled: Callable[[AddressRule], str]) -> None:
        """Ask workers to end that began with another LAN address: no address waits for a certificate.

        Args:
            settled: returns the address that a rule has settled on; empty for none.
        """
        begun = {d: w.addresses[d] for w in self._workers for d in w.unfinished if not w.is_ending}
        misled = {
            site.domain
            for site in config.kept
            for type_, then in begun.get(site.domain, {}).items()
            if settled(site.rules[type_]) not in ("", then)
        }
        now_s, longest_s = self._clock.monotonic(), config.longest_run.total_seconds()
        for domain in sorted(misled):
            lately = [at for at in self._misled_at.get(domain, ()) if now_s - at < longest_s]
            if len(lately) >= _MOST_MISLED:
                misled.discard(domain)
            else:
                lately.append(now_s)
            self._misled_at[domain] = lately
        self._ask_to_end(misled, "the LAN address has changed")

    def _ask_to_end(self, domains: set[str], why: str) -> None:
        for worker in self._workers:
            if stale := worker.unfinished & domains:
                logger.info("worker.ended_early domains=%s reason=%s", ",".join(sorted(stale)), why)
                worker.ask_to_end()

    # Helpers.

    def is_helping(self, name: str) -> bool:
        """Whether this helper runs."""
        return name in self._helpers

    def help(self, name: str, stdin: bytes) -> None:
        """Start a helper that reads this, unless it runs or was started a moment ago."""
        now_s = self._clock.monotonic()
        is_pausing = now_s < self._no_helper_until_s.get(name, now_s)
        if is_pausing or self.is_helping(name) or self._clock.is_stopped:
            return
        pause = local_backoff(self._failures[name] + 1, _HELPER_PAUSES[name])
        self._no_helper_until_s[name] = now_s + pause.total_seconds()
        self._helpers[name] = start_helper(name, stdin)
        self._plan_reap()

    # All processes.

    def reap(self) -> None:
        """Forget processes that have ended, and end those that are overdue."""
        ended = [worker for worker in self._workers if worker.has_ended()]
        self._workers = [worker for worker in self._workers if worker not in ended]
        for name in [name for name, helper in self._helpers.items() if helper.has_ended()]:
            self._failures[name] = self._failures[name] + 1 if self._helpers.pop(name).has_failed else 0
        self._plan_reap()
        if ended:
            self.on_ended([domain for worker in ended for domain in worker.addresses])

    def _plan_reap(self) -> None:
        """Reap again when the next process is overdue."""
        left_s = [process.left_s for process in [*self._workers, *self._helpers.values()]]
        self._timetable.after("children", min(left_s, default=math.inf), self.reap)

    def stop(self) -> None:
        """End all processes. Takes at most `STOP_TIMEOUT_S`, and a moment for each process that is killed."""
        running = [*self._workers, *self._helpers.values()]
        for process in running:
            process.ask_to_end()
        deadline_s = self._clock.monotonic() + STOP_TIMEOUT_S
        for process in running:
            process.end(max(deadline_s - self._clock.monotonic(), 0.1))


class StartPauses:
    """Growing pauses between workers for the same steps.

    A step that fails is kept with its retry time in the site's state. These pauses count where not even that
    could be written, or where the worker crashed.
    """

    def __init__(self) -> None:
        self._starts: dict[str, tuple[tuple[Addresses, frozenset[str]], int, datetime]] = {}

    def may_start(self, view: View, check_every: timedelta) -> bool:
        """Return whether a worker may start for the steps that are due, and count the start if it may."""
        domain, now = view.site.domain, view.seen.at
        # A record that spreads needs checks, but no worker.
        due = frozenset(step.key for step in view.decision.due(now) if step.action not in CONFIRM_OF.values())
        before, count, not_before = self._starts.get(domain, (({}, frozenset()), 0, now))
        if not due:
            self._starts.pop(domain, None)
            return False
        # With another address the same steps are other steps.
        wanted = (view.seen.addresses, due)
        if wanted == before and now < not_before:
            return False
        count = count + 1 if wanted == before else 1
        wait = local_backoff(count, min(check_every, _LEAST_PAUSE))
        self._starts[domain] = (wanted, count, now + wait)
        return True

    def not_before(self, domain: str) -> datetime | None:
        """Return from when on a worker may be started again for the same steps; None if none was started."""
        started = self._starts.get(domain)
        return None if started is None else started[2]

    def forget(self) -> None:
        """Let all steps be started at once."""
        self._starts.clear()
