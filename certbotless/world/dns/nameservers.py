"""What do the authoritative servers of a zone answer?

The system resolver is asked only for the zone's NS names and their addresses; our own names are asked at the
authoritative servers alone, so no resolver ever caches that a name of ours does not exist yet. Port 53 may
be taken over or blocked: an answer without authority (the AA bit) does not count, nor does one of a proxy
that claims it (hijack).

Source: RFC 1034 section 4.3.1 (queries without recursion), RFC 2308 (negative caching).
"""

from __future__ import annotations

import ipaddress
import logging
import random
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import dns.exception
import dns.flags
import dns.inet
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
from dns.rdtypes.IN.AAAA import AAAA

from ...base.clock import Clock, Pace
from ...base.concurrent import Threads
from ...base.errors import CertbotlessError, DnsUnavailable, PropagationTimeout, ZoneOnHold, printable
from ..resolve import addresses_of
from . import hijack

logger = logging.getLogger(__name__)

QUERY_TIMEOUT_S = 2.0
# Servers that never answered are left out after this, if another one answers.
SILENCE_S = 30
# NS names move seldom; asked again after this. Where no resolver named them, the network may be back soon.
_CACHE_S = 3600
_FAILED_CACHE_S = 60
# Public resolvers (AliDNS, DNSPod) for when the system's own cannot find the zone's servers. Both are in
# China, where Cloudflare's and Google's are often not reached.
PUBLIC_RESOLVERS = ("223.5.5.5", "119.29.29.29")
# The root has 13 names, and no zone has more. A forged answer may have a thousand.
_MOST_NAMES = 13
# Of each name: hichina's have 6 to 8, and one may be dead or late.
_MOST_ADDRESSES = 3
# In all: each question goes to every one of them.
_MOST_SERVERS = 13
# A thread each; and in all for all who ask.
_MOST_AT_ONCE, _THREADS = 96, Threads(256)
_RESOLV_CONF = Path("/etc/resolv.conf")


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
    resolver, which remembers what it was told, also that there was nothing.
    """

    values: frozenset[str] | None = None
    has_authority: bool = False
    fault: str = ""
    exists: bool = True
    may_be_old: bool = False


def speaks(server: Server, answer: Answer) -> bool:
    """Whether an answer is one of the zone's authoritative servers, or of a server that was given."""
    return answer.values is not None and (answer.has_authority or server.is_given)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that shall be seen at a name."""

    fqdn: str
    type: str
    value: str


class NameServers:
    """Finds the authoritative servers of zones, and remembers them for an hour. For several threads.

    Args:
        fixed: ``host:port`` entries that are asked instead, for every zone.
        is_brief: give a resolver less time, for a look that must answer within 5 s.
    """

    def __init__(self, fixed: Sequence[str], clock: Clock, *, is_brief: bool = False) -> None:
        self._fixed = fixed
        self._clock = clock
        self._resolver_timeout_s = 1.0 if is_brief else 3.0
        self._cache: dict[str, tuple[float, tuple[Server, ...] | CertbotlessError]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._blind_since: dict[str, float] = {}

    @property
    def need_zone(self) -> bool:
        """Whether `of` needs to know the zone's name."""
        return not self._fixed

    def of(self, zone: str) -> tuple[Server, ...]:
        """Return the servers of `zone`, up to 3 addresses each. Takes at most about 12 s, or 4 s if brief.

        Raises:
            ZoneOnHold: a resolver says that there is no such zone.
            DnsUnavailable: no resolver could name them; said again for a minute without asking.
        """
        key = self._key(zone)
        with self._locks[key]:
            at, found = self._cache.get(key, (0.0, None))
            lasts_s = _FAILED_CACHE_S if isinstance(found, CertbotlessError) else _CACHE_S
            if found is None or self._clock.monotonic() - at > lasts_s:
                found = self._find(zone)
                self._cache[key] = (self._clock.monotonic(), found)
        if isinstance(found, CertbotlessError):
            raise found
        return found

    def _key(self, zone: str) -> str:
        return zone if self.need_zone else ""

    def _find(self, zone: str) -> tuple[Server, ...] | CertbotlessError:
        try:
            if self.need_zone:
                return _find_servers(zone, self._resolver_timeout_s)
            return tuple(map(_fixed_server, self._fixed))
        except DnsUnavailable as exc:
            return exc

    def note(self, zone: str, *, is_blind: bool) -> None:
        """Remember whether no server that speaks for `zone` has answered a question about it."""
        key = self._key(zone)
        if is_blind:
            self._blind_since.setdefault(key, self._clock.monotonic())
        else:
            self._blind_since.pop(key, None)

    def blind_s(self, zone: str) -> float | None:
        """Return for how many seconds no server has spoken for `zone`; None if one did when last asked."""
        since = self._blind_since.get(self._key(zone))
        return None if since is None else self._clock.monotonic() - since


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


