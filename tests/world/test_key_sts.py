"""Keys of a role: what STS is asked, what may be done with them, and what it is not given."""

import json
import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.alidns import KEY_ID, NAME, SECRET, ZONE, a_record, assert_tells_no_secret
from support.fakes import FakeClock

from certbotless.base.clock import SystemClock
from certbotless.base.errors import CertbotlessError, DnsRefused, DnsUnavailable, KeyRefused
from certbotless.config.secret import Secret
from certbotless.config.settings import Aliyun
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.sandbox.ram import ACCOUNT_ID
from certbotless.sandbox.sts import Role
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.credentials.assumed import AssumedRole
from certbotless.world.credentials.fetched import FetchedKey
from certbotless.world.credentials.sts import Sts, session_name
from certbotless.world.dns import ram_policy
from certbotless.world.dns.alidns import AlidnsAccount

OTHER = "other.test"
ARN = f"acs:ram::{ACCOUNT_ID}:role/certbotless"


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE, OTHER], access_key_id=KEY_ID, access_key_secret=SECRET) as dns:
        dns.sts.roles["certbotless"] = Role()
        yield dns


def settings(dns: AlidnsEmulator) -> Aliyun:
    return Aliyun(
        access_key_id=Secret.parse(KEY_ID),
        access_key_secret=Secret.parse(SECRET),
        endpoint=dns.endpoint,
        sts_endpoint=dns.endpoint,
    )


def assumed(dns: AlidnsEmulator, *zones: str, external_id: str = "", arn: str = ARN) -> FetchedKey:
    """Return the source of a role's keys, for these zones."""
    clock, aliyun = SystemClock(), settings(dns)
    role = AssumedRole(aliyun, Key.in_file(aliyun), clock, (arn, external_id), zones or None)
    return FetchedKey(role.fetch, clock, "see the role", lambda key: None, role)


def account(dns: AlidnsEmulator, source: FetchedKey) -> AlidnsAccount:
    return AlidnsAccount(ApiAccess(dns.endpoint, source), SystemClock())


def asked(dns: AlidnsEmulator, action: str = "AssumeRole") -> list[dict[str, str]]:
    return [dict(call.parameters) for call in dns.calls if call.action == action]


def fault_of(source: FetchedKey, kind: type[CertbotlessError] = KeyRefused) -> str:
    with pytest.raises(kind) as caught:
        source.key()
    assert_tells_no_secret(caught.value)
    return str(caught.value)


# --- what it is asked ---------------------------------------------------------------------------------------


def test_a_key_of_a_role_lives_for_fifteen_minutes_and_is_limited_to_our_calls_in_the_zones(
    dns: AlidnsEmulator,
) -> None:
    source = assumed(dns, ZONE)
    key = source.key()
    assert key.id.startswith("STS.")
    assert key.ends_at is not None
    assert abs(key.ends_at - datetime.now(UTC) - timedelta(minutes=15)) < timedelta(seconds=30)
    [call] = asked(dns)
    assert (call["RoleArn"], call["DurationSeconds"]) == (ARN, "900")
    assert call["RoleSessionName"].startswith("certbotless-")
    assert "ExternalId" not in call
    [statement] = json.loads(call["Policy"])["Statement"]
    assert statement["Action"] == [f"alidns:{action}" for action in ram_policy.actions()]
    assert f"acs:alidns:*:{ACCOUNT_ID}:domain/{ZONE}" in statement["Resource"]
    assert not any(OTHER in resource for resource in statement["Resource"])


@pytest.mark.row(118)
def test_the_role_may_be_broad_and_its_key_is_not(dns: AlidnsEmulator) -> None:
    source = assumed(dns, ZONE)
    mine = account(dns, source)
    mine.open(ZONE).add(a_record())
    key = source.key()
    # One who has stolen the key makes any call with it.
    thief = AlidnsAccount(ApiAccess(dns.endpoint, key), SystemClock())
    with pytest.raises(DnsRefused, match=r"Forbidden\.RAM"):
        thief.open(OTHER).records(f"a.{OTHER}")
    with pytest.raises(DnsRefused, match=r"Forbidden\.RAM"):
        thief.call("DescribeDomainRecords", DomainName=OTHER)
    assert [record.value for record in mine.open(ZONE).records(NAME)] == ["10.79.40.213"]


