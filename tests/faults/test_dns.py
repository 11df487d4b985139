"""Faults of DNS: late and lying servers, and what the CA says that it saw."""

import json
from collections.abc import Iterator

import dns.message
import dns.rcode
import pytest
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed
from support.fakes import Reply
from support.fault_proxy import Exchange, FaultProxy
from support.invariants import assert_invariants, plant_foreign
from support.lan_resolver import SERVERS, resolving
from support.scripted_ca import PROBLEM

from certbotless.sandbox.alidns import AlidnsEmulator

HOUR_S = 3600


@pytest.fixture(name="dns")
def service() -> Iterator[AlidnsEmulator]:
    """The DNS service, whose name servers are found as on the Internet: on port 53, by a resolver."""
    with AlidnsEmulator(
        [ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET, dns_ports=[53, 53], dns_addresses=SERVERS
    ) as service:
        plant_foreign(service)
        yield service


# A CA of its own, since the shared one asks elsewhere.
pytestmark = pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["hasty"])


def without_servers(bed: Bed) -> None:
    """Let the name servers be found, and no A record be in the way."""
    del bed.config["dns"]["nameservers"]
    bed.config["sites"] = [bed.site(address="none", deploy=[])]


def failures(bed: Bed) -> list[list[str]]:
    """Return the names of each failed validation that the ledger counts."""
    return [row["names"] for row in bed.rows("failure")]


@pytest.mark.row(39)
def test_no_challenge_is_answered_before_the_last_server_shows_its_value(bare: Bed) -> None:
    """The CA asks the one that is late: an early answer would be a failed validation."""
    bare.dns.set_delay(0, 2)
    bare.ok("--once")
    assert (bare.orders(), failures(bare)) == (1, [])
    assert_invariants(bare)


@pytest.mark.row(40)
def test_no_resolver_is_ever_asked_for_a_name_of_ours(bare: Bed) -> None:
    """It would remember that the name does not exist yet."""
    without_servers(bare)
    with resolving() as resolver:
        bare.ok("--once")
        assert resolver.names == {ZONE, "ns1.alidns.test", "ns2.alidns.test"}
    assert bare.orders() == 1
    assert_invariants(bare)


@pytest.mark.row(41)
def test_where_port_53_leads_to_somebody_else_the_challenge_is_answered_all_the_same(bare: Bed) -> None:
    """Who answers in the servers' place remembers the name without its value; the CA sees it."""
    without_servers(bare)
    bare.config["dns"]["propagation_timeout"] = "1s"
    with resolving("stale") as resolver:
        resolver.answer(dns.message.make_query(f"_acme-challenge.{DOMAIN}", "TXT"))
        done = bare.run("--once")
    assert done.returncode == 0, done.stdout
    assert "dns.all_silent servers=ns1.alidns.test(no_authority),ns2.alidns.test(no_authority)" in done.stderr
    assert f"challenge.unseen domain={DOMAIN}" in done.stderr
    assert (bare.orders(), failures(bare)) == (1, [])
    assert_invariants(bare)


@pytest.mark.row(41)
def test_a_value_that_somebody_else_shows_is_not_waited_for(bare: Bed) -> None:
    """It is ours: 43 characters that were made a moment ago."""
    without_servers(bare)
    with resolving("rebind") as resolver:
        done = bare.run("--once")
        assert f"_acme-challenge.{DOMAIN}" in resolver.names
    assert done.returncode == 0, done.stdout
    assert "dns.all_silent" not in done.stderr
    assert "challenge.unseen" not in done.stderr
    assert (bare.orders(), failures(bare)) == (1, [])
    assert_invariants(bare)


@pytest.mark.row(41)
def test_doctor_finds_the_name_servers_and_tells_once_who_takes_their_place(bare: Bed) -> None:
    without_servers(bare)
    with resolving():
        bare.ok("--once")
        checks = bare.checks()
        servers = {found["about"] for found in checks if found["check"] == "name server"}
        assert [found for found in checks if found["level"] == "fail"] == []
        assert servers == {f"ns{number}.alidns.test of {ZONE}" for number in (1, 2)}
    with resolving("stale"):
        checks = bare.checks()
    (told,) = [found for found in checks if found["level"] == "fail"]
    assert (told["check"], told["about"]) == ("name servers", ZONE)
    assert "another server answers instead of ns1.alidns.test, ns2.alidns.test" in told["text"]
    assert_invariants(bare)


@pytest.mark.row(42, 48)
def test_a_value_that_shows_here_and_not_where_the_ca_looks_is_told_with_a_hint(bare: Bed) -> None:
    """It counts as one failed validation, and the schedule keeps the next order back."""
    bare.dns.set_delay(0, HOUR_S)
    bare.config["dns"]["nameservers"] = [f"{SERVERS[1]}:53"]
    line = bare.refused("--once")
    assert f"the CA could not validate {DOMAIN}: " in line
    assert "the CA asks the zone's public name servers" in line
    assert failures(bare) == [[DOMAIN]]
    lines = {call.parameters.get("Line") for call in bare.dns.calls if call.action == "AddDomainRecord"}
    assert lines == {"default"}
    assert "could not validate" in bare.refused("--once")
    assert bare.orders() == 1
    assert_invariants(bare)


@pytest.mark.row(43)
def test_servers_that_fail_are_told_by_name_before_the_ca_is_asked(bare: Bed) -> None:
    """Each with what it says; the CA may be luckier, so it is asked all the same."""
    bare.config["dns"]["propagation_timeout"] = "1s"
    bare.config["sites"] = [bare.site(address="none", deploy=[])]
    for server in (0, 1):
        bare.dns.set_rcode(server, dns.rcode.SERVFAIL)
    done = bare.run("--once")
    assert done.returncode == 1
    places = ",".join(f"{server}:53(SERVFAIL)" for server in SERVERS)
    assert f"dns.all_silent servers={places}" in done.stderr
    assert failures(bare) == [[DOMAIN]]
    assert_invariants(bare)


# As Let's Encrypt says it; the CA of the tests gives no such kinds.
TOLD = {
    "caa": (f"CAA record for {DOMAIN} prevents issuance", "the zone's CAA records forbid this CA"),
    "dns": (
        f"DNS problem: SERVFAIL looking up TXT for _acme-challenge.{DOMAIN} - the domain's nameservers may be"
        " malfunctioning",
        "the CA's resolver got no answer: check the delegation of the zone, and its DNSSEC",
    ),
    "unauthorized": (
        f"Incorrect TXT record found at _acme-challenge.{DOMAIN}",
        "the CA asks the zone's public name servers",
    ),
}


@pytest.mark.row(43)
@pytest.mark.parametrize("kind", TOLD)
def test_what_the_ca_saw_is_told_by_its_kind_with_a_hint(bare: Bed, ca_proxy: FaultProxy, kind: str) -> None:
    detail, hint = TOLD[kind]

    def refuse(exchange: Exchange) -> None:
        true = exchange.forward()
        told = json.loads(true.body) | {"status": "invalid"}
        error = {"type": f"{PROBLEM}{kind}", "detail": detail}
        told["challenges"] = [{**c, "status": "invalid", "error": error} for c in told["challenges"]]
        exchange.send(Reply(true.status, json.dumps(told).encode(), true.headers))

    ca_proxy.at("POST", "/authZ/", refuse, nth=2)
    line = bare.refused("--once")
    assert f"could not validate {DOMAIN}: {kind}: {detail}; {hint}" in line
    assert failures(bare) == [[DOMAIN]]
    assert_invariants(bare)