def wait_until_shown(
    servers: Sequence[Server],
    wanted: Collection[Wanted],
    clock: Clock,
    timeout_s: float,
    *,
    blind_s: float = SILENCE_S,
) -> bool:
    """Return True as soon as every server that answers shows every wanted value.

    An answer without authority comes from another server, whose values may be old, and does not count. But a
    txt value in it is ours, whichever server shows it. A silent address is left out if another one of the
    same server answers; a server that is silent at all of them is left out after 30 s, with a warning, if
    another one answers.

    Returns:
        False where for `blind_s` (`timeout_s` at most) no server has spoken for the zone: the CA may see it.

    Raises:
        PropagationTimeout: after `timeout_s` a server still answers without a value.
    """
    pace = Pace(clock, timeout_s, first_s=0.1, most_s=5)
    missing = {(server, item) for server in servers for item in wanted}
    seen: set[Wanted] = set()
    answered: set[Server] = set()
    asked: Counter[Server] = Counter()
    faults: dict[Server, str] = {}
    told = ""
    while True:
        # Two values at one name, those of a name and its wildcard, are one question.
        for fqdn, rdtype in sorted({(item.fqdn, item.type) for _, item in missing}):
            late = sorted({server for server, item in missing if item.fqdn == fqdn}, key=servers.index)
            asked.update(late)
            for server, answer in zip(late, ask_all(late, fqdn, rdtype), strict=True):
                there = {i for i in wanted if i.fqdn == fqdn and i.value in (answer.values or ())}
                # A txt value is new: a resolver that was given may say for minutes that it is not there.
                if speaks(server, answer) and not (rdtype == "TXT" and answer.may_be_old):
                    answered.add(server)
                else:
                    faults[server] = answer.fault or "no_authority"
                    there = {item for item in there if item.type == "TXT"}
                seen |= there
                missing -= {(server, item) for item in there}
        silent = {server for server, _ in missing} - answered
        names = {server.name for server in answered}
        # Nothing is lost with an address of a server that answers at another one; the first packet may be.
        missing = {(s, i) for s, i in missing if not (s in silent and s.name in names and asked[s] > 1)}
        silent = {server for server, _ in missing} - answered
        if silent and answered and (pace.waited_s >= SILENCE_S or pace.expired):
            logger.warning("dns.server_silent servers=%s", _named_faults(silent, faults))
            missing = {(server, item) for server, item in missing if server in answered}
        if servers and not missing:
            logger.debug("dns.shown names=%s after_s=%.1f", len(wanted), pace.waited_s)
            return True
        if not answered and (pace.waited_s >= blind_s or pace.expired):
            if seen == set(wanted):
                return True
            named = _named_faults(servers, faults) or "none"
            logger.warning("dns.all_silent servers=%s waited_s=%.0f", named, pace.waited_s)
            return False
        if pace.expired:
            break
        if (late_ones := _names({server for server, _ in missing})) != told:
            told = late_ones
            logger.debug("dns.waiting servers=%s", told)
        pace.wait()
    fqdns = ", ".join(sorted({item.fqdn for _, item in missing}))
    raise PropagationTimeout(
        f"after {timeout_s:.0f} s {_names({server for server, _ in missing})} does not show {fqdns}",
        hint="look at the zone in the Alidns console; dns.propagation_timeout may be raised",
    )


