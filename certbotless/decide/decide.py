"""Pure: one situation -> the steps that are due, each with its reasons.

A decision depends on what is true now, never on what happened before, so a failed restart, a reboot, a
hand-edited record and a recreated container need no special case. It depends on no text either: reasons are
kinds, and `Failure` has marks for what matters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Literal

from ..base.clock import RELEASED, is_believable, is_possible
from ..base.errors import StoreError
from ..model.authority import fits
from ..model.certificate import Origin, Published
from ..model.decision import CONFIRM_OF, WRITES, Decision, Step, failures_of
from ..model.memory import Failure, Foreign, SiteState
from ..model.observation import Observation, unseen
from ..model.reason import Reason, Why, because
from ..model.renewal import first_look, is_due, is_look_due, renewal_moment
from ..model.situation import Goal, Situation
from .deploy import deploy_steps, nodes_steps, redeploy_steps
from .record import list_steps, record_steps


def decide(situation: Situation) -> Decision:
    """Return the steps that make the four facts of a site true."""
    seen, state = situation.seen, situation.remembered
    is_verified = bool(state.generations) or not seen.published.digest
    facts, told = seen.in_hand.facts if is_verified else None, state.renewal
    drawn = told.moment if told and told.is_of(facts) else None
    why, hold = _reasons_to_order(situation, drawn), partial(_held_back, situation=situation)
    order = _order_steps(situation, why, hold) if why and is_verified else []
    take, wildcard = _take_steps(situation), situation.goal.site.certificate
    steps = [
        *([Step("clean-up", because(Why.TXT_LEFT))] if state.txt else ()),
        *(step for action in WRITES for step in record_steps(action, situation)),
        *_rotate_steps(seen),
        *(_adopt_steps(seen, state) if not (wildcard or situation.goal.site.is_shared) else ()),
        *_restore_steps(situation),
        *order,
        *take,
        *([Step("collect", because(Why.ORDER_LEFT))] if state.in_flight and not (order or wildcard) else ()),
        *(redeploy_steps(situation) if not order and not take else ()),
        *deploy_steps(situation),
    ]
    if not is_verified:
        steps = _verify_first(steps)
    # The servers may come to show the record while the certificate is ordered and deployed: this is last.
    steps.sort(key=lambda step: step.action in CONFIRM_OF.values())
    held = [step if step.action == "order" else hold(step) for step in steps]
    if _judged(seen, state):
        held = [_beside(step, held) for step in held]
    listing, relisting = list_steps(situation, held)
    held[:0] = map(hold, listing)
    optional = [*relisting, *(_upkeep(situation, order) if is_verified else ())]
    problems = seen.problems
    is_counted = situation.goal.authority(seen).is_acme
    if order and is_counted and isinstance(situation.ledger, StoreError):
        problems += (unseen(situation.ledger, seen.at, situation.goal.config.check_every),)
    renewal = renewal_moment(facts, drawn) if facts else None
    if wildcard:
        renewal = seen.shared.renewal if seen.shared else None
    return Decision(tuple(held), problems, renewal, tuple(optional), _next_rotation(seen))


def _verify_first(steps: Sequence[Step]) -> list[Step]:
    """Return the step that finds out whether `meta.json` is true, and what depends on nothing that it tells.

    Where state_dir is lost, nothing else says which certificate is ours: whoever may write to certs_dir could
    have written that an expired one is valid, and it would take the place of a valid one.
    """
    others = {"clean-up", "rotate", *WRITES, *CONFIRM_OF.values()}
    return [Step("verify", because(Why.NOT_VERIFIED)), *(step for step in steps if step.action in others)]


def _upkeep(situation: Situation, order: Sequence[Step]) -> list[Step]:
    """Return the steps that no fact depends on."""
    seen, state = situation.seen, situation.remembered
    return [
        *_rebuild_steps(seen, state),
        *_note_steps(seen, state),
        *([] if order else _renewal_info_steps(situation)),
        *_account_steps(situation),
        *_watch_steps(situation),
        *nodes_steps(situation),
    ]


def _take_steps(situation: Situation) -> list[Step]:
    if situation.goal.site.certificate is None:
        return []
    from .shared import take_steps  # noqa: PLC0415  (nothing of it is loaded for other sites)

    return take_steps(situation, situation.goal.site.certificate)


def state_of(
    decision: Decision, failures: Mapping[str, Failure]
) -> tuple[Literal["ok", "pending", "failing"], Failure | Step | None]:
    """Return a site's state, and the failure or the step that is its reason."""
    found = [*failures_of(decision.steps, failures).values()]
    if failed := [failure for failure in found if not failure.is_waiting] or decision.problems:
        return "failing", failed[0]
    if asked := found or decision.steps:
        return "pending", asked[0]
    return "ok", None


def _next_rotation(seen: Observation) -> datetime | None:
    return seen.local_ca.rotation_due_at(seen.next_ca, seen.at) if seen.local_ca else None


