"""Questions to servers of DNS, over UDP and TCP, each within a time; and what of an answer counts.

Port 53 may be taken over or blocked: an answer without authority (the AA bit) does not count, nor does one
of a proxy that claims it (hijack).

Source: RFC 1034 section 4.3.1 (queries without recursion), RFC 1035 section 4.2, RFC 7766 section 5."""

import ipaddress
import logging
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from dns.rdtypes.IN.AAAA import AAAA

from ...base.concurrent import Threads
from . import hijack

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_S = 2.0

# A thread for each question to each server; the second number is for all callers together.
_MOST_AT_ONCE = 96

_THREADS = Threads(256)
# A label that no zone has.
_NOBODY = "_certbotless-doctor-nobody"


@dataclass(frozen=True, slots=True)
class Server:
    """One address of an authoritative server; several may have the same name.

    Attributes:
        is_given: the configuration names it, and may mean a resolver: it is asked as one, and believed.
        is_resolver: it is no authoritative server, but asks them for others, and follows aliases.
        timeout_s: how long an answer may take, with all that is asked to come by it.
        is_tcp: it is asked over TCP alone.
    """

    name: str
    address: str
    port: int = 53
    is_given: bool = False
    is_resolver: bool = False
    timeout_s: float = QUERY_TIMEOUT_S
    is_tcp: bool = False


# A name, and the type of its records.
Question = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """The values of an answer, and whether it has authority; or None, and the `fault`.

    `exists` is whether there is such a name at all, whatever it has; `may_be_old` is whether it comes from a
    resolver, which caches answers, also that there was nothing.
    """

    values: frozenset[str] | None = None
    has_authority: bool = False
    fault: str = ""
    exists: bool = True
    may_be_old: bool = False


def speaks(server: Server, answer: Answer) -> bool:
    """Whether an answer is one of the zone's authoritative servers, or of a server that was given."""
    return answer.values is not None and (answer.has_authority or server.is_given)


def ask_all(servers: Sequence[Server], fqdn: str, rdtype: str) -> list[Answer]:
    """Return what each server answers to one question, as `ask_each`."""
    return ask_each(servers, [(fqdn, rdtype)])[0]


def ask_each(servers: Sequence[Server], questions: Sequence[Question]) -> list[list[Answer]]:
    """Return for each question what each server answers for exactly this name.

    Where none speaks for the zone all are asked once more, over TCP: what takes port 53 over often takes UDP
    alone. An answer has the `timeout_s` of its server for all exchanges that it takes (over UDP, over TCP
    where it is long, and with what shows a proxy), and half of it in the second try. So all takes at most 3 s
    (1.5 times the longest `timeout_s`), where 96 threads are enough and free: each question to each server
    needs one.
    """
    answers = _answers(servers, questions)
    unheard = [
        number
        for number, told in enumerate(answers)
        if not any(s.is_resolver or speaks(s, a) for s, a in zip(servers, told, strict=True))
    ]
    over_tcp = [replace(server, is_tcp=True, timeout_s=server.timeout_s / 2) for server in servers]
    again = _answers(over_tcp, [questions[number] for number in unheard])
    for number, seconds in zip(unheard, again, strict=True):
        answers[number] = [
            second
            if speaks(server, second) or (first.values is None and second.values is not None)
            else first
            for server, first, second in zip(servers, answers[number], seconds, strict=True)
        ]
    return answers


def _answers(servers: Sequence[Server], questions: Sequence[Question]) -> list[list[Answer]]:
    asked = [(server, *question) for question in questions for server in servers]
    told = iter(_THREADS.together(lambda each: _ask_one(*each), asked, _MOST_AT_ONCE))
    return [[next(told) for _ in servers] for _ in questions]


def _ask_one(server: Server, fqdn: str, rdtype: str) -> Answer:
    end_s, is_chosen = time.monotonic() + server.timeout_s, server.is_resolver or server.is_given
    try:
        query = dns.message.make_query(fqdn, rdtype)
        if not is_chosen:
            query.flags &= ~dns.flags.RD
        reply = exchange(query, server, end_s)
        is_answer = reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
        fault = "" if is_answer else dns.rcode.to_text(reply.rcode())
    except (dns.exception.DNSException, EOFError, OSError) as exc:
        fault = type(exc).__name__
    if fault:
        logger.debug("dns.no_answer server=%s fqdn=%s error=%s", server.name, fqdn, fault)
        return Answer(fault=fault)
    name = query.question[0].name
    values = frozenset(
        _text(rdata)
        for rrset in reply.answer
        if (rrset.name == name or server.is_resolver) and rrset.rdtype == dns.rdatatype.from_text(rdtype)
        for rdata in rrset
    )
    claims_it = bool(reply.flags & dns.flags.AA)
    has_authority = claims_it and (
        is_chosen or not hijack.is_by_a_proxy(reply, fqdn, lambda each: exchange(each, server, end_s))
    )
    may_be_old = bool(reply.flags & dns.flags.RA) and not claims_it
    return Answer(values, has_authority, exists=reply.rcode() != dns.rcode.NXDOMAIN, may_be_old=may_be_old)


