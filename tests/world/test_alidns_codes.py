"""What the client makes of every error code of the API, against the stand-in over real HTTP.

A code is told at once, or the call is tried again; some are no failure where what was wanted is so. Where
the stand-in has a rule that leads to a code, the call breaks that rule; else the code is put in its place.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from support.alidns import KEY_ID, REQUEST_ID, SECRET, TEMPORARY, ZONE, a_record, assert_tells_no_secret
from support.fakes import FakeClock

from certbotless.base.errors import DnsRefused, RecordConflict, ZoneNotFound
from certbotless.model.records import Record
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.sandbox.gateway import ERRORS
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.dns.alidns import AlidnsAccount, AlidnsZone

WRONG_ID, WRONG_SECRET = "LTAI5tAnother", "another secret"


@dataclass(frozen=True, slots=True)
class World:
    """A service with one zone, and a clock that does not run by itself."""

    dns: AlidnsEmulator
    clock: FakeClock

    def open(self, zone: str = ZONE, key_id: str = KEY_ID, secret: str = SECRET) -> AlidnsZone:
        """Return a zone as one with this key sees it."""
        return AlidnsAccount(ApiAccess(self.dns.endpoint, Key(key_id, secret)), self.clock).open(zone)

    def add(self, **fields: Any) -> str:
        """Add the A record of the name, but for these fields."""
        return self.open().add(replace(a_record(), **fields))


@pytest.fixture
def world() -> Iterator[World]:
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=SECRET) as dns:
        yield World(dns, FakeClock())


# --- what is told at once ---------------------------------------------------------------------------------


def injected(code: str) -> Callable[[World], object]:
    """Return an addition that the service answers with this code."""

    def add(world: World) -> object:
        world.dns.fail("AddDomainRecord", Fault("error", code))
        return world.add()

    return add


def a_change_of_a_locked_record(world: World) -> None:
    locked = world.dns.add("devbox", "A", "10.79.40.7", locked=True)
    world.open().update(a_record(record_id=locked.record_id))


def a_change_to_what_another_record_is(world: World) -> None:
    world.dns.add("devbox", "A", "10.79.40.213")
    other = world.dns.add("devbox", "A", "10.79.40.7")
    world.open().update(a_record(record_id=other.record_id))


def an_address_beside_a_cname(world: World) -> object:
    world.dns.add("devbox", "CNAME", "other.test")
    return world.add()


def an_addition_that_no_policy_allows(world: World) -> object:
    world.dns.attach_policy(lambda action, zone: False)
    return world.add()


REFUSED: dict[str, tuple[Callable[[World], object], str]] = {
    "DomainRecordConflict": (an_address_beside_a_cname, "delete the conflicting record"),
    "DomainRecordDuplicate": (a_change_to_what_another_record_is, "delete the other record"),
    "DomainRecordLocked": (a_change_of_a_locked_record, "unlock the record"),
    "DomainRecordNotBelongToUser": (
        lambda world: world.open().update(a_record(record_id="1")),
        "still exists",
    ),
    "Forbidden.RAM": (
        an_addition_that_no_policy_allows,
        "grant the RAM user alidns:AddDomainRecord on the zone (docs/ram-policy.md)",
    ),
    "IncompleteSignature": (injected("IncompleteSignature"), "correct aliyun.access_key_secret"),
    "IncorrectDomainUser": (injected("IncorrectDomainUser"), "correct sites[].zone"),
    "InvalidAccessKeyId.Inactive": (
        injected("InvalidAccessKeyId.Inactive"),
        "enable the key in the RAM console",
    ),
    "InvalidAccessKeyId.NotFound": (
        lambda world: world.open(key_id=WRONG_ID).add(a_record()),
        "correct aliyun.access_key_id",
    ),
    "SubDomainInvalid.RR": (
        lambda world: world.add(fqdn=f"xn--4ca.{ZONE}"),
        "beyond ASCII the service accepts only Chinese characters",
    ),
    "InvalidAction.NotFound": (injected("InvalidAction.NotFound"), "see the code"),
    "InvalidDomainName.Format": (
        lambda world: world.open("sweet_love.test").add(Record("box.sweet_love.test", "A", "10.0.0.1", 600)),
        "correct sites[].zone",
    ),
    "InvalidDomainName.NoExist": (
        lambda world: world.open("another.test").add(Record("box.another.test", "A", "10.0.0.1", 600)),
        "add the zone in the Alidns console or correct sites[].zone",
    ),
    "InvalidRR.Format": (lambda world: world.add(fqdn=f"a..b.{ZONE}"), "see the code"),
    "InvalidSecurityToken.Expired": (injected("InvalidSecurityToken.Expired"), "renew aliyun.security_token"),
    "InvalidSecurityToken.MismatchWithAccessKey": (
        injected("InvalidSecurityToken.MismatchWithAccessKey"),
        "renew aliyun.security_token",
    ),
    "InvalidTimeStamp.Expired": (injected("InvalidTimeStamp.Expired"), "set the clock"),
    "InvalidTimeStamp.Format": (injected("InvalidTimeStamp.Format"), "set the clock"),
    "InvalidVersion": (injected("InvalidVersion"), "see the code"),
    "QuotaExceeded.ARecord": (injected("QuotaExceeded.ARecord"), "larger plan"),
    "QuotaExceeded.TTL": (lambda world: world.add(ttl_s=86401), "set sites[].ttl"),
    "SignatureDoesNotMatch": (
        lambda world: world.open(secret=WRONG_SECRET).add(a_record()),
        "correct aliyun.access_key_secret",
    ),
    "SubDomainInvalid.Value": (lambda world: world.add(value="10.79.40.256"), "correct sites[].address"),
}
# A TXT record may be written all the same, so a certificate can be ordered.
OF_ONE_RECORD = {
    "DomainRecordConflict",
    "DomainRecordDuplicate",
    "DomainRecordLocked",
    "DomainRecordNotBelongToUser",
    "QuotaExceeded.ARecord",
    "SubDomainInvalid.Value",
}
NO_SUCH_ZONE = {"IncorrectDomainUser", "InvalidDomainName.NoExist"}


@pytest.mark.parametrize("code", REFUSED)
def test_a_refusal_is_told_at_once_with_its_code_request_id_and_cure(world: World, code: str) -> None:
    call, hint = REFUSED[code]
    with pytest.raises(ZoneNotFound if code in NO_SUCH_ZONE else DnsRefused) as refused:
        call(world)
    action = world.dns.calls[0].action
    assert f"{action} refused with {code}" in refused.value.message
    assert re.search(REQUEST_ID, refused.value.message)
    assert hint in refused.value.hint
    assert str(refused.value) == f"{refused.value.message}; {refused.value.hint}"
    assert not refused.value.retryable
    assert isinstance(refused.value, RecordConflict) == (code in OF_ONE_RECORD)
    kind = "ZoneNotFound" if code in NO_SUCH_ZONE else "DnsRefused"
    assert refused.value.kind == ("RecordConflict" if code in OF_ONE_RECORD else kind)
    assert_tells_no_secret(refused.value)
    assert not any(wrong in str(refused.value) for wrong in (WRONG_ID, WRONG_SECRET))
    assert world.dns.calls[0].code == code
    assert [call.action for call in world.dns.calls].count(action) == 1
    assert world.clock.sleeps == []


def test_an_addition_of_what_is_there_but_disabled_is_told(world: World) -> None:
    """DomainRecordDuplicate: such a record serves nobody, and it is not ours to enable."""
    world.dns.add("devbox", "A", "10.79.40.213", status="DISABLE")
    with pytest.raises(RecordConflict, match="but disabled") as refused:
        world.add()
    assert "Alidns console" in refused.value.hint


# --- the tables -------------------------------------------------------------------------------------------


def test_every_code_that_the_service_gives_is_told_or_tried_again() -> None:
    """What is tried again is in `test_alidns.TEMPORARY`, with what is no answer at all."""
    tried_again = {fault.code for fault in TEMPORARY if fault.reply == "error"}
    assert not REFUSED.keys() & tried_again
    assert (REFUSED.keys() | tried_again) & ERRORS.keys() == ERRORS.keys()


@pytest.mark.parametrize("code", sorted(ERRORS.keys() - REFUSED.keys()))
@pytest.mark.parametrize("is_changed", [False, True], ids=["not made", "made"])
def test_an_addition_that_is_tried_again_makes_one_record_and_gives_its_id(
    world: World, code: str, is_changed: bool
) -> None:
    """Whether the first try made it or not."""
    world.dns.fail("AddDomainRecord", Fault("error", code, after_change=is_changed))
    record_id = world.add()
    [made] = world.dns.records()
    assert record_id == made.record_id
    assert world.clock.sleeps != []
