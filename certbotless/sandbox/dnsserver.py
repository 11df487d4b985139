"""Authoritative name servers of the emulated zones, over UDP and TCP.

`answer` is a pure function from a query and the records to a response; `NameServer` puts it on the network.
Answers for its own zones only, never asks others, and hands out no zone transfer.

Source: RFC 1034 section 4.3.2 (answers), RFC 2308 (negative answers), RFC 4592 (wildcards), RFC 6891 (size).
"""

import errno
import socketserver
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TXT
import dns.rrset

from .listener import TcpListener, UdpListener
from .zonedata import Record, ZoneData, replay

# The zone in which the name servers themselves have their names, apart from the zones they serve.
HOSTS_ZONE = "alidns.test"
# What fits through every network unfragmented (DNS flag day 2020).
_UDP_PAYLOAD = 1232
_MAX_ALIASES = 8


@dataclass(frozen=True, slots=True)
class Query:
    """A question that reached name server number `server`, answered or not."""

    server: int
    name: str
    type: str
    tcp: bool
    at: datetime


@lru_cache(maxsize=8192)
def owner(rr: str, zone: str) -> dns.name.Name:
    """Return the absolute name of `rr` in `zone`."""
    return dns.name.from_text(zone if rr == "@" else f"{rr}.{zone}")


@lru_cache(maxsize=8192)
def rdata(type_: str, value: str) -> dns.rdata.Rdata:
    """Return a record's value in the form that goes on the wire.

    Raises:
        dns.exception.DNSException: `value` is none of this type, or the type is unknown.
    """
    if type_ == "TXT":
        octets = value.encode()
        # A character-string holds 255 octets at most (RFC 1035 section 3.3); a longer value takes several.
        strings = [octets[at : at + 255] for at in range(0, len(octets), 255)]
        return dns.rdtypes.ANY.TXT.TXT(dns.rdataclass.IN, dns.rdatatype.TXT, strings)
    return dns.rdata.from_text("IN", type_, value, origin=dns.name.root, relativize=False)


def infrastructure(zones: Iterable[str], addresses: Sequence[str], serial: int) -> list[Record]:
    """Return the records that make the zones well-formed: SOA, NS, and an A record for each name server."""
    hosts = [f"ns{number}.{HOSTS_ZONE}" for number in range(1, len(addresses) + 1)]
    soa = f"{hosts[0]} hostmaster.{HOSTS_ZONE} {serial} 3600 1200 86400 600"
    return [
        *(Record("", zone, "@", "SOA", soa) for zone in (*zones, HOSTS_ZONE)),
        *(Record("", zone, "@", "NS", host, 86400) for zone in (*zones, HOSTS_ZONE) for host in hosts),
        *(
            Record("", HOSTS_ZONE, host.split(".")[0], "A", address)
            for host, address in zip(hosts, addresses, strict=True)
        ),
    ]


def answer(query: dns.message.Message, records: Iterable[Record]) -> dns.message.Message:
    """Return the authoritative response to a query, from records that include each zone's SOA and NS.

    Only enabled records of the default line take part: every resolver here is on that line.
    """
    response = dns.message.make_response(query, our_payload=_UDP_PAYLOAD)
    if query.opcode() != dns.opcode.QUERY:
        response.set_rcode(dns.rcode.NOTIMP)
        return response
    if len(query.question) != 1:
        response.set_rcode(dns.rcode.FORMERR)
        return response
    name, type_ = query.question[0].name, query.question[0].rdtype
    names: dict[dns.name.Name, list[Record]] = {}
    for record in records:
        if record.status == "ENABLE" and record.line == "default":
            names.setdefault(owner(record.rr, record.zone), []).append(record)
    if query.question[0].rdclass != dns.rdataclass.IN or _soa(name, names) is None:
        response.set_rcode(dns.rcode.REFUSED)
        return response
    if dns.rdatatype.is_metatype(type_):
        response.set_rcode(dns.rcode.NOTIMP)
        return response

    response.flags |= dns.flags.AA
    for _ in range(_MAX_ALIASES):
        soa = _soa(name, names)
        if soa is None:
            break  # An alias that leads out of our zones: the resolver goes on from here.
        found = _at(name, names)
        wanted = [record for record in found or () if record.type == dns.rdatatype.to_text(type_)]
        aliases = [record for record in found or () if record.type == "CNAME"][:1]
        if not wanted and not aliases:
            response.set_rcode(dns.rcode.NXDOMAIN if found is None else dns.rcode.NOERROR)
            response.authority.append(_rrset(owner("@", soa.zone), [soa]))
            break
        response.answer.append(_rrset(name, wanted or aliases))
        if wanted:
            break
        name = dns.name.from_text(aliases[0].value)
    return response


def _soa(name: dns.name.Name, names: dict[dns.name.Name, list[Record]]) -> Record | None:
    """Return the SOA of the nearest zone at or above `name`."""
    while True:
        for record in names.get(name, ()):
            if record.type == "SOA":
                return record
        if name == dns.name.root:
            return None
        name = name.parent()


