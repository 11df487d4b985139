"""A Docker Swarm of several machines on a private host, all of them managers, and a registry that they serve.

Owns the Swarm and what it serves. Nothing outlives the context, but for the logs.

Source: docs.docker.com, "Run Docker Engine in swarm mode" and "Deploy services to a swarm".
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import docker
from docker.models.services import Service
from docker.types import (
    EndpointSpec,
    Mount,
    RestartPolicy,
    RollbackConfig,
    SecretReference,
    ServiceMode,
    UpdateConfig,
)

from .host import SandboxError
from .node import Hub, Node
from .process import wait_until
from .registry import IMAGE, import_registry, served_sha256

PORT = 5000
_SECOND_NS = 1_000_000_000
_ENVIRONMENT = [
    "REGISTRY_HTTP_TLS_CERTIFICATE=/run/secrets/tls.pem",
    "REGISTRY_HTTP_TLS_KEY=/run/secrets/tls.key",
    "REGISTRY_HTTP_SECRET=one-for-all-machines",
    "OTEL_TRACES_EXPORTER=none",
]


@dataclass(frozen=True, slots=True)
class Pace:
    """How a service of the fleet is updated; one machine after the other.

    Attributes:
        delay_s: the pause after a machine.
        monitor_s: for how long a new task is watched; one that ends in it has failed.
        on_failure: what the Swarm does then: ``rollback`` or ``pause``.
    """

    delay_s: float = 0
    monitor_s: float = 5
    on_failure: str = "rollback"

    def update(self) -> UpdateConfig:
        """Return it as the engine wants it."""
        kind: Any = self.on_failure
        return UpdateConfig(1, int(self.delay_s * _SECOND_NS), kind, *self._watched())

    def rollback(self) -> RollbackConfig:
        """Return the way back: at the same pace, without a pause."""
        return RollbackConfig(1, 0, "pause", *self._watched())

    def _watched(self) -> tuple[int, float, Any]:
        return int(self.monitor_s * _SECOND_NS), 0.0, "stop-first"


class Swarm:
    """Machines that are all managers of one Swarm, alive within the context; the logs of their engines stay.

    Args:
        workdir: an existing folder; not on an overlay file system.
        count: how many there are.

    Raises:
        SandboxError: not on a private host, or the machines or their Swarm cannot be made.
    """

    def __init__(self, workdir: Path, count: int = 3) -> None:
        self._workdir, self._count = workdir, count
        self._stack = ExitStack()
        self.storage = workdir / "storage"
        self.nodes: tuple[Node, ...] = ()

    def __enter__(self) -> Swarm:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start(self) -> None:
        self.storage.mkdir()
        self._stack.callback(shutil.rmtree, self.storage)
        hub = self._stack.enter_context(Hub())
        for number in range(1, self._count + 1):
            (folder := self._workdir / f"node{number}").mkdir()
            node = Node(folder, hub, number)
            self._stack.callback(node.close)
            self.nodes = (*self.nodes, node)
        with ThreadPoolExecutor(self._count) as threads:
            list(threads.map(_start_with_image, self.nodes))
        self._join()

    def _join(self) -> None:
        first, *others = self.nodes
        swarm = first.client().swarm
        swarm.init(advertise_addr=first.address, listen_addr=f"{first.address}:2377")
        swarm.reload()
        token = swarm.attrs["JoinTokens"]["Manager"]
        for node in others:
            node.client().swarm.join(
                [f"{first.address}:2377"], token, f"{node.address}:2377", advertise_addr=node.address
            )
        wait_until(self.is_whole, 60, "all machines are managers of the Swarm")

    def close(self) -> None:
        """End the machines; nothing of them stays. Does nothing the second time."""
        self._stack.close()
        self.nodes = ()

    def power_off(self, node: Node) -> None:
        """Cut the power of a machine."""
        node.kill()

    def power_on(self, node: Node) -> None:
        """Give a machine its power back, and wait until its engine answers; at most 60 s."""
        node.start()

    def leader(self) -> Node | None:
        """Return the machine that leads, as the first one says that knows; None: there is no leader.

        Each is asked for 5 s at most.
        """
        names = [name for name, said in self._members().items() if said["is_leader"]]
        return next((node for node in self.nodes if node.name in names), None)

    def is_down(self, node: Node) -> bool:
        """Return whether the Swarm has noticed that a machine is gone; it takes 15 s and more."""
        return not self._members().get(node.name, {"is_well": True})["is_well"]

    def is_whole(self) -> bool:
        """Return whether all machines are ready, reachable managers."""
        found = self._members()
        return len(found) == self._count and all(said["is_well"] for said in found.values())

    def manager(self) -> Node:
        """Return the first machine whose engine speaks for the Swarm.

        Raises:
            SandboxError: there is none: no machine has power, or most have not.
        """
        for node in self.nodes:
            if node.is_on:
                with suppress(OSError, docker.errors.DockerException), node.asked() as client:
                    client.nodes.list()
                    return node
        raise SandboxError("no machine speaks for the Swarm: it has no leader")

    def _members(self) -> dict[str, dict[str, bool]]:
        for node in self.nodes:
            if node.is_on:
                with suppress(OSError, docker.errors.DockerException), node.asked() as client:
                    return dict(_member(found.attrs) for found in client.nodes.list())
        return {}

    def serve(
        self,
        chain: bytes,
        key: bytes,
        pace: Pace | None = None,
        *,
        is_published: bool = False,
        replicas: int = 0,
        name: str = "registry",
    ) -> Service:
        """Create a service: a registry on each machine, at PORT; wait until all serve; at most 60 s.

        It reads its certificate and key from two secrets of the Swarm, ``tls.pem`` and ``tls.key``, and all
        machines have one storage.

        Args:
            chain, key: PEM.
            is_published: by a port in host mode, in place of the host's network.
            replicas: so many tasks, in place of one for each machine.

        Raises:
            SandboxError: a machine does not serve.
        """
        how: dict[str, Any] = {"networks": ["host"]}
        if is_published:
            how = {"endpoint_spec": EndpointSpec(ports=[_published(PORT)])}
        pace = pace or Pace()
        services: Any = self.manager().client().services
        service: Service = services.create(
            IMAGE,
            name=name,
            mode=ServiceMode("replicated", replicas) if replicas else ServiceMode("global"),
            env=_ENVIRONMENT,
            mounts=[Mount("/var/lib/registry", str(self.storage), "bind")],
            secrets=[self.secret(f"{name}-tls.pem", chain), self.secret(f"{name}-tls.key", key)],
            restart_policy=RestartPolicy("any", delay=_SECOND_NS),
            update_config=pace.update(),
            rollback_config=pace.rollback(),
            **how,
        )
        wait_until(lambda: all(map(_serves, self.nodes)), 60, "every machine serves TLS")
        return service

    def secret(self, name: str, content: bytes) -> SecretReference:
        """Make a secret; return how a service refers to it, as the file ``tls.pem`` or ``tls.key``."""
        made = self.manager().client().secrets.create(name=name, data=content)
        return SecretReference(str(made.id), name, filename=f"tls.{name.rpartition('.')[2]}")

    def clear(self) -> None:
        """Remove all services and secrets, and wait until their containers have ended; at most 60 s."""
        client = self.manager().client()
        services: Any = client.services
        for service in services.list():
            service.remove()
        wait_until(lambda: not any(map(_containers, self.nodes)), 60, "the services have left the machines")
        for secret in client.secrets.list():
            secret.remove()


def _start_with_image(node: Node) -> None:
    node.start()
    import_registry(node.client())


def _member(said: dict[str, Any]) -> tuple[str, dict[str, bool]]:
    """Return the name of a machine and what the Swarm says of it."""
    manager = said.get("ManagerStatus", {})
    is_well = said["Status"]["State"] == "ready" and manager.get("Reachability") == "reachable"
    return said["Description"]["Hostname"], {"is_leader": manager.get("Leader", False), "is_well": is_well}


def _published(port: int) -> dict[str, Any]:
    return {"Protocol": "tcp", "PublishedPort": port, "TargetPort": port, "PublishMode": "host"}


def _serves(node: Node) -> bool:
    with suppress(OSError):
        return bool(served_sha256(node.address, PORT, node.address, timeout_s=1))
    return False


def _containers(node: Node) -> list[Any]:
    """Return what runs: of a machine that had lost its power the Swarm may leave ended ones behind."""
    return node.client().containers.list(sparse=True) if node.is_on else []
