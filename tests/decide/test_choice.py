"""When a CA stands in for another one: by what is in hand, by what failed and how, and by our own limits."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from certbotless.config import load
from certbotless.decide.decide import decide, state_of
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import NOTHING_ASKED, Decision, Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import CaTrouble, Failure, OrderInFlight, SiteState
from certbotless.model.observation import Observation
from certbotless.model.situation import Goal, Situation

DOMAIN = "devbox.sweetlove.test"
A, B, C = (f"https://{name}.test/dir" for name in "abc")
AT_A, AT_B, AT_C = (f"order:{url}" for url in (A, B, C))
CONFIG = load.parse(
    f"""
acme: [{{directory: "{A}"}}, {{directory: "{B}"}}, {{directory: "{C}"}}]
aliyun: {{access_key_id: "id", access_key_secret: "secret"}}
sites: [{{domain: {DOMAIN}, address: none}}]
""".encode(),
    "test.yaml",
)
NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
END = NOW + 89 * DAY
FACTS = LeafFacts((DOMAIN,), "ab" * 32, "CN=Example CA", NOW - DAY, END)
DUE, LAST_SIXTH = FACTS.not_before + 62 * DAY, FACTS.last_part_begins


def published(by: str = A) -> Published:
    return Published(FACTS, Origin(by, "https://ca.test/account/1", "ec256", NOW - DAY))


def seen(at: datetime = NOW, held: Published | None = None, **fields: object) -> Observation:
    """What is seen: nothing is published unless it is given."""
    return replace(
        Observation(at, {}, {}, held or Published(None, None), has_copy=held is not None, served={}),
        **fields,  # type: ignore[arg-type]
    )


def failed(
    at: datetime,
    count: int = 1,
    *,
    faults: int | None = None,
    kind: str = "CaUnavailable",
    wait: timedelta = MINUTE,
    limited: timedelta | None = None,
) -> tuple[Failure, CaTrouble]:
    """What is kept of tries at a CA that failed, the last one at `at`."""
    until = at + limited if limited else None
    failure = Failure(
        at=at, what="no connection", hint="h", retry_at=at + wait, count=count, kind=kind, limited_until=until
    )
    known = count if faults is None else faults
    return failure, CaTrouble(at=at, what="no connection", since=at, kind=kind, faults=known)


def state(of: Mapping[str, tuple[Failure, CaTrouble]], **fields: object) -> SiteState:
    """What is remembered, by the URL of the CA."""
    return SiteState(
        failures={f"order:{url}": failure for url, (failure, _) in of.items()},
        troubles={url: trouble for url, (_, trouble) in of.items()},
        **fields,  # type: ignore[arg-type]
    )


def decided(
    what: Observation,
    remembered: SiteState = SiteState(),  # noqa: B008  (a value)
    ledger: list[Entry] | None = None,
    intent: Intent = NOTHING_ASKED,
) -> Decision:
    return decide(Situation(Goal(CONFIG.sites[0], CONFIG), what, remembered, ledger or [], intent))


def due(decision: Decision, at: datetime = NOW) -> list[str]:
    """The orders that may be placed now."""
    return [step.key for step in decision.due(at) if step.action == "order"]


def waiting(decision: Decision, at: datetime = NOW) -> dict[str, timedelta]:
    """The orders that must wait, and for how long."""
    return {
        step.key: step.wait_until - at
        for step in decision.steps
        if step.action == "order" and step.wait_until is not None
    }


# --- nothing valid is in hand -------------------------------------------------------------------------------

JUST_NOW = NOW - SECOND
FIRST_ISSUANCE = {
    "nothing has failed": (failed(JUST_NOW, faults=0)[:0], [AT_A]),
    "it failed once": (failed(JUST_NOW), []),
    "twice": (failed(JUST_NOW, 2), [AT_B]),
    "twice, and not by its fault at the last try": (failed(JUST_NOW, 2, faults=0), []),
    "twice, and by its fault only then": (failed(JUST_NOW, 2, faults=1), []),
    "it asks for seven hours": (
        failed(JUST_NOW, kind="RateLimited", wait=7 * HOUR, limited=7 * HOUR),
        [AT_B],
    ),
    "for an hour": (failed(JUST_NOW, kind="RateLimited", wait=HOUR, limited=HOUR), []),
    "it refuses our account": (failed(JUST_NOW, kind="AccountRefused"), [AT_B]),
    "it has paused us": (failed(JUST_NOW, kind="AccountPaused", wait=DAY), [AT_B]),
    # Our own schedule waits so long from the third failure on.
    "its first fault, after two of ours": (failed(JUST_NOW, 3, faults=1, wait=100 * MINUTE), []),
}


@pytest.mark.parametrize(("known", "orders"), FIRST_ISSUANCE.values(), ids=FIRST_ISSUANCE.keys())
def test_without_a_certificate_the_next_ca_is_asked_after_two_faults_or_a_grave_one(
    known: tuple[Failure, CaTrouble] | tuple[()], orders: list[str]
) -> None:
    assert due(decided(seen(), state({A: known} if known else {}))) == orders


def test_a_ca_that_failed_a_while_ago_is_asked_again_before_the_next_one() -> None:
    """Its own back-off would be longer. A limit that it has named is not asked against."""
    decision = decided(seen(), state({A: failed(NOW - HOUR, 4, wait=DAY)}))
    assert (due(decision), [*waiting(decision)]) == ([AT_A], [AT_B])
    limited = failed(NOW - HOUR, kind="RateLimited", wait=7 * HOUR, limited=7 * HOUR)
    assert due(decided(seen(), state({A: limited}))) == [AT_B]


def test_a_ca_that_has_just_failed_leaves_the_other_to_its_own_back_off() -> None:
    both = {A: failed(JUST_NOW - SECOND, 2, wait=10 * MINUTE), B: failed(JUST_NOW)}
    decision = decided(seen(), state(both))
    assert due(decision) == []
    assert waiting(decision) == {AT_A: 10 * MINUTE - 2 * SECOND, AT_B: MINUTE - SECOND}


def test_the_third_is_asked_after_the_second() -> None:
    both = {A: failed(JUST_NOW - SECOND, 2, wait=10 * MINUTE), B: failed(JUST_NOW, 2, wait=10 * MINUTE)}
    assert due(decided(seen(), state(both))) == [AT_C]
    late = {A: failed(NOW - HOUR, 5, wait=DAY), B: failed(NOW - HOUR, 5, wait=DAY)}
    decision = decided(seen(), state(late))
    assert (due(decision), [*waiting(decision)]) == ([AT_A], [AT_B, AT_C])


def test_other_names_are_as_good_as_no_certificate() -> None:
    other = replace(published(), facts=replace(FACTS, names=("other.sweetlove.test",)))
    assert due(decided(seen(held=other), state({A: failed(JUST_NOW, 2)}))) == [AT_B]


# --- a valid certificate is in hand -------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 30])
def test_a_valid_certificate_waits_for_the_first_ca_until_its_last_sixth(count: int) -> None:
    """However often it fails; then it is asked once more, and the next one after it."""
    before = LAST_SIXTH - SECOND
    decision = decided(seen(before, published()), state({A: failed(before - SECOND, count, wait=DAY)}))
    assert (due(decision, before), waiting(decision, before)) == ([], {AT_A: 2 * SECOND})
    begun = LAST_SIXTH + SECOND
    decision = decided(seen(begun, published()), state({A: failed(before - HOUR, count, wait=DAY)}))
    assert (due(decision, begun), [*waiting(decision, begun)]) == ([AT_A], [AT_B])
    decision = decided(seen(begun, published()), state({A: failed(begun - SECOND, count, wait=DAY)}))
    assert due(decision, begun) == [AT_B]


def test_in_the_last_sixth_a_fault_that_is_not_the_cas_moves_nothing() -> None:
    at = LAST_SIXTH + DAY
    assert due(decided(seen(at, published()), state({A: failed(at - SECOND, 5, faults=0)})), at) == []
    assert due(decided(seen(at, published())), at) == [AT_A]


def test_a_certificate_of_any_ca_of_the_list_is_good_until_it_is_due() -> None:
    """Then the first one is asked first."""
    for by in (A, B, C):
        assert decided(seen(held=published(by))).steps == ()
        assert due(decided(seen(DUE, published(by))), DUE) == [AT_A]
    other = decided(seen(held=published("https://gone.test/dir")))
    assert due(other) == [AT_A]


# --- our own limits -----------------------------------------------------------------------------------------


def full(at: datetime) -> list[Entry]:
    """As many orders at the first CA as there may be, of which no certificate is known."""
    return [Entry(at - n * HOUR, "order", A, (DOMAIN,)) for n in range(1, 6)]


def test_our_own_limit_moves_nothing_to_the_next_ca_but_at_the_end_of_a_life() -> None:
    """A program that crashes after each order must not go on from CA to CA."""
    assert due(decided(seen(), ledger=full(NOW))) == []
    assert due(decided(seen(DUE, published()), ledger=full(DUE)), DUE) == []
    for at in (LAST_SIXTH + HOUR, END + HOUR):
        decision = decided(seen(at, published()), ledger=full(at))
        assert (due(decision, at), [*waiting(decision, at)]) == ([AT_B], [AT_A])


def test_an_order_in_flight_is_counted_already() -> None:
    order = OrderInFlight(url=f"{A}/1", directory=A, names=(DOMAIN,))
    assert due(decided(seen(), SiteState(order=order), full(NOW))) == [AT_A]
    other = OrderInFlight(url=f"{B}/1", directory=B, names=(DOMAIN,))
    assert due(decided(seen(), SiteState(order=other), full(NOW))) == []


# --- what is said, and asked for by hand --------------------------------------------------------------------


def test_what_failed_at_each_ca_is_one_line_and_the_soonest_try_counts() -> None:
    both = {A: failed(JUST_NOW, 2, wait=10 * MINUTE), B: failed(JUST_NOW, wait=2 * MINUTE)}
    remembered = state(both)
    name, cause = state_of(decided(seen(), remembered), remembered.failures)
    assert isinstance(cause, Failure)
    assert name == "failing"
    assert cause.what == f"no CA of the list gave a certificate: {A}: no connection; {B}: no connection"
    assert cause.retry_at == JUST_NOW + 2 * MINUTE


def test_one_ca_is_asked_alone_where_a_person_says_so() -> None:
    intent = Intent(NOW, ignore_backoff=True, ca=B)
    for remembered in (SiteState(), state({A: failed(JUST_NOW, 4)})):
        decision = decided(seen(held=published()), remembered, intent=intent)
        assert [step.key for step in decision.steps] == [AT_B]
        assert due(decision) == [AT_B]


def test_the_ca_that_issued_is_asked_when_to_renew() -> None:
    facts = replace(FACTS, ari_id="a.b")
    for by, asked in ((A, True), (B, True), ("https://gone.test/dir", False)):
        held = replace(published(by), facts=facts)
        steps = decided(seen(NOW + 2 * DAY, held)).optional
        assert any(step.action == "renewal-info" for step in steps) is asked


def test_an_account_is_tried_to_be_made_once_a_day() -> None:
    what = seen(held=published(), accountless=(B, C))
    for age, asked in ((DAY - SECOND, [C]), (DAY, [B, C]), (-2 * DAY, [B, C])):
        trouble = failed(NOW - age)[1]
        steps = decided(what, SiteState(troubles={B: trouble})).optional
        assert [step.target for step in steps if step.action == "account"] == asked
