"""Which address the LAN reaches this machine by, on machines that are made for the question.

Each has a network of its own, so that names of interfaces, addresses and routes are as the test says; it ends
with the process that asks.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import Bed, wait_until
from support.networks import ASK, ask, ask6, bridge, default_route, default_route6, interface, with_ipv6
from support.private_host import ip

from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE, require_private_host

LAN = "10.79.40.213"
ULA, LOWER_ULA, GLOBAL = "fd12:3456:789a:1::20", "fd12:3456:789a:1::7", "2409:8a00:1:2::20"

# --- auto: the default route --------------------------------------------------------------------------------


def test_of_two_networks_the_one_with_the_better_default_route_counts() -> None:
    found = ask(
        ["auto"],
        interface("eth0", "192.168.1.20"),
        interface("wlan0", "10.79.40.213"),
        default_route("eth0", "192.168.1.1", metric=600),
        default_route("wlan0", "10.79.40.1", metric=100),
    )
    assert found == ["10.79.40.213"]


def test_the_route_may_name_the_address_that_it_leaves_by() -> None:
    found = ask(
        ["auto", "auto:eth0", "auto:192.168.0.0/16"],
        interface("eth0", "192.168.1.20", "192.168.1.21", "192.168.1.22"),
        "ip route add default via 192.168.1.1 dev eth0 src 192.168.1.22",
    )
    assert found == ["192.168.1.22"] * 3


def test_a_route_to_a_resolver_is_not_the_default_route() -> None:
    """systemd-networkd makes one by the interface whose DHCP server has named the resolver."""
    found = ask(
        ["auto"],
        interface("eth0", "192.168.1.20"),
        interface("eth1", "10.79.40.213"),
        default_route("eth0", "192.168.1.1"),
        "ip route add 223.5.5.5 via 10.79.40.1 dev eth1 src 10.79.40.213",
    )
    assert found == ["192.168.1.20"]


@pytest.mark.row(65)
def test_a_default_route_through_containers_or_a_tunnel_is_refused() -> None:
    """By every rule but the one that names the interface."""
    auto, by_network, named = ask(
        ["auto", "auto:10.79.40.0/24", "auto:wg0"],
        interface("wg0", "10.79.40.213"),
        default_route("wg0", "10.79.40.1"),
    )
    for told in (auto, by_network):
        assert told.startswith("refused:")
        assert "'10.79.40.213' on 'wg0' belongs to a container network or tunnel" in told
        assert "sites[].address" in told
    assert named == "10.79.40.213"


def test_a_vpn_with_any_name_that_takes_the_default_route_is_a_tunnel() -> None:
    """As CloudflareWARP does, whose address is private."""
    vpn = ["ip tuntap add dev CloudflareWARP mode tun", "ip address add 172.16.0.2/32 dev CloudflareWARP"]
    up = ["ip link set CloudflareWARP up", "ip route add default dev CloudflareWARP metric 50"]
    auto, by_network, named, literal = ask(
        ["auto", "auto:172.16.0.0/12", "auto:eth0", "auto:CloudflareWARP"],
        interface("eth0", "192.168.1.20"),
        default_route("eth0", "192.168.1.1"),
        *vpn,
        *up,
    )
    for told in (auto, by_network):
        assert "'172.16.0.2' on 'CloudflareWARP' belongs to a container network or tunnel" in told
    assert (named, literal) == ("192.168.1.20", "172.16.0.2")


@pytest.mark.row(66)
def test_a_global_address_of_ipv6_is_refused_unless_it_is_written() -> None:
    auto, named, literal = ask6(
        ["auto", "auto:eth0", GLOBAL],
        with_ipv6(interface("eth0", LAN), "eth0", GLOBAL),
        default_route6("eth0"),
    )
    for told in (auto, named):
        assert told.startswith("refused:")
        assert f"{GLOBAL!r} on 'eth0' is not a unique local address" in told
        assert "'fe80::" in told
        assert "sites[].address6" in told
    assert literal == GLOBAL


def test_without_a_default_route_auto_has_no_address_and_the_others_have() -> None:
    auto, by_name, by_network = ask(
        ["auto", "auto:eth0", "auto:10.0.0.0/8"], interface("eth0", "10.79.40.213")
    )
    assert auto.startswith("refused: this machine has no default route")
    assert "auto:INTERFACE" in auto
    assert auto.endswith("addresses here: lo 127.0.0.1, eth0 10.79.40.213")
    assert (by_name, by_network) == ("10.79.40.213", "10.79.40.213")


def test_a_site_without_records_is_met_at_the_only_interface_where_there_is_no_default_route() -> None:
    """As without Internet. Containers and a tunnel do not count; another interface does."""
    of_a_site = ASK.replace("domain: a.test", "ca: local, domain: devbox").replace(
        "sites[0], key)", "sites[0].rules, 'get')('A')"
    )
    alone = [interface("eth0", LAN), "ip link set peer-eth0 down"]
    beside = [bridge("docker0", "172.17.0.1"), interface("wg0", "10.8.0.2"), "ip link set peer-wg0 down"]
    hidden = ["ip link set peer-docker0 down", "ip link set peer-docker0 name veth1"]
    assert ask(["auto"], *alone, *beside, *hidden, "ip link set port-docker0 down", script=of_a_site) == [LAN]
    with_port = [bridge("br0", LAN), "ip link set peer-br0 down"]
    assert ask(["auto"], *with_port, script=of_a_site) == [LAN]
    (told,) = ask(["auto"], *alone, interface("eth1", "192.168.1.20"), script=of_a_site)
    assert told.startswith("refused: this machine has no default route")


def test_a_default_route_that_leads_nowhere_is_none() -> None:
    for kind in ("unreachable", "blackhole", "prohibit"):
        (told,) = ask(["auto"], interface("eth0", "10.79.40.213"), f"ip route add {kind} default")
        assert told.startswith("refused: this machine has no default route")


def test_a_full_tunnel_hides_the_lan_from_auto_and_not_from_the_others() -> None:
    """A VPN that takes all traffic puts two halves before the default route, as OpenVPN does."""
    auto, by_name, by_network = ask(
        ["auto", "auto:eth0", "auto:192.168.0.0/16"],
        interface("eth0", "192.168.1.20"),
        interface("tun0", "10.8.0.2"),
        default_route("eth0", "192.168.1.1"),
        "ip route add 0.0.0.0/1 via 10.8.0.1 dev tun0",
        "ip route add 128.0.0.0/1 via 10.8.0.1 dev tun0",
    )
    assert "'10.8.0.2' on 'tun0' belongs to a container network or tunnel" in auto
    assert (by_name, by_network) == ("192.168.1.20", "192.168.1.20")


@pytest.mark.row(65)
def test_the_local_address_is_found_beside_global_ones_and_those_of_links() -> None:
    assert ask6(
        ["auto", "auto:eth0", "none"],
        with_ipv6(interface("eth0", LAN), "eth0", GLOBAL, ULA),
        with_ipv6(interface("eth1"), "eth1", "fd99::1"),
        default_route6("eth0"),
    ) == [ULA, ULA, ""]


def test_without_an_ipv6_route_the_interface_of_the_ipv4_route_counts() -> None:
    """A LAN whose provider has no IPv6 yet."""
    other = with_ipv6(interface("eth1", "192.168.1.20"), "eth1", "fd99::1")
    here = with_ipv6(interface("eth0", LAN), "eth0", ULA)
    assert ask6(["auto"], other, here, default_route("eth0", "10.79.40.1")) == [ULA]


def test_a_kernel_without_ipv6_has_none() -> None:
    off = "sysctl -q -w net.ipv6.conf.all.disable_ipv6=1"
    auto, literal = ask6(["auto", ULA], off, interface("eth0", LAN))
    assert auto.startswith("refused: this machine has no default route")
    assert literal == ULA


# --- one machine with everything ----------------------------------------------------------------------------


@pytest.mark.row(65, 66)
def test_on_a_machine_with_everything_each_rule_finds_its_own() -> None:
    """Two engines' networks, virtual machines on a bridge that carries the LAN, VPNs, several NICs."""
    rules = {
        "auto": "10.79.40.213",
        "auto:br0": "10.79.40.213",
        "auto:eth1": "10.20.0.5",
        "auto:eth2": "192.168.1.20",
        "auto:wg0": "10.8.0.2",
        "auto:docker0": "172.17.0.1",
        "auto:10.0.0.0/8": "10.79.40.213",  # the default route's, though eth1's comes first
        "auto:10.20.0.0/16": "10.20.0.5",
        "auto:192.168.0.0/16": "192.168.1.20",  # eth3's comes after eth2's
        "auto:0.0.0.0/0": "10.79.40.213",
        "47.96.12.34": "47.96.12.34",
        "none": "",
    }
    refused = {
        "auto:10.8.0.0/16": "'10.8.0.2' on 'wg0' belongs to a container network or tunnel",
        "auto:100.64.0.0/10": "'100.101.102.103' on 'tailscale0' is not a private address",
        "auto:tailscale0": "'100.101.102.103' on 'tailscale0' is not a private address",
        "auto:172.16.0.0/12": "'172.18.0.1' on 'br-0123456789ab' belongs to a container network or tunnel",
        "auto:169.254.0.0/16": "'169.254.10.20' on 'eth2' is not a private address",
        "auto:ppp0": "'47.96.12.34' on 'ppp0' is not a private address",
        "auto:port-br0": "this machine has no address on interface 'port-br0'",
        "auto:eth9": "this machine has no address on interface 'eth9'",
        "auto:10.99.0.0/16": "this machine has no address in network 10.99.0.0/16",
    }
    found = ask(
        [*rules, *refused],
        interface("eth1", "10.20.0.5"),
        bridge("br0", "10.79.40.213"),
        bridge("docker0", "172.17.0.1/16"),
        bridge("br-0123456789ab", "172.18.0.1/16"),
        interface("eth2", "169.254.10.20/16 scope link", "192.168.1.20"),
        interface("eth3", "192.168.2.20"),
        interface("wg0", "10.8.0.2"),
        interface("tailscale0", "100.101.102.103/32"),
        interface("ppp0", "47.96.12.34"),
        default_route("br0", "10.79.40.1"),
        default_route("ppp0", "47.96.12.1", metric=600),
    )
    assert dict(zip(rules, found, strict=False)) == rules
    for (rule, text), told in zip(refused.items(), found[len(rules) :], strict=True):
        assert told.startswith("refused:"), rule
        assert text in told, rule
        assert "sites[].address" in told, rule
        assert "br0 10.79.40.213" in told, rule


