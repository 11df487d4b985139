"""Each rule of what is done when, as a table; and what holds for every observation."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base.clock import RELEASED
from certbotless.config import load
from certbotless.config.settings import Config
from certbotless.decide import decide as deciding
from certbotless.decide.decide import decide, without_abandoned
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import NOTHING_ASKED, Decision, Intent, Step
from certbotless.model.deployed import Acted
from certbotless.model.ledger import Entry
from certbotless.model.memory import (
    Failure,
    Foreign,
    OrderInFlight,
    RenewalInfo,
    SiteState,
    TxtValue,
    WrittenRecord,
)
from certbotless.model.observation import Observation
from certbotless.model.reason import Reason, Why
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


CONFIG = config_of()
FACTS = LeafFacts((WILDCARD, DOMAIN), LEAF, "CN=Example CA", NOW - DAY, NOW + 89 * DAY)
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


def test_the_words_of_reasons_are_made_when_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `decided` looks at each time can be seen: with other words all texts are others."""
    step = decided(replace(WELL, served={"registry": ""})).steps[0]
    assert (step.reason, step.has(Why.NO_ANSWER)) == ("no TLS answer", True)
    monkeypatch.setattr(Reason, "words", "x")
    assert (step.reason, step.has(Why.NO_ANSWER)) == ("x", True)


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


def state(**fields: Any) -> SiteState:
    return replace(SiteState(), **fields)


def failure(retry_at: datetime = NOW + HOUR, *, is_waiting: bool = False, what: str = "it failed") -> Failure:
    return Failure(at=NOW - MINUTE, what=what, hint="", retry_at=retry_at, count=1, is_waiting=is_waiting)


def test_a_site_whose_four_facts_are_true_needs_nothing() -> None:
    decision = decided()
    assert decision.steps == ()
    assert decision.problems == ()
    assert decision.next_renewal == renewal_moment(FACTS)
    assert state_of(decision, {}) == ("ok", "")


# --- the record -------------------------------------------------------------------------------------------

