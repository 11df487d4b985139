"""The Alidns stand-in: each rule of its API, asked over real HTTP, and the faults a test can inject."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit

import dns.exception
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from support.alidns_caller import (
    ADD,
    KEY_ID,
    KEY_SECRET,
    ZONE,
    Client,
    assert_is_error,
    common,
    emulator,
    timestamp,
)
from support.commands import completed

from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.sandbox.alidnsservice import AlidnsService
from certbotless.sandbox.gateway import Account, ApiError, sign, string_to_sign
from certbotless.sandbox.zonedata import Record, ZoneData

# What the official SDK (core 2.16.1) sent: `get_url` of a POST request with these parameters and this key.
SDK_VECTOR = (
    "/?DomainName=sweetlove.test&RR=_acme-challenge&Type=TXT&Value=a%2Ab%20~%2B%25%27%2F%40%20%"
    "E7%A7%81%E6%9C%89%E4%BB%93%E5%BA%93&Version=2015-01-09&Action=AddDomainRecord&Format=JSON&"
    "RegionId=cn-hangzhou&Timestamp=2026-11-24T13%3A12%3A27Z&SignatureMethod=HMAC-SHA1&Signatur"
    "eType=&SignatureVersion=1.0&SignatureNonce=809d11d4c9d01433e05796605b8cbf86&AccessKeyId=ke"
    "y-id&Signature=yVd6GXXw9reKNC5MrjlC%2FXzdaQI%3D"
)
SDK_STRING_TO_SIGN = (
    "POST&%2F&AccessKeyId%3Dkey-id%26Action%3DAddDomainRecord%26DomainName%3Dsweetlove.test%26F"
    "ormat%3DJSON%26RR%3D_acme-challenge%26RegionId%3Dcn-hangzhou%26SignatureMethod%3DHMAC-SHA1"
    "%26SignatureNonce%3D809d11d4c9d01433e05796605b8cbf86%26SignatureType%3D%26SignatureVersion"
    "%3D1.0%26Timestamp%3D2026-11-24T13%253A12%253A27Z%26Type%3DTXT%26Value%3Da%252Ab%2520~%252"
    "B%2525%2527%252F%2540%2520%25E7%25A7%2581%25E6%259C%2589%25E4%25BB%2593%25E5%25BA%2593%26V"
    "ersion%3D2015-01-09"
)


# The signature.


def test_what_the_official_sdk_signed_verifies() -> None:
    """A recorded call of the SDK with awkward characters has the signature that we compute."""
    parameters = dict(parse_qsl(urlsplit(SDK_VECTOR).query, keep_blank_values=True))
    assert parameters["Value"] == "a*b ~+%'/@ 私有仓库"
    assert string_to_sign("POST", parameters) == SDK_STRING_TO_SIGN
    assert sign("POST", parameters, KEY_SECRET) == parameters["Signature"]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_call_by_query_and_by_form_is_understood(client: Client, method: Literal["GET", "POST"]) -> None:
    """GET carries the parameters in the query, POST in a form; both on one kept connection."""
    for value in ("a*b ~+%'/@", "私有仓库"):
        own = {"DomainName": ZONE, "RR": "t", "Type": "TXT", "Value": value}
        status, body = client.send(common("AddDomainRecord") | own, method)
        assert (status, client.call("DescribeDomainRecords", DomainName=ZONE)["TotalCount"]) == (
            200,
            ["a*b ~+%'/@", "私有仓库"].index(value) + 1,
        ), body


def test_a_post_may_carry_its_parameters_in_the_query(client: Client) -> None:
    """So the SDK sends them: a POST without a form."""
    parameters = common("DescribeDomains")
    parameters["Signature"] = sign("POST", parameters, KEY_SECRET)
    client.connection.request("POST", f"/?{urlencode(parameters)}")
    with client.connection.getresponse() as response:
        assert response.status == 200
        assert json.loads(response.read())["TotalCount"] == 1


def test_a_wrong_secret_is_told_with_the_string_to_sign(client: Client) -> None:
    """What stands behind the colon is the server's string to sign, which a client compares with its own."""
    parameters = common("DescribeDomains")
    status, body = client.send(parameters, secret="another")
    answer = json.loads(body)
    assert_is_error(status, answer)
    assert answer["Code"] == "SignatureDoesNotMatch"
    assert answer["Message"].split(":", 1)[1] == string_to_sign("GET", parameters)


