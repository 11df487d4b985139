"""What is found on this machine: its names, its LAN address, and the containers that run.

A person chooses among the containers.
"""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from ..base.errors import AddressError, DeployError, ValueFault, printable
from ..base.names import normalise
from ..base.words import Text, _
from ..config.addresses import AddressRule
from ..config.diagnostics import check
from ..config.settings import Config, Docker
from ..config.site_names import local_name, public_name
from ..config.targets import Target
from ..world import registry
from ..world.containers import Container, DockerContainers, Settings
from ..world.lan.address import address_now, local_addresses
from .questions import Questions, or_none

_RESOLV_CONF = Path("/etc/resolv.conf")
# What most routers call their network, where the resolver's settings do not say it (OpenWrt, dnsmasq).
_LAN = "lan"


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
    """This machine in its LAN.

    Attributes:
        address, interface: empty where there is none, and `fault` says why.
        names: what clients may call it, as far as a local CA takes that.
    """

    address: str = ""
    interface: str = ""
    fault: str = ""
    names: tuple[str, ...] = ()


def lan() -> Lan:
    """Return the LAN address that `auto` finds now, and the names of this machine."""
    resolver = ""
    with suppress(OSError):
        resolver = _RESOLV_CONF.read_text(errors="replace")
    names = names_of(socket.gethostname(), resolver)
    try:
        address = address_now(AddressRule("auto"))
        interfaces = (each.interface for each in local_addresses(4) if str(each.ip) == address)
        return Lan(address, next(interfaces, ""), names=names)
    except AddressError as exc:
        return Lan(fault=str(exc), names=names)


def names_of(hostname: str, resolver: str) -> tuple[str, ...]:
    """Return the first label of a host name, and the same in the first private domain that is searched.

    Args:
        resolver: the text of resolv.conf.
    """
    host = hostname.partition(".")[0].lower()
    lines = [line.split() for line in resolver.splitlines()]
    searched = [domain for words in lines if words[:1] in (["search"], ["domain"]) for domain in words[1:]]
    private = (each for each in searched if each != "." and not is_public(f"{host}.{each}"))
    found = []
    for name in (host, f"{host}.{next(private, _LAN)}"):
        with suppress(ValueError):
            found.append(local_name(normalise(name, local=True)))
    return tuple(found) if host != "localhost" else ()


def is_public(name: str) -> bool:
    """Whether a public CA may certify a name."""
    with suppress(ValueError):
        return bool(public_name(name))
    return False


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


def engine(host: str = "") -> Engine:
    """Return the engine at this address, else that of DOCKER_HOST or of this machine, and what runs there."""
    host = host or Docker().host
    try:
        containers = DockerContainers(check(Docker, "host")(host))
        running = [Running(each, containers.settings(each.name)) for each in containers.running()]
    except (DeployError, ValueError) as exc:
        return Engine(fault=str(exc))
    running.sort(key=lambda each: not each.settings.is_registry)
    return Engine(host, {each.container.name: each for each in running})


def choose(questions: Questions, engine: Engine, default: str) -> str:
    """Return the name of the container that uses the certificate, empty for none. Raises `UsageError`."""
    names = list(engine.running)
    if questions.are_asked and not questions.has("container"):
        if engine.fault:
            questions.say(_("No container was found: {}").format(_(engine.fault)))
        elif names:
            questions.say(_("Containers that run here:"))
        for number, each in enumerate(engine.running.values(), 1):
            questions.say(f"  {number}  {each}")

    def chosen(text: str) -> str:
        is_number = names and text not in names and not questions.has("container")
        if is_number and re.fullmatch(r"[0-9]{1,4}", text):
            if not 1 <= int(text) <= len(names):
                raise ValueFault(Text("there is no container with number {}", text))
            return names[int(text) - 1]
        return or_none(check(Target, "container"))(text)

    question = _("Container that uses the certificate: a name, or none")
    if names:
        question = _("Container that uses the certificate: its number, another name, or none")
    return questions.get("container", question, chosen, default)