def test_an_address_whose_time_is_over_gives_way_to_the_new_one() -> None:
    """DHCP or an admin renumbers: the old address is deprecated before it goes."""
    by_name, by_network, alone = ask(
        ["auto:eth0", "auto:192.168.0.0/16", "auto:eth1"],
        interface("eth0", "192.168.1.7", "192.168.1.20"),
        interface("eth1", "10.0.0.7"),
        "ip address change 192.168.1.7/24 dev eth0 preferred_lft 0",
        "ip address change 10.0.0.7/24 dev eth1 preferred_lft 0",
    )
    assert (by_name, by_network) == ("192.168.1.20", "192.168.1.20")
    assert "'10.0.0.7' on 'eth1' is deprecated" in alone


@pytest.mark.parametrize("state", ["deprecated", "tentative"])
def test_an_address_of_ipv6_that_is_deprecated_or_not_proved_yet_gives_way(state: str) -> None:
    """The lower one would be taken else."""
    if state == "deprecated":
        made, flags = interface("eth0"), "preferred_lft 0 nodad"
        why = "deprecated"
    else:
        # An interface that never had a carrier proves nothing, so an address stays tentative.
        made, flags = "ip link add eth0 type veth peer name peer-eth0 && ip link set eth0 up", ""
        why = "not known to be the only one of its kind"
    lines = [made, f"ip address add {LOWER_ULA}/64 dev eth0 {flags}"]
    assert ask6(["auto:eth0"], *lines, f"ip address add {ULA}/64 dev eth0 nodad") == [ULA]
    (told,) = ask6(["auto:eth0"], *lines)
    assert f"{LOWER_ULA!r} on 'eth0' is {why}" in told


