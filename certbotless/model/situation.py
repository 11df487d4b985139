"""All that a decision about one site depends on: one value."""

from dataclasses import dataclass

from ..base.errors import StoreError
from ..config.settings import Config, Site
from .authority import Authority, authorities_of
from .decision import NOTHING_ASKED, Intent
from .ledger import Ledger, Limit, limit_on, next_order
from .memory import SiteState
from .observation import Observation


@dataclass(frozen=True, slots=True)
class Goal:
    """What the file asks of one site: its entry, and the file around it."""

    site: Site
    config: Config

    @property
    def sharers(self) -> tuple[Site, ...]:
        """All sites that share its certificate, in the order of the file."""
        wildcard = self.site.certificate
        return tuple(site for site in self.config.sites if wildcard and site.certificate == wildcard)

    def authorities(self, seen: Observation) -> tuple[Authority, ...]:
        """Return who may certify the site: the one that is wanted, then those that stand in for it."""
        return authorities_of(self.config, self.site, seen.local_ca)

    def authority(self, seen: Observation, name: str = "") -> Authority:
        """Return who certifies the site: the one with this name, without one the one that is wanted."""
        found = self.authorities(seen)
        return next((each for each in found if each.name == name), found[0])

    def has_given(self, directory: str, seen: Observation) -> bool:
        """Whether a certificate with this `Origin.directory` is one that may be used."""
        return any(each.id == directory for each in self.authorities(seen))


@dataclass(frozen=True, slots=True)
class Situation:
    """One site at one moment, `seen.at`: what is wanted, seen, remembered, ordered lately, and asked for."""

    goal: Goal
    seen: Observation
    remembered: SiteState
    ledger: Ledger = ()
    intent: Intent = NOTHING_ASKED

    def our_limit(self, name: str = "") -> Limit | None:
        """Return which limit of ours forbids an order at a CA now. An order in flight was counted before."""
        seen, remembered = self.seen, self.remembered
        authority = self.goal.authority(seen, name)
        is_counted = authority.is_acme and remembered.order_at(authority.id) is None
        if not is_counted or isinstance(self.ledger, StoreError):
            return None
        planned = next_order(seen.at, authority.id, self.goal.site.all_names, seen.in_hand, remembered)
        return limit_on(self.ledger, *planned)
