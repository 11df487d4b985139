"""Rows of a ledger, the certificate in hand, and the limit on an order that follows."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from certbotless.model import limits
from certbotless.model.certificate import LeafFacts
from certbotless.model.ledger import Entry, Kind, Limit, OrderOutcome, Purpose, limit_on

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
CA, OTHER_CA = "https://ca.test/directory", "https://other.test/directory"
LETS_ENCRYPT = limits.LETS_ENCRYPT
NAMES = ("*.devbox.sweetlove.test", "devbox.sweetlove.test")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def entries(
    *ages: timedelta,
    kind: Kind = "order",
    directory: str = CA,
    names: tuple[str, ...] = NAMES,
    purpose: Purpose = "new",
    outcome: OrderOutcome = "unknown",
    is_rehearsal: bool = False,
    lifetime: timedelta = timedelta(),
) -> list[Entry]:
    """A row for each of these ages."""
    seconds = int(lifetime.total_seconds())
    return [Entry(NOW - age, kind, directory, names, purpose, outcome, is_rehearsal, seconds) for age in ages]


def of_many(count: int, age: timedelta, domain: str = "sweetlove.test", **fields: Any) -> list[Entry]:
    """Orders for as many sets of names."""
    fields = {"directory": LETS_ENCRYPT, **fields}
    return [row for n in range(count) for row in entries(age, names=(f"box{n}.{domain}",), **fields)]


def leaf(lifetime: timedelta, left: timedelta | None = None) -> LeafFacts:
    """A certificate for the names that has so much of its life left; a third, if nothing else is said."""
    not_after = NOW + (lifetime / 3 if left is None else left)
    return LeafFacts(NAMES, "ab" * 32, "CN=Example CA", not_after - lifetime, not_after)


def limit(
    rows: Sequence[Entry],
    now: datetime = NOW,
    *,
    lifetime: timedelta | None = None,
    left: timedelta | None = None,
    directory: str = CA,
    names: tuple[str, ...] = NAMES,
    purpose: Purpose = "new",
    is_rehearsal: bool = False,
) -> Limit | None:
    """The limit on an order now, with a certificate of this lifetime in hand, or none."""
    planned = Entry(now, "order", directory, names, purpose, rehearsal=is_rehearsal)
    return limit_on(rows, planned, leaf(lifetime, left) if lifetime else None)


def until(found: Limit | None) -> datetime:
    assert found is not None
    return found.until
