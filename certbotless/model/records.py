"""Resource records as values, and the changes that lead from what is there to what is wanted.

Pure. A record of a name is ours if it is of type A or AAAA, of the line ``default``, and enabled. Other
records are reported and never touched.

Source: docs/decisions/decide.md, "The A record".
"""

import ipaddress
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from ..base.errors import RecordConflict
from ..base.words import N_, Text

DEFAULT_LINE = "default"


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record; `record_id` is the service's id, empty until it exists there."""

    fqdn: str
    type: str
    value: str
    ttl_s: int
    record_id: str = ""
    line: str = DEFAULT_LINE
    is_enabled: bool = True


def address_type(*addresses: str) -> str:
    """Return the type of the records that carry such addresses."""
    return "AAAA" if ":" in addresses[0] else "A"


class Zone(Protocol):
    """A zone at a DNS service. Every call may raise `DnsError`."""

    @property
    def name(self) -> str:
        """The zone's apex."""

    def records(self, fqdn: str) -> list[Record]:
        """Return the records of exactly this name, of every type and line, newest first."""

    def add(self, record: Record) -> str:
        """Create the record and return its id; one that is there already is adopted.

        Raises:
            DnsRefused: it is there, but disabled: not ours to enable, and of no use to us.
        """

    def update(self, record: Record) -> None:
        """Give the record with this `record_id` these contents; no change is no error.

        Raises:
            DnsRefused: there is no such record, or another one has these contents.
        """

    def delete(self, record_id: str) -> None:
        """Delete by id; one that is gone already is no error."""


class Change(NamedTuple):
    """What becomes of one record; `old` is None for one that is created, `new` for one that is deleted."""

    old: Record | None
    new: Record | None


def plan_changes(existing: Sequence[Record], *wanted: Record, ours: Collection[str] = ()) -> list[Change]:
    """Return what makes `wanted` the only address records of their name.

    Args:
        existing: every record of the name, newest first.
        wanted: the A records, or the AAAA records, that shall be there: one or several, of one name and TTL;
            their ids are not looked at.
        ours: values that we once wrote there, so we may delete them even if they are public.

    A record with a wanted value stays. Others are changed to what is missing: the newest that are ours or
    private, and the public address of another owner only where it is the only record. What is deleted comes
    last: after each change the name has a record that was there before, or one that is wanted.

    Raises:
        RecordConflict: a person must decide: there is a CNAME, or another public address beside ours.
    """
    active = [r for r in existing if r.is_enabled and r.line == DEFAULT_LINE]
    if alias := next((r for r in active if r.type == "CNAME"), None):
        form = N_("{!r} is a CNAME to {!r}, so it cannot have an {} record")
        hint = Text("delete the CNAME in the Alidns console or choose another name")
        raise RecordConflict(Text(form, wanted[0].fqdn, alias.value, wanted[0].type), hint=hint)
    addresses = [r for r in active if r.type == wanted[0].type]
    values = {each.value for each in wanted}
    kept = {r.value: r for r in reversed(addresses) if r.value in values}
    others = [r for r in addresses if r is not kept.get(r.value)]
    free = [r for r in others if r.value in ours or _is_private(r.value)]
    if len(addresses) > 1 and (stranger := next((r for r in others if r not in free), None)):
        form = N_("{!r} also has the public address {!r}, not written by certbotless")
        hint = Text("delete that record in the Alidns console if it is stale")
        raise RecordConflict(Text(form, wanted[0].fqdn, stranger.value), hint=hint)
    written, spare = list[Change](), iter(others)
    for each in wanted:
        before = kept.get(each.value) or next(spare, None)
        if before is None:
            written.append(Change(None, each))
        elif (before.value, before.ttl_s) != (each.value, each.ttl_s):
            written.append(Change(before, replace(each, record_id=before.record_id)))
    return [*written, *(Change(other, None) for other in spare)]


def apply_changes(zone: Zone, changes: Sequence[Change]) -> None:
    """Carry the changes out in order.

    Raises:
        DnsError: one failed; those before it were made.
    """
    for change in changes:
        match change:
            case None, Record() as new:
                zone.add(new)
            case Record(), Record() as new:
                zone.update(new)
            case Record() as old, None:
                zone.delete(old.record_id)


def _is_private(value: str) -> bool:
    return ipaddress.ip_address(value).is_private