def test_a_temporary_address_of_ipv6_is_never_taken() -> None:
    """The kernel makes them of the prefixes that it is told to; they change each day."""
    lines = [
        interface("eth0"),
        "sysctl -q -w net.ipv6.conf.eth0.use_tempaddr=2",
        f"ip address add {ULA}/64 dev eth0 mngtmpaddr nodad",
    ]
    shown = "ip -6 address show dev eth0 temporary | grep -q 'inet6 fd12:3456:789a:1:'"
    assert ask6(["auto:eth0"], *lines, shown) == [ULA]
    (told,) = ask6(["auto:eth0"], *lines, shown, f"ip address delete {ULA}/64 dev eth0")
    assert told.startswith("refused:")


def test_an_address_with_a_peer_is_our_end_of_it() -> None:
    """A point-to-point link: the kernel names both ends."""
    (found,) = ask(
        ["auto:ppp0"],
        interface("ppp0"),
        "ip address add 10.1.1.2 peer 10.1.1.1 dev ppp0",
    )
    assert found == "10.1.1.2"


@pytest.mark.parametrize("key", ["address", "address6"])
def test_a_service_that_may_not_ask_the_kernel_is_told_so(key: str) -> None:
    """A unit whose RestrictAddressFamilies= leaves netlink out: the call fails as here."""
    closed = "import socket\nsocket.AF_NETLINK = 45\n" + ASK
    (told,) = ask(["auto"], interface("eth0", "10.79.40.213"), script=closed, key=key)
    assert told.startswith("refused: the kernel does not list this machine's addresses: ")
    assert "allow AF_NETLINK" in told
    assert told.endswith(f"sites[].{key}")