def test_a_signature_covers_every_parameter(client: Client, alidns: AlidnsEmulator) -> None:
    """A parameter changed, added or dropped after signing is noticed; and nothing is changed."""
    own = {"DomainName": ZONE, "RR": "t", "Type": "A", "Value": "10.0.0.1"}
    for change in ({"Value": "10.0.0.2"}, {"TTL": "700"}):
        parameters = common("AddDomainRecord") | own
        signature = sign("GET", parameters, KEY_SECRET)
        status, body = client.send_signed(parameters | change | {"Signature": signature})
        assert (status, json.loads(body)["Code"]) == (400, "SignatureDoesNotMatch")
    assert alidns.records() == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Format": "XML"}, "InvalidParameter"),
        ({"Format": None}, "InvalidParameter"),
        ({"SignatureMethod": "HMAC-SHA256"}, "IncompleteSignature"),
        ({"SignatureVersion": None}, "IncompleteSignature"),
        ({"Timestamp": timestamp(datetime.now(UTC) - timedelta(minutes=16))}, "InvalidTimeStamp.Expired"),
        ({"Timestamp": timestamp(datetime.now(UTC) + timedelta(minutes=25))}, "InvalidTimeStamp.Expired"),
        ({"Action": None}, "MissingAction"),
        ({"Version": None}, "MissingVersion"),
        ({"AccessKeyId": None}, "MissingAccessKeyId"),
        ({"Timestamp": None}, "MissingTimestamp"),
        ({"SignatureNonce": None}, "MissingSignatureNonce"),
    ],
)
def test_a_call_with_a_wrong_common_parameter_is_refused(
    client: Client, change: dict[str, str | None], code: str
) -> None:
    parameters = {
        name: value for name, value in (common("DescribeDomains") | change).items() if value is not None
    }
    status, body = client.send(parameters)
    answer = json.loads(body)
    assert_is_error(status, answer)
    assert answer["Code"] == code


def test_a_clock_within_15_minutes_will_do(client: Client) -> None:
    for minutes in (-14, 14):
        moment = timestamp(datetime.now(UTC) + timedelta(minutes=minutes))
        assert client.send(common("DescribeDomains") | {"Timestamp": moment})[0] == 200


def test_a_nonce_works_once(client: Client) -> None:
    """A replay is refused; a refused signature does not use the nonce up."""
    parameters = common("DescribeDomains")
    assert json.loads(client.send(parameters, secret="another")[1])["Code"] == "SignatureDoesNotMatch"
    assert client.send(parameters)[0] == 200
    assert json.loads(client.send(parameters)[1])["Code"] == "SignatureNonceUsed"


def test_with_sts_the_token_must_be_the_configured_one() -> None:
    with emulator(security_token="token") as alidns, Client(alidns.endpoint) as client:
        assert client.code("DescribeDomains") == "MissingSecurityToken"
        assert (
            client.code("DescribeDomains", SecurityToken="x") == "InvalidSecurityToken.MismatchWithAccessKey"
        )
        assert client.code("DescribeDomains", SecurityToken="token") == "OK"


def test_calls_beyond_the_rate_are_throttled_until_a_second_has_passed() -> None:
    with emulator(calls_per_second=3) as alidns, Client(alidns.endpoint) as client:
        begun = time.monotonic()
        # A machine that is busy may need several tries to be too fast.
        codes = [client.code("DescribeDomains") for _ in range(100)]
        assert codes[:3] == ["OK", "OK", "OK"]
        assert set(codes) == {"OK", "Throttling.User"}
        while client.code("DescribeDomains") == "Throttling.User":
            assert time.monotonic() - begun < 30
        assert time.monotonic() - begun >= 1


