"""Every error code of the Alidns stand-in: the call that is answered so, or that only a fault can give it."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from support.alidns_caller import ADD, KEY_SECRET, ZONE, Client, assert_is_error, common, emulator, timestamp

from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.sandbox.gateway import ERRORS


@dataclass(frozen=True, slots=True)
class Sent:
    """What came of a call."""

    status: int
    answer: dict[str, Any]
    has_changed_a_record: bool


@dataclass(frozen=True, slots=True)
class World:
    """A stand-in that wants a token and takes few calls a second, and a client of it."""

    alidns: AlidnsEmulator
    client: Client

    def send(
        self,
        action: str,
        parameters: Mapping[str, str],
        *,
        secret: str = KEY_SECRET,
        is_signed: bool = True,
    ) -> Sent:
        """Send a call, in which these parameters take the place of the usual ones."""
        before = self.alidns.records()
        whole = {**common(action), "SecurityToken": "token", **parameters}
        status, body = self.client.send(whole, secret=secret) if is_signed else self.client.send_signed(whole)
        answer = json.loads(body)
        assert isinstance(answer, dict)
        return Sent(status, answer, self.alidns.records() != before)

    def add(self, parameters: Mapping[str, str], *, secret: str = KEY_SECRET, is_signed: bool = True) -> Sent:
        """Add a record, with these parameters in the place of the usual ones."""
        return self.send("AddDomainRecord", {**ADD, **parameters}, secret=secret, is_signed=is_signed)


@pytest.fixture
def world() -> Iterator[World]:
    with emulator(security_token="token", calls_per_second=3) as alidns, Client(alidns.endpoint) as client:
        yield World(alidns, client)


def at_a_locked_record(world: World) -> Sent:
    locked = world.alidns.add("box", "A", "10.0.0.1", locked=True)
    return world.send("DeleteDomainRecord", {"RecordId": locked.record_id})


def beside_a_cname(world: World) -> Sent:
    world.alidns.add("box", "CNAME", "other.test")
    return world.add({})


def once_more(world: World) -> Sent:
    world.alidns.add("box", "A", "10.0.0.1")
    return world.add({})


def under_a_policy(world: World) -> Sent:
    world.alidns.attach_policy(lambda action, zone: False)
    return world.add({})


def too_often(world: World) -> Sent:
    """A machine that is busy may need several tries to be that fast."""
    for _ in range(100):
        sent = world.send("DescribeDomains", {})
        if sent.status != 200:
            break
    return sent


def with_a_nonce_of_old(world: World) -> Sent:
    world.send("DescribeDomains", {"SignatureNonce": "once"})
    return world.add({"SignatureNonce": "once"})


def an_hour_ago() -> str:
    return timestamp(datetime.now(UTC) - timedelta(hours=1))


def with_a_key_that_has_ended(world: World) -> Sent:
    key = world.alidns.sts.issue("certbotless", "test", seconds=-1)
    return world.add({"AccessKeyId": key.id, "SecurityToken": key.token}, secret=key.secret)


def the_eleventh(world: World) -> Sent:
    for n in range(10):
        world.alidns.add("box", "A", f"10.0.0.{n + 11}")
    return world.add({})


PROVOKED: dict[str, Callable[[World], Sent]] = {
    "DomainRecordConflict": beside_a_cname,
    "DomainRecordDuplicate": once_more,
    "DomainRecordLocked": at_a_locked_record,
    "DomainRecordNotBelongToUser": lambda world: world.send("DeleteDomainRecord", {"RecordId": "1"}),
    "Forbidden.RAM": under_a_policy,
    "IncompleteSignature": lambda world: world.add({}, is_signed=False),
    "InvalidAccessKeyId.NotFound": lambda world: world.add({"AccessKeyId": "another"}),
    "InvalidAction.NotFound": lambda world: world.send("AddDomainRecords", ADD),
    "InvalidDomainName.Format": lambda world: world.add({"DomainName": "sweet_love.test"}),
    "InvalidDomainName.NoExist": lambda world: world.add({"DomainName": "another.test"}),
    "InvalidRR.Format": lambda world: world.add({"RR": "a..b"}),
    "InvalidSecurityToken.Expired": with_a_key_that_has_ended,
    "InvalidSecurityToken.MismatchWithAccessKey": lambda world: world.add({"SecurityToken": "another"}),
    "InvalidTimeStamp.Expired": lambda world: world.add({"Timestamp": an_hour_ago()}),
    "InvalidTimeStamp.Format": lambda world: world.add({"Timestamp": "today"}),
    "InvalidVersion": lambda world: world.add({"Version": "2014-01-01"}),
    "QuotaExceeded.ARecord": the_eleventh,
    "QuotaExceeded.TTL": lambda world: world.add({"TTL": "60"}),
    "SignatureDoesNotMatch": lambda world: world.add({}, secret="another"),
    "SignatureNonceUsed": with_a_nonce_of_old,
    "SubDomainInvalid.RR": lambda world: world.add({"RR": "ä"}),
    "SubDomainInvalid.Value": lambda world: world.add({"Value": "10.0.0.256"}),
    "Throttling.User": too_often,
}
# What comes of a state of the service that the stand-in has no rule for.
ONLY_INJECTED = {
    "DnsSystemBusyness",
    "IncorrectDomainUser",
    "InternalError",
    "InvalidAccessKeyId.Inactive",
    "LastOperationNotFinished",
    "RecordForbidden.DNSChange",
    "Rejected.Throttling",
    "ServiceUnavailable",
    "Throttling",
}
# The HTTP status of each, as the service's reference has it.
STATUS = dict.fromkeys([*PROVOKED, *ONLY_INJECTED], 400) | {
    "InternalError": 500,
    "InvalidAccessKeyId.NotFound": 404,
    "InvalidAction.NotFound": 404,
    "ServiceUnavailable": 503,
}


def test_every_code_that_the_stand_in_knows_is_in_the_tables_of_this_file() -> None:
    assert {code: status for code, (status, _) in ERRORS.items()} == STATUS
    assert not PROVOKED.keys() & ONLY_INJECTED


@pytest.mark.parametrize("code", PROVOKED)
def test_a_call_is_refused_with_the_code_that_it_deserves(world: World, code: str) -> None:
    """And changes nothing."""
    sent = PROVOKED[code](world)
    assert_is_error(sent.status, sent.answer)
    assert (sent.status, sent.answer["Code"]) == (STATUS[code], code)
    assert sent.answer["Message"].startswith(ERRORS[code][1])
    assert world.alidns.calls[-1].code == code
    assert not sent.has_changed_a_record


@pytest.mark.parametrize("is_made", [False, True], ids=["not made", "made"])
@pytest.mark.parametrize("code", sorted(STATUS))
def test_a_fault_gives_a_code_its_status_and_text_before_or_after_the_change(
    world: World, code: str, is_made: bool
) -> None:
    world.alidns.fail("AddDomainRecord", Fault("error", code, after_change=is_made))
    sent = world.add({})
    assert_is_error(sent.status, sent.answer)
    assert (sent.status, sent.answer["Code"], sent.answer["Message"]) == (STATUS[code], code, ERRORS[code][1])
    assert sent.has_changed_a_record == is_made
    assert world.send("DescribeDomainRecords", {"DomainName": ZONE}).status == 200