def _at(name: dns.name.Name, names: dict[dns.name.Name, list[Record]]) -> list[Record] | None:
    """Return the records at `name`, through a wildcard where there is one; `None` if it does not exist."""

    def exists(candidate: dns.name.Name) -> bool:
        # A name exists if anything stands at it or below it (RFC 4592 section 2.2.2).
        return any(present.is_subdomain(candidate) for present in names)

    if exists(name):
        return names.get(name, [])
    encloser = name.parent()
    while not exists(encloser):  # ends at the apex, where the SOA stands
        encloser = encloser.parent()
    return names.get(dns.name.Name((b"*", *encloser.labels)))


def _rrset(name: dns.name.Name, records: Sequence[Record]) -> dns.rrset.RRset:
    ttl_s = min(record.ttl_s for record in records)
    return dns.rrset.from_rdata_list(name, ttl_s, [rdata(record.type, record.value) for record in records])


class NameServer:
    """One authoritative server on one port, UDP and TCP. `start`, then `stop`.

    `silent`: questions are noted and never answered. `rcode`: every question gets this code and nothing else.
    """

    def __init__(
        self,
        index: int,
        data: ZoneData,
        addresses: Sequence[str],
        port: int,
        log: Callable[[Query], None],
    ) -> None:
        """Bind ``addresses[index]`` and the port; 0 takes a free one.

        Args:
            index: which of the name servers this one is, from 0.
            addresses: of all name servers, which the zones tell.
            log: called with each question.

        Raises:
            OSError: the address or port is not to be had.
        """
        self.silent = False
        self.rcode: dns.rcode.Rcode | None = None
        self._index, self._data, self._addresses, self._log = index, data, addresses, log
        self.address = addresses[index]
        self._tcp, self._udp = _bind(self, self.address, port)
        self.port = self._tcp.port

    def start(self) -> None:
        self._tcp.start()
        self._udp.start()

    def stop(self) -> None:
        self._tcp.stop()
        self._udp.stop()

    def respond(self, wire: bytes, *, tcp: bool) -> bytes | None:
        """Return the response to a packet, or `None` if none is due."""
        try:
            query = dns.message.from_wire(wire)
        except dns.exception.DNSException:
            return _format_error(wire)
        if query.flags & dns.flags.QR:
            return None
        for question in query.question:
            name = question.name.to_text(omit_final_dot=True).lower()
            type_ = dns.rdatatype.to_text(question.rdtype)
            self._log(Query(self._index, name, type_, tcp, datetime.now(UTC)))
        if self.silent:
            return None
        if self.rcode is not None:
            response = dns.message.make_response(query)
            response.set_rcode(self.rcode)
        else:
            seen = self._data.seen_by(self._index)
            fixed = infrastructure(self._data.zones, self._addresses, serial=len(seen) + 1)
            response = answer(query, [*fixed, *self._data.by_weight(replay(seen))])
        limit = 65535 if tcp else min(max(query.payload, 512), _UDP_PAYLOAD)
        return response.to_wire(max_size=limit, prefer_truncation=True)


def _format_error(wire: bytes) -> bytes | None:
    """Answer a broken query, so far as it has a header and is no response itself."""
    if len(wire) < 12 or wire[2] & 0x80:
        return None
    response = dns.message.Message(int.from_bytes(wire[:2]))
    response.flags = dns.flags.QR
    response.set_rcode(dns.rcode.FORMERR)
    return response.to_wire()


class _DnsUdp(UdpListener):
    name_server: NameServer


class _DnsTcp(TcpListener):
    name_server: NameServer


class _UdpHandler(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        wire, socket = self.request
        response = cast("_DnsUdp", self.server).name_server.respond(wire, tcp=False)
        if response is not None:
            socket.sendto(response, self.client_address)


class _TcpHandler(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self) -> None:
        # Each message stands behind its length (RFC 1035 section 4.2.2); several may share a connection.
        while len(size := self.rfile.read(2)) == 2:
            wire = self.rfile.read(int.from_bytes(size))
            response = cast("_DnsTcp", self.server).name_server.respond(wire, tcp=True)
            if response is not None:
                self.wfile.write(len(response).to_bytes(2) + response)


def _bind(name_server: NameServer, address: str, port: int) -> tuple[_DnsTcp, _DnsUdp]:
    """Bind one port for both TCP and UDP; a port that is free for TCP may be taken for UDP, so try a few."""
    tries_left = 20
    while True:
        tcp = _DnsTcp((address, port), _TcpHandler)
        try:
            udp = _DnsUdp((address, tcp.port), _UdpHandler)
        except OSError as exc:
            tcp.server_close()
            tries_left -= 1
            if port or not tries_left or exc.errno != errno.EADDRINUSE:
                raise
        else:
            tcp.name_server = udp.name_server = name_server
            return tcp, udp
