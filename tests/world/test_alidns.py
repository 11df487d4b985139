"""The client of the Aliyun DNS API, against the stand-in over real HTTP, and against servers gone wrong."""

import inspect
import json
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
from support.alidns import KEY_ID, NAME, REQUEST_ID, SECRET, TEMPORARY, ZONE, a_record, assert_tells_no_secret
from support.fakes import FakeClock, HttpServer, Reply
from urllib3.exceptions import LocationParseError

from certbotless.base.errors import DnsError, DnsRefused, DnsUnavailable, ZoneNotFound
from certbotless.model.records import Record
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.credentials.errors import transport_errors
from certbotless.world.credentials.rpc import NO_ANSWER_TIMEOUT_S, TOTAL_TIMEOUT_S
from certbotless.world.dns.alidns import AlidnsAccount, AlidnsZone


def emulating(zones: Sequence[str] = (ZONE,), **options: Any) -> AlidnsEmulator:
    return AlidnsEmulator(zones, access_key_id=KEY_ID, access_key_secret=SECRET, **options)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def account(emulator: AlidnsEmulator, clock: FakeClock) -> AlidnsAccount:
    return AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), clock)


@pytest.fixture
def zone(account: AlidnsAccount) -> AlidnsZone:
    return account.open(ZONE)


def zone_at(server: HttpServer, clock: FakeClock | None = None) -> AlidnsZone:
    """Return the zone at an API of the test's own."""
    return AlidnsAccount(ApiAccess(server.url, Key(KEY_ID, SECRET)), clock or FakeClock()).open(ZONE)


def actions(emulator: AlidnsEmulator) -> list[str]:
    return [call.action for call in emulator.calls]


# --- what the API refuses -------------------------------------------------------------------------------


@pytest.mark.row(33)
def test_a_clock_that_is_off_is_told_by_how_much(emulator: AlidnsEmulator) -> None:
    late = FakeClock(datetime.now(UTC) + timedelta(minutes=20))
    zone = AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), late).open(ZONE)
    emulator.fail("AddDomainRecord", Fault("error", "InvalidTimeStamp.Expired"))
    with pytest.raises(DnsRefused) as refused:
        zone.add(a_record())
    told = re.search(r"this clock differs by (\d+) s from the API's", refused.value.message)
    assert told is not None
    assert int(told[1]) == pytest.approx(1200, abs=5)


@pytest.mark.row(33)
@pytest.mark.parametrize(
    ("date", "differs"), [("Tue, 24 Nov 2026 05:50:00 GMT", "-1200 s"), ("today", "an unknown time")]
)
def test_the_apis_clock_is_read_from_its_reply_if_it_tells(date: str, differs: str) -> None:
    expired = Reply(400, b'{"Code": "InvalidTimeStamp.Expired", "RequestId": "A-1"}', {"Date": date})
    with (
        HttpServer(lambda _: expired) as server,
        pytest.raises(DnsRefused, match=f"this clock differs by {differs} from the API's"),
    ):
        zone_at(server).delete("1")


def test_a_secret_is_in_no_repr() -> None:
    access = ApiAccess("https://alidns.aliyuncs.com", Key(KEY_ID, SECRET, "a token"))
    assert not any(secret in repr(access) for secret in (KEY_ID, SECRET, "a token"))


@pytest.mark.row(31)
def test_the_text_of_the_api_is_escaped_and_cut() -> None:
    hostile = {"Code": "Odd\x1b[31m", "Message": "line\r\nforged " + "x" * 10_000, "RequestId": "A-1\n"}
    with (
        HttpServer(lambda _: Reply(400, json.dumps(hostile).encode())) as server,
        pytest.raises(DnsRefused) as refused,
    ):
        zone_at(server).delete("1")
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 500
    assert r"Odd\x1b[31m" in refused.value.message


# --- what passes ----------------------------------------------------------------------------------------


def fault_name(fault: Fault) -> str:
    return f"{fault.code} {fault.http_status or ''}".strip() if fault.reply == "error" else fault.reply


@pytest.mark.row(28, 30, 31, 90)
@pytest.mark.parametrize("fault", TEMPORARY, ids=fault_name)
def test_what_passes_is_tried_again_until_it_succeeds(
    emulator: AlidnsEmulator, zone: AlidnsZone, clock: FakeClock, fault: Fault
) -> None:
    emulator.add("devbox", "A", "10.79.40.213")
    emulator.fail("DescribeSubDomainRecords", fault, times=2)
    assert [record.value for record in zone.records(NAME)] == ["10.79.40.213"]
    assert actions(emulator) == ["DescribeSubDomainRecords"] * 3
    assert len(clock.sleeps) == 2
    assert 0 < sum(clock.sleeps) < 5


