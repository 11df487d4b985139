"""Which servers are those of a zone: who names them, how many are asked, how long they are remembered."""

import subprocess
from collections import Counter

import pytest
from support.alidns import ZONE
from support.fakes import FakeClock
from support.resolvers import ScriptedResolver

from certbotless.base.errors import DnsUnavailable, ZoneOnHold
from certbotless.world.dns.nameservers import PUBLIC_RESOLVERS, NameServers
from certbotless.world.dns.query import Server


def test_servers_that_are_configured_are_those_of_every_zone() -> None:
    servers = NameServers(["127.0.0.1:5353", "[::1]:53", "localhost:8053"], FakeClock())
    assert not servers.need_zone
    assert servers.of(ZONE) == servers.of("other.test")
    first, second, third = servers.of(ZONE)
    assert first == Server("127.0.0.1:5353", "127.0.0.1", 5353, True)
    assert second == Server("[::1]:53", "::1", 53, True)
    # A server that listens on IPv4 alone may have a name that also leads to IPv6.
    assert third == Server("localhost:8053", "127.0.0.1", 8053, True)


@pytest.mark.parametrize("entry", ["[fe80::1%no-such-interface]:53", f"{'a' * 70}.test:53", "a..b:53"])
def test_a_configured_server_without_an_address_is_told(entry: str) -> None:
    with pytest.raises(DnsUnavailable, match=r"dns\.nameservers entry") as unknown:
        NameServers([entry], FakeClock()).of(ZONE)
    assert entry in unknown.value.message
    assert "address instead of a name" in unknown.value.hint


def of_two_servers(name: str, kind: str) -> list[str]:
    return ["NS2.x.", "ns1.x."] if kind == "NS" else [f"192.0.2.{name[2]}"]


TWO_SERVERS = (Server("ns1.x", "192.0.2.1"), Server("ns2.x", "192.0.2.2"))


def test_how_long_no_server_has_spoken_for_a_zone_is_known_until_one_does() -> None:
    clock = FakeClock()
    clock.advance(1000)
    servers = NameServers(["127.0.0.1:5353"], clock)
    assert servers.blind_s(ZONE) is None
    for _ in range(2):
        servers.note(ZONE, is_blind=True)
        clock.advance(20)
    assert servers.blind_s(ZONE) == 40
    servers.note(ZONE, is_blind=False)
    assert servers.blind_s(ZONE) is None


@pytest.mark.process
@pytest.mark.row(40)
def test_the_system_resolver_names_the_servers_and_is_asked_for_nothing_else() -> None:
    """What is no address in its file is passed over, as by libc."""
    resolv_conf = "nameserver\nnameserver localhost\nnameserver 127.0.0.53\n"
    servers = NameServers([], FakeClock())
    with ScriptedResolver(of_two_servers, resolv_conf=resolv_conf) as resolver:
        assert servers.need_zone
        assert servers.of(ZONE) == TWO_SERVERS
    assert sorted(resolver.asked) == ["ns1.x A", "ns2.x A", f"{ZONE} NS"]


@pytest.mark.process
@pytest.mark.parametrize("at", PUBLIC_RESOLVERS)
def test_a_public_resolver_names_the_servers_where_the_system_has_none(at: str) -> None:
    """Each on its own; at this machine's own address nobody answers."""
    subprocess.run(["ip", "address", "add", f"{at}/32", "dev", "lo"], check=True)
    try:
        with ScriptedResolver(of_two_servers, at=at, resolv_conf=""):
            assert NameServers([], FakeClock(), is_brief=True).of(ZONE) == TWO_SERVERS
    finally:
        subprocess.run(["ip", "address", "delete", f"{at}/32", "dev", "lo"], check=True)


@pytest.mark.process
def test_servers_inside_the_lan_count_only_where_no_resolver_names_others() -> None:
    """A company's own zone of the same name (split horizon) has no record of ours."""

    def inside(name: str, kind: str) -> list[str]:
        return ["dc1.x.", "dc2.x."] if kind == "NS" else [f"10.0.0.{name[2]}"]

    at = f"{PUBLIC_RESOLVERS[0]}/32"
    with ScriptedResolver(inside):
        found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
        assert found == (Server("dc1.x", "10.0.0.1"), Server("dc2.x", "10.0.0.2"))
        subprocess.run(["ip", "address", "add", at, "dev", "lo"], check=True)
        try:
            with ScriptedResolver(of_two_servers, at=PUBLIC_RESOLVERS[0]):
                assert NameServers([], FakeClock(), is_brief=True).of(ZONE) == TWO_SERVERS
        finally:
            subprocess.run(["ip", "address", "delete", at, "dev", "lo"], check=True)


