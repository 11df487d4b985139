"""Which of a machine's addresses a rule means, for machines of every kind; and how the kernel is asked."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless import address
from certbotless.address import Host, LocalAddress, choose, wanted_address
from certbotless.errors import AddressError
from certbotless.values import AddressRule

AUTO = AddressRule("auto")


def on(interface: str) -> AddressRule:
    return AddressRule("interface", interface)


def within(network: str) -> AddressRule:
    return AddressRule("network", network)


def has(interface: str, text: str, *, is_lasting: bool = True) -> LocalAddress:
    """Return the value of an address written with its prefix length."""
    local = IPv4Interface(text)
    return LocalAddress(interface, local.ip, local.network, is_lasting)


LO = has("lo", "127.0.0.1/8", is_lasting=False)
ETH0 = has("eth0", "192.168.1.20/24")
WLAN0 = has("wlan0", "10.79.40.213/24")
DOCKER0 = has("docker0", "172.17.0.1/16")
TUNNEL = has("wg0", "10.8.0.2/24")


def host(*addresses: LocalAddress, source: str | None = None) -> Host:
    return Host((LO, *addresses), None if source is None else IPv4Address(source))


def refusal(rule: AddressRule, where: Host) -> AddressError:
    """Return the error of a choice that must not be made."""
    with pytest.raises(AddressError) as caught:
        choose(rule, where)
    return caught.value


# --- which address is meant ---------------------------------------------------------------------------------


def test_auto_is_the_source_of_the_default_route() -> None:
    assert choose(AUTO, host(ETH0, WLAN0, DOCKER0, source="10.79.40.213")) == "10.79.40.213"


def test_a_named_interface_needs_no_default_route() -> None:
    assert choose(on("eth0"), host(WLAN0, ETH0)) == "192.168.1.20"


def test_an_interface_that_the_user_named_may_have_any_name() -> None:
    """Who publishes a service in a tunnel's network says so."""
    for named in (DOCKER0, TUNNEL, has("tailscale0", "10.9.0.2/32"), has("veth0", "10.9.0.2/24")):
        assert choose(on(named.interface), host(ETH0, named)) == str(named.ip)


def test_a_network_is_searched_on_all_interfaces() -> None:
    assert choose(within("10.0.0.0/8"), host(ETH0, WLAN0)) == "10.79.40.213"
    assert choose(within("192.168.1.20/32"), host(ETH0, WLAN0)) == "192.168.1.20"


def test_of_several_the_default_routes_source_is_taken_and_else_the_first() -> None:
    first, second = has("eth0", "10.0.0.5/24"), has("eth0", "10.0.1.5/24")
    for rule in (on("eth0"), within("10.0.0.0/8")):
        assert choose(rule, host(first, second)) == "10.0.0.5"
        assert choose(rule, host(first, second, source="10.0.1.5")) == "10.0.1.5"
        elsewhere = has("wlan0", "192.168.1.20/24")
        assert choose(rule, host(first, second, elsewhere, source="192.168.1.20")) == "10.0.0.5"


def test_a_network_never_means_an_address_of_containers_or_a_tunnel() -> None:
    """Not even where nothing else is in it: `auto:INTERFACE` is there for that."""
    assert choose(within("10.0.0.0/8"), host(TUNNEL, WLAN0)) == "10.79.40.213"
    error = refusal(within("10.0.0.0/8"), host(TUNNEL, ETH0))
    assert "'10.8.0.2' on 'wg0' belongs to a container network or tunnel" in error.message


def test_an_address_that_is_about_to_go_is_not_chosen_where_there_is_a_choice() -> None:
    going = has("eth0", "192.168.1.7/24", is_lasting=False)
    for rule in (on("eth0"), within("192.168.0.0/16")):
        assert choose(rule, host(going, ETH0)) == "192.168.1.20"
        assert "deprecated" in refusal(rule, host(going)).message
    # The kernel still leaves by it: there is no other way to be reached.
    assert choose(AUTO, host(going, source="192.168.1.7")) == "192.168.1.7"


@pytest.mark.parametrize(
    "name",
    [
        *("eth0", "enp3s0", "wlan0", "bond0", "lan0", "br0", "vmbr0", "br-lan"),
        *("br-cafe", "br-0123456789a", "dock", "dockerlan", "lan-veth"),
    ],
)
def test_an_ordinary_name_is_a_lans(name: str) -> None:
    """Also a bridge's: hosts of virtual machines have their LAN there."""
    assert choose(AUTO, host(has(name, "10.79.40.213/24"), source="10.79.40.213")) == "10.79.40.213"


