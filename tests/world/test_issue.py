"""The conversation with a CA: its order, what ends it, and what is kept between runs."""

import json
import logging
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import josepy as jose
import pytest
from acme import challenges
from support.fakes import FakeClock, Reply
from support.scripted_ca import (
    CHAIN,
    CHALLENGE_NAME,
    DOMAIN,
    NOW,
    PROBLEM,
    WILDCARD,
    Bench,
    base64url,
    json_reply,
    opened_bench,
    problem,
)

from certbotless.base.errors import (
    AccountRefused,
    AuthorizationFailed,
    CaUnavailable,
    ClockWrong,
    DnsRefused,
    Interrupted,
    IssueError,
    OrderTimeout,
    PropagationTimeout,
    RateLimited,
)
from certbotless.config.secret import Secret
from certbotless.config.settings import Acme, Eab
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.ledger import Entry, Kind
from certbotless.model.memory import TxtValue
from certbotless.model.records import Record
from certbotless.model.renewal import RenewalWindow
from certbotless.world.acme import keys as pki
from certbotless.world.acme.renewal_info import Suggestion, suggested_renewal


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with opened_bench(tmp_path) as bench:
        yield bench


# --- an issuance --------------------------------------------------------------------------------------------


def test_a_first_issuance_goes_by_the_order_of_the_rfc(bench: Bench) -> None:
    issued = bench.issue((DOMAIN,))
    assert issued.chain_pem == CHAIN
    assert issued.account == bench.ca.url("account/1")
    assert bench.pending.key_pem == pki.key_to_pem(issued.key) != bench.accounts.load()[0]
    steps = ["directory", "account", "order", "authz", "challenge", "authz", "finalize", "certificate"]
    assert bench.ca.asked == steps
    assert bench.reserved == 1
    bench.assert_dns_is_clean()


def test_the_account_is_kept_for_the_next_issuance(bench: Bench) -> None:
    first = bench.issue((DOMAIN,))
    bench.pending.drop()
    second = bench.issue(("other.sweetlove.test",))
    assert (bench.ca.asked.count("account"), bench.ca.asked.count("order")) == (1, 2)
    assert second.account == first.account
    assert bench.accounts_made == 1


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
    assert (bench.reserved, bench.ca.asked.count("order")) == (0, 0)