def test_a_zone_that_a_challenge_is_delegated_to_comes_with_the_next_key(dns: AlidnsEmulator) -> None:
    """It is in no file: it is known when the alias is followed."""
    source = assumed(dns, ZONE)
    mine = account(dns, source)
    assert mine.find(NAME) == ZONE
    assert len(asked(dns)) == 1  # with the names that may be a zone
    assert mine.find(f"devbox.{OTHER}") == OTHER
    mine.open(OTHER).add(replace(a_record(), fqdn=f"devbox.{OTHER}"))
    assert len(asked(dns)) == 2
    assert mine.find(f"devbox.{OTHER}") == OTHER
    assert len(asked(dns)) == 2


def test_more_zones_than_a_policy_can_name_are_told_once(
    dns: AlidnsEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    source = assumed(dns, ZONE, *(f"zone-number-{number}.example.com" for number in range(60)))
    key = source.key()
    source.allow(["one-more.example.com"])
    assert source.key() is key
    assert source.instead_of(key) is not None
    assert ["Policy" in call for call in asked(dns)] == [False, False]
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "key.not_limited zones=61"
    ]


@pytest.mark.parametrize("count", [1, 10, 25])
def test_the_policy_of_a_session_is_no_longer_than_the_service_takes(count: int) -> None:
    text = ram_policy.session_policy([f"zone-{number}.example.com" for number in range(count)], ACCOUNT_ID)
    assert 0 < len(text) <= 2048


def test_a_zone_in_chinese_is_named_in_both_forms() -> None:
    text = ram_policy.session_policy(["xn--fsqu00a.com"], ACCOUNT_ID)
    assert "domain/例子.com" in text
    assert "domain/xn--fsqu00a.com" in text


@pytest.mark.parametrize("minutes", [14, -14])
def test_the_clock_of_sts_counts_where_ours_is_wrong(dns: AlidnsEmulator, minutes: int) -> None:
    """By as much as the API would still take: a key of 15 minutes has them by our clock too."""
    clock, aliyun = FakeClock(datetime.now(UTC) + timedelta(minutes=minutes)), settings(dns)
    ends_at = AssumedRole(aliyun, Key.in_file(aliyun), clock, (ARN, "")).fetch().ends_at
    assert ends_at is not None
    assert abs(ends_at - clock.now() - timedelta(minutes=15)) < timedelta(seconds=30)


def test_an_external_id_goes_with_the_role(dns: AlidnsEmulator) -> None:
    dns.sts.roles["certbotless"] = Role(external_id="7f3a")
    assert "NoPermission" in fault_of(assumed(dns))
    assert assumed(dns, external_id="7f3a").key().token


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("devbox", "certbotless-devbox"),
        ("devbox.lan", "certbotless-devbox.lan"),
        ("büro box!", "certbotless-b-ro-box-"),
        ("x" * 64, f"certbotless-{'x' * 52}"),
    ],
)
def test_the_name_of_a_session_is_one_that_the_service_takes(host: str, name: str) -> None:
    assert session_name(host) == name


# --- what it is not given -----------------------------------------------------------------------------------


def test_a_role_that_trusts_another_and_one_that_is_not_there_are_told(dns: AlidnsEmulator) -> None:
    cure = (
        "; let its trust policy name this user, and grant the user sts:AssumeRole on it (docs/ram-policy.md)"
    )
    dns.sts.roles["certbotless"] = Role(is_trusted=False)
    told = fault_of(assumed(dns))
    assert told.startswith(f"may not assume {ARN}: AssumeRole refused with NoPermission (")
    assert told.endswith(cure)
    absent = f"acs:ram::{ACCOUNT_ID}:role/absent"
    told = fault_of(assumed(dns, arn=absent))
    assert told.startswith(f"may not assume {absent}: AssumeRole refused with EntityNotExist.Role (")
    assert told.endswith(cure)


def test_the_key_of_the_account_itself_assumes_no_role(dns: AlidnsEmulator) -> None:
    dns.sts.is_root = True
    told = fault_of(assumed(dns))
    assert "Roles may not be assumed by root accounts." in told
    assert told.endswith("; use the key of a RAM user: that of the account itself can assume no role")