def test_a_list_of_addresses_that_changes_while_it_is_read_is_read_anew() -> None:
    """The kernel hands it over in pieces, and counts on where it stopped: what moves up is left out."""
    script = """
import subprocess
from certbotless.world.lan.address import local_addresses

def ip(lines):
    batch = subprocess.Popen(["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True)
    batch.stdin.write("\\n".join(lines))
    batch.stdin.close()
    return batch

lasting = [f"192.168.{i // 250}.{1 + i % 250}" for i in range(1000)]
# The kernel keeps addresses of a narrower scope before the others.
moving = [f"10.0.0.{i}/32 scope link dev eth0" for i in range(20)]
commands = [f"address {verb} {each}" for verb in ("add", "delete") for each in moving]
assert ip([f"address add {each}/32 dev eth0" for each in lasting]).wait() == 0
reads = 0
while not reads:  # a busy machine may make all changes before it reads
    changes = ip(commands * 300)
    while changes.poll() is None:
        try:
            found = {str(each.ip) for each in local_addresses(4)}
        except OSError:  # it changed each time that it was read
            continue
        assert found >= set(lasting), sorted(set(lasting) - found)
        reads += 1
    assert changes.returncode == 0
"""
    assert ask([], interface("eth0"), script=script) == []


# --- containers ---------------------------------------------------------------------------------------------


@pytest.fixture(params=["/.dockerenv", "/run/.containerenv"])
def _in_a_container(request: pytest.FixtureRequest) -> Iterator[None]:
    """Lay the mark of an engine on the private host."""
    require_private_host()
    mark = Path(request.param)
    mark.touch(exist_ok=False)
    try:
        yield
    finally:
        mark.unlink()


@pytest.mark.usefixtures("_in_a_container")
def test_in_a_container_with_a_network_of_its_own_every_rule_is_refused_but_a_literal_one() -> None:
    *refused, literal = ask(
        ["auto", "auto:eth0", "auto:172.16.0.0/12", "192.168.1.20"],
        interface("eth0", "172.17.0.5/16"),
        default_route("eth0", "172.17.0.1"),
    )
    assert len(refused) == 3
    for told in refused:
        assert told.startswith("refused:")
        assert "container network" in told
        assert "give the container the host's network" in told
        assert "sites[].address" in told
    assert literal == "192.168.1.20"


@pytest.mark.usefixtures("_in_a_container")
def test_in_a_container_with_the_hosts_network_the_address_is_the_hosts() -> None:
    found = ask(
        ["auto", "auto:eth0", "auto:192.168.0.0/16"],
        interface("eth0", "192.168.1.20"),
        bridge("docker0", "172.17.0.1/16"),
        default_route("eth0", "192.168.1.1"),
    )
    assert found == ["192.168.1.20"] * 3


@pytest.mark.usefixtures("_in_a_container")
def test_with_the_hosts_network_a_card_is_seen_where_the_engine_has_no_bridge() -> None:
    """As with rootless Podman. Only a card has a device in /sys, which is laid here by hand."""
    found = ask(
        ["auto", "auto:eth0", "auto:192.168.0.0/16"],
        interface("eth0", "192.168.1.20"),
        default_route("eth0", "192.168.1.1"),
        "mount -t tmpfs none /sys/class/net",
        "mkdir -p /sys/class/net/eth0/device",
    )
    assert found == ["192.168.1.20"] * 3


# --- the record follows -------------------------------------------------------------------------------------


def test_the_record_follows_also_while_a_certificate_is_waited_for(bed: Bed) -> None:
    """The one at work knows the old address: it is ended early, and what it began goes on."""

    def move(old: str, new: str) -> None:
        ip("address", "delete", f"{old}/24", "dev", LAN_INTERFACE)
        ip("address", "add", f"{new}/24", "dev", LAN_INTERFACE)

    bed.config |= {"check_every": "1s", "sites": [bed.site(address=f"auto:{LAN_INTERFACE}")]}
    bed.dns.set_delay(1, 3600)
    with bed.daemon() as daemon:
        wait_until(lambda: bed.a_values() == [LAN_ADDRESS], "the record is made")
        wait_until(lambda: bed.dns.records(type="TXT") != [], "the challenge is presented")
        move(LAN_ADDRESS, "10.79.40.77")
        try:
            wait_until(lambda: bed.a_values() == ["10.79.40.77"], "the record has the new address")
            assert 'reason="the LAN address has changed"' in daemon.log_text()
        finally:
            move("10.79.40.77", LAN_ADDRESS)
            ip("route", "replace", "default", "via", "10.79.40.1", "dev", LAN_INTERFACE)
    assert bed.orders() == 1
