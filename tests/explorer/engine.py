"""The containers: what they have loaded, and what the engine says of them (containers.Containers)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from certbotless.base.errors import DeployError
from certbotless.config.values import Reload
from certbotless.world.containers import Container

from .checks import Violation, check_window, leaf_on_disk, sha256_of

if TYPE_CHECKING:
    from .world import World

LABEL = "tls=x"


@dataclass
class Service:
    """A container that reads its pair when it starts.

    Attributes:
        loaded: the SHA-256 of the leaf that it serves, empty for none.
        generation: how often it was made anew.
        known: the leaves with which it comes up; None for all.
    """

    name: str
    port: int
    started_at: datetime
    loaded: str = ""
    status: str = "running"
    generation: int = 0
    known: frozenset[str] | None = None
    is_absent: bool = False

    @property
    def id(self) -> str:
        return hashlib.sha256(f"{self.name} {self.generation}".encode()).hexdigest()


class SimulatedEngine:
    """An engine with two services, `registry` and `mirror`, which carry the same label.

    Attributes:
        is_down: it does not answer.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.is_down = False
        began = world.clock.now() - timedelta(days=9)
        self.services = {
            name: Service(name, port, began) for name, port in (("registry", 5000), ("mirror", 5001))
        }

    # containers.Containers

    def find(self, name: str) -> Container:
        service = self._up(name)
        return Container(service.id, service.name, service.status, (service.port,), service.started_at)

    def matching(self, label: str) -> list[Container]:
        self._ask()
        found = [self.find(name) for name, service in self.services.items() if not service.is_absent]
        return sorted(found, key=lambda container: container.name)

    def act(self, name: str, action: Reload, stop_timeout_s: int) -> None:
        service = self._up(name)
        check_window(self._world, service.name)
        if action.kind == "restart":
            service.status, service.loaded = "exited", ""
            self._world.may_die("stopped")
            self.boot(service)
            self._world.may_die("started")
            return
        if service.status != "running":
            raise DeployError(f"{service.name} is {service.status}")
        found = self._on_disk()
        if found and (service.known is None or found in service.known):
            service.loaded = found

    # The world.

    def boot(self, service: Service) -> None:
        """Let it start and read its files; one that does not bear the new leaf ends at once."""
        service.started_at = self._world.clock.now()
        service.status, service.loaded = "running", self._on_disk()
        if service.known is not None and service.loaded and service.loaded not in service.known:
            service.status, service.loaded = "exited", ""

    def served(self, host: str, port: int) -> str:
        """Return what a handshake there shows, empty for no TLS answer."""
        for service in self.services.values():
            is_there = service.status == "running" and not service.is_absent and service.loaded
            if host == self._world.lan and service.port == port and is_there:
                return service.loaded
        return ""

    def _ask(self) -> None:
        self._world.may_die("engine")
        self._world.stamp_files()
        if self.is_down:
            raise DeployError("no Docker engine")

    def _up(self, name: str) -> Service:
        self._ask()
        service = self.services.get(name)
        if service is None or service.is_absent:
            raise DeployError(f"there is no container {name!r}", container=name)
        return service

    def _on_disk(self) -> str:
        leaf = leaf_on_disk(self._world.certs_dir, self._world.domain)
        if leaf is not None and leaf.not_valid_after_utc < self._world.clock.now() - timedelta(days=4000):
            raise Violation("a certificate of another age")
        return sha256_of(leaf) if leaf else ""
