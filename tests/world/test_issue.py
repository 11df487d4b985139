"""The conversation with a CA: its order, what ends it, and by whose clock it is counted."""

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from support.fakes import FakeClock
from support.scripted_ca import (
    CHAIN,
    CHALLENGE_NAME,
    DOMAIN,
    NOW,
    PROBLEM,
    WILDCARD,
    Bench,
    json_reply,
    problem,
)

from certbotless.base.errors import (
    AuthorizationFailed,
    ClockWrong,
    DnsRefused,
    Interrupted,
    IssueError,
    OrderTimeout,
    PropagationTimeout,
    RateLimited,
)
from certbotless.model.ledger import Entry, Kind
from certbotless.model.memory import TxtValue
from certbotless.model.records import Record
from certbotless.world.acme import keys as pki

# --- an issuance ------------------------------------------------------------------------------------------


def test_a_first_issuance_goes_by_the_order_of_the_rfc(bench: Bench) -> None:
    issued = bench.issue((DOMAIN,))
    assert issued.chain_pem == CHAIN
    assert issued.account == bench.ca.url("account/1")
    assert bench.pending.key_pem == pki.key_to_pem(issued.key) != bench.accounts.load()[0]
    steps = ["directory", "account", "order", "authz", "challenge", "authz", "finalize", "certificate"]
    assert bench.ca.asked == steps
    assert bench.reserved == 1
    bench.assert_dns_is_clean()


def test_while_both_values_of_a_name_and_its_wildcard_spread_the_key_is_made_and_no_challenge_answered(
    bench: Bench,
) -> None:
    """They stand side by side."""
    held: list[Record] = []
    asked: list[str] = []
    keys: list[bytes | None] = []

    def look() -> None:
        held.extend(bench.zone.held("TXT"))
        asked.extend(bench.ca.asked)
        keys.append(bench.pending.key_pem)

    bench.wait = look
    bench.issue()
    assert {record.fqdn for record in held} == {CHALLENGE_NAME}
    assert {TxtValue(record.fqdn, record.value, bench.zone.name) for record in held} == set(bench.waited_for)
    assert len(held) == 2
    assert "challenge" not in asked
    assert bench.ca.asked.count("challenge") == 2
    assert len(keys) == 1
    assert None not in keys
    bench.assert_dns_is_clean()


def test_the_key_and_the_order_are_kept_before_the_order_is_finalized(bench: Bench) -> None:
    kept: list[tuple[str, bytes | None]] = []
    bench.ca.on["finalize"] = lambda: kept.append((bench.pending.url, bench.pending.key_pem))
    issued = bench.issue()
    assert kept == [(bench.ca.url("look/1"), pki.key_to_pem(issued.key))]


@pytest.mark.row(45)
@pytest.mark.parametrize(
    ("names", "reused", "pending"), [((DOMAIN,), DOMAIN, 0), ((WILDCARD, DOMAIN), WILDCARD, 1)]
)
def test_an_authorization_that_the_ca_reuses_needs_no_record(
    bench: Bench, names: tuple[str, ...], reused: str, pending: int
) -> None:
    """Nor an answer to its challenge; of two, the other one does."""
    bench.ca.reused = {reused}
    bench.issue(names)
    assert [call.method for call in bench.zone.calls] == ["add", "delete"][: 2 * pending]
    assert (len(bench.waited_for), bench.ca.asked.count("challenge")) == (pending, pending)


@pytest.mark.row(83)
@pytest.mark.parametrize(("asked", "wait_s"), [("7", 7), ("86400", 30)])
def test_the_first_look_comes_soon_and_the_ca_is_obeyed_from_the_second_on_up_to_30_s(
    bench: Bench, asked: str, wait_s: float
) -> None:
    bench.ca.pending_looks, bench.ca.processing_looks, bench.ca.retry_after = 2, 3, asked
    bench.issue((DOMAIN,))
    assert bench.waits == [0.2, wait_s, wait_s, 0.2, wait_s, wait_s]


def test_without_a_retry_after_looks_become_seldom_by_and_by(bench: Bench) -> None:
    bench.ca.pending_looks = 60
    bench.issue((DOMAIN,))
    assert bench.waits[0] == 0.2
    assert bench.waits[-1] > 1
    assert max(bench.waits) <= 10
    assert sorted(bench.waits) == bench.waits