@pytest.mark.row(28, 30, 31)
@pytest.mark.parametrize("fault", TEMPORARY, ids=fault_name)
def test_what_does_not_pass_is_unavailable_at_the_deadline(
    emulator: AlidnsEmulator, zone: AlidnsZone, clock: FakeClock, fault: Fault
) -> None:
    emulator.fail("DescribeSubDomainRecords", fault, times=100)
    with pytest.raises(DnsUnavailable) as unavailable:
        zone.records(NAME)
    if fault.reply == "error":
        assert clock.monotonic() == pytest.approx(TOTAL_TIMEOUT_S)
    else:
        assert NO_ANSWER_TIMEOUT_S <= clock.monotonic() < 2 * NO_ANSWER_TIMEOUT_S
    assert len(emulator.calls) < 30
    assert unavailable.value.retryable
    assert unavailable.value.hint
    assert "DescribeSubDomainRecords" in unavailable.value.message
    if fault.reply == "error":
        assert re.search(REQUEST_ID, unavailable.value.message)
    assert_tells_no_secret(unavailable.value)


@pytest.mark.row(28)
def test_a_wait_that_the_api_asks_for_is_kept() -> None:
    replies = iter(
        [
            Reply(429, b'{"Code": "Throttling", "RequestId": "A-1"}', {"Retry-After": "20"}),
            Reply(200, b'{"RequestId": "A-2"}'),
        ]
    )
    clock = FakeClock()
    with HttpServer(lambda _: next(replies)) as server:
        zone_at(server, clock).delete("1")
    assert clock.sleeps == [20]


def test_a_wait_that_the_api_asks_for_ends_at_the_deadline() -> None:
    throttled = Reply(429, b'{"Code": "Throttling", "RequestId": "A-1"}', {"Retry-After": "86400"})
    clock = FakeClock()
    with HttpServer(lambda _: throttled) as server, pytest.raises(DnsUnavailable) as throttled_for_long:
        zone_at(server, clock).delete("1")
    assert clock.sleeps == [TOTAL_TIMEOUT_S]
    assert throttled_for_long.value.retry_after == timedelta(hours=1)


# --- answers that are lost after the change -------------------------------------------------------------

LOST = [
    Fault("drop", after_change=True),
    Fault("error", "InternalError", after_change=True),
    Fault("html", after_change=True),
    Fault("empty", after_change=True),
    Fault("truncated"),
]


@pytest.mark.row(29)
@pytest.mark.parametrize("fault", LOST, ids=fault_name)
def test_a_record_whose_answer_was_lost_is_found_by_its_id(
    emulator: AlidnsEmulator, zone: AlidnsZone, fault: Fault
) -> None:
    emulator.fail("AddDomainRecord", fault)
    record_id = zone.add(a_record())
    [made] = emulator.records("devbox")
    assert record_id == made.record_id
    assert actions(emulator) == ["AddDomainRecord", "AddDomainRecord", "DescribeSubDomainRecords"]


@pytest.mark.row(29)
@pytest.mark.parametrize("fault", LOST, ids=fault_name)
@pytest.mark.parametrize("action", ["UpdateDomainRecord", "DeleteDomainRecord"])
def test_a_change_whose_answer_was_lost_succeeds(
    emulator: AlidnsEmulator, zone: AlidnsZone, action: str, fault: Fault
) -> None:
    old = emulator.add("devbox", "A", "10.79.40.7")
    emulator.fail(action, fault)
    is_update = action == "UpdateDomainRecord"
    zone.update(a_record(record_id=old.record_id)) if is_update else zone.delete(old.record_id)
    left = [(old.record_id, "10.79.40.213")] if is_update else []
    assert [(record.record_id, record.value) for record in emulator.records()] == left


def test_a_duplicate_that_is_not_listed_is_no_answer(emulator: AlidnsEmulator, zone: AlidnsZone) -> None:
    emulator.fail("AddDomainRecord", Fault("error", "DomainRecordDuplicate"))
    with pytest.raises(DnsUnavailable, match="does not list it"):
        zone.add(a_record())


