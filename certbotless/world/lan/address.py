"""Which LAN address the A record must carry, and which one the AAAA record, for a site that asks for one.

`address_now` asks the kernel and sends nothing; `choose`, which is pure, finds the one that is meant. Only
what nobody routes is chosen: a private address of IPv4, a unique local address (ULA) of IPv6. One of a
container network or tunnel is chosen only where the user named the interface. Any other address must be
written literally.

Sources: RFC 1918, RFC 5737 (IPv4); RFC 4193 (ULA); RFC 4862 section 5.4 (tentative) and 5.5.4 (deprecated);
RFC 8981 (temporary); how docker, podman, libvirt, LXC, LXD, Incus, networks of Kubernetes, WireGuard,
Tailscale and ZeroTier name interfaces.
"""

import fcntl
import re
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network
from pathlib import Path

from ...base.errors import AddressError, printable, reason_of
from ...base.words import N_, Text
from ...config.addresses import AddressRule, IPVersion
from . import netlink

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
AddressSource = Callable[[AddressRule], str]


# What differs between the versions of IP: how the kernel names them; an address beyond the default route (a
# connected UDP socket only looks the route up), and not the resolver beside it: a machine may have a route of
# its own to a resolver (systemd.network(5), RoutesToDNS=); the networks that nobody routes, and what an
# address outside of them is not; what people are told that an address is, its key in the file, and what may
# be written there.
_FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
_BEYOND = {4: "223.5.5.1", 6: "2400:3200::2"}
_LAN4 = "10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24"
_LAN: dict[int, tuple[Network, ...]] = {
    # RFC 1918, and the networks of RFC 5737, which stand for LANs in test beds. `is_private` also holds
    # 198.18.0.0/15, where proxies put their tunnels.
    4: tuple(map(IPv4Network, _LAN4.split())),
    6: (IPv6Network("fc00::/7"),),
}
_STRANGER = {4: N_("is not a private address"), 6: N_("is not a unique local address")}
_NOUN = {4: N_("address"), 6: N_("IPv6 address")}
_HERE = {4: N_("{}; addresses here: {}"), 6: N_("{}; IPv6 addresses here: {}")}
_KEY = {4: "sites[].address", 6: "sites[].address6"}
_FORMS = {
    4: N_("write auto:INTERFACE, auto:NETWORK or the address itself in {}"),
    6: N_("write auto:INTERFACE or the address itself in {}"),
}

# By name and not by kind: a LAN may hang on a veth, and a bridge like br0 may carry it.
_DOCKER = re.compile(r"docker\d*|docker_gwbridge|br-[0-9a-f]{12}")
_OTHERS = r"virbr|veth|cni|podman|lxcbr|lxdbr|incusbr|flannel|vxlan\.calico|kube-|cilium|tun|wg|tailscale|zt"
_NOT_LAN = re.compile(rf"{_DOCKER.pattern}|({_OTHERS}).*")

# linux/rtnetlink.h, linux/if_addr.h. The first flag means "secondary" of IPv4.
_RT_SCOPE_UNIVERSE = 0
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80

# netdevice(7), linux/if.h.
_SIOCGIFFLAGS, _IFF_UP, _IFF_LOOPBACK, _IFF_POINTOPOINT = 0x8913, 0x1, 0x8, 0x10

# sysfs-class-net: the link `master` of an interface that is a part of another one, and `device` of a card.
_INTERFACES = Path("/sys/class/net")

