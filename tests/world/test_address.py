"""Which of a machine's addresses a rule means, for machines of every kind; and how the kernel is asked."""

import json
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.base.errors import AddressError
from certbotless.config.addresses import AddressRule, IPVersion
from certbotless.world.lan.address import Address, Host, LocalAddress, address_now, choose, local_addresses

AUTO, AUTO6 = AddressRule("auto"), AddressRule("auto", version=6)
BOTH = pytest.mark.parametrize("version", [4, 6])


def on(interface: str, version: IPVersion = 4) -> AddressRule:
    return AddressRule("interface", interface, version)


def within(network: str) -> AddressRule:
    return AddressRule("network", network)


def has(interface: str, text: str, *, fault: str = "", is_fixed: bool = False) -> LocalAddress:
    """Return the value of an address written with its prefix length."""
    local = ip_interface(text)
    return LocalAddress(interface, local.ip, local.network, fault, is_fixed)


LO = has("lo", "127.0.0.1/8", fault="is deprecated or of a narrow scope")
ETH0 = has("eth0", "192.168.1.20/24")
WLAN0 = has("wlan0", "10.79.40.213/24")
TUNNEL = has("wg0", "10.8.0.2/24")

LINK6 = has("eth0", "fe80::1/64")
ULA = has("eth0", "fd12:3456:789a:1::20/64")
GLOBAL = has("eth0", "2409:8a00:1:2::20/64")
OTHER6 = has("eth1", "fd12:3456:789a:2::20/64")
TUNNEL6 = has("wg0", "fd12:3456:789a:3::20/64")

# One on eth0, one elsewhere in the LAN, one of a tunnel.
OF_EACH = {4: (ETH0, WLAN0, TUNNEL), 6: (ULA, OTHER6, TUNNEL6)}


def host(*addresses: LocalAddress, by: LocalAddress | None = None) -> Host:
    """Return a machine with these addresses whose default route leaves by one of them, or by none."""
    if by is None:
        return Host(addresses)
    if isinstance(by.ip, IPv4Address):
        return Host(addresses, source=by.ip)
    return Host(addresses, interface=by.interface)


def refusal(rule: AddressRule, where: Host) -> AddressError:
    """Return the error of a choice that must not be made."""
    with pytest.raises(AddressError) as caught:
        choose(rule, where)
    return caught.value


def test_a_site_without_records_needs_no_default_route_where_one_interface_leads_to_the_lan() -> None:
    """One that has a record does, as what is published must not follow a pulled cable."""
    alone = Host((LO, ETH0, WLAN0, TUNNEL), interface="wlan0")
    assert choose(AddressRule("alone"), alone) == str(WLAN0.ip)
    assert choose(AddressRule("alone"), host(LO, ETH0, WLAN0, by=ETH0)) == str(ETH0.ip)
    for rule, where in ((AUTO, alone), (AddressRule("alone"), host(LO, ETH0, WLAN0))):
        assert refusal(rule, where).message == "this machine has no default route, so no LAN address"


# --- which address is meant ---------------------------------------------------------------------------------


def test_auto_of_ipv6_is_the_local_address_on_the_interface_of_the_default_route() -> None:
    """Also where packets to the Internet leave by a global one."""
    there = (LINK6, GLOBAL, ULA, OTHER6, TUNNEL6)
    assert choose(AUTO6, host(*there, by=GLOBAL)) == str(ULA.ip)
    assert choose(AUTO6, host(*there, by=OTHER6)) == str(OTHER6.ip)


def test_of_several_the_default_routes_source_is_taken_and_else_the_first() -> None:
    first, second = has("eth0", "10.0.0.5/24"), has("eth0", "10.0.1.5/24")
    for rule in (on("eth0"), within("10.0.0.0/8")):
        assert choose(rule, host(first, second)) == "10.0.0.5"
        assert choose(rule, host(first, second, by=second)) == "10.0.1.5"
        elsewhere = has("wlan0", "192.168.1.20/24")
        assert choose(rule, host(second, first, elsewhere, by=elsewhere)) == "10.0.1.5"


