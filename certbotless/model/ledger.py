"""Our own count of what the CAs count: pure rules over a persisted list of attempts.

The numbers are in `limits`, each with its source. Rows have the CA's own time where the CA gives one, so that
a jump of our clock neither forgets an order nor counts it for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from ..base.checked import Model, after, dump, exactly, of_json, or_else, or_made_by
from ..base.clock import TRUSTED_SKEW
from ..base.errors import StoreError
from ..base.times import in_words, within_bounds
from ..base.words import Text
from . import limits
from .certificate import LeafFacts, Published
from .limits import Allowance
from .memory import SiteState

# More than any CA signs for; a lifetime beyond it is damage, and not known.
_LONGEST_LIFETIME = timedelta(days=36525)
# Older rows bear on no limit.
_KEEP = 2 * limits.LONGEST_WINDOW

Kind = Literal["order", "failure", "account", "unreadable"]
_KINDS: tuple[Kind, ...] = ("order", "failure", "account")
# Whether a certificate came of an order; unknown where the run was killed, or the answer lost.
OrderOutcome = Literal["unknown", "issued", "failed"]
Purpose = Literal["new", "renewal", "replacement"]

# The schedule that Let's Encrypt asks of clients: 1, 10, 100 minutes, then once a day.
_ORDER_BACKOFF = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), timedelta(days=1))
# Added to a wait at random, as a share of it: 100 minutes and a slow zone stay below two hours.
_JITTER = 1 / 20
# Not more often, whatever is left: our own limits on orders would be spent before the end.
_LAST_BACKOFF = _ORDER_BACKOFF[2]
_LOCAL_BACKOFF_MOST = timedelta(minutes=10)


def _sound_lifetime(seconds: int) -> int:
    if not 0 <= seconds <= _LONGEST_LIFETIME.total_seconds():
        raise ValueError("no certificate lives so long")
    return seconds


def _of_a_newer_version(known: dict[str, Any]) -> OrderOutcome:
    # Only a failure of an older version marks an order that was placed before it.
    return "failed" if known.get("kind") == "failure" else "unknown"


@dataclass(frozen=True, slots=True)
class Entry(Model):
    """One attempt at a CA, a line of ledger.jsonl.

    An unknown value of `outcome`, or of a field after it, was written by a newer version and counts as not
    known. A failed validation with such an outcome counts like any other, and marks no order.

    Attributes:
        kind: an order, a failed validation, or a new account; a row that cannot be read counts as each.
        names: those of the order, or those whose validation failed.
        purpose: of an order: a certificate for names that have none, another one for the same names, or one
            that the CA exempts: it names its predecessor in ``replaces``, in the window suggested for that.
        outcome: of an order: ``failed`` if the CA could not validate it, so that no certificate came of it;
            of a failed validation: ``failed`` if its order was marked in the same write.
        rehearsal: whether it is of a dry run.
        lifetime_s: of the certificate that came of an order, in seconds; 0 where it is not known.
    """

    at: Annotated[datetime, exactly, after(within_bounds)]
    kind: Kind
    directory: str
    names: tuple[str, ...]
    purpose: Purpose = "new"
    outcome: Annotated[OrderOutcome, or_made_by(_of_a_newer_version), or_else("unknown")] = "unknown"
    rehearsal: Annotated[bool, exactly, or_else(False)] = False
    lifetime_s: Annotated[int, exactly, after(_sound_lifetime), or_else(0)] = 0

    @property
    def lifetime(self) -> timedelta:
        """Return the lifetime, 0 where it is not known."""
        return timedelta(seconds=self.lifetime_s)

    def to_line(self) -> bytes:
        """Return the line that `from_line` reads; older versions skip the keys that they do not know."""
        return dump(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Entry:
        """Return the entry of a line, `UNREADABLE` for anything else."""
        try:
            return of_json(cls, line)
        except ValueError:
            return UNREADABLE


# Its time is not known, so it is in the future, like that of a row from a clock that was ahead.
UNREADABLE = Entry(datetime.max.replace(tzinfo=UTC), "unreadable", "", ())


# All rows; or why the file cannot be read: then nothing may be ordered.
Ledger = Sequence[Entry] | StoreError


@dataclass(frozen=True, slots=True)
class Limit:
    """Why no order may be made now, and when one may."""

    reason: str
    until: datetime


def next_order(
    at: datetime, directory: str, names: tuple[str, ...], held: Published, remembered: SiteState
) -> tuple[Entry, LeafFacts | None]:
    """Return the row of an order that would be placed now, as far as it is known without asking the CA.

    With it comes what `limit_on` and `orders_left` take for the certificate in hand.
    """
    in_hand, told = held.facts_for(directory, names), remembered.renewal
    purpose = purpose_of(in_hand, is_exempt=told is not None and told.suggests(in_hand, at))
    return Entry(at, "order", directory, names, purpose), held.facts_as_of(directory, names)


def purpose_of(in_hand: LeafFacts | None, *, is_exempt: bool) -> Purpose:
    """Return what an order is for.

    Args:
        in_hand: the certificate of this CA for these very names, if there is one.
        is_exempt: whether the order names it as its predecessor, in the window that the CA suggested.
    """
    return "new" if in_hand is None else "replacement" if is_exempt and in_hand.ari_id else "renewal"


def limit_on(entries: Iterable[Entry], planned: Entry, in_hand: LeafFacts | None = None) -> Limit | None:
    """Return the limit that forbids an order or a new account at the moment of the entry, or None.

    Args:
        entries: the whole ledger, in any order. What lies more than an hour ahead counts for nothing here;
            a run that asks the CA settles it first.
        planned: the row as it would be written.
        in_hand: the certificate of this CA for these very names, if there is one; also one that was adopted.
    """
    found = [count.limit_at(planned.at) for count in _counts(entries, planned, in_hand)]
    return max((limit for limit in found if limit), key=lambda limit: limit.until, default=None)


def orders_left(entries: Iterable[Entry], planned: Entry, in_hand: LeafFacts | None = None) -> int:
    """Return how many more orders like the planned one could be made now. The arguments are `limit_on`'s."""
    return min(count.left_at(planned.at) for count in _counts(entries, planned, in_hand))


