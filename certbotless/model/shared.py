"""A certificate that several sites share: what one of them knows of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..base.checked import Model
from ..base.times import Moment
from ..config.settings import Site
from .certificate import LeafFacts
from .limits import STAGING


def is_logged(directory: str) -> bool:
    """Whether public logs have the certificates of the CA with this `Origin.directory`."""
    from .local_ca import PREFIX  # noqa: PLC0415  (only a certificate of a site's own is asked about)

    return directory not in STAGING and not directory.startswith(PREFIX)


@dataclass(frozen=True, slots=True)
class Held(Model):
    """A service did not come up with the shared certificate: sites that are later in the file do not take it.

    Attributes:
        sha256: of the leaf.
        by: the domain of the site.
        until: when that site tries again, and the time that its container may need to stop, twice.
    """

    sha256: str
    by: str
    until: Moment


@dataclass(frozen=True, slots=True)
class Shared:
    """What is seen of a shared certificate.

    Attributes:
        facts: None where there is none yet, or it is damaged.
        held: by whom it is refused; empty where no service has refused it.
        renewal: when it is due for renewal; None where there is none.
    """

    facts: LeafFacts | None
    held: Sequence[Held] = ()
    renewal: datetime | None = None

    def held_for(self, domain: str, sharers: Sequence[Site]) -> Held | None:
        """Return what the service of a site before this one says, if it has refused it; the last to be over.

        What a site without a service once refused says nothing.

        Args:
            sharers: the sites that share it, in the order of the file.
        """
        if self.facts is None or not self.held:
            return None
        domains = [site.domain for site in sharers]
        before = {site.domain for site in sharers[: domains.index(domain)] if site.deploy}
        found = [each for each in self.held if each.by in before and each.sha256 == self.facts.sha256]
        return max(found, key=lambda each: each.until, default=None)
