"""The keys of an ECS instance's role: by the stand-in at the service's own address, as each mode of it."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from support.alidns import KEY_ID, SECRET, ZONE
from support.fakes import FakeClock, HttpServer, Reply

from certbotless.base.clock import SystemClock
from certbotless.base.errors import CertbotlessError, DnsUnavailable, KeyRefused
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.metadata import MetadataService
from certbotless.world.credentials import metadata
from certbotless.world.credentials.metadata import key_from

pytestmark = pytest.mark.process

PATHS = ["/latest/api/token", "/latest/meta-data/ram/security-credentials/"]


@pytest.fixture(scope="module")
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=SECRET) as dns:
        yield dns


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
def test_nothing_is_asked_through_a_proxy(service: MetadataService, monkeypatch: pytest.MonkeyPatch) -> None:
    with HttpServer(lambda request: Reply(200, b"{}")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setitem(os.environ, name, proxy.url)
        key_from("", SystemClock())
        assert proxy.requests == []


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
        ("half", "its Code is 'None'"),
        ("page", "its Code is 'None'"),
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