@pytest.mark.process
@pytest.mark.row(97)
def test_a_zone_that_is_not_on_the_internet_is_told_with_the_usual_reason() -> None:
    """The resolver answers that there is no such name: no CA could validate it either."""
    with ScriptedResolver(lambda name, kind: None), pytest.raises(ZoneOnHold) as on_hold:
        NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert "no resolver names the authoritative servers" in on_hold.value.message
    assert "serverHold" in on_hold.value.hint
    assert "real name is not verified" in on_hold.value.hint


@pytest.mark.process
@pytest.mark.row(97)
def test_where_no_resolver_answers_the_hold_of_a_domain_is_named_beside_the_network() -> None:
    with ScriptedResolver(lambda name, kind: []), pytest.raises(DnsUnavailable) as unknown:
        NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert not isinstance(unknown.value, ZoneOnHold)
    assert f"no resolver names the authoritative servers of {ZONE!r}" in unknown.value.message
    assert "dns.nameservers" in unknown.value.hint
    assert "check the network" in unknown.value.hint
    assert "serverHold" in unknown.value.hint


@pytest.mark.process
def test_what_no_resolver_knows_is_asked_for_again_after_a_minute() -> None:
    """A run with several steps pays for it once."""
    clock = FakeClock()
    servers = NameServers([], clock, is_brief=True)
    with ScriptedResolver(lambda name, kind: []) as resolver:
        for wait_s, asked in ((0, 1), (60, 1), (1, 2)):
            clock.advance(wait_s)
            with pytest.raises(DnsUnavailable):
                servers.of(ZONE)
            assert len(resolver.asked) == asked


@pytest.mark.process
@pytest.mark.row(84)
def test_three_addresses_of_each_server_are_asked_by_turns_and_the_least_always() -> None:
    addresses = [f"106.11.141.{last}" for last in range(111, 119)]
    seen = set()
    with ScriptedResolver(lambda name, kind: ["ns1.x.", "ns2.x."] if kind == "NS" else addresses):
        for _ in range(40):
            found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
            assert [server.name for server in found] == ["ns1.x"] * 3 + ["ns2.x"] * 3
            for name in ("ns1.x", "ns2.x"):
                at = [server.address for server in found if server.name == name]
                assert len(set(at)) == 3
                assert at[0] == addresses[0]
            seen |= {server.address for server in found}
    assert seen == set(addresses)


@pytest.mark.process
def test_a_resolver_that_names_a_thousand_servers_is_believed_in_thirteen() -> None:
    """Each costs a thread: who stands in its place could stop the daemon."""

    def told(name: str, kind: str) -> list[str]:
        return [f"ns{number:04}.x." for number in range(1500)] if kind == "NS" else ["192.0.2.1"]

    with ScriptedResolver(told) as resolver:
        found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert len(found) == 13
    assert len(resolver.asked) <= 2 + 13


@pytest.mark.process
def test_many_servers_of_many_addresses_are_thirteen_to_ask() -> None:
    """Each question goes to all of them; and each has an address before any has three."""

    def told(name: str, kind: str) -> list[str]:
        if kind == "NS":
            return [f"ns{number}.x." for number in range(6)]
        return [f"192.0.2.{number}" for number in range(1, 6)]

    with ScriptedResolver(told):
        found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert Counter(server.name for server in found) == {
        "ns0.x": 3, "ns1.x": 2, "ns2.x": 2, "ns3.x": 2, "ns4.x": 2, "ns5.x": 2,
    }  # fmt: skip


def test_servers_are_remembered_for_an_hour() -> None:
    clock = FakeClock()
    servers = NameServers(["127.0.0.1:53"], clock)
    first = servers.of(ZONE)
    clock.advance(3600)
    assert servers.of(ZONE) is first
    clock.advance(1)
    again = servers.of(ZONE)
    assert again == first
    assert again is not first