def test_we_introduce_ourselves_as_configured(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    assert bench.ca.sent["account"] == {
        "contact": ["mailto:you@example.com"],
        "termsOfServiceAgreed": True,
    }
    assert bench.ca.sent["order"] == {"identifiers": [{"type": "dns", "value": DOMAIN}]}


def test_a_profile_is_asked_for_where_the_ca_lists_it_or_lists_none(bench: Bench) -> None:
    bench.introduction = replace(bench.introduction, profile="shortlived")
    bench.issue((DOMAIN,))
    assert bench.ca.sent["order"]["profile"] == "shortlived"
    bench.pending.drop()
    bench.ca.meta = {"profiles": {"classic": "text", "shortlived": "text"}}
    bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 2


@pytest.mark.parametrize(
    "profiles", [{"tlsserver": "text", "classic": "text"}, 7, "shortlived", True], ids=repr
)
def test_a_profile_that_the_ca_does_not_list_or_no_list_costs_no_order(bench: Bench, profiles: Any) -> None:
    bench.introduction = replace(bench.introduction, profile="fast")
    bench.ca.meta = {"profiles": profiles}
    with pytest.raises(IssueError) as refused:
        bench.issue((DOMAIN,))
    if isinstance(profiles, dict):
        assert "lists no profile 'fast'" in refused.value.message
        assert "classic, tlsserver" in refused.value.hint
        assert refused.value.is_fault_of_ca
    assert (bench.reserved, bench.ca.asked.count("order")) == (0, 0)


def test_no_key_is_in_a_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.issue()
    assert "account.made" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


# --- what goes wrong --------------------------------------------------------------------------------------


@pytest.mark.row(48)
def test_a_name_that_cannot_be_validated_is_told_in_the_words_of_the_ca(bench: Bench) -> None:
    bench.ca.refused = {DOMAIN}
    with pytest.raises(AuthorizationFailed) as failed:
        bench.issue((DOMAIN,))
    assert failed.value.names == (DOMAIN,)
    assert rf"could not validate {DOMAIN}: dns: no TXT record\nfor {DOMAIN}" in failed.value.message
    assert failed.value.hint
    assert failed.value.retryable
    assert bench.failures == [DOMAIN]
    assert "finalize" not in bench.ca.asked
    bench.assert_dns_is_clean()


def test_a_validation_of_a_dry_run_is_counted_until_it_has_succeeded(bench: Bench) -> None:
    """From before its challenge is answered: a dry run that is killed is resumed by nobody."""
    noted: list[list[str]] = []
    bench.ca.on["challenge"] = lambda: noted.append(bench.failures)
    bench.is_rehearsal = True
    bench.issue()
    assert noted == [[DOMAIN], [DOMAIN]]
    assert bench.failures == []


def test_a_value_that_never_spreads_is_no_failed_validation(bench: Bench) -> None:
    def give_up() -> None:
        raise PropagationTimeout("not shown")

    bench.wait = give_up
    with pytest.raises(PropagationTimeout):
        bench.issue()
    assert "challenge" not in bench.ca.asked
    assert bench.failures == []
    assert bench.pending.url
    bench.assert_dns_is_clean()


def test_a_zone_that_takes_no_record_ends_the_issuance_and_keeps_the_order(bench: Bench) -> None:
    bench.zone.fail("add", DnsRefused("no"))
    with pytest.raises(DnsRefused):
        bench.issue()
    assert bench.pending.url
    assert bench.zone.held() == []


@pytest.mark.parametrize("limited", ["order", "account"])
def test_a_limit_of_our_own_comes_before_what_it_limits(bench: Bench, limited: Kind) -> None:
    bench.is_limited = True
    for _ in range(3):
        bench.ledger.append(Entry(NOW, limited, bench.ca.directory, (DOMAIN,)))
    with pytest.raises(RateLimited, match="already 3"):
        bench.issue((DOMAIN,))
    assert limited not in bench.ca.asked


def test_a_ca_may_offer_a_way_to_validate_that_we_do_not_know_beside_dns_01(bench: Bench) -> None:
    """Such as dns-persist-01, with which one record lets an account issue for good."""
    bench.ca.offers = ["dns-persist-01", "http-01", "dns-01"]
    bench.issue((DOMAIN,))
    assert [value.fqdn for value in bench.waited_for] == [CHALLENGE_NAME]


def test_a_ca_without_dns_01_is_told(bench: Bench) -> None:
    bench.ca.offers = ["http-01", "tls-alpn-01"]
    with pytest.raises(IssueError, match="offers no dns-01 challenge") as refused:
        bench.issue((DOMAIN,))
    assert "validates by DNS" in refused.value.hint
    assert bench.zone.calls == []


@pytest.mark.row(83)
def test_the_txt_record_is_there_for_as_long_as_the_ca_validates(bench: Bench) -> None:
    """For 29 minutes here, between which it asks for a day each time."""
    bench.ca.pending_looks, bench.ca.retry_after = 58, "86400"
    shown: list[bool] = []
    bench.ca.on["authz"] = lambda: shown.append(len(bench.zone.held("TXT")) == 1)
    bench.issue((DOMAIN,))
    # The first look finds the challenge, before there is a value.
    assert shown == [False] + [True] * 59
    assert bench.clock.monotonic() == pytest.approx(29 * 60, abs=60)
    bench.assert_dns_is_clean()


@pytest.mark.row(53)
@pytest.mark.parametrize(
    ("looks", "retry_after", "text", "most_s"),
    [
        ("pending_looks", "", "did not validate", 1800),
        ("pending_looks", "999999999", "did not validate", 1800),
        ("processing_looks", "", "did not issue", 600),
    ],
)
def test_a_ca_that_takes_too_long_is_left_for_the_next_run_whatever_it_asks_for(
    bench: Bench, looks: str, retry_after: str, text: str, most_s: int
) -> None:
    setattr(bench.ca, looks, 10_000)
    bench.ca.retry_after = retry_after
    with pytest.raises(OrderTimeout, match=text):
        bench.issue((DOMAIN,))
    assert bench.clock.monotonic() == pytest.approx(most_s, abs=1)
    assert bench.pending.url
    assert bench.pending.key_pem
    bench.assert_dns_is_clean()


def test_a_stop_while_the_ca_validates_leaves_nothing_in_dns_and_keeps_the_order(bench: Bench) -> None:
    bench.ca.pending_looks = 10_000
    bench.clock.on_sleep = bench.clock.stop
    with pytest.raises(Interrupted):
        bench.issue((DOMAIN,))
    assert bench.pending.url
    bench.assert_dns_is_clean()


@pytest.mark.row(48)
@pytest.mark.parametrize(
    ("kind", "is_fault_of_ca"),
    [("malformed", False), ("invalidProfile", True), ("rejectedIdentifier", True)],
)
def test_what_a_ca_refuses_by_its_own_rules_another_one_may_issue(
    bench: Bench, kind: str, is_fault_of_ca: bool
) -> None:
    bench.ca.instead["order"].append(problem(kind, 400))
    with pytest.raises(IssueError, match=kind) as refused:
        bench.issue((DOMAIN,))
    assert (refused.value.is_fault_of_ca, bench.reserved) == (is_fault_of_ca, 0)


@pytest.mark.row(48)
@pytest.mark.parametrize(("kind", "is_fault_of_ca"), [("caa", False), ("serverInternal", True)])
def test_an_order_that_the_ca_gives_up_is_dropped(bench: Bench, kind: str, is_fault_of_ca: bool) -> None:
    refused = {"status": "invalid", "error": {"type": f"{PROBLEM}{kind}", "detail": "CAA forbids\x1b[31m"}}
    bench.ca.instead["finalize"].append(json_reply(refused))
    with pytest.raises(IssueError, match=r"refused the order: CAA forbids\\x1b") as failed:
        bench.issue((DOMAIN,))
    assert failed.value.is_fault_of_ca == is_fault_of_ca
    assert not bench.pending.url


@pytest.mark.row(48)
def test_an_authorization_that_is_of_no_use_from_the_start_is_told(bench: Bench) -> None:
    useless = {"status": "deactivated", "identifier": {"type": "dns", "value": DOMAIN}, "challenges": []}
    bench.ca.instead["authz"].append(json_reply(useless))
    with pytest.raises(AuthorizationFailed, match="no reason given") as failed:
        bench.issue((DOMAIN,))
    assert failed.value.names == (DOMAIN,)
    assert bench.zone.calls == []


def test_a_name_that_was_not_ordered_is_never_written(bench: Bench) -> None:
    pending = {"status": "pending", "identifier": {"type": "dns", "value": "www.sweetlove.test"}}
    bench.ca.instead["authz"].append(json_reply(pending | {"challenges": []}))
    with pytest.raises(IssueError, match="not ordered"):
        bench.issue((DOMAIN,))
    assert bench.zone.calls == []


def test_a_ca_may_leave_the_asterisk_in_an_authorization(bench: Bench) -> None:
    """Against RFC 8555 section 7.1.4, as glatzert/ACME-Server-ADCS did (issue 81 there)."""
    bench.ca.names_wildcards = True
    bench.issue((WILDCARD,))
    assert {value.fqdn for value in bench.waited_for} == {CHALLENGE_NAME}
    bench.assert_dns_is_clean()


# --- whose clock is right ---------------------------------------------------------------------------------


def date(bench: Bench, ahead: timedelta) -> datetime:
    """Let the CA's clock be ahead of ours, and return its time."""
    theirs = bench.clock.now() + ahead
    bench.ca.date = format_datetime(theirs, usegmt=True)
    return theirs


@pytest.mark.parametrize("ahead_s", [-3600, -1, 0, 1, 300])
def test_what_is_counted_has_the_time_of_the_ca(bench: Bench, ahead_s: int) -> None:
    theirs = date(bench, timedelta(seconds=ahead_s))
    bench.ca.refused = {DOMAIN}
    with pytest.raises(AuthorizationFailed):
        bench.issue((DOMAIN,))
    # The account, the order, the failed validation.
    assert [row.at for row in bench.ledger.entries()] == [theirs] * 3


@pytest.mark.parametrize(
    ("ahead_s", "text"),
    [
        (3601, "by -3601 s"),
        (301, "by -301 s"),
        (-3601, r"by \+3601 s"),
        (-1e8, r"by \+100000000 s"),
    ],
)
def test_nothing_is_ordered_by_a_clock_that_is_an_hour_ahead_or_more_behind_than_a_certificate_may_begin(
    bench: Bench, ahead_s: float, text: str
) -> None:
    date(bench, timedelta(seconds=ahead_s))
    with pytest.raises(ClockWrong, match=text) as refused:
        bench.issue((DOMAIN,))
    assert "NTP" in refused.value.hint
    assert refused.value.retryable
    assert bench.reserved == 0
    assert "order" not in bench.ca.asked


@pytest.mark.parametrize(("ahead_s", "is_believed"), [(7199, True), (7200, False), (-1e8, False)])
def test_an_account_is_counted_by_our_time_where_the_clock_of_the_ca_is_far_off(
    bench: Bench, ahead_s: float, is_believed: bool
) -> None:
    """Its row settles when other CAs may be asked again: one CA's wrong clock must not."""
    ours = bench.clock.now()
    theirs = date(bench, timedelta(seconds=ahead_s))
    with pytest.raises(ClockWrong):
        bench.issue((DOMAIN,))
    assert [row.at for row in bench.ledger.entries()] == [theirs if is_believed else ours]


def test_nothing_is_ordered_by_a_clock_that_is_older_than_the_program(bench: Bench) -> None:
    """Whatever the CA's says."""
    bench.clock = FakeClock(datetime(1970, 1, 1, tzinfo=UTC))
    bench.ca.date = format_datetime(bench.clock.now(), usegmt=True)
    with pytest.raises(ClockWrong, match=r"clock says 1970-01-01T00:00:00Z"):
        bench.issue((DOMAIN,))
    assert "order" not in bench.ca.asked


@pytest.mark.parametrize("text", ["", "yesterday", "Tue, 99 Nov 2026 05:31:00 GMT"])
def test_a_ca_that_tells_no_time_is_counted_by_ours(bench: Bench, text: str) -> None:
    bench.ca.date = text
    began = bench.clock.now()
    bench.issue((DOMAIN,))
    # The account, and the order since it has given its certificate.
    assert [row.at for row in bench.ledger.entries()] == [began, bench.clock.now()]
