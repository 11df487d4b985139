"""What the steps of one site work with: its configuration, the outside world, its files, its events."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from ..base.clock import Clock
from ..base.errors import CertbotlessError
from ..base.log_context import Event
from ..config.fingerprints import Fingerprints
from ..model.certificate import LeafFacts
from ..model.decision import Intent
from ..model.memory import SavedPair, SiteState
from ..model.records import Zone
from ..model.situation import Goal
from ..state.history import Events
from ..state.ledger_file import LedgerFile
from ..state.pair import Store
from ..state.site import SiteFile
from ..world.containers import Containers
from ..world.dns.nameservers import NameServers
from ..world.lan.address import AddressSource, address_now

if TYPE_CHECKING:
    from ..world.swarm import Services

logger = logging.getLogger(__name__)


class Zones(Protocol):
    """The DNS account."""

    def find(self, fqdn: str) -> str:
        """Return the name of the zone that holds the name. Raises `DnsError`."""

    def open(self, name: str) -> Zone:
        """Return the zone; makes no call."""

    def prove(self, zones: Iterable[str]) -> None:
        """Have a key that signs calls for these zones; makes none. Raises `KeyRefused`, `KeyUnavailable`."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The outside world, built in one place and passed in; `zones` makes one for each site's thread."""

    clock: Clock
    servers: NameServers
    zones: Callable[[Clock], Zones]
    containers: Containers
    fingerprints: Fingerprints
    address_of: AddressSource = address_now
    services: Services | None = None


class SiteContext:
    """Everything for one run of one site. The site's lock is held while its steps are taken."""

    def __init__(self, goal: Goal, edges: Edges, intent: Intent) -> None:
        self.goal = goal
        self.site, self.config = site, config = goal.site, goal.config
        self.intent = intent
        self.clock = edges.clock
        self.servers = edges.servers
        self.containers = edges.containers
        self.fingerprints = edges.fingerprints
        self._services = edges.services
        self.address_of = edges.address_of
        self._zones = edges.zones
        self.file = SiteFile(config.state_dir, site.domain)
        self.store = Store(config.certs_dir_of(site), site.domain, key_mode=config.key_mode_of(site))
        self.ledger = LedgerFile(config.state_dir, config.certs_dirs)
        self._events = Events(config.state_dir)

    @property
    def state(self) -> SiteState:
        """What is remembered of the site, in hand: the run reads it once, and `file` writes each change."""
        return self.file.state

    @cached_property
    def zones(self) -> Zones:
        """The DNS account, made when it is first needed: its library is a tenth of all that a run loads."""
        return self._zones(self.clock)

    @property
    def services(self) -> Services:
        """The services of a Swarm, which are there where the file names one."""
        if self._services is None:
            raise ValueError("no target of this file is a service")
        return self._services

    def zone(self) -> Zone:
        """Return the site's zone; where the file does not name it, it is looked up once, and remembered.

        Raises:
            DnsError: the account has no such zone, or the API failed.
        """
        name = self.site.zone or self.state.zone
        if not name:
            name = self.zones.find(self.site.domain.removeprefix("*."))
            self.file.change(zone=name)
            self.tell("zone.found", zone=name)
        return self.zones.open(name)

    def publish(self, pair: SavedPair, facts: LeafFacts) -> None:
        """Publish a pair of which there is a copy. Raises `StoreError`."""
        chain, key = pair.chain.encode(), pair.key.encode()
        self.store.publish(chain, key, facts, pair.origin, self.clock.now(), self.file.note_generation)

    def tell(self, kind: str, **values: object) -> None:
        """Log a change of the world, and keep it for `status`."""
        event = Event(kind, values)
        logger.info("%s domain=%s %s", kind, self.site.domain, event.words, extra=event.extra)
        self._events.append(self.clock.now(), self.site.domain, event)

    def keep_failure(self, key: str, exc: CertbotlessError) -> None:
        """Keep for `status` that something failed, with the kind of the error."""
        event = Event(f"{key}.failed", {"error": exc.kind})
        self._events.append(self.clock.now(), self.site.domain, event, str(exc))