def test_every_try_is_signed_anew(emulator: AlidnsEmulator, zone: AlidnsZone) -> None:
    # The stand-in takes a nonce once, so a repeated one would show as SignatureNonceUsed.
    emulator.fail("AddDomainRecord", Fault("error", "InternalError", after_change=True), times=3)
    zone.add(a_record())
    assert "SignatureNonceUsed" not in [call.code for call in emulator.calls]


@pytest.mark.row(96)
@pytest.mark.parametrize(("least_s", "wanted_s"), [(60, 10), (600, 60), (3600, 600)])
def test_a_ttl_below_the_plan_becomes_the_least_one_that_the_service_names_and_it_is_said(
    clock: FakeClock, least_s: int, wanted_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an addition and of an update."""
    with emulating(min_ttl_s=least_s) as emulator:
        zone = AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), clock).open(ZONE)
        record_id = zone.add(replace(a_record(), ttl_s=wanted_s))
        zone.update(replace(a_record("10.79.40.7", record_id), ttl_s=wanted_s))
        assert [call.code for call in emulator.calls] == ["QuotaExceeded.TTL", "OK"] * 2
        assert [(record.value, record.ttl_s) for record in emulator.records()] == [("10.79.40.7", least_s)]
    assert caplog.text.count("record.ttl_raised") == 2


TTL_TEXTS = [
    "The TTL value is less than the minimum value allowed.",
    "The TTL has exceeded the limit of the domain edition.",
    "",
    "A valid TTL must be in the range of 0 to 99999999999.",
]


@pytest.mark.row(96)
@pytest.mark.parametrize("text", TTL_TEXTS)
def test_where_the_service_names_no_range_the_least_ttl_is_that_of_the_free_plan(text: str) -> None:
    refusal = {"Code": "QuotaExceeded.TTL", "Message": text, "RequestId": "A-1"}
    replies = iter(
        [Reply(400, json.dumps(refusal).encode()), Reply(200, b'{"RequestId": "A", "RecordId": "7"}')]
    )
    with HttpServer(lambda _: next(replies)) as server:
        zone = zone_at(server)
        zone.add(replace(a_record(), ttl_s=60))
        assert [re.search(r"TTL=(\d+)", request.path)[1] for request in server.requests] == ["60", "600"]  # type: ignore[index]


# --- lists ----------------------------------------------------------------------------------------------


@pytest.mark.row(34, 93)
def test_all_pages_are_read(emulator: AlidnsEmulator, zone: AlidnsZone) -> None:
    for number in range(241):
        emulator.add("_acme-challenge.devbox", "TXT", str(number))
    found = zone.records(f"_acme-challenge.{NAME}")
    assert [record.value for record in found] == [str(number) for number in reversed(range(241))]
    assert len(emulator.calls) == 3


def row(**fields: object) -> dict[str, object]:
    whole = {"RR": "devbox", "Type": "A", "Value": "10.0.0.1", "TTL": 600, "Line": "default"}
    return whole | {"Status": "ENABLE", "RecordId": "1"} | fields


def listing(*rows: object, total: object = 1) -> bytes:
    return json.dumps(
        {"RequestId": "A-1", "TotalCount": total, "DomainRecords": {"Record": list(rows)}}
    ).encode()


# Others come in a whole conversation (faults/hostile).
HOSTILE_LISTS = {
    "a list of another kind": b'{"RequestId": "A-1", "TotalCount": 1, "DomainRecords": []}',
    "no total": b'{"RequestId": "A-1", "DomainRecords": {"Record": [{}]}}',
    "a row that is no object": listing("row"),
    "a row without its id": listing({"RR": "devbox", "Type": "A"}),
    "an id without end": listing(row(RecordId="1" * 1000)),
    "a TTL that is no number": listing(row(TTL="long")),
    "an IPv6 address that is none": listing(row(Type="AAAA", Value="10.0.0.1")),
    "a list without end": listing(row(), total=10**9),
}


@pytest.mark.row(31)
@pytest.mark.parametrize("body", HOSTILE_LISTS.values(), ids=HOSTILE_LISTS.keys())
def test_a_list_that_is_none_is_no_answer(body: bytes) -> None:
    with HttpServer(lambda _: Reply(200, body)) as server, pytest.raises(DnsUnavailable):
        zone_at(server).records(NAME)
    assert len(server.requests) <= 100


@pytest.mark.row(34)
def test_rows_of_other_names_in_the_answer_are_left_out() -> None:
    body = listing(row(RR="a.devbox"), row(RR="DevBox", RecordId="2"), row(RR="devboxes"), total=3)
    with HttpServer(lambda _: Reply(200, body)) as server:
        zone = zone_at(server)
        assert zone.records(NAME) == [Record(NAME, "A", "10.0.0.1", 600, "2")]


def test_a_new_record_without_its_id_is_no_answer() -> None:
    with (
        HttpServer(lambda _: Reply(200, b'{"RequestId": "A-1"}')) as server,
        pytest.raises(DnsUnavailable, match="AddDomainRecord: the reply lacks"),
    ):
        zone_at(server).add(a_record())


# --- finding the zone -----------------------------------------------------------------------------------


def test_the_zone_of_a_name_is_the_longest_that_the_account_has() -> None:
    with emulating([ZONE, f"lan.{ZONE}"]) as emulator:
        account = AlidnsAccount(ApiAccess(emulator.endpoint, Key(KEY_ID, SECRET)), FakeClock())
        assert account.find(f"registry.lan.{ZONE}") == f"lan.{ZONE}"
        assert account.find(NAME) == ZONE
        assert account.find(ZONE) == ZONE


def test_a_name_in_no_zone_of_the_account_is_told(emulator: AlidnsEmulator, account: AlidnsAccount) -> None:
    with pytest.raises(ZoneNotFound) as missing:
        account.find("devbox.example.com")
    assert "'devbox.example.com'" in missing.value.message
    assert "Alidns console" in missing.value.hint
    # Never the top-level domain alone.
    assert [call.parameters["DomainName"] for call in emulator.calls] == ["devbox.example.com", "example.com"]


@pytest.mark.parametrize(
    "code", ["InvalidAccessKeyId.Inactive", "Forbidden.DomainExpired", "Forbidden.AuthType"]
)
def test_a_refusal_that_is_not_about_the_zone_ends_the_search(
    emulator: AlidnsEmulator, account: AlidnsAccount, code: str
) -> None:
    emulator.fail("DescribeDomainRecords", Fault("error", code))
    with pytest.raises(DnsRefused, match=code):
        account.find(NAME)
    assert len(emulator.calls) == 1


@pytest.mark.parametrize(
    "code", ["Forbidden.RAM", "IncorrectDomainUser", "InvalidDomainName.Suffix", "NoPermission"]
)
def test_a_zone_of_somebody_else_or_that_the_account_may_not_read_is_not_the_one(
    emulator: AlidnsEmulator, account: AlidnsAccount, code: str
) -> None:
    emulator.fail("DescribeDomainRecords", Fault("error", code))
    assert account.find(NAME) == ZONE


def test_a_search_in_vain_names_the_zones_that_the_key_may_not_read(
    emulator: AlidnsEmulator, account: AlidnsAccount
) -> None:
    """One of them may be the zone: the service does not tell."""
    emulator.fail("DescribeDomainRecords", Fault("error", "Forbidden.RAM"), times=2)
    with pytest.raises(ZoneNotFound) as missing:
        account.find(NAME)
    assert missing.value.message.endswith(f"; DescribeDomainRecords is forbidden for {NAME}, {ZONE}")
    assert "docs/ram-policy.md" in missing.value.hint


def test_opening_a_zone_makes_no_call(emulator: AlidnsEmulator, account: AlidnsAccount) -> None:
    assert account.open(ZONE).name == ZONE
    assert emulator.calls == []


# --- transport ------------------------------------------------------------------------------------------


def a_request_error(kind: type[requests.RequestException]) -> requests.RequestException:
    url = f"https://alidns.aliyuncs.com/?AccessKeyId={KEY_ID}&Signature=abc&SignatureNonce=1&Timestamp=2"
    if issubclass(kind, requests.exceptions.JSONDecodeError):
        return kind(url, "doc", 0)
    return kind(url)


REQUEST_ERRORS = [
    kind
    for _, kind in inspect.getmembers(requests.exceptions, inspect.isclass)
    if issubclass(kind, requests.RequestException)
]


@pytest.mark.parametrize(
    "kind", [*REQUEST_ERRORS, OSError, TimeoutError, ConnectionResetError, LocationParseError]
)
def test_every_error_of_the_transport_is_mapped_without_the_signed_url(kind: type[Exception]) -> None:
    with (
        pytest.raises(DnsUnavailable) as unavailable,
        transport_errors("AddDomainRecord", ApiAccess("https://alidns.aliyuncs.com", Key(KEY_ID, SECRET))),
    ):
        raise a_request_error(kind) if issubclass(kind, requests.RequestException) else kind("text")
    assert "AddDomainRecord at https://alidns.aliyuncs.com" in unavailable.value.message
    assert unavailable.value.hint
    assert_tells_no_secret(unavailable.value)


@pytest.mark.parametrize("host", ["a..example.com", f"{'a' * 64}.example.com"])
def test_a_host_whose_name_is_none_is_told(host: str) -> None:
    """The library raises none of its own errors then."""
    account = AlidnsAccount(ApiAccess(f"https://{host}", Key(KEY_ID, SECRET)), FakeClock(least_sleep_s=100))
    with pytest.raises(DnsUnavailable, match=r"no connection \(LocationParseError\); check the network"):
        account.open(ZONE).records(NAME)


def test_there_are_errors_of_the_transport_to_map() -> None:
    assert len(REQUEST_ERRORS) > 15


def test_an_error_that_is_none_of_the_transport_goes_through() -> None:
    with (
        pytest.raises(ZeroDivisionError),
        transport_errors("Any", ApiAccess("http://localhost", Key("", ""))),
    ):
        raise ZeroDivisionError


def test_a_proxy_that_gives_no_connection_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that is away, one that takes no tunnels, and one of a kind that needs another library."""
    with HttpServer(lambda _: None) as server:
        for proxy in ("http://127.0.0.1:1", server.url, "socks5h://127.0.0.1:1"):
            monkeypatch.setenv("HTTPS_PROXY", proxy.replace("://", "://somebody:a-password@"))
            access = ApiAccess("https://alidns.aliyuncs.com", Key(KEY_ID, SECRET))
            with pytest.raises(DnsUnavailable, match="the proxy gave no connection") as unavailable:
                AlidnsAccount(access, FakeClock(least_sleep_s=100)).find(NAME)
            assert "HTTPS_PROXY" in unavailable.value.hint
            assert "NO_PROXY" in unavailable.value.hint
            assert "a-password" not in str(unavailable.value)
            assert_tells_no_secret(unavailable.value)


def test_a_private_root_is_trusted_where_it_is_given_whatever_the_environment_says(
    https: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    endpoint, root = https
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "another.pem"))
    account = AlidnsAccount(ApiAccess(endpoint, Key(KEY_ID, SECRET), ca_bundle=str(root)), FakeClock())
    assert account.find(NAME) == ZONE


