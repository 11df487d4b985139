"""All that a command talks to outside (DNS, containers), built in one place from the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..act.context import Edges, Zones
from ..base.clock import Clock
from ..config.fingerprints import Fingerprints
from ..config.settings import Config
from ..world.containers import DockerContainers
from ..world.dns.nameservers import NameServers
from ..world.lan.address import AddressSource

if TYPE_CHECKING:
    from ..world.dns.alidns_errors import Account


def dns_account(config: Config) -> Account:
    """Return the account at Aliyun DNS, with its secrets as they are now.

    Raises:
        SecretUnreadable: one of them leads nowhere.
    """
    from ..world.dns.alidns_errors import Account  # noqa: PLC0415

    return Account(**_read(config))


def _read(config: Config) -> dict[str, Any]:
    aliyun = config.aliyun
    return {
        "endpoint": aliyun.endpoint,
        "key_id": aliyun.access_key_id.read(),
        "key_secret": aliyun.access_key_secret.read(),
        "security_token": aliyun.security_token.read() if aliyun.security_token else None,
        "ca_bundle": str(aliyun.ca_bundle) if aliyun.ca_bundle else None,
    }


def build(config: Config, clock: Clock, address_of: AddressSource) -> Edges:
    """Return the edges to the outside world; nothing is asked yet. Raises as `dns_account`."""
    # The secrets are read now: after root has become the owner of the state, they may be unreadable.
    account = _read(config)

    def zones(site_clock: Clock) -> Zones:
        from ..world.dns.alidns import AlidnsAccount  # noqa: PLC0415
        from ..world.dns.alidns_errors import Account  # noqa: PLC0415

        return AlidnsAccount(Account(**account), site_clock)

    return Edges(
        clock=clock,
        servers=NameServers(config.dns.nameservers, clock),
        zones=zones,
        containers=DockerContainers(config.docker.host),
        fingerprints=Fingerprints.of(config),
        address_of=address_of,
    )
