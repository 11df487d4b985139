"""Carry the steps out: several sites at a time, each under its lock.

For each site: observe, decide, take the first step that is due, and check again, until nothing is due. So
every step follows from what is true now, not from what the step before should have made true.
"""

import logging
import random
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from ..base.clock import SlotClock
from ..base.concurrent import have_descriptors, together
from ..base.errors import (
    AccountPaused,
    CaUnavailable,
    CertbotlessError,
    CertificateRefused,
    DeployError,
    DeployWaits,
    DnsError,
    Interrupted,
    IssueError,
    NotActedUpon,
    PropagationTimeout,
    RateLimited,
    RecordConflict,
    SwarmWaits,
    internal_error,
)
from ..base.log_context import about
from ..base.times import rfc3339
from ..base.words import Text
from ..config.settings import Config, Site
from ..decide.decide import address_written, is_issued_since
from ..model.decision import WRITES, Intent, Step, is_order
from ..model.ledger import local_backoff, order_backoff
from ..model.limits import staging_of
from ..model.memory import Failure, WrittenRecord
from ..model.observation import Observation, endpoints_of
from ..model.reason import Why, because
from ..model.situation import Goal
from ..model.view import View
from ..observe.record_answers import ask_servers
from ..observe.views import Looking, look
from .context import Edges, SiteContext
from .dispatch import announce, take
from .sharing import SharedTargets

logger = logging.getLogger(__name__)

# What is left of a run's time, at the least, where another one had the site before.
_LEFT_BEHIND_ANOTHER_S = 600
# A site that waits for DNS or the CA costs a thread; beyond these, sites wait for their turn.
_MOST_THREADS = 200
# A wait that a CA asked for is lengthened by up to this share, so that not all come back at once.
_ASKED_JITTER = 1 / 20
# How long to wait for a CA of a list that cannot be reached, where no certificate is good for long any more.
_URGENT_WAIT = timedelta(minutes=10)