def lists_names(server: Server, zone: str) -> str:
    """Return how a server gives every client all names of its zone: ``AXFR``, ``NSEC``, or empty for not.

    Takes as long as two answers. A server that does not answer shows nothing.

    Source: RFC 5936 (AXFR); RFC 4034 section 4, and RFC 9824: an NSEC record whose next name is right behind
    its own leads nowhere.
    """
    try:
        if _transfers(server, zone):
            return "AXFR"
    except (dns.exception.DNSException, EOFError, OSError) as exc:
        logger.debug("dns.no_answer server=%s fqdn=%s error=%s", server.name, zone, type(exc).__name__)
    try:
        query = dns.message.make_query(f"{_NOBODY}.{zone}", "A", want_dnssec=True)
        reply = exchange(query, server, time.monotonic() + server.timeout_s)
    except (dns.exception.DNSException, EOFError, OSError) as exc:
        logger.debug("dns.no_answer server=%s fqdn=%s error=%s", server.name, zone, type(exc).__name__)
        return ""
    chain = [rdata.next for rrset in reply.authority if rrset.rdtype == dns.rdatatype.NSEC for rdata in rrset]
    return "NSEC" if any(name.labels[0] != b"\0" for name in chain) else ""


def _transfers(server: Server, zone: str) -> bool:
    """Whether the server gives this client more of the zone than its SOA record. Raises like `exchange`."""
    query, end_s = dns.message.make_query(zone, "AXFR"), time.monotonic() + server.timeout_s
    with socket.create_connection((server.address, server.port), _left_s(end_s)) as tcp:
        tcp.setblocking(False)
        reply = dns.query.tcp(query, server.address, _left_s(end_s), sock=tcp)
        count = sum(map(len, reply.answer))
        if reply.rcode() != dns.rcode.NOERROR or count != 1:
            return reply.rcode() == dns.rcode.NOERROR and count > 1
        # Each record may come in a message of its own (RFC 5936 section 2.2).
        following, _ = dns.query.receive_tcp(tcp, time.time() + _left_s(end_s))
        return bool(following.answer)


def exchange(query: dns.message.Message, server: Server, end_s: float) -> dns.message.Message:
    """Return the server's answer to this question: over UDP, and over TCP one that does not fit.

    Args:
        end_s: when it must be there, in seconds of `time.monotonic`.

    Raises:
        dns.exception.DNSException, EOFError, OSError: there is none.

    Source: RFC 1035 section 4.2; RFC 7766 section 5.
    """
    if not server.is_tcp:
        reply = _over_udp(query, server, end_s)
        if not reply.flags & dns.flags.TC:
            return reply
    return dns.query.tcp(query, server.address, _left_s(end_s), server.port)


def _over_udp(query: dns.message.Message, server: Server, end_s: float) -> dns.message.Message:
    family = dns.inet.af_for_address(server.address)
    with dns.query.make_socket(family, socket.SOCK_DGRAM) as udp:
        # Once it is connected the kernel passes on what comes from there alone, and tells of a closed port.
        udp.connect(dns.inet.low_level_address_tuple((server.address, server.port), family))
        dns.query.send_udp(udp, query, None, time.time() + _left_s(end_s))
        reply: dns.message.Message
        while True:
            # `dns.query.udp` passes over what answers another question too, but as long as there is more of
            # it to read it does not look at the time.
            left_s = _left_s(end_s)
            try:
                reply, *_ = dns.query.receive_udp(udp, expiration=time.time() + left_s)
            except dns.exception.Timeout:
                raise
            except dns.exception.DNSException:
                continue
            if query.is_response(reply):
                return reply


def _left_s(end_s: float) -> float:
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise dns.exception.Timeout
    return left_s


def _text(rdata: object) -> str:
    if isinstance(rdata, AAAA):
        # It has several spellings; this is how the file's addresses are spelled.
        return str(ipaddress.IPv6Address(rdata.address))
    strings = getattr(rdata, "strings", None)
    return b"".join(strings).decode("ascii", "replace") if strings is not None else str(rdata)
