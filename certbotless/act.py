"""Carry the steps out: several sites at a time, each under its lock.

For each site: observe, decide, take the first step that is due, and look again, until nothing is due. So
every step is taken for what the world is, not for what the step before should have made of it.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from .clock import SlotClock
from .config import Config, Site
from .decide import Intent, Step
from .errors import CertbotlessError, DeployWaits, DnsError, Interrupted, IssueError, PropagationTimeout
from .leaf import rfc3339
from .ledger import local_backoff, order_backoff
from .look import View, look
from .observe import Observation
from .state import Events, Failure, LedgerFile, SiteFile
from .steps import Edges, Steps

logger = logging.getLogger(__name__)

# How long another run may hold a site beyond the propagation of its records: the CA's time, and a restart.
_LOCK_MARGIN_S = 1800


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a site stood at the end of a run.

    Attributes:
        state, reason: as in `status`.
        is_renewed: a certificate issued after the run began is served, or published where nobody serves.
        failure: what went wrong, if anything did.
    """

    domain: str
    state: Literal["ok", "pending", "failing"]
    reason: str
    is_renewed: bool
    failure: Failure | None


def run(config: Config, sites: Sequence[Site], edges: Edges, intent: Intent) -> list[Outcome]:
    """Make the facts of these sites true, and return how each one stands.

    `config.parallel` sites talk at a time; one that waits holds no slot. One failing site holds up no other.
    """
    slots = threading.BoundedSemaphore(config.parallel)
    if len(sites) == 1:
        return [_guarded(config, sites[0], edges, intent, slots)]
    with ThreadPoolExecutor(max_workers=len(sites)) as pool:
        return list(pool.map(lambda site: _guarded(config, site, edges, intent, slots), sites))


def _guarded(
    config: Config, site: Site, edges: Edges, intent: Intent, slots: threading.BoundedSemaphore
) -> Outcome:
    """The guard around one site: whatever happens, the others go on."""
    try:
        with SlotClock(edges.clock, slots) as clock:
            return _SiteRun(config, site, replace(edges, clock=clock), intent).run()
    except Interrupted as exc:
        return Outcome(site.domain, "pending", exc.message, False, None)
    except CertbotlessError as exc:
        logger.error("site.failed domain=%s error=%s", site.domain, exc)
        return _failed(site, _failure(exc, edges.clock.now(), config.check_every, 1))
    except Exception as exc:
        logger.exception("site.crashed domain=%s", site.domain)
        crash = CertbotlessError(
            f"internal error: {type(exc).__name__}", hint="please report it with the log"
        )
        return _failed(site, _failure(crash, edges.clock.now(), config.check_every, 1))


class _SiteRun:
    """One run for one site."""

    def __init__(self, config: Config, site: Site, edges: Edges, intent: Intent) -> None:
        self._config = config
        self._site = site
        self._clock = edges.clock
        self._servers = edges.servers
        self._intent = intent
        self._began = edges.clock.now()
        self._file = SiteFile(config.state_dir, site.domain)
        self._ledger = LedgerFile(config.state_dir)
        self._events = Events(config.state_dir)
        self._steps = Steps(config, site, edges, intent)

    def run(self) -> Outcome:
        lock_timeout_s = self._config.dns.propagation_timeout.total_seconds() + _LOCK_MARGIN_S
        with self._file.locked(self._clock, lock_timeout_s):
            self._forget_failures_of_another_config()
            taken: set[str] = set()
            while True:
                now = self._clock.now()
                view = look(
                    self._site, self._config, self._servers, self._ledger.entries(), now, self._intent
                )
                self._note_shown(view)
                step = next((s for s in view.decision.due(now) if s.key not in taken), None)
                if step is None:
                    return self._outcome(view)
                taken.add(step.key)
                try:
                    self._steps.take(step, view.seen)
                except Interrupted:
                    raise  # a killed attempt is no failure
                except CertbotlessError as exc:
                    self._note_failure(step, exc, view.seen)
                    if isinstance(exc, DnsError) and not exc.retryable:
                        taken.add("order")  # its TXT record would be refused as this one was
                else:
                    self._note_success(step)

    def _forget_failures_of_another_config(self) -> None:
        digest = self._config.digest(self._site)
        if self._file.load().digest != digest:
            self._file.change(digest=digest, failures={})

    def _note_shown(self, view: View) -> None:
        """Remember that the servers show what we wrote, so that a later drift is put right at once."""
        record = view.remembered.record
        shown = view.seen.shown
        if record and not record.is_seen and shown and all(values == {record.value} for values in shown):
            self._file.change(record=record.model_copy(update={"is_seen": True}))

    def _note_success(self, step: Step) -> None:
        failures = self._file.load().failures
        if step.key in failures:
            self._file.change(failures={key: f for key, f in failures.items() if key != step.key})

    def _note_failure(self, step: Step, exc: CertbotlessError, seen: Observation) -> None:
        failures = self._file.load().failures
        count = failures[step.key].count + 1 if step.key in failures else 1
        failure = _failure(exc, self._clock.now(), self._backoff(step, exc, count, seen), count)
        level = logging.WARNING if failure.is_waiting or exc.retryable else logging.ERROR
        text = "%s.failed domain=%s error=%s retry_at=%s"
        logger.log(level, text, step.key, self._site.domain, exc, rfc3339(failure.retry_at))
        self._file.change(failures={**failures, step.key: failure})
        self._events.append(failure.at, self._site.domain, f"{step.key}.failed", str(exc))

    def _backoff(self, step: Step, exc: CertbotlessError, count: int, seen: Observation) -> timedelta:
        # The CA's schedule is for what the CA saw; a missing container or a full disk is tried soon again.
        if step.action != "order" or not isinstance(exc, IssueError | PropagationTimeout):
            return local_backoff(count, self._config.check_every)
        facts = seen.published.facts
        return order_backoff(count, facts.lifetime if facts else None, random.random())  # noqa: S311

    def _outcome(self, view: View) -> Outcome:
        origin = view.seen.published.origin
        since = self._intent.renew_since or self._began
        is_fresh = origin is not None and origin.issued_at >= since
        is_served = not any(step.action in ("order", "restore", "deploy") for step in view.decision.steps)
        reason = view.reason
        if waits := [step.wait_text for step in view.decision.steps if step.wait_text]:
            reason = waits[0]
        return Outcome(self._site.domain, view.state, reason, is_fresh and is_served, view.last_failure)


def _failure(exc: CertbotlessError, now: datetime, wait: timedelta, count: int) -> Failure:
    return Failure(
        at=now,
        what=exc.message,
        hint=exc.hint,
        retry_at=now + max(wait, exc.retry_after or wait),
        count=count,
        is_waiting=isinstance(exc, DeployWaits),
    )


def _failed(site: Site, failure: Failure) -> Outcome:
    return Outcome(site.domain, "failing", failure.what, False, failure)
