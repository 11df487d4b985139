"""What counts of what name servers show, and why nobody speaks for a zone. Real name servers, on port 53."""

import json
from collections.abc import Iterator

import pytest
from support.fakes import EPOCH, FakeClock
from support.resolvers import ScriptedResolver

from certbotless.base.errors import ZoneOnHold
from certbotless.config import load
from certbotless.model.memory import SiteState
from certbotless.model.situation import Goal
from certbotless.observe.record_answers import SeenAnswers, ask_servers
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.world.dns.nameservers import NameServers

pytestmark = pytest.mark.process

ZONE = "sweetlove.test"
NAME, ADDRESS = f"devbox.{ZONE}", "10.79.40.213"
TRUE_SERVER, SOMEBODY = "127.0.0.2", "127.0.0.53"


@pytest.fixture
def goal() -> Goal:
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "sites": [{"domain": NAME, "zone": ZONE, "address": ADDRESS}],
    }
    config = load.parse(json.dumps(fields).encode(), "test.json")
    return Goal(config.sites[0], config)


@pytest.fixture(autouse=True)
def service() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator(
        [ZONE],
        access_key_id="id",
        access_key_secret="secret",
        name_servers=1,
        dns_ports=[53],
        dns_addresses=[TRUE_SERVER],
    ) as service:
        service.add("devbox", "A", ADDRESS)
        yield service


def shown(goal: Goal, servers: dict[str, str], others: list[str] | None) -> SeenAnswers:
    """Ask about the site, whose zone has these servers; SOMEBODY answers other questions so."""

    def told(name: str, kind: str) -> list[str] | None:
        if kind == "NS":
            return [f"{server}." for server in servers] if servers else others
        return [servers[name]] if name in servers else others

    with ScriptedResolver(told):
        return ask_servers(NameServers([], FakeClock(), is_brief=True))(goal, SiteState(), EPOCH)


@pytest.mark.row(80)
def test_a_server_without_authority_counts_for_nothing_beside_one_that_has_it(goal: Goal) -> None:
    """A lame one, which does not have the zone: the site is right, whatever it says."""
    found = shown(goal, {"ns1.x": TRUE_SERVER, "ns2.x": SOMEBODY}, [])
    assert found == SeenAnswers(EPOCH, {(NAME, "A"): (frozenset({ADDRESS}), None)})


@pytest.mark.row(80)
def test_where_only_answers_without_authority_come_no_server_speaks_for_the_zone(goal: Goal) -> None:
    found = shown(goal, {"ns1.x": SOMEBODY}, [ADDRESS])
    assert found.answers == {(NAME, "A"): (None,)}
    assert found.unanswered == {NAME}
    assert "port 53 is intercepted: another server answers instead of ns1.x" in str(found.fault)
    assert "configure the router, provider or proxy to pass port 53" in str(found.fault)


@pytest.mark.row(89)
def test_a_proxy_that_makes_addresses_up_is_named(goal: Goal) -> None:
    fault = shown(goal, {"ns1.x": SOMEBODY}, ["198.18.0.9"]).fault
    assert "a proxy (Clash, mihomo, sing-box) answers with made-up addresses (fake-ip, 198.18.0.0/15)" in str(
        fault
    )
    assert f"add `+.{ZONE}` to the fake-ip-filter" in str(fault)


@pytest.mark.row(81)
def test_where_no_server_answers_the_fault_says_so(goal: Goal) -> None:
    fault = shown(goal, {"ns1.x": "127.0.0.77"}, []).fault
    assert "no authoritative name server answers (ConnectionRefusedError)" in str(fault)


@pytest.mark.row(97)
def test_a_zone_on_hold_is_reported_as_such(goal: Goal) -> None:
    found = shown(goal, {}, None)
    assert isinstance(found.fault, ZoneOnHold)
    assert found.unanswered == {NAME}
