"""Which IPv6 address the AAAA record must carry, for a site that asks for one.

As with the A record, what is chosen is what nobody routes: a unique local address (ULA), never a global one,
which must be written literally. A record must last, so a temporary, deprecated or unproved address and one of
a link are never chosen either.

Sources: RFC 4193 (ULA), RFC 4862 section 5.4 (tentative) and 5.5.4 (deprecated), RFC 8981 (temporary).
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Interface, IPv6Network

from . import netlink
from .address import (
    default_source,
    is_in_container,
    is_of_containers,
    is_of_containers_or_tunnel,
    local_addresses,
)
from .errors import AddressError, printable
from .values import AddressRule

# Any address beyond the default route will do, as in `address`.
_BEYOND = ("2400:3200::1", 53)
_ULA = IPv6Network("fc00::/7")

# linux/if_addr.h.
_TEMPORARY, _DAD_FAILED, _DEPRECATED, _TENTATIVE, _PERMANENT = 0x01, 0x08, 0x20, 0x40, 0x80

_HINT = "write auto:INTERFACE or the address itself in sites[].address6"


@dataclass(frozen=True, slots=True)
class LocalAddress6:
    """An IPv6 address of this machine.

    Attributes:
        interface: the name of the interface that has it.
        ip: the address.
        network: the subnet that it gives its interface.
        is_fixed: it was set without an end, by an admin and not by the network.
        fault: why it does not last; empty if it does.
    """

    interface: str
    ip: IPv6Address
    network: IPv6Network
    is_fixed: bool = False
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Host6:
    """What the kernel says of this machine's IPv6 network.

    Attributes:
        addresses: all IPv6 addresses, in any order.
        interface: the one that the default route leaves by, of IPv6, else of IPv4; empty without one.
        is_in_container: we run in a container that has a network of its own.
    """

    addresses: tuple[LocalAddress6, ...]
    interface: str
    is_in_container: bool = False


def wanted_address6(rule: AddressRule) -> str:
    """Return the address that the AAAA record must carry; empty where `rule` wants no record.

    Raises:
        AddressError: there is none at the moment, or none that may be published.
    """
    if rule.kind in ("literal", "none"):
        return rule.value
    try:
        addresses = local_addresses6()
        host = Host6(addresses, _default_interface(addresses), is_in_container())
    except OSError as exc:
        raise AddressError(
            f"the kernel does not tell this machine's addresses: {exc.strerror}",
            hint="allow AF_NETLINK and AF_INET6 in the unit, or write the address in sites[].address6",
        ) from exc
    return choose6(rule, host)


def choose6(rule: AddressRule, host: Host6) -> str:
    """Return the address of `host` that a rule of kind auto or interface means.

    Of several, one that an admin has set, then the lowest: what comes and goes beside it moves no record.

    Raises:
        AddressError: there is none, or none that may be published.
    """
    if host.is_in_container:
        raise AddressError(
            "certbotless runs in a container network, where the LAN address of the machine cannot be seen",
            hint="give the container the host's network, or write the address in sites[].address6",
        )
    interface = host.interface if rule.kind == "auto" else rule.value
    asked = [each for each in host.addresses if each.interface == interface]
    objections = {each: _objection(each, rule, host) for each in asked}
    fit = [each for each in asked if not objections[each]]
    if fit:
        return str(min(fit, key=lambda each: (not each.is_fixed, each.ip)).ip)

    if not interface:
        text = "this machine has no default route, so no LAN"
    elif not asked:
        text = f"this machine has no IPv6 address on interface {interface!r}"
    else:
        reasons = "; ".join(f"{str(each.ip)!r} {why}" for each, why in objections.items())
        text = f"no IPv6 address on interface {interface!r} may be published: {reasons}"
    there = ", ".join(f"{each.interface} {each.ip}" for each in host.addresses) or "none"
    raise AddressError(printable(text), hint=f"{_HINT}; IPv6 addresses here: {printable(there)}")


def _objection(each: LocalAddress6, rule: AddressRule, host: Host6) -> str:
    """Say why an address must not be published; empty where it may."""
    if each.ip not in _ULA:
        return "is not a unique local address"
    if each.fault:
        return each.fault
    # An interface that the user named is the one that is meant, whatever its name.
    if rule.kind == "interface":
        return ""
    if is_of_containers_or_tunnel(each.interface):
        return "belongs to a container network or tunnel"
    for other in host.addresses:
        if is_of_containers(other.interface) and each.ip in other.network:
            return f"lies in the subnet of the container network {other.interface!r}"
    return ""


# --- what the kernel says -----------------------------------------------------------------------------------


def local_addresses6() -> tuple[LocalAddress6, ...]:
    """Return all that the kernel has.

    Raises:
        OSError: there is no netlink, or no answer that is of one piece.
    """
    names = dict(socket.if_nameindex())
    return tuple(
        LocalAddress6(
            names[each.index],
            IPv6Address(each.ip),
            IPv6Interface((each.ip, each.prefix)).network,
            bool(each.flags & _PERMANENT),
            _fault(each.flags),
        )
        for each in netlink.addresses(socket.AF_INET6)
        # An interface that has gone, or come, since its name was asked for is none.
        if each.index in names
    )


def _fault(flags: int) -> str:
    if flags & _TEMPORARY:
        return "is temporary"
    if flags & _DEPRECATED:
        return "is deprecated"
    if flags & (_TENTATIVE | _DAD_FAILED):
        return "is not known to be the only one of its kind"
    return ""


def _default_interface(addresses: tuple[LocalAddress6, ...]) -> str:
    """Return the name of the interface that the default route leaves by; empty without one."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.connect(_BEYOND)
            ip, _, _, index = probe.getsockname()
        if index:  # an address of the link says of which
            return socket.if_indextoname(index)
        return next((each.interface for each in addresses if each.ip == IPv6Address(ip)), "")
    except OSError:  # no IPv6, or no route
        return _default_interface4()


def _default_interface4() -> str:
    source = default_source()
    return next((each.interface for each in local_addresses() if each.ip == source), "")