@pytest.mark.parametrize("hmac_key", ["", "A", "ABCDE", "not base64url", "AAAA\u00e4AAA", "AAAA=AAA", "AA A"])
def test_a_mac_key_that_is_not_base64url_is_told_before_anything_is_asked_for(
    bench: Bench, hmac_key: str
) -> None:
    """The library would skip what is none, and the CA only say that the MAC is wrong."""
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", hmac_key))
    bench.introduction = replace(bench.introduction, eab=eab)
    with pytest.raises(AccountRefused, match=r"^acme\.eab\.hmac_key is not base64url"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked == ["directory"]


@pytest.mark.parametrize("hmac_key", ["AAAAAA==", "AAAAAA", "AAAAAAA=", "_-AA", "/+AA"])
def test_a_mac_key_may_be_padded_or_not_and_of_either_alphabet(bench: Bench, hmac_key: str) -> None:
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", hmac_key))
    bench.introduction = replace(bench.introduction, eab=eab)
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


def test_an_account_that_is_there_needs_no_binding_any_more(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.ca.meta = {"externalAccountRequired": True}
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


def test_a_ca_that_wants_the_binding_to_find_an_account_gets_it(bench: Bench) -> None:
    """Though it ties an account only when that is made."""
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.accounts.save_url("")
    eab = Eab(kid="kid-1", hmac_key=Secret("literal", "AAAAAA"))
    bench.introduction = replace(bench.introduction, eab=eab)
    bench.ca.instead["account"].append(problem("externalAccountRequired"))
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.sent["account"]["onlyReturnExisting"]
    assert bench.ca.sent["account"]["externalAccountBinding"]
    assert bench.accounts_made == 1


def test_no_key_is_in_a_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.issue()
    assert "account.made" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


# --- what goes wrong ----------------------------------------------------------------------------------------


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
def test_an_order_that_the_ca_gives_up_is_dropped(bench: Bench) -> None:
    refused = {"status": "invalid", "error": {"type": f"{PROBLEM}caa", "detail": "CAA forbids\x1b[31m"}}
    bench.ca.instead["finalize"].append(json_reply(refused))
    with pytest.raises(IssueError, match=r"refused the order: CAA forbids\\x1b"):
        bench.issue((DOMAIN,))
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


def lose_account(bench: Bench, status: str = "") -> None:
    """Let the CA have forgotten our account, or closed it, and refuse the next order for that."""
    bench.pending.drop()
    bench.ca.account_status = status
    bench.ca.instead["order"].append(
        problem("unauthorized", 403) if status else problem("accountDoesNotExist")
    )


@pytest.mark.row(49)
@pytest.mark.parametrize("damaged", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_an_account_whose_key_is_damaged_is_made_anew_and_the_damaged_one_is_kept(
    bench: Bench, tmp_path: Path, damaged: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bench.issue((DOMAIN,))
    [key] = (tmp_path / "accounts").glob("*/key.pem")
    key.write_bytes(damaged)
    bench.pending.drop()
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.accounts_made == 2
    assert key.with_suffix(".pem.old").read_bytes() == damaged
    assert "account.key_lost" in caplog.text


def test_an_account_that_was_never_made_is_made_with_the_key_that_was_kept_for_it(bench: Bench) -> None:
    """As after a run that was killed in between."""
    bench.ca.instead["account"].append(Reply(500, b""))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    key, url = bench.accounts.load()
    assert (key is not None, url) == (True, "")
    bench.issue((DOMAIN,))
    assert bench.accounts.load() == (key, bench.ca.url("account/1"))


@pytest.mark.parametrize(
    "told", [[], [problem("unauthorized", 403)]], ids=["by its status", "by a refusal, as of Let's Encrypt"]
)
def test_an_account_that_is_closed_for_good_gives_way_to_one_with_a_new_key(
    bench: Bench, told: list[Reply], caplog: pytest.LogCaptureFixture
) -> None:
    """The CA would refuse the old key for ever."""
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    lose_account(bench, "deactivated")
    bench.ca.instead["account"] += told
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.accounts.load()[0] != key
    assert (bench.accounts_made, bench.reserved) == (2, 2)
    assert "account.closed" in caplog.text


def test_an_account_that_another_run_has_made_anew_meanwhile_is_taken(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    lose_account(bench)
    other = bench.ca.url("account/2")
    bench.ca.on["order"] = lambda: bench.accounts.save_url(other)
    assert bench.issue((DOMAIN,)).account == other
    assert bench.accounts_made == 1


def test_an_account_that_is_as_good_as_before_is_not_what_was_refused(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    before = bench.accounts.load()
    lose_account(bench, "valid")
    with pytest.raises(AccountRefused, match="unauthorized"):
        bench.issue((DOMAIN,))
    assert bench.accounts.load() == before
    assert bench.accounts_made == 1


def test_an_account_that_is_forgotten_and_cannot_be_made_anew_is_not_used_again(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    lose_account(bench)
    bench.ca.instead["account"].append(problem("serverInternal", 500))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    assert bench.accounts.load() == (key, "")


def test_a_ca_that_forgets_us_again_at_once_is_left(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    lose_account(bench)
    bench.ca.instead["order"].append(problem("accountDoesNotExist"))
    bench.ca.asked.clear()
    with pytest.raises(AccountRefused):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 2
    assert bench.accounts_made == 2


# --- when the CA wants it renewed (RFC 9773) ----------------------------------------------------------------

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


# --- an order that a dead run left --------------------------------------------------------------------------


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


# --- whose clock is right -----------------------------------------------------------------------------------


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


# --- vectors ------------------------------------------------------------------------------------------------


def test_the_txt_value_is_that_of_the_rfc() -> None:
    vector = json.loads((Path(__file__).parents[1] / "vectors" / "txt_value.json").read_text())
    key = jose.JWK.from_json(vector["account_key"])
    assert isinstance(key, jose.JWKRSA)
    token = urlsafe_b64decode(vector["token"] + "=")
    assert base64url(key.thumbprint()) == vector["thumbprint"]
    assert challenges.DNS01(token=token).validation(key) == vector["txt_value"]
