"""Which LAN address the A record must carry.

`wanted_address` asks the kernel and sends nothing; `choose`, which is pure, finds the one that is meant. A
public address is never chosen, and one of a container network or tunnel only where the user named the
interface: who means such an address writes it literally.

Sources: RFC 1918, RFC 5737; how docker, libvirt, CNI, WireGuard and Tailscale name interfaces.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path

from . import netlink
from .errors import AddressError, printable
from .values import AddressRule

# Any address beyond the default route will do: a connected UDP socket only looks the route up.
_BEYOND = ("223.5.5.5", 53)

# What nobody routes: RFC 1918, and the networks of RFC 5737, which stand for LANs in test beds. `is_private`
# also holds 198.18.0.0/15, where proxies put their tunnels.
_PRIVATE = tuple(
    IPv4Network(text)
    for text in (
        *("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
        *("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"),
    )
)

# By name and not by kind: a LAN may hang on a veth, and a bridge like br0 may carry it.
_DOCKER = re.compile(r"docker\d*|docker_gwbridge|br-[0-9a-f]{12}")
_NOT_LAN = re.compile(rf"{_DOCKER.pattern}|(virbr|veth|cni|tun|wg|tailscale).*")

# linux/rtnetlink.h, linux/if_addr.h.
_RT_SCOPE_UNIVERSE, _IFA_F_DEPRECATED = 0, 0x20

_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
# What a host has and a container's own network does not: bridges.
_HOST_BRIDGE = re.compile(r"docker|br|podman|cni|virbr|vmbr")

_HINT = "write auto:INTERFACE, auto:NETWORK or the address itself in sites[].address"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An IPv4 address of this machine.

    Attributes:
        interface: the name of the interface that has it.
        ip: the address.
        network: the subnet that it gives its interface.
        is_lasting: of global scope, and not deprecated (RFC 4862's word for "about to go").
    """

    interface: str
    ip: IPv4Address
    network: IPv4Network
    is_lasting: bool = True


@dataclass(frozen=True, slots=True)
class Host:
    """What the kernel says of this machine's network.

    Attributes:
        addresses: all IPv4 addresses, by the index of their interface, then as the kernel orders them.
        source: the source address of the default route; None without such a route.
        is_in_container: we run in a container that has a network of its own.
    """

    addresses: tuple[LocalAddress, ...]
    source: IPv4Address | None
    is_in_container: bool = False


def wanted_address(rule: AddressRule) -> str:
    """Return the address that the A record must carry; empty where `rule` wants no record.

    Raises:
        AddressError: there is none at the moment, or none that may be published.
    """
    if rule.kind in ("literal", "none"):
        return rule.value
    try:
        host = Host(local_addresses(), default_source(), is_in_container())
    except OSError as exc:
        raise AddressError(
            f"the kernel does not tell this machine's addresses: {exc.strerror}",
            hint="allow AF_NETLINK and AF_INET in the unit, or write the address in sites[].address",
        ) from exc
    return choose(rule, host)


def choose(rule: AddressRule, host: Host) -> str:
    """Return the address of `host` that a rule of kind auto, interface or network means.

    Of several the default route's source is taken, else the first.

    Raises:
        AddressError: there is none, or none that may be published.
    """
    if host.is_in_container:
        raise AddressError(
            "certbotless runs in a container network, where the LAN address of the machine cannot be seen",
            hint="give the container the host's network, or write the address in sites[].address",
        )
    if rule.kind == "auto":
        asked = [each for each in host.addresses if each.ip == host.source]
        where = "of the default route"
    elif rule.kind == "interface":
        asked = [each for each in host.addresses if each.interface == rule.value]
        where = f"on interface {rule.value!r}"
    else:
        network = IPv4Network(rule.value)
        asked = [each for each in host.addresses if each.ip in network]
        where = f"in network {rule.value}"
    objections = {each: _objection(each, rule, host) for each in asked}
    fit = [each.ip for each in asked if not objections[each]]
    if fit:
        return str(host.source if host.source in fit else fit[0])

    if rule.kind == "auto" and host.source is None:
        text = "this machine has no default route, so no LAN address"
    elif not asked:
        text = f"this machine has no address {where}"
    else:
        reasons = (f"{str(each.ip)!r} on {each.interface!r} {why}" for each, why in objections.items())
        text = f"no address {where} may be published: {printable('; '.join(reasons))}"
    there = ", ".join(f"{each.interface} {each.ip}" for each in host.addresses) or "none"
    raise AddressError(text, hint=f"{_HINT}; addresses here: {printable(there)}")


def _objection(each: LocalAddress, rule: AddressRule, host: Host) -> str:
    """Say why an address must not be published; empty where it may."""
    if not any(each.ip in network for network in _PRIVATE):
        return "is not a private address"
    if rule.kind != "auto" and not each.is_lasting:
        return "is deprecated or of a narrow scope"
    # An interface that the user named is the one that is meant, whatever its name.
    if rule.kind == "interface":
        return ""
    if is_of_containers_or_tunnel(each.interface):
        return "belongs to a container network or tunnel"
    for other in host.addresses:
        if is_of_containers(other.interface) and each.ip in other.network:
            return f"lies in the subnet of the container network {other.interface!r}"
    return ""


def is_of_containers_or_tunnel(interface: str) -> bool:
    """Whether an interface has the name of a container network's or a tunnel's."""
    return _NOT_LAN.fullmatch(interface) is not None


def is_of_containers(interface: str) -> bool:
    """Whether an interface has the name of a Docker network's bridge."""
    return _DOCKER.fullmatch(interface) is not None


# --- what the kernel says -----------------------------------------------------------------------------------


def default_source() -> IPv4Address | None:
    """Return the address that the default route leaves by; None without such a route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_BEYOND)
        except OSError:
            return None
        return IPv4Address(probe.getsockname()[0])


def is_in_container() -> bool:
    """Tell whether we run in a container that has a network of its own."""
    if not any(Path(mark).exists() for mark in _CONTAINER_MARKS):
        return False
    return not any(_HOST_BRIDGE.match(name) for _, name in socket.if_nameindex())


def local_addresses() -> tuple[LocalAddress, ...]:
    """Return all that the kernel has.

    Raises:
        OSError: there is no netlink, or no answer that is of one piece.
    """
    names = dict(socket.if_nameindex())
    return tuple(
        LocalAddress(
            names[each.index],
            IPv4Address(each.ip),
            IPv4Interface((each.ip, each.prefix)).network,
            each.scope == _RT_SCOPE_UNIVERSE and not each.flags & _IFA_F_DEPRECATED,
        )
        for each in netlink.addresses(socket.AF_INET)
        # An interface that has gone, or come, since its name was asked for is none.
        if each.index in names
    )
