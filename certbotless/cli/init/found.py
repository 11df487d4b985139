"""What is found on this machine: its LAN address, and the containers that run."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path

from ...base.errors import AddressError, DeployError, printable
from ...base.names import normalise
from ...config.diagnostics import check
from ...config.settings import Config, Docker
from ...config.values import AddressRule
from ...world import registry
from ...world.containers import Container, DockerContainers, Settings
from ...world.lan.address import address_now

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs, and how it was made."""

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
        mounts = ", ".join(f"{inside} from {source}" for inside, source in self.settings.mounts.items())
        ports = ", ".join(map(str, self.container.ports))
        facts = f"port {ports or 'none'}, user {self.settings.uid}, mounts {mounts or 'none'}"
        return printable(f"{self.container.name} ({self.settings.image}): {facts}")


def address(say: Say) -> str | None:
    """Return the rule that finds the LAN address, None where there is none."""
    try:
        say(f"found: LAN address {address_now(AddressRule('auto'))}")
    except AddressError as exc:
        say(f"found no LAN address: {exc}")
        return None
    return "auto"


def containers(say: Say) -> tuple[str, dict[str, Running]]:
    """Return the address of the engine, empty for none, and what runs there by name: registries first."""
    host = Docker().host
    try:
        engine = DockerContainers(check(Docker, "host")(host))
        running = [Running(each, engine.settings(each.name)) for each in engine.running()]
    except (DeployError, ValueError) as exc:
        say(f"found no container: {exc}")
        return "", {}
    running.sort(key=lambda each: not each.settings.is_registry)
    for each in running:
        say(f"found: container {each}")
    return host, {each.container.name: each for each in running}
