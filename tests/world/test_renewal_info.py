"""When the CA wants a certificate renewed, and the order that names the one before (RFC 9773)."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.fakes import Reply
from support.scripted_ca import CHAIN, DOMAIN, NOW, WILDCARD, Bench, lose_account, problem

from certbotless.base.errors import CaUnavailable, IssueError, RateLimited
from certbotless.config.settings import Acme
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.ledger import Entry
from certbotless.model.renewal import RenewalWindow
from certbotless.world.acme.renewal_info import Suggestion, suggested_renewal

ARI_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
SUGGESTED = {"suggestedWindow": {"start": "2027-01-23T05:30:00Z", "end": "2027-01-25T13:30:00.5+08:00"}}


def replaced(bench: Bench, ari_id: str = ARI_ID, account: str = "account/1") -> Published:
    """What the account at the CA has got before."""
    facts = LeafFacts((DOMAIN,), "ab" * 32, "CN=CA", NOW, NOW + timedelta(days=90), ari_id)
    return Published(facts, Origin(bench.ca.directory, bench.ca.url(account), "ec256", NOW))


@pytest.mark.row(52)
@pytest.mark.parametrize(
    "reply", [problem("malformed"), problem("alreadyReplaced", 409), problem("serverInternal", 500)]
)
def test_a_ca_that_refuses_the_predecessor_gets_a_plain_order_once(bench: Bench, reply: Reply) -> None:
    """And the two are counted as one order, for one certificate at most can come of them."""
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(reply)
    assert bench.issue((DOMAIN,), replaced(bench)).chain_pem == CHAIN
    assert "replaces" not in bench.ca.sent["order"]
    assert bench.ca.asked.count("order") == 2
    assert bench.reserved == 1


def test_the_plain_order_after_a_refused_predecessor_needs_the_ledgers_consent(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(problem("alreadyReplaced", 409))
    bench.is_limited = True
    another = Entry(NOW, "order", bench.ca.directory, (DOMAIN,))
    for _ in range(2):
        bench.ledger.append(another)
    # Another run places the third one meanwhile.
    bench.ca.on["order"] = lambda: bench.ledger.append(another)
    with pytest.raises(RateLimited, match="already 3 orders"):
        bench.issue((DOMAIN,), replaced(bench))
    assert (bench.ca.asked.count("order"), bench.reserved) == (1, 3)


@pytest.mark.parametrize("reply", [Reply(503, b""), Reply(500, b"<html>"), problem("serverInternal", 500)])
def test_an_order_that_the_ca_may_have_made_is_counted(bench: Bench, reply: Reply) -> None:
    bench.ca.instead["order"].append(reply)
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    assert bench.reserved == 1


def test_an_order_that_is_refused_for_itself_is_not_placed_a_third_time(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"] += [problem("malformed")] * 3
    with pytest.raises(IssueError, match="malformed"):
        bench.issue((DOMAIN,), replaced(bench))
    assert bench.ca.asked.count("order") == 2


@pytest.mark.parametrize("kind", ["rateLimited", "unauthorized", "rejectedIdentifier"])
def test_a_refusal_for_another_reason_is_no_reason_to_ask_again(bench: Bench, kind: str) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(problem(kind, 403))
    with pytest.raises(IssueError, match=kind):
        bench.issue((DOMAIN,), replaced(bench))
    assert bench.ca.asked.count("order") == 1
    assert bench.reserved == 0


@pytest.mark.parametrize(
    ("suggests", "ari_id", "account"),
    [
        (None, ARI_ID, "account/1"),
        (SUGGESTED, ARI_ID, "account/2"),
        (SUGGESTED, ARI_ID, ""),
        (SUGGESTED, "", "account/1"),
    ],
    ids=["no renewal information", "of another account", "of no known account", "no identifier"],
)
def test_what_is_no_predecessor_to_the_ca_is_not_named(
    bench: Bench, suggests: Any, ari_id: str, account: str
) -> None:
    bench.ca.suggests = suggests
    bench.issue((DOMAIN,), replaced(bench, ari_id, account))
    assert "replaces" not in bench.ca.sent["order"]


@pytest.mark.parametrize(("names", "named"), [((WILDCARD,), None), ((WILDCARD, DOMAIN), ARI_ID)])
def test_a_predecessor_has_a_name_in_common(bench: Bench, names: tuple[str, ...], named: str | None) -> None:
    """The certificate of a site that shares it no more is still that of others (RFC 9773 section 5)."""
    bench.ca.suggests = SUGGESTED
    bench.issue(names, replaced(bench))
    assert bench.ca.sent["order"].get("replaces") == named


def test_a_ca_that_has_forgotten_the_account_is_told_of_no_predecessor(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.issue((DOMAIN,))
    lose_account(bench)
    bench.issue((DOMAIN,), replaced(bench))
    assert "replaces" not in bench.ca.sent["order"]
    assert bench.reserved == 2


def test_a_suggestion_is_read_with_its_reason_and_the_next_look(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED | {"explanationURL": "https://ca.test/why\x1b"}
    bench.ca.retry_after = "21600"
    told = suggested_renewal(Acme(directory=bench.ca.directory), ARI_ID, bench.clock)
    start, end = (
        datetime(2027, 1, 23, 5, 30, tzinfo=UTC),
        datetime(2027, 1, 25, 5, 30, 0, 500_000, tzinfo=UTC),
    )
    assert told == Suggestion(RenewalWindow(start, end), r"https://ca.test/why\x1b", timedelta(hours=6))
    assert bench.ca.asked == ["directory", "renewal"]


def test_a_ca_without_renewal_information_suggests_nothing(bench: Bench) -> None:
    assert suggested_renewal(Acme(directory=bench.ca.directory), ARI_ID, bench.clock) == Suggestion()
    assert bench.ca.asked == ["directory"]


@pytest.mark.row(51)
@pytest.mark.parametrize(
    "suggests",
    [
        {},
        [],
        "soon",
        {"suggestedWindow": None},
        {"suggestedWindow": {"start": "2027-01-23T05:30:00Z"}},
        {"suggestedWindow": {"start": "2027-01-23T05:30:00", "end": "2027-01-25T05:30:00"}},
        {"suggestedWindow": {"start": 1, "end": 2}},
        {"suggestedWindow": {"start": "99999-01-23T05:30:00Z", "end": "soon"}},
    ],
)
def test_a_suggestion_without_sense_is_told_as_such(bench: Bench, suggests: Any) -> None:
    bench.ca.suggests = suggests
    with pytest.raises(CaUnavailable):
        suggested_renewal(Acme(directory=bench.ca.directory), ARI_ID, bench.clock)


def test_a_ca_that_knows_no_such_certificate_says_when_to_look_again(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["renewal"].append(replace(problem("malformed", 404), headers={"Retry-After": "120"}))
    with pytest.raises(IssueError) as unknown:
        suggested_renewal(Acme(directory=bench.ca.directory), ARI_ID, bench.clock)
    assert unknown.value.retry_after == timedelta(minutes=2)