@pytest.mark.parametrize(
    "name",
    [
        *("docker0", "docker_gwbridge", "br-0123456789ab", "virbr0", "veth12ab34c", "cni0", "cni-podman0"),
        *("tun0", "wg0", "wg-office", "tailscale0"),
    ],
)
def test_a_name_of_containers_or_tunnels_is_refused(name: str) -> None:
    error = refusal(AUTO, host(has(name, "10.79.40.213/24"), source="10.79.40.213"))
    assert f"'10.79.40.213' on {name!r} belongs to a container network or tunnel" in error.message


@pytest.mark.parametrize("docker", ["docker0", "docker_gwbridge", "br-0123456789ab"])
def test_an_address_in_the_subnet_of_a_container_network_is_refused(docker: str) -> None:
    """The machine's own containers would answer in its place."""
    lan, bridge = has("eth0", "172.17.5.20/24"), has(docker, "172.17.0.1/16")
    for rule in (AUTO, within("172.16.0.0/12")):
        error = refusal(rule, host(lan, bridge, source="172.17.5.20"))
        assert (
            f"'172.17.5.20' on 'eth0' lies in the subnet of the container network {docker!r}" in error.message
        )
    assert choose(on("eth0"), host(lan, bridge, source="172.17.5.20")) == "172.17.5.20"


@pytest.mark.parametrize(
    "text",
    [
        *("47.96.12.34", "100.64.0.20", "169.254.10.20", "127.0.0.2", "192.0.3.20", "198.18.0.1"),
        *(
            "172.15.255.255",
            "172.32.0.0",
            "192.167.255.255",
            "192.169.0.0",
            "11.0.0.1",
            "9.255.255.255",
            "0.0.0.1",
            "255.255.255.255",
        ),
    ],
)
def test_an_address_that_is_not_private_is_refused_by_every_rule(text: str) -> None:
    """Carrier-grade NAT, link-local and what proxies give their tunnels are not a LAN's either."""
    for rule in (AUTO, on("eth0"), within("0.0.0.0/0")):
        error = refusal(rule, host(has("eth0", f"{text}/24"), source=text))
        assert f"{text!r} on 'eth0' is not a private address" in error.message


def test_a_private_address_beside_a_public_one_is_found() -> None:
    public = has("eth0", "47.96.12.34/24")
    there = host(public, ETH0, source="47.96.12.34")
    assert choose(on("eth0"), there) == choose(within("0.0.0.0/0"), there) == "192.168.1.20"
    assert "47.96.12.34" in refusal(AUTO, there).message


def test_in_a_container_network_nothing_is_chosen() -> None:
    """Its addresses look like a LAN's, and lead nowhere from outside."""
    inside = replace(host(ETH0, source="192.168.1.20"), is_in_container=True)
    for rule in (AUTO, on("eth0"), within("192.168.0.0/16")):
        error = refusal(rule, inside)
        assert "container network" in error.message
        assert "the host's network" in error.hint


# --- what is said of it -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (AUTO, "this machine has no default route, so no LAN address"),
        (on("eth7"), "this machine has no address on interface 'eth7'"),
        (within("10.9.0.0/16"), "this machine has no address in network 10.9.0.0/16"),
        (
            on("lo"),
            "no address on interface 'lo' may be published: '127.0.0.1' on 'lo' is not a private address",
        ),
    ],
)
def test_an_error_says_what_was_asked_and_what_is_there(rule: AddressRule, text: str) -> None:
    error = refusal(rule, host(ETH0, WLAN0))
    assert error.message == text
    assert error.hint == (
        "write auto:INTERFACE, auto:NETWORK or the address itself in sites[].address; "
        "addresses here: lo 127.0.0.1, eth0 192.168.1.20, wlan0 10.79.40.213"
    )
    assert error.retryable


def test_a_source_that_no_interface_has_is_refused() -> None:
    """It went between two questions to the kernel."""
    assert (
        refusal(AUTO, host(ETH0, source="10.0.0.9")).message
        == "this machine has no address of the default route"
    )


def test_an_error_stays_a_line_that_can_be_read() -> None:
    """A name may hold what a terminal acts upon, and a host has thousands of addresses."""
    many = [has("eth\x1b[0", str(IPv4Address("47.0.0.1") + i)) for i in range(5000)]
    error = refusal(on("eth\x1b[0"), host(*many))
    assert str(error).isprintable()
    assert len(str(error)) < 2000


