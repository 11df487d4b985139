"""The facts of a certificate as a value, so that those who only look need no cryptography.

Source: RFC 5280 (validity, names), RFC 4514 (issuer text), RFC 9773 section 4.1 (ARI identifier).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .names import NameFault, normalise

# A clock without a battery starts at the first; nothing that we note, and no certificate, is beyond the last.
# So no sum of a moment and a wait leaves the calendar.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
_FIRST_CERTIFICATE = datetime(2000, 1, 1, tzinfo=UTC)
# What a CA names itself takes about 100 characters.
MOST_ISSUER = 500
# No CA that we know of signs more.
_MOST_NAMES = 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Key identifier and serial number, at most 20 bytes by RFC 5280 section 4.1.2.2; some CAs take longer ones.
_ARI_ID = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,200}|")


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
        """Return the facts, each of them such as a certificate may have it.

        Raises:
            KeyError, TypeError, ValueError: `data` is not what `to_json` made.
        """
        facts = cls(
            names=tuple(str(name) for name in data["names"]),
            sha256=str(data["sha256"]),
            issuer=str(data["issuer"]),
            not_before=parse_rfc3339(data["not_before"]),
            not_after=parse_rfc3339(data["not_after"]),
            ari_id=str(data["ari_id"]),
        )
        if fault := _fault_of(facts):
            raise ValueError(fault)
        return facts


def _fault_of(facts: LeafFacts) -> str:
    """Say which of the facts is not possible in a certificate; empty for none."""
    if not 0 < len(facts.names) <= _MOST_NAMES or not all(map(_is_name, facts.names)):
        return "its names are not valid"
    if not _SHA256.fullmatch(facts.sha256):
        return "its digest is not valid"
    if not facts.issuer.isprintable() or len(facts.issuer) > MOST_ISSUER:
        return "its issuer is not one line of text"
    if not _FIRST_CERTIFICATE <= facts.not_before < facts.not_after:
        return "it ends before it begins"
    return "" if _ARI_ID.fullmatch(facts.ari_id) else "its identifier is not valid"


def _is_name(name: str) -> bool:
    try:
        return normalise(name, wildcard=True) == name
    except NameFault:
        return False


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, whole seconds, with a ``Z``. Never raises."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = bounded(moment)  # its offset leads beyond the calendar
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC moment. Raises ValueError for one without an offset, or out of bounds."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    if not EARLIEST <= moment <= LATEST:
        raise ValueError("a time out of bounds")
    return moment.astimezone(UTC)


def bounded(moment: datetime) -> datetime:
    """Return the nearest moment within `EARLIEST` and `LATEST`."""
    return min(max(moment, EARLIEST), LATEST)
