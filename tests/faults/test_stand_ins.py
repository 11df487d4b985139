"""The first CA of a list fails, in every way; the second one gives the certificate, and gives it back."""

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dns.message
import dns.rcode
import pytest
import trustme
from support import strace
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed
from support.fault_proxy import (
    Exchange,
    Fault,
    FaultProxy,
    answer,
    body_rewritten,
    down,
    json_with,
    problem,
)
from support.ground import Ground
from support.invariants import is_pair, plant_foreign
from support.kills import evenly, litter, txt_of_ours, watched
from support.resolvers import DnsServer
from support.scripted_ca import PROBLEM
from support.two_cas import EAB_KEY, EAB_KID, TwoCas

from certbotless.base import saved
from certbotless.model.certificate import Origin
from certbotless.model.decision import Intent
from certbotless.model.ledger import Entry
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from certbotless.world.acme import keys

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ALWAYS = 10**6


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoCas]:
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "ca", "api", "other")]
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns:
        plant_foreign(dns)
        keys = {EAB_KID: EAB_KEY}
        with (
            Pebble(folders[0], dns.nameservers[0], retry_after_s=0) as ca,
            FaultProxy(ca.directory_url, folders[1], ca.ca_bundle) as ca_proxy,
            FaultProxy(dns.endpoint, folders[2]) as api_proxy,
            Pebble(folders[3], dns.nameservers[0], retry_after_s=0, eab_keys=keys) as other,
        ):
            yield TwoCas(ca, ca_proxy, dns, api_proxy, other)


@pytest.fixture
def cas(both: TwoCas) -> Iterator[TwoCas]:
    """Both CAs without a fault, at the present time."""
    both.restart_clock()
    both.forget()
    yield both
    both.assert_zone_is_as_left()


@contextmanager
def asked_through(cas: TwoCas, ca: Pebble, folder: Path) -> Iterator[FaultProxy]:
    """Let another CA be the first one."""
    before = cas.ca_proxy
    folder.mkdir()
    with FaultProxy(ca.directory_url, folder, ca.ca_bundle) as proxy:
        cas.ca_proxy = proxy
        try:
            yield proxy
        finally:
            cas.ca_proxy = before


def after_it(fault: Fault) -> Fault:
    """Have the request carried out and answered; then the fault comes, for all later ones."""

    def both(exchange: Exchange) -> None:
        exchange.send(exchange.forward())
        fault(exchange)

    return both


FAULTS = {
    "refuses connections": ("GET", "/dir", down()),
    "503": ("GET", "/dir", answer(503, b"overloaded")),
    "HTML": ("GET", "/dir", answer(200, b"<html>It works!</html>", {"Content-Type": "text/html"})),
    "429 with seven hours": ("POST", "/order-plz", problem("rateLimited", 429, {"Retry-After": "25200"})),
    "hangs": ("GET", "/dir", None),
    "hangs at the order": ("POST", "/order-plz", None),
    "cannot issue": (
        "POST",
        "/finalize-order/",
        json_with(status="invalid", error={"type": f"{PROBLEM}serverInternal", "detail": "no log of ours"}),
    ),
    "dies after newOrder": ("POST", "/order-plz", after_it(Exchange.go_down)),
    "dies after finalize": ("POST", "/finalize-order/", after_it(Exchange.go_down)),
}


@pytest.mark.row(108)
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize(("method", "path", "fault"), FAULTS.values(), ids=FAULTS.keys())
def test_a_first_certificate_comes_from_the_second_ca_within_three_minutes(
    cas: TwoCas, tmp_path: Path, method: str, path: str, fault: Fault | None, times: int
) -> None:
    longest = timedelta()
    for _ in range(times):
        cas.restart_clock()
        cas.ca_proxy.forget()
        cas.ca_proxy.at(method, path, fault or cas.silent(), times=ALWAYS)
        before = cas.other.orders_made()
        try:
            longest = max(longest, cas.until_ok(tmp_path, 3 * MINUTE))
        finally:
            if cas.ca_proxy.is_down:
                cas.ca_proxy.come_back()
        assert cas.issuer(tmp_path) == cas.names[1]
        assert cas.other.orders_made() - before == 1
        assert cas.orders(tmp_path)[cas.names[1]] == 1
        assert SiteFile(tmp_path / "state", DOMAIN).load().in_flight == ()
        shutil.rmtree(tmp_path / "state")
        shutil.rmtree(tmp_path / "certs")
    print(f"\n{times} of {times}, after {longest.total_seconds():.0f} s at most")


