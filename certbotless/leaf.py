"""The facts of a certificate as a value, so that those who only look need no cryptography.

Source: RFC 5280 (validity, names), RFC 4514 (issuer text), RFC 9773 section 4.1 (ARI identifier).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .model import Model
from .names import NameFault, normalise
from .times import Moment

_FIRST_CERTIFICATE = datetime(2000, 1, 1, tzinfo=UTC)
# What a CA names itself takes about 100 characters.
MOST_ISSUER = 500
# No CA that we know of signs more.
_MOST_NAMES = 1000
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Key identifier and serial number, at most 20 bytes by RFC 5280 section 4.1.2.2; some CAs take longer ones.
_ARI_ID = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,200}|")


@dataclass(frozen=True, slots=True)
class LeafFacts(Model):
    """What a leaf says.

    `names` are sorted A-labels; `sha256` is that of the DER leaf, lower-case hex; times are aware UTC;
    `ari_id` is empty where the leaf has no authority key identifier.
    """

    names: tuple[str, ...]
    sha256: str
    issuer: str
    not_before: Moment
    not_after: Moment
    ari_id: str = ""

    @property
    def lifetime(self) -> timedelta:
        """From not_before to not_after."""
        return self.not_after - self.not_before

    def checked(self) -> LeafFacts:
        """Return these facts. Raises ValueError where a certificate cannot have them."""
        if fault := _fault_of(self):
            raise ValueError(fault)
        return self


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