SPREADING = replace(WRITTEN, is_seen=False)
RECORDS = {
    "no record": (shown(set(), set()), None, ("record", f"nothing -> {LAN}")),
    "an old address": (shown({OTHER_LAN}, {OTHER_LAN}), None, ("record", f"{OTHER_LAN} -> {LAN}")),
    "another one beside it": (
        shown({LAN, OTHER_LAN}, {LAN}),
        None,
        ("record", f"{LAN}, {OTHER_LAN} -> {LAN}"),
    ),
    "one server behind": (shown({LAN}, {OTHER_LAN}), None, ("record", f"{LAN}, {OTHER_LAN} -> {LAN}")),
    "one server silent": (shown({LAN}, None), None, None),
    "one silent, one wrong": (shown(None, {OTHER_LAN}), None, ("record", f"{OTHER_LAN} -> {LAN}")),
    "all silent": (shown(None, None), None, None),
    "no zone yet": (replace(WELL, answers=None), None, ("record", "the zone is not known yet")),
    "no servers": (replace(WELL, answers={}), None, None),
    "no address wanted": (replace(WELL, addresses={}, answers={}), None, None),
    "no address to be had": (replace(shown({OTHER_LAN}), addresses={}), WRITTEN, None),
    "just written": (
        shown({OTHER_LAN}, {LAN}),
        SPREADING,
        ("confirm", f"{LAN} is not shown by every name server yet"),
    ),
    "written while the clock was ahead": (
        shown({OTHER_LAN}),
        replace(SPREADING, at=NOW + AHEAD),
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "written, not seen in time": (
        shown(set(), {LAN}),
        replace(SPREADING, at=NOW - 10 * MINUTE),
        ("record", f"{LAN} -> {LAN}"),
    ),
    "drifted after it was seen": (
        shown({OTHER_LAN}, {OTHER_LAN}),
        WRITTEN,
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "another address wanted while the last one spreads": (
        shown({OTHER_LAN}, {OTHER_LAN}),
        replace(SPREADING, value=OTHER_LAN),
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "right, and written by us": (WELL, WRITTEN, None),
    "right, though we wrote another": (WELL, replace(WRITTEN, value=OTHER_LAN), None),
    "right, with another TTL since": (
        WELL,
        replace(WRITTEN, ttl_s=1200),
        ("record", "ttl 1200 -> 600"),
    ),
    "right, with a smaller TTL since": (
        WELL,
        replace(WRITTEN, ttl_s=3600),
        ("record", "ttl 3600 -> 600"),
    ),
    "another TTL wanted while the last one spreads": (
        shown(set()),
        replace(SPREADING, ttl_s=1200),
        ("record", f"nothing -> {LAN}"),
    ),
}


@pytest.mark.parametrize(("seen", "record", "step"), RECORDS.values(), ids=RECORDS.keys())
def test_the_record_is_written_when_it_is_wrong_and_nobody_knows_better(
    seen: Observation, record: WrittenRecord | None, step: tuple[str, str] | None
) -> None:
    assert steps_of(seen, state(records={"A": {DOMAIN: record}} if record else {})) == (
        [step] if step else []
    )


LAN6, OTHER_LAN6 = "fd12:3456:789a::20", "fd12:3456:789a::7"
CONFIG6 = config_of(address6=f"'{LAN6}'")


def as_ipv6(text: str) -> str:
    return text.replace(LAN, LAN6).replace(OTHER_LAN, OTHER_LAN6)


@pytest.mark.parametrize(("seen", "record", "step"), RECORDS.values(), ids=RECORDS.keys())
def test_the_aaaa_record_is_decided_upon_as_the_a_record_and_apart_from_it(
    seen: Observation, record: WrittenRecord | None, step: tuple[str, str] | None
) -> None:
    answers6 = seen.answers and {
        (fqdn, "AAAA"): tuple(None if a is None else frozenset(map(as_ipv6, a)) for a in each)
        for (fqdn, _), each in seen.answers.items()
    }
    answers = None if answers6 is None else {**(WELL.answers or {}), **answers6}
    of_both = replace(WELL, addresses={"A": LAN, "AAAA": as_ipv6(seen.address)}, answers=answers)
    known = {DOMAIN: replace(record, value=as_ipv6(record.value))} if record else {}
    expected = [("record", "the zone is not known yet")] if answers is None else []
    expected += [(f"{step[0]}6", as_ipv6(step[1]))] if step else []
    assert steps_of(of_both, state(records={"AAAA": known}), config=CONFIG6) == expected


def test_a_site_that_asks_for_no_aaaa_record_gets_none() -> None:
    """Whatever stands there, and whatever was written when it was asked for."""
    there = replace(WELL, answers={**(WELL.answers or {}), (DOMAIN, "AAAA"): (frozenset({OTHER_LAN6}),)})
    assert steps_of(there, state(records={"AAAA": {DOMAIN: replace(WRITTEN, value=LAN6)}})) == []


def test_a_record_that_spreads_is_looked_for_last() -> None:
    seen = replace(shown(set()), published=Published(None, None), has_copy=False, served={})
    keys = [key for key, _ in steps_of(seen, state(records={"A": {DOMAIN: SPREADING}}))]
    assert keys == ["order", "confirm"]


# --- the certificate --------------------------------------------------------------------------------------


def published(facts: LeafFacts = FACTS, origin: Origin = ORIGIN, fault: str = "") -> Observation:
    return replace(WELL, published=Published(facts, origin, fault))


DUE = renewal_moment(FACTS)
ORDERS = {
    "none at all": (
        replace(WELL, published=Published(None, None), has_copy=False),
        "there is no certificate yet",
    ),
    "a damaged one without a copy": (
        replace(WELL, published=Published(None, None, "privkey.pem was edited by hand"), has_copy=False),
        "there is no certificate yet",
    ),
    "of fewer names": (published(replace(FACTS, names=(DOMAIN,))), f"the certificate is for {DOMAIN}"),
    "of more names": (
        published(replace(FACTS, names=(WILDCARD, DOMAIN, "x.test"))),
        f"the certificate is for {WILDCARD}, {DOMAIN}, x.test",
    ),
    "of another CA": (
        published(origin=replace(ORIGIN, directory="https://other.test/directory")),
        "the certificate is from https://other.test/directory",
    ),
    "of another kind of key": (
        published(origin=replace(ORIGIN, key_type="rsa2048")),
        "the certificate's key is rsa2048",
    ),
    "of another account": (published(origin=replace(ORIGIN, account="https://ca.test/account/2")), None),
    "a moment before it is due": (replace(WELL, at=DUE - timedelta(microseconds=1)), None),
    "due": (
        replace(WELL, at=DUE),
        f"due since {DUE:%Y-%m-%dT%H:%M:%SZ}, expires {FACTS.not_after:%Y-%m-%dT%H:%M:%SZ}",
    ),
    "expired": (
        replace(WELL, at=FACTS.not_after + DAY),
        f"due since {DUE:%Y-%m-%dT%H:%M:%SZ}, expires {FACTS.not_after:%Y-%m-%dT%H:%M:%SZ}",
    ),
}


@pytest.mark.parametrize(("seen", "reason"), ORDERS.values(), ids=ORDERS.keys())
def test_a_certificate_is_ordered_for_a_reason(seen: Observation, reason: str | None) -> None:
    orders = [step for step in decided(seen).steps if step.action == "order"]
    assert [step.reason for step in orders] == ([reason] if reason else [])
    assert all(step.is_due(seen.at) for step in orders)


def test_the_order_of_names_in_the_file_is_no_reason() -> None:
    one, other = f"a.{DOMAIN}", f"b.{DOMAIN}"
    seen = published(replace(FACTS, names=(one, other, DOMAIN)))
    for names in (f"[{one}, {other}]", f"[{other}, {one}, {other}]"):
        assert steps_of(seen, config=config_of(names=names)) == []


RESTORES = {
    "a name deleted": (published(fault="'/certs/x.pem' is missing"), "'/certs/x.pem' is missing"),
    "the generation edited": (
        replace(WELL, published=Published(None, None, "privkey.pem was edited by hand")),
        "privkey.pem was edited by hand",
    ),
    "all deleted": (replace(WELL, published=Published(None, None)), "no certificate is published"),
}


@pytest.mark.parametrize(("seen", "reason"), RESTORES.values(), ids=RESTORES.keys())
def test_what_can_be_restored_is_restored_without_an_order(seen: Observation, reason: str) -> None:
    assert [step for step in steps_of(seen) if not step[0].startswith("deploy")] == [("restore", reason)]


@pytest.mark.parametrize(
    "fault", ["'/certs/devbox.key' is missing", "'/certs/devbox.key' links to another place"]
)
def test_nothing_is_restarted_on_files_that_are_not_as_they_were_published(fault: str) -> None:
    """It would come up with no pair, or with another one."""
    published = replace(WELL.published, fault=fault)
    seen = replace(WELL, published=published, served={"registry": OLD_LEAF, "mirror": ""})
    assert [key for key, _ in steps_of(seen)] == ["restore"]


@pytest.mark.parametrize(
    ("seen", "remembered"), [(replace(WELL, has_copy=False), NOTHING), (WELL, state(is_lost=True))]
)
def test_a_lost_copy_or_state_is_made_good_and_the_site_is_well_all_the_same(
    seen: Observation, remembered: SiteState
) -> None:
    decision = decided(seen, remembered)
    assert [step.key for step in decision.due(NOW)] == ["rebuild"]
    assert state_of(decision, {}) == ("ok", "")


@pytest.mark.parametrize(
    "published", [Published(None, None), replace(WELL.published, fault="'/certs/devbox.key' is missing")]
)
def test_there_is_nothing_to_copy_but_an_intact_pair(published: Published) -> None:
    assert decided(replace(WELL, published=published, has_copy=False)).optional == ()


def test_a_damaged_pair_that_is_due_is_restored_and_ordered_anew() -> None:
    seen = replace(published(fault="gone"), at=DUE)
    assert [key for key, _ in steps_of(seen)] == ["restore", "order"]


ORDER = OrderInFlight(url="https://ca.test/order/1", directory=DIRECTORY, names=(WILDCARD, DOMAIN))


def test_an_order_that_a_dead_run_left_is_collected_or_gone_on_with_when_one_is_due() -> None:
    left = state(order=ORDER)
    assert steps_of(state=left) == [("collect", "an earlier run left an order")]
    assert [key for key, _ in steps_of(replace(WELL, at=DUE), left)] == ["order"]


def test_txt_records_that_a_dead_run_left_are_cleaned_up_first() -> None:
    left = state(txt=(TxtValue(f"_acme-challenge.{DOMAIN}", "gfj9Xq", "sweetlove.test"),))
    seen = replace(shown(set()), published=Published(None, None), has_copy=False)
    assert [key for key, _ in steps_of(seen, left)] == ["clean-up", "record", "order"]


# --- what is served ---------------------------------------------------------------------------------------

SERVED = {
    "another certificate": (
        {"registry": OLD_LEAF, "mirror": LEAF},
        [("deploy:registry", "another certificate")],
    ),
    "no answer": ({"registry": LEAF, "mirror": ""}, [("deploy:mirror", "no TLS answer")]),
    "no known port": ({"registry": LEAF}, [("deploy:mirror", "its port is not known yet")]),
    "both wrong": (
        {"registry": "", "mirror": OLD_LEAF},
        [("deploy:registry", "no TLS answer"), ("deploy:mirror", "another certificate")],
    ),
}


def test_a_target_waits_for_the_lan_address_at_which_it_is_proved() -> None:
    """To act upon it would be a failure, which is tried again a minute after the address is there."""
    away = replace(WELL, addresses={}, host="", served={})
    assert [step.key for step in decided(away).steps] == []
    assert [step.key for step in decided(replace(away, host=LAN)).steps] == [
        "deploy:registry",
        "deploy:mirror",
    ]


@pytest.mark.parametrize(("served", "steps"), SERVED.values(), ids=SERVED.keys())
def test_a_container_that_does_not_serve_what_is_published_is_acted_on_without_an_order(
    served: dict[str, str], steps: list[tuple[str, str]]
) -> None:
    assert steps_of(replace(WELL, served=served)) == steps


def test_a_container_that_left_the_configuration_is_left_alone() -> None:
    assert steps_of(replace(WELL, served=dict(WELL.served) | {"old": OLD_LEAF})) == []


def of_targets(*targets: str) -> Config:
    """The configuration of the site with these entries of `deploy`."""
    return config_of(deploy=f"[{', '.join(targets)}]")


def acted(*names: str, sha256: str = LEAF) -> SiteState:
    return state(acted={name: Acted(sha256=sha256, count=1) for name in names})


LABEL = "{label: 'reload=devbox', action: {signal: HUP}}"
MATCHED = state(matched={"reload=devbox": ("web1", "web2")})
LABELLED = {
    "no look for matches yet": ({}, NOTHING, ["its port is not known yet"]),
    "no match": ({}, state(matched={"reload=devbox": ()}), ["its port is not known yet"]),
    "all right": ({"web1": LEAF, "web2": LEAF}, MATCHED, []),
    "one wrong": ({"web1": LEAF, "web2": OLD_LEAF}, MATCHED, ["another certificate"]),
    "one silent, one wrong": (
        {"web1": "", "web2": OLD_LEAF},
        MATCHED,
        ["another certificate, no TLS answer"],
    ),
    "one unknown": ({"web1": LEAF}, MATCHED, ["its port is not known yet"]),
}


@pytest.mark.parametrize(("served", "remembered", "reasons"), LABELLED.values(), ids=LABELLED.keys())
def test_a_label_is_one_step_for_all_that_it_matches(
    served: dict[str, str], remembered: SiteState, reasons: list[str]
) -> None:
    by_key = {f"label:reload=devbox {name}": leaf for name, leaf in served.items()}
    steps = steps_of(replace(WELL, served=by_key), remembered, config=of_targets(LABEL))
    assert steps == [("deploy:label:reload=devbox", reason) for reason in reasons]


def test_a_command_is_named_as_a_shell_would_be_told() -> None:
    config = of_targets("{command: [systemctl, reload, 'my nginx'], port: '127.0.0.1:443'}")
    name = "systemctl reload 'my nginx'"
    assert steps_of(replace(WELL, served={name: LEAF}), config=config) == []
    seen = replace(WELL, served={name: OLD_LEAF})
    assert steps_of(seen, config=config) == [(f"deploy:{name}", "another certificate")]


UNPROVED = of_targets("{container: registry, port: none}")
UNPROVED_LABEL = of_targets("{label: 'reload=devbox', port: none}")


@pytest.mark.parametrize(
    ("config", "remembered", "is_due"),
    [
        (UNPROVED, NOTHING, True),
        (UNPROVED, acted("registry", sha256=OLD_LEAF), True),
        (UNPROVED, acted("mirror"), True),
        (UNPROVED, acted("registry"), False),
        (UNPROVED_LABEL, NOTHING, True),
        (UNPROVED_LABEL, replace(MATCHED, acted=acted("web1").acted), True),
        (UNPROVED_LABEL, replace(MATCHED, acted=acted("web1", "web2").acted), False),
    ],
)
def test_what_cannot_be_proved_is_due_once_for_each_certificate(
    config: Config, remembered: SiteState, is_due: bool
) -> None:
    keys = [reason for _, reason in steps_of(replace(WELL, served={}), remembered, config=config)]
    assert keys == (["not yet reloaded for this certificate"] if is_due else [])


# --- the canary -------------------------------------------------------------------------------------------

BOTH_OLD = replace(
    WELL,
    published=Published(FACTS, replace(ORIGIN, issued_at=NOW - HOUR)),
    served={"registry": OLD_LEAF, "mirror": OLD_LEAF},
)
CANARY_FAILED = state(failures={"deploy:registry": failure(what="it crashed")})


ALONE = replace(WELL, served={"registry": OLD_LEAF, "mirror": LEAF})
MIRROR_FAILED = state(failures={"deploy:mirror": failure()})
CANARIES: dict[str, tuple[Observation, SiteState, list[str]]] = {
    "the first one comes first": (BOTH_OLD, NOTHING, ["registry", "mirror"]),
    "it is tried again before the others": (
        replace(BOTH_OLD, at=NOW + HOUR),
        CANARY_FAILED,
        ["registry", "mirror"],
    ),
    "the others are not touched as long as it fails": (BOTH_OLD, CANARY_FAILED, []),
    "a later one that fails holds nobody back": (BOTH_OLD, MIRROR_FAILED, ["registry"]),
    "nor where it is true by now": (ALONE, MIRROR_FAILED, ["registry"]),
    "its admin stopped the first one": (
        BOTH_OLD,
        state(failures={"deploy:registry": failure(is_waiting=True)}),
        ["mirror"],
    ),
    "the other one has nothing to lose": (
        replace(WELL, served={"registry": OLD_LEAF, "mirror": ""}),
        CANARY_FAILED,
        ["mirror"],
    ),
    "nobody knows how long the replaced certificate is good for, and a day is over": (
        replace(BOTH_OLD, published=Published(FACTS, replace(ORIGIN, issued_at=NOW - DAY))),
        CANARY_FAILED,
        ["mirror"],
    ),
    "the replaced certificate expires": (BOTH_OLD, replace(CANARY_FAILED, deploy_by=NOW), ["mirror"]),
    "it failed while the clock was ahead": (
        BOTH_OLD,
        state(failures={"deploy:registry": replace(failure(NOW + AHEAD + HOUR), at=NOW + AHEAD)}),
        ["registry", "mirror"],
    ),
}


@pytest.mark.parametrize(("seen", "remembered", "due"), CANARIES.values(), ids=CANARIES.keys())
def test_the_first_target_holds_the_others_back_for_no_less_than_its_failure(
    seen: Observation, remembered: SiteState, due: list[str]
) -> None:
    assert [step.target for step in decided(seen, remembered).due(seen.at)] == due


def test_the_first_target_holds_nobody_back_once_it_came_true_by_itself() -> None:
    config = of_targets(*(f"{{container: {name}, port: 5000}}" for name in ("registry", "mirror", "cache")))
    seen = replace(WELL, served={"registry": LEAF, "mirror": OLD_LEAF, "cache": OLD_LEAF})
    due = decided(seen, CANARY_FAILED, config=config).due(NOW)
    assert [step.target for step in due] == ["mirror", "cache"]


def test_what_the_first_target_holds_back_says_until_when_and_why() -> None:
    _, mirror = decided(BOTH_OLD, CANARY_FAILED).steps
    assert mirror.wait_until == NOW + HOUR
    assert mirror.wait_reason == "the first target failed: it crashed"


# --- the window -------------------------------------------------------------------------------------------

# As rules, because a machine need not have the time zones' names.
SHANGHAI = "CST-8"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


@pytest.fixture
def machine_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set the machine's time zone for the test."""

    def be_in(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield be_in
    monkeypatch.undo()
    time.tzset()


def windowed(
    window: str, at: datetime, deploy_by: datetime | None = NOW + 4000 * DAY, leaf: str = OLD_LEAF
) -> tuple[Decision, Step]:
    """Decide at a moment about a container with this window, which serves `leaf`."""
    facts = replace(FACTS, not_before=at - DAY, not_after=at + 89 * DAY)
    seen = replace(WELL, at=at, published=Published(facts, ORIGIN), served={"registry": leaf})
    config = of_targets(f"{{container: registry, port: 5000, when: '{window}'}}")
    decision = decided(seen, state(deploy_by=deploy_by), config=config)
    [step] = decision.steps
    return decision, step


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OPENINGS = {
    "before it": ("UTC", "02:00-05:00", "2026-11-24T01:59:59", "2026-11-24T02:00"),
    "at its start": ("UTC", "02:00-05:00", "2026-11-24T02:00", None),
    "at its last instant": ("UTC", "02:00-05:00", "2026-11-24T04:59:59.999999", None),
    "at its end": ("UTC", "02:00-05:00", "2026-11-24T05:00", "2026-11-25T02:00"),
    "over midnight, before": ("UTC", "23:00-01:00", "2026-11-24T22:00", "2026-11-24T23:00"),
    "over midnight, the evening": ("UTC", "23:00-01:00", "2026-11-24T23:30", None),
    "over midnight, the morning": ("UTC", "23:00-01:00", "2026-11-25T00:30", None),
    "over midnight, after": ("UTC", "23:00-01:00", "2026-11-25T01:00", "2026-11-25T23:00"),
    "until midnight": ("UTC", "22:00-00:00", "2026-11-24T23:59", None),
    "in Shanghai, before": (SHANGHAI, "02:00-05:00", "2026-11-24T05:30", "2026-11-24T18:00"),
    "in Shanghai, within": (SHANGHAI, "02:00-05:00", "2026-11-24T18:00", None),
    "in Shanghai, over its midnight": (SHANGHAI, "23:00-01:00", "2026-11-24T16:30", None),
    # Summer time begins on 14 March 2027 at 02:00 (07:00 UTC) and ends on 7 November at 02:00 (06:00 UTC).
    "the day before summer time": (NEW_YORK, "02:00-05:00", "2027-03-13T06:00", "2027-03-13T07:00"),
    "its start is skipped": (NEW_YORK, "02:30-05:00", "2027-03-14T06:59", "2027-03-14T07:30"),
    "its end is an hour earlier": (NEW_YORK, "01:00-05:00", "2027-03-14T09:00", "2027-03-15T05:00"),
    "all of it is skipped": (NEW_YORK, "02:00-03:00", "2027-03-14T06:59", "2027-03-15T06:00"),
    "all of it is skipped, after": (NEW_YORK, "02:00-03:00", "2027-03-14T07:00", "2027-03-15T06:00"),
    "skipped tomorrow": (NEW_YORK, "02:00-03:00", "2027-03-13T08:00", "2027-03-15T06:00"),
    "its hour comes twice, the first": (NEW_YORK, "01:00-02:00", "2027-11-07T05:30", None),
    "its hour comes twice, the second": (NEW_YORK, "01:00-02:00", "2027-11-07T06:30", None),
    "its hour comes twice, after": (NEW_YORK, "01:00-02:00", "2027-11-07T07:00", "2027-11-08T06:00"),
    "the clock goes back within it": (NEW_YORK, "01:30-02:30", "2027-11-07T06:10", None),
}


@pytest.mark.parametrize(("zone", "window", "at", "opens"), OPENINGS.values(), ids=OPENINGS.keys())
def test_a_deploy_waits_for_its_window_in_the_machines_local_time(
    machine_in: Callable[[str], None], zone: str, window: str, at: str, opens: str | None
) -> None:
    machine_in(zone)
    decision, step = windowed(window, utc(at))
    assert step.wait_until == (utc(opens) if opens else None)
    assert step.waits_for_window == (opens is not None)
    assert bool(decision.due(utc(at))) == (opens is None)


def test_who_waits_for_a_window_is_told_its_time(machine_in: Callable[[str], None]) -> None:
    machine_in(SHANGHAI)
    decision, step = windowed("02:00-05:00", NOW)
    assert step.wait_text == "deploy:registry not before 2026-11-24T18:00:00Z: its window 02:00-05:00"
    assert state_of(decision, {})[0] == "pending"


@pytest.mark.parametrize(
    ("deploy_by", "leaf", "wait_until"),
    [
        (None, OLD_LEAF, None),
        (NOW - MINUTE, OLD_LEAF, None),
        (NOW, OLD_LEAF, None),
        (NOW + MINUTE, OLD_LEAF, NOW + MINUTE),
        (NOW + DAY, "", None),
    ],
    ids=["nothing was replaced", "deadline passed", "deadline now", "deadline before it opens", "no answer"],
)
def test_a_window_is_not_waited_for_beyond_the_deadline_nor_by_a_service_that_is_down(
    machine_in: Callable[[str], None], deploy_by: datetime | None, leaf: str, wait_until: datetime | None
) -> None:
    machine_in("UTC")
    _, step = windowed("20:00-21:00", NOW, deploy_by, leaf)
    assert step.wait_until == wait_until


def test_a_failure_that_outlasts_the_window_is_no_choice(machine_in: Callable[[str], None]) -> None:
    machine_in("UTC")
    config = of_targets("{container: registry, port: 5000, when: '06:00-07:00'}")
    seen = replace(WELL, served={"registry": OLD_LEAF})
    for retry_at, waits_for_window in ((NOW + MINUTE, True), (NOW + HOUR, False)):
        remembered = state(deploy_by=NOW + DAY, failures={"deploy:registry": failure(retry_at)})
        [step] = decided(seen, remembered, config=config).steps
        assert step.waits_for_window == waits_for_window
        assert step.wait_until == max(retry_at, NOW + MINUTE * 30)


@given(
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.integers(1, 24 * 60 - 1),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)),  # noqa: DTZ001  (made aware below)
    st.sampled_from(["UTC", SHANGHAI, NEW_YORK]),
)
def test_a_window_opens_within_two_days_and_what_waits_for_it_finds_it_open(
    start: time_of_day, minutes: int, at: datetime, zone: str
) -> None:
    end = (datetime.combine(NOW, start) + timedelta(minutes=minutes)).time()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        now = at.replace(tzinfo=UTC)
        window = f"{start:%H:%M}-{end:%H:%M}"
        _, step = windowed(window, now)
        if step.wait_until is not None:
            assert now < step.wait_until < now + 2 * DAY + 2 * HOUR
            assert windowed(window, step.wait_until)[1].wait_until is None
            assert windowed(window, step.wait_until - timedelta(microseconds=1))[1].wait_until is not None
    time.tzset()


# --- waiting ----------------------------------------------------------------------------------------------

DRIFTED = shown({OTHER_LAN})


@pytest.mark.parametrize(
    ("at", "wait_text"),
    [(NOW, "record not before 2026-11-24T06:30:00Z: it failed"), (NOW + HOUR, ""), (NOW + DAY, "")],
)
def test_a_step_that_failed_waits_for_its_retry_time_and_is_due_from_then_on(
    at: datetime, wait_text: str
) -> None:
    decision = decided(replace(DRIFTED, at=at), state(failures={"record": failure(NOW + HOUR)}))
    [step] = decision.steps
    assert (step.key, step.wait_text) == ("record", wait_text)
    assert step.wait_until == (NOW + HOUR if wait_text else None)
    assert decision.due(at) == (() if wait_text else (step,))


def test_a_failure_holds_back_its_own_step_alone() -> None:
    failed = state(failures={"deploy:registry": failure(), "order": failure()})
    seen = replace(DRIFTED, served={"registry": "", "mirror": ""})
    assert [step.key for step in decided(seen, failed).due(NOW)] == ["record", "deploy:mirror"]


def test_a_new_address_never_waits_for_a_certificate() -> None:
    seen = replace(DRIFTED, published=Published(None, None), has_copy=False)
    failed = state(failures={"order": failure(NOW + DAY)})
    assert [step.key for step in decided(seen, failed).due(NOW)] == ["record"]


ORDERED = [Entry(NOW - age, "order", DIRECTORY, (WILDCARD, DOMAIN)) for age in (HOUR, DAY, 2 * DAY)]
DUE_NOW = replace(WELL, at=DUE)
ORDERED_BEFORE_DUE = [replace(entry, at=entry.at + (DUE - NOW)) for entry in ORDERED]


def test_a_fourth_order_waits_for_the_window_and_says_how_to_order_all_the_same() -> None:
    [step] = decided(DUE_NOW, ledger=ORDERED_BEFORE_DUE).steps
    assert step.wait_until == DUE + 5 * DAY
    assert "3 orders for these names in 7 days" in step.wait_reason
    assert "--renew-now --force" in step.wait_reason


def test_the_window_is_that_of_the_lifetime_in_hand() -> None:
    short = replace(FACTS, not_before=NOW - 4 * DAY, not_after=NOW + 2 * DAY)
    ledger = [
        replace(entry, at=NOW - age) for entry, age in zip(ORDERED, [HOUR, HOUR, 47 * HOUR], strict=True)
    ]
    [step] = decided(published(short), ledger=ledger).steps
    assert step.wait_until == NOW + HOUR


def test_an_adopted_certificate_is_renewed_before_it_expires_whatever_its_ca_gave_before() -> None:
    """Its lifetime says how often its CA is asked, and the last of its life has the reserve."""
    short = replace(FACTS, not_before=NOW - 13 * HOUR, not_after=NOW + 11 * HOUR)
    adopted = replace(ORIGIN, account="")
    every_half_day = [replace(ORDERED[0], at=NOW - age * HOUR) for age in range(14, 168, 12)]
    decision = decided(published(short, adopted), ledger=every_half_day)
    assert [step.key for step in decision.due(NOW)] == ["order"]

    long = replace(FACTS, not_before=NOW - 86 * DAY, not_after=NOW + 4 * DAY)
    [step] = decided(published(long, adopted), ledger=[*ORDERED, *ORDERED][:4]).due(NOW)
    assert step.key == "order"


def test_an_order_in_flight_was_counted_when_it_was_placed() -> None:
    decision = decided(DUE_NOW, state(order=ORDER), ORDERED_BEFORE_DUE)
    assert [step.key for step in decision.due(DUE)] == ["order"]


@pytest.mark.parametrize(("retry_at", "until"), [(DUE + DAY, DUE + 5 * DAY), (DUE + 6 * DAY, DUE + 6 * DAY)])
def test_of_two_reasons_to_wait_the_later_one_counts(retry_at: datetime, until: datetime) -> None:
    failed = Failure(at=DUE, what="it failed", hint="", retry_at=retry_at, count=1)
    [step] = decided(DUE_NOW, state(failures={"order": failed}), ORDERED_BEFORE_DUE).steps
    assert step.wait_until == until


def test_a_lifetime_of_another_ca_or_of_other_names_shortens_no_window() -> None:
    """Else an edit would lead from a CA that issues for minutes to one that counts in weeks."""
    minutes = replace(FACTS, not_before=NOW - MINUTE, not_after=NOW + MINUTE)
    elsewhere = Published(minutes, replace(ORIGIN, directory="https://other.test/directory"))
    for other in (elsewhere, Published(replace(minutes, names=(DOMAIN,)), ORIGIN)):
        [step] = decided(replace(WELL, published=other), ledger=ORDERED).steps
        assert step.wait_until == NOW + 5 * DAY


LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@pytest.mark.row(95)
@pytest.mark.parametrize(
    ("ari_id", "ends_in", "is_held"),
    [("", HOUR, True), ("aYhba4dG.AIdlQyE", HOUR, False), ("aYhba4dG.AIdlQyE", timedelta(), True)],
    ids=["has no identifier", "in the window", "after the window"],
)
def test_at_lets_encrypt_only_a_renewal_that_is_suggested_now_is_free_of_the_limit_of_the_week(
    ari_id: str, ends_in: timedelta, is_held: bool
) -> None:
    config = replace(CONFIG, acme=(replace(CONFIG.cas[0], directory="letsencrypt"),))
    six_days = replace(FACTS, not_before=NOW - 4 * DAY, not_after=NOW + 2 * DAY, ari_id=ari_id)
    seen = replace(WELL, published=Published(six_days, replace(ORIGIN, directory=LETS_ENCRYPT)))
    ledger = [Entry(NOW - 3 * DAY, "order", LETS_ENCRYPT, FACTS.names, "renewal")] * 3
    told = RenewalInfo(
        sha256=LEAF, next_look=NOW + HOUR, start=NOW - HOUR, end=NOW + ends_in, moment=NOW - HOUR
    )
    [step] = decided(seen, state(renewal=told), ledger, config=config).steps
    assert step.wait_until == (NOW + 2 * DAY - 6 * DAY / 4 if is_held else None)


def test_nothing_is_ordered_by_a_clock_that_is_older_than_the_program() -> None:
    """Not even where a command forces it; a machine without a battery starts in 1970."""
    seen = replace(WELL, at=datetime(1970, 1, 1, tzinfo=UTC), published=Published(None, None), has_copy=False)
    forced = Intent(seen.at, ignore_backoff=True, ignore_ledger=True)
    for intent in (NOTHING_ASKED, forced):
        [step] = decided(seen, intent=intent).steps
        assert step.wait_until == RELEASED
        assert "this machine's clock is older than this program" in step.wait_text


# --- a clock that was ahead ---------------------------------------------------------------------------------


def test_what_failed_while_the_clock_was_ahead_is_tried_at_once() -> None:
    seen = shown({OTHER_LAN})
    failed = replace(failure(NOW + AHEAD + HOUR), at=NOW + AHEAD)
    assert [step.key for step in decided(seen, state(failures={"record": failed})).due(NOW)] == ["record"]
    # A step of a second is none.
    failed = replace(failure(), at=NOW + timedelta(seconds=1))
    assert decided(seen, state(failures={"record": failed})).due(NOW) == ()


@pytest.mark.parametrize("days", [2, 3000])
def test_a_look_at_the_cas_window_that_is_too_far_off_comes_now(days: int) -> None:
    facts = replace(FACTS, ari_id="aYhba4dG.AIdlQyE")
    ahead = replace(ORIGIN, issued_at=NOW + days * DAY)
    told = RenewalInfo(sha256=LEAF, next_look=NOW + days * DAY)
    for origin, remembered in ((ahead, NOTHING), (ORIGIN, state(renewal=told))):
        seen = replace(WELL, published=Published(facts, origin))
        assert [step.key for step in decided(seen, remembered).optional] == ["renewal-info"]


# --- what a command asks for ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("since", "issued_at", "reasons"),
    [
        (NOW, NOW, []),
        (NOW + timedelta(microseconds=1), NOW, ["asked for"]),
        (NOW, NOW - DAY, ["asked for"]),
        (NOW, NOW + AHEAD, ["asked for"]),
    ],
)
def test_renew_now_orders_unless_the_certificate_was_issued_since_it_began(
    since: datetime, issued_at: datetime, reasons: list[str]
) -> None:
    """One from the future, by a clock that was ahead, was not."""
    seen = replace(published(origin=replace(ORIGIN, issued_at=issued_at)), at=max(since, NOW))
    assert [reason for _, reason in steps_of(seen, intent=Intent(renew_since=since))] == reasons


def test_renew_now_ignores_the_back_off_and_force_the_ledger_too() -> None:
    failed = state(failures={"order": failure(NOW + DAY)})
    asked, forced = Intent(NOW, ignore_backoff=True), Intent(NOW, ignore_backoff=True, ignore_ledger=True)
    assert [step.key for step in decided(WELL, failed, intent=asked).due(NOW)] == ["order"]
    assert decided(WELL, failed, ORDERED, asked).due(NOW) == ()
    assert [step.key for step in decided(WELL, failed, ORDERED, forced).due(NOW)] == ["order"]


@pytest.mark.row(46)
def test_renew_now_waits_for_the_moment_that_a_ca_has_named_and_force_does_not() -> None:
    """Not for the whole back-off, which is longer."""
    limited = replace(failure(NOW + DAY), limited_until=NOW + HOUR, at=NOW)
    remembered = state(failures={"order": limited})
    [step] = decided(WELL, remembered, intent=Intent(NOW, ignore_backoff=True)).steps
    assert step.wait_until == NOW + HOUR
    assert "--force" in step.wait_text
    forced = Intent(NOW, ignore_backoff=True, ignore_ledger=True)
    assert [step.key for step in decided(WELL, remembered, intent=forced).due(NOW)] == ["order"]


# --- how a site stands ------------------------------------------------------------------------------------


PAUSED, CRASHED = failure(is_waiting=True, what="it is paused"), failure(what="it crashed")
NO_MIRROR = dict(WELL.served) | {"mirror": ""}
STANDINGS = {
    "a fact that is not true yet": (DRIFTED, {}, ("pending", f"record: {OTHER_LAN} -> {LAN}")),
    "its last attempt failed": (DRIFTED, {"record": failure()}, ("failing", "it failed")),
    "a failure before what merely waits": (
        replace(DRIFTED, served=NO_MIRROR),
        {"deploy:mirror": CRASHED},
        ("failing", "it crashed"),
    ),
    "a failure before what waits for a person": (
        replace(WELL, served={}),
        {"deploy:registry": PAUSED, "deploy:mirror": CRASHED},
        ("failing", "it crashed"),
    ),
    "a fact that waits for a person": (
        replace(WELL, served=NO_MIRROR),
        {"deploy:mirror": PAUSED},
        ("pending", "it is paused"),
    ),
    "a failed renewal over four true facts": (WELL, {"order": failure()}, ("ok", "")),
}


@pytest.mark.parametrize(("seen", "failures", "standing"), STANDINGS.values(), ids=STANDINGS.keys())
def test_a_site_stands_as_its_worst_fact_does(
    seen: Observation, failures: dict[str, Failure], standing: tuple[str, str]
) -> None:
    assert state_of(decided(seen, state(failures=failures)), failures) == standing


def test_what_could_not_be_seen_is_failing() -> None:
    seen = replace(shown(None, None), problems=(failure(what="no authoritative name server answers"),))
    decision = decided(seen)
    assert decision.problems == seen.problems
    assert state_of(decision, {}) == ("failing", "no authoritative name server answers")


# --- what always holds ------------------------------------------------------------------------------------

addresses = st.sampled_from([LAN, OTHER_LAN])
moments = st.timedeltas(-400 * DAY, 400 * DAY).map(lambda offset: NOW + offset)
leaves = st.builds(
    lambda names, sha256, start, days: LeafFacts(names, sha256, "CN=Example CA", start, start + days * DAY),
    st.sampled_from([(WILDCARD, DOMAIN), (DOMAIN,)]),
    st.sampled_from([LEAF, OLD_LEAF]),
    moments,
    st.integers(1, 400),
)
origins = st.builds(
    Origin,
    st.sampled_from([DIRECTORY, "https://other.test/directory"]),
    st.just(""),
    st.just("ec256"),
    moments,
)
stores = st.builds(Published, leaves, origins, st.sampled_from(["", "it is gone"])) | st.builds(
    Published, st.none(), st.none(), st.sampled_from(["", "it was edited"])
)
answers = st.none() | st.dictionaries(
    st.just((DOMAIN, "A")), st.lists(st.none() | st.frozensets(addresses), max_size=3).map(tuple)
)
observations = st.builds(
    Observation,
    at=moments,
    addresses=st.fixed_dictionaries({"A": st.just("") | addresses}),
    answers=answers,
    published=stores,
    has_copy=st.booleans(),
    served=st.dictionaries(
        st.sampled_from(["registry", "mirror"]), st.sampled_from([LEAF, OLD_LEAF, ""]), max_size=2
    ),
    problems=st.just(()) | st.just((failure(what="unseen"),)),
)
keys = st.sampled_from(["clean-up", "record", "confirm", "order", "collect", "restore", "deploy:registry"])
states = st.builds(
    lambda records, order, txt, failures: state(
        records={"A": records}, order=order, txt=txt, failures=failures
    ),
    st.dictionaries(
        st.just(DOMAIN),
        st.builds(WrittenRecord, value=addresses, ttl_s=st.sampled_from([600, 60]), at=moments),
    ),
    st.none() | st.just(ORDER),
    st.just(()) | st.just((TxtValue(f"_acme-challenge.{DOMAIN}", "gfj9Xq", "sweetlove.test"),)),
    st.dictionaries(keys, st.builds(failure, moments, is_waiting=st.booleans()), max_size=4),
)
ledgers = st.lists(
    st.builds(
        Entry,
        moments,
        st.sampled_from(["order", "failure"]),
        st.just(DIRECTORY),
        st.sampled_from([(WILDCARD, DOMAIN), (DOMAIN,)]),
    ),
    max_size=8,
)
intents = st.builds(Intent, st.none() | moments, st.booleans(), st.booleans())


@given(observations, states, ledgers, intents)
def test_a_decision_is_a_pure_function(
    seen: Observation, remembered: SiteState, ledger: list[Entry], intent: Intent
) -> None:
    before = (repr(seen), repr(remembered), repr(ledger))
    first = decided(seen, remembered, ledger, intent)
    assert decided(seen, remembered, list(reversed(ledger)), intent) == first
    assert (repr(seen), repr(remembered), repr(ledger)) == before


@given(observations, states, ledgers, intents)
def test_no_step_is_taken_twice_nor_before_its_time(
    seen: Observation, remembered: SiteState, ledger: list[Entry], intent: Intent
) -> None:
    decision = decided(seen, remembered, ledger, intent)
    keys = [step.key for step in decision.steps]
    assert len(set(keys)) == len(keys)
    for step in decision.due(seen.at):
        failed = remembered.failures.get(step.key)
        assert failed is None or intent.ignore_backoff or not failed.blocks_at(seen.at)
    for step in decision.steps:
        assert step.wait_until is None or step.wait_until > seen.at
        assert step.reason


@given(states, ledgers, st.integers(0, 59))
def test_four_true_facts_ask_for_nothing_whatever_was_before(
    remembered: SiteState, ledger: list[Entry], days: int
) -> None:
    remembered = replace(remembered, txt=(), order=None)
    written = {fqdn: replace(r, ttl_s=600) for fqdn, r in remembered.records["A"].items()}
    remembered = replace(remembered, records={"A": written})
    seen = replace(WELL, at=FACTS.not_before + days * DAY)
    assert decided(seen, remembered, ledger).steps == ()
    assert state_of(decided(seen, remembered, ledger), remembered.failures)[0] == "ok"


@given(observations, states, st.timedeltas(timedelta(), 800 * DAY))
def test_a_reason_to_order_does_not_pass_with_time(
    seen: Observation, remembered: SiteState, later: timedelta
) -> None:
    def is_ordered(at: datetime) -> bool:
        return any(s.action == "order" for s in decided(replace(seen, at=at), remembered).steps)

    assert is_ordered(seen.at + later) or not is_ordered(seen.at)


@given(observations, states, ledgers, intents)
def test_every_decision_has_a_state_with_a_reason(
    seen: Observation, remembered: SiteState, ledger: list[Entry], intent: Intent
) -> None:
    decision = decided(seen, remembered, ledger, intent)
    name, reason = state_of(decision, remembered.failures)
    assert (name == "ok") == (not decision.steps and not decision.problems)
    assert bool(reason) == (name != "ok")


# --- when the CA wants it renewed -------------------------------------------------------------------------

KNOWN = replace(FACTS, ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
WITH_ARI = replace(WELL, published=Published(KNOWN, ORIGIN))


def told(moment: datetime | None, sha256: str = LEAF, next_look: datetime = NOW + HOUR) -> SiteState:
    return state(renewal=RenewalInfo(sha256=sha256, next_look=next_look, moment=moment))


def test_the_drawn_moment_counts_in_place_of_the_share_of_the_lifetime() -> None:
    assert decided(WITH_ARI, told(NOW + DAY)).next_renewal == NOW + DAY
    due = decided(WITH_ARI, told(NOW - MINUTE))
    [order] = due.steps
    assert (order.key, order.reason.partition(",")[0]) == ("order", "due since 2026-11-24T05:29:00Z")
    assert due.optional == ()


def test_a_moment_drawn_for_another_leaf_counts_for_nothing() -> None:
    assert decided(WITH_ARI, told(NOW - MINUTE, OLD_LEAF)).next_renewal == renewal_moment(KNOWN)


EXPIRED = replace(KNOWN, not_after=NOW)
ELSEWHERE = replace(ORIGIN, directory="https://other.test/directory")
ASKED = {
    "never asked": (WITH_ARI, NOTHING, True),
    "asked for another leaf": (WITH_ARI, told(None, OLD_LEAF), True),
    "due": (WITH_ARI, told(NOW + DAY, next_look=NOW), True),
    "overdue": (WITH_ARI, told(None, next_look=NOW - DAY), True),
    "asked a while ago": (WITH_ARI, told(None), False),
    "no identifier": (WELL, NOTHING, False),
    "no certificate": (replace(WELL, published=Published(None, None), has_copy=False), NOTHING, False),
    "expired": (replace(WELL, published=Published(EXPIRED, ORIGIN)), NOTHING, False),
    "of another CA": (replace(WELL, published=Published(KNOWN, ELSEWHERE)), NOTHING, False),
}


@pytest.mark.parametrize(("seen", "remembered", "is_asked"), ASKED.values(), ids=ASKED.keys())
def test_the_ca_is_asked_where_it_is_needed_and_the_site_is_well_all_the_same(
    seen: Observation, remembered: SiteState, is_asked: bool
) -> None:
    decision = decided(seen, remembered)
    assert [step.key for step in decision.optional] == ["renewal-info"] * is_asked
    if is_asked:
        assert [step.key for step in decision.due(NOW)] == ["renewal-info"]
        assert decision.steps == ()
        assert state_of(decision, {"renewal-info": failure()}) == ("ok", "")


def test_the_pair_of_another_tool_is_not_looked_into_where_a_copy_of_ours_can_be_restored() -> None:
    seen = replace(WELL, published=Published(None, None, plain="1:2:3"), has_copy=True)
    assert [key for key, _ in steps_of(replace(seen, copy_ends=NOW + DAY))] == ["restore"]
    # Whether it can be is to be found out first.
    assert [key for key, _ in steps_of(seen)] == ["rebuild"]


def test_an_expired_certificate_is_put_back_where_no_other_is_and_a_new_one_is_ordered() -> None:
    lost = replace(WELL, published=Published(None, None), has_copy=True, copy_ends=NOW)
    assert [key for key, _ in steps_of(lost)] == ["restore", "order"]
    # Where there is nothing else it does not matter.
    assert [key for key, _ in steps_of(replace(lost, copy_ends=None))] == ["restore"]


@pytest.mark.parametrize(
    ("retry_at", "waits_for_window"), [(NOW + HOUR, True), (NOW.replace(hour=22, minute=0), False)]
)
def test_a_target_whose_window_opens_after_the_canarys_retry_waits_for_its_window(
    machine_in: Callable[[str], None], retry_at: datetime, waits_for_window: bool
) -> None:
    """One that opens with the retry is no choice."""
    machine_in("UTC")
    config = of_targets(
        "{container: registry, port: 5000}", "{container: mirror, port: 5001, when: '22:00-23:00'}"
    )
    remembered = state(failures={"deploy:registry": failure(retry_at)}, deploy_by=NOW + 30 * DAY)
    seen = replace(WELL, served={"registry": OLD_LEAF, "mirror": OLD_LEAF})
    first, mirror = decided(seen, remembered, config=config).steps
    assert (first.key, first.wait_until) == ("deploy:registry", retry_at)
    opens = NOW.replace(hour=22, minute=0)
    assert (mirror.key, mirror.wait_until, mirror.waits_for_window) == (
        "deploy:mirror",
        opens,
        waits_for_window,
    )


# --- a certificate that the service refused ---------------------------------------------------------------

REFUSED = Published(
    replace(FACTS, sha256="ef" * 32), replace(ORIGIN, issued_at=NOW - HOUR), generation="20261124T043000Z-0"
)
OVERDUE = replace(
    FACTS, not_before=NOW - 89 * DAY, not_after=NOW + DAY, ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdl"
)


def test_a_refused_certificate_is_tried_again_while_it_is_fresh_and_no_other_one_ordered() -> None:
    """The published one before it is due; the one in hand says whether one must be ordered."""
    fresh = replace(WELL, published=Published(OVERDUE, ORIGIN), refused=REFUSED)
    overdue = replace(WELL, refused=Published(OVERDUE, ORIGIN, generation=REFUSED.generation))
    assert [key for key, _ in steps_of(fresh)] == ["redeploy"]
    assert [key for key, _ in steps_of(overdue)] == ["order"]


@pytest.mark.parametrize(
    ("origin", "asked"),
    [
        (replace(ORIGIN, key_type="rsa2048"), []),
        (replace(ORIGIN, directory="https://other.test/dir"), []),
        (ORIGIN, ["redeploy"]),
    ],
)
def test_an_edit_that_is_taken_back_after_a_rollback_orders_nothing(origin: Origin, asked: list[str]) -> None:
    """What is published is what is asked for; a refused one that is asked for is tried again as ever."""
    refused = Published(replace(FACTS, sha256=OLD_LEAF), origin)
    seen = without_abandoned(Goal(CONFIG.sites[0], CONFIG), replace(WELL, refused=refused))
    assert [key for key, _ in steps_of(seen)] == asked


def test_a_redeploy_waits_for_the_window_of_its_target(machine_in: Callable[[str], None]) -> None:
    machine_in("UTC")
    config = of_targets("{container: registry, port: 5000, when: '22:00-23:00'}")
    seen = replace(WELL, served={"registry": LEAF}, refused=REFUSED)
    [step] = decided(seen, state(deploy_by=NOW + 30 * DAY), config=config).steps
    assert (step.key, step.wait_until) == ("redeploy", NOW.replace(hour=22, minute=0))
    assert step.waits_for_window


def test_the_ca_is_not_asked_for_its_window_while_an_order_is_due() -> None:
    decision = decided(published(OVERDUE))
    assert [step.key for step in decision.steps] == ["order"]
    assert decision.optional == ()


# --- what is kept of what was seen ------------------------------------------------------------------------


NOTED = Published(FACTS, ORIGIN, generation="one", digest="12" * 32)


@pytest.mark.parametrize(
    ("noted", "is_asked"), [({"one": "12" * 32}, False), ({"an older one": "12" * 32}, True)]
)
def test_which_pairs_are_ours_is_noted_where_it_is_not_yet(noted: dict[str, str], is_asked: bool) -> None:
    decision = decided(replace(WELL, published=NOTED), state(generations=noted))
    assert [step.key for step in decision.optional] == ["note"] * is_asked
    assert decision.steps == ()


@pytest.mark.parametrize(
    "seen",
    [
        WELL,
        replace(WELL, served={"registry": OLD_LEAF, "mirror": ""}),
        replace(WELL, has_copy=False),
        replace(WELL, published=replace(WELL.published, facts=OVERDUE)),
        replace(WELL, published=replace(WELL.published, fault="it links to another place", plain="1:2:3")),
    ],
    ids=["well", "another one is served", "no copy", "overdue", "of another tool"],
)
def test_where_nothing_is_known_of_a_certificate_it_is_checked_before_anything_is_done_for_it(
    seen: Observation,
) -> None:
    """Who may write to certs_dir could have written what is told of it; the record needs none of that."""
    seen = replace(seen, published=replace(seen.published, generation="one", digest="12" * 32))
    decision = decided(seen)
    assert [step.key for step in decision.due(NOW)] == ["verify"]
    assert decision.next_renewal is None
    assert state_of(decision, {})[0] == "pending"
    wrong = replace(seen, answers={key: (frozenset({"10.9.9.9"}),) for key in seen.answers or {}})
    assert [step.key for step in decided(wrong).due(NOW)] == ["verify", "record"]


@pytest.mark.parametrize(
    ("age", "steps", "upkeep"),
    [
        (timedelta(minutes=9, seconds=59), [], []),
        (timedelta(minutes=10), [], ["list"]),
        (timedelta(minutes=29, seconds=59), [], ["list"]),
        (timedelta(minutes=30), ["list"], []),
    ],
)
def test_what_the_api_listed_is_good_for_half_an_hour_and_listed_again_each_ten_minutes(
    age: timedelta, steps: list[str], upkeep: list[str]
) -> None:
    decision = decided(replace(WELL, listed_at={DOMAIN: NOW - age}))
    assert [step.key for step in decision.steps] == steps
    assert [step.key for step in decision.optional] == upkeep


def test_a_foreign_pair_that_is_none_for_us_is_looked_into_again_with_the_next_order() -> None:
    seen = replace(WELL, published=Published(None, None, plain="1:2:3"), has_copy=False)
    foreign = Foreign(files="1:2:3", why="it is for another name")
    waiting = state(foreign=foreign, failures={"order": failure()})
    assert {step.key: step.wait_until for step in decided(seen, waiting).steps} == {
        "adopt": NOW + HOUR,
        "order": NOW + HOUR,
    }