# --- what holds for every machine ---------------------------------------------------------------------------

NOT_LAN = ["docker0", "br-0123456789ab", "virbr0", "veth0", "cni0", "tun0", "wg0", "tailscale0"]
INTERFACES = ["lo", "eth0", "eth1", "br0", *NOT_LAN]
NETWORKS = [
    *("10.0.0.0/28", "10.0.0.0/8", "172.17.0.0/29", "172.16.0.0/12", "192.168.1.0/24"),
    *("47.96.0.0/24", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"),
]
PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


@st.composite
def local_addresses(draw: st.DrawFn) -> LocalAddress:
    """Any address on any interface; small networks make it likely that they meet."""
    network = IPv4Network(draw(st.sampled_from(NETWORKS)))
    ip = draw(st.ip_addresses(v=4, network=network))
    prefix = draw(st.integers(8, 32))
    text = f"{ip}/{prefix}"
    return has(draw(st.sampled_from(INTERFACES)), text, is_lasting=draw(st.booleans()))


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    """Any machine; its default route mostly leaves by an address that it has."""
    addresses = draw(st.lists(local_addresses(), max_size=8))
    sources = st.sampled_from([None, IPv4Address("10.0.0.9"), *(each.ip for each in addresses)])
    return Host(tuple(addresses), draw(sources), draw(st.sampled_from([False, False, False, True])))


RULES = st.one_of(
    st.just(AUTO),
    st.sampled_from(INTERFACES).map(on),
    st.sampled_from([*NETWORKS, "0.0.0.0/0"]).map(within),
)


def chosen(rule: AddressRule, where: Host) -> IPv4Address | None:
    try:
        return IPv4Address(choose(rule, where))
    except AddressError:
        return None


def is_in_docker(ip: IPv4Address, addresses: Sequence[LocalAddress]) -> bool:
    return any(ip in each.network for each in addresses if each.interface in ("docker0", "br-0123456789ab"))


def is_fit(each: LocalAddress, rule: AddressRule, where: Host) -> bool:
    """Whether the page on the LAN address allows it, told in other words than the code's."""
    if where.is_in_container or not any(each.ip in network for network in PRIVATE):
        return False
    if rule.kind == "interface":
        return each.interface == rule.value and each.is_lasting
    if each.interface in NOT_LAN or is_in_docker(each.ip, where.addresses):
        return False
    if rule.kind == "auto":
        return each.ip == where.source
    return each.ip in IPv4Network(rule.value) and each.is_lasting


@given(rule=RULES, where=hosts())
def test_what_must_not_be_published_is_never_chosen_and_what_may_be_is_found(
    rule: AddressRule, where: Host
) -> None:
    fit = {each.ip for each in where.addresses if is_fit(each, rule, where)}
    found = chosen(rule, where)
    assert (found in fit) if fit else (found is None)
    if where.source in fit:
        assert found == where.source


@given(rule=RULES, where=hosts(), others=st.lists(local_addresses(), max_size=4))
def test_networks_of_containers_and_tunnels_that_come_and_go_move_no_record(
    rule: AddressRule, where: Host, others: list[LocalAddress]
) -> None:
    before = chosen(rule, where)
    coming = [
        each
        for each in others
        if each.interface in NOT_LAN and each.interface != rule.value
        if before is None or not is_in_docker(before, [each])
    ]
    assert chosen(rule, replace(where, addresses=(*coming, *where.addresses))) == before


# --- asking the kernel --------------------------------------------------------------------------------------


def test_a_literal_address_wins_and_none_wants_no_record() -> None:
    """Nobody is asked, so nothing can be held against it."""
    for text in ("47.96.12.34", "127.0.0.1", "100.64.0.20", "172.17.0.1"):
        assert wanted_address(AddressRule("literal", text)) == text
    assert wanted_address(AddressRule("none")) == ""


def test_the_kernels_addresses_are_those_that_ip_shows() -> None:
    """With the same interfaces and subnets, in the order of the interfaces."""
    shown = json.loads(
        subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, check=True, text=True).stdout
    )
    expected = [
        has(
            link["ifname"],
            f"{info['local']}/{info['prefixlen']}",
            is_lasting=info["scope"] == "global" and not info.get("deprecated"),
        )
        for link in sorted(shown, key=lambda link: int(link["ifindex"]))
        for info in link["addr_info"]
    ]
    assert LO in expected
    assert list(address.local_addresses()) == expected