def test_of_several_of_ipv6_what_an_admin_has_set_is_taken_and_else_the_lowest() -> None:
    low, high = has("eth0", "fd00::1/64"), has("eth0", "fd00::2/64")
    fixed = has("eth0", "fd00::3/64", is_fixed=True)
    for there in ((low, high), (high, low)):
        assert choose(AUTO6, host(*there, by=low)) == "fd00::1"
        assert choose(AUTO6, host(*there, fixed, by=low)) == "fd00::3"


@pytest.mark.parametrize(
    ("rules", "fault"),
    [
        ((on("eth0"), within("192.168.0.0/16")), "is deprecated or of a narrow scope"),
        ((AUTO6, on("eth0", 6)), "is temporary"),
        ((AUTO6, on("eth0", 6)), "is deprecated"),
    ],
)
def test_an_address_that_does_not_last_is_never_chosen(rules: tuple[AddressRule, ...], fault: str) -> None:
    for rule in rules:
        fit = OF_EACH[rule.version][0]
        going = replace(fit, ip=fit.ip - 1, fault=fault)
        assert choose(rule, host(going, fit, by=fit)) == str(fit.ip)
        assert f"{str(going.ip)!r} on 'eth0' {fault}" in refusal(rule, host(going, by=going)).message


def test_the_source_of_the_default_route_does_not_have_to_last() -> None:
    """The kernel still leaves by it: there is no other way to be reached."""
    going = replace(ETH0, fault="is deprecated or of a narrow scope")
    assert choose(AUTO, host(going, by=going)) == "192.168.1.20"


@pytest.mark.parametrize(
    "name",
    [
        *("eth0", "enp3s0", "wlan0", "bond0", "lan0", "br0", "vmbr0", "br-lan"),
        *("br-cafe", "br-0123456789a", "dock", "dockerlan", "lan-veth"),
    ],
)
def test_an_ordinary_name_is_a_lans(name: str) -> None:
    """Also a bridge's: hosts of virtual machines have their LAN there."""
    lan, lan6 = replace(ETH0, interface=name), replace(ULA, interface=name)
    assert choose(AUTO, host(lan, by=lan)) == "192.168.1.20"
    assert choose(AUTO6, host(lan6, by=lan6)) == str(ULA.ip)


@pytest.mark.parametrize(
    "name",
    [
        *("docker0", "docker_gwbridge", "br-0123456789ab", "virbr0", "veth12ab34c", "cni0", "cni-podman0"),
        *("podman0", "podman1", "lxcbr0", "lxdbr0", "incusbr0", "flannel.1", "vxlan.calico", "kube-ipvs0"),
        *("cilium_host", "tun0", "wg0", "wg-office", "tailscale0", "ztks574isf"),
    ],
)
@BOTH
def test_a_name_of_containers_or_tunnels_is_refused(version: IPVersion, name: str) -> None:
    there = replace(OF_EACH[version][0], interface=name)
    error = refusal(AddressRule("auto", version=version), host(there, WLAN0, OTHER6, by=there))
    assert f"{str(there.ip)!r} on {name!r} belongs to a container network or tunnel" in error.message


@BOTH
def test_an_interface_that_leads_to_one_machine_is_a_tunnel_whatever_its_name(version: IPVersion) -> None:
    """A VPN that takes the default route, as CloudflareWARP with 172.16.0.2 does."""
    there = replace(OF_EACH[version][0], interface="CloudflareWARP", is_to_one=True)
    error = refusal(AddressRule("auto", version=version), host(there, WLAN0, OTHER6, by=there))
    assert f"{str(there.ip)!r} on 'CloudflareWARP' belongs to a container network or tunnel" in error.message
    assert choose(on("CloudflareWARP", version), host(there, by=there)) == str(there.ip)


