"""When a target is acted upon: what it serves, its window, the canary before the others. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ..config.settings import Site, Target
from ..config.values import Window
from ..model.decision import NO_ANSWER, Step
from ..model.memory import Failure, SiteState
from ..model.observation import Observation, places_of

# How long a first target that fails holds the others back where no one knows the end of what they serve, as
# with a first certificate in place of another tool's: long enough for an admin to look.
_CANARY_HOLDS = timedelta(days=1)


def deploy_steps(site: Site, seen: Observation, state: SiteState) -> list[Step]:
    facts = seen.published.facts
    if facts is None or not seen.published.is_intact:
        return []  # what is started now would find no pair, or another one
    steps = []
    for target in site.deploy:
        places = places_of(site, target, state, seen.address)
        if target.port is not None and target.port.kind == "none":
            acted = [state.acted.get(place.name) for place in places]
            wrong = {
                "not acted upon for this certificate" for a in acted if not a or a.sha256 != facts.sha256
            }
        else:
            leaves = [seen.served.get(place.key) for place in places]
            wrong = {_what(leaf) for leaf in leaves if leaf != facts.sha256}
        if facts.not_after <= seen.at:
            # An expired certificate replaces no other one; the service is started only if it does not answer.
            wrong &= {NO_ANSWER}
        if wrong:
            step = Step("deploy", ", ".join(sorted(wrong)), target.name)
            steps.append(_in_window(step, target, seen, state) if NO_ANSWER not in wrong else step)
    return _behind_canary(steps, site, seen, state) if steps else []


def _what(leaf: str | None) -> str:
    return {None: "its port is not known yet", "": NO_ANSWER}.get(leaf, "another certificate")


def _in_window(step: Step, target: Target, seen: Observation, state: SiteState) -> Step:
    """Hold a deploy back until its window, but not until the replaced certificate has expired."""
    until = window_wait(target, state.deploy_by, seen.at)
    if target.when is None or until is None:
        return step
    reason = f"its window {target.when.start:%H:%M}-{target.when.end:%H:%M}"
    return replace(step, wait_until=until, wait_reason=reason, is_by_choice=True)


def window_wait(target: Target, deploy_by: datetime | None, now: datetime) -> datetime | None:
    """Return until when what serves another certificate must be left alone; None if it may be acted upon."""
    if target.when is None or deploy_by is None:
        return None
    opens = next_opening(target.when, now)
    return None if opens <= now or deploy_by <= now else min(opens, deploy_by)


def redeploy_steps(site: Site, seen: Observation, state: SiteState) -> list[Step]:
    facts = seen.refused.facts if seen.refused else None
    if facts is None or facts.not_after <= seen.at or not site.deploy:
        return []
    return [_in_window(Step("redeploy", "the new certificate was refused"), site.deploy[0], seen, state)]


def _behind_canary(steps: list[Step], site: Site, seen: Observation, state: SiteState) -> list[Step]:
    """Hold the other targets back while the first one fails, as long as theirs is no worse than it was."""
    first = site.deploy[0].name
    canary = state.failures.get(f"deploy:{first}")
    if canary is None or canary.is_waiting or not canary.blocks_at(seen.at) or steps[0].target != first:
        return steps
    issued_at = seen.published.origin.issued_at if seen.published.origin else seen.at
    if (state.deploy_by or issued_at + _CANARY_HOLDS) <= seen.at:
        return steps
    return [steps[0], *(_after(step, canary) for step in steps[1:])]


def _after(step: Step, canary: Failure) -> Step:
    if NO_ANSWER in step.reason or (step.wait_until is not None and step.wait_until > canary.retry_at):
        return step
    reason = f"the first target failed: {canary.what}"
    return replace(step, wait_until=canary.retry_at, wait_reason=reason, is_by_choice=False)


def next_opening(window: Window, now: datetime) -> datetime:
    """Return `now` within the window, else when it opens next. The window is in the machine's local time.

    One that lies wholly in the hour that a summer time skips does not open that day.
    """
    today = now.astimezone().date()
    days_open = timedelta(days=1 if window.end < window.start else 0)
    for day in (today + timedelta(days=offset) for offset in (-1, 0, 1)):
        opens = _in_utc(datetime.combine(day, window.start))
        closes = _in_utc(datetime.combine(day + days_open, window.end))
        if max(opens, now) < closes:
            return max(opens, now)
    return _in_utc(datetime.combine(today + timedelta(days=2), window.start))


def _in_utc(local: datetime) -> datetime:
    """Return the instant of a local time: the first of two, and for one that summer time skips, what follows.

    Python versions differ in what they make of a skipped one, so both readings are looked at.
    """
    readings = [local.replace(fold=fold).astimezone(UTC) for fold in (0, 1)]
    real = [reading for reading in readings if reading.astimezone().replace(tzinfo=None) == local]
    return min(real) if real else max(readings)
