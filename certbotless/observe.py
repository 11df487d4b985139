"""The four facts of a site, as seen now. Reads the world and changes nothing; light enough for a daemon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime

from .address import AddressSource
from .clock import is_believable
from .config import Config, Site, Target
from .errors import AddressError, CertbotlessError, DeployError
from .probe import served_leaf
from .records import address_type
from .shown import Answers, Shown, ShownSource
from .state import Failure, Listed, SiteFile, SiteState
from .store import Published, Store
from .together import together
from .values import AddressRule


@dataclass(frozen=True, slots=True)
class Observation:
    """What was seen of one site.

    Attributes:
        at: when, aware UTC.
        address, address6: the wanted ones; empty where the site wants none or it could not be found.
        answers: for each record that the site wants, its values by authoritative server, None for one that
            does not speak for the zone; what the API listed for a name in `listed_at`. None as a whole where
            the zone is not known yet.
        published: what the store holds.
        has_copy: whether the pair last issued can be restored.
        served: SHA-256 of the leaf that is served at each place, by its key, empty for no TLS answer; one
            whose port is not known yet, or that cannot be proved, is absent.
        problems: what could not be seen; the next look tries again.
        refused: the newer generation that the service did not come up with; None where there is none.
        copy_ends: when the certificate of the copy ends; None where that is not known, or does not matter.
        listed_at: when the API listed what is known of a name that no name server speaks for, None for never.
        blind: why none does; None where every name has one that does.
        shown_at: when the name servers were asked; None for now.
    """

    at: datetime
    address: str
    answers: Mapping[tuple[str, str], Answers] | None
    published: Published
    has_copy: bool
    served: Mapping[str, str]
    problems: tuple[Failure, ...] = field(default=())
    refused: Published | None = None
    address6: str = ""
    copy_ends: datetime | None = None
    listed_at: Mapping[str, datetime | None] = field(default_factory=dict)
    blind: Failure | None = None
    shown_at: datetime | None = None

    @property
    def addresses(self) -> dict[str, str]:
        """The wanted addresses, by the type of the records that carry them."""
        return {"A": self.address, "AAAA": self.address6}

    @property
    def in_hand(self) -> Published:
        """The newest certificate, be it published or refused: what says whether one must be ordered."""
        return self.refused or self.published

    @property
    def generations(self) -> frozenset[str]:
        """The names of the pairs that may be published: this one, the one before, and a refused one."""
        refused = self.refused.generation if self.refused else ""
        return frozenset({self.published.generation, self.published.previous, refused} - {""})

    def is_shown(self, fqdn: str, value: str) -> bool:
        """Whether every server that answers shows this address alone."""
        shown = self.shown(fqdn, address_type(value))
        return bool(shown) and all(values == {value} for values in shown)

    def shown(self, fqdn: str, type_: str = "A") -> list[frozenset[str]]:
        """The answers for a name by the servers that gave one."""
        return [values for values in (self.answers or {}).get((fqdn, type_), ()) if values is not None]


def observe(
    site: Site,
    config: Config,
    state: SiteState,
    shown_by: ShownSource,
    now: datetime,
    address_of: AddressSource,
) -> Observation:
    """Look at everything that concerns `site`, at once. Takes at most about 6 s."""
    problems: list[CertbotlessError] = []
    address, address6 = (_wanted(rule, address_of, problems) for rule in site.rules.values())
    store = Store(config.certs_dir_of(site), site.domain, key_mode=int(config.key_mode, 8))
    places = [place for target in site.deploy for place in places_of(site, target, state, address)]
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(copy_context().run, shown_by, site, state, now)
        published = store.look(state.generations)
        file = SiteFile(config.state_dir, site.domain)
        has_copy = file.has_pair
        copy = file.copy() if published.facts is None else None
        served = _leaves(places, site.domain)
        shown = asked.result()
    listed = {fqdn: _listed(fqdn, state, now) for fqdn in sorted(shown.blind)}
    if shown.fault is not None and (shown.is_on_hold or not any(listed.values())):
        problems.append(shown.fault)
    refused = _refused(store, state, published)
    return Observation(
        at=now,
        address=address,
        answers=_answers(shown, listed),
        published=published,
        has_copy=has_copy,
        served=served,
        problems=tuple(unseen(problem, now, config) for problem in problems),
        refused=refused,
        address6=address6,
        copy_ends=copy.not_after if copy else None,
        listed_at={fqdn: each.at if each else None for fqdn, each in listed.items()},
        blind=unseen(shown.fault, now, config) if shown.fault else None,
        shown_at=shown.at,
    )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a target serves: one for a container or a command, one for each match of a label.

    `name` is the container's, or what the target is called; `where` is None as long as its port is not known,
    and for a target that cannot be proved.
    """

    name: str
    where: tuple[str, int] | None
    target: str

    @property
    def key(self) -> str:
        """Tells it from the other places of the site: two targets may be one container at two ports."""
        return self.name if self.name == self.target else f"{self.target} {self.name}"


