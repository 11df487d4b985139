"""All that a decision about one site depends on: one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..config.settings import Config, Site
from .decision import NOTHING_ASKED, Intent
from .ledger import Ledger
from .memory import SiteState
from .observation import Observation


@dataclass(frozen=True, slots=True)
class Goal:
    """What the file asks of one site: its entry, and what decisions need of the rest of the file.

    Attributes:
        directory: the URL of the CA's directory.
    """

    site: Site
    directory: str
    key_type: str
    propagation_timeout: timedelta
    check_every: timedelta

    @classmethod
    def of(cls, site: Site, config: Config) -> Goal:
        """Return what the file asks of a site."""
        acme = config.acme
        return cls(site, acme.url, acme.key_type, config.dns.propagation_timeout, config.check_every)


@dataclass(frozen=True, slots=True)
class Situation:
    """One site at one moment, `seen.at`: what is wanted, seen, remembered, ordered lately, and asked for."""

    goal: Goal
    seen: Observation
    remembered: SiteState
    ledger: Ledger = ()
    intent: Intent = NOTHING_ASKED