@pytest.mark.parametrize("docker", ["docker0", "docker_gwbridge", "br-0123456789ab"])
@pytest.mark.parametrize(
    ("lan", "bridge", "rules"),
    [
        ("172.17.5.20/24", "172.17.0.1/16", (AUTO, within("172.16.0.0/12"))),
        ("fd12:3456:789a:1::20/64", "fd12:3456:789a::1/48", (AUTO6,)),
    ],
    ids=["4", "6"],
)
def test_an_address_in_the_subnet_of_a_container_network_is_refused(
    lan: str, bridge: str, rules: tuple[AddressRule, ...], docker: str
) -> None:
    """The machine's own containers would answer in its place."""
    ours = has("eth0", lan)
    there = host(ours, has(docker, bridge), by=ours)
    for rule in rules:
        text = f"{str(ours.ip)!r} on 'eth0' is in the subnet of the container network {docker!r}"
        assert text in refusal(rule, there).message
    assert choose(on("eth0", rules[0].version), there) == str(ours.ip)


@pytest.mark.parametrize(
    "text",
    [
        *("47.96.12.34", "100.64.0.20", "169.254.10.20", "127.0.0.2", "192.0.3.20", "198.18.0.1"),
        *("172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0", "11.0.0.1", "9.255.255.255"),
        *("0.0.0.1", "255.255.255.255"),
    ],
)
def test_an_address_that_is_not_private_is_refused_by_every_rule(text: str) -> None:
    """Carrier-grade NAT, link-local and what proxies give their tunnels are not a LAN's either."""
    there = has("eth0", f"{text}/24")
    for rule in (AUTO, on("eth0"), within("0.0.0.0/0")):
        error = refusal(rule, host(there, by=there))
        assert f"{text!r} on 'eth0' is not a private address" in error.message


@pytest.mark.parametrize("text", ["2409:8a00:1:2::20", "fe80::1", "::1", "fbff::1", "fe00::1", "2001:db8::1"])
def test_an_address_of_ipv6_that_is_not_unique_local_is_refused_by_every_rule(text: str) -> None:
    there = has("eth0", f"{text}/64")
    for rule in (AUTO6, on("eth0", 6)):
        error = refusal(rule, host(there, by=there))
        assert f"{text!r} on 'eth0' is not a unique local address" in error.message


# --- what is said of it -------------------------------------------------------------------------------------

FORMS4 = "write auto:INTERFACE, auto:NETWORK or the address itself in sites[].address; "
HERE4 = "addresses here: lo 127.0.0.1, eth0 192.168.1.20, wlan0 10.79.40.213"
FORMS6 = "write auto:INTERFACE or the address itself in sites[].address6; "
HERE6 = f"IPv6 addresses here: eth0 {ULA.ip}"


@pytest.mark.parametrize(
    ("rule", "where", "text", "hint"),
    [
        (rule, host(LO, ETH0, WLAN0), text, FORMS4 + HERE4)
        for rule, text in (
            (AUTO, "this machine has no default route, so no LAN address"),
            (on("eth7"), "this machine has no address on interface 'eth7'"),
            (within("10.9.0.0/16"), "this machine has no address in network 10.9.0.0/16"),
            (
                on("lo"),
                "no address on interface 'lo' may be published: '127.0.0.1' on 'lo' is not a private address",
            ),
        )
    ]
    + [
        (rule, where, text, FORMS6 + HERE6)
        for rule, where, text in (
            (AUTO6, host(ULA), "this machine has no default route, so no LAN address"),
            (on("eth7", 6), host(ULA, by=ULA), "this machine has no IPv6 address on interface 'eth7'"),
            (AUTO6, host(ULA, by=OTHER6), "this machine has no IPv6 address on interface 'eth1'"),
        )
    ],
)
def test_an_error_says_what_was_asked_and_what_is_there(
    rule: AddressRule, where: Host, text: str, hint: str
) -> None:
    error = refusal(rule, where)
    assert (error.message, error.hint, error.retryable) == (text, hint, True)


