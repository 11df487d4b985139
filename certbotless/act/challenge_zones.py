"""Where the txt values of a site go, and whether they are there.

A challenge name may be an alias (CNAME) of a name in another zone of the account, so that a zone with little
in it takes the values. Then they go there: CAs follow aliases.

Source: RFC 8555 section 8.4; RFC 1034 section 3.6.2 (aliases), RFC 4592 (wildcards).
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from ..base.clock import Pace
from ..base.errors import DnsError, DnsRefused, DnsUnavailable, ZoneNotFound, ZoneOnHold, printable
from ..base.words import N_, Text
from ..model.memory import TxtValue
from ..model.records import DEFAULT_LINE, Zone
from ..world.acme.challenge import presented
from ..world.dns.nameservers import NameServers
from ..world.dns.propagation import SILENCE_S, Wanted, wait_until_shown
from ..world.dns.query import Server, ask_all, speaks
from .context import SiteContext

logger = logging.getLogger(__name__)

# Longer chains are given up by resolvers, so by CAs.
_MOST_ALIASES = 8
# Where no name server speaks for the zone: how long the service's servers get to show what its API lists.
# Each validation that fails after such a wait doubles it.
UNSEEN_WAIT_S = 45
# 45 s so often doubled are longer than any propagation_timeout, 6 h at most.
_MOST_DOUBLINGS = 9


def servers_of(servers: NameServers, zone: str) -> tuple[Server, ...]:
    """Return the servers of a zone; none where no resolver answers, so that only the API knows the zone.

    Raises:
        ZoneOnHold: there is no such zone on the Internet, so no CA can see it.
    """
    try:
        return servers.of(zone)
    except ZoneOnHold:
        raise
    except DnsUnavailable:
        return ()


@dataclass
class Aliases:
    """Where names lead: by the authoritative servers, or by the API where none speaks for the zone.

    Attributes:
        zone_of: the zone that holds an alias, which the name given last leads to.
        opened: gives a zone of the account by its name.
    """

    servers: NameServers
    zone_of: Callable[[str, str], str]
    opened: Callable[[str], Zone]
    _silent: set[Server] = field(default_factory=set, init=False)

    def follow(self, name: str, zone: str) -> tuple[str, str]:
        """Return the name at the end of a chain of aliases that begins in `zone`, and its zone.

        Raises:
            DnsError: it has no end, or the servers do not agree.
        """
        chain = [name]
        while alias := self._alias_of(chain[-1], zone):
            if alias in chain or len(chain) > _MOST_ALIASES:
                form = N_("{!r} is an alias at the start of a long chain: {}")
                if alias in chain:
                    form = N_("{!r} is an alias that leads back to itself: {}")
                raise DnsError(
                    Text(form, name, printable(" -> ".join([*chain, alias]))),
                    hint=Text("correct the CNAME records in the Alidns console"),
                )
            zone = self.zone_of(alias, name)
            chain.append(alias)
        return chain[-1], zone

    def _alias_of(self, name: str, zone: str) -> str:
        """Return what `name` is an alias of, empty if it is none."""
        alias = self._cname(name, zone)
        if alias is None:
            return self._listed_cname(name, zone)
        # A wildcard speaks for a name only until the name exists, and our record makes it exist.
        if alias and alias == self._cname(f"_certbotless-no-such-name.{name.partition('.')[2]}", zone):
            return ""
        return alias

    def _cname(self, name: str, zone: str) -> str | None:
        """Ask the authoritative servers of `zone`; None where none speaks for it.

        A forged alias would lead our value into any zone of the account.
        """
        # A server that was silent once is not asked again.
        servers = [each for each in servers_of(self.servers, zone) if each not in self._silent]
        answers = ask_all(servers, name, "CNAME") if servers else []
        heard = list(zip(servers, answers, strict=True))
        self._silent |= {server for server, answer in heard if answer.values is None}
        told = {
            min(answer.values or (), default="").lower().removesuffix(".")
            for server, answer in heard
            if speaks(server, answer)
        }
        self.servers.note(zone, is_blind=not told)
        if len(told) > 1:
            said = " and ".join(repr(alias) if alias else "no alias" for alias in sorted(told))
            raise DnsUnavailable(
                Text("the name servers of {} do not agree on {!r}: {}", zone, name, printable(said)),
                hint=Text("wait until all of them show the CNAME as it is in the Alidns console"),
            )
        return told.pop() if told else None

    def _listed_cname(self, name: str, zone: str) -> str:
        try:
            records = self.opened(zone).records(name)
        except (DnsRefused, ZoneNotFound) as exc:
            # A key for the zone at the end of the alias alone may not list this one.
            logger.debug("alias.not_listed name=%s error=%s", name, exc.message)
            return ""
        aliases = (r.value for r in records if (r.type, r.line) == ("CNAME", DEFAULT_LINE) and r.is_enabled)
        return next(aliases, "").lower().removesuffix(".")


class ChallengeZones:
    """The places of one site's txt values (issue.TxtPlaces); good for one run."""

    def __init__(self, ctx: SiteContext) -> None:
        self._ctx = ctx
        self._ends: dict[str, tuple[str, str]] = {}
        self._aliases = Aliases(ctx.servers, self._zone_of, self._open)
        self._has_waited_unseen = False
        # Whether the servers of all zones have shown the values to us.
        self.is_shown = False

    def locate(self, name: str, value: str) -> TxtValue:
        """Return the txt value of a challenge name with the name and the zone that take it.

        Raises:
            DnsError: the name is an alias that leads nowhere.
        """
        if name not in self._ends:
            self._ends[name] = self._aliases.follow(name, self._ctx.zone().name)
        fqdn, zone = self._ends[name]
        return TxtValue(fqdn, value, zone)

    def presented(self, values: Sequence[TxtValue]) -> AbstractContextManager[None]:
        return presented(self._open, self._ctx.file, values)

    def _open(self, zone: str) -> Zone:
        return self._ctx.zones.open(zone)

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        """Wait for the servers of each zone, all of them within propagation_timeout.

        1. Ask the servers; where none speaks for a zone for 30 s, or none did when last asked:
        2. Wait until the API lists the values, then 45 s for the servers that cannot be asked from here.

        Raises:
            PropagationTimeout: a server still answers without a value.
        """
        clock = self._ctx.clock
        deadline = clock.monotonic() + self._ctx.config.dns.propagation_timeout.total_seconds()
        self.is_shown = True
        for zone in sorted({txt.zone for txt in values}):
            mine = [txt for txt in values if txt.zone == zone]
            is_blind = self._ctx.servers.blind_s(zone) is not None
            if is_blind or not self._are_shown(zone, mine, deadline):  # 1
                self._wait_for_listing(zone, mine, deadline)  # 2
                self.is_shown &= self._wait_unseen(zone, mine, deadline)

    def _are_shown(
        self, zone: str, values: Sequence[TxtValue], deadline: float, blind_s: float = SILENCE_S
    ) -> bool:
        clock = self._ctx.clock
        return wait_until_shown(
            servers_of(self._ctx.servers, zone),
            [Wanted(txt.fqdn, "TXT", txt.value) for txt in values],
            clock,
            max(deadline - clock.monotonic(), 0),
            blind_s=blind_s,
        )

    def _wait_for_listing(self, zone: str, values: Sequence[TxtValue], deadline: float) -> None:
        """Wait until the API lists the values; what it does not let us list it has taken all the same."""
        clock = self._ctx.clock
        pace = Pace(clock, max(deadline - clock.monotonic(), 0), first_s=1, most_s=10)
        unlisted = {txt.fqdn: {each.value for each in values if each.fqdn == txt.fqdn} for txt in values}
        while True:
            for fqdn, wanted in list(unlisted.items()):
                try:
                    listed = {record.value for record in self._open(zone).records(fqdn)}
                except DnsError as exc:
                    logger.debug("txt.not_listed fqdn=%s error=%s", fqdn, exc.message)
                    listed = wanted
                if wanted <= listed:
                    del unlisted[fqdn]
            if not unlisted or pace.expired:
                return
            pace.wait()

    def _wait_unseen(self, zone: str, values: Sequence[TxtValue], deadline: float) -> bool:
        """Wait so long, and return whether the servers have come to show the values."""
        failures = self._ctx.state.unseen_failures
        clock, began_s = self._ctx.clock, self._ctx.clock.monotonic()
        wait_s = min(UNSEEN_WAIT_S * 2.0 ** min(failures, _MOST_DOUBLINGS), max(deadline - began_s, 0))
        if not (is_shown := self._are_shown(zone, values, deadline, wait_s)):
            self._has_waited_unseen = True
            names = ",".join(sorted({txt.fqdn for txt in values}))
            waited_s, reason = (
                round(clock.monotonic() - began_s),
                "no name server of the zone can be reached",
            )
            self._ctx.tell("challenge.unseen", names=names, zone=zone, waited_s=waited_s, reason=reason)
        return is_shown

    def note_validation(self, *, is_valid: bool) -> None:
        """Remember whether the CA has validated the values: after a failure the next wait is longer."""
        failures = self._ctx.state.unseen_failures
        if is_valid and failures:
            self._ctx.file.change(unseen_failures=0)
        elif not is_valid and self._has_waited_unseen:
            self._ctx.file.change(unseen_failures=min(failures + 1, _MOST_DOUBLINGS))

    def explained(self, exc: DnsError) -> DnsError:
        """Return the error with a cause in its hint that may be there and cannot be seen from here."""
        is_conflict = getattr(exc, "code", "") == "DomainRecordConflict"
        if not is_conflict or not any(self._ctx.servers.blind_s(zone) for _, zone in self._ends.values()):
            return exc
        hint = Text(
            "the challenge name may be an alias (CNAME), and certbotless cannot see it: port 53 is blocked or"
            " intercepted, and the AccessKey may not list the name; allow that (docs/delegation.md)"
        )
        return DnsRefused(exc.message, hint=Text("{}; {}", exc.hint, hint) if exc.hint else hint)

    def _zone_of(self, alias: str, name: str) -> str:
        """Return the zone that holds what `name` leads to; it is looked up once, and remembered."""
        known = self._ctx.state.alias_zones
        if alias not in known:
            try:
                found = self._ctx.zones.find(alias)
            except ZoneNotFound as exc:
                raise ZoneNotFound(
                    Text("{!r} is an alias of {!r}; {}", name, printable(alias), exc.message),
                    hint=Text(
                        "point the CNAME to a zone that the AccessKey may change (docs/delegation.md), or "
                        "delete it in the Alidns console"
                    ),
                ) from exc
            known = self._ctx.file.put("alias_zones", alias, found).alias_zones
            self._ctx.tell("challenge.delegated", name=name, to=printable(alias), zone=found)
        return known[alias]