def _rotate_steps(seen: Observation) -> list[Step]:
    """Let the rotation of the local CA go on, though no certificate is due."""
    ca, coming, due_at = seen.local_ca, seen.next_ca, _next_rotation(seen)
    if ca is None or due_at is None or seen.at < due_at:
        return []
    is_switch = coming is not None and due_at == coming.switches_at
    why = because(Why.SWITCH_DUE, due_at) if is_switch else because(Why.ROOT_OLD, ca.not_after)
    return [Step("rotate", why)]


def _has_spare(situation: Situation) -> bool:
    """Whether a site has what is lost of the certificate that it shares, and it was not tried in vain."""
    is_lost = situation.goal.site.is_shared and situation.seen.shared is not None
    return is_lost and "restore" not in situation.remembered.failures


def _restore_steps(situation: Situation) -> list[Step]:
    seen, state = situation.seen, situation.remembered
    published, foreign = seen.published, _judged(seen, state)
    if published.is_intact:
        is_to_be_set = published.wrong_mode not in ((), state.unkept_modes)
        return [Step("restore", because(Why.KEY_MODE, *published.wrong_mode))] if is_to_be_set else []
    if not (published.facts or seen.has_copy or _has_spare(situation)):
        return []
    if published.plain and not published.facts and seen.copy_ends is None:
        # An older version has not noted it, or the copy makes no sense.
        return [Step("rebuild", because(Why.COPY_END_UNKNOWN))]
    if foreign and foreign.valid_until and foreign.valid_until > seen.at and _has_expired(seen):
        return []  # an expired certificate replaces no other one
    fault = because(Why.FAULT, published.fault) if published.fault else because(Why.NOT_PUBLISHED)
    return [Step("restore", fault)]


def _adopt_steps(seen: Observation, state: SiteState) -> list[Step]:
    has_ours = seen.published.facts is not None or seen.has_copy
    if not seen.published.plain or (has_ours and not _has_expired(seen)):
        return []
    foreign = _judged(seen, state)
    return [Step("adopt", because(Why.NOT_ADOPTED, foreign.why) if foreign else because(Why.ADOPTABLE))]


def _has_expired(seen: Observation) -> bool:
    """Whether our own certificate, published or in the copy, is known to have expired."""
    ends = seen.published.facts.not_after if seen.published.facts else seen.copy_ends
    return ends is not None and ends <= seen.at


def _judged(seen: Observation, state: SiteState) -> Foreign | None:
    """Return the verdict on the files that another tool has at our names; None before the first one."""
    return state.foreign if state.foreign and state.foreign.files == seen.published.plain else None


def _rebuild_steps(seen: Observation, state: SiteState) -> list[Step]:
    """Return the step that restores what state_dir has lost, before it is needed."""
    if state.is_lost:
        return [Step("rebuild", because(Why.STATE_LOST))]
    if seen.published.is_intact and not seen.has_copy:
        return [Step("rebuild", because(Why.NO_COPY))]
    return []


def _note_steps(seen: Observation, state: SiteState) -> list[Step]:
    """Keep which pairs are ours, so that no other one can pass for them."""
    if not seen.published.digest or state.generations.keys() <= seen.generations:
        return []
    return [Step("note", because(Why.NOT_NOTED))]


def _renewal_info_steps(situation: Situation) -> list[Step]:
    """Ask the CA when it wants its certificate renewed; never after its end (RFC 9773 section 4.3)."""
    now, in_hand, told = situation.seen.at, situation.seen.in_hand, situation.remembered.renewal
    facts, origin = in_hand.facts, in_hand.origin
    is_others = situation.goal.site.certificate is not None
    if is_others or facts is None or origin is None or not facts.ari_id or now >= facts.not_after:
        return []
    goal = situation.goal
    if goal.site.is_local or not goal.has_given(origin.directory, situation.seen):
        return []
    look_at = told.next_look if told and told.is_of(facts) else first_look(origin.issued_at, facts.lifetime)
    return [Step("renewal-info", because(Why.RENEWAL_TIME))] if is_look_due(look_at, now) else []


def _reasons_to_order(situation: Situation, drawn: datetime | None) -> tuple[Reason, ...]:
    seen, since = situation.seen, situation.intent.renew_since
    facts, origin = seen.in_hand.facts, seen.in_hand.origin
    if situation.goal.site.certificate:
        return ()  # whoever shares it takes it
    if facts is None or origin is None:
        if _has_expired(seen):
            return because(Why.EXPIRED_COPY)
        # What can be restored is no reason to order.
        is_kept = seen.has_copy or _has_spare(situation)
        return () if is_kept or _lacks_address(situation) else because(Why.NO_CERTIFICATE)
    if mismatch := _mismatch(situation.goal, seen, seen.in_hand):
        return mismatch
    if seen.local_ca and facts.not_before > seen.at and seen.local_ca.is_valid(seen.at):
        # It was signed while the clock was ahead.
        return because(Why.NOT_VALID_YET, facts.not_before)
    if is_due(facts, seen.at, drawn):
        return because(Why.DUE, renewal_moment(facts, drawn), facts.not_after)
    if since is not None and not is_issued_since(origin, since, seen.at):
        return because(Why.ASKED_FOR)
    return ()