def test_a_source_that_no_interface_has_is_refused() -> None:
    """It went between two questions to the kernel."""
    error = refusal(AUTO, host(ETH0, by=WLAN0))
    assert error.message == "this machine has no address of the default route"


@pytest.mark.parametrize("first", ["47.0.0.1", "2409:8a00::1"], ids=["4", "6"])
def test_an_error_stays_a_line_that_can_be_read(first: str) -> None:
    """A name may hold what a terminal acts upon, and a host has thousands of addresses."""
    many = [has("eth\x1b[0", str(ip_address(first) + i)) for i in range(5000)]
    error = refusal(on("eth\x1b[0", ip_address(first).version), host(*many))
    assert str(error).isprintable()
    assert len(str(error)) < 2000


# --- what holds for every machine ---------------------------------------------------------------------------

NOT_LAN = ["docker0", "br-0123456789ab", "virbr0", "veth0", "cni0", "tun0", "wg0", "tailscale0"]
INTERFACES = ["lo", "eth0", "eth1", "br0", *NOT_LAN]
NETWORKS = {
    4: [
        *("10.0.0.0/28", "10.0.0.0/8", "172.17.0.0/29", "172.16.0.0/12", "192.168.1.0/24"),
        *("47.96.0.0/24", "100.64.0.0/10", "169.254.0.0/16", "127.0.0.0/8"),
    ],
    6: [
        *("fd00::/126", "fd00::/64", "fc00::/8", "fe80::/126", "2409:8a00::/126", "2001:db8::/64", "::/126"),
    ],
}
PREFIXES = {4: st.integers(8, 32), 6: st.sampled_from([48, 64, 128])}
PRIVATE = [IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]


@st.composite
def any_address(draw: st.DrawFn, version: IPVersion) -> LocalAddress:
    """Any address on any interface; small networks make it likely that they meet."""
    network = draw(st.sampled_from(NETWORKS[version]).map(ip_network))
    ip = draw(st.ip_addresses(network=network))
    fault = draw(st.sampled_from(["", "", "is temporary", "is deprecated"]))
    text = f"{ip}/{draw(PREFIXES[version])}"
    return has(draw(st.sampled_from(INTERFACES)), text, is_fixed=draw(st.booleans()), fault=fault)


@st.composite
def any_host(draw: st.DrawFn, version: IPVersion) -> Host:
    """Any machine; its default route mostly leaves by an address that it has."""
    addresses = draw(st.lists(any_address(version), max_size=8))
    nowhere = has("eth0", "10.0.0.9/24" if version == 4 else "fd00::9/64")
    by = draw(st.sampled_from([None, nowhere, *addresses]))
    is_inside = draw(st.sampled_from([False, False, False, True]))
    return replace(host(*addresses, by=by), is_in_container=is_inside)


def any_rule(version: IPVersion) -> st.SearchStrategy[AddressRule]:
    auto = st.just(AddressRule("auto", version=version))
    named = st.sampled_from([on(name, version) for name in INTERFACES])
    networks = st.sampled_from([within(text) for text in (*NETWORKS[4], "0.0.0.0/0")])
    return st.one_of(auto, named, networks) if version == 4 else st.one_of(auto, named)


def chosen(rule: AddressRule, where: Host) -> Address | None:
    try:
        return ip_address(choose(rule, where))
    except AddressError:
        return None


def is_private(ip: Address) -> bool:
    return any(ip in network for network in PRIVATE) if ip.version == 4 else ip.packed[0] & 0xFE == 0xFC


def is_in_docker(ip: Address, addresses: Sequence[LocalAddress]) -> bool:
    return any(ip in each.network for each in addresses if each.interface in ("docker0", "br-0123456789ab"))


