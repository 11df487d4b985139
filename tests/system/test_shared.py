"""Sites that share a wildcard certificate: one order, no name of a host in it, and each serves it."""

import pytest
from support.bed import DOMAIN, ZONE, Bed

WILDCARD, OTHER = f"*.{ZONE}", f"git.{ZONE}"


@pytest.fixture
def shared(bed: Bed) -> Bed:
    """A bed with two sites that share a certificate; one of them is on another machine."""
    (site,) = bed.config["sites"]
    other = {"domain": OTHER, "certificate": WILDCARD, "address": "10.79.40.9"}
    bed.config["sites"] = [site | {"certificate": WILDCARD}, other]
    return bed


def test_one_order_serves_all_sites_and_shows_none_of_their_names(shared: Bed) -> None:
    plan = shared.run("plan").stdout
    assert f"{WILDCARD}: would request a certificate" in plan
    assert f"{DOMAIN}: would add the A record" in plan
    assert f"would use the certificate that it shares ({WILDCARD} is not issued yet)" in plan
    shared.ok("--once")
    status = shared.status()
    (unit,) = status["certificates"]
    assert (unit["name"], unit["state"], unit["names"]) == (WILDCARD, "ok", [WILDCARD])
    assert unit["used_by"] == [DOMAIN, OTHER]
    for site in status["sites"]:
        assert site["state"] == "ok"
        assert site["certificate"]["shared"] == WILDCARD
        assert (shared.certs / f"{site['domain']}.pem").exists()
    assert {site["certificate"]["sha256"] for site in status["sites"]} == {unit["sha256"]}
    assert status["sites"][0]["deploy"][0]["served_sha256"] == unit["sha256"]
    asked = {call.parameters.get("RR") for call in shared.dns.calls if call.parameters.get("Type") == "TXT"}
    assert asked == {"_acme-challenge"}
    assert "of " + WILDCARD in shared.run("status").stdout


def test_a_renewal_of_one_is_that_of_all_and_a_second_run_does_nothing(shared: Bed) -> None:
    shared.ok("--once")
    (before,) = shared.status()["certificates"]
    calls = len(shared.dns.calls)
    shared.ok("--once")
    assert len(shared.dns.calls) == calls
    told = shared.ok("--renew-now", OTHER)
    assert [line.partition(":")[0] for line in told.splitlines()] == [WILDCARD, DOMAIN, OTHER]
    status = shared.status()
    (after,) = status["certificates"]
    assert after["sha256"] != before["sha256"]
    assert {site["certificate"]["sha256"] for site in status["sites"]} == {after["sha256"]}


def test_a_site_that_joins_orders_nothing_and_one_that_leaves_its_own(shared: Bed) -> None:
    shared.ok("--once")
    shared.config["sites"].append({"domain": f"nas.{ZONE}", "certificate": WILDCARD, "address": "10.79.40.8"})
    calls = len(shared.dns.calls)
    shared.ok("--once")
    assert "TXT" not in {call.parameters.get("Type") for call in shared.dns.calls[calls:]}
    del shared.config["sites"][1]["certificate"]
    shared.ok("--once")
    _, left, joined = shared.status()["sites"]
    assert left["certificate"]["names"] == [OTHER]
    assert joined["certificate"]["names"] == [WILDCARD]
