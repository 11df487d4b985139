"""When a target is acted upon: by what it serves, by its window, and after the canary. Pure."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ..base.errors import NotActedUpon
from ..config.targets import Target
from ..config.values import DailyWindow
from ..model.decision import Step
from ..model.memory import Failure, SiteState
from ..model.observation import Endpoint, endpoints_of
from ..model.reason import Reason, Why, because
from ..model.situation import Situation

# How long a first target that fails holds the others back where the end of what they serve is not known, as
# with a first certificate in place of another tool's: long enough for an admin to act.
_CANARY_HOLDS = timedelta(days=1)
# What reads its files by itself may do so once a day, as a machine that fetches them at night.
_READS_WITHIN = timedelta(days=1)
# How often the Swarm is asked whether a node has come back.
_DOWN_NODES_EVERY = timedelta(minutes=10)
# How often it is asked whether the service has other nodes by now.
_NODES_EVERY = timedelta(hours=1)
# What a place shows that serves no certificate (Observation.served).
_WRONG_LEAF = {None: Why.PORT_UNKNOWN, "": Why.NO_ANSWER}


def deploy_steps(situation: Situation) -> list[Step]:
    """Return a step for each target that serves another certificate than the published one."""
    seen, state = situation.seen, situation.remembered
    facts = seen.published.facts
    if facts is None or not seen.published.is_intact:
        return []  # what is started now would find no pair, or another one
    steps = []
    for target in situation.goal.site.deploy:
        places = _places(target, situation)
        if target.port is not None and target.port.kind == "none":
            acted = [state.acted.get(place.name) for place in places]
            wrong = {Why.NOT_ACTED_UPON for each in acted if not each or each.sha256 != facts.sha256}
        else:
            leaves = {seen.served.get(place.key) for place in places} - {facts.sha256}
            wrong = {_WRONG_LEAF.get(leaf, Why.OTHER_CERTIFICATE) for leaf in leaves}
        if facts.not_after <= seen.at:
            # An expired certificate replaces no other one; the service is started only if it does not answer.
            wrong &= {Why.NO_ANSWER}
        if target.service and Why.PORT_UNKNOWN in wrong:
            wrong = (wrong - {Why.PORT_UNKNOWN}) | {Why.NODES_UNKNOWN}
        if wrong == {Why.PORT_UNKNOWN} and not seen.host:
            continue  # nothing can be proved without a LAN address, which is a problem of its own
        if wrong:
            step = Step("deploy", tuple(Reason(why) for why in Why if why in wrong), target.name)
            if target.reads_by_itself and wrong == {Why.OTHER_CERTIFICATE}:
                step = _read_in_time(step, [place.name for place in places], situation)
            steps.append(step if Why.NO_ANSWER in wrong else _in_window(step, target, situation))
    return _behind_canary(steps, situation) if steps else []


def _read_in_time(step: Step, names: list[str], situation: Situation) -> Step:
    """Hold a deploy back at which nothing is done, for as long as the service may read its files."""
    facts = situation.seen.published.facts
    found = [reads_until(situation.remembered, name, facts.sha256 if facts else "") for name in names]
    until = min((each for each in found if each), default=situation.seen.at)
    if None in found or until <= situation.seen.at:
        return step
    return replace(step, wait_until=until, wait_why=Reason(Why.READS_BY_ITSELF), waits_for_window=True)


def reads_until(state: SiteState, name: str, sha256: str) -> datetime | None:
    """Return until when a service that reads its files by itself may take its time.

    None where it was not waited for yet. It begins when it was seen to show another certificate.
    """
    acted = state.acted.get(name)
    if acted is None or acted.sha256 != sha256 or acted.files_at is None:
        return None
    until = acted.files_at + _READS_WITHIN
    return min(until, state.deploy_by) if state.deploy_by else until


def _places(target: Target, situation: Situation) -> list[Endpoint]:
    """Return the places that count; not a node without a task that is silent, but for now and then."""
    seen = situation.seen
    several = situation.goal.site.address.several
    places = endpoints_of(target, situation.remembered, seen.host, several)
    found = [
        place
        for place in places
        if place.down_at is None
        or seen.served.get(place.key)
        or not timedelta() <= seen.at - place.down_at < _DOWN_NODES_EVERY
    ]
    return found or places


def _in_window(step: Step, target: Target, situation: Situation) -> Step:
    """Hold a deploy back until its window, but not until the replaced certificate has expired."""
    until = window_wait(target, situation.remembered.deploy_by, situation.seen.at)
    if target.when is None or until is None:
        return step
    window = Reason(Why.WINDOW, (target.when.start, target.when.end))
    return replace(step, wait_until=until, wait_why=window, waits_for_window=True)


def nodes_steps(situation: Situation) -> list[Step]:
    """Return a step for each service whose nodes were not asked for lately."""
    asked_at, now = situation.remembered.nodes_at, situation.seen.at
    return [
        Step("nodes", because(Why.NODES_TIME), target.name)
        for target in situation.goal.site.deploy
        if target.service and not timedelta() <= now - asked_at.get(target.service, now) < _NODES_EVERY
    ]


def window_wait(target: Target, deploy_by: datetime | None, now: datetime) -> datetime | None:
    """Return until when what serves another certificate must be left alone; None if it may be acted upon."""
    if target.when is None or deploy_by is None:
        return None
    opens = next_opening(target.when, now)
    return None if opens <= now or deploy_by <= now else min(opens, deploy_by)


def redeploy_steps(situation: Situation) -> list[Step]:
    """Return the step that gives a certificate another try with which the service did not come up."""
    seen, targets = situation.seen, situation.goal.site.deploy
    facts = seen.refused.facts if seen.refused else None
    if facts is None or facts.not_after <= seen.at or not targets:
        return []
    return [_in_window(Step("redeploy", because(Why.REFUSED)), targets[0], situation)]


def _behind_canary(steps: list[Step], situation: Situation) -> list[Step]:
    """Hold the other targets back while the first one fails, as long as what they serve is still valid."""
    seen, state, first = situation.seen, situation.remembered, situation.goal.site.deploy[0].name
    canary = state.failures.get(f"deploy:{first}")
    if canary is None or canary.is_waiting or not canary.blocks_at(seen.at) or steps[0].target != first:
        return steps
    if canary.kind == NotActedUpon.__name__:
        return steps  # a machine that is off says nothing of the certificate
    issued_at = seen.published.origin.issued_at if seen.published.origin else seen.at
    if (state.deploy_by or issued_at + _CANARY_HOLDS) <= seen.at:
        return steps
    return [steps[0], *(_after(step, canary) for step in steps[1:])]


def _after(step: Step, canary: Failure) -> Step:
    if step.has(Why.NO_ANSWER) or (step.wait_until is not None and step.wait_until > canary.retry_at):
        return step
    why = Reason(Why.CANARY_FAILED, (canary.what,))
    return replace(step, wait_until=canary.retry_at, wait_why=why, waits_for_window=False)


def next_opening(window: DailyWindow, now: datetime) -> datetime:
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