def orders_left_for_each(entries: Ledger, planned: Iterable[tuple[Entry, LeafFacts | None]]) -> Iterator[int]:
    """Yield `orders_left` for each of many orders, without going through the whole ledger for each."""
    if isinstance(entries, StoreError):
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


def with_failure(entries: Iterable[Entry], failure: Entry, order_names: tuple[str, ...]) -> list[Entry]:
    """Return the rows with a failed validation, and with its order marked: no certificate came of it.

    If the order is marked already, a run that was killed then has counted the failure: it is counted once.
    """
    rows = list(entries)
    newest = _newest_order(rows, failure, order_names)
    if newest is not None and rows[newest].outcome == "failed":
        return rows
    if newest is not None and rows[newest].outcome == "unknown":
        rows[newest] = replace(rows[newest], outcome="failed")
    return [*rows, failure]


def without_failure(entries: Iterable[Entry], failure: Entry, order_names: tuple[str, ...]) -> list[Entry]:
    """Return the rows as they were before `with_failure` wrote this failure, whatever time it has by now."""
    rows = list(entries)
    written = [number for number, row in enumerate(rows) if replace(row, at=failure.at) == failure]
    if not written:
        return rows
    del rows[written[-1]]
    newest = _newest_order(rows, failure, order_names)
    if newest is not None and rows[newest].outcome == "failed":
        rows[newest] = replace(rows[newest], outcome="unknown")
    return rows


