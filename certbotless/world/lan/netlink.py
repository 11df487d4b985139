"""This machine's addresses, as the kernel has them, and news that they may have changed.

`addresses` asks once; `News` listens. Neither sends anything to the network nor changes anything.

Sources: netlink(7), rtnetlink(7); linux/if_addr.h for the flags.
"""

import errno
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# In the order of the machine's bytes.
_NLMSGHDR = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_IFADDRMSG = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, interface index
_RTATTR = struct.Struct("=HH")  # length, type
_NLMSG_ERROR, _NLMSG_DONE, _RTM_GETADDR = 2, 3, 22
_NLM_F_DUMP, _NLM_F_DUMP_INTR = 0x301, 0x10  # the first with NLM_F_REQUEST
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
# Answers that a change of the addresses has torn; each takes less than a millisecond.
_MAX_TORN = 100
# The kernel sends no more than 32 KiB at a time.
_PACKET = 1 << 16
# RTMGRP_LINK, and _IFADDR and _ROUTE of IPv4 (0x10, 0x40) and of IPv6 (0x100, 0x400).
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


@dataclass(frozen=True, slots=True)
class KernelAddress:
    """An address of this machine as the kernel has it.

    Attributes:
        index: of the interface that has it.
        ip: its 4 or 16 octets.
        prefix: how many bits of it are the subnet's.
        flags: ``IFA_F_...``
        scope: ``RT_SCOPE_...``; 0 is the whole world.
    """

    index: int
    ip: bytes
    prefix: int
    flags: int
    scope: int


def addresses(family: socket.AddressFamily) -> list[KernelAddress]:
    """Return all addresses of AF_INET or AF_INET6, by the index of their interface.

    Raises:
        OSError: there is no netlink, or no answer that is of one piece.
    """
    found = []
    for message in _dump(family):
        its_family, prefix, flags, scope, index = _IFADDRMSG.unpack_from(message)
        if its_family != family:
            continue  # a kernel without the family tells of the others
        attributes = dict(_attributes(message))
        # The two differ where there is a peer: then the second is its.
        ip = attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS)
        if ip is None:
            raise OSError(None, "an address without its value")
        if _IFA_FLAGS in attributes:
            (flags,) = struct.unpack("=I", attributes[_IFA_FLAGS])
        found.append(KernelAddress(index, ip, prefix, flags, scope))
    # Some kernels give the interfaces by a hash of the index. Sorting keeps the order on each interface: its
    # primary addresses stand before its secondary ones.
    return sorted(found, key=lambda each: each.index)


class News:
    """Tells that addresses, links or routes of this machine have changed; not how. Needs no rights.

    Raises:
        OSError: the kernel, or the unit's RestrictAddressFamilies=, gives no netlink.
    """

    def __init__(self) -> None:
        self._kernel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        try:
            self._kernel.bind((0, _GROUPS))
        except OSError:
            self._kernel.close()
            raise

    def wait(self) -> None:
        """Return when something may have changed since the last call.

        Raises:
            OSError: there will be no more news.
        """
        try:
            self._kernel.recv(_PACKET)
            while True:  # what came with it is one piece of news
                self._kernel.recv(_PACKET, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError as exc:
            if exc.errno != errno.ENOBUFS:
                raise
            # There was so much that some is lost: that is news as well.


def _dump(family: socket.AddressFamily) -> list[bytes]:
    """Return an `ifaddrmsg` with its attributes for each address."""
    question = _IFADDRMSG.pack(family, 0, 0, 0, 0)
    header = _NLMSGHDR.pack(_NLMSGHDR.size + len(question), _RTM_GETADDR, _NLM_F_DUMP, 0, 0)
    for _ in range(_MAX_TORN):
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.send(header + question)
            answer = list(_messages_until_done(kernel))
        if not any(flags & _NLM_F_DUMP_INTR for flags, _ in answer):
            return [message for _, message in answer if message]
    raise OSError(None, "the addresses keep changing")


def _messages_until_done(kernel: socket.socket) -> Iterator[tuple[int, bytes]]:
    """Yield flags and body of each message; that of the last one is empty."""
    while True:
        packet = kernel.recv(_PACKET)
        while packet:
            length, kind, flags, _, _ = _NLMSGHDR.unpack_from(packet)
            body, packet = packet[_NLMSGHDR.size : length], packet[length + -length % 4 :]
            if kind == _NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", body)[0], "netlink refuses")
            if kind == _NLMSG_DONE:
                yield flags, b""
                return
            yield flags, body


def _attributes(message: bytes) -> Iterator[tuple[int, bytes]]:
    rest = message[_IFADDRMSG.size :]
    while rest:
        length, kind = _RTATTR.unpack_from(rest)
        yield kind, rest[_RTATTR.size : length]
        rest = rest[length + -length % 4 :]