def _names(servers: Collection[Server]) -> str:
    return ",".join(sorted({server.name for server in servers}))


def _named_faults(servers: Collection[Server], faults: Mapping[Server, str]) -> str:
    return ",".join(sorted({f"{server.name}({faults[server]})" for server in servers}))


def _ask_one(server: Server, fqdn: str, rdtype: str) -> Answer:
    end_s = time.monotonic() + server.timeout_s
    try:
        query = dns.message.make_query(fqdn, rdtype)
        if not (server.is_resolver or server.is_given):
            query.flags &= ~dns.flags.RD
        reply = _exchange(query, server, end_s)
    except (dns.exception.DNSException, EOFError, OSError) as exc:
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
    may_be_old = bool(reply.flags & dns.flags.RA) and not reply.flags & dns.flags.AA
    return Answer(values, _has_authority(reply, server, fqdn, end_s), exists=exists, may_be_old=may_be_old)


def _has_authority(reply: dns.message.Message, server: Server, fqdn: str, end_s: float) -> bool:
    if not reply.flags & dns.flags.AA:
        return False
    if server.is_given or server.is_resolver:
        return True  # the user chose this server
    return not hijack.is_by_a_proxy(reply, fqdn, lambda query: _exchange(query, server, end_s))


def _exchange(query: dns.message.Message, server: Server, end_s: float) -> dns.message.Message:
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
    is_unknown = False
    for resolvers in (system_resolvers(), PUBLIC_RESOLVERS):
        asked = [Server(at, at, is_resolver=True, timeout_s=timeout_s) for at in resolvers]
        for resolver, answer in zip(asked, ask_all(asked, zone, "NS"), strict=True):
            if servers := _with_addresses(resolver, answer.values or ()):
                return servers
            is_unknown |= answer.values is not None and not answer.exists
    text = f"no resolver names the authoritative servers of {zone!r}"
    if is_unknown:
        raise ZoneOnHold(
            f"{text}: it is not on the Internet",
            hint="look at the domain in its registrar's console: it may have expired, or be on hold"
            " (serverHold), at Aliyun mostly because the owner's real name is not verified yet; for a zone of"
            " this LAN alone set dns.nameservers",
        )
    raise DnsUnavailable(
        text,
        hint="check the network; a new domain is not on the Internet before its owner's real name is verified"
        " (serverHold); or set dns.nameservers",
    )


def _with_addresses(resolver: Server, names: Iterable[str]) -> tuple[Server, ...]:
    """Return the servers of these names, up to 3 addresses each: the least one, and others by turns.

    Of many names fewer: all have one address before any has two, 13 in all.
    """
    named = sorted(name.lower().removesuffix(".") for name in names)[:_MOST_NAMES]
    found = [told[0].values for told in ask_each([resolver], [(name, "A") for name in named])]
    servers = [
        [Server(name, at) for at in _some(all_ or ())] for name, all_ in zip(named, found, strict=True)
    ]
    kept = [server for turn in zip_longest(*servers) for server in turn if server][:_MOST_SERVERS]
    return tuple(server for of_one in servers for server in of_one if server in kept)


def _some(addresses: Collection[str]) -> list[str]:
    if not addresses:
        return []
    first, *others = sorted(addresses)
    return [first, *random.sample(others, min(len(others), _MOST_ADDRESSES - 1))]


def system_resolvers() -> list[str]:
    """Return the addresses in /etc/resolv.conf, in order; this machine's own if there is none."""
    try:
        lines = _RESOLV_CONF.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split()[:2] for line in lines]
    named = [word[1] for word in words if len(word) == 2 and word[0] == "nameserver"]
    return list(filter(dns.inet.is_address, named)) or ["127.0.0.1"]