def with_old_failures(entries: Iterable[Entry]) -> list[Entry]:
    """Return the rows of a file; orders whose failed validation has no mark are marked as failed.

    Versions before 2026-11-28 wrote that one down after its order, and marked neither.
    """
    rows = list(entries)
    newest: dict[tuple[str, bool, str], int] = {}
    for number, row in enumerate(rows):
        about = [(row.directory, row.rehearsal, base) for base in _bases(row)]
        if row.kind == "order":
            newest.update(dict.fromkeys(about, number))
        elif row.kind == "failure" and row.outcome == "unknown":
            for found in {newest[each] for each in about if each in newest}:
                order = rows[found]
                if order.outcome == "unknown" and _bases(row) <= _bases(order):
                    rows[found] = replace(order, outcome="failed")
    return rows


def with_certificate(entries: Iterable[Entry], order: Entry) -> list[Entry]:
    """Return the rows with the order marked that a certificate came of, at the moment when it came.

    The CA counts a certificate when it issues it, which may be days after its order was placed. `order` has
    that moment, and the lifetime of the certificate.
    """
    rows = list(entries)
    newest = _newest_order(rows, order, order.names)
    if newest is not None and rows[newest].outcome == "unknown":
        rows[newest] = replace(rows[newest], outcome="issued", at=order.at, lifetime_s=order.lifetime_s)
    return rows


def _newest_order(rows: Sequence[Entry], like: Entry, names: tuple[str, ...]) -> int | None:
    """Return the index of the newest order for these names, the one in flight: a site has one at a time."""
    found = [
        number
        for number, row in enumerate(rows)
        if row.kind == "order"
        and (row.directory, row.rehearsal) == (like.directory, like.rehearsal)
        and set(row.names) == set(names)
    ]
    return max(found, key=lambda number: (rows[number].at, number), default=None)


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
        return cls(Text(rule.what, about), rule.count, rule.window, rows)

    def left_at(self, now: datetime) -> int:
        """Return how many more there may be, 0 for none."""
        return max(self.most - len(self._recent(now)), 0)

    def limit_at(self, now: datetime) -> Limit | None:
        recent = self._recent(now)
        if len(recent) < self.most or (self.ends_at is not None and now >= self.ends_at):
            return None
        until = recent[-self.most] + self.window
        reason = Text("{0} {1} in {2}", len(recent), self.what, in_words(self.window))
        return Limit(reason, until if self.ends_at is None else min(until, self.ends_at))

    def _recent(self, now: datetime) -> list[datetime]:
        return sorted(e.at for e in self.rows if now - self.window < e.at <= now + TRUSTED_SKEW)


def _counts(entries: Iterable[Entry], planned: Entry, in_hand: LeafFacts | None) -> Iterator[_Count]:
    """Yield all that `planned` is counted with."""
    by_kind: dict[Kind, list[Entry]] = {kind: [] for kind in _KINDS}
    for entry in entries:
        if entry.kind == "unreadable":
            # It may have been of any kind, and of these names.
            for kind in _KINDS:
                by_kind[kind].append(replace(entry, kind=kind, names=planned.names))
        elif entry.directory == planned.directory:
            by_kind[entry.kind].append(entry)
    if planned.kind == "account":
        yield _Count.of(limits.NEW_ACCOUNTS, by_kind["account"])
        return
    is_staging = planned.directory in limits.STAGING
    if is_staging or planned.rehearsal:
        rehearsals = [e for e in by_kind["order"] if is_staging or e.rehearsal]
        same = [e for e in rehearsals if set(e.names) == set(planned.names)]
        yield _Count.of(limits.REHEARSALS, same)
    if not is_staging:
        # A name and its wildcard are validated at one place, under the name.
        for base in sorted(_bases(planned)):
            failures = [e for e in by_kind["failure"] if base in _bases(e)]
            yield _Count.of(limits.FAILED_VALIDATIONS, failures, base)
        yield from _counts_in_earnest(by_kind["order"], planned, in_hand)


