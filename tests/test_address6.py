"""Which of a machine's IPv6 addresses a rule means, for machines of every kind; how the kernel is asked."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.address6 import Host6, LocalAddress6, choose6, local_addresses6, wanted_address6
from certbotless.errors import AddressError
from certbotless.values import AddressRule

AUTO = AddressRule("auto", version=6)


def on(interface: str) -> AddressRule:
    return AddressRule("interface", interface, version=6)


def has(interface: str, text: str, *, is_fixed: bool = False, fault: str = "") -> LocalAddress6:
    """Return the value of an address written with its prefix length."""
    local = IPv6Interface(text)
    return LocalAddress6(interface, local.ip, local.network, is_fixed, fault)


LINK = has("eth0", "fe80::1/64")
ULA = has("eth0", "fd12:3456:789a:1::20/64")
GLOBAL = has("eth0", "2409:8a00:1:2::20/64")
OTHER = has("eth1", "fd12:3456:789a:2::20/64")
TUNNEL = has("wg0", "fd12:3456:789a:3::20/64")


def host(*addresses: LocalAddress6, interface: str = "eth0") -> Host6:
    return Host6(addresses, interface)


def refusal(rule: AddressRule, where: Host6) -> AddressError:
    """Return the error of a choice that must not be made."""
    with pytest.raises(AddressError) as caught:
        choose6(rule, where)
    return caught.value


# --- which address is meant ---------------------------------------------------------------------------------


def test_auto_is_the_local_address_on_the_interface_of_the_default_route() -> None:
    """Also where packets to the Internet leave by a global one."""
    there = host(LINK, GLOBAL, ULA, OTHER, TUNNEL)
    assert choose6(AUTO, there) == str(ULA.ip)
    assert choose6(AUTO, replace(there, interface="eth1")) == str(OTHER.ip)


def test_a_named_interface_needs_no_default_route_and_may_have_any_name() -> None:
    there = host(ULA, OTHER, TUNNEL, interface="")
    assert choose6(on("eth1"), there) == str(OTHER.ip)
    assert choose6(on("wg0"), there) == str(TUNNEL.ip)


def test_of_several_what_an_admin_has_set_is_taken_and_else_the_lowest() -> None:
    low, high = has("eth0", "fd00::1/64"), has("eth0", "fd00::2/64")
    fixed = has("eth0", "fd00::3/64", is_fixed=True)
    for there in ((low, high), (high, low)):
        assert choose6(AUTO, host(*there)) == "fd00::1"
        assert choose6(AUTO, host(*there, fixed)) == "fd00::3"


def test_a_global_address_is_never_chosen() -> None:
    for rule in (AUTO, on("eth0")):
        error = refusal(rule, host(LINK, GLOBAL))
        assert f"{str(GLOBAL.ip)!r} is not a unique local address" in error.message
        assert "write auto:INTERFACE or the address itself in sites[].address6" in error.hint


@pytest.mark.parametrize("fault", ["is temporary", "is deprecated"])
def test_what_does_not_last_is_never_chosen(fault: str) -> None:
    going = has("eth0", "fd12:3456:789a:1::5/64", fault=fault)
    for rule in (AUTO, on("eth0")):
        assert choose6(rule, host(going, ULA)) == str(ULA.ip)
        assert f"{str(going.ip)!r} {fault}" in refusal(rule, host(going)).message


@pytest.mark.parametrize("name", ["docker0", "br-0123456789ab", "virbr0", "veth0", "cni0", "tun0", "wg0"])
def test_a_default_route_through_containers_or_a_tunnel_is_refused(name: str) -> None:
    there = host(has(name, "fd00::1/64"), ULA, interface=name)
    assert "belongs to a container network or tunnel" in refusal(AUTO, there).message


def test_an_address_in_the_subnet_of_a_container_network_is_refused() -> None:
    there = host(ULA, has("docker0", "fd12:3456:789a::1/48"))
    assert "lies in the subnet of the container network 'docker0'" in refusal(AUTO, there).message
    assert choose6(on("eth0"), there) == str(ULA.ip)


def test_in_a_container_network_nothing_is_chosen() -> None:
    inside = replace(host(ULA), is_in_container=True)
    for rule in (AUTO, on("eth0")):
        assert "the host's network" in refusal(rule, inside).hint


@pytest.mark.parametrize(
    ("rule", "where", "text"),
    [
        (AUTO, host(ULA, interface=""), "this machine has no default route, so no LAN"),
        (on("eth7"), host(ULA), "this machine has no IPv6 address on interface 'eth7'"),
        (AUTO, host(OTHER), "this machine has no IPv6 address on interface 'eth0'"),
    ],
)
def test_an_error_says_what_was_asked_and_what_is_there(rule: AddressRule, where: Host6, text: str) -> None:
    error = refusal(rule, where)
    assert error.message == text
    assert error.hint.endswith(f"IPv6 addresses here: {where.addresses[0].interface} {where.addresses[0].ip}")
    assert error.retryable


def test_an_error_stays_a_line_that_can_be_read() -> None:
    """A name may hold what a terminal acts upon, and a host has thousands of addresses."""
    many = [has("eth\x1b[0", f"2409:8a00::{i:x}/64") for i in range(5000)]
    error = refusal(on("eth\x1b[0"), host(*many))
    assert str(error).isprintable()
    assert len(str(error)) < 2000


# --- what holds for every machine ---------------------------------------------------------------------------

NOT_LAN = ["docker0", "br-0123456789ab", "virbr0", "veth0", "cni0", "tun0", "wg0", "tailscale0"]
INTERFACES = ["lo", "eth0", "eth1", "br0", *NOT_LAN]
NETWORKS = ["fd00::/126", "fd00::/64", "fc00::/8", "fe80::/126", "2409:8a00::/126", "2001:db8::/64", "::/126"]


@st.composite
def local_addresses(draw: st.DrawFn) -> LocalAddress6:
    """Any address on any interface; small networks make it likely that they meet."""
    ip = draw(st.ip_addresses(v=6, network=IPv6Network(draw(st.sampled_from(NETWORKS)))))
    fault = draw(st.sampled_from(["", "", "is temporary", "is deprecated"]))
    text = f"{ip}/{draw(st.sampled_from([48, 64, 128]))}"
    return has(draw(st.sampled_from(INTERFACES)), text, is_fixed=draw(st.booleans()), fault=fault)


ADDRESSES = st.lists(local_addresses(), max_size=8)
HOSTS = st.builds(
    lambda addresses, interface, is_inside: Host6(tuple(addresses), interface, is_inside),
    ADDRESSES,
    st.sampled_from(["", *INTERFACES]),
    st.sampled_from([False, False, False, True]),
)
RULES = st.one_of(st.just(AUTO), st.sampled_from(INTERFACES).map(on))


def chosen(rule: AddressRule, where: Host6) -> IPv6Address | None:
    try:
        return IPv6Address(choose6(rule, where))
    except AddressError:
        return None


def is_fit(each: LocalAddress6, rule: AddressRule, where: Host6) -> bool:
    """Whether the page on the LAN address allows it, told in other words than the code's."""
    if where.is_in_container or each.fault or each.ip.packed[0] & 0xFE != 0xFC:
        return False
    if rule.kind == "interface":
        return each.interface == rule.value
    bridges = [other for other in where.addresses if other.interface in ("docker0", "br-0123456789ab")]
    is_in_docker = any(each.ip in bridge.network for bridge in bridges)
    return each.interface == where.interface and each.interface not in NOT_LAN and not is_in_docker