# Adding, changing and deleting records.


def test_an_added_record_is_described_in_full(client: Client) -> None:
    """Names come back in lower case; line, TTL and status have the service's defaults."""
    added = client.call("AddDomainRecord", DomainName=ZONE, RR="Box.LAN", Type="a", Value="10.0.0.1")
    assert set(added) == {"RequestId", "RecordId"}
    record = {
        "DomainName": ZONE,
        "RecordId": added["RecordId"],
        "RR": "box.lan",
        "Type": "A",
        "Value": "10.0.0.1",
        "TTL": 600,
        "Line": "default",
        "Status": "ENABLE",
        "Locked": False,
    }
    listed = client.call("DescribeDomainRecords", DomainName=ZONE)
    assert listed.pop("RequestId")
    assert listed == {
        "TotalCount": 1,
        "PageNumber": 1,
        "PageSize": 20,
        "DomainRecords": {"Record": [record]},
    }
    assert client.call("DescribeDomainRecordInfo", RecordId=added["RecordId"]).items() >= record.items()


def test_a_record_with_a_weight_is_described_with_it(client: Client, alidns: AlidnsEmulator) -> None:
    for value in ("10.0.0.1", "10.0.0.2"):
        alidns.add("box", "A", value)
    alidns.set_weights(ZONE, "box", "A", {"10.0.0.1": 5})
    listed = client.call("DescribeSubDomainRecords", SubDomain=f"box.{ZONE}")["DomainRecords"]["Record"]
    assert [(each["Value"], each["Weight"]) for each in listed] == [("10.0.0.2", 1), ("10.0.0.1", 5)]


def test_every_answer_has_a_request_id_of_its_own(client: Client) -> None:
    ids = [client.call(action)["RequestId"] for action in ("DescribeDomains", "DescribeDomains", "Nothing")]
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}", request_id) for request_id in ids)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"TTL": 700}, "DomainRecordDuplicate"),
        ({"Line": "telecom"}, "OK"),
        ({"Value": "10.0.0.2"}, "OK"),
        ({"Type": "AAAA", "Value": "fd00::1"}, "OK"),
        ({"Type": "TXT", "Value": "10.0.0.1"}, "OK"),
        ({"RR": "box2"}, "OK"),
        ({"RR": "@"}, "OK"),
        ({"RR": "*"}, "OK"),
        ({"RR": "*.box"}, "OK"),
        ({"Type": "CAA", "Value": '0 issue "letsencrypt.org"'}, "OK"),
        ({"Type": "CNAME", "Value": "other.test"}, "DomainRecordConflict"),
        ({"Type": "CNAME", "Value": "other.test", "Line": "telecom"}, "OK"),
        ({"DomainName": "box.sweetlove.test"}, "InvalidDomainName.NoExist"),
        ({"RR": "a.*"}, "InvalidRR.Format"),
        ({"RR": "x" * 64}, "InvalidRR.Format"),
        ({"RR": ".".join(["x" * 60] * 4)}, "InvalidRR.Format"),
        ({"Value": "box"}, "SubDomainInvalid.Value"),
        ({"Type": "AAAA"}, "SubDomainInvalid.Value"),
        ({"Type": "CNAME", "Value": "a..b"}, "SubDomainInvalid.Value"),
        ({"Type": "CAA"}, "SubDomainInvalid.Value"),
        ({"Type": "SOA"}, "InvalidParameter"),
        ({"TTL": 599, "RR": "t"}, "QuotaExceeded.TTL"),
        ({"TTL": 600, "RR": "t"}, "OK"),
        ({"TTL": 86400, "RR": "t"}, "OK"),
        ({"TTL": 86401, "RR": "t"}, "QuotaExceeded.TTL"),
        ({"TTL": "10m", "RR": "t"}, "InvalidParameter"),
    ],
)
def test_an_addition_follows_the_rules(
    client: Client, alidns: AlidnsEmulator, change: dict[str, str | int], code: str
) -> None:
    """Beside an A record ``box``; whatever is refused leaves the records as they were."""
    first = alidns.add("box", "A", "10.0.0.1")
    assert client.code("AddDomainRecord", **(ADD | change)) == code
    assert (alidns.records() == [first]) == (code != "OK")


