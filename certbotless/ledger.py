"""Our own count of what the CAs count: pure rules over a persisted list of attempts.

The numbers stand in `limits`, each with its source. Rows carry the CA's own time where it tells one, so that
a clock that jumps neither forgets what was ordered nor holds it against us for ever.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from . import limits
from .clock import TRUSTED_SKEW
from .leaf import LeafFacts, parse_rfc3339, rfc3339
from .limits import Allowance

# Older rows bear on no limit.
_KEEP = 2 * limits.LONGEST_WINDOW

Kind = Literal["order", "failure", "account", "unreadable"]
_KINDS: dict[str, Kind] = {
    "order": "order",
    "failure": "failure",
    "account": "account",
    "unreadable": "unreadable",
}
Purpose = Literal["new", "renewal", "replacement"]
_PURPOSES: dict[str, Purpose] = {"new": "new", "renewal": "renewal", "replacement": "replacement"}

# The schedule that Let's Encrypt asks of clients: 1, 10, 100 minutes, then once a day.
_ORDER_BACKOFF = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), timedelta(days=1))
# Not more often, whatever is left: our own limits on orders would be spent before the end.
_LAST_BACKOFF = _ORDER_BACKOFF[2]
_LOCAL_BACKOFF_MOST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt at a CA.

    Attributes:
        kind: an order, a failed validation, or a new account; a row that cannot be read may have been any.
        names: those of the order, or those whose validation failed.
        purpose: of an order: a certificate for names that have none, another one for the same names, or one
            that names its predecessor in ``replaces``.
    """

    at: datetime
    kind: Kind
    directory: str
    names: tuple[str, ...]
    purpose: Purpose = "new"

    def to_line(self) -> bytes:
        """Return the line of ledger.jsonl that `from_line` reads."""
        row = {
            "at": rfc3339(self.at),
            "kind": self.kind,
            "directory": self.directory,
            "names": list(self.names),
        }
        return json.dumps(row | ({"purpose": self.purpose} if self.kind == "order" else {})).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Return the entry of a line of ledger.jsonl, `UNREADABLE` for anything else."""
        try:
            row = json.loads(line)
            return cls(
                at=parse_rfc3339(row["at"]),
                kind=_KINDS[row["kind"]],
                directory=str(row["directory"]),
                names=tuple(str(name) for name in row["names"]),
                purpose=_PURPOSES[row.get("purpose", "new")],
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return UNREADABLE


# It happened at some time, like what has a time in the future.
UNREADABLE = Entry(datetime.max.replace(tzinfo=UTC), "unreadable", "", ())


@dataclass(frozen=True, slots=True)
class Unread:
    """A ledger that is there and cannot be read: what was ordered is not known, so nothing may be.

    `what` went wrong, and `hint` is what to do.
    """

    what: str
    hint: str


Ledger = Sequence[Entry] | Unread


@dataclass(frozen=True, slots=True)
class Limit:
    """Why no order may be made now, and when one may."""

    reason: str
    until: datetime


def planned_order(at: datetime, directory: str, names: tuple[str, ...], in_hand: LeafFacts | None) -> Entry:
    """Return the row of an order that would be placed now, as far as it is known without asking the CA.

    Args:
        in_hand: the certificate of this CA for these very names, if there is one.
    """
    purpose: Purpose = "new" if in_hand is None else "replacement" if in_hand.ari_id else "renewal"
    return Entry(at, "order", directory, names, purpose)


def limit_on(entries: Iterable[Entry], planned: Entry, in_hand: LeafFacts | None = None) -> Limit | None:
    """Return the limit that forbids an order or a new account at the moment of the entry, or None.

    Args:
        entries: the whole ledger, in any order. What lies more than an hour ahead counts for nothing here;
            who asks the CA settles it first.
        planned: the row as it would be written.
        in_hand: the certificate of this CA for these very names, if there is one.
    """
    mine = [entry for entry in entries if _is_of(entry, planned.directory)]
    found = [count.limit_at(planned.at) for count in _counts(mine, planned, in_hand)]
    return max((limit for limit in found if limit), key=lambda limit: limit.until, default=None)


def orders_left(entries: Iterable[Entry], planned: Entry, in_hand: LeafFacts | None = None) -> int:
    """Return how many more orders like the planned one could be made now. The arguments are `limit_on`'s."""
    mine = [entry for entry in entries if _is_of(entry, planned.directory)]
    return min(count.left_at(planned.at) for count in _counts(mine, planned, in_hand))


def orders_left_for_each(entries: Ledger, planned: Iterable[tuple[Entry, LeafFacts | None]]) -> Iterator[int]:
    """Yield `orders_left` for each of many orders, without going through the whole ledger for each."""
    if isinstance(entries, Unread):
        yield from (0 for _ in planned)
        return
    rows_of: dict[str, set[int]] = {}
    for row, entry in enumerate(entries):
        for base in _bases(entry):
            rows_of.setdefault(base, set()).add(row)
    unreadable = {row for row, entry in enumerate(entries) if entry.kind == "unreadable"}
    for order, in_hand in planned:
        # Only new names are counted together with those of others.
        found = unreadable.union(*(rows_of.get(base, ()) for base in _bases(order)))
        about = entries if order.purpose == "new" else [entries[row] for row in found]
        yield orders_left(about, order, in_hand)


