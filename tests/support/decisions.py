"""Decide about one site: what is seen of it, what is remembered, and what follows from the decision."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from certbotless.config import load
from certbotless.config.settings import Config
from certbotless.decide import decide as deciding
from certbotless.decide.decide import decide
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import NOTHING_ASKED, Decision, Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure, OrderInFlight, SiteState, WrittenRecord
from certbotless.model.observation import Observation
from certbotless.model.reason import Reason
from certbotless.model.renewal import renewal_moment
from certbotless.model.situation import Goal, Situation
from certbotless.model.view import View
from certbotless.notify import alerts
from certbotless.report import metrics
from certbotless.report.status_json import Seen

DOMAIN, WILDCARD = "devbox.sweetlove.test", "*.devbox.sweetlove.test"
DIRECTORY = "https://ca.test/directory"
LAN, OTHER_LAN = "10.79.40.213", "10.79.40.7"
NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
AHEAD = 3000 * DAY
LEAF, OLD_LEAF = "ab" * 32, "cd" * 32


def config_of(**fields: object) -> Config:
    """The configuration of the site, with these lines in its entry."""
    targets = "[{container: registry, port: 5000}, {container: mirror, port: 5001}]"
    lines: dict[str, object] = {
        "domain": DOMAIN,
        "names": f"['{WILDCARD}']",
        "zone": "sweetlove.test",
        "address": LAN,
    }
    lines |= {"deploy": targets} | fields
    text = f"""
acme: {{directory: "{DIRECTORY}"}}
aliyun: {{access_key_id: "id", access_key_secret: "secret"}}
sites:
  -
"""
    text += "".join(f"    {key}: {value}\n" for key, value in lines.items())
    return load.parse(text.encode(), "test.yaml")


def of_targets(*targets: str) -> Config:
    """The configuration of the site with these entries of `deploy`."""
    return config_of(deploy=f"[{', '.join(targets)}]")


CONFIG = config_of()
FACTS = LeafFacts((WILDCARD, DOMAIN), LEAF, "CN=Example CA", NOW - DAY, NOW + 89 * DAY)
OVERDUE = replace(
    FACTS, not_before=NOW - 89 * DAY, not_after=NOW + DAY, ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdl"
)
ORIGIN = Origin(DIRECTORY, "https://ca.test/account/1", "ec256", NOW - DAY)
WELL = Observation(
    at=NOW,
    addresses={"A": LAN},
    host=LAN,
    answers={(DOMAIN, "A"): (frozenset({LAN}), frozenset({LAN}))},
    published=Published(FACTS, ORIGIN),
    has_copy=True,
    served={"registry": LEAF, "mirror": LEAF},
)
WRITTEN = WrittenRecord(value=LAN, ttl_s=600, at=NOW - MINUTE, is_seen=True)
NOTHING = SiteState()
ORDER = OrderInFlight(url="https://ca.test/order/1", directory=DIRECTORY, names=(WILDCARD, DOMAIN))
DUE = renewal_moment(FACTS)
REFUSED = Published(
    replace(FACTS, sha256="ef" * 32), replace(ORIGIN, issued_at=NOW - HOUR), generation="20261124T043000Z-0"
)


def decided(
    seen: Observation = WELL,
    state: SiteState = NOTHING,
    ledger: Sequence[Entry] = (),
    intent: Intent = NOTHING_ASKED,
    config: Config = CONFIG,
) -> Decision:
    """What is decided; and seen by the way that no word of what failed, or of a reason, leads to it."""
    situation = Situation(Goal(config.sites[0], config), seen, state, ledger, intent)
    decision = decide(situation)
    wordless = Situation(situation.goal, without_words(seen), without_words(state), ledger, intent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Reason, "words", "x")
        others = follows_from(wordless, decide(wordless), config)
    assert follows_from(situation, decision, config) == others
    return decision


def without_words(value: Any) -> Any:
    """The same with `x` for each text that says what failed, or why."""
    if isinstance(value, Failure):
        return replace(value, what="x", hint="x")
    if isinstance(value, SiteState):
        failures = {key: without_words(each) for key, each in value.failures.items()}
        return replace(value, failures=failures, foreign=value.foreign and replace(value.foreign, why="x"))
    published = [
        each and replace(each, fault=each.fault and "x") for each in (value.published, value.refused)
    ]
    problems = tuple(map(without_words, value.problems))
    return replace(value, problems=problems, published=published[0], refused=published[1])


def follows_from(situation: Situation, decision: Decision, config: Config) -> list[object]:
    """All that follows from a decision, but for words: steps and waits, state, messages and metrics."""
    site, seen, remembered = situation.goal.site, situation.seen, situation.remembered
    state, cause = deciding.state_of(decision, remembered.failures)
    view = View(site, remembered, seen, decision, state, cause, remembered.failures)
    found = alerts.conditions(seen.at, [site.domain], [view], {})
    _, messages = alerts.due(alerts.Sent(), found, dict.fromkeys(found.problems, seen.at))
    known = Seen(config, {site.domain: view}, situation.ledger)
    return [
        [(s.key, s.fact, s.wait_until, s.waits_for_window) for s in (*decision.steps, *decision.optional)],
        decision.next_renewal,
        [problem.retry_at for problem in decision.problems],
        (state, view.is_well, getattr(cause, "key", None)),
        {key: problem.retry_at for key, problem in found.problems.items()},
        (found.right, found.certificates),
        [(each.kind, each.fact) for each in messages],
        metrics.text(known, {}, seen.at, is_looking=True, is_refused=False),
    ]


def steps_of(*args: Any, **kwargs: Any) -> list[tuple[str, str]]:
    """The steps as pairs of key and reason."""
    return [(step.key, step.reason) for step in decided(*args, **kwargs).steps]


def state_of(decision: Decision, failures: Mapping[str, Failure]) -> tuple[str, str]:
    """The state of the site, and its reason in words."""
    state, cause = deciding.state_of(decision, failures)
    nothing = Published(None, None)
    seen = Observation(NOW, {}, {}, nothing, has_copy=False, served={})
    return state, View(CONFIG.sites[0], NOTHING, seen, decision, state, cause, failures).reason


def shown(*answers: set[str] | None) -> Observation:
    found = tuple(None if a is None else frozenset(a) for a in answers)
    return replace(WELL, answers={(DOMAIN, "A"): found})


def published(facts: LeafFacts = FACTS, origin: Origin = ORIGIN, fault: str = "") -> Observation:
    return replace(WELL, published=Published(facts, origin, fault))


DRIFTED = shown({OTHER_LAN})


def state(**fields: Any) -> SiteState:
    return replace(SiteState(), **fields)


def failure(retry_at: datetime = NOW + HOUR, *, is_waiting: bool = False, what: str = "it failed") -> Failure:
    return Failure(at=NOW - MINUTE, what=what, hint="", retry_at=retry_at, count=1, is_waiting=is_waiting)
