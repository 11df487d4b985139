"""What do the authoritative servers of a zone answer?

The system resolver is asked only for the zone's NS names and their addresses; our own names are asked at the
authoritative servers alone, so no resolver ever caches that a name of ours does not exist yet.

Source: RFC 1034 section 4.3.1 (queries without recursion), RFC 2308 (negative caching).
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
from dns.rdtypes.IN.AAAA import AAAA

from .clock import Clock, Pace
from .errors import DnsUnavailable, PropagationTimeout, printable
from .hosts import addresses_of
from .together import together

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_S = 2.0
# Servers that never answered are left out after this, if another one answers.
SILENCE_S = 30
# NS names move seldom; asked again after this.
_CACHE_S = 3600
# Public resolvers (AliDNS, Cloudflare) for when the system's own cannot find the zone's servers.
PUBLIC_RESOLVERS = ("223.5.5.5", "1.1.1.1")
_RESOLV_CONF = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True)
class Server:
    """One authoritative server.

    Attributes:
        is_given: the configuration names it, and may mean a server that only passes answers on.
        is_resolver: it is no authoritative server, but asks them for others, and follows aliases.
        timeout_s: how long an answer may take.
    """

    name: str
    address: str
    port: int = 53
    is_given: bool = False
    is_resolver: bool = False
    timeout_s: float = QUERY_TIMEOUT_S


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that shall be seen at a name."""

    fqdn: str
    type: str
    value: str


class NameServers:
    """Finds the authoritative servers of zones, and remembers them for an hour.

    Args:
        fixed: ``host:port`` entries that are asked instead, for every zone.
        is_brief: give a resolver less time, for a look that must answer within 5 s.
    """

    def __init__(self, fixed: Sequence[str], clock: Clock, *, is_brief: bool = False) -> None:
        self._fixed = fixed
        self._clock = clock
        self._resolver_timeout_s = 1.0 if is_brief else 3.0
        self._cache: dict[str, tuple[float, tuple[Server, ...]]] = {}

    @property
    def need_zone(self) -> bool:
        """Whether `of` needs to know the zone's name."""
        return not self._fixed

    def of(self, zone: str) -> tuple[Server, ...]:
        """Return the servers of `zone`, one address each. Takes at most about 12 s, or 4 s if brief.

        Raises:
            DnsUnavailable: no resolver could name them.
        """
        key = zone if self.need_zone else ""
        cached = self._cache.get(key)
        if cached is None or self._clock.monotonic() - cached[0] > _CACHE_S:
            if self.need_zone:
                found = _find_servers(zone, self._resolver_timeout_s)
            else:
                found = tuple(map(_fixed_server, self._fixed))
            cached = self._cache[key] = (self._clock.monotonic(), found)
        return cached[1]


def ask(servers: Sequence[Server], fqdn: str, rdtype: str) -> list[frozenset[str] | None]:
    """Return the values that each server has for exactly this name; None for one that gave no answer.

    All servers are asked at once; takes at most about 4 s (UDP, then TCP for a long answer).
    """
    return [answer.values for answer in ask_all(servers, fqdn, rdtype)]


def ask_all(servers: Sequence[Server], fqdn: str, rdtype: str) -> list[Answer]:
    """Return what came back from each server, as `ask` does, and who spoke, or why nobody did."""
    return together(lambda server: _ask_one(server, fqdn, rdtype), servers)


def wait_until_shown(
    servers: Sequence[Server], wanted: Collection[Wanted], clock: Clock, timeout_s: float
) -> None:
    """Return when every server that answers shows every wanted value.

    A server that never answered is left out after 30 s, with a warning, if another one answers. If all are
    silent the whole time, return after `timeout_s` with a warning: the CA may still see them. One without
    authority comes from somebody else in its place, who may remember what was, and counts as none.

    Raises:
        PropagationTimeout: after `timeout_s` a server still answers without a value.
    """
    pace = Pace(clock, timeout_s, first_s=0.1, most_s=5)
    missing = {(server, item) for server in servers for item in wanted}
    answered: set[Server] = set()
    faults: dict[Server, str] = {}
    told = ""
    while True:
        # Two values at one name, those of a name and its wildcard, are one question.
        for fqdn, rdtype in sorted({(item.fqdn, item.type) for _, item in missing}):
            late = sorted({server for server, item in missing if item.fqdn == fqdn}, key=servers.index)
            for server, answer in zip(late, ask_all(late, fqdn, rdtype), strict=True):
                if answer.values is None:
                    faults[server] = answer.fault
                elif not (answer.has_authority or server.is_given):
                    faults[server] = "no_authority"
                else:
                    answered.add(server)
                    missing -= {(server, i) for i in wanted if i.fqdn == fqdn and i.value in answer.values}
        silent = {server for server, _ in missing} - answered
        if silent and answered and (pace.waited_s >= SILENCE_S or pace.expired):
            logger.warning("dns.server_silent servers=%s", _named_faults(silent, faults))
            missing = {(server, item) for server, item in missing if server in answered}
        if not missing:
            logger.debug("dns.shown names=%s after_s=%.1f", len(wanted), pace.waited_s)
            return
        if pace.expired:
            break
        if (late_ones := _names({server for server, _ in missing})) != told:
            told = late_ones
            logger.debug("dns.waiting servers=%s", told)
        pace.wait()
    if not answered:
        named = _named_faults(servers, faults)
        logger.warning("dns.all_silent servers=%s waited_s=%.0f", named, timeout_s)
        return
    fqdns = ", ".join(sorted({item.fqdn for _, item in missing}))
    raise PropagationTimeout(
        f"after {timeout_s:.0f} s {_names({server for server, _ in missing})} does not show {fqdns}",
        hint="look at the zone in the Alidns console; dns.propagation_timeout may be raised",
    )


