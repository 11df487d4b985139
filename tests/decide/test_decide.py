"""What holds for every decision, and the state of a site that follows from one."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.decisions import (
    DAY,
    DIRECTORY,
    DOMAIN,
    DRIFTED,
    FACTS,
    LAN,
    LEAF,
    NOW,
    OLD_LEAF,
    ORDER,
    OTHER_LAN,
    WELL,
    WILDCARD,
    decided,
    failure,
    shown,
    state,
    state_of,
    steps_of,
)

from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure, SiteState, TxtValue, WrittenRecord
from certbotless.model.observation import Observation
from certbotless.model.reason import Reason, Why
from certbotless.model.renewal import renewal_moment


def test_a_site_whose_four_facts_are_true_needs_nothing() -> None:
    decision = decided()
    assert decision.steps == ()
    assert decision.problems == ()
    assert decision.next_renewal == renewal_moment(FACTS)
    assert state_of(decision, {}) == ("ok", "")


def test_txt_records_that_a_dead_run_left_are_cleaned_up_first() -> None:
    left = state(txt=(TxtValue(f"_acme-challenge.{DOMAIN}", "gfj9Xq", "sweetlove.test"),))
    seen = replace(shown(set()), published=Published(None, None), has_copy=False)
    assert [key for key, _ in steps_of(seen, left)] == ["clean-up", "record", "order"]


def test_the_words_of_reasons_are_made_when_they_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `decided` looks at each time can be seen: with other words all texts are others."""
    step = decided(replace(WELL, served={"registry": ""})).steps[0]
    assert (step.reason, step.has(Why.NO_ANSWER)) == ("no TLS answer", True)
    monkeypatch.setattr(Reason, "words", "x")
    assert (step.reason, step.has(Why.NO_ANSWER)) == ("x", True)


# --- the state of a site ----------------------------------------------------------------------------------

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
