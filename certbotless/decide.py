"""Pure: site + observation + state + ledger + now -> steps, each with its reason.

Level-triggered: the decision looks at what is, never at what happened, so a failed restart, a reboot, a
hand-edited record and a recreated container need no special case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from .config import Config, Site
from .leaf import rfc3339
from .ledger import Entry, limit_on_orders
from .observe import Observation
from .renewal import is_due, renewal_moment
from .state import Failure, SiteState

Action = Literal["clean-up", "record", "order", "collect", "restore", "deploy", "confirm"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do. `target` is the container of a deploy; a step with `wait_until` is not due before."""

    action: Action
    reason: str
    target: str = ""
    wait_until: datetime | None = None
    wait_reason: str = ""

    @property
    def key(self) -> str:
        """Names the fact that the step makes true; failures are kept under it."""
        return f"{self.action}:{self.target}" if self.target else self.action

    @property
    def wait_text(self) -> str:
        """When and why the step waits, empty if it does not."""
        if self.wait_until is None:
            return ""
        return f"{self.key} not before {rfc3339(self.wait_until)}: {self.wait_reason}"

    def is_due(self, now: datetime) -> bool:
        """Whether the step may be taken now."""
        return self.wait_until is None or self.wait_until <= now


@dataclass(frozen=True, slots=True)
class Intent:
    """What a command asks for beyond the facts.

    Attributes:
        renew_since: order unless the certificate was issued after this moment; None orders only what is due.
        ignore_backoff: take steps whose last attempt failed a moment ago.
        ignore_ledger: order whatever was ordered before.
    """

    renew_since: datetime | None = None
    ignore_backoff: bool = False
    ignore_ledger: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one site, in order; empty when all facts are true.

    Attributes:
        steps: every step that a fact asks for, also those that must wait.
        problems: what could not be seen, so nothing can be decided about it.
        next_renewal: the renewal moment of the certificate in hand, if there is one.
    """

    steps: tuple[Step, ...]
    problems: tuple[str, ...]
    next_renewal: datetime | None

    def due(self, now: datetime) -> tuple[Step, ...]:
        """The steps that may be taken now."""
        return tuple(step for step in self.steps if step.is_due(now))


def decide(
    site: Site, config: Config, seen: Observation, state: SiteState, ledger: Sequence[Entry], intent: Intent
) -> Decision:
    """Return the steps that make the four facts of `site` true."""
    facts = seen.published.facts
    order = _order_reason(site, config, seen, intent)
    steps = [
        *([Step("clean-up", "a TXT record of an earlier run is left")] if state.txt else ()),
        *_record_steps(site, config, seen, state),
        *_restore_steps(seen),
        *([Step("order", order)] if order else ()),
        *([Step("collect", "an earlier run left an order")] if state.order and not order else ()),
        *_deploy_steps(site, seen),
    ]
    # The record may spread while the certificate is ordered and deployed: look for it last.
    steps.sort(key=lambda step: step.action == "confirm")
    held = [_held_back(step, site, config, seen, state, ledger, intent) for step in steps]
    return Decision(tuple(held), seen.problems, renewal_moment(facts) if facts else None)


def state_of(
    decision: Decision, failures: Mapping[str, Failure]
) -> tuple[Literal["ok", "pending", "failing"], str]:
    """Return a site's state and the reason in words."""
    found = [failures[step.key] for step in decision.steps if step.key in failures]
    if failed := [failure.what for failure in found if not failure.is_waiting]:
        return "failing", failed[0]
    if decision.problems:
        return "failing", decision.problems[0]
    if found:
        return "pending", found[0].what
    for step in decision.steps:
        return "pending", f"{step.key}: {step.reason}"
    return "ok", ""


def _restore_steps(seen: Observation) -> list[Step]:
    published = seen.published
    if published.is_intact or not (published.facts or seen.has_copy):
        return []
    return [Step("restore", published.fault or "nothing is published")]


def _order_reason(site: Site, config: Config, seen: Observation, intent: Intent) -> str:
    facts, origin = seen.published.facts, seen.published.origin
    if facts is None or origin is None:
        # What can be restored is no reason to order.
        return "" if seen.has_copy else "there is no certificate yet"
    if facts.names != site.all_names:
        return f"the certificate is for {', '.join(facts.names)}"
    if origin.directory != config.acme.url:
        return f"the certificate is from {origin.directory}"
    if origin.key_type != config.acme.key_type:
        return f"the certificate's key is {origin.key_type}"
    if is_due(facts, seen.at):
        return f"due since {rfc3339(renewal_moment(facts))}, expires {rfc3339(facts.not_after)}"
    if intent.renew_since is not None and origin.issued_at < intent.renew_since:
        return "asked for"
    return ""


def _record_steps(site: Site, config: Config, seen: Observation, state: SiteState) -> list[Step]:
    if not seen.address:
        return []
    written = state.record
    if seen.answers is None:
        return [Step("record", "the zone is not known yet")]
    if not seen.shown:
        return []  # nobody answers: a problem, not a wrong record
    if all(values == {seen.address} for values in seen.shown):
        if written is not None and written.ttl_s != site.ttl:
            return [Step("record", f"ttl {written.ttl_s} -> {site.ttl}")]
        return []
    is_last_written = written is not None and (written.value, written.ttl_s) == (seen.address, site.ttl)
    may_spread_until = written.at + config.dns.propagation_timeout if written else seen.at
    if written and is_last_written and not written.is_seen and seen.at < may_spread_until:
        return [Step("confirm", f"{seen.address} is not shown by every name server yet")]
    values = sorted(set().union(*seen.shown))
    return [Step("record", f"{', '.join(values) or 'nothing'} -> {seen.address}")]


def _deploy_steps(site: Site, seen: Observation) -> list[Step]:
    facts = seen.published.facts
    if facts is None:
        return []
    steps = []
    for target in site.deploy:
        leaf = seen.served.get(target.container)
        if leaf != facts.sha256:
            what = {None: "its port is not known yet", "": "no TLS answer"}.get(leaf, "another certificate")
            steps.append(Step("deploy", what, target.container))
    return steps


def _held_back(
    step: Step,
    site: Site,
    config: Config,
    seen: Observation,
    state: SiteState,
    ledger: Sequence[Entry],
    intent: Intent,
) -> Step:
    """Return the step with the moment before which it must not be taken, if there is one."""
    waits: list[tuple[datetime, str]] = []
    failure = state.failures.get(step.key)
    if failure is not None and not intent.ignore_backoff:
        waits.append((failure.retry_at, failure.what))
    # An order in flight was counted when it was placed.
    if step.action == "order" and not intent.ignore_ledger and state.order is None:
        facts = seen.published.facts
        limit = limit_on_orders(
            ledger, config.acme.url, site.all_names, facts.lifetime if facts else None, seen.at
        )
        if limit is not None:
            waits.append((limit.until, f"{limit.reason}; --renew-now --force orders all the same"))
    if not waits:
        return step
    until, reason = max(waits)
    if until <= seen.at:
        return step
    return replace(step, wait_until=until, wait_reason=reason)
