"""A registry on all machines of a Swarm, and the program at one of them; one for all tests of a module."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.node import Node
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry, self_signed
from certbotless.sandbox.swarm import PORT, Pace, Swarm
from support.artefacts import assert_no_secret_is_told
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, LONGEST_RUN_S, NAME_SERVER_PORT, ZONE, Bed, wait_until
from support.swarm_bed import look_at

SERVICE = "registry"
# A new task is watched for 1 s where none is to fail, which spares 4 s of each roll.
QUICK = Pace(monitor_s=1)


@dataclass
class Fleet:
    """The machines, and the program.

    Attributes:
        bed: its engine is that of the first machine.
        how: in which way the registry is served, as keyword arguments of `Swarm.serve`; empty for not at all.
    """

    bed: Bed
    swarm: Swarm
    how: dict[str, Any] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The machines."""
        return self.swarm.nodes

    @property
    def services(self) -> Any:
        """The services of the Swarm, as the library has them."""
        return self.swarm.manager().client().services

    def heal(self, **how: Any) -> None:
        """Let all be as it is to be, whatever a test has done: power, service, certificate."""
        for node in self.nodes:
            if not node.is_on:
                self.swarm.power_on(node)
        wait_until(self.swarm.is_whole, "all machines are in the Swarm")
        self.bed.config["docker"]["host"] = self.nodes[0].docker_host
        target = {"service": SERVICE, "port": PORT}
        addresses = [node.address for node in self.nodes]
        self.bed.config["sites"] = [self.bed.site(address=addresses, deploy=[target])]
        if self.how != how or not self.services.list(filters={"name": SERVICE}):
            self.swarm.clear()
            self.swarm.serve(*self_signed(DOMAIN), name=SERVICE, **how)
            self.how = how
        self.bed.once_until_ok()
        assert self.serves()

    def recover(self) -> None:
        """Run `--once` as often as a daemon checks, until all machines serve what is published.

        One that has just got its power back is pending at first, and then the Swarm may yet go back.
        """
        wait_until(lambda: self.bed.run("--once").returncode == 0 and self.serves(), "all machines serve")

    def serves(self, sha256: str = "", nodes: Sequence[Node] = ()) -> bool:
        """Whether each of these machines, or all, serves this certificate, or the published one."""
        wanted = sha256 or self.bed.published()
        return all(look_at(node.address, DOMAIN).found == wanted for node in nodes or self.nodes)

    def states(self) -> dict[str, str]:
        """Return the state of each machine, as `status --json` tells it."""
        return {entry["node"]: entry["state"] for entry in self.bed.status()["sites"][0]["deploy"]}

    def settings(self) -> Any:
        """Return all that the service is told to be, but for the secrets."""
        spec = self.services.list(filters={"name": SERVICE})[0].attrs["Spec"]
        return {**spec, "TaskTemplate": {**spec["TaskTemplate"], "ContainerSpec": _but_secrets(spec)}}

    def secrets(self) -> list[str]:
        """Return the names of the secrets that the program has made."""
        found = self.swarm.manager().client().secrets.list(filters={"label": "certbotless.domain"})
        return [secret.name for secret in found]


def _but_secrets(spec: Any) -> Any:
    return {key: each for key, each in spec["TaskTemplate"]["ContainerSpec"].items() if key != "Secrets"}


@contextmanager
def fleet_of(home: Path, ca: Pebble) -> Iterator[Fleet]:
    """Run the machines, with nothing served yet; `ca` asks the name server of this."""
    (certs := home / "certs").mkdir()
    (machines := home / "machines").mkdir()
    ca.forget_requests()
    with (
        AlidnsEmulator(
            [ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET, dns_ports=[NAME_SERVER_PORT]
        ) as dns,
        Swarm(machines) as swarm,
    ):
        first = swarm.nodes[0]
        bed = Bed(home, dns, ca, first, Registry(first, DOMAIN, certs=certs))
        yield Fleet(bed, swarm)
        assert_no_secret_is_told(bed)


class Program:
    """A run of the program in the background."""

    def __init__(self, bed: Bed, *arguments: str) -> None:
        bed.write()
        self._log = bed.home / "program.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(bed.command(*arguments), stdout=log, stderr=log)

    def wait_for(self, event: str) -> None:
        """Wait until it has logged an event."""
        wait_until(lambda: event in self._log.read_text(), event)

    def kill(self) -> None:
        """Kill it."""
        self._process.kill()

    def wait(self) -> None:
        """Wait until it has ended."""
        self._process.wait(LONGEST_RUN_S)
