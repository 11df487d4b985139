"""The facts of a certificate as a value, so that a check needs no cryptography library.

Source: RFC 5280 (validity, names), RFC 4514 (issuer text), RFC 9773 section 4.1 (ARI identifier).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from ..base.checked import Model, after
from ..base.names import NameFault, certified_name
from ..base.times import Moment
from ..base.words import Text

_FIRST_CERTIFICATE = datetime(2000, 1, 1, tzinfo=UTC)
# What a CA names itself takes about 100 characters.
MOST_ISSUER = 500
# No CA that we know of signs more.
_MOST_NAMES = 1000
# A renewal that is on time comes with a third of the lifetime left, or with a half of a short one.
_SHARE_AT_THE_END = 6
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Key identifier and serial number, at most 20 bytes by RFC 5280 section 4.1.2.2; some CAs take longer ones.
_ARI_ID = re.compile(r"[A-Za-z0-9_-]{1,200}\.[A-Za-z0-9_-]{1,200}|")


@dataclass(frozen=True, slots=True)
class LeafFacts(Model):
    """What a leaf says.

    `names` are A-labels and IP addresses, sorted; `sha256` is that of the DER leaf, lower-case hex; times are
    aware UTC; `ari_id` is empty where the leaf has no authority key identifier.
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

    @property
    def last_part_begins(self) -> datetime:
        """From when on little of its lifetime is left: a renewal that is on time comes long before."""
        return self.not_after - self.lifetime / _SHARE_AT_THE_END

    def ends_soon(self, now: datetime) -> bool:
        """Whether little of its lifetime is left."""
        return now > self.last_part_begins

    def checked(self) -> LeafFacts:
        """Return these facts. Raises ValueError where a certificate cannot have them."""
        if fault := _fault_of(self):
            raise ValueError(fault)
        return self


def _fault_of(facts: LeafFacts) -> str:
    """Say which of the facts is not possible in a certificate; empty for none."""
    if not 0 < len(facts.names) <= _MOST_NAMES or not all(map(_is_name, facts.names)):
        return Text("its names are not valid")
    if not _SHA256.fullmatch(facts.sha256):
        return Text("its digest is not valid")
    if not facts.issuer.isprintable() or len(facts.issuer) > MOST_ISSUER:
        return Text("its issuer is not one line of text")
    if not _FIRST_CERTIFICATE <= facts.not_before < facts.not_after:
        return Text("it ends before it begins")
    return "" if _ARI_ID.fullmatch(facts.ari_id) else Text("its identifier is not valid")


def _is_name(name: str) -> bool:
    try:
        return certified_name(name) == name
    except NameFault:
        return False


# A URL that is longer is none of a CA.
_MOST_TEXT = 2000


def _line(text: str) -> str:
    """Return one line of text. Raises ValueError for what is none."""
    if not text.isprintable() or len(text) > _MOST_TEXT:
        raise ValueError("it is not one line of text")
    return text


Line = Annotated[str, after(_line)]


@dataclass(frozen=True, slots=True)
class Origin(Model):
    """Where a certificate came from: directory URL, our account's URL there, kind of its key, and when."""

    directory: Line
    account: Line
    key_type: Line
    issued_at: Moment


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of one site.

    Attributes:
        facts, origin: None where nothing was published, or the generation itself is damaged.
        fault: what is wrong, in words; empty where nothing is.
        is_contested: the files are not gone; another program has written something else.
        plain: identifies the two files that another tool has at our names; empty where not both are plain
            files.
        generation, previous: the name of its folder, and of the folder of the one before; empty for none.
        digest: the SHA-256 of its `meta.json`, which has those of the other files.
        wrong_mode: the mode of the key, as ``0644``, and the wanted one; empty where they are equal.
    """

    facts: LeafFacts | None
    origin: Origin | None
    fault: str = ""
    plain: str = ""
    is_contested: bool = False
    generation: str = ""
    previous: str = ""
    digest: str = ""
    wrong_mode: tuple[str, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether both names lead to a pair that is as it was published."""
        return self.facts is not None and not self.fault

    def facts_for(self, directory: str, names: tuple[str, ...]) -> LeafFacts | None:
        """Return the facts if this CA gave us the certificate, for exactly these names.

        Not those of one that was adopted: which CA counts it is not known.
        """
        return self.facts_as_of(directory, names) if self.origin and self.origin.account else None

    def facts_as_of(self, directory: str, names: tuple[str, ...]) -> LeafFacts | None:
        """Return the facts if the certificate is one of this CA, for exactly these names, or passes for one.

        One that was adopted does: the next certificate will live about as long, and takes its place.
        """
        if self.facts is None or self.origin is None:
            return None
        return self.facts if (self.origin.directory, self.facts.names) == (directory, names) else None
