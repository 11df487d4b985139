"""The local CA as a value: what its root may vouch for, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..base.checked import Model
from ..base.names import not_permitted
from ..base.times import Moment
from .certificate import Line

# What `Origin.directory` of its certificates begins with.
PREFIX = "local:"
_DIGITS = 16
# How long clients have to take the next root before it signs.
OVERLAP = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class LocalCa(Model):
    """A local CA.

    Attributes:
        root_sha256: of the root's DER, lower-case hex.
        permit: the domains and networks that it may vouch for, as the configuration writes them.
        not_before, not_after: of the root, and of what it signs at most; aware UTC.
    """

    root_sha256: Line
    permit: tuple[Line, ...]
    not_before: Moment
    not_after: Moment

    @property
    def id(self) -> str:
        """What `Origin.directory` of its certificates is."""
        return PREFIX + self.root_sha256[:_DIGITS]

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

    @property
    def short(self) -> str:
        """The 8 digits that file names of its root have."""
        return self.root_sha256[:8]

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