def test_the_least_ttl_is_that_of_the_edition() -> None:
    with emulator(min_ttl_s=1) as alidns, Client(alidns.endpoint) as client:
        assert client.code("AddDomainRecord", **ADD, TTL=1) == "OK"
        assert [record.ttl_s for record in alidns.records()] == [1]


@given(type_=st.sampled_from(["A", "AAAA", "CAA", "CNAME", "TXT"]), value=st.text(max_size=80))
def test_any_value_is_taken_or_refused(type_: str, value: str) -> None:
    """No value breaks the service: it makes the record as it was given, or none."""
    data = ZoneData([ZONE], name_servers=1)
    service = AlidnsService(Account(KEY_ID, KEY_SECRET), data)
    parameters = common("AddDomainRecord") | ADD | {"Type": type_, "Value": value}
    try:
        service.call("GET", parameters | {"Signature": sign("GET", parameters, KEY_SECRET)})
    except ApiError as exc:
        assert exc.code == ("SubDomainInvalid.Value" if value else "MissingValue")
        assert data.records() == []
    else:
        assert [(record.type, record.value) for record in data.records()] == [(type_, value)]


def test_an_update_replaces_the_record_in_place(client: Client, alidns: AlidnsEmulator) -> None:
    record = alidns.add("box", "A", "10.0.0.1", status="DISABLE")
    alidns.add("later", "A", "10.0.0.1")
    answer = client.call(
        "UpdateDomainRecord", RecordId=record.record_id, RR="box", Type="A", Value="10.0.0.2", TTL=900
    )
    assert answer["RecordId"] == record.record_id
    assert alidns.records()[0] == Record(
        record.record_id, ZONE, "box", "A", "10.0.0.2", ttl_s=900, status="DISABLE"
    )


def test_an_update_that_changes_nothing_is_a_duplicate(client: Client, alidns: AlidnsEmulator) -> None:
    """Also one that would make the record equal to another; a new TTL alone is a change."""
    record = alidns.add("box", "A", "10.0.0.1")
    alidns.add("box", "A", "10.0.0.2")

    def code(**change: str | int) -> str:
        wanted: dict[str, str | int] = {"RecordId": record.record_id, "RR": "box", "Type": "A"}
        return client.code("UpdateDomainRecord", **(wanted | {"Value": "10.0.0.1"} | change))

    assert code() == "DomainRecordDuplicate"
    assert code(Value="10.0.0.2") == "DomainRecordDuplicate"
    assert code(Type="CNAME", Value="other.test") == "DomainRecordConflict"
    assert code(TTL=700) == "OK"
    assert code(Value="10.0.0.3") == "OK"


def by_id(record_id: str) -> list[tuple[str, dict[str, str]]]:
    return [
        ("DeleteDomainRecord", {"RecordId": record_id}),
        ("SetDomainRecordStatus", {"RecordId": record_id, "Status": "Disable"}),
        ("UpdateDomainRecord", {"RecordId": record_id, "RR": "box", "Type": "A", "Value": "10.0.0.9"}),
    ]


def test_a_locked_record_stays_as_it_is(client: Client, alidns: AlidnsEmulator) -> None:
    record = alidns.add("box", "A", "10.0.0.1", locked=True)
    for action, parameters in by_id(record.record_id):
        assert client.code(action, **parameters) == "DomainRecordLocked"
    assert client.call("DeleteSubDomainRecords", DomainName=ZONE, RR="box")["TotalCount"] == "0"
    assert alidns.records() == [record]