def is_fit(each: LocalAddress, rule: AddressRule, where: Host) -> bool:
    """Whether the page on the LAN address allows it, told in other words than the code's."""
    if where.is_in_container or not is_private(each.ip):
        return False
    if rule.kind == "interface":
        return each.interface == rule.value and not each.fault
    if each.interface in NOT_LAN or is_in_docker(each.ip, where.addresses):
        return False
    if rule.kind == "network":
        return each.ip in IPv4Network(rule.value) and not each.fault
    if rule.version == 4:
        return each.ip == where.source
    return each.interface == where.interface and not each.fault


@BOTH
@given(data=st.data())
def test_what_must_not_be_published_is_never_chosen_and_what_may_be_is_found(
    version: IPVersion, data: st.DataObject
) -> None:
    rule, where = data.draw(any_rule(version)), data.draw(any_host(version))
    fit = {each.ip for each in where.addresses if is_fit(each, rule, where)}
    found = chosen(rule, where)
    assert (found in fit) if fit else (found is None)
    if where.source in fit:
        assert found == where.source


@BOTH
@given(data=st.data())
def test_what_comes_and_goes_beside_it_moves_no_record(version: IPVersion, data: st.DataObject) -> None:
    """Networks of containers and tunnels; of IPv6 also what may not be published, and other interfaces."""
    rule, where = data.draw(any_rule(version)), data.draw(any_host(version))
    others = data.draw(st.lists(any_address(version), max_size=4))
    before = chosen(rule, where)
    named = rule.value or where.interface
    coming = [
        each
        for each in others
        if (each.interface in NOT_LAN if version == 4 else not is_in_docker(each.ip, [each]))
        if each.interface != named or (version == 6 and (each.fault or not is_private(each.ip)))
        if before is None or not is_in_docker(before, [each])
    ]
    assert chosen(rule, replace(where, addresses=(*coming, *where.addresses))) == before


@given(rule=any_rule(6), where=any_host(6), data=st.data())
def test_the_order_in_which_the_kernel_tells_those_of_ipv6_moves_no_record(
    rule: AddressRule, where: Host, data: st.DataObject
) -> None:
    shuffled = tuple(data.draw(st.permutations(where.addresses)))
    assert chosen(rule, replace(where, addresses=shuffled)) == chosen(rule, where)


# --- asking the kernel --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["47.96.12.34", "127.0.0.1", "100.64.0.20", "172.17.0.1", "2409:8a00::1", "::1", "fd00::1"]
)
def test_a_literal_address_wins_and_none_wants_no_record(text: str) -> None:
    """Nobody is asked, so nothing can be held against it."""
    version = ip_address(text).version
    assert address_now(AddressRule("literal", text, version)) == text
    assert address_now(AddressRule("none", version=version)) == ""


@pytest.mark.process
@BOTH
def test_the_kernels_addresses_are_those_that_ip_shows(version: IPVersion) -> None:
    """With the same interfaces, subnets and lives; those of IPv4 in the order of the interfaces."""
    ended = subprocess.run(["ip", "-json", f"-{version}", "address"], capture_output=True, check=True)
    links = sorted(json.loads(ended.stdout), key=lambda link: int(link["ifindex"]))
    expected = [
        has(link["ifname"], f"{info['local']}/{info['prefixlen']}", fault=fault_of(info, version))
        for link in links
        for info in link["addr_info"]
    ]
    found = [replace(each, is_fixed=False, is_to_one=False) for each in local_addresses(version)]
    assert set(found) == set(expected)
    if version == 4:
        assert LO in found
        assert found == expected


def fault_of(info: dict[str, object], version: IPVersion) -> str:
    """Return what a line of ip(8) says against an address."""
    if version == 4:
        is_lasting = info["scope"] == "global" and not info.get("deprecated")
        return "" if is_lasting else "is deprecated or of a narrow scope"
    return next((f"is {each}" for each in ("temporary", "deprecated") if info.get(each)), "")
