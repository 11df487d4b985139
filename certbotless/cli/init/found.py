"""What is found on this machine: its LAN address, and the containers that run."""

from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from ...base.errors import AddressError, DeployError, printable
from ...base.names import normalise
from ...base.words import _
from ...config.diagnostics import check
from ...config.settings import Config, Docker
from ...config.values import AddressRule
from ...world import registry
from ...world.containers import Container, DockerContainers, Settings
from ...world.lan.address import address_now, local_addresses


@dataclass(frozen=True, slots=True)
class Running:
    """A container that is there, and how it was made."""

    container: Container
    settings: Settings

    @property
    def certificate(self) -> Path:
        """The path of its certificate in the container, as far as its environment says."""
        return Path(self.settings.environment.get(registry.CERTIFICATE, "/certs/absent.pem"))

    @property
    def certs_dir(self) -> Path | None:
        """The folder of this machine in which the container sees its certificate."""
        mounts = self.settings.mounts
        for inside in (*self.certificate.parents, self.certificate):
            if inside in mounts:
                folder = (mounts[inside] / self.certificate.relative_to(inside)).parent
                # The image names the path: it may lead out of the mount, or hold control characters.
                with suppress(ValueError):
                    return Path(check(Config, "certs_dir")(str(folder)))
        return None

    @property
    def domain(self) -> str:
        """The domain that its certificate's file is named after, empty for another name."""
        with suppress(ValueError):
            return normalise(self.certificate.stem)
        return ""

    @property
    def stop_timeout_s(self) -> int:
        """How long it may take to stop, as far as stop_timeout allows; 0 where it does not drain."""
        drain = registry.drain_of(self.settings.environment)
        return min(ceil((drain + registry.DRAIN_SPARE).total_seconds()), 600) if drain else 0

    def serves(self, domain: str) -> bool:
        """Whether it may serve the files of `domain`, from a folder that it sees.

        What its environment does not say, a file in the container may.
        """
        folder, environment = self.certificate.parent, self.settings.environment
        wanted = {
            registry.CERTIFICATE: str(folder / f"{domain}.pem"),
            registry.KEY: str(folder / f"{domain}.key"),
        }
        is_told = all(environment.get(name, path) == path for name, path in wanted.items())
        return is_told and self.certs_dir is not None and self.certificate not in self.settings.mounts

    def __str__(self) -> str:
        ports = ", ".join(map(str, self.container.ports)) or _("none")
        image = self.settings.image
        return printable(_("{} ({}), published ports: {}").format(self.container.name, image, ports), 200)


@dataclass(frozen=True, slots=True)
class Lan:
    """The LAN address of this machine and its interface, or why there is none."""

    address: str = ""
    interface: str = ""
    fault: str = ""


def lan() -> Lan:
    """Return the LAN address that `auto` finds now."""
    try:
        address = address_now(AddressRule("auto"))
        interfaces = (each.interface for each in local_addresses(4) if str(each.ip) == address)
        return Lan(address, next(interfaces, ""))
    except AddressError as exc:
        return Lan(fault=str(exc))


@dataclass(frozen=True, slots=True)
class Engine:
    """The engine and the containers that run there.

    Attributes:
        host: its address; empty where none answers, and `fault` says why.
        running: by name, registries first.
    """

    host: str = ""
    running: dict[str, Running] = field(default_factory=dict)
    fault: str = ""

    def find(self, name: str) -> Running | None:
        """Return the container of this name, also one that is stopped; None where there is none."""
        if name in self.running or not self.host:
            return self.running.get(name)
        containers = DockerContainers(self.host)
        with suppress(DeployError):
            return Running(containers.find(name), containers.settings(name))
        return None


def engine() -> Engine:
    """Return the engine of DOCKER_HOST, or of this machine, and what runs there."""
    host = Docker().host
    try:
        containers = DockerContainers(check(Docker, "host")(host))
        running = [Running(each, containers.settings(each.name)) for each in containers.running()]
    except (DeployError, ValueError) as exc:
        return Engine(fault=str(exc))
    running.sort(key=lambda each: not each.settings.is_registry)
    return Engine(host, {each.container.name: each for each in running})
