"""Which CA is asked for a certificate, and when: the first of the file, or one that stands in for it. Pure.

A stand-in is asked only where each CA before it has failed by its own fault:

- while a valid certificate that covers the names is in hand, once the last sixth of its life has begun;
- else after two tries in a row, or after one if the CA asks for a wait of more than an hour or refuses our
  account.

Each try asks the CAs before it again. Our own limit on orders counts as a failure only at the end of a life:
a program that crashes after each order must not go on from CA to CA.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..base.clock import is_believable
from ..model.authority import fits
from ..model.certificate import LeafFacts
from ..model.decision import Step
from ..model.reason import Reason, Why, because
from ..model.situation import Situation

# So many failures in a row, and one wait longer than this, are more than a hiccup.
_ENOUGH, LONG_WAIT = 2, timedelta(hours=1)
# From the third failure on our own schedule waits longer.
_OWN_LONG_WAITS = 3
# Of a CA that failed so short a time ago nothing new is learned: at most, at least, and the share of a life.
_FRESH_MOST, _FRESH_LEAST, _FRESH_SHARE = timedelta(minutes=10), timedelta(seconds=30), 20
# The kinds of failures that no wait cures.
_REFUSALS = {"AccountRefused", "AccountPaused"}
# How often an account is tried to be made that is not there yet.
_ACCOUNT_EVERY = timedelta(days=1)
_A_MOMENT = timedelta(seconds=1)


def order_steps(
    situation: Situation, why: tuple[Reason, ...], held_back: Callable[[Step], Step]
) -> list[Step]:
    """Return the orders that are asked for: one at the first CA, and one at each that stands in for it now.

    Args:
        held_back: returns a step with the moment before which it must not be taken.
    """
    names = [each.name for each in situation.goal.authorities(situation.seen)]
    if situation.intent.ca:
        names = [situation.intent.ca]
    steps: list[Step] = []
    for name in names:
        if steps and not _has_failed(steps[-1], situation):
            break
        instead = because(Why.STANDS_IN, steps[-1].target, _fault_of(steps[-1], situation)) if steps else ()
        steps.append(held_back(Step("order", (*why, *instead), name)))
    if len(steps) == 1 < len(names):
        steps = [_at_last_part(steps[0], situation)]
    return _in_turn(steps, situation)


def account_steps(situation: Situation) -> list[Step]:
    """Return a step for each CA of a list at which there is no account yet, once a day."""
    now, troubles = situation.seen.at, situation.remembered.troubles
    return [
        Step("account", because(Why.NO_ACCOUNT), name)
        for name in situation.seen.accountless
        if not (trouble := troubles.get(name))
        or now - trouble.at >= _ACCOUNT_EVERY
        or not is_believable(trouble.at, now)
    ]


def _has_failed(step: Step, situation: Situation) -> bool:
    """Whether the next CA is to be asked, because the one of this step has failed."""
    seen, facts = situation.seen, situation.seen.in_hand.facts
    trouble, failure = (
        situation.remembered.troubles.get(step.target),
        situation.remembered.failures.get(step.key),
    )
    faults = trouble.faults if trouble else 0
    is_at_end = facts is not None and facts.ends_soon(seen.at) and _covers(facts, situation)
    if is_at_end and not situation.intent.ignore_ledger and situation.our_limit(step.target):
        return True
    if _has_valid(situation):
        return is_at_end and faults > 0
    if failure is None or not faults:
        return False
    wait = (failure.limited_until or failure.at) - failure.at
    if failure.count < _OWN_LONG_WAITS:
        wait = max(wait, failure.retry_at - failure.at)
    return faults >= _ENOUGH or failure.kind in _REFUSALS or wait > LONG_WAIT


def _has_valid(situation: Situation) -> bool:
    """Whether a valid certificate that covers the names is in hand."""
    seen, facts = situation.seen, situation.seen.in_hand.facts
    if facts is None or not facts.not_before <= seen.at < facts.not_after:
        return False
    return _covers(facts, situation)


def _covers(facts: LeafFacts, situation: Situation) -> bool:
    return fits(situation.goal.site, situation.seen.address, facts.names)


def _fault_of(step: Step, situation: Situation) -> str:
    """Return why the next CA is asked, in words."""
    if (limit := situation.our_limit(step.target)) is not None:
        return limit.reason
    failure = situation.remembered.failures.get(step.key)
    return failure.what if failure else ""


def _at_last_part(step: Step, situation: Situation) -> Step:
    """Let a CA that has failed be asked again when the last sixth of the life begins, if not before."""
    facts, trouble = situation.seen.in_hand.facts, situation.remembered.troubles.get(step.target)
    if facts is None or not trouble or not trouble.faults or not _has_valid(situation):
        return step
    begins = facts.last_part_begins + _A_MOMENT
    if begins <= situation.seen.at or _is_useless(step, situation):
        return step
    return _sooner(step, begins, situation)


def _in_turn(steps: Sequence[Step], situation: Situation) -> list[Step]:
    """Let each CA be asked again before a later one is, but not where that is of no use."""
    found, now = [*steps], situation.seen.at
    for i in reversed(range(1, len(found))):
        at = found[i].wait_until or now
        found[:i] = [
            step if _is_settled(step, situation) else _sooner(step, at, situation) for step in found[:i]
        ]
    for i in range(1, len(found)):
        ahead = [step for step in found[:i] if not _is_settled(step, situation)]
        if not ahead:
            continue
        until = max(step.wait_until or now + situation.goal.config.check_every for step in ahead)
        if (found[i].wait_until or now) < until:
            why = Reason(Why.ASKED_AFTER, (ahead[-1].target,))
            found[i] = replace(found[i], wait_until=until, wait_why=why)
    return found


def _sooner(step: Step, at: datetime, situation: Situation) -> Step:
    """Return a step that waits until `at` at the latest."""
    if step.wait_until is None or step.wait_until <= at:
        return step
    is_now = at <= situation.seen.at
    return replace(step, wait_until=None if is_now else at, wait_why=None if is_now else step.wait_why)


def _is_settled(step: Step, situation: Situation) -> bool:
    """Whether to ask a CA again says nothing new: it failed just now, or has said until when it will."""
    return _is_useless(step, situation) or _failed_just_now(step, situation)


def _is_useless(step: Step, situation: Situation) -> bool:
    now, failure = situation.seen.at, situation.remembered.failures.get(step.key)
    if situation.intent.ignore_ledger:
        return False
    is_limited = failure is not None and failure.limited_until is not None and now < failure.limited_until
    return is_limited or situation.our_limit(step.target) is not None


def _failed_just_now(step: Step, situation: Situation) -> bool:
    now, failure = situation.seen.at, situation.remembered.failures.get(step.key)
    if failure is None or not is_believable(failure.at, now):
        return False
    facts = situation.seen.in_hand.facts
    share = facts.lifetime / _FRESH_SHARE if facts else _FRESH_MOST
    return now - failure.at <= min(max(share, _FRESH_LEAST), _FRESH_MOST)