@pytest.mark.row(108)
def test_a_try_at_a_ca_that_says_nothing_ends_within_40_s(cas: TwoCas, tmp_path: Path) -> None:
    cas.ca_proxy.at("GET", "/dir", cas.silent(), times=ALWAYS)
    began = cas.clock.now()
    outcome = cas.run(tmp_path)
    assert outcome.failure is not None
    # By its own bound: the proxy hangs up later.
    assert "no whole answer in 30 s" in outcome.failure.what
    assert cas.clock.now() - began <= timedelta(seconds=40)


@pytest.mark.row(108)
@pytest.mark.parametrize(
    ("paths", "status"),
    [(("/authZ/", "/my-order/"), "pending"), (("/my-order/", "/finalize-order/"), "processing")],
    ids=["validates", "issues"],
)
def test_a_ca_that_never_gets_done_is_left_for_the_second(
    cas: TwoCas, tmp_path: Path, paths: tuple[str, ...], status: str
) -> None:
    """Two tries of at most 20 minutes each."""
    for path in paths:
        cas.ca_proxy.at("POST", path, json_with(status=status), times=ALWAYS)
    took = cas.until_ok(tmp_path, 45 * MINUTE)
    print(f"\nafter {took.total_seconds() / 60:.0f} min")
    assert cas.issuer(tmp_path) == cas.names[1]
    assert cas.orders(tmp_path) == dict.fromkeys(cas.names, 1)
    assert SiteFile(tmp_path / "state", DOMAIN).load().in_flight == ()


class Unbound(TwoCas):
    """The secret that binds an account at the first CA is not where the file says."""

    @property
    def acme(self) -> list[dict[str, Any]]:
        first, other = super().acme
        return [first | {"eab": {"kid": "kid", "hmac_key": "file:/nowhere"}}, other]


@pytest.mark.row(108)
def test_a_ca_whose_binding_cannot_be_read_is_passed_over_while_it_has_no_account(
    cas: TwoCas, tmp_path: Path
) -> None:
    unbound = Unbound(cas.ca, cas.ca_proxy, cas.dns, cas.api_proxy, cas.other)
    unbound.restart_clock()
    assert unbound.run(tmp_path).state == "ok"
    assert unbound.issuer(tmp_path) == cas.names[1]
    assert cas.ca_proxy.asked == []
    trouble = SiteFile(tmp_path / "state", DOMAIN).load().troubles[cas.names[0]]
    assert "/nowhere" in trouble.what


@pytest.mark.row(108)
@pytest.mark.parametrize("back", [0, 1], ids=["the first", "the second"])
def test_of_two_cas_that_are_down_the_one_that_is_back_is_used(
    cas: TwoCas, tmp_path: Path, back: int
) -> None:
    """By the schedule of the site, which runs for each CA."""
    cas.ca_proxy.at("GET", "/dir", answer(503, b"overloaded"), times=ALWAYS)
    cas.other.stop()
    try:
        for _ in range(2):
            outcome = cas.run(tmp_path)
            assert outcome.state == "failing"
            cas.wait(outcome)
        assert outcome.failure is not None
        what = outcome.failure.what
        assert what.startswith(f"no CA of the list gave a certificate: {cas.names[0]}: ")
        assert f"; {cas.names[1]}: no connection" in what
        if back == 0:
            cas.ca_proxy.forget()
        else:
            cas.other.start()
        cas.until_ok(tmp_path, 15 * MINUTE)
    finally:
        if back == 0:
            cas.other.start()
    assert cas.issuer(tmp_path) == cas.names[back]
    assert [*cas.orders(tmp_path).values()] == [1 - back, back]


