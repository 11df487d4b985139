"""When a record is written, and when the API lists it. Pure."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ..base.clock import is_believable
from ..model.decision import CONFIRM_OF, WRITES, Action, Step
from ..model.memory import WrittenRecord
from ..model.reason import Why, because
from ..model.records import address_type
from ..model.situation import Situation

# The API lists one name of a site in this time, where no name server speaks for its zone.
LIST_EVERY = timedelta(minutes=10)


def record_steps(action: Action, situation: Situation) -> list[Step]:
    """Return the steps about the records of one type, one for each name whose record is not right."""
    site, seen, type_ = situation.goal.site, situation.seen, WRITES[action]
    addresses, written = seen.wanted(type_), situation.remembered.records.get(type_, {})
    if not addresses:
        return []
    targets = {fqdn: "" if fqdn == site.domain else fqdn for fqdn in site.names_with(type_)}
    if seen.answers is None:
        return [Step(action, because(Why.ZONE_UNKNOWN), target) for target in targets.values()]
    found = (
        _record_step(Step(action, (), target), (fqdn, *addresses), written.get(fqdn), situation)
        for fqdn, target in targets.items()
    )
    return [step for step in found if step is not None]


def list_steps(situation: Situation, others: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """Return what the API must list, and what it may list again: one name at a time, in turn.

    A record that is written is listed with it.
    """
    seen = situation.seen
    listed = {fqdn: at for fqdn, at in seen.listed_at.items() if at is not None}
    if not listed or not any(seen.addresses.values()) or seen.at - max(listed.values()) < LIST_EVERY:
        return [], _list_again(situation)
    fqdn, at = min(listed.items(), key=lambda item: item[1])
    step = Step("list", because(Why.UNREACHABLE), "" if fqdn == situation.goal.site.domain else fqdn)
    if any(s.action in CONFIRM_OF and s.target == step.target and s.is_due(seen.at) for s in others):
        return [], []
    # A list is good for two more turns: the API may not answer for a while.
    is_good = seen.at - at < LIST_EVERY * (len(listed) + 2)
    return ([], [step]) if is_good else ([step], [])


def _list_again(situation: Situation) -> list[Step]:
    """List one name of which the name servers show some of several addresses: one may have been deleted."""
    site, seen, addresses = situation.goal.site, situation.seen, situation.seen.several
    for fqdn in site.names_with("A") if len(addresses) > 1 else ():
        is_whole = _is_known_to_be_whole(fqdn, addresses, situation) and not seen.is_shown(fqdn, *addresses)
        if is_whole and seen.at - situation.remembered.listed[fqdn].at >= LIST_EVERY:
            return [Step("list", because(Why.NOT_ALL_SHOWN), "" if fqdn == site.domain else fqdn)]
    return []


def _record_step(
    step: Step, wanted: tuple[str, ...], written: WrittenRecord | None, situation: Situation
) -> Step | None:
    """Return the step with its reason, or the one that waits until the record shows; None where all is well.

    Args:
        wanted: the name, and the addresses that it shall have.
    """
    (fqdn, *addresses), seen, ttl_s = wanted, situation.seen, situation.goal.site.ttl
    shown = seen.shown(fqdn, address_type(*addresses))
    if not shown:
        # A write begins with what the API lists. Where that is known, it is what is shown.
        is_unknown = fqdn in seen.listed_at
        return replace(step, why=because(Why.UNREACHABLE)) if is_unknown else None
    if seen.is_shown(fqdn, *addresses) or _is_known_to_be_whole(fqdn, addresses, situation):
        if written is not None and written.ttl_s != ttl_s:
            return replace(step, why=because(Why.OTHER_TTL, written.ttl_s, ttl_s))
        return None
    is_last_written = written is not None and {*written.values} == {*addresses} and written.ttl_s == ttl_s
    may_spread_until = written.at + situation.goal.config.dns.propagation_timeout if written else seen.at
    may_spread = seen.at < may_spread_until and written is not None and is_believable(written.at, seen.at)
    if written and is_last_written and not written.is_seen and may_spread:
        return replace(step, action=CONFIRM_OF[step.action], why=because(Why.NOT_SHOWN_YET, tuple(addresses)))
    values = tuple(sorted(set().union(*shown))) or "nothing"
    return replace(step, why=because(Why.OTHER_VALUES, values, tuple(addresses)))


def _is_known_to_be_whole(fqdn: str, addresses: Sequence[str], situation: Situation) -> bool:
    """Whether the API has listed all of several addresses, of which the name servers show some.

    With weights they answer with one of them, so what the API lists counts.
    """
    listed = situation.remembered.listed.get(fqdn)
    if len(addresses) < 2 or listed is None or not is_believable(listed.at, situation.seen.at):
        return False
    is_whole = {*listed.values.get(address_type(*addresses), ())} == {*addresses}
    return is_whole and situation.seen.is_partly_shown(fqdn, *addresses)