def unseen(error: CertbotlessError, now: datetime, config: Config) -> Failure:
    """Return what could not be seen, as the failure that it is until the next look."""
    return Failure(at=now, what=error.message, hint=error.hint, retry_at=now + config.check_every, count=1)


def places_of(site: Site, target: Target, state: SiteState, address: str) -> list[Place]:
    """Return every place where `target` serves, as far as it is known.

    Without a LAN address, as with the cable out, the one last written stands in.
    """
    names = [target.name] if target.label is None else state.matched.get(target.label) or (target.name,)
    return [
        Place(
            name,
            where_of(site, target, state, address, state.ports.get(name), state.bound.get(name, {})),
            target.name,
        )
        for name in names
    ]


def where_of(
    site: Site,
    target: Target,
    state: SiteState,
    address: str,
    found_port: int | None,
    bound: Mapping[int, Sequence[str]],
) -> tuple[str, int] | None:
    """Return where one place of `target` serves, if the port that it publishes is known; see `Place`.

    `bound` are the addresses at which a container publishes a port, of those that it does not publish at all.
    """
    last = state.records.get(site.domain)
    host = "127.0.0.1" if site.address.kind == "none" else address or (last.value if last else "")
    if target.port is not None and target.port.kind == "none":
        return None
    if target.port is not None and target.port.kind == "elsewhere":
        return target.port.host, target.port.number
    port = target.port.number if target.port else found_port
    if port is not None and port in bound and host not in bound[port]:
        host = bound[port][0]
    return (host, port) if port and host else None


def _wanted(rule: AddressRule, address_of: AddressSource, problems: list[CertbotlessError]) -> str:
    try:
        return address_of(rule)
    except AddressError as exc:
        type_ = "A" if rule.version == 4 else "AAAA"
        problems.append(AddressError(f"the {type_} record stays as it is: {exc.message}", hint=exc.hint))
        return ""


def _listed(fqdn: str, state: SiteState, now: datetime) -> Listed | None:
    """Return what the API last listed of a name; what was noted in the future is not believed."""
    listed = state.listed.get(fqdn)
    return listed if listed is not None and is_believable(listed.at, now) else None


def _answers(shown: Shown, listed: Mapping[str, Listed | None]) -> Mapping[tuple[str, str], Answers] | None:
    """Return the answers of the name servers, or for a name that none speaks for the API's."""
    if shown.answers is None:
        return None
    return {
        (fqdn, type_): (frozenset(by_api.values.get(type_, ())),) if (by_api := listed.get(fqdn)) else answers
        for (fqdn, type_), answers in shown.answers.items()
    }


def _refused(store: Store, state: SiteState, published: Published) -> Published | None:
    if state.trial is None or published.generation != state.trial.previous:
        return None
    found = store.look_at(state.trial.generation, state.generations)
    return found if found.facts is not None else None


def _leaves(places: Sequence[Place], domain: str) -> dict[str, str]:
    def served(where: tuple[str, int]) -> str:
        try:
            return served_leaf(*where, domain)
        except DeployError:
            return ""

    known = {place.key: place.where for place in places if place.where}
    return dict(zip(known, together(served, list(known.values())), strict=True))