def test_a_clock_that_is_off_and_a_key_that_is_wrong_are_told_as_by_the_api(dns: AlidnsEmulator) -> None:
    dns.set_clock(timedelta(minutes=20))
    assert "InvalidTimeStamp.Expired" in (told := fault_of(assumed(dns)))
    assert told.endswith("; set the clock")
    dns.set_clock(timedelta())
    dns.fail("AssumeRole", Fault("error", "SignatureDoesNotMatch"))
    assert "; correct aliyun.access_key_secret" in fault_of(assumed(dns))


@pytest.mark.parametrize("reply", ["foreign", "null"])
def test_an_answer_that_is_none_is_asked_for_again_and_told(dns: AlidnsEmulator, reply: str) -> None:
    dns.fail("AssumeRole", Fault(reply), times=1)  # type: ignore[arg-type]
    assert assumed(dns).key().token
    clock, aliyun = FakeClock(least_sleep_s=100), settings(dns)
    dns.fail("AssumeRole", Fault(reply), times=100)  # type: ignore[arg-type]
    role = AssumedRole(aliyun, Key.in_file(aliyun), clock, (ARN, ""))
    with pytest.raises(DnsUnavailable, match="not an answer of STS"):
        role.fetch()


@pytest.mark.parametrize(
    ("without", "name"),
    [({"id": ""}, "AccessKeyId"), ({"secret": ""}, "AccessKeySecret"), ({"token": ""}, "SecurityToken")],
)
def test_a_key_without_one_of_its_parts_is_none(
    dns: AlidnsEmulator, without: dict[str, Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    issue = dns.sts.issue
    monkeypatch.setattr(dns.sts, "issue", lambda *given: replace(issue(*given), **without))
    assert fault_of(assumed(dns), DnsUnavailable) == f"STS gives no {name}"


@pytest.mark.row(112)
def test_a_key_of_a_role_that_has_ended_is_replaced_in_the_middle_of_a_call(dns: AlidnsEmulator) -> None:
    """Whoever ends it, it is once fetched again; then the refusal counts."""
    source = assumed(dns, ZONE)
    mine = account(dns, source)
    mine.open(ZONE).records(NAME)
    dns.fail("DescribeSubDomainRecords", Fault("error", "InvalidSecurityToken.Expired"))
    mine.open(ZONE).records(NAME)
    assert len(asked(dns)) == 2
    dns.fail("DescribeSubDomainRecords", Fault("error", "InvalidAccessKeyId.NotFound"))
    mine.open(ZONE).records(NAME)
    assert len(asked(dns)) == 3
    dns.fail("DescribeSubDomainRecords", Fault("error", "InvalidSecurityToken.Expired"), times=2)
    with pytest.raises(DnsRefused, match=r"InvalidSecurityToken\.Expired.*; see the role"):
        mine.open(ZONE).records(NAME)
    assert len(asked(dns)) == 4


# --- whose a key is -----------------------------------------------------------------------------------------


def test_a_key_says_whose_it_is(dns: AlidnsEmulator) -> None:
    found = Sts(settings(dns), Key.in_file(settings(dns)), SystemClock()).identity()
    assert (found.account, found.arn) == (ACCOUNT_ID, f"acs:ram::{ACCOUNT_ID}:user/certbotless")
    of_role = Sts(settings(dns), assumed(dns, ZONE), SystemClock()).identity()
    assert of_role.account == ACCOUNT_ID
    assert of_role.arn.startswith(f"acs:ram::{ACCOUNT_ID}:assumed-role/certbotless/certbotless-")


@pytest.mark.parametrize("reply", ["foreign", "html"])
def test_an_identity_that_is_none_is_unavailable(dns: AlidnsEmulator, reply: str) -> None:
    dns.fail("GetCallerIdentity", Fault(reply), times=100)  # type: ignore[arg-type]
    clock = FakeClock(least_sleep_s=100)
    with pytest.raises(DnsUnavailable):
        Sts(settings(dns), Key.in_file(settings(dns)), clock).identity()