def _counts_in_earnest(
    orders: Sequence[Entry], planned: Entry, in_hand: LeafFacts | None
) -> Iterator[_Count]:
    """Yield which orders are counted where certificates are trusted; a rehearsal there gives none."""
    is_new_there = planned.directory == limits.LETS_ENCRYPT and planned.purpose == "new"
    if is_new_there:
        # The CA counts each that is placed, whatever comes of it.
        yield _Count.of(limits.NEW_ORDERS, [e for e in orders if e.purpose == "new"])
    if planned.rehearsal:
        return
    certificates = [e for e in orders if e.outcome != "failed" and not e.rehearsal]
    same = [e for e in certificates if set(e.names) == set(planned.names)]
    count = _Count.of(limits.SAME_NAMES, same)
    if lifetime := in_hand.lifetime if in_hand else _newest_lifetime(same):
        count = replace(count, window=limits.same_names_window(lifetime))
    yield from _with_reserve(count, in_hand)
    if planned.directory != limits.LETS_ENCRYPT or planned.purpose == "replacement":
        return
    count = _Count.of(limits.NOT_REPLACING, [e for e in same if e.purpose != "replacement"])
    yield from _with_reserve(count, in_hand)
    if is_new_there:
        new = [e for e in certificates if e.purpose == "new"]
        for domain in sorted(_domains(planned)):
            below = [e for e in new if domain in _domains(e)]
            yield _Count.of(limits.NEW_CERTIFICATES, below, domain)


def _newest_lifetime(orders: Iterable[Entry]) -> timedelta:
    """Return the lifetime of the newest certificate that is known to have come of these, 0 for none."""
    known = [order for order in orders if order.lifetime]
    return max(known, key=lambda order: order.at).lifetime if known else timedelta()


def _with_reserve(count: _Count, in_hand: LeafFacts | None) -> Iterator[_Count]:
    """Yield a count that lets some more pass in the last part of the life of the certificate in hand."""
    if in_hand is None:
        yield count
        return
    lifetime, end = in_hand.lifetime, in_hand.not_after
    yield replace(count, ends_at=end - limits.last_part(lifetime))
    yield replace(count, most=limits.MOST_AT_THE_END - 1, ends_at=end - lifetime / limits.LAST_SHARE)
    yield replace(count, most=limits.MOST_AT_THE_END)


def _bases(entry: Entry) -> set[str]:
    return {name.removeprefix("*.") for name in entry.names}


def _domains(entry: Entry) -> set[str]:
    return {".".join(name.split(".")[-2:]) for name in entry.names}


def order_backoff(
    failures: int, in_hand: LeafFacts | None, now: datetime, jitter: float, *, is_spent: bool = True
) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) of an order.

    Args:
        in_hand: the certificate that would be replaced: the wait is at most a tenth of its lifetime, and near
            its end a quarter of what is left.
        jitter: 0..1, adds up to a twentieth.
        is_spent: whether the attempt may have cost one of the certificates that the limits allow in a window:
            from the fourth failure on such attempts are a third of the window apart, for in a row they would
            be spent at its start, and the rest of it would pass without a try.
    """
    wait = _ORDER_BACKOFF[min(failures, len(_ORDER_BACKOFF)) - 1]
    if is_spent and failures >= len(_ORDER_BACKOFF):
        window = limits.same_names_window(in_hand.lifetime) if in_hand else limits.SAME_NAMES.window
        wait = max(wait, window / limits.SAME_NAMES.count)
    wait *= 1 + jitter * _JITTER
    if in_hand is None:
        return wait
    return min(wait, in_hand.lifetime / 10, max((in_hand.not_after - now) / 4, _LAST_BACKOFF))


def local_backoff(failures: int, check_every: timedelta, in_hand: LeafFacts | None = None) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) at the record or the container.

    At most a tenth of the lifetime of the certificate in hand, but at least until the next check.
    """
    doubled: timedelta = check_every * (1 << min(failures - 1, 10))
    most = min(_LOCAL_BACKOFF_MOST, in_hand.lifetime / 10) if in_hand else _LOCAL_BACKOFF_MOST
    return min(doubled, max(most, check_every))