@pytest.mark.row(109)
def test_a_wrong_txt_value_is_wrong_at_every_ca(cas: TwoCas, tmp_path: Path) -> None:
    """The CA sees another value than we do; the second one is not asked."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as elsewhere:
        elsewhere.add("_acme-challenge.devbox", "TXT", "w" * 43)
        with (
            Pebble(folder, elsewhere.nameservers[0], retry_after_s=0) as ca,
            asked_through(cas, ca, tmp_path / "proxy"),
        ):
            for _ in range(4):
                cas.wait(cas.run(tmp_path))
            assert cas.orders(tmp_path) == {cas.names[0]: 3, cas.names[1]: 0}


def resolver_of(rcode: dns.rcode.Rcode) -> DnsServer:
    """A resolver that has no value for anybody."""

    def answered(query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(rcode)
        return reply

    return DnsServer(answered)


@pytest.mark.row(109)
@pytest.mark.parametrize(
    ("rcode", "is_fault_of_ca"),
    [(dns.rcode.SERVFAIL, True), (dns.rcode.NXDOMAIN, False)],
    ids=["SERVFAIL", "NXDOMAIN"],
)
def test_a_resolver_that_only_the_first_ca_has_is_its_own_fault(
    cas: TwoCas, tmp_path: Path, rcode: dns.rcode.Rcode, is_fault_of_ca: bool
) -> None:
    """It gets no answer where every name server has shown us the value; "no such name" is an answer."""
    folder = tmp_path / "blind"
    folder.mkdir()

    def as_boulder_says(body: bytes) -> bytes:
        # Pebble calls it unauthorized, in the words of Go's resolver.
        told = json.loads(body)
        for each in told["challenges"]:
            if "error" in each:
                detail = f"DNS problem: {rcode.name} looking up TXT for _acme-challenge.{DOMAIN}"
                each["error"] |= {"type": "urn:ietf:params:acme:error:dns", "detail": detail}
        return json.dumps(told).encode()

    with (
        resolver_of(rcode) as resolver,
        Pebble(folder, resolver.place, retry_after_s=0) as ca,
        asked_through(cas, ca, tmp_path / "proxy") as proxy,
    ):
        proxy.at("POST", "/authZ/", body_rewritten(as_boulder_says), times=ALWAYS)
        if is_fault_of_ca:
            cas.until_ok(tmp_path, 15 * MINUTE)
            assert cas.issuer(tmp_path) == cas.other.directory_url
        else:
            for _ in range(4):
                cas.wait(cas.run(tmp_path))
        orders = cas.orders(tmp_path)
    print(f"\n{rcode.name}: orders {[*orders.values()]}")
    assert orders[cas.other.directory_url] == is_fault_of_ca
    assert sum(orders.values()) <= 3 + is_fault_of_ca


@pytest.mark.row(108)
def test_the_account_at_the_second_ca_is_there_before_it_is_needed(cas: TwoCas, tmp_path: Path) -> None:
    """Then the binding may be used up, as its secret is good for days only."""
    cas.until_ok(tmp_path, MINUTE)
    assert cas.issuer(tmp_path) == cas.names[0]
    accounts = [path.parent.name for path in (tmp_path / "state").glob("accounts/*/account.json")]
    assert len(accounts) == 2
    assert cas.orders(tmp_path) == {cas.names[0]: 1, cas.names[1]: 0}
    asked = len(cas.other.requests())
    assert cas.run(tmp_path).state == "ok"
    assert len(cas.other.requests()) == asked


def renew_now(cas: TwoCas, ca: str = "") -> Intent:
    return Intent(cas.clock.now(), ignore_backoff=True, ca=ca)


@pytest.mark.row(108)
def test_the_certificate_of_a_stand_in_is_kept_until_the_first_ca_issues_the_next(
    cas: TwoCas, tmp_path: Path
) -> None:
    cas.ca_proxy.at("GET", "/dir", answer(503, b"overloaded"), times=2)
    cas.until_ok(tmp_path, 3 * MINUTE)
    assert cas.issuer(tmp_path) == cas.names[1]
    state = SiteFile(tmp_path / "state", DOMAIN).load()
    assert (state.failures, state.in_flight, [*state.troubles]) == ({}, (), [cas.names[0]])
    assert state.troubles[cas.names[0]].faults == 0
    # The account at the first one is still to be made, a day after the last try.
    asked = len(cas.ca_proxy.asked), len(cas.other.requests())
    assert cas.run(tmp_path).state == "ok"
    assert (len(cas.ca_proxy.asked), len(cas.other.requests())) == asked
    cas.clock.advance(1)
    assert cas.run(tmp_path, intent=renew_now(cas)).is_renewed
    assert cas.issuer(tmp_path) == cas.names[0]
    assert SiteFile(tmp_path / "state", DOMAIN).load().troubles == {}


@pytest.mark.row(108)
def test_one_ca_of_the_list_can_be_tried_before_it_is_needed(cas: TwoCas, tmp_path: Path) -> None:
    cas.until_ok(tmp_path, MINUTE)
    orders, asked = cas.other.orders_made(), len(cas.ca_proxy.asked)
    rehearsed = cas.run(tmp_path, intent=replace(renew_now(cas, cas.names[1]), only_rehearse=True))
    assert rehearsed.is_renewed
    assert "it has no staging directory, so it issued no certificate" in rehearsed.reason
    assert cas.issuer(tmp_path) == cas.names[0]
    assert cas.run(tmp_path, intent=renew_now(cas, cas.names[1])).is_renewed
    assert cas.issuer(tmp_path) == cas.names[1]
    assert cas.other.orders_made() == orders + 2
    assert len(cas.ca_proxy.asked) == asked


def test_a_renewal_at_a_healthy_first_ca_asks_as_much_as_without_a_list(cas: TwoCas, tmp_path: Path) -> None:
    alone = Ground(cas.ca, cas.ca_proxy, cas.dns, cas.api_proxy)
    counts = []
    for ground in (alone, cas):
        home = tmp_path / type(ground).__name__
        ground.restart_clock()
        assert ground.run(home).state == "ok"
        # Else the CA may use an authorization again.
        shutil.rmtree(home / "state" / "accounts")
        ground.clock.advance(1)
        ground.run(home)
        cas.ca_proxy.forget()
        asked = len(cas.other.requests())
        assert ground.run(home, intent=Intent(ground.clock.now(), ignore_backoff=True)).is_renewed
        assert len(cas.other.requests()) == asked
        # In a list the account was made before. How often an order is polled depends on the CA.
        kinds = [each.path.split("/")[1] for each in cas.ca_proxy.asked]
        counts.append(Counter(kind for kind in kinds if kind not in ("sign-me-up", "authZ", "my-order")))
        print(f"\n{len(kinds)} requests of a renewal: {kinds}")
    assert counts[0] == counts[1]
    assert counts[0]["order-plz"] == 1


@pytest.mark.row(108)
def test_a_crash_loop_does_not_go_on_from_ca_to_ca(
    cas: TwoCas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run dies when it has its certificate; after three orders our own limit holds."""

    class Crash(BaseException):
        pass

    def crash(*_: object) -> None:
        raise Crash

    monkeypatch.setattr(keys, "checked_facts", crash)
    before = cas.other.orders_made()
    for _ in range(6):
        # What was in flight is lost with each crash.
        shutil.rmtree(tmp_path / "state" / "sites", ignore_errors=True)
        with suppress(Crash):
            cas.run(tmp_path)
    assert cas.orders(tmp_path) == {cas.names[0]: 3, cas.names[1]: 0}
    assert cas.other.orders_made() == before


