"""The facts of a certificate as a value, so that those who only look need no cryptography.

Source: RFC 5280 (validity, names), RFC 4514 (issuer text), RFC 9773 section 4.1 (ARI identifier).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


@dataclass(frozen=True, slots=True)
class LeafFacts:
    """What a leaf says.

    `names` are sorted A-labels; `sha256` is that of the DER leaf, lower-case hex; times are aware UTC;
    `ari_id` is empty where the leaf has no authority key identifier.
    """

    names: tuple[str, ...]
    sha256: str
    issuer: str
    not_before: datetime
    not_after: datetime
    ari_id: str = ""

    @property
    def lifetime(self) -> timedelta:
        """From not_before to not_after."""
        return self.not_after - self.not_before

    def to_json(self) -> dict[str, Any]:
        """Return the plain form that `from_json` reads."""
        return {
            "names": list(self.names),
            "sha256": self.sha256,
            "issuer": self.issuer,
            "not_before": rfc3339(self.not_before),
            "not_after": rfc3339(self.not_after),
            "ari_id": self.ari_id,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LeafFacts:
        """Return the facts.

        Raises:
            KeyError, TypeError, ValueError: `data` is not what `to_json` made.
        """
        return cls(
            names=tuple(str(name) for name in data["names"]),
            sha256=str(data["sha256"]),
            issuer=str(data["issuer"]),
            not_before=parse_rfc3339(data["not_before"]),
            not_after=parse_rfc3339(data["not_after"]),
            ari_id=str(data["ari_id"]),
        )


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, whole seconds, with a ``Z``."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC moment. Raises ValueError for anything without an offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError as exc:
        raise ValueError("a time beyond the calendar") from exc
