"""What do the authoritative servers of a zone answer?

The system resolver is asked only for the zone's NS names and their addresses; our own names are asked at the
authoritative servers alone, so no resolver ever caches that a name of ours does not exist yet. Port 53 may
be taken over or blocked: an answer without authority (the AA bit) does not count, nor does one of a proxy
that claims it (hijack).

Source: RFC 1034 section 4.3.1 (queries without recursion), RFC 2308 (negative caching).
"""

import logging
import random
import threading
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from pathlib import Path

import dns.inet

from ...base.clock import Clock
from ...base.errors import CertbotlessError, DnsUnavailable, ZoneOnHold, printable
from ...base.words import Text
from ...config.site_names import is_of_a_lan
from ...config.values import is_loopback
from ..resolve import addresses_of
from .query import Server, ask_all, ask_each

logger = logging.getLogger(__name__)

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
_RESOLV_CONF = Path("/etc/resolv.conf")


class NameServers:
    """Finds the authoritative servers of zones, and remembers them for an hour. For several threads.

    Args:
        fixed: ``host:port`` entries that are asked instead, for every zone.
        is_brief: give a resolver less time, for a check that must end within 5 s.
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
                try:
                    found = self._find(zone)
                except DnsUnavailable as exc:
                    found = exc
                self._cache[key] = (self._clock.monotonic(), found)
        if isinstance(found, CertbotlessError):
            raise found
        return found

    def _key(self, zone: str) -> str:
        return zone if self.need_zone else ""

    def _find(self, zone: str) -> tuple[Server, ...]:
        if self.need_zone:
            return _find_servers(zone, self._resolver_timeout_s)
        return tuple(map(_fixed_server, self._fixed))

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


def _fixed_server(entry: str) -> Server:
    host, _, port = entry.rpartition(":")
    host = host.strip("[]")
    try:
        # A server that listens on IPv4 alone may have a name that also leads to IPv6, such as localhost.
        first, *_ = addresses_of(host)
    except OSError as exc:
        raise DnsUnavailable(
            Text("cannot find the address of dns.nameservers entry {!r}: {}", entry, printable(exc, 80)),
            hint=Text("write an address instead of a name"),
        ) from exc
    return Server(entry, first, int(port), is_given=True)


# --- resolvers ----------------------------------------------------------------------------------------------


def _find_servers(zone: str, timeout_s: float) -> tuple[Server, ...]:
    """Return the servers that a resolver names; those of the LAN only where none names others.

    A company may have a zone of the same name inside (split horizon), which has no record of ours: a CA asks
    the other one (lego, issues 461 and 481).
    """
    is_unknown, inner = False, tuple[Server, ...]()
    for resolvers in (system_resolvers(), PUBLIC_RESOLVERS):
        asked = [Server(at, at, is_resolver=True, timeout_s=timeout_s) for at in resolvers]
        for resolver, answer in zip(asked, ask_all(asked, zone, "NS"), strict=True):
            servers = _with_addresses(resolver, answer.values or ())
            if not all(map(_is_in_lan, servers)):
                return servers
            inner = inner or servers
            is_unknown |= answer.values is not None and not answer.exists
    if inner:
        return inner
    text = Text("no resolver names the authoritative servers of {!r}", zone)
    if is_unknown:
        raise ZoneOnHold(
            Text("{}: it is not on the Internet", text),
            hint=Text(
                "check the domain in its registrar's console: it may have expired, or be on hold "
                "(serverHold), at Aliyun mostly because the owner's real name is not verified yet; for a "
                "zone that exists only in this LAN set dns.nameservers"
            ),
        )
    raise DnsUnavailable(
        text,
        hint=Text(
            "check the network; a new domain is not on the Internet before its owner's real name is "
            "verified (serverHold); or set dns.nameservers"
        ),
    )


def _is_in_lan(server: Server) -> bool:
    return is_of_a_lan(server.address) and not is_loopback(server.address)


def _with_addresses(resolver: Server, names: Iterable[str]) -> tuple[Server, ...]:
    """Return the servers of these names, up to 3 addresses each: the least one, and others by turns.

    Of many names fewer: all have one address before any has two, 13 in all.
    """
    named = sorted(name.lower().removesuffix(".") for name in names)[:_MOST_NAMES]
    found = ask_each([resolver], [(name, "A") for name in named])
    servers = []
    for name, (answer,) in zip(named, found, strict=True):
        addresses = sorted(answer.values or ())
        others = random.sample(addresses[1:], min(len(addresses[1:]), _MOST_ADDRESSES - 1))
        servers.append([Server(name, at) for at in [*addresses[:1], *others]])
    kept = [server for turn in zip_longest(*servers) for server in turn if server][:_MOST_SERVERS]
    return tuple(server for of_one in servers for server in of_one if server in kept)


def system_resolvers() -> list[str]:
    """Return the addresses in /etc/resolv.conf, in order; this machine's own if there is none."""
    try:
        lines = _RESOLV_CONF.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split()[:2] for line in lines]
    named = [word[1] for word in words if len(word) == 2 and word[0] == "nameserver"]
    return list(filter(dns.inet.is_address, named)) or ["127.0.0.1"]
