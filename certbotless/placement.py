"""Where the txt values of a site go, and whether they are there.

A challenge name may be an alias (CNAME) of a name in another zone of the account, so that a zone with little
in it takes the values. Then they go there: CAs follow aliases.

Source: RFC 8555 section 8.4; RFC 1034 section 3.6.2 (aliases), RFC 4592 (wildcards).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .challenge import TxtValue
from .errors import DnsError, ZoneNotFound, printable
from .nameservers import NameServers, Server, Wanted, ask, wait_until_shown
from .records import Zone
from .workbench import Workbench

# Longer chains are given up by resolvers, so by CAs.
_MOST_ALIASES = 8


class Aliases:
    """Where names lead, as the authoritative servers say.

    Args:
        zone_of: the zone that holds an alias, which the name given last leads to.
    """

    def __init__(self, servers: NameServers, zone_of: Callable[[str, str], str]) -> None:
        self._servers = servers
        self._zone_of = zone_of
        self._silent: set[Server] = set()

    def follow(self, name: str, zone: str) -> tuple[str, str]:
        """Return the name at the end of a chain of aliases that begins in `zone`, and its zone.

        Raises:
            DnsError: it has no end.
        """
        chain = [name]
        while alias := self._alias_of(chain[-1], zone):
            if alias in chain or len(chain) > _MOST_ALIASES:
                what = "that leads back to itself" if alias in chain else "at the start of a long chain"
                raise DnsError(
                    f"{name!r} is an alias {what}: {printable(' -> '.join([*chain, alias]))}",
                    hint="correct the CNAME records in the Alidns console",
                )
            zone = self._zone_of(alias, name)
            chain.append(alias)
        return chain[-1], zone

    def _alias_of(self, name: str, zone: str) -> str:
        """Return what `name` is an alias of, empty if it is none."""
        alias = self._cname(name, zone)
        # A wildcard speaks for a name only until the name exists, and our record makes it exist.
        if alias and alias == self._cname(f"_certbotless-no-such-name.{name.partition('.')[2]}", zone):
            return ""
        return alias

    def _cname(self, name: str, zone: str) -> str:
        """Ask one authoritative server of `zone`: the next one only if it is silent."""
        for server in self._servers.of(zone):
            if server not in self._silent:
                [values] = ask([server], name, "CNAME")
                if values is not None:
                    return min(values, default="").lower().removesuffix(".")
                self._silent.add(server)
        return ""


class Placement:
    """The places of one site's txt values (issue.TxtPlaces); good for one run."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._ends: dict[str, tuple[str, str]] = {}
        self._aliases = Aliases(bench.servers, self._zone_of)

    def locate(self, name: str, value: str) -> TxtValue:
        """Return the txt value of a challenge name with the name and the zone that take it.

        Raises:
            DnsError: the name is an alias that leads nowhere.
        """
        if name not in self._ends:
            self._ends[name] = self._aliases.follow(name, self._bench.zone().name)
        fqdn, zone = self._ends[name]
        return TxtValue(fqdn, value, zone)

    def open(self, zone: str) -> Zone:
        return self._bench.zones.open(zone)

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        """Wait for the servers of each zone, all of them within propagation_timeout."""
        clock = self._bench.clock
        deadline = clock.monotonic() + self._bench.config.dns.propagation_timeout.total_seconds()
        for zone in sorted({txt.zone for txt in values}):
            wait_until_shown(
                self._bench.servers.of(zone),
                [Wanted(txt.fqdn, "TXT", txt.value) for txt in values if txt.zone == zone],
                clock,
                max(deadline - clock.monotonic(), 0),
            )

    def _zone_of(self, alias: str, name: str) -> str:
        """Return the zone that holds what `name` leads to; it is looked up once, and remembered."""
        known = self._bench.file.load().alias_zones
        if alias not in known:
            try:
                found = self._bench.zones.find(alias)
            except ZoneNotFound as exc:
                raise ZoneNotFound(
                    f"{name!r} is an alias of {printable(alias)!r}; {exc.message}",
                    hint="let the CNAME lead to a zone that the key may change (docs/delegation.md),"
                    " or delete it in the Alidns console",
                ) from exc
            known = known | {alias: found}
            self._bench.file.change(alias_zones=known)
            self._bench.tell("challenge.delegated", f"name={name} to={printable(alias)} zone={found}")
        return known[alias]
