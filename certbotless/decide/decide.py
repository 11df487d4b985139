"""Pure: site + observation + state + ledger + now -> steps, each with its reason.

Level-triggered: the decision looks at what is, never at what happened, so a failed restart, a reboot, a
hand-edited record and a recreated container need no special case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Literal

from ..base.clock import RELEASED, is_believable, is_possible
from ..base.errors import StoreError
from ..base.times import rfc3339
from ..config.settings import Config, Site
from ..model.certificate import Published
from ..model.decision import CONFIRM_OF, WRITES, Decision, Intent, Step
from ..model.ledger import Entry, Ledger, Limit, limit_on, planned_order
from ..model.memory import Failure, Foreign, SiteState
from ..model.observation import Observation, unseen
from ..model.renewal import first_look, is_due, is_look_due, renewal_moment
from .deploy import deploy_steps, redeploy_steps
from .record import list_steps, record_steps


def decide(
    site: Site, config: Config, seen: Observation, state: SiteState, ledger: Ledger, intent: Intent
) -> Decision:
    """Return the steps that make the four facts of `site` true."""
    seen = without_abandoned(site, config, seen)
    facts = seen.in_hand.facts
    drawn = _drawn_moment(seen, state)
    order = _order_reason(site, config, seen, drawn, intent)
    steps = [
        *([Step("clean-up", "a TXT record of an earlier run is left")] if state.txt else ()),
        *(step for action in WRITES for step in record_steps(action, site, config, seen, state)),
        *_adopt_steps(seen, state),
        *_restore_steps(seen, state),
        *([Step("order", order)] if order else ()),
        *([Step("collect", "an earlier run left an order")] if state.order and not order else ()),
        *(redeploy_steps(site, seen, state) if not order else ()),
        *deploy_steps(site, seen, state),
    ]
    # The record may spread while the certificate is ordered and deployed: look for it last.
    steps.sort(key=lambda step: step.action in CONFIRM_OF.values())
    held = [_held_back(step, site, config, seen, state, ledger, intent) for step in steps]
    if _judged(seen, state):
        held = [_beside(step, held) for step in held]
    listing, relisting = list_steps(site, seen, held)
    held[:0] = [_held_back(step, site, config, seen, state, ledger, intent) for step in listing]
    upkeep = [
        *relisting,
        *_rebuild_steps(seen, state),
        *_note_steps(seen, state),
        *([] if order else _renewal_info_steps(config, seen, state)),
    ]
    problems = seen.problems
    if order and isinstance(ledger, StoreError):
        problems += (unseen(ledger, seen.at, config),)
    return Decision(tuple(held), problems, renewal_moment(facts, drawn) if facts else None, tuple(upkeep))


def state_of(
    decision: Decision, failures: Mapping[str, Failure]
) -> tuple[Literal["ok", "pending", "failing"], str]:
    """Return a site's state and the reason in words."""
    found = [failures[step.key] for step in decision.steps if step.key in failures]
    if failed := [failure.what for failure in found if not failure.is_waiting]:
        return "failing", failed[0]
    if decision.problems:
        return "failing", decision.problems[0].what
    if found:
        return "pending", found[0].what
    for step in decision.steps:
        return "pending", step.wait_text or f"{step.key}: {step.reason}"
    return "ok", ""


def _restore_steps(seen: Observation, state: SiteState) -> list[Step]:
    published, foreign = seen.published, _judged(seen, state)
    if published.is_intact:
        is_to_be_set = published.wrong_mode not in ("", state.unkept_mode)
        return [Step("restore", published.wrong_mode)] if is_to_be_set else []
    if not (published.facts or seen.has_copy):
        return []
    if published.plain and not published.facts and seen.copy_ends is None:
        # An older version has not noted it, or the copy makes no sense.
        return [Step("rebuild", "it is not known when our copy of the certificate ends")]
    if foreign and foreign.valid_until and foreign.valid_until > seen.at and _has_expired(seen):
        return []  # an expired certificate replaces no other one
    return [Step("restore", published.fault or "nothing is published")]


_EXPIRED_COPY = "our certificate has expired; there is only a copy of it"


def _adopt_steps(seen: Observation, state: SiteState) -> list[Step]:
    has_ours = seen.published.facts is not None or seen.has_copy
    if not seen.published.plain or (has_ours and not _has_expired(seen)):
        return []
    if foreign := _judged(seen, state):
        return [Step("adopt", f"the certificate of another tool is not taken over: {foreign.why}")]
    return [Step("adopt", "another tool left a pair here, which may be as good as a new one")]


def _has_expired(seen: Observation) -> bool:
    """Whether our own certificate, published or in the copy, is known to have expired."""
    ends = seen.published.facts.not_after if seen.published.facts else seen.copy_ends
    return ends is not None and ends <= seen.at


def _judged(seen: Observation, state: SiteState) -> Foreign | None:
    """Return what is known of the files that another tool has at our names; None before the first look."""
    return state.foreign if state.foreign and state.foreign.files == seen.published.plain else None


def _drawn_moment(seen: Observation, state: SiteState) -> datetime | None:
    """Return the renewal moment drawn for the leaf in hand, None where the CA suggests none."""
    facts, told = seen.in_hand.facts, state.renewal
    return told.moment if facts and told and told.sha256 == facts.sha256 else None


def _rebuild_steps(seen: Observation, state: SiteState) -> list[Step]:
    """Make good what is lost of state_dir, before it is needed."""
    if state.is_lost:
        return [Step("rebuild", "its state makes no sense")]
    if seen.published.is_intact and not seen.has_copy:
        return [Step("rebuild", "there is no copy of the published pair")]
    return []


