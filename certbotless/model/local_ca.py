"""The local CA as a value: what its root may vouch for, and until when."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..base.checked import Model
from ..base.names import not_permitted
from ..base.times import Moment
from .certificate import Line

# What `Origin.directory` of its certificates begins with.
PREFIX = "local:"
_DIGITS = 16


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
    def short(self) -> str:
        """The 8 digits that file names of its root have."""
        return self.root_sha256[:8]

    def forbids(self, names: Sequence[str]) -> list[str]:
        """Return the names and addresses that it may not vouch for."""
        return not_permitted(names, self.permit)