# Why a dry run is made, and what is said after it succeeded.
_REHEARSED = Why.ASKED_FOR, Text("the CA gave a certificate; nothing was published")
_REHEARSED_WITHOUT_STAGING = (
    Why.NO_STAGING,
    Text(
        "the CA has validated all names of an order; it has no staging directory, so it issued no certificate"
    ),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a site at the end of a run.

    Attributes:
        state, reason: as in `status`; after a rehearsal that succeeded, its result.
        is_renewed: a certificate issued after the run began is served, or published for a site without
            targets; after a rehearsal, whether it succeeded.
        failure: what went wrong, if anything did.
    """

    domain: str
    state: Literal["ok", "pending", "failing"]
    reason: str
    is_renewed: bool
    failure: Failure | None


def run(
    config: Config,
    sites: Sequence[Site],
    edges: Edges,
    intent: Intent,
    on_done: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Make the facts of these sites true, and return the outcome of each.

    `config.parallel` sites talk at a time; a site that waits does not count. One that fails delays no other.
    `on_done` is called with each outcome at once, in the thread of the site.
    """
    have_descriptors()
    slots = threading.BoundedSemaphore(config.parallel)
    goals = [Goal(site, config) for site in sites]
    shared = SharedTargets(goals, _MOST_THREADS)

    def one(goal: Goal) -> Outcome:
        with about(goal.site.domain):
            with shared.running(goal.site):
                outcome = _guarded(goal, edges, intent, slots, shared)
            on_done(outcome)
        return outcome

    outcomes = {each.domain: each for each in together(one, shared.in_turn(goals), _MOST_THREADS)}
    return [outcomes[site.domain] for site in sites]


def _guarded(
    goal: Goal, edges: Edges, intent: Intent, slots: threading.BoundedSemaphore, shared: SharedTargets
) -> Outcome:
    """The guard around one site: whatever happens, the others go on."""
    domain = goal.site.domain
    try:
        with SlotClock(edges.clock, slots) as clock:
            ctx = SiteContext(goal, replace(edges, clock=clock), intent)
            site_run = _SiteRun(ctx, clock, shared)
            return site_run.rehearse() if intent.only_rehearse else site_run.run()
    except Interrupted as exc:
        return Outcome(domain, "pending", exc.message, False, None)
    except Exception as exc:  # noqa: BLE001  (_explained logs it)
        # Not a step that failed, which is kept in the state, but the state itself.
        error = _explained(exc, "site", domain)
        logger.error("site.failed domain=%s error=%s", domain, error)
        failure = _failure(error, edges.clock.now(), goal.config.check_every, 1)
        return Outcome(domain, "failing", failure.what, False, failure)


def _explained(exc: Exception, what: str, domain: str) -> CertbotlessError:
    """Return the error that users see; the log gets the traceback of a fault of the program."""
    if isinstance(exc, CertbotlessError):
        return exc
    logger.error("%s.crashed domain=%s", what, domain, exc_info=exc)
    return internal_error(exc)


class _SiteRun:
    """One run for one site."""

    def __init__(self, ctx: SiteContext, clock: SlotClock, shared: SharedTargets) -> None:
        self._ctx, self._clock, self._shared = ctx, clock, shared
        self._config, self._site, self._intent = ctx.config, ctx.site, ctx.intent
        self._turns = shared.turns if ctx.site.certificate or ctx.site.is_shared else None
        self._file = ctx.file
        self._began = clock.now()

    def run(self) -> Outcome:
        with self._locked():
            # What a run that was killed has left.
            self._file.tidy()
            self._ctx.store.tidy()
            # What failed under another configuration.
            digests = self._ctx.fingerprints.digests(self._config, self._site)
            self._file.change(**self._file.state.under(*digests).to_dict())
            taken: set[str] = set()
            while True:
                self._clock.sleep(0)  # nothing new begins once we are asked to stop
                view = self._look()
                self._note_what_is_true(view)
                due = [step for step in view.decision.due(view.seen.at) if step.key not in taken]
                if self._turns and self._turns.must_wait(self._site, view, due, self._clock):
                    continue
                if not due:
                    return self._outcome(view, taken)
                step = due[0]
                self._clock.sleep(0)  # a check takes some time, and we may have been asked meanwhile
                if step.action == "deploy":
                    announce(step, view.seen, self._ctx)
                    self._shared.wait(self._site.domain, step.target, self._clock)
                later = [each for each in view.decision.steps if each.key not in taken and each is not step]
                taken |= {step.key} | self._take(step, view.seen, later)
                if step.action in ("order", "collect"):
                    # A certificate that has just come can wait: an issuance asks for no more than it must.
                    taken.add("renewal-info")

    def rehearse(self) -> Outcome:
        """Get a certificate and forget it. A failure is reported, and not remembered."""
        goal, intent = self._ctx.goal, self._intent
        url = next((ca.url for ca in goal.config.cas if ca.directory == intent.ca), goal.config.cas[0].url)
        has_staging = self._site.is_local or bool(staging_of(url))
        why, after = _REHEARSED if has_staging else _REHEARSED_WITHOUT_STAGING
        with self._locked():
            self._file.tidy()
            view = self._look()
            try:
                if view.remembered.txt:
                    take(Step("clean-up", because(Why.TXT_LEFT)), view.seen, self._ctx)
                take(Step("dry_run", because(why), intent.ca), view.seen, self._ctx)
            except Interrupted:
                raise
            except Exception as exc:  # noqa: BLE001  (_explained logs it)
                failed = _explained(exc, "dry_run", self._site.domain)
            else:
                return Outcome(self._site.domain, "ok", after, True, None)
        self._ctx.keep_failure("dry_run", failed)
        return Outcome(self._site.domain, "failing", str(failed), False, None)

    def _locked(self) -> AbstractContextManager[object]:
        timeout_s = self._config.longest_run.total_seconds() - _LEFT_BEHIND_ANOTHER_S
        return self._file.locked(self._clock, timeout_s)

    def _look(self) -> View:
        ctx = self._ctx
        looking = Looking(
            ask_servers(ctx.servers),
            ctx.ledger.seen(),
            ctx.intent,
            ctx.address_of,
            fingerprints=ctx.fingerprints,
        )
        return look(ctx.goal, looking, self._clock.now(), ctx.state)

    def _note_what_is_true(self, view: View) -> None:
        """Remember which records of ours the servers show, so that a later change of one is undone at once.

        Forget failures of what has come true by itself.
        """
        for type_, records in view.remembered.records.items():
            seen = {
                fqdn: replace(record, is_seen=True)
                for fqdn, record in records.items()
                if not record.is_seen and self._shows(record, fqdn, view.seen)
            }
            if seen:
                self._file.put("records", type_, records | seen)
        if self._is_over(view):
            self._file.change(trial=None)
        failures = view.standing_failures
        if failures != view.remembered.failures:
            self._file.change(failures=failures)

    def _shows(self, record: WrittenRecord, fqdn: str, seen: Observation) -> bool:
        """Whether the name servers show a record of ours; of several, some are enough (`is_partly_shown`)."""
        is_one = len(record.values) == 1
        return (seen.is_shown if is_one else seen.is_partly_shown)(fqdn, *record.values)

    def _is_over(self, view: View) -> bool:
        """Whether a trial has ended: the service shows the certificate, or another one is published."""
        trial, seen = view.remembered.trial, view.seen
        if trial is None:
            return False
        if not self._site.deploy:
            return True
        if seen.published.generation != trial.generation:
            return seen.refused is None
        facts, canary = seen.published.facts, self._site.deploy[0]
        places = endpoints_of(canary, view.remembered, seen.host, self._site.address.several)
        # Of a service every node counts that has a task.
        first = [place for place in places if not place.down_at] if canary.service else places[:1]
        return facts is not None and {seen.served.get(place.key) for place in first} == {facts.sha256}

    def _take(self, step: Step, seen: Observation, later: Sequence[Step]) -> set[str]:
        """Take a step, and return the keys of steps that must not be taken after it."""
        if step.action in ("order", "take") and (facts := seen.published.facts) is not None:
            # By then each target must serve the new one, whatever its window: the old one's last twentieth.
            self._file.change(deploy_by=facts.not_after - facts.lifetime / 20)
        # A site needs a slot while it talks to the CA or the API; a container may take long to end.
        is_talk = step.fact != "served"
        try:
            with nullcontext() if is_talk else self._clock.slot_for_others():
                take(step, seen, self._ctx, later)
        except Interrupted:
            raise  # a killed attempt is no failure
        except Exception as exc:  # noqa: BLE001  (_explained logs it)
            error = _explained(exc, step.key, self._site.domain)
            self._note_failure(step, error, seen)
            return self._ruled_out(step, error)
        else:
            failures = self._file.state.failures
            if self._turns and step.fact == "served":
                self._turns.release_others(self._ctx)
            self._file.change(failures={key: each for key, each in failures.items() if key != step.key})
            if step.action in ("order", "collect"):
                self._note_given(seen)
        return set()

    def _note_given(self, seen: Observation) -> None:
        """Forget what failed at CAs, if a certificate has come: one that was collected may be an old one."""
        origin = self._ctx.store.look().origin
        if origin is None or not is_issued_since(origin, self._began, self._clock.now()):
            return
        state = self._file.state
        failures = {key: each for key, each in state.failures.items() if not is_order(key)}
        changed: dict[str, Any] = {"failures": failures}
        for each in self._ctx.goal.authorities(seen):
            if each.name and each.id == origin.directory:
                from .stand_ins import after_certificate  # noqa: PLC0415  (only a list of CAs needs it)

                changed["troubles"] = after_certificate(state, each.name)
        self._file.change(**changed)

    def _ruled_out(self, step: Step, exc: CertbotlessError) -> set[str]:
        is_of_account = (
            isinstance(exc, DnsError) and not exc.retryable and not isinstance(exc, RecordConflict)
        )
        if step.action in WRITES and not step.target and is_of_account:
            # Where the account cannot write this record it cannot write the TXT record either.
            return {"order", *(f"order:{ca.directory}" for ca in self._config.cas)}
        if isinstance(exc, CertificateRefused):
            return {"redeploy"}
        names = [target.name for target in self._site.deploy]
        is_verdict = not isinstance(exc, DeployWaits | NotActedUpon)
        if step.action == "deploy" and step.target == names[0] and is_verdict:
            # The first target is the canary of the others; one that its admin stopped says nothing of them.
            return {f"deploy:{name}" for name in names}
        return set()

    def _note_failure(self, step: Step, exc: CertbotlessError, seen: Observation) -> None:
        failures = self._file.state.failures
        key = "redeploy" if isinstance(exc, CertificateRefused) else step.key
        address = address_written(step, seen)
        before = failures.get(key)
        count = before.count + 1 if before and before.address in ("", address) else 1
        failure = _failure(exc, self._clock.now(), self._backoff(step, exc, count, seen), count, address)
        level = logging.WARNING if failure.is_waiting or exc.retryable else logging.ERROR
        text = "%s.failed domain=%s error=%s retry_at=%s"
        # The link that lifts a pause is logged once; then `status` has it.
        is_told = isinstance(exc, AccountPaused) and before is not None and before.kind == failure.kind
        error = exc.message if is_told else str(exc)
        logger.log(level, text, key, self._site.domain, error, rfc3339(failure.retry_at))
        noted = {key: failure}
        if step.action == "order" and isinstance(exc, DeployError) and exc.container:
            # The container that kept the order from being placed.
            noted[f"deploy:{exc.container}"] = failure
        changed: dict[str, Any] = {"failures": failures | noted}
        if step.action == "order" and step.target:
            from .stand_ins import after_failure  # noqa: PLC0415  (as above)

            # In one step: a failure whose cause is not known would keep the next CA from being asked.
            changed["troubles"] = after_failure(self._file.state, step.target, exc, self._clock.now())
        self._file.change(**changed)
        if self._turns and isinstance(exc, CertificateRefused):
            self._turns.hold_others(self._ctx, seen, failure)
        self._ctx.keep_failure(key, exc)

    def _backoff(self, step: Step, exc: CertbotlessError, count: int, seen: Observation) -> timedelta:
        # The CA's schedule is for what the CA saw, and for a certificate that takes a service down at each
        # try; a missing container or a full disk is tried soon again.
        goal, origin = self._ctx.goal, seen.in_hand.origin
        is_costly = goal.authority(seen).is_acme and step.action == "order"
        is_costly = is_costly and isinstance(exc, IssueError | PropagationTimeout)
        facts = seen.in_hand.facts if origin and goal.has_given(origin.directory, seen) else None
        if isinstance(exc, SwarmWaits):
            return local_backoff(1, self._config.check_every, facts)
        if not is_costly and not isinstance(exc, CertificateRefused):
            return local_backoff(count, self._config.check_every, facts)
        # An error of a kind of its own has cost none of the certificates that the limits allow.
        now, is_spent = self._clock.now(), type(exc) is IssueError
        wait = order_backoff(count, facts, now, random.random(), is_spent=is_spent)  # noqa: S311
        # Where several CAs may be away, the one that is back first is to be found soon.
        is_urgent = self._config.has_stand_ins and (facts is None or facts.ends_soon(now))
        return min(wait, _URGENT_WAIT) if is_urgent and isinstance(exc, CaUnavailable) else wait

    def _outcome(self, view: View, taken: set[str]) -> Outcome:
        since = self._intent.renew_since or self._began
        is_fresh = is_issued_since(view.seen.published.origin, since, view.seen.at)
        is_served = not any(step.action in ("order", "restore", "deploy") for step in view.decision.steps)
        waits = [step.wait_text for step in view.decision.steps if step.wait_text]
        reason = waits[0] if waits else view.reason
        # A failure explains a site that fails; what only waits explains itself.
        failure = view.last_failure if view.state == "failing" or not waits else None
        held = [step for step in view.decision.steps if step.action == "order" and step.wait_until]
        if held and self._intent.ignore_backoff and not any(map(is_order, taken)):
            # Not what failed once keeps a command from ordering, but our own limit.
            reason, failure = held[0].wait_text, None
        return Outcome(self._site.domain, view.state, reason, is_fresh and is_served, failure)


def _failure(exc: CertbotlessError, now: datetime, wait: timedelta, count: int, address: str = "") -> Failure:
    asked = exc.retry_after or timedelta()
    jitter = random.random() * _ASKED_JITTER if isinstance(exc, IssueError) else 0  # noqa: S311
    # A pause ends when a person has acted, not at a moment.
    is_limit = asked and isinstance(exc, RateLimited) and not isinstance(exc, AccountPaused)
    return Failure(
        at=now,
        what=exc.message,
        hint=exc.hint,
        retry_at=now + max(wait, asked * (1 + jitter)),
        count=count,
        is_waiting=isinstance(exc, DeployWaits),
        limited_until=now + asked if is_limit else None,
        kind=exc.kind,
        address=address,
    )
