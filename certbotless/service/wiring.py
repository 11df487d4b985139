"""All that a command talks to outside (DNS, containers), built in one place from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..act.context import Edges, Zones
from ..base.clock import Clock
from ..base.errors import DnsRefused
from ..base.words import Text
from ..config.fingerprints import Fingerprints
from ..config.settings import Config
from ..world.containers import DockerContainers
from ..world.credentials.access import Learn, forget
from ..world.credentials.way import way_to_dns
from ..world.dns.nameservers import NameServers
from ..world.lan.address import AddressSource

if TYPE_CHECKING:
    from ..world.swarm import Services


def build(config: Config, clock: Clock, address_of: AddressSource, learn: Learn = forget) -> Edges:
    """Return the edges to the outside world; nothing is asked yet. Raises as `way_to_dns`.

    Args:
        learn: is given each key that a run fetches.
    """
    # The secrets are read now: after root has become the owner of the state, they may be unreadable.
    access = way_to_dns(config, clock, learn) if config.aliyun else None

    def zones(site_clock: Clock) -> Zones:
        from ..world.dns.alidns import AlidnsAccount  # noqa: PLC0415

        if access is None:
            raise DnsRefused(
                Text("the file has no account at Aliyun DNS"), hint=Text("write aliyun: with the AccessKey")
            )
        return AlidnsAccount(access, site_clock)

    return Edges(
        clock=clock,
        servers=NameServers(config.dns.nameservers, clock),
        zones=zones,
        containers=DockerContainers(config.docker.host),
        fingerprints=Fingerprints.of(config),
        address_of=address_of,
        services=_services(config),
    )


def _services(config: Config) -> Services | None:
    if not config.has_services:
        return None
    from ..world.engine import Engine  # noqa: PLC0415  (as below)
    from ..world.swarm import DockerServices  # noqa: PLC0415  (nothing of it is loaded for other files)

    return DockerServices(Engine(config.docker.host))