def test_a_certificate_that_is_not_trusted_is_told(https: tuple[str, Path]) -> None:
    account = AlidnsAccount(ApiAccess(https[0], Key(KEY_ID, SECRET)), FakeClock(least_sleep_s=100))
    with pytest.raises(DnsUnavailable, match="certificate is not trusted") as untrusted:
        account.find(NAME)
    assert "aliyun.ca_bundle" in untrusted.value.hint
    assert "this machine's clock" in untrusted.value.hint
    assert_tells_no_secret(untrusted.value)


def test_a_missing_root_file_is_told(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    access = ApiAccess("https://127.0.0.1:1", Key(KEY_ID, SECRET), ca_bundle=missing)
    with pytest.raises(DnsError):
        AlidnsAccount(access, FakeClock(least_sleep_s=100)).find(NAME)


CALLS: dict[str, Callable[[AlidnsZone], object]] = {
    "records": lambda zone: zone.records(NAME),
    "add": lambda zone: zone.add(a_record()),
    "update": lambda zone: zone.update(a_record(record_id="1")),
    "delete": lambda zone: zone.delete("1"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_no_call_logs_a_secret(
    emulator: AlidnsEmulator,
    zone: AlidnsZone,
    caplog: pytest.LogCaptureFixture,
    call: Callable[[AlidnsZone], object],
) -> None:
    for action in ("DescribeSubDomainRecords", "AddDomainRecord", "UpdateDomainRecord", "DeleteDomainRecord"):
        emulator.fail(action, Fault("drop"))
        emulator.fail(action, Fault("error", "SignatureDoesNotMatch"))
    with caplog.at_level(logging.DEBUG, "certbotless"), pytest.raises(DnsRefused):
        call(zone)
    own = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("certbotless"))
    assert "api.retry" in own
    for withheld in (KEY_ID, SECRET, "Signature="):
        assert withheld not in own
