"""Do other machines of the LAN reach this machine's address? They do not behind a NAT of its own host.

Sources: Microsoft, "Accessing network applications with WSL" (WSL2 has a NAT unless its networking mode is
mirrored, which has the interface loopback0); VirtualBox manual, "Network Address Translation"; QEMU, "-netdev
user"; Lima, "user-mode network". WSL1 has the network of Windows, and writes its name with a capital M.
"""

import os
import socket
import struct
from contextlib import suppress
from pathlib import Path

from ...base.words import _

_VERSION = Path("/proc/version")
_ROUTES = Path("/proc/net/route")
_MIRRORED = "/sys/class/net/loopback0"
# The address that such a machine has by default, and its gateway.
_NATS = {
    ("10.0.2.15", "10.0.2.2"): "VirtualBox or QEMU",
    ("10.0.3.15", "10.0.3.2"): "VirtualBox",
    ("192.168.5.15", "192.168.5.2"): "Lima",
}


def nat_around(address: str) -> tuple[str, str]:
    """Return what is between this machine's address and the LAN, and the cure; empty texts for nothing."""
    if "microsoft" in text_of(_VERSION) and not os.path.exists(_MIRRORED):
        cure = _("set networkingMode=mirrored in .wslconfig of Windows, or write Windows' own LAN address")
        return "WSL2", cure
    if name := _NATS.get((address, default_gateway(text_of(_ROUTES)))):
        cure = _("give it a bridged network instead, or write the host's address")
        return _("a virtual machine of {}").format(name), cure
    return "", ""


def default_gateway(routes: str) -> str:
    """Return the gateway of the default route in /proc/net/route, empty for none."""
    for line in routes.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] == fields[7] == "00000000":
            with suppress(ValueError, struct.error):
                return socket.inet_ntoa(struct.pack("=I", int(fields[2], 16)))
    return ""


def text_of(path: Path) -> str:
    """Return the text of a file of the system, empty where it cannot be read."""
    with suppress(OSError):
        return path.read_text(errors="replace")
    return ""