@given(rule=RULES, where=HOSTS)
def test_what_must_not_be_published_is_never_chosen_and_what_may_be_is_found(
    rule: AddressRule, where: Host6
) -> None:
    fit = {each.ip for each in where.addresses if is_fit(each, rule, where)}
    found = chosen(rule, where)
    assert (found in fit) if fit else (found is None)


@given(rule=RULES, where=HOSTS, data=st.data())
def test_the_order_in_which_the_kernel_tells_them_moves_no_record(
    rule: AddressRule, where: Host6, data: st.DataObject
) -> None:
    shuffled = tuple(data.draw(st.permutations(where.addresses)))
    assert chosen(rule, replace(where, addresses=shuffled)) == chosen(rule, where)


@given(rule=RULES, where=HOSTS, others=ADDRESSES)
def test_what_comes_and_goes_beside_it_moves_no_record(
    rule: AddressRule, where: Host6, others: list[LocalAddress6]
) -> None:
    """Temporary and global addresses, those of links, and whatever other interfaces have, bar containers'."""
    before = chosen(rule, where)
    named = where.interface if rule.kind == "auto" else rule.value
    coming = [
        each
        for each in others
        if each.interface not in ("docker0", "br-0123456789ab")
        if each.interface != named or each.fault or each.ip.packed[0] & 0xFE != 0xFC
    ]
    assert chosen(rule, replace(where, addresses=(*coming, *where.addresses))) == before


# --- asking the kernel --------------------------------------------------------------------------------------


def test_a_literal_address_wins_and_none_wants_no_record() -> None:
    for text in ("2409:8a00::1", "::1", "fd00::1"):
        assert wanted_address6(AddressRule("literal", text, version=6)) == text
    assert wanted_address6(AddressRule("none", version=6)) == ""


def test_the_kernels_addresses_are_those_that_ip_shows() -> None:
    shown = json.loads(
        subprocess.run(["ip", "-json", "-6", "address"], capture_output=True, check=True, text=True).stdout
    )
    expected = {
        (link["ifname"], info["local"], info["prefixlen"]) for link in shown for info in link["addr_info"]
    }
    assert {(a.interface, str(a.ip), a.network.prefixlen) for a in local_addresses6()} == expected
