"""The four facts of a site, as seen now. Reads the world and changes nothing; light enough for a daemon."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime

from .address import lan_address
from .config import Config, Site, Target
from .errors import CertbotlessError, DeployError
from .nameservers import NameServers, ask
from .probe import served_leaf
from .state import SiteFile, SiteState
from .store import Published, Store


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one site.

    Attributes:
        at: when, aware UTC.
        address: the wanted address; empty where the site wants none or it could not be found.
        answers: A values by authoritative server, None for a silent one; None as a whole where the zone is
            not known yet.
        published: what the store holds.
        has_copy: whether the pair last issued can be restored.
        served: SHA-256 of the leaf that each container serves, empty for no TLS answer; a container whose
            port is not known yet is absent.
        problems: what could not be seen, in words.
    """

    at: datetime
    address: str
    answers: tuple[frozenset[str] | None, ...] | None
    published: Published
    has_copy: bool
    served: Mapping[str, str]
    problems: tuple[str, ...] = field(default=())

    @property
    def shown(self) -> list[frozenset[str]]:
        """The answers of the servers that gave one."""
        return [values for values in self.answers or () if values is not None]


def observe(site: Site, config: Config, state: SiteState, servers: NameServers, now: datetime) -> Observation:
    """Look at everything that concerns `site`, at once. Takes at most about 6 s."""
    problems: list[str] = []
    address = _wanted_address(site, problems)
    store = Store(config.certs_dir, site.domain)
    with ThreadPoolExecutor(max_workers=1 + len(site.deploy)) as pool:
        answers = pool.submit(_answers, site, state, servers, problems)
        leaves = {
            target.container: pool.submit(_served, site, target, state, address) for target in site.deploy
        }
        published = store.look()
        has_copy = SiteFile(config.state_dir, site.domain).has_pair
        served = {name: leaf for name, seen in leaves.items() if (leaf := seen.result()) is not None}
        seen_answers = answers.result()
    return Observation(now, address, seen_answers, published, has_copy, served, tuple(problems))


def endpoint_of(site: Site, target: Target, state: SiteState, address: str) -> tuple[str, int] | None:
    """Return host and port where `target` serves TLS, or None as long as its port is not known.

    Without a LAN address, as with the cable out, the one last written stands in.
    """
    port = target.port or state.ports.get(target.container)
    last = state.record.value if state.record else ""
    host = "127.0.0.1" if site.address.kind == "none" else address or last
    return (host, port) if port and host else None


def _wanted_address(site: Site, problems: list[str]) -> str:
    if site.address.kind != "auto":
        return site.address.value
    try:
        return lan_address()
    except CertbotlessError as exc:
        problems.append(str(exc))
        return ""


def _answers(
    site: Site, state: SiteState, servers: NameServers, problems: list[str]
) -> tuple[frozenset[str] | None, ...] | None:
    if site.address.kind == "none":
        return ()
    zone = site.zone or state.zone
    if servers.need_zone and not zone:
        return None
    try:
        answers = ask(servers.of(zone), site.domain, "A")
    except CertbotlessError as exc:
        problems.append(str(exc))
        return ()
    if all(values is None for values in answers):
        problems.append("no authoritative name server answers; check the network")
    return tuple(answers)


def _served(site: Site, target: Target, state: SiteState, address: str) -> str | None:
    where = endpoint_of(site, target, state, address)
    if where is None:
        return None
    try:
        return served_leaf(*where, site.domain)
    except DeployError:
        return ""