def test_an_id_that_is_not_there_does_not_belong_to_the_user(client: Client, alidns: AlidnsEmulator) -> None:
    record = alidns.add("box", "A", "10.0.0.1")
    assert client.code("DeleteDomainRecord", RecordId=record.record_id) == "OK"
    assert alidns.records() == []
    for action, parameters in [*by_id(record.record_id), ("DescribeDomainRecordInfo", {"RecordId": "1"})]:
        assert client.code(action, **parameters) == "DomainRecordNotBelongToUser"


def test_a_status_can_be_set(client: Client, alidns: AlidnsEmulator) -> None:
    record = alidns.add("box", "A", "10.0.0.1")
    answer = client.call("SetDomainRecordStatus", RecordId=record.record_id, Status="Disable")
    assert (answer["RecordId"], answer["Status"]) == (record.record_id, "Disable")
    assert [shown.status for shown in alidns.records()] == ["DISABLE"]
    assert client.code("SetDomainRecordStatus", RecordId=record.record_id, Status="off") == "InvalidParameter"


def test_deleting_a_name_takes_all_its_records_of_the_type(client: Client, alidns: AlidnsEmulator) -> None:
    for rr, type_, value in (
        ("t", "TXT", "1"),
        ("t", "TXT", "2"),
        ("t", "A", "10.0.0.1"),
        ("a.t", "TXT", "3"),
    ):
        alidns.add(rr, type_, value)
    answer = client.call("DeleteSubDomainRecords", DomainName=ZONE, RR="t", Type="TXT")
    assert (answer["RR"], answer["TotalCount"]) == ("t", "2")
    assert [(record.rr, record.type) for record in alidns.records()] == [("t", "A"), ("a.t", "TXT")]


def test_of_equal_additions_at_the_same_time_one_is_made(alidns: AlidnsEmulator) -> None:
    def add(_: int) -> str:
        with Client(alidns.endpoint) as client:
            return client.code("AddDomainRecord", **ADD)

    with ThreadPoolExecutor(8) as pool:
        codes = sorted(pool.map(add, range(8)))
    assert codes == ["DomainRecordDuplicate"] * 7 + ["OK"]
    assert len(alidns.records()) == 1


@pytest.mark.parametrize(
    ("action", "mandatory"),
    [
        ("AddDomainRecord", ["DomainName", "RR", "Type", "Value"]),
        ("DeleteDomainRecord", ["RecordId"]),
        ("DeleteSubDomainRecords", ["DomainName", "RR"]),
        ("DescribeDomainRecordInfo", ["RecordId"]),
        ("DescribeDomainRecords", ["DomainName"]),
        ("DescribeSubDomainRecords", ["SubDomain"]),
        ("GetMainDomainName", ["InputString"]),
        ("SetDomainRecordStatus", ["RecordId", "Status"]),
        ("UpdateDomainRecord", ["RecordId", "RR", "Type", "Value"]),
    ],
)
def test_what_an_action_cannot_do_without_is_named(client: Client, action: str, mandatory: list[str]) -> None:
    """Absent and empty are the same."""
    given_: dict[str, str] = {}
    for name in mandatory:
        assert client.code(action, **given_) == f"Missing{name}"
        assert client.code(action, **given_, **{name: ""}) == f"Missing{name}"
        given_[name] = "x"


# Finding records, names and zones.


def test_pages_lead_through_all_records_the_newest_first(client: Client, alidns: AlidnsEmulator) -> None:
    """241 records, asked for at most 100 at a time."""
    for number in range(241):
        alidns.add(f"r{number}", "A", "10.0.0.1")
    found: list[str] = []
    for page in range(1, 5):
        answer = client.call("DescribeDomainRecords", DomainName=ZONE, PageNumber=page, PageSize=100)
        assert (answer["TotalCount"], answer["PageNumber"], answer["PageSize"]) == (241, page, 100)
        found.extend(record["RR"] for record in answer["DomainRecords"]["Record"])
    assert found == [f"r{number}" for number in reversed(range(241))]
    assert len(client.call("DescribeDomainRecords", DomainName=ZONE)["DomainRecords"]["Record"]) == 20


