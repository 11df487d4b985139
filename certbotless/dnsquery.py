"""One question to one address of a name server, and what comes back. Light.

`dns.query` does so too, but brings zone transfers and more, 1 MiB that an idle daemon would keep.

Source: RFC 1035 section 4.2 (UDP, then TCP for what does not fit); RFC 7766 section 5.
"""

from __future__ import annotations

import socket
import time

import dns.exception
import dns.flags
import dns.message

Place = tuple[str, int]


def by_udp(query: dns.message.Message, place: Place, timeout_s: float) -> dns.message.Message:
    """Ask over UDP, and over TCP what does not fit; each within the time.

    Args:
        place: address and port; the address of a link has its interface, as in ``fe80::1%eth0``.

    Raises:
        dns.exception.DNSException, OSError: there is no answer.
    """
    with _connected(place, socket.SOCK_DGRAM, timeout_s) as udp:
        udp.send(query.to_wire())
        end_s = time.monotonic() + timeout_s
        reply = _response_to(query, _receive(udp, 65535, end_s))
        # The kernel passes on what comes from there alone. What does not answer this question may be a late
        # answer to an older one, or a forged one whose sender has guessed our port.
        while reply is None:
            reply = _response_to(query, _receive(udp, 65535, end_s))
    return by_tcp(query, place, timeout_s) if reply.flags & dns.flags.TC else reply


def by_tcp(query: dns.message.Message, place: Place, timeout_s: float) -> dns.message.Message:
    """Ask over TCP. Args and raises as `by_udp`."""
    wire = query.to_wire()
    with _connected(place, socket.SOCK_STREAM, timeout_s) as tcp:
        end_s = time.monotonic() + timeout_s
        tcp.sendall(len(wire).to_bytes(2) + wire)
        size = int.from_bytes(_receive_all(tcp, 2, end_s))
        reply = _response_to(query, _receive_all(tcp, size, end_s))
    if reply is None:
        raise ConnectionAbortedError
    return reply


def _response_to(query: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    try:
        reply = dns.message.from_wire(wire)
    except dns.exception.DNSException:
        return None
    return reply if query.is_response(reply) else None


def _connected(place: Place, kind: socket.SocketKind, timeout_s: float) -> socket.socket:
    # Only this way the interface of an address gets into what is connected to.
    family, _, _, _, peer = socket.getaddrinfo(*place, type=kind, flags=socket.AI_NUMERICHOST)[0]
    connection = socket.socket(family, kind)
    try:
        connection.settimeout(timeout_s)
        connection.connect(peer)
    except OSError:
        connection.close()
        raise
    return connection


def _receive(connection: socket.socket, most: int, end_s: float) -> bytes:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise dns.exception.Timeout
    connection.settimeout(left_s)
    try:
        return connection.recv(most)
    except TimeoutError:
        raise dns.exception.Timeout from None


def _receive_all(connection: socket.socket, size: int, end_s: float) -> bytes:
    data = b""
    while len(data) < size:
        part = _receive(connection, size - len(data), end_s)
        if not part:
            raise ConnectionResetError
        data += part
    return data
