"""The address of a site, as the file has it: how it is found, or which it is, or several.

Source: the key table of docs/configuration.md.
"""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic_core import core_schema

from ..base.checked import Mark, after, or_list
from ..base.errors import ValueFault
from ..base.words import N_, Text
from .site_names import is_of_a_lan

# How many addresses a list has. Aliyun's free plan has no more A records at one name and line.
LEAST_ADDRESSES, MOST_ADDRESSES = 2, 10
# What may be an address; it is parsed after that.
IPV4, _IPV6 = r"[0-9]+(\.[0-9]+){3}", "[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*"
# The kernel's own rule for the names of interfaces.
_INTERFACE = r"[^\s:/]{1,15}"

IPVersion = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class AddressRule:
    """How the wanted LAN address is found.

    Attributes:
        kind: by the default route (auto), by that or else by the only interface to a LAN (alone), by an
            interface or a network of this machine, as written, or not at all.
        value: the interface's name, the network as ``10.0.0.0/8``, or the address; else empty.
        version: of IP: 4 for the A record, 6 for the AAAA record.
        others: the further addresses of a list, whose first one is `value`.
    """

    kind: Literal["auto", "alone", "interface", "network", "literal", "none"]
    value: str = ""
    version: IPVersion = 4
    others: tuple[str, ...] = ()

    @property
    def several(self) -> tuple[str, ...]:
        """The addresses of a list, in its order; empty for any other rule."""
        return (self.value, *self.others) if self.others else ()


def _address(version: IPVersion) -> Callable[[str], AddressRule]:
    def rule(text: str) -> AddressRule:
        if text in ("auto", "none"):
            return AddressRule("auto" if text == "auto" else "none", version=version)
        source = text.removeprefix("auto:")
        if source == text:
            return AddressRule("literal", _ip(text, version), version)
        if "/" in source:
            return AddressRule("network", str(ipaddress.IPv4Network(source)))
        # Digits and dots alone are a network cut short.
        if not source.isprintable() or not (source.strip("0123456789.") or version == 6):
            raise ValueError
        return AddressRule("interface", source, version)

    return rule


def _ip(text: str, version: IPVersion) -> str:
    if version == 4:
        return str(ipaddress.IPv4Address(text))
    address = ipaddress.IPv6Address(text)
    if address.is_link_local or address.is_multicast or address.is_unspecified or address.ipv4_mapped:
        raise ValueFault(Text("{0!r} leads to no machine by itself; write a ULA or global address", text))
    return str(address)


def _address_of_list(text: str) -> str:
    """Return an address of a list: one that a machine of the LAN may have."""
    if text.partition(":")[0] in ("auto", "none"):
        raise ValueFault(Text("{!r} does not go into a list: write each address", text))
    address = str(ipaddress.IPv4Address(text))
    if not is_of_a_lan(address) or ipaddress.ip_address(address).is_unspecified:
        raise ValueFault(Text("{!r} is not an address of a LAN", address))
    return address


def _addresses(found: tuple[str, ...]) -> AddressRule:
    if not LEAST_ADDRESSES <= len(found) <= MOST_ADDRESSES:
        form = N_("a list has {} to {} addresses, this one {}; write one address without a list")
        raise ValueFault(Text(form, LEAST_ADDRESSES, MOST_ADDRESSES, len(found)))
    return AddressRule("literal", found[0], others=found[1:])


def _rule(pattern: str, version: IPVersion) -> Mark:
    return lambda _: after(_address(version))(core_schema.str_schema(pattern=pattern))


_ENTRY = after(_address_of_list)(core_schema.str_schema(pattern=rf"^({IPV4}|auto(:.*)?|none)$"))
_LIST = after(_addresses)(core_schema.tuple_variable_schema(_ENTRY, strict=False))
Address = Annotated[
    AddressRule,
    _rule(rf"^(auto|none|auto:({_INTERFACE}|[0-9.]+/[0-9.]+)|{IPV4})$", 4),
    or_list(_LIST),
]
Address6 = Annotated[AddressRule, _rule(rf"^(auto|none|auto:{_INTERFACE}|{_IPV6})$", 6)]