@pytest.mark.parametrize("page", [{"PageSize": 101}, {"PageSize": 0}, {"PageNumber": 0}, {"PageNumber": "x"}])
def test_a_page_that_cannot_be_is_refused(client: Client, page: dict[str, str | int]) -> None:
    assert client.code("DescribeDomainRecords", DomainName=ZONE, **page) == "InvalidParameter"


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({}, ["@ A", "a A", "b.a A", "lan A", "a TXT", "_acme-challenge.a TXT"]),
        ({"RRKeyWord": "a"}, ["a A", "b.a A", "lan A", "a TXT", "_acme-challenge.a TXT"]),
        ({"RRKeyWord": "B.A"}, ["b.a A"]),
        ({"RRKeyWord": "a", "TypeKeyWord": "txt"}, ["a TXT", "_acme-challenge.a TXT"]),
        ({"TypeKeyWord": "T"}, []),
        ({"Type": "TXT"}, ["a TXT", "_acme-challenge.a TXT"]),
        ({"ValueKeyWord": "Token"}, ["a TXT", "_acme-challenge.a TXT"]),
        ({"KeyWord": "a", "SearchMode": "EXACT"}, ["a A", "a TXT"]),
        ({"KeyWord": "a", "SearchMode": "LIKE", "Type": "A"}, ["a A", "b.a A", "lan A"]),
        ({"Line": "telecom"}, ["lan A"]),
        ({"RRKeyWord": ""}, ["@ A", "a A", "b.a A", "lan A", "a TXT", "_acme-challenge.a TXT"]),
    ],
)
def test_keywords_match_anywhere_and_types_exactly(
    client: Client, alidns: AlidnsEmulator, search: dict[str, str], found: list[str]
) -> None:
    """The service's search is fuzzy, so a client that takes the first hit takes a foreign record."""
    alidns.add("_acme-challenge.a", "TXT", "token-1")
    alidns.add("a", "TXT", "token-2")
    alidns.add("lan", "A", "10.0.0.1", line="telecom")
    for rr in ("b.a", "a", "@"):
        alidns.add(rr, "A", "10.0.0.1")
    records = client.call("DescribeDomainRecords", DomainName=ZONE, **search)["DomainRecords"]["Record"]
    assert [f"{record['RR']} {record['Type']}" for record in records] == found


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({"SubDomain": "a.sweetlove.test"}, ["10.0.0.3", "10.0.0.2", "text"]),
        ({"SubDomain": "A.Sweetlove.TEST", "DomainName": ZONE, "Type": "A"}, ["10.0.0.3", "10.0.0.2"]),
        ({"SubDomain": "a.sweetlove.test", "Type": "A", "Line": "default"}, ["10.0.0.2"]),
        ({"SubDomain": "sweetlove.test"}, ["10.0.0.1"]),
        ({"SubDomain": "@.sweetlove.test", "DomainName": ZONE}, ["10.0.0.1"]),
        ({"SubDomain": "none.sweetlove.test"}, []),
    ],
)
def test_a_name_is_described_exactly(
    client: Client, alidns: AlidnsEmulator, search: dict[str, str], found: list[str]
) -> None:
    for rr, type_, value in (("@", "A", "10.0.0.1"), ("a", "TXT", "text"), ("b.a", "A", "10.0.0.9")):
        alidns.add(rr, type_, value)
    alidns.add("a", "A", "10.0.0.2")
    alidns.add("a", "A", "10.0.0.3", line="telecom")
    records = client.call("DescribeSubDomainRecords", **search)["DomainRecords"]["Record"]
    assert [record["Value"] for record in records] == found