@pytest.mark.row(108)
@pytest.mark.parametrize(
    ("left", "orders"), [(28 * DAY, 0), (10 * DAY, 1)], ids=["in mid-life", "in the last sixth"]
)
def test_where_our_own_limit_holds_at_the_first_ca_the_second_is_asked_at_the_end_of_a_life_alone(
    cas: TwoCas, tmp_path: Path, left: timedelta, orders: int
) -> None:
    """The certificate of 90 days is due; no more orders may be made at the first CA, which is up."""
    now, home = cas.clock.now(), tmp_path
    made = trustme.CA().issue_cert(DOMAIN, not_before=now + left - 90 * DAY, not_after=now + left)
    chain, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
    facts = keys.matching_facts(chain, keys.key_from_pem(key))
    origin = Origin(cas.names[0], "https://ca.test/account/1", "ec256", facts.not_before)
    note = SiteFile(home / "state", DOMAIN).note_generation
    Store(home / "certs", DOMAIN).publish(chain, key, facts, origin, now, note)
    rows = LedgerFile(home / "state")
    for hours in range(1, 6):
        rows.append(Entry(now - hours * HOUR, "order", cas.names[0], (DOMAIN,)))
    before = cas.other.orders_made()
    for _ in range(3):
        cas.run(home)
        cas.clock.advance(60)
    assert cas.orders(home) == {cas.names[0]: 5, cas.names[1]: orders}
    assert cas.other.orders_made() - before == orders
    assert cas.ca_proxy.count("POST", "/order-plz") == 0
    assert cas.issuer(home) == cas.names[orders]