# Of IPv6, the first that is so counts.
_FAULTS = {
    _TEMPORARY: "is temporary",
    _DEPRECATED: "is deprecated",
    _TENTATIVE | _DAD_FAILED: "is not known to be the only one of its kind",
}

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
# What a host has and a container's own network does not: bridges, and interfaces of devices.
_HOST_BRIDGE = re.compile(r"docker|br|podman|cni|virbr|vmbr")


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this machine.

    Attributes:
        interface: the name of the interface that has it.
        ip: the address.
        network: the subnet that it gives its interface.
        fault: why it does not last; empty if it does.
        is_fixed: it was set without an end, by an admin and not by the network.
        is_to_one: the interface leads to one other machine, as that of a VPN with any name does.
    """

    interface: str
    ip: Address
    network: Network
    fault: str = ""
    is_fixed: bool = False
    is_to_one: bool = False


@dataclass(frozen=True, slots=True)
class Host:
    """What the kernel says of this machine's network, of one version of IP.

    Attributes:
        addresses: all its addresses, by the index of their interface, then as the kernel orders them.
        source: of IPv4, the source address of the default route; None without such a route.
        interface: of IPv6, the name of the interface that the default route leaves by, or IPv4's where
            IPv6 has none; empty without one. Its source address is of no use: it is mostly a global one.
            Of IPv4, the only interface to a LAN of a machine without a default route, as one without Internet
            may be; empty for any other. Where there are two, a pulled cable must not lead to the other one.
        is_in_container: we run in a container that has a network of its own.
    """

    addresses: tuple[LocalAddress, ...]
    source: IPv4Address | None = None
    interface: str = ""
    is_in_container: bool = False


def address_now(rule: AddressRule) -> str:
    """Return the address that the record must carry; empty where `rule` wants no record. An `AddressSource`.

    Raises:
        AddressError: there is none at the moment, or none that may be published.
    """
    if rule.kind in ("literal", "none"):
        return rule.value
    try:
        host = _host(rule.version)
    except OSError as exc:
        family = _FAMILY[rule.version].name
        raise AddressError(
            Text("the kernel does not list this machine's addresses: {}", reason_of(exc)),
            hint=Text(
                "allow AF_NETLINK and {} in the unit, or write the address in {}", family, _KEY[rule.version]
            ),
        ) from exc
    return choose(rule, host)


def choose(rule: AddressRule, host: Host) -> str:
    """Return the address of `host` that a rule of kind auto, interface or network means.

    Of several, IPv4 takes the default route's source, else the first. IPv6 takes those that an admin has set
    before others, then the lowest, so that what comes and goes beside it moves no record.

    Raises:
        AddressError: there is none, or none that may be published.
    """
    noun, key = Text(_NOUN[rule.version]), _KEY[rule.version]
    if host.is_in_container:
        raise AddressError(
            Text(
                "certbotless runs in a container network, where the LAN address of the machine cannot be seen"
            ),
            hint=Text("give the container the host's network, or write the address in {}", key),
        )
    if rule.kind == "network":
        network = ip_network(rule.value)
        asked = [each for each in host.addresses if each.ip in network]
        where = Text("in network {}", rule.value)
    elif rule.kind in ("auto", "alone") and rule.version == 4:
        asked = [each for each in host.addresses if each.ip == host.source]
        if rule.kind == "alone" and host.source is None:
            asked = [each for each in host.addresses if each.interface == host.interface]
        where = Text("of the default route")
    else:
        interface = rule.value or host.interface
        asked = [each for each in host.addresses if each.interface == interface]
        where = Text("on interface {!r}", interface)
    objections = {each: _objection(each, rule, host) for each in asked}
    fit = [each for each in asked if not objections[each]]
    if fit:
        if rule.version == 4:
            return str(min(fit, key=lambda each: each.ip != host.source).ip)
        return str(min(fit, key=lambda each: (not each.is_fixed, int(each.ip))).ip)

    is_lost = host.source is None and (rule.version == 4 or not host.interface)
    if rule.kind in ("auto", "alone") and is_lost and not asked:
        text = Text("this machine has no default route, so no LAN address")
    elif not asked:
        text = Text("this machine has no {} {}", noun, where)
    else:
        form = N_("{!r} on {!r} {}")
        reasons = (Text(form, str(each.ip), each.interface, why) for each, why in objections.items())
        text = Text("no {} {} may be published: {}", noun, where, printable(Text.joined("; ", reasons)))
    there = ", ".join(f"{each.interface} {each.ip}" for each in host.addresses)
    hint, there = Text(_FORMS[rule.version], key), printable(there) or Text("none")
    raise AddressError(text, hint=Text(_HERE[rule.version], hint, there))


def _objection(each: LocalAddress, rule: AddressRule, host: Host) -> str:
    """Say why an address must not be published; empty where it may."""
    if not any(each.ip in network for network in _LAN[rule.version]):
        return Text(_STRANGER[rule.version])
    # The source of IPv4's default route does not have to last: the machine has no other way to be reached.
    if each.fault and (rule.kind not in ("auto", "alone") or rule.version == 6):
        return each.fault
    # An interface that the user named is the one that is meant, whatever its name.
    if rule.kind == "interface":
        return ""
    if _NOT_LAN.fullmatch(each.interface) or each.is_to_one:
        return Text("belongs to a container network or tunnel")
    for other in host.addresses:
        if _DOCKER.fullmatch(other.interface) and each.ip in other.network:
            return Text("is in the subnet of the container network {!r}", other.interface)
    return ""


# --- what the kernel says -----------------------------------------------------------------------------------


def local_addresses(version: IPVersion) -> tuple[LocalAddress, ...]:
    """Return all that the kernel has of one version of IP.

    Raises:
        OSError: there is no netlink, or no answer that is of one piece.
    """
    names = dict(socket.if_nameindex())
    return tuple(
        LocalAddress(
            names[each.index],
            ip_address(each.ip),
            ip_interface((each.ip, each.prefix)).network,
            _fault(version, each),
            bool(each.flags & _PERMANENT),
            bool(_flags_of(names[each.index]) & _IFF_POINTOPOINT),
        )
        for each in netlink.addresses(_FAMILY[version])
        # An interface that has gone, or come, since its name was asked for is none.
        if each.index in names
    )


def _fault(version: IPVersion, each: netlink.KernelAddress) -> str:
    if version == 4:
        is_lasting = each.scope == _RT_SCOPE_UNIVERSE and not each.flags & _DEPRECATED
        return "" if is_lasting else "is deprecated or of a narrow scope"
    return next((why for flags, why in _FAULTS.items() if each.flags & flags), "")


def _host(version: IPVersion) -> Host:
    addresses, is_inside = local_addresses(version), _is_in_container()
    if version == 4:
        source = _default_source()
        return Host(addresses, source, "" if source else _only_interface(), is_inside)
    return Host(addresses, interface=_default_interface(addresses), is_in_container=is_inside)


def _default_source() -> IPv4Address | None:
    """Return the address that IPv4's default route leaves by; None without such a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((_BEYOND[4], 53))
        except OSError:
            return None
        return IPv4Address(probe.getsockname()[0])