def test_a_name_of_another_zone_is_not_described(client: Client) -> None:
    assert client.code("DescribeSubDomainRecords", SubDomain="a.other.test") == "InvalidDomainName.NoExist"
    wrong = {"SubDomain": "a.other.test", "DomainName": ZONE}
    assert client.code("DescribeSubDomainRecords", **wrong) == "InvalidDomainName.Format"


@pytest.mark.parametrize(
    ("name", "zone", "rr", "level"),
    [
        ("sweetlove.test", "sweetlove.test", "@", 1),
        ("Box.sweetlove.test", "sweetlove.test", "box", 2),
        ("_acme-challenge.box.sweetlove.test", "sweetlove.test", "_acme-challenge.box", 3),
        ("a.lan.sweetlove.test", "lan.sweetlove.test", "a", 2),
        ("a.b.other.test", "other.test", "a.b", 3),
    ],
)
def test_the_zone_of_a_name_is_told(name: str, zone: str, rr: str, level: int) -> None:
    with emulator(zones=[ZONE, "lan.sweetlove.test"]) as alidns, Client(alidns.endpoint) as client:
        answer = client.call("GetMainDomainName", InputString=name)
        assert (answer["DomainName"], answer["RR"], answer["DomainLevel"]) == (zone, rr, level)
        assert client.code("GetMainDomainName", InputString="test") == "InvalidDomainName.Format"


def test_the_zones_of_the_account_are_listed_in_pages() -> None:
    with emulator(zones=["a.test", "b.test", "ab.test"]) as alidns, Client(alidns.endpoint) as client:

        def zones(**parameters: str | int) -> list[str]:
            domains = client.call("DescribeDomains", **parameters)["Domains"]["Domain"]
            return [domain["DomainName"] for domain in domains]

        assert zones() == ["a.test", "b.test", "ab.test"]
        assert zones(PageSize=2, PageNumber=2) == ["ab.test"]
        assert zones(KeyWord="b") == ["b.test", "ab.test"]


# Faults.


def test_an_injected_error_comes_before_the_change(client: Client, alidns: AlidnsEmulator) -> None:
    """With the code's own status unless another is given; only as often as told, and only at that action."""
    alidns.fail("AddDomainRecord", Fault("error", code="Throttling.User"))
    alidns.fail("AddDomainRecord", Fault("error", code="ServiceUnavailable"))
    alidns.fail("AddDomainRecord", Fault("error", code="Odd", http_status=418), times=2)
    assert client.code("DescribeDomains") == "OK"
    answers = [client.call_with_status("AddDomainRecord", **ADD) for _ in range(5)]
    assert [(status, answer.get("Code")) for status, answer in answers] == [
        (400, "Throttling.User"),
        (503, "ServiceUnavailable"),
        (418, "Odd"),
        (418, "Odd"),
        (200, None),
    ]
    assert len(alidns.records()) == 1


# What a test sees and does from outside.


def test_calls_are_noted_without_secrets(alidns: AlidnsEmulator) -> None:
    before = datetime.now(UTC)
    with Client(alidns.endpoint) as client:
        client.call("AddDomainRecord", **ADD, SecurityToken="sts-secret")
        client.call("DeleteDomainRecord", RecordId="1")
    assert [(call.action, call.parameters, call.code) for call in alidns.calls] == [
        ("AddDomainRecord", ADD, "OK"),
        ("DeleteDomainRecord", {"RecordId": "1"}, "DomainRecordNotBelongToUser"),
    ]
    assert all(before <= call.at <= datetime.now(UTC) for call in alidns.calls)
    for secret in (KEY_ID, KEY_SECRET, "sts-secret"):
        assert secret not in repr(alidns.calls)


