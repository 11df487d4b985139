"""The local CA as values: what its root may vouch for, until when, and what clients get of it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated

from pydantic_core import core_schema

from ..base.checked import Model, after
from ..base.errors import IssueError
from ..base.names import is_network, not_permitted
from ..base.times import Moment
from ..base.words import Text
from .certificate import Line

# What `Origin.directory` of its certificates begins with.
PREFIX = "local:"
_DIGITS = 16
# How long clients have to take the next root before it signs.
OVERLAP = timedelta(days=90)
# A root is valid from so long before it is made: clocks of clients may be a little slow.
BACKDATED = timedelta(hours=1)
# By then a rotation is over for more than a year: a root whose end is so near was not replaced.
_NEAR_ITS_END = 1 / 10


def _entry(text: str) -> str:
    """Return an entry of `permit` that others can compute with. Raises ValueError."""
    if is_network(text):
        ipaddress.ip_network(text)
    return text


# Those who may write `ca.json` are not those who read it.
_Digest = Annotated[str, lambda _: core_schema.str_schema(pattern="^[0-9a-f]{64}$")]
_Entry = Annotated[Line, after(_entry)]


@dataclass(frozen=True, slots=True)
class LocalCa(Model):
    """A local CA.

    Attributes:
        root_sha256: of the root's DER, lower-case hex.
        permit: the domains and networks that it may vouch for, as the configuration writes them.
        not_before, not_after: of the root, and of what it signs at most; aware UTC.
    """

    root_sha256: _Digest
    permit: tuple[_Entry, ...]
    not_before: Moment
    not_after: Moment

    @property
    def id(self) -> str:
        """What `Origin.directory` of its certificates is."""
        return PREFIX + self.root_sha256[:_DIGITS]

    @property
    def made_at(self) -> datetime:
        """When it was made, to the second."""
        return self.not_before + BACKDATED

    @property
    def rotates_at(self) -> datetime:
        """When the next root is made: at 4/5 of this one's life."""
        return self.not_before + (self.not_after - self.not_before) * 4 / 5

    @property
    def switches_at(self) -> datetime:
        """When this root, as the next one, begins to sign."""
        return self.not_before + OVERLAP

    def is_valid(self, now: datetime) -> bool:
        """Whether its root is valid at this moment."""
        return self.not_before <= now < self.not_after

    def not_valid_now(self) -> IssueError:
        """Return the error of a CA that is not valid now."""
        text = Text("the local CA is valid from {:%Y-%m-%d} to {:%Y-%m-%d}", self.not_before, self.not_after)
        hint = Text("set this machine's clock; if it is right: certbotless trust rotate --now")
        return IssueError(text, hint=hint)

    def rotation_due_at(self, coming: LocalCa | None, now: datetime) -> datetime | None:
        """Return when the rotation takes its next step: makes the next root, or lets it sign.

        None where this root is not valid now: then the clock may be wrong, and no client trusts either.

        Args:
            coming: the next CA, if there is one; of a wrong clock it is none.
        """
        if not self.is_valid(now):
            return None
        return coming.switches_at if coming and coming.is_valid(now) else self.rotates_at

    def ends_soon(self, coming: LocalCa | None, now: datetime) -> bool:
        """Whether a tenth of its life is left, or less, and no next root is to sign by its end."""
        is_replaced = coming is not None and coming.is_valid(now) and coming.switches_at < self.not_after
        return not is_replaced and self.not_after - now < (self.not_after - self.not_before) * _NEAR_ITS_END

    @property
    def short(self) -> str:
        """The 8 digits that file names of its root have."""
        return self.root_sha256[:8]

    @property
    def fingerprint(self) -> str:
        """The SHA-256 of the root as `openssl x509 -fingerprint` prints it."""
        return bytes.fromhex(self.root_sha256).hex(":").upper()

    def forbids(self, names: Sequence[str]) -> list[str]:
        """Return the names and addresses that it may not vouch for."""
        return not_permitted(names, self.permit)


@dataclass(frozen=True, slots=True)
class OldRoot(Model):
    """A root that signs no more, and is in the trust stores of clients still.

    Attributes:
        remove_from: when to remove it there: at its end, or at once after `rotate --now`; aware UTC.
    """

    ca: LocalCa
    remove_from: Moment


@dataclass(frozen=True, slots=True)
class CaFiles:
    """A local CA with what it is made of.

    Attributes:
        root_pem, issuing_pem: certificates: of the root, and of the key that signs for it.
        issuing_key: that key, PKCS #8 PEM. The key of the root is not kept.
    """

    facts: LocalCa
    root_pem: bytes
    issuing_pem: bytes
    issuing_key: bytes


@dataclass(frozen=True, slots=True)
class RootCertificate(LocalCa):
    """The root of a local CA, as clients get it.

    Attributes:
        name: its common name.
        pem, der: the certificate and nothing else.
    """

    name: str
    pem: bytes
    der: bytes


def pem_of(roots: Sequence[RootCertificate]) -> bytes:
    """Return the file with these roots, one after the other."""
    return b"".join(root.pem for root in roots)