def _names(servers: Collection[Server]) -> str:
    return ",".join(sorted(server.name for server in servers))


def _named_faults(servers: Collection[Server], faults: Mapping[Server, str]) -> str:
    return ",".join(sorted(f"{server.name}({faults[server]})" for server in servers))


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the values, from who speaks for the zone or not; or None, and the `fault`.

    `exists` is whether there is such a name at all, whatever it has.
    """

    values: frozenset[str] | None = None
    has_authority: bool = False
    fault: str = ""
    exists: bool = True


def _ask_one(server: Server, fqdn: str, rdtype: str) -> Answer:
    try:
        query = dns.message.make_query(fqdn, rdtype)
        if not server.is_resolver:
            query.flags &= ~dns.flags.RD
        reply = _exchange(query, server)
    except (dns.exception.DNSException, OSError) as exc:
        logger.debug("dns.no_answer server=%s fqdn=%s error=%s", server.name, fqdn, type(exc).__name__)
        return Answer(fault=type(exc).__name__)
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        logger.debug("dns.no_answer server=%s fqdn=%s rcode=%s", server.name, fqdn, reply.rcode())
        return Answer(fault=dns.rcode.to_text(reply.rcode()))
    name = query.question[0].name
    values = frozenset(
        _text(rdata)
        for rrset in reply.answer
        if (rrset.name == name or server.is_resolver) and rrset.rdtype == dns.rdatatype.from_text(rdtype)
        for rdata in rrset
    )
    exists = reply.rcode() != dns.rcode.NXDOMAIN
    return Answer(values, bool(reply.flags & dns.flags.AA), exists=exists)


def _text(rdata: object) -> str:
    if isinstance(rdata, AAAA):
        # It has several spellings; this is how the file's addresses are spelled.
        return str(ipaddress.IPv6Address(rdata.address))
    strings = getattr(rdata, "strings", None)
    return b"".join(strings).decode("ascii", "replace") if strings is not None else str(rdata)


def _fixed_server(entry: str) -> Server:
    host, _, port = entry.rpartition(":")
    host = host.strip("[]")
    try:
        # A server that listens on IPv4 alone may have a name that also leads to IPv6, such as localhost.
        first, *_ = addresses_of(host)
    except OSError as exc:
        raise DnsUnavailable(
            f"cannot find the address of dns.nameservers entry {entry!r}: {printable(exc, 80)}",
            hint="write an address instead of a name",
        ) from exc
    return Server(entry, first, int(port), is_given=True)


# --- resolvers ----------------------------------------------------------------------------------------------


def _find_servers(zone: str, timeout_s: float) -> tuple[Server, ...]:
    for resolvers in (system_resolvers(), PUBLIC_RESOLVERS):
        asked = [Server(at, at, is_resolver=True, timeout_s=timeout_s) for at in resolvers]
        for resolver, names in zip(asked, ask(asked, zone, "NS"), strict=True):
            if servers := _with_addresses(resolver, names or ()):
                return servers
    raise DnsUnavailable(
        f"no resolver names the authoritative servers of {zone!r}",
        hint="check the network, or set dns.nameservers",
    )


def _with_addresses(resolver: Server, names: Iterable[str]) -> tuple[Server, ...]:
    """Return the servers of these names that have an address, the least one of each."""
    named = sorted(name.lower().removesuffix(".") for name in names)
    found = together(lambda name: ask([resolver], name, "A")[0], named)
    return tuple(Server(name, min(at)) for name, at in zip(named, found, strict=True) if at)


def system_resolvers() -> list[str]:
    """Return the addresses in /etc/resolv.conf, in order; as resolv.conf(5) has it, this machine if none."""
    try:
        lines = _RESOLV_CONF.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    words = (line.split() for line in lines)
    return [word[1] for word in words if len(word) > 1 and word[0] == "nameserver"] or ["127.0.0.1"]


# --- the exchange -------------------------------------------------------------------------------------------


def _exchange(query: dns.message.Message, server: Server) -> dns.message.Message:
    """Ask over UDP, and over TCP what does not fit; each within the server's time.

    `dns.query` does so too, but brings zone transfers and more, 1 MiB that an idle daemon would keep.

    Source: RFC 1035 section 4.2; RFC 7766 section 5.
    """
    wire = query.to_wire()
    with _connected(server, socket.SOCK_DGRAM) as udp:
        udp.send(wire)
        end_s = time.monotonic() + server.timeout_s
        # The kernel passes on what comes from there alone; an answer to an older question may be late.
        while not query.is_response(reply := dns.message.from_wire(_receive(udp, 65535, end_s))):
            pass
    if not reply.flags & dns.flags.TC:
        return reply
    with _connected(server, socket.SOCK_STREAM) as tcp:
        end_s = time.monotonic() + server.timeout_s
        tcp.sendall(len(wire).to_bytes(2) + wire)
        size = int.from_bytes(_receive_all(tcp, 2, end_s))
        reply = dns.message.from_wire(_receive_all(tcp, size, end_s))
    if not query.is_response(reply):
        raise ConnectionAbortedError
    return reply


def _connected(server: Server, kind: socket.SocketKind) -> socket.socket:
    family = socket.AF_INET6 if ":" in server.address else socket.AF_INET
    connection = socket.socket(family, kind)
    try:
        connection.settimeout(server.timeout_s)
        connection.connect((server.address, server.port))
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
