"""The certificate that several sites share, as one of them finds it: the pair, and who has refused it.

shared/          the pair of each, in the folders of `pair.Store`; no server reads there
sites/_.<domain>.held/   a file for each site whose service did not come up with it, by the site's domain
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ..base import saved
from ..base.errors import StoreError
from ..base.files import store_errors
from ..base.names import file_name
from ..base.words import Text
from ..config.settings import Config, Site
from ..model.certificate import LeafFacts, Origin, Published
from ..model.memory import SavedPair, SiteState
from ..model.renewal import renewal_moment
from ..model.shared import Held, Shared
from .pair import Store
from .site import SiteFile


class SharedCertificate:
    """The shared certificate `wildcard` of a configuration. Reads without its lock."""

    def __init__(self, config: Config, wildcard: str) -> None:
        self._file = SiteFile(config.state_dir, wildcard)
        self._store = Store(config.shared_dir, wildcard)
        self._holds = config.state_dir / "sites" / f"{file_name(wildcard)}.held"

    def seen(self) -> Shared:
        """Return what is there. Raises StoreError where the state cannot be read."""
        state, found = self._look()
        if found.facts is None:
            return Shared(None)
        told = state.renewal
        drawn = told.moment if told and told.is_of(found.facts) else None
        return Shared(found.facts, tuple(self._held()), renewal_moment(found.facts, drawn))

    def pair(self) -> SavedPair:
        """Return the pair, for a site to publish. Raises StoreError."""
        state, found = self._look()
        if found.facts is None or found.origin is None:
            raise StoreError(found.fault or Text("no certificate is published yet"))
        # The generation that was looked at: a renewal may have published another one since.
        pair = self._store.pair(state.generations, found.generation)
        return SavedPair.of(*pair, found.origin, found.facts.not_after)

    def _look(self) -> tuple[SiteState, Published]:
        """Return the state and what is published; again where that was replaced between the two."""
        state = self._file.load()
        found = self._store.look(state.generations)
        if found.facts is None and (after := self._file.load()).generations != state.generations:
            return after, self._store.look(after.generations)
        return state, found

    # Each site has a file of its own, so that one that refuses it and one that takes it never collide.

    def hold(self, held: Held) -> None:
        """Keep the sites that are later in the file from it. Raises StoreError."""
        saved.save(self._holds / held.by, held)

    def release(self, domain: str, sha256: str) -> None:
        """Forget that the service of this site refused this leaf, which it serves now. Raises StoreError."""
        path = self._holds / domain
        if any(held.sha256 == sha256 for held in _held(path)):
            with store_errors(path):
                path.unlink(missing_ok=True)

    def _held(self) -> Iterator[Held]:
        paths: list[Path] = []
        with suppress(OSError):  # nobody has refused it
            paths = sorted(self._holds.iterdir())
        for path in paths:
            yield from _held(path)


@dataclass(frozen=True, slots=True)
class Spare:
    """What a site has of the certificate that it shares: the facts, and where the pair is."""

    facts: LeafFacts
    origin: Origin
    store: Store
    generation: str
    known: Mapping[str, str]

    def pair(self) -> SavedPair:
        """Return the pair. Raises StoreError."""
        return SavedPair.of(*self.store.pair(self.known, self.generation), self.origin, self.facts.not_after)


def spares(config: Config, wildcard: str, now: datetime) -> list[Spare]:
    """Return what the sites have of a shared certificate, the last issued first: should its own be lost.

    A site has a copy of its own, and one more that its service has refused. What has expired is left out.
    """
    found = [
        spare
        for site in config.sites
        if site.certificate == wildcard
        for spare in _spares_of(config, site)
        if spare.facts.names == (wildcard,) and spare.facts.not_after > now
    ]
    return sorted(found, key=lambda spare: spare.origin.issued_at, reverse=True)


def _spares_of(config: Config, site: Site) -> Iterator[Spare]:
    store = Store(config.certs_dir_of(site), site.domain)
    try:
        state = SiteFile(config.state_dir, site.domain).load()
    except StoreError:
        return  # its own check reports it
    seen = [store.look(state.generations)]
    seen += [store.look_at(state.trial.generation, state.generations)] if state.trial else []
    for each in seen:
        if each.facts is not None and each.origin is not None:
            yield Spare(each.facts, each.origin, store, each.generation, state.generations)


def _held(path: Path) -> Iterator[Held]:
    with suppress(ValueError, StoreError):
        if (held := saved.load(path, Held)) is not None:
            yield held
