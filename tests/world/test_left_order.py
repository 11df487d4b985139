"""An order that a run left which is dead: gone on with, collected, or given up."""

from collections.abc import Callable

import pytest
from support.fakes import Reply
from support.scripted_ca import CHAIN, DOMAIN, WILDCARD, Bench, json_reply, problem

from certbotless.base.errors import CaUnavailable, IssueError, OrderTimeout
from certbotless.world.acme import keys as pki


def interrupted_at(bench: Bench, kind: str) -> None:
    """Have a run end as a killed one does, when `kind` is asked for."""
    bench.ca.instead[kind].append(Reply(500, b""))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    bench.ca.asked.clear()


def test_a_challenge_that_an_earlier_run_answered_is_not_answered_again(bench: Bench) -> None:
    bench.ca.pending_looks, bench.ca.retry_after = 10_000, "30"
    with pytest.raises(OrderTimeout):
        bench.issue((DOMAIN,))
    bench.ca.pending_looks = 3
    bench.ca.asked.clear()
    bench.issue((DOMAIN,))
    assert "challenge" not in bench.ca.asked
    bench.assert_dns_is_clean()


LOST = {
    "unknown to the CA": problem("malformed", 404),
    "not ours any more": problem("unauthorized", 403),
    "of a forgotten account": problem("accountDoesNotExist", 400),
    "expired": json_reply({"status": "expired", "identifiers": [], "authorizations": [], "finalize": ""}),
    "invalid": json_reply({"status": "invalid", "identifiers": [], "authorizations": [], "finalize": ""}),
}


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST.keys())
def test_an_order_that_is_lost_is_placed_anew(bench: Bench, reply: Reply) -> None:
    interrupted_at(bench, "finalize")
    bench.ca.instead["look"].append(reply)
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.asked.count("order") == 1
    assert bench.reserved == 2


@pytest.mark.parametrize("action", [Bench.issue, Bench.collect])
def test_a_validation_that_failed_while_nobody_looked_is_counted(
    bench: Bench, action: Callable[[Bench], object]
) -> None:
    """The run was killed after its answer; the CA has looked, found nothing, and counted it."""
    bench.ca.pending_looks, bench.ca.retry_after = 10_000, "30"
    with pytest.raises(OrderTimeout):
        bench.issue()
    bench.ca.pending_looks = 0
    bench.ca.refused = {WILDCARD}
    bench.ca.reused = {DOMAIN}
    bench.ca.on["order"] = bench.ca.refused.clear
    action(bench)
    assert bench.failures == [DOMAIN]
    assert bench.reserved == (2 if action is Bench.issue else 1)


def test_what_failed_in_an_order_that_is_lost_in_part_is_counted_as_far_as_it_is_told(bench: Bench) -> None:
    interrupted_at(bench, "finalize")
    lost = {"identifiers": [], "authorizations": [bench.ca.url("authz/0"), bench.ca.url("authz/1")]}
    bench.ca.instead["look"].append(json_reply({"status": "invalid", "finalize": "", **lost}))
    invalid = {"status": "invalid", "identifier": {"type": "dns", "value": DOMAIN}, "challenges": []}
    bench.ca.instead["authz"] += [problem("malformed", 404), json_reply(invalid)]
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.failures == [DOMAIN]


NOT_NOW = {
    "overload": problem("serverInternal", 500),
    "overload in other words": problem("about:blank", 503),
    "a limit": problem("rateLimited", 429),
    "no answer": Reply(502, b"<html>"),
    "a portal": Reply(200, b"<html>"),
}


@pytest.mark.row(47)
@pytest.mark.parametrize("action", [Bench.issue, Bench.collect])
@pytest.mark.parametrize("reply", NOT_NOW.values(), ids=NOT_NOW.keys())
def test_an_order_that_the_ca_cannot_tell_of_now_is_kept(
    bench: Bench, reply: Reply, action: Callable[[Bench], object]
) -> None:
    interrupted_at(bench, "finalize")
    url = bench.pending.url
    bench.ca.instead["look"].append(reply)
    with pytest.raises(IssueError):
        action(bench)
    assert bench.pending.url == url
    assert "order" not in bench.ca.asked


def test_a_finalized_order_is_collected_though_nothing_is_due(bench: Bench) -> None:
    interrupted_at(bench, "certificate")
    key = bench.pending.key_pem
    issued = bench.collect()
    assert issued is not None
    assert (issued.chain_pem, pki.key_to_pem(issued.key)) == (CHAIN, key)
    assert bench.ca.asked == ["directory", "look", "certificate"]


def test_an_order_that_is_still_processed_is_waited_for_and_collected(bench: Bench) -> None:
    bench.ca.processing_looks, bench.ca.retry_after = 10_000, "30"
    with pytest.raises(OrderTimeout):
        bench.issue((DOMAIN,))
    bench.ca.processing_looks = 2
    assert bench.collect() is not None


@pytest.mark.parametrize("kind", ["authz", "finalize"])
def test_an_order_that_was_not_finalized_is_dropped(bench: Bench, kind: str) -> None:
    interrupted_at(bench, kind)
    assert bench.collect() is None
    assert not bench.pending.url
    assert "finalize" not in bench.ca.asked
    assert bench.collect() is None


@pytest.mark.row(54)
@pytest.mark.parametrize(
    ("kind", "status", "is_kept"),
    [("malformed", 404, False), ("malformed", 410, False), ("serverInternal", 500, True)],
)
def test_an_order_is_given_up_where_the_ca_does_not_have_its_certificate_any_more(
    bench: Bench, kind: str, status: int, is_kept: bool
) -> None:
    """`valid`, says the order, for ever. Where the CA cannot give it now, the next run asks again."""
    bench.ca.instead["certificate"].append(problem(kind, status, "no such certificate"))
    with pytest.raises(IssueError, match="no such certificate"):
        bench.issue((DOMAIN,))
    assert bool(bench.pending.url) == is_kept
    assert "issued" not in {row.outcome for row in bench.counted("order")}
    bench.issue((DOMAIN,))
    assert bench.reserved == (1 if is_kept else 2)


@pytest.mark.row(54)
@pytest.mark.parametrize("kind", ["badPublicKey", "badCSR"])
def test_a_key_that_the_ca_refuses_is_given_up_with_its_order(bench: Bench, kind: str) -> None:
    bench.ca.instead["finalize"].append(problem(kind, 400, "weak key"))
    with pytest.raises(IssueError, match=f"refused with {kind}: weak key"):
        bench.issue((DOMAIN,))
    assert (bench.pending.url, bench.pending.key_pem) == ("", None)
    bench.issue((DOMAIN,))
    assert bench.reserved == 2
