"""When a record is written, and when the API lists it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from ..base.clock import is_believable
from ..config.settings import Config, Site
from ..model.decision import CONFIRM_OF, NOBODY_SPEAKS, WRITES, Action, Step
from ..model.memory import SiteState, WrittenRecord
from ..model.observation import Observation
from ..model.records import address_type

# The API lists one name of a site in this time, where no name server speaks for its zone.
LIST_EVERY = timedelta(minutes=10)


def record_steps(
    action: Action, site: Site, config: Config, seen: Observation, state: SiteState
) -> list[Step]:
    type_ = WRITES[action]
    address, records = seen.addresses[type_], state.written[type_]
    if not address:
        return []
    targets = {fqdn: "" if fqdn == site.domain else fqdn for fqdn in site.names_with(type_)}
    if seen.answers is None:
        return [Step(action, "the zone is not known yet", target) for target in targets.values()]
    found = (
        _record_step(Step(action, "", target), fqdn, address, records.get(fqdn), site, config, seen)
        for fqdn, target in targets.items()
    )
    return [step for step in found if step is not None]


def list_steps(site: Site, seen: Observation, others: Sequence[Step]) -> tuple[list[Step], list[Step]]:
    """Return what the API must list, and what it lists again as upkeep: one name at a time, in turn.

    A record that is written is listed with it.
    """
    listed = {fqdn: at for fqdn, at in seen.listed_at.items() if at is not None}
    if not listed or not any(seen.addresses.values()) or seen.at - max(listed.values()) < LIST_EVERY:
        return [], []
    fqdn, at = min(listed.items(), key=lambda item: item[1])
    step = Step("list", NOBODY_SPEAKS, "" if fqdn == site.domain else fqdn)
    if any(s.action in CONFIRM_OF and s.target == step.target and s.is_due(seen.at) for s in others):
        return [], []
    # A list is good for two more turns: the API may not answer for a while.
    is_good = seen.at - at < LIST_EVERY * (len(listed) + 2)
    return ([], [step]) if is_good else ([step], [])


def _record_step(
    step: Step,
    fqdn: str,
    address: str,
    written: WrittenRecord | None,
    site: Site,
    config: Config,
    seen: Observation,
) -> Step | None:
    """Return the step with its reason, or what waits for it to show; None where all is well."""
    shown = seen.shown(fqdn, address_type(address))
    if not shown:
        # A write begins with what the API lists. Where that is known, it is what is shown.
        is_unknown = fqdn in seen.listed_at
        return replace(step, reason=NOBODY_SPEAKS) if is_unknown else None
    if seen.is_shown(fqdn, address):
        if written is not None and written.ttl_s != site.ttl:
            return replace(step, reason=f"ttl {written.ttl_s} -> {site.ttl}")
        return None
    is_last_written = written is not None and (written.value, written.ttl_s) == (address, site.ttl)
    may_spread_until = written.at + config.dns.propagation_timeout if written else seen.at
    may_spread = seen.at < may_spread_until and written is not None and is_believable(written.at, seen.at)
    if written and is_last_written and not written.is_seen and may_spread:
        reason = f"{address} is not shown by every name server yet"
        return replace(step, action=CONFIRM_OF[step.action], reason=reason)
    values = sorted(set().union(*shown))
    return replace(step, reason=f"{', '.join(values) or 'nothing'} -> {address}")