def _order_steps(
    situation: Situation, why: tuple[Reason, ...], hold: Callable[[Step], Step]
) -> Sequence[Step]:
    goal = situation.goal
    if goal.site.is_local or not goal.config.has_stand_ins:
        return [hold(Step("order", why))]
    from .choice import order_steps  # noqa: PLC0415  (only a list of CAs needs it)

    return order_steps(situation, why, hold)


def _account_steps(situation: Situation) -> Sequence[Step]:
    if not situation.seen.accountless:
        return ()
    from .choice import account_steps  # noqa: PLC0415  (as above)

    return account_steps(situation)


def _watch_steps(situation: Situation) -> Sequence[Step]:
    site = situation.goal.site
    if not site.address.others or not site.names_with("A"):
        return ()
    from .addresses import watch_steps  # noqa: PLC0415  (only a list of addresses needs it)

    return watch_steps(situation)


def _lacks_address(situation: Situation) -> bool:
    """Whether the certificate is to be for the LAN address too, which is not known now."""
    return situation.goal.site.with_address and not situation.seen.address


def without_abandoned(goal: Goal, seen: Observation) -> Observation:
    """Return what was seen; without a refused certificate that the file does not ask for any more.

    So an edit that is taken back after a rollback orders nothing: the published certificate fits the file.
    """
    if (
        seen.refused is None
        or _mismatch(goal, seen, seen.published)
        or not _mismatch(goal, seen, seen.refused)
    ):
        return seen
    return replace(seen, refused=None)


def _mismatch(goal: Goal, seen: Observation, held: Published) -> tuple[Reason, ...]:
    """Say in what a certificate is not the one that the file asks for; empty if it is."""
    facts, origin = held.facts, held.origin
    if facts is None or origin is None:
        return because(Why.NO_CERTIFICATE)
    authority = goal.authority(seen)
    if not fits(goal.site, seen.address, facts.names):
        return because(Why.OTHER_NAMES, facts.names)
    if goal.site.certificate:
        return ()
    if not goal.has_given(origin.directory, seen):
        return because(Why.OTHER_CA, origin.directory)
    if origin.key_type != authority.key_type:
        return because(Why.OTHER_KEY_TYPE, origin.key_type)
    return ()


def is_issued_since(origin: Origin | None, since: datetime, now: datetime) -> bool:
    """Whether a certificate was issued since a moment: not if the clock has gone back since."""
    return origin is not None and origin.issued_at >= since and is_believable(origin.issued_at, now)


def _beside(step: Step, steps: Sequence[Step]) -> Step:
    """Let the files of another tool be judged again when an order is tried."""
    order = next((each for each in steps if each.action == "order"), None)
    if step.action != "adopt" or order is None or order.wait_until is None:
        return step
    return replace(step, wait_until=order.wait_until, wait_why=order.wait_why)


def _held_back(step: Step, situation: Situation) -> Step:
    """Return the step with the moment before which it must not be taken, if there is any."""
    seen, intent, ledger = situation.seen, situation.intent, situation.ledger
    waits = [(step.wait_until, step.wait_why)] if step.wait_until else []
    failure = situation.remembered.failures.get(step.key)
    if failure is not None and failure.blocks_at(seen.at) and not _is_over(step, failure, seen):
        if not intent.ignore_backoff:
            waits.append((failure.retry_at, Reason(Why.FAULT, (failure.what,))))
        elif not intent.ignore_ledger and failure.limited_until is not None:
            waits.append((failure.limited_until, Reason(Why.CA_LIMIT, (failure.what,))))
    if step.action == "order" and not is_possible(seen.at):
        waits.append((RELEASED, Reason(Why.OLD_CLOCK)))
    if step.action == "order" and isinstance(ledger, StoreError) and _is_counted(step, situation):
        waits.append((seen.at + situation.goal.config.check_every, Reason(Why.FAULT, (ledger.message,))))
    elif step.action == "order" and not intent.ignore_ledger and (limit := situation.our_limit(step.target)):
        waits.append((limit.until, Reason(Why.OUR_LIMIT, (limit.reason,))))
    if not waits:
        return step
    until, why = max(waits, key=lambda wait: wait[0])
    if until <= seen.at:
        return step
    waits_for_window = step.waits_for_window and until == step.wait_until
    return replace(step, wait_until=until, wait_why=why, waits_for_window=waits_for_window)


def address_written(step: Step, seen: Observation) -> str:
    """Return the address that a step writes, or several with commas; empty for one that writes none."""
    return ",".join(seen.wanted(WRITES[step.action])) if step.action in WRITES else ""


def _is_over(step: Step, failure: Failure, seen: Observation) -> bool:
    """Whether it says nothing of the next try: another address is to be written, or a new local CA signs."""
    if step.action == "order" and seen.local_ca is not None:
        # It is known to the second.
        return failure.at < seen.local_ca.made_at + timedelta(seconds=1)
    return failure.address not in ("", address_written(step, seen))


def _is_counted(step: Step, situation: Situation) -> bool:
    """Whether an order has to be counted: one in flight was when it was placed."""
    authority = situation.goal.authority(situation.seen, step.target)
    return authority.is_acme and situation.remembered.order_at(authority.id) is None
