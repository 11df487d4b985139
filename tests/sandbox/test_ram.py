"""RAM policies of the Alidns stand-in: what a document allows, and how the API holds calls against it."""

import json
from collections.abc import Iterator

import pytest
from support.alidns_caller import ZONE, Client, emulator

from certbotless.sandbox import ram
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.ram import ACCOUNT_ID, Permits

OTHER = "other.test"


def statement(effect: str, action: str | list[str], resource: str | list[str]) -> dict[str, object]:
    return {"Effect": effect, "Action": action, "Resource": resource}


def document(*statements: dict[str, object]) -> str:
    return json.dumps({"Version": "1", "Statement": list(statements)})


def permitting(*statements: dict[str, object]) -> Permits:
    return ram.parse(document(*statements)).permits


def domain(zone: str, account: str = ACCOUNT_ID) -> str:
    return f"acs:alidns:*:{account}:domain/{zone}"


def for_one_zone() -> Permits:
    return permitting(statement("Allow", "alidns:*", domain(ZONE)))


@pytest.fixture
def alidns() -> Iterator[AlidnsEmulator]:
    with emulator(zones=[ZONE, OTHER]) as running:
        yield running


def calls_on(zone: str, record_id: str) -> dict[str, dict[str, str]]:
    """Return a call of every action, about this zone or the record of it."""
    record = {"RR": "new", "Type": "A", "Value": "10.0.0.2"}
    return {
        "DescribeDomainRecords": {"DomainName": zone},
        "DescribeSubDomainRecords": {"SubDomain": f"box.{zone}"},
        "DescribeDomainRecordInfo": {"RecordId": record_id},
        "AddDomainRecord": {"DomainName": zone.upper(), **record},
        "UpdateDomainRecord": {"RecordId": record_id, **record, "RR": "box"},
        "SetDomainRecordStatus": {"RecordId": record_id, "Status": "Disable"},
        "DeleteSubDomainRecords": {"DomainName": zone, "RR": "new"},
        "DeleteDomainRecord": {"RecordId": record_id},
    }


def test_a_key_for_one_zone_does_everything_there_and_nothing_elsewhere(
    alidns: AlidnsEmulator, client: Client
) -> None:
    """Records that are named by their id count as of their zone, also where another zone is named too."""
    mine, theirs = (alidns.add("box", "A", "10.0.0.1", zone=zone) for zone in (ZONE, OTHER))
    alidns.attach_policy(for_one_zone())
    calls = [*calls_on(OTHER, theirs.record_id).items()]
    calls += [("DeleteDomainRecord", {"RecordId": theirs.record_id, "DomainName": ZONE, "SubDomain": ZONE})]
    for action, parameters in calls:
        assert client.code(action, **parameters) == "Forbidden.RAM"
    for action, parameters in calls_on(ZONE, mine.record_id).items():
        assert client.code(action, **parameters) == "OK"
    assert alidns.records() == [theirs]


def test_what_is_about_no_zone_needs_a_right_to_all(alidns: AlidnsEmulator, client: Client) -> None:
    """Lists of zones, the zone of a name, and a record that is not there."""
    calls = {
        "DescribeDomains": {},
        "GetMainDomainName": {"InputString": ZONE},
        "DeleteDomainRecord": {"RecordId": "1"},
    }
    alidns.attach_policy(for_one_zone())
    assert [client.code(action, **parameters) for action, parameters in calls.items()] == [
        "Forbidden.RAM"
    ] * 3
    alidns.attach_policy(permitting(statement("Allow", "alidns:*", domain("*"))))
    assert [client.code(action, **parameters) for action, parameters in calls.items()] == [
        "OK",
        "OK",
        "DomainRecordNotBelongToUser",
    ]


def test_whether_there_is_a_zone_is_not_told_to_those_who_may_not_read_it(
    alidns: AlidnsEmulator, client: Client
) -> None:
    alidns.attach_policy(for_one_zone())
    for zone in (OTHER, "nobody.test"):
        assert client.code("DescribeDomainRecords", DomainName=zone) == "Forbidden.RAM"


def test_a_call_that_is_not_signed_right_hears_nothing_of_the_policy(
    alidns: AlidnsEmulator, client: Client
) -> None:
    alidns.attach_policy(permitting())
    assert client.code("DescribeDomains") == "Forbidden.RAM"
    assert client.code("DescribeDomains", AccessKeyId="another") == "InvalidAccessKeyId.NotFound"
