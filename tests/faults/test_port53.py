"""Port 53 is intercepted or blocked, and a site with an A record is kept all the same.

The program's own run in this process, before real stand-ins and real resolvers; only the waits cost no time.
"""

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed
from support.fakes import FakeClock
from support.invariants import assert_invariants, plant_foreign
from support.lan_resolver import (
    HERE,
    NOWHERE,
    PROVIDER,
    SERVERS,
    Resolver,
    Way,
    dnsmasq,
    named_in_resolv_conf,
    nobody_answers,
    resolving,
)

from certbotless.act.run import Outcome, run
from certbotless.config import load
from certbotless.model.decision import Intent
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.service import wiring
from certbotless.world.lan.address import address_now

OTHER_ADDRESS = "10.79.40.77"
MOST_FIRST_S, MOST_MOVE_S = 90, 60

# A CA of its own, since the shared one asks elsewhere.
pytestmark = pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["hasty"])


@pytest.fixture(name="dns")
def service() -> Iterator[AlidnsEmulator]:
    """The DNS service, whose name servers are found as on the Internet: on port 53, by a resolver."""
    with AlidnsEmulator(
        [ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET, dns_ports=[53, 53], dns_addresses=SERVERS
    ) as service:
        plant_foreign(service)
        yield service


@pytest.fixture(name="bare")
def with_found_servers(bare: Bed) -> Bed:
    del bare.config["dns"]["nameservers"]
    return bare


@contextmanager
def all_blocked() -> Iterator[None]:
    """Not even a resolver is reached."""
    with named_in_resolv_conf(NOWHERE), nobody_answers():
        yield


@contextmanager
def real_dnsmasq() -> Iterator[None]:
    """One that leaves out private addresses and takes port 53 over; it asks the provider's resolver."""
    hosts = [f"--host-record=ns{number}.alidns.test,{HERE}" for number in (1, 2)]
    with (
        Resolver("refuse_without_rd", PROVIDER),
        dnsmasq(HERE, PROVIDER, "--stop-dns-rebind", *hosts),
        named_in_resolv_conf(HERE),
    ):
        yield


def way(name: str) -> AbstractContextManager[object]:
    """Return the block in which port 53 is so."""
    if name == "all blocked":
        return all_blocked()
    if name == "dnsmasq":
        return real_dnsmasq()
    known: dict[str, Way] = {
        each: each for each in ("stale", "rebind", "redir_host", "fake_ip", "refuse_without_rd", "silent")
    }
    return resolving(known[name])


NAMES = ["stale", "rebind", "redir_host", "fake_ip", "refuse_without_rd", "silent", "all blocked", "dnsmasq"]
in_every_way = pytest.mark.parametrize("name", NAMES)


class SkippingClock(FakeClock):
    """The machine's clock, but that its sleepers skip their waits."""

    def __init__(self) -> None:
        super().__init__(datetime.now(UTC))
        self._began_s = time.monotonic()

    def monotonic(self) -> float:
        return super().monotonic() + time.monotonic() - self._began_s

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=time.monotonic() - self._began_s)


class Runs:
    """Runs of `--once` for the bed's site, whose waits cost no time."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self.clock = SkippingClock()
        self.took_s = 0.0

    def once(self) -> Outcome:
        """Run, and note how long it would have taken."""
        config = load.parse(json.dumps(self._bed.config).encode(), "test.json")
        began_s = self.clock.monotonic()
        [outcome] = run(config, config.sites, wiring.build(config, self.clock, address_now), Intent())
        self.took_s = self.clock.monotonic() - began_s
        return outcome


@pytest.mark.row(80, 81)
@in_every_way
def test_a_new_site_is_ok_after_one_run_and_follows_its_address(bare: Bed, name: str) -> None:
    runs = Runs(bare)
    with way(name):
        outcome = runs.once()
        assert (outcome.state, outcome.failure) == ("ok", None), outcome.failure
        assert runs.took_s <= MOST_FIRST_S
        assert bare.a_values() == [LAN_ADDRESS]
        assert bare.orders() == 1
        bare.config["sites"] = [bare.site(deploy=[], address=OTHER_ADDRESS)]
        runs.clock.advance(1200)
        calls = len(bare.dns.calls)
        assert runs.once().state == "ok"
        assert runs.took_s <= MOST_MOVE_S
        assert bare.a_values() == [OTHER_ADDRESS]
        actions = [call.action for call in bare.dns.calls[calls:]]
        assert actions == ["DescribeSubDomainRecords", "UpdateDomainRecord"]
    assert_invariants(bare)


@pytest.mark.row(80, 89)
def test_a_proxy_that_makes_addresses_up_is_named_with_its_setting(bare: Bed) -> None:
    """By status, by doctor for each who answers, and as a client; the record is known from the API."""
    said, cure = "a proxy (Clash, mihomo, sing-box) answers", f"add `+.{ZONE}` to the fake-ip-filter"
    runs = Runs(bare)
    with resolving("fake_ip"):
        assert runs.once().state == "ok"
        status = bare.ok("status", DOMAIN)
        words = " ".join(status.split())
        assert said in words
        assert cure in words
        assert "the record is known from the API, as of" in words
        address = bare.status()["sites"][0]["address"]
        assert (address["published"], address["source"]) == ([LAN_ADDRESS], "api")
        checks = bare.checks()
        told = {check["check"]: check for check in checks if said in check["text"]}
        assert "name servers" in told
        assert all(cure in check["cure"] for check in told.values())
        [record] = [check for check in checks if check["check"] == "A record"]
        assert (record["level"], record["text"].partition(";")[0]) == ("ok", f"the API lists {LAN_ADDRESS}")
    assert_invariants(bare)
