"""The keys of an ECS instance's role: by the stand-in at the service's own address, as each mode of it."""

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import requests
from support.alidns import KEY_ID, SECRET, ZONE
from support.fakes import FakeClock, HttpServer, Reply, Request

from certbotless.base.clock import SystemClock
from certbotless.base.errors import CertbotlessError, DnsUnavailable, KeyRefused
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.metadata import MetadataService
from certbotless.world.credentials import metadata
from certbotless.world.credentials.fetched import FetchedKey
from certbotless.world.credentials.metadata import key_from

pytestmark = pytest.mark.process

PATHS = ["/latest/api/token", "/latest/meta-data/ram/security-credentials/"]
GIVEN = {
    "Code": "Success",
    "AccessKeyId": "STS.NTplanted",
    "AccessKeySecret": "planted/of+the=secret",
    "SecurityToken": "CAISplanted",
    "Expiration": "2199-12-31T23:59:59Z",
}
# By our clock, and not by one of long ago.
ENDED = GIVEN | {"Expiration": "2020-01-02T03:04:05Z"}


@pytest.fixture(scope="module")
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=SECRET) as dns:
        yield dns


@pytest.fixture(scope="module")
def proxy() -> Iterator[HttpServer]:
    with HttpServer(lambda request: Reply(200, b"{}")) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def unused(proxy: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """In each test the environment has a proxy, and nothing is asked through it."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, proxy.url)
    yield
    assert proxy.requests == []


@pytest.fixture
def service(dns: AlidnsEmulator) -> Iterator[MetadataService]:
    with MetadataService(dns.sts, "certbotless") as service:
        yield service


def fault_of(role: str = "", kind: type[CertbotlessError] | None = None) -> str:
    """Return what is said where no key comes; within 6 s, however the service behaves."""
    began = time.monotonic()
    with pytest.raises(kind or DnsUnavailable) as caught:
        key_from(role, SystemClock())
    assert time.monotonic() - began < 6
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- what it gives ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["", "certbotless"])
def test_a_key_comes_by_three_requests_or_two_each_but_the_first_with_a_token(
    service: MetadataService, dns: AlidnsEmulator, role: str
) -> None:
    key = key_from(role, SystemClock())
    [given] = dns.sts.issued[-1:]
    assert (key.id, key.secret, key.token) == (given.id, given.secret, given.token)
    assert key.ends_at is not None
    assert abs(key.ends_at - given.ends_at) < timedelta(seconds=3)
    named = [f"{PATHS[1]}certbotless"]
    assert [asked.path for asked in service.asked] == [PATHS[0], *([] if role else PATHS[1:]), *named]
    assert [asked.token for asked in service.asked] == [False, *[True] * (len(service.asked) - 1)]


@pytest.mark.row(116)
def test_the_proxy_of_the_environment_would_be_used(proxy: HttpServer) -> None:
    """By a session of another kind, so that its silence in the other tests means something."""
    requests.get(f"http://{metadata.HOST}/", timeout=10)
    assert [request.path for request in proxy.requests] == [f"http://{metadata.HOST}/"]
    proxy.requests.clear()


def test_a_service_that_also_answers_without_a_token_is_asked_with_one(service: MetadataService) -> None:
    service.needs_token = False
    key_from("", SystemClock())
    assert [asked.token for asked in service.asked] == [False, True, True]


def test_the_clock_of_the_service_counts_where_ours_is_wrong(service: MetadataService) -> None:
    """By as much as the API would still take; a key of 10 minutes has 10 minutes by our clock too."""
    service.lives_s = 600
    for by in (timedelta(minutes=14), -timedelta(minutes=14)):
        clock = FakeClock(SystemClock().now() + by)
        ends_at = key_from("", clock).ends_at
        assert ends_at is not None
        assert timedelta(seconds=590) < ends_at - clock.now() <= timedelta(seconds=602)


def test_an_answer_that_is_none_is_asked_for_again(service: MetadataService) -> None:
    service.fault = "server"
    clock = FakeClock(SystemClock().now())
    clock.on_sleep = lambda: setattr(service, "fault", "" if len(clock.sleeps) > 2 else "server")
    assert key_from("", clock).id.startswith("STS.")


# --- what it does not give ----------------------------------------------------------------------------------


def version_1_only(service: MetadataService) -> None:
    service.has_tokens = False


def disabled(service: MetadataService) -> None:
    service.is_enabled = False


def without_a_role(service: MetadataService) -> None:
    service.roles = []


def of_two_roles(service: MetadataService) -> None:
    service.roles.append("another")


@pytest.mark.row(116)
@pytest.mark.parametrize(
    ("make", "role", "told"),
    [
        (version_1_only, "", "gives no token (HTTP 405): it does not know the hardened mode"),
        (disabled, "", "the metadata service refuses (HTTP 403); see whether it is disabled (HttpEndpoint)"),
        (without_a_role, "", "the instance has no RAM role; attach a RAM role"),
        (without_a_role, "certbotless", "the instance has no RAM role certbotless; attach a RAM role"),
        (lambda service: None, "other", "the instance has no RAM role other; attach a RAM role"),
        (of_two_roles, "", "the instance has several RAM roles: certbotless, another; write which"),
    ],
)
def test_what_a_person_must_change_is_told_in_one_line(
    service: MetadataService, make: Callable[[MetadataService], None], role: str, told: str
) -> None:
    make(service)
    assert told in fault_of(role, KeyRefused)
    assert {asked.path for asked in service.asked if not asked.token} == {PATHS[0]}


@pytest.mark.row(116)
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("half", "its answer is not a JSON object"),
        ("page", "its answer is not a JSON object"),
        ("code", "its Code is 'Failed'"),
        ("redirect", "it redirects to 'http://100.100.100.200/elsewhere'"),
        ("large", "its answer is longer than 65536 bytes"),
        ("server", "HTTP 500"),
    ],
)
def test_an_answer_that_is_none_is_told_within_the_time(
    service: MetadataService, fault: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "TOTAL_S", 1)
    service.fault = fault  # type: ignore[assignment]
    assert f"answers, but not as that of Aliyun: {told}; see what answers" in fault_of()
    assert len([asked for asked in service.asked if asked.path == PATHS[0]]) > 0
    assert {asked.path for asked in service.asked if not asked.token} == {PATHS[0]}


@pytest.mark.row(116)
def test_a_slow_one_is_waited_for_so_long_in_all(
    service: MetadataService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "TOTAL_S", 1.5)
    service.delay_s = 0.1
    assert key_from("", SystemClock()).token
    service.delay_s = 0.9
    assert "no whole answer in" in fault_of()


@pytest.mark.soak
@pytest.mark.parametrize(("delay_s", "is_taken"), [(1, True), (3, False), (10, False)])
def test_five_seconds_are_all_that_a_slow_one_gets(
    service: MetadataService, delay_s: float, is_taken: bool
) -> None:
    service.delay_s = delay_s
    if is_taken:
        assert key_from("", SystemClock()).token
    else:
        assert "no whole answer in" in fault_of()


@pytest.mark.row(116)
def test_a_machine_without_the_service_is_told(dns: AlidnsEmulator) -> None:
    told = fault_of()
    assert told.startswith("this machine has no metadata service (100.100.100.200: ")
    assert "set aliyun.access_key_id" in told


def test_a_port_that_is_closed_is_told(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a firewall that lets only another user reach it."""
    monkeypatch.setattr(metadata, "HOST", "100.100.100.200:81")
    told = "this machine has no metadata service (100.100.100.200:81: Connection refused)"
    assert fault_of().startswith(told)


@pytest.mark.parametrize(("lives_s", "is_taken"), [(20, True), (-5, False)])
def test_a_key_that_has_ended_is_none_and_one_that_ends_soon_is(
    service: MetadataService, lives_s: float, is_taken: bool
) -> None:
    service.lives_s = lives_s
    if is_taken:
        assert key_from("", SystemClock()).token
    else:
        assert "gives a key that ended at" in fault_of()


# --- in the middle of a run ---------------------------------------------------------------------------------


@pytest.mark.row(114)
def test_a_role_that_is_taken_away_leaves_its_key_until_the_end_of_that(service: MetadataService) -> None:
    """Then it is told as a role that is not there. One that is attached again gives keys at once."""
    service.lives_s = 600
    clock = FakeClock(SystemClock().now())
    kept = FetchedKey(lambda: key_from("", clock), clock, "", lambda key: None)
    first = kept.key()
    service.roles = []
    clock.advance(9 * 60)
    assert kept.key() is first
    clock.advance(2 * 60)
    with pytest.raises(KeyRefused, match="the instance has no RAM role; attach a RAM role"):
        kept.key()
    service.roles = ["certbotless"]
    service.forget()
    clock.advance(15)
    assert kept.key().id != first.id


# --- what lies ----------------------------------------------------------------------------------------------

LIES: dict[str, dict[str, Any]] = {
    "a token with the end of a line": {"token": b"abc\r\nX-Evil: 1"},
    "a token of nothing": {"token": b""},
    "an endless token": {"token": b"a" * 5000},
    "a role that leads elsewhere": {"role": b"../../../user-data"},
    "a list without a role": {"role": b"\n"},
    "a role with the end of a line": {"role": b"a\r\nHost: evil"},
    "many roles": {"role": b"\n".join(b"role-%d" % number for number in range(5000))},
    "deep lists": {"key": b"[" * 60_000},
    "an endless number": {"key": b"9" * 60_000},
    "a list": {"key": b"[]"},
    "no text": {"key": b"\xff\xfe\x00{"},
    "control characters": {"key": json.dumps({"Code": "\x1b[2J\r\nERROR forged\u202e"}).encode()},
    "parts that are no text": {"key": json.dumps(GIVEN | {"AccessKeyId": {"a": 1}}).encode()},
    "a header in a part": {"key": json.dumps(GIVEN | {"SecurityToken": "a\r\nX: 1"}).encode()},
    "no token of the key": {"key": json.dumps(GIVEN | {"SecurityToken": ""}).encode()},
    "an end that is no time": {
        "key": json.dumps(GIVEN | {"Expiration": "9999-12-31T23:59:59-23:59"}).encode()
    },
    "an end that is a number": {"key": json.dumps(GIVEN | {"Expiration": 1e308}).encode()},
    "a date of long ago": {"date": "Mon, 01 Jan 0001 00:00:00 GMT", "key": json.dumps(ENDED).encode()},
    "a date to come": {"date": "Fri, 31 Dec 9999 23:59:59 GMT"},
    "a date that is none": {"date": "Fri, 99 Foo 99999 99:99:99 +99999999999999", "key": b"{}"},
}


@pytest.mark.row(116)
@pytest.mark.parametrize("lie", LIES)
def test_what_lies_is_told_in_one_line(lie: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but our requests reaches it, and nothing of it reaches a terminal."""
    honest = {"token": b"t", "role": b"certbotless", "key": json.dumps(GIVEN).encode(), "date": ""}
    said = honest | LIES[lie]

    def answer(request: Request) -> Reply:
        part = "token" if request.method == "PUT" else "role" if request.path.endswith("/") else "key"
        return Reply(200, said[part], {"Date": said["date"]})

    monkeypatch.setattr(metadata, "TOTAL_S", 0.5)
    with HttpServer(answer) as liar:
        monkeypatch.setattr(metadata, "HOST", liar.url.removeprefix("http://"))
        if lie == "a date of long ago":
            assert key_from("", SystemClock()).id == GIVEN["AccessKeyId"]
            return
        told = fault_of(kind=CertbotlessError)
        assert told.startswith("the instance has no RAM role;") == (lie == "a list without a role")
        assert {request.path for request in liar.requests} <= {*PATHS, f"{PATHS[1]}certbotless"}
    assert told.isprintable()
    assert len(told) < 600
    assert GIVEN["AccessKeySecret"] not in told
