"""Which LAN address the A record must carry.

The source address of the default route is what other machines of the LAN reach; asking the kernel for it
sends nothing. Addresses of container networks and tunnels, and public ones, are refused unless they are
written literally.

Source: RFC 1918, RFC 3927, RFC 6598; the naming of docker, libvirt, CNI and WireGuard interfaces.
"""

from __future__ import annotations

import fcntl
import ipaddress
import re
import socket
import struct
from pathlib import Path

from .errors import AddressError

# Any address beyond the default route will do: a connected UDP socket only looks the route up.
_BEYOND = ("223.5.5.5", 53)
_NOT_LAN = re.compile(r"docker\d*|br-[0-9a-f]{12}|virbr\d.*|veth.*|cni.*|tun\d.*|wg.*|tailscale.*")
_SIOCGIFADDR = 0x8915
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")


def lan_address() -> str:
    """Return the address of this machine that the LAN reaches it by.

    Raises:
        AddressError: there is no default route yet, or its address must not be published.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_BEYOND)
        except OSError as exc:
            raise AddressError(
                "this machine has no default route, so no LAN address",
                hint="connect it, or write the address literally in sites[].address",
            ) from exc
        found = ipaddress.IPv4Address(probe.getsockname()[0])
    interface = _interface_of(str(found))
    if _NOT_LAN.fullmatch(interface) or _in_container_network():
        raise AddressError(
            f"the default route leaves by {interface!r} with {str(found)!r}: a container network or tunnel",
            hint="write the LAN address literally in sites[].address",
        )
    if found.is_loopback or found.is_link_local or not found.is_private:
        raise AddressError(
            f"the default route's address {str(found)!r} on {interface!r} is not a private LAN address",
            hint="write it literally in sites[].address if it is meant",
        )
    return str(found)


def _interface_of(address: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                reply = fcntl.ioctl(probe, _SIOCGIFADDR, request)
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(reply[20:24]) == address:
                return name
    return "?"


def _in_container_network() -> bool:
    """Tell whether we run in a container that has a network of its own."""
    if not any(Path(mark).exists() for mark in _CONTAINER_MARKS):
        return False
    # The host has interfaces that a container's own network never shows: its bridges.
    return not any(re.match(r"docker\d|br-", name) for _, name in socket.if_nameindex())