@pytest.mark.row(110)
def test_no_state_on_disk_has_a_failure_at_a_ca_without_its_cause(
    cas: TwoCas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, the next run would wait for seven hours before it asks any CA."""
    limited = problem("rateLimited", 429, {"Retry-After": "25200"})
    cas.ca_proxy.at("POST", "/order-plz", limited, times=ALWAYS)
    write, written = saved.write, []

    def watched_write(path: Path, data: bytes) -> None:
        if path.name == f"{DOMAIN}.json":
            written.append(json.loads(data))
        write(path, data)

    monkeypatch.setattr(saved, "write", watched_write)
    assert cas.run(tmp_path).state == "ok"
    keys_of = [(f"order:{cas.names[0]}" in each["failures"], bool(each.get("troubles"))) for each in written]
    assert (True, True) in keys_of
    assert (True, False) not in keys_of


@pytest.mark.row(110)
@pytest.mark.parametrize(
    "path", ["/order-plz", pytest.param("/finalize-order/", marks=pytest.mark.soak)], ids=["at once", "late"]
)
@pytest.mark.parametrize("count", [2, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
def test_a_switch_that_is_killed_at_any_system_call_is_ended_by_the_next_run(
    bare: Bed, ca_proxy: FaultProxy, dns: AlidnsEmulator, tmp_path: Path, count: int | None, path: str
) -> None:
    """The first CA asks for seven hours, so one run asks both; its order in flight, if any, is dropped.

    It asks for them when the order is placed, or when it is to be finalized: then there is one at each CA.
    """
    folder = tmp_path / "other"
    folder.mkdir()
    limited = problem("rateLimited", 429, {"Retry-After": "25200"})
    with Pebble(folder, dns.nameservers[0], retry_after_s=0, eab_keys={EAB_KID: EAB_KEY}) as other:
        eab = {"kid": EAB_KID, "hmac_key": EAB_KEY}
        second = {"directory": other.directory_url, "ca_bundle": str(other.ca_bundle), "eab": eab}
        bare.config["acme"] = [bare.config["acme"], second]

        def start_anew() -> None:
            for each in (bare.state, bare.certs):
                shutil.rmtree(each, ignore_errors=True)
            bare.certs.mkdir()
            ca_proxy.forget()
            ca_proxy.at("POST", path, limited, times=ALWAYS)

        start_anew()
        bare.write()
        calls = watched(bare)
        killed = most_at_first = 0
        for call in evenly(calls, count):
            start_anew()
            before, before_at_first = other.orders_made(), bare.orders()
            run = strace.killed(bare.command("--once"), call)
            if run.code == 0:
                continue  # it polled less often than the watched one
            assert run.code == -signal.SIGKILL, run.said
            killed += 1
            placed = other.orders_made() - before
            state = bare.state_of()
            in_flight = [state.get("order"), *state.get("orders", {}).values()]
            is_known = any(each and each["directory"] == other.directory_url for each in in_flight)
            done = bare.run("--once")
            assert done.returncode == 0, f"killed at {call}\n{run.said}{done.stdout}{done.stderr}"
            placed_next = other.orders_made() - before - placed
            assert max(placed, placed_next) <= 1, call
            assert not (is_known and placed_next), call
            at_first = bare.orders() - before_at_first
            # One whose URL had not reached us yet cannot be gone on with.
            assert at_first <= (0 if path == "/order-plz" else 2), call
            most_at_first = max(most_at_first, at_first)
            assert (litter(bare), txt_of_ours(bare), is_pair(bare.certs)) == ([], [], True), call
            state = bare.state_of()
            assert (state["order"], state.get("orders", {})) == (None, {}), call
        print(f"\nkilled {killed} of {len(calls)} calls; orders per run max 1, at the first {most_at_first}")
        assert killed