def test_an_owner_edits_records_by_hand(alidns: AlidnsEmulator) -> None:
    """Past the rules of the API, but not to a value that DNS cannot carry."""
    first = alidns.add("box", "A", "10.0.0.1", ttl_s=1, line="telecom", status="DISABLE")
    second = alidns.add("box", "CNAME", "other.test", zone="lan.test")
    assert (first.zone, second.zone) == (ZONE, "lan.test")
    assert alidns.update(second.record_id, value="another.test").value == "another.test"
    assert alidns.records(type="CNAME") == alidns.records(rr="box")[1:]
    alidns.delete(first.record_id)
    assert [record.value for record in alidns.records()] == ["another.test"]
    with pytest.raises(dns.exception.DNSException):
        alidns.add("box", "A", "not an address")
    with pytest.raises(dns.exception.DNSException):
        alidns.update(second.record_id, type="A")
    with pytest.raises(KeyError):
        alidns.update(first.record_id, value="10.0.0.2")
    assert [record.value for record in alidns.records()] == ["another.test"]


@pytest.fixture
def https(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    """Key and chain of a certificate for loopback, and a context that trusts it."""
    authority = trustme.CA()
    chain = tmp_path / "chain.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    return chain, trusting


def test_without_a_certificate_there_is_no_https_endpoint(alidns: AlidnsEmulator) -> None:
    with pytest.raises(ValueError, match="HttpsListener"):
        _ = alidns.https_endpoint


def test_the_end_takes_kept_connections_and_threads_along() -> None:
    """Nothing is left behind: no thread, no port, and a client sees its connection closed."""
    threads_before = set(threading.enumerate())
    with emulator() as alidns:
        client = Client(alidns.endpoint)
        assert client.code("DescribeDomains") == "OK"
        place = urlsplit(alidns.endpoint)
        kept = client.connection.sock
    assert set(threading.enumerate()) == threads_before
    assert kept is not None
    assert kept.recv(1) == b""
    client.connection.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((place.hostname, place.port or 0), timeout=1)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text(f"{KEY_SECRET}\n")
    return path


def alone(secret_file: Path, *arguments: str) -> list[str]:
    return [
        sys.executable,
        *("-m", "certbotless.sandbox.alidns", "--zone", ZONE, "--access-key-id", KEY_ID),
        *("--access-key-secret-file", str(secret_file), *arguments),
    ]


@pytest.mark.process
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_alone_until_a_signal(secret_file: Path, end: signal.Signals) -> None:
    """It says in one line when and where it is ready, serves, and ends with 0."""
    command = alone(secret_file, "--dns", "127.0.0.1:0", "--dns", "127.0.0.2:0", "--delay", "60")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = re.fullmatch(
            r"ready (http://127\.0\.0\.1:\d+) dns 127\.0\.0\.1:\d+ 127\.0\.0\.2:\d+\n",
            process.stdout.readline(),
        )
        assert ready is not None
        with Client(ready[1]) as client:
            assert client.code("AddDomainRecord", **ADD) == "OK"
            process.send_signal(end)
            assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


@pytest.mark.process
def test_alone_it_serves_https_too(secret_file: Path, https: tuple[Path, ssl.SSLContext]) -> None:
    chain, trusting = https
    command = alone(
        secret_file,
        *("--dns", "127.0.0.1:0", "--https", "127.0.0.1:0", "--cert", str(chain), "--key", str(chain)),
    )
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = re.match(r"ready http://\S+ (https://\S+) dns", process.stdout.readline())
        assert ready is not None
        with Client(ready[1], trusting) as client:
            assert client.code("DescribeDomains") == "OK"
        process.terminate()
    assert process.returncode == 0


@pytest.mark.process
def test_alone_it_says_in_one_line_why_it_cannot_start(secret_file: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            ("--http", f"127.0.0.1:{port}"): (1, f"cannot start: [Errno 98] {os.strerror(98)}\n"),
            ("--delay", "1", "--delay", "1"): (2, "--delay"),
            ("--https", "127.0.0.1:0"): (2, "--https"),
        }
        for arguments, (code, words) in cases.items():
            command = alone(secret_file, "--dns", "127.0.0.1:0", *arguments)
            done = completed(command)
            assert (done.returncode, done.stdout) == (code, "")
            assert words in done.stderr
            assert code == 2 or done.stderr == words
