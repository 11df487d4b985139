"""Which addresses of a list the A record carries: a test for each rule."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.config import load
from certbotless.config.settings import Config
from certbotless.decide.addresses import APART, FORGOTTEN_AFTER, silences_after, wanted_of
from certbotless.decide.decide import decide
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Decision
from certbotless.model.memory import Listed, Silence, SiteState, WrittenRecord
from certbotless.model.observation import Observation
from certbotless.model.situation import Goal, Situation

DOMAIN, DIRECTORY = "devbox.sweetlove.test", "https://ca.test/directory"
NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
DAY = timedelta(days=1)
LEAF = "ab" * 32
ONE, TWO, THREE = LISTED = ("10.79.40.211", "10.79.40.212", "10.79.40.213")


def config_of(address: str) -> Config:
    text = f"""
acme: {{directory: "{DIRECTORY}"}}
aliyun: {{access_key_id: "id", access_key_secret: "secret"}}
sites:
  - domain: {DOMAIN}
    zone: sweetlove.test
    address: {address}
    deploy: [{{container: registry, port: 5000}}]
"""
    return load.parse(text.encode(), "test.yaml")


FACTS = LeafFacts((DOMAIN,), LEAF, "CN=Example CA", NOW - DAY, NOW + 89 * DAY)
WELL = Observation(
    at=NOW,
    addresses={"A": ONE},
    host=ONE,
    answers={(DOMAIN, "A"): (frozenset({ONE}),)},
    published=Published(FACTS, Origin(DIRECTORY, "https://ca.test/account/1", "ec256", NOW - DAY)),
    has_copy=True,
    served={"registry": LEAF},
)
ALL_SERVE = dict.fromkeys(LISTED, True)
CONFIG = config_of(f"[{', '.join(LISTED)}]")
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
EACH_MINUTE = [n * MINUTE for n in range(5)]


def situation(
    proved: dict[str, bool],
    silences: dict[str, Silence] | None = None,
    at: timedelta = timedelta(),
    shown: tuple[str, ...] = LISTED,
    **state: object,
) -> Situation:
    """The site, seen `at` after NOW."""
    remembered = replace(SiteState(silences=silences or {}), **state)  # type: ignore[arg-type]
    several = wanted_of(LISTED, proved, remembered.silences)
    answers = {(DOMAIN, "A"): (frozenset(shown), frozenset(shown))}
    seen: Observation = replace(
        WELL, at=NOW + at, addresses={"A": ONE}, host=ONE, answers=answers, proved=proved, several=several
    )
    return Situation(Goal(CONFIG.sites[0], CONFIG), seen, remembered)


def after(checks: list[tuple[timedelta, dict[str, bool]]]) -> dict[str, Silence]:
    """What is remembered after these checks, each with what it saw, and taken down."""
    silences: dict[str, Silence] = {}
    for at, proved in checks:
        silences = silences_after(situation(proved, silences, at))
    return silences


def wanted_after(checks: list[tuple[timedelta, dict[str, bool]]]) -> tuple[str, ...]:
    return wanted_of(LISTED, checks[-1][1], after(checks))


def without(*silent: str) -> dict[str, bool]:
    return ALL_SERVE | dict.fromkeys(silent, False)


# --- taken out ----------------------------------------------------------------------------------------------


def test_an_address_is_withdrawn_by_the_check_three_minutes_after_the_first_that_saw_no_certificate() -> None:
    found = [wanted_after([(at, without(THREE)) for at in EACH_MINUTE[:n]]) for n in range(1, 6)]
    assert found == [LISTED, LISTED, LISTED, (ONE, TWO), (ONE, TWO)]


def test_checks_each_second_take_three_minutes_too() -> None:
    seconds = [n * SECOND for n in range(182)]
    assert wanted_after([(at, without(THREE)) for at in seconds[:-2]]) == LISTED
    assert wanted_after([(at, without(THREE)) for at in seconds]) == (ONE, TWO)


def test_checks_each_hour_take_three_checks() -> None:
    config = replace(CONFIG, check_every=timedelta(hours=1))
    silences: dict[str, Silence] = {}
    found = []
    for n in range(3):
        now = situation(without(THREE), silences, n * timedelta(hours=1))
        silences = silences_after(replace(now, goal=Goal(config.sites[0], config)))
        found.append(wanted_of(LISTED, without(THREE), silences))
    assert found == [LISTED, LISTED, (ONE, TWO)]


def test_a_run_that_looks_many_times_at_once_counts_as_one_check() -> None:
    checks = [(n * SECOND / 10, without(THREE)) for n in range(20)]
    assert after(checks)[THREE] == Silence(since=NOW, checks=1, last=NOW)


def test_a_certificate_that_is_seen_once_in_between_begins_it_anew() -> None:
    checks = [(n * MINUTE, without(THREE) if n != 2 else ALL_SERVE) for n in range(6)]
    assert wanted_after(checks) == LISTED
    assert wanted_after([*checks, (6 * MINUTE, without(THREE))]) == (ONE, TWO)


@pytest.mark.parametrize("gap", [FORGOTTEN_AFTER + SECOND, timedelta(days=1)])
def test_what_nobody_has_seen_for_long_begins_anew(gap: timedelta) -> None:
    """The daemon was stopped, or the machine asleep: the address may have served all the while."""
    later = [(gap + at, without(THREE)) for at in EACH_MINUTE]
    begun = [(at, without(THREE)) for at in EACH_MINUTE[:2]]
    assert wanted_after([*begun, *((MINUTE + at, seen) for at, seen in later[:3])]) == LISTED
    assert wanted_after([*begun, *((MINUTE + at, seen) for at, seen in later)]) == (ONE, TWO)


def test_a_clock_that_has_gone_back_begins_it_anew() -> None:
    ahead = {THREE: Silence(since=NOW + 9 * MINUTE, checks=3, last=NOW + 9 * MINUTE)}
    assert silences_after(situation(without(THREE), ahead))[THREE] == Silence(since=NOW, checks=1, last=NOW)


# --- not taken out ------------------------------------------------------------------------------------------


def test_none_is_withdrawn_while_none_serves() -> None:
    none_serve = without(*LISTED)
    assert wanted_after([(at, none_serve) for at in EACH_MINUTE * 2]) == LISTED
    hour = [(n * MINUTE, none_serve) for n in range(60)]
    assert wanted_after(hour) == LISTED
    # The first that serves again lets the others go, which are silent for an hour.
    assert wanted_after([*hour, (60 * MINUTE, without(TWO, THREE))]) == (ONE,)


def test_the_last_one_stays() -> None:
    two_out = [(at, without(TWO, THREE)) for at in EACH_MINUTE]
    assert wanted_after(two_out) == (ONE,)
    then = [((5 + n) * MINUTE, without(*LISTED)) for n in range(9)]
    assert wanted_after([*two_out, *then]) == (ONE,)


def test_an_address_at_which_nothing_is_to_be_seen_stays() -> None:
    proved = {ONE: True, TWO: False}
    assert wanted_after([(at, proved) for at in EACH_MINUTE]) == (ONE, THREE)
    assert wanted_after([(at, {TWO: False}) for at in EACH_MINUTE]) == LISTED


@pytest.mark.parametrize("down", [ONE, TWO, THREE])
@pytest.mark.parametrize("lasts", [1, 29, 60, 119, 150])
def test_a_restart_withdraws_nothing(down: str, lasts: int) -> None:
    """However the checks fall: one each minute, from each second of the restart on."""
    for first in range(60):
        times = [first + 60 * n for n in range(8)]
        checks = [(at * SECOND, without(down) if at <= lasts else ALL_SERVE) for at in times]
        assert all(wanted_after(checks[:n]) == LISTED for n in range(1, 9))


def test_one_roll_after_the_other_withdraws_nothing() -> None:
    checks = [(n * MINUTE, without(LISTED[n % 3])) for n in range(300)]
    assert all(wanted_after(checks[:n]) == LISTED for n in (1, 30, 300))


# --- put back -----------------------------------------------------------------------------------------------


def test_an_address_comes_back_with_the_first_certificate_that_is_seen_there() -> None:
    out = [(at, without(THREE)) for at in EACH_MINUTE]
    assert wanted_after([*out, (timedelta(days=9), without(THREE))]) == (ONE, TWO)
    back = [*out, (5 * MINUTE, ALL_SERVE)]
    assert (wanted_after(back), after(back)) == (LISTED, {})


def test_an_address_comes_back_when_nothing_says_any_more_what_is_served_there() -> None:
    out = [(at, without(THREE)) for at in EACH_MINUTE]
    assert wanted_after([*out, (5 * MINUTE, {ONE: True, TWO: True})]) == LISTED


def test_addresses_that_all_are_withdrawn_in_what_is_remembered_are_all_wanted() -> None:
    """As after an edit that took the one out of the list that served."""
    out = Silence(since=NOW, checks=3, last=NOW, is_withdrawn=True)
    assert wanted_of((ONE, TWO), {ONE: False, TWO: False}, {ONE: out, TWO: out}) == (ONE, TWO)


@given(
    st.lists(
        st.tuples(
            st.integers(1, 400), st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3)
        ),
        max_size=30,
    )
)
def test_whatever_is_seen_some_address_is_wanted_and_none_that_serves_is_missing(
    seen: list[tuple[int, list[bool | None]]],
) -> None:
    at, silences = timedelta(), dict[str, Silence]()
    for seconds, each in seen:
        at += seconds * SECOND
        proved = {a: is_seen for a, is_seen in zip(LISTED, each, strict=True) if is_seen is not None}
        before = wanted_of(LISTED, proved, silences)
        silences = silences_after(situation(proved, silences, at))
        wanted = wanted_of(LISTED, proved, silences)
        assert wanted
        assert {a for a in LISTED if proved.get(a) is not False} <= {*wanted}
        # One is taken out only while another serves.
        assert {*wanted} >= {*before} or any(proved.values())


# --- what follows -------------------------------------------------------------------------------------------


def keys(decision: Decision) -> tuple[list[str], list[str]]:
    return [step.key for step in decision.steps], [step.key for step in decision.optional]


WRITTEN = {
    "A": {DOMAIN: WrittenRecord(value=",".join(LISTED), ttl_s=600, at=NOW - 60 * MINUTE, is_seen=True)}
}
WHOLE = {DOMAIN: Listed(at=NOW - 60 * MINUTE, values={"A": LISTED})}


def test_an_address_that_is_silent_is_remembered_and_nothing_else_is_done() -> None:
    decision = decide(situation(without(THREE), records=WRITTEN))
    assert keys(decision) == ([], ["watch"])
    assert decision.optional[0].reason == f"no valid certificate at {THREE}"
    again = decide(situation(ALL_SERVE, after([(timedelta(), without(THREE))]), SECOND, records=WRITTEN))
    assert keys(again) == ([], ["watch"])
    assert again.optional[0].reason == f"a valid certificate at {THREE} again"


def test_the_record_follows_what_is_wanted() -> None:
    out = after([(at, without(THREE)) for at in EACH_MINUTE])
    decision = decide(situation(without(THREE), out, 5 * MINUTE, records=WRITTEN))
    assert keys(decision) == (["record"], [])
    assert decision.steps[0].reason == f"{', '.join(LISTED)} -> {ONE}, {TWO}"
    back = decide(situation(ALL_SERVE, out, 5 * MINUTE, (ONE, TWO), records=WRITTEN))
    assert keys(back)[0] == ["record"]


def test_the_order_of_the_list_is_no_change() -> None:
    written = {"A": {DOMAIN: replace(WRITTEN["A"][DOMAIN], value=",".join(reversed(LISTED)))}}
    assert keys(decide(situation(ALL_SERVE, records=written))) == ([], [])


def test_another_value_and_a_missing_one_are_set_right() -> None:
    for shown in ((), (ONE, TWO), (*LISTED, "10.79.40.9"), ("8.8.8.8",)):
        decision = decide(situation(ALL_SERVE, shown=shown, records=WRITTEN))
        assert keys(decision) == (["record"], [])


def test_a_record_just_written_is_waited_for() -> None:
    written = {"A": {DOMAIN: replace(WRITTEN["A"][DOMAIN], at=NOW - SECOND, is_seen=False)}}
    decision = decide(situation(ALL_SERVE, shown=(ONE,), records=written))
    assert keys(decision) == (["confirm"], [])
    assert decision.steps[0].reason == f"{', '.join(LISTED)} is not shown by every name server yet"


def test_some_of_the_addresses_are_enough_where_the_api_has_listed_all() -> None:
    """As with weights: each answer has one of them."""
    for age, optional in ((SECOND, []), (60 * MINUTE, ["list"])):
        listed = {DOMAIN: replace(WHOLE[DOMAIN], at=NOW - age)}
        decision = decide(situation(ALL_SERVE, shown=(TWO,), records=WRITTEN, listed=listed))
        assert keys(decision) == ([], optional)


def test_some_of_the_addresses_are_not_enough_where_the_api_lists_no_more() -> None:
    listed = {DOMAIN: replace(WHOLE[DOMAIN], values={"A": (ONE, TWO)})}
    decision = decide(situation(ALL_SERVE, shown=(ONE, TWO), records=WRITTEN, listed=listed))
    assert keys(decision) == (["record"], [])


def test_a_value_that_is_none_of_them_is_set_right_whatever_the_api_has_listed() -> None:
    for shown in ((), ("10.79.40.9",), (ONE, "10.79.40.9")):
        decision = decide(situation(ALL_SERVE, shown=shown, records=WRITTEN, listed=WHOLE))
        assert keys(decision)[0] == ["record"]


def test_a_site_with_one_address_remembers_nothing() -> None:
    config = config_of(ONE)
    now = Situation(Goal(config.sites[0], config), replace(WELL, proved={}), SiteState(silences={}))
    assert keys(decide(now)) == ([], [])
    assert "silences" not in now.remembered.to_saved()


def test_a_site_without_records_remembers_nothing() -> None:
    now = situation(without(THREE))
    site = replace(now.goal.site, records="none")
    assert keys(decide(replace(now, goal=replace(now.goal, site=site)))) == ([], [])


def test_a_check_apart_is_shorter_than_the_interval_of_checks() -> None:
    """Checks each minute, some of them a moment early, all count."""
    assert CONFIG.check_every - APART >= 30 * SECOND
