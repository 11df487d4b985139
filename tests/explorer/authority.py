"""The DNS account, and what answers on port 53."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
from support.fakes import FakeZone
from support.resolvers import asked_for, with_values

from certbotless.base.errors import DnsRefused, DnsUnavailable, ZoneNotFound
from certbotless.model.records import DEFAULT_LINE, Record
from certbotless.world.dns.query import Server

from .checks import Violation

if TYPE_CHECKING:
    from .world import World

# What answers where the name servers should: they themselves; a cache without authority that empties private
# addresses (rebind protection); a proxy that invents addresses; a resolver that refuses; nobody.
Port53 = Literal["free", "cache", "fake-ip", "refused", "blocked"]
NAME_SERVERS = {
    "ns1.dns.test": ("192.0.2.11", "192.0.2.12", "192.0.2.13"),
    "ns2.dns.test": ("192.0.2.21", "192.0.2.22", "192.0.2.23"),
}
GIVEN = ("192.0.2.11:53", "192.0.2.21:53")
# Of these no record is ours.
FOREIGN_NET = "203.0.112."


class WatchedZone(FakeZone):
    """A zone of the account, which sees that nothing is done to it that must not be."""

    def __init__(self, name: str, world: World) -> None:
        super().__init__(name)
        self._world = world
        self._ours: set[str] = set()
        # What the name servers have shown since when.
        self._history: list[tuple[float, tuple[Record, ...]]] = [(0.0, ())]

    # records.Zone

    def records(self, fqdn: str) -> list[Record]:
        self._called_by_us("records")
        return super().records(fqdn)

    def add(self, record: Record) -> str:
        self._called_by_us("add")
        self._check_written(record)
        record_id = super().add(record)
        if record.type == "TXT":
            self._ours.add(record_id)
        self.changed()
        self._world.may_die("added")
        return record_id

    def update(self, record: Record) -> None:
        self._called_by_us("update")
        self._check_written(record)
        self._check_touched(record.record_id)
        super().update(record)
        self.changed()
        self._world.may_die("updated")

    def delete(self, record_id: str) -> None:
        self._called_by_us("delete")
        self._check_touched(record_id)
        super().delete(record_id)
        self.changed()
        self._world.may_die("deleted")

    # The world.

    def changed(self) -> None:
        """Note what is there from now on, for servers that lag behind."""
        self._history.append((self._world.clock.monotonic(), tuple(self._records.values())))

    def shown(self, lag_s: float) -> tuple[Record, ...]:
        """Return what a server shows that is so far behind."""
        at = self._world.clock.monotonic() - lag_s
        return next((records for since, records in reversed(self._history) if since <= at), ())

    def has_shown_lately(self, fqdn: str, wanted: Collection[str | None], within_s: float) -> bool:
        """Whether the name had these A values, and no others, at any moment of the last seconds."""
        since = self._world.clock.monotonic() - within_s
        for at, records in reversed(self._history):
            if _values(records, fqdn, "A") == wanted:
                return True
            if at <= since:
                break
        return False

    def put_first(self, record: Record) -> None:
        """Add a record by hand that is older than all others."""
        others = dict(self._records)
        self._records.clear()
        self.put(record)
        self._records.update(others)
        self.changed()

    def replace_value(self, record: Record, value: str) -> None:
        """Change a record by hand."""
        self._records[record.record_id] = replace(record, value=value)
        self.changed()

    def remove(self, records: Iterable[Record]) -> None:
        """Delete records by hand."""
        for record in records:
            self._records.pop(record.record_id, None)
        self.changed()

    def _called_by_us(self, what: str) -> None:
        self._world.may_die(what)
        if self._world.account.is_down:
            raise DnsUnavailable("the API does not answer")
        if self._world.account.refuses:
            raise DnsRefused("Forbidden.RAM")
        if self.name not in self._world.account.zones:
            raise ZoneNotFound(f"there is no zone {self.name!r}")

    def _check_written(self, record: Record) -> None:
        if record.type == "TXT":
            return
        if record.fqdn != self._world.domain or record.type != "A":
            raise Violation(f"wrote {record}")
        if record.value != self._world.lan:
            raise Violation(f"published {record.value} while the LAN address is {self._world.lan}")
        self._world.wrote_record()

    def _check_touched(self, record_id: str) -> None:
        old = self._records.get(record_id)
        if old is None:
            return
        is_ours = record_id in self._ours if old.type == "TXT" else old.type == "A"
        is_foreign = old.value.startswith(FOREIGN_NET) and self._is_beside_others(old)
        if not is_ours or is_foreign or old.line != DEFAULT_LINE or not old.is_enabled:
            raise Violation(f"touched what is not ours: {old}")

    def _is_beside_others(self, record: Record) -> bool:
        """Whether the name has another A record; a name's only one is ours to lead here."""
        values = _values(self._records.values(), record.fqdn, "A")
        return any(not value.startswith(FOREIGN_NET) for value in values)