def _note_steps(seen: Observation, state: SiteState) -> list[Step]:
    """Keep which pairs are ours, so that no other one can pass for them."""
    if not seen.published.digest:
        return []
    if state.generations and state.generations.keys() <= seen.generations:
        return []
    return [Step("note", "the digests of our certificates are not noted, or out of date")]


def _renewal_info_steps(config: Config, seen: Observation, state: SiteState) -> list[Step]:
    """Ask the CA when it wants its certificate renewed; never after its end (RFC 9773 section 4.3)."""
    facts, origin, told = seen.in_hand.facts, seen.in_hand.origin, state.renewal
    if facts is None or origin is None or not facts.ari_id or seen.at >= facts.not_after:
        return []
    if origin.directory != config.acme.url:
        return []
    is_told = told is not None and told.sha256 == facts.sha256
    look_at = told.next_look if told and is_told else first_look(origin.issued_at, facts.lifetime)
    if not is_look_due(look_at, seen.at):
        return []
    return [Step("renewal-info", "the CA may want it renewed at another time")]


def _order_reason(
    site: Site, config: Config, seen: Observation, drawn: datetime | None, intent: Intent
) -> str:
    facts, origin = seen.in_hand.facts, seen.in_hand.origin
    if facts is None or origin is None:
        # What can be restored is no reason to order.
        return _EXPIRED_COPY if _has_expired(seen) else "" if seen.has_copy else "there is no certificate yet"
    if mismatch := _mismatch(site, config, seen.in_hand):
        return mismatch
    if is_due(facts, seen.at, drawn):
        return f"due since {rfc3339(renewal_moment(facts, drawn))}, expires {rfc3339(facts.not_after)}"
    if intent.renew_since is not None and not is_issued_since(origin.issued_at, intent.renew_since, seen.at):
        return "asked for"
    return ""


def without_abandoned(site: Site, config: Config, seen: Observation) -> Observation:
    """Return what was seen without a refused certificate that the file does not ask for any more.

    So an edit that is taken back after a rollback orders nothing: the published one fits the file.
    """
    if seen.refused is None or _mismatch(site, config, seen.published):
        return seen
    return replace(seen, refused=None) if _mismatch(site, config, seen.refused) else seen


def _mismatch(site: Site, config: Config, held: Published) -> str:
    """Say in what a certificate is not the one that the file asks for; empty if it is."""
    facts, origin = held.facts, held.origin
    if facts is None or origin is None:
        return "there is none"
    if facts.names != site.all_names:
        return f"the certificate is for {', '.join(facts.names)}"
    if origin.directory != config.acme.url:
        return f"the certificate is from {origin.directory}"
    if origin.key_type != config.acme.key_type:
        return f"the certificate's key is {origin.key_type}"
    return ""


def is_issued_since(issued_at: datetime, since: datetime, now: datetime) -> bool:
    """Whether a certificate was issued since a moment: not if the clock has gone back since."""
    return issued_at >= since and is_believable(issued_at, now)


def _beside(step: Step, steps: Sequence[Step]) -> Step:
    """Let what was found to be no pair for us be looked into again where an order is tried."""
    order = next((each for each in steps if each.action == "order"), None)
    if step.action != "adopt" or order is None or order.wait_until is None:
        return step
    return replace(step, wait_until=order.wait_until, wait_reason=order.wait_reason)


def _held_back(
    step: Step,
    site: Site,
    config: Config,
    seen: Observation,
    state: SiteState,
    ledger: Ledger,
    intent: Intent,
) -> Step:
    """Return the step with the moment before which it must not be taken, if there is one."""
    waits = [(step.wait_until, step.wait_reason)] if step.wait_until else []
    failure = state.failures.get(step.key)
    if failure is not None and failure.blocks_at(seen.at) and not _is_over(step, failure, seen):
        if not intent.ignore_backoff:
            waits.append((failure.retry_at, failure.what))
        elif not intent.ignore_ledger and failure.limited_until is not None:
            waits.append((failure.limited_until, f"{failure.what}; --renew-now --force asks all the same"))
    if step.action == "order" and not is_possible(seen.at):
        waits.append((RELEASED, "this machine's clock is older than this program: set it"))
    # An order in flight was counted when it was placed.
    if step.action == "order" and state.order is None:
        if isinstance(ledger, StoreError):
            waits.append((seen.at + config.check_every, ledger.message))
        elif not intent.ignore_ledger and (limit := _limit_on_order(site, config, seen, state, ledger)):
            waits.append((limit.until, f"{limit.reason}; --renew-now --force orders all the same"))
    if not waits:
        return step
    until, reason = max(waits)
    if until <= seen.at:
        return step
    is_by_choice = step.is_by_choice and until == step.wait_until
    return replace(step, wait_until=until, wait_reason=reason, is_by_choice=is_by_choice)


def address_written(step: Step, seen: Observation) -> str:
    """Return the address that a step writes; empty for one that writes none."""
    return seen.addresses[WRITES[step.action]] if step.action in WRITES else ""


def _is_over(step: Step, failure: Failure, seen: Observation) -> bool:
    """Whether an address could not be written, but another one is wanted now."""
    return failure.address not in ("", address_written(step, seen))


def _limit_on_order(
    site: Site, config: Config, seen: Observation, state: SiteState, ledger: Sequence[Entry]
) -> Limit | None:
    """Return the limit on an order as far as it is known without asking the CA, which may know of others."""
    directory, names = config.acme.url, site.all_names
    in_hand = seen.in_hand.facts_for(directory, names)
    is_suggested = state.suggests_renewal(in_hand, seen.at)
    planned = planned_order(seen.at, directory, names, in_hand, is_suggested=is_suggested)
    return limit_on(ledger, planned, seen.in_hand.facts_as_of(directory, names))
