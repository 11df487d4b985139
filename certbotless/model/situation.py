"""All that a decision about one site depends on: one value."""

from dataclasses import dataclass

from ..config.settings import Config, Site
from .authority import Authority, authority_of
from .decision import NOTHING_ASKED, Intent
from .ledger import Ledger
from .memory import SiteState
from .observation import Observation


@dataclass(frozen=True, slots=True)
class Goal:
    """What the file asks of one site: its entry, and the file around it."""

    site: Site
    config: Config

    @property
    def sharers(self) -> tuple[str, ...]:
        """The domains of all sites that share its certificate, in the order of the file."""
        wildcard = self.site.certificate
        return tuple(site.domain for site in self.config.sites if wildcard and site.certificate == wildcard)

    def authority(self, seen: Observation) -> Authority:
        """Return who certifies the site."""
        return authority_of(self.config, self.site, seen.local_ca)


@dataclass(frozen=True, slots=True)
class Situation:
    """One site at one moment, `seen.at`: what is wanted, seen, remembered, ordered lately, and asked for."""

    goal: Goal
    seen: Observation
    remembered: SiteState
    ledger: Ledger = ()
    intent: Intent = NOTHING_ASKED