class Account:
    """The DNS account (context.Zones).

    Attributes:
        zones: by name; one that is gone is in it no more.
        is_down, refuses: what its API does.
    """

    def __init__(self, *zones: WatchedZone) -> None:
        self.zones = {zone.name: zone for zone in zones}
        self._all = dict(self.zones)
        self.is_down = self.refuses = False

    def find(self, fqdn: str) -> str:
        if self.is_down:
            raise DnsUnavailable("the API does not answer")
        held = [name for name in self.zones if f".{fqdn}".endswith(f".{name}")]
        if not held:
            raise ZoneNotFound(f"no zone holds {fqdn!r}")
        return max(held, key=len)

    def open(self, name: str) -> WatchedZone:
        return self._all[name]

    def prove(self, zones: Iterable[str]) -> None:
        """The key is there."""

    def holder(self, fqdn: str) -> WatchedZone:
        """Return the zone that holds a name now."""
        held = [name for name in self.zones if f".{fqdn}".endswith(f".{name}")]
        return self.zones[max(held, key=len)]

    def merge(self, name: str, parent: str) -> None:
        """Let a zone end, and its records go on in another one."""
        for record in reversed(self.zones.pop(name).held()):
            self.zones[parent].put(replace(record, record_id=""))
        self.zones[parent].changed()


class Port53Answers:
    """What comes back for each question, as it would on the wire.

    Attributes:
        port53: who answers where the name servers should.
        lag_s: how far the second server is behind.
        dead: addresses of name servers that do not answer.
        are_resolvers_dead: whether the resolvers of the machine are silent too.
    """

    def __init__(self, account: Account, lag_s: float) -> None:
        self._account = account
        self.port53: Port53 = "free"
        self.lag_s = lag_s
        self.dead: set[str] = set()
        self.are_resolvers_dead = False

    def exchange(self, query: dns.message.Message, server: Server, end_s: float) -> dns.message.Message:
        """Answer, or raise `dns.exception.Timeout`."""
        at = server.address
        is_name_server = any(at in addresses for addresses in NAME_SERVERS.values())
        if at in self.dead or (not is_name_server and self.are_resolvers_dead):
            raise dns.exception.Timeout
        if not is_name_server:
            return self._resolved(query)
        match self.port53:
            case "free":
                return self._by_authority(query, at)
            case "cache":
                return self._resolved(query)
            case "fake-ip":
                values = ["198.18.0.7"] if query.question[0].rdtype == dns.rdatatype.A else []
                return _reply(query, values)
            case "refused":
                if query.flags & dns.flags.RD:
                    return self._resolved(query)
                return _reply(query, [], rcode=dns.rcode.REFUSED)
            case "blocked":
                raise dns.exception.Timeout

    def seen_by(self, fqdn: str, rdtype: str, lag_s: float) -> frozenset[str]:
        """Return the values that a server shows which is so far behind."""
        return _values(self._account.holder(fqdn).shown(lag_s), fqdn, rdtype)

    def lags_of_live_servers(self, given: Collection[str]) -> list[float]:
        """Return how far each name server is behind that answers with authority now; `given` ones, if any."""
        if self.port53 != "free":
            return []
        lags = zip(NAME_SERVERS.values(), (0.0, self.lag_s), strict=True)
        asked = [([at for at in ats if not given or f"{at}:53" in given], lag_s) for ats, lag_s in lags]
        return [lag_s for addresses, lag_s in asked if not self.dead.issuperset(addresses)]

    def _by_authority(self, query: dns.message.Message, at: str) -> dns.message.Message:
        fqdn, rdtype = asked_for(query)
        try:
            lag_s = self.lag_s if at in NAME_SERVERS["ns2.dns.test"] else 0
            values = self.seen_by(fqdn, rdtype, lag_s)
        except ValueError:
            return _reply(query, [], rcode=dns.rcode.REFUSED)
        return _reply(query, values, flags=dns.flags.AA)

    def _resolved(self, query: dns.message.Message) -> dns.message.Message:
        fqdn, rdtype = asked_for(query)
        if rdtype == "NS":
            is_zone = fqdn in self._account.zones
            return _reply(query, [f"{name}." for name in NAME_SERVERS] if is_zone else [])
        if fqdn in NAME_SERVERS:
            return _reply(query, NAME_SERVERS[fqdn] if rdtype == "A" else [])
        try:
            values = self.seen_by(fqdn, rdtype, self.lag_s)
        except ValueError:
            return _reply(query, [])
        if rdtype == "A":
            values = frozenset(value for value in values if not ip_address(value).is_private)
        return _reply(query, values)


def _values(records: Iterable[Record], fqdn: str, rdtype: str) -> frozenset[str]:
    """Return what a name server gives of these records."""
    return frozenset(
        record.value
        for record in records
        if (record.fqdn, record.type, record.is_enabled) == (fqdn, rdtype, True)
        and record.line == DEFAULT_LINE
    )


def _reply(
    query: dns.message.Message,
    values: Iterable[str],
    *,
    flags: dns.flags.Flag | int = 0,
    rcode: dns.rcode.Rcode = dns.rcode.NOERROR,
) -> dns.message.Message:
    reply = with_values(query, sorted(values))
    reply.flags |= flags
    reply.set_rcode(rcode)
    return reply
