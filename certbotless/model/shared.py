"""A certificate that several sites share: what one of them knows of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..base.checked import Model
from ..base.times import Moment
from .certificate import LeafFacts


@dataclass(frozen=True, slots=True)
class Held(Model):
    """A service did not come up with the shared certificate: sites that are later in the file do not take it.

    Attributes:
        sha256: of the leaf.
        by: the domain of the site.
        until: when that site tries again.
    """

    sha256: str
    by: str
    until: Moment


@dataclass(frozen=True, slots=True)
class Shared:
    """What is seen of a shared certificate.

    Attributes:
        facts: None where there is none yet, or it is damaged.
        held: None where no service has refused it.
    """

    facts: LeafFacts | None
    held: Held | None = None

    def is_held_for(self, domain: str, sharers: Sequence[str]) -> bool:
        """Whether the service of a site before this one has refused it.

        Args:
            sharers: the domains of the sites that share it, in the order of the file.
        """
        held = self.held
        if held is None or self.facts is None or held.sha256 != self.facts.sha256:
            return False
        return held.by in sharers[: sharers.index(domain)]
