"""Our own count of what the CAs count: pure rules over a persisted list of attempts.

Source: Let's Encrypt, rate limits (5 certificates for the same set of names in 7 days, over all accounts;
5 failed validations per name and hour). We stay below both, so that a person has tries left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from .leaf import parse_rfc3339, rfc3339

ORDERS_PER_WINDOW = 3
WINDOW = timedelta(days=7)
FAILURES_PER_HOUR = 3

Kind = Literal["order", "failure", "account"]
_KINDS: dict[str, Kind] = {"order": "order", "failure": "failure", "account": "account"}

# The schedule that Let's Encrypt asks of clients: 1, 10, 100 minutes, then once a day.
_ORDER_BACKOFF = (timedelta(minutes=1), timedelta(minutes=10), timedelta(minutes=100), timedelta(days=1))
_LOCAL_BACKOFF_MOST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Entry:
    """One attempt at a CA: an order, a failed validation of one name, or a new account."""

    at: datetime
    kind: Kind
    directory: str
    names: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the row of ledger.jsonl."""
        return {
            "at": rfc3339(self.at),
            "kind": self.kind,
            "directory": self.directory,
            "names": list(self.names),
        }

    @classmethod
    def from_json(cls, data: Any) -> Entry:
        """Return the entry. Raises KeyError, TypeError or ValueError for anything else."""
        kind = _KINDS[data["kind"]]
        names = tuple(str(name) for name in data["names"])
        return cls(parse_rfc3339(data["at"]), kind, str(data["directory"]), names)


@dataclass(frozen=True, slots=True)
class Limit:
    """Why no order may be made now, and when one may."""

    reason: str
    until: datetime


def limit_on_orders(
    entries: Iterable[Entry], directory: str, names: Sequence[str], lifetime: timedelta | None, now: datetime
) -> Limit | None:
    """Return the limit that forbids a new order, or None.

    Args:
        entries: the whole ledger, in any order.
        directory: the CA's directory URL.
        names: the certificate's names, as a set.
        lifetime: that of the certificate in hand; None while there is none.
        now: aware UTC.
    """
    window = WINDOW if lifetime is None else min(WINDOW, lifetime / 3)
    wanted = set(names)
    mine = [entry for entry in entries if entry.directory == directory]
    orders = [e.at for e in mine if e.kind == "order" and set(e.names) == wanted]
    limits = [_nth_newest(orders, ORDERS_PER_WINDOW, window, now, "orders for these names")]
    # A name and its wildcard are validated at one place, under the name.
    for base in sorted({name.removeprefix("*.") for name in names}):
        failures = [e.at for e in mine if e.kind == "failure" and base in _bases(e)]
        what = f"failed validations of {base}"
        limits.append(_nth_newest(failures, FAILURES_PER_HOUR, timedelta(hours=1), now, what))
    return max((limit for limit in limits if limit), key=lambda limit: limit.until, default=None)


def _bases(entry: Entry) -> set[str]:
    return {name.removeprefix("*.") for name in entry.names}


def _nth_newest(
    moments: Sequence[datetime], count: int, window: timedelta, now: datetime, what: str
) -> Limit | None:
    """Return the limit that `count` moments within `window` set. A moment in the future counts as now."""
    recent = sorted(min(moment, now) for moment in moments if moment > now - window)
    if len(recent) < count:
        return None
    hours = window.total_seconds() / 3600
    span = f"{hours / 24:.0f} days" if hours >= 48 else f"{hours:.3g} h"
    return Limit(f"{len(recent)} {what} in {span}", recent[-count] + window)


def order_backoff(failures: int, lifetime: timedelta | None, jitter: float) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) of an order.

    Args:
        lifetime: of the certificate in hand: the wait is at most a tenth of it.
        jitter: 0..1, adds up to a quarter.
    """
    wait = _ORDER_BACKOFF[min(failures, len(_ORDER_BACKOFF)) - 1] * (1 + jitter / 4)
    return wait if lifetime is None else min(wait, lifetime / 10)


def local_backoff(failures: int, check_every: timedelta) -> timedelta:
    """Return how long to wait after the n-th failure (from 1) at the record or the container."""
    doubled: timedelta = check_every * (1 << min(failures - 1, 10))
    return min(doubled, max(_LOCAL_BACKOFF_MOST, check_every))