def settled(entries: Iterable[Entry], now: datetime) -> list[Entry]:
    """Return the rows as they count from now on; `now` is the CA's time.

    What lies ahead of it was written by a clock that was wrong, or cannot be read; it has happened all the
    same, so it counts as of now, once and for all. What bears on no limit any more is left out.
    """
    return [replace(entry, at=min(entry.at, now)) for entry in entries if entry.at > now - _KEEP]


@dataclass(frozen=True, slots=True)
class _Count:
    """At most `most` of these rows in a window; `ends_at` is when this limit is lifted whatever they say."""

    what: str
    most: int
    window: timedelta
    rows: Sequence[Entry]
    ends_at: datetime | None = None

    @classmethod
    def of(cls, rule: Allowance, rows: Sequence[Entry], about: str = "") -> _Count:
        return cls(rule.what.format(about), rule.count, rule.window, rows)

    def left_at(self, now: datetime) -> int:
        """Return how many more there may be, 0 for none."""
        return max(self.most - len(self._recent(now)), 0)

    def limit_at(self, now: datetime) -> Limit | None:
        recent = self._recent(now)
        if len(recent) < self.most or (self.ends_at is not None and now >= self.ends_at):
            return None
        until = recent[-self.most] + self.window
        reason = f"{len(recent)} {self.what} in {limits.in_words(self.window)}"
        return Limit(reason, until if self.ends_at is None else min(until, self.ends_at))

    def _recent(self, now: datetime) -> list[datetime]:
        return sorted(e.at for e in self.rows if now - self.window < e.at <= now + TRUSTED_SKEW)


def _counts(mine: Sequence[Entry], planned: Entry, in_hand: LeafFacts | None) -> Iterator[_Count]:
    """Yield all that `planned` is counted with."""
    if planned.kind == "account":
        yield _Count.of(limits.NEW_ACCOUNTS, _of_kind(mine, "account"))
        return
    orders, failures = _of_kind(mine, "order"), _of_kind(mine, "failure")
    same = [e for e in orders if e.kind == "unreadable" or set(e.names) == set(planned.names)]
    count = _Count.of(limits.SAME_NAMES, same)
    yield (
        replace(count, window=min(count.window, in_hand.lifetime / limits.SAME_NAMES_SHARE))
        if in_hand
        else count
    )
    # A name and its wildcard are validated at one place, under the name.
    for base in sorted(_bases(planned)):
        yield _Count.of(limits.FAILED_VALIDATIONS, _about(base, failures, _bases), base)
    if planned.directory != limits.LETS_ENCRYPT or planned.purpose == "replacement":
        return
    count = _Count.of(limits.NOT_REPLACING, [e for e in same if e.purpose != "replacement"])
    yield (
        replace(count, ends_at=in_hand.not_after - in_hand.lifetime / limits.LAST_SHARE) if in_hand else count
    )
    yield replace(count, most=limits.NOT_REPLACING_AT_THE_END)
    if planned.purpose == "new":
        new = [e for e in orders if e.purpose == "new"]
        yield _Count.of(limits.NEW_ORDERS, new)
        for domain in sorted(_domains(planned)):
            yield _Count.of(limits.NEW_CERTIFICATES, _about(domain, new, _domains), domain)


def _is_of(entry: Entry, directory: str) -> bool:
    return entry.kind == "unreadable" or entry.directory == directory


def _of_kind(entries: Sequence[Entry], kind: Kind) -> list[Entry]:
    return [entry for entry in entries if entry.kind in (kind, "unreadable")]


def _about(subject: str, entries: Sequence[Entry], subjects: Callable[[Entry], set[str]]) -> list[Entry]:
    return [entry for entry in entries if entry.kind == "unreadable" or subject in subjects(entry)]


def _bases(entry: Entry) -> set[str]:
    return {name.removeprefix("*.") for name in entry.names}


def _domains(entry: Entry) -> set[str]:
    return {".".join(name.split(".")[-2:]) for name in entry.names}


def order_backoff(failures: int, in_hand: LeafFacts | None, now: datetime, jitter: float) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) of an order.

    Args:
        in_hand: the certificate that would be replaced: the wait is at most a tenth of its lifetime, and near
            its end a quarter of what is left.
        jitter: 0..1, adds up to a quarter.
    """
    wait = _ORDER_BACKOFF[min(failures, len(_ORDER_BACKOFF)) - 1] * (1 + jitter / 4)
    if in_hand is None:
        return wait
    return min(wait, in_hand.lifetime / 10, max((in_hand.not_after - now) / 4, _LAST_BACKOFF))


def local_backoff(failures: int, check_every: timedelta) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) at the record or the container."""
    doubled: timedelta = check_every * (1 << min(failures - 1, 10))
    return min(doubled, max(_LOCAL_BACKOFF_MOST, check_every))
