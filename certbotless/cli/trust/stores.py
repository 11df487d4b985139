"""What a store of roots is: where programs of this machine keep the CA certificates that they trust.

A store is brought to have the roots that clients need. An earlier root that it has stays until it is to be
removed. What is not ours is never changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from ...model.local_ca import RootCertificate
from .roots import Roots


@dataclass(slots=True)
class Outcome:
    """What was done to a store.

    Attributes:
        written, removed: the places of it, as people read them.
        failed: what could not be done, with what to do; spoken.
        nothing: why nothing could be done, empty where it was not needed; spoken.
        notes: what a person does besides; spoken.
    """

    written: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    nothing: str = ""
    notes: list[str] = field(default_factory=list)


class Store(Protocol):
    """A store."""

    @property
    def name(self) -> str:
        """What `--to` calls it."""

    @property
    def effect(self) -> str:
        """When programs see a change; English, in the catalogue."""

    @property
    def needs_root(self) -> bool:
        """Whether only root may write it."""

    @property
    def is_found(self) -> bool:
        """Whether this machine has it."""

    @property
    def lacks(self) -> str:
        """What must be installed before it can be written, empty for nothing; English, in the catalogue."""

    def bring(self, roots: Roots, places: Sequence[str]) -> Outcome:
        """Let it have the roots that clients need, and no other one of ours but earlier ones that may stay.

        Args:
            places: `host:port` of each service.

        Raises:
            StoreError: nothing could be done.
        """

    def installed(self, known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate]]:
        """Return each place that has one of these roots, with that root; what cannot be read has none."""


def still_wanted(roots: Roots, has: Sequence[RootCertificate]) -> tuple[RootCertificate, ...]:
    """Return what a place of a store is to have: what clients need, and what it has and may keep."""
    return (*roots.live, *(root for root in roots.kept if root in has and root not in roots.live))