def _only_interface() -> str:
    """Return the name of the interface to a LAN that an admin has set up; empty where there is not one.

    The ports of a bridge and the members of a bond are none by themselves.
    """
    names = [name for _, name in socket.if_nameindex() if not (_INTERFACES / name / "master").exists()]
    kinds = _IFF_UP | _IFF_LOOPBACK | _IFF_POINTOPOINT
    found = [name for name in names if _flags_of(name) & kinds == _IFF_UP and not _NOT_LAN.fullmatch(name)]
    return found[0] if len(found) == 1 else ""


def _flags_of(name: str) -> int:
    """Return the flags of an interface, ``IFF_...``; 0 for one that has gone."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked, suppress(OSError):
        answer = fcntl.ioctl(asked, _SIOCGIFFLAGS, struct.pack("16sH14x", name.encode(), 0))
        return int(struct.unpack_from("H", answer, 16)[0])
    return 0


def _default_interface(addresses: tuple[LocalAddress, ...]) -> str:
    """Return the name of the interface that IPv6's default route leaves by, else IPv4's; empty without one.

    Args:
        addresses: this machine's of IPv6.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect((_BEYOND[6], 53))
            ip, _, _, index = probe.getsockname()
        if index:  # an address of the link says of which
            return socket.if_indextoname(index)
        source: Address | None = IPv6Address(ip)
    except OSError:  # no IPv6, or no route
        source, addresses = _default_source(), local_addresses(4)
    return next((each.interface for each in addresses if each.ip == source), "")


def _is_in_container() -> bool:
    """Tell whether we run in a container that has a network of its own."""
    if not any(Path(mark).exists() for mark in _CONTAINER_MARKS):
        return False
    names = [name for _, name in socket.if_nameindex()]
    return not any(_HOST_BRIDGE.match(name) or (_INTERFACES / name / "device").exists() for name in names)
