"""The certificate that several sites share, as one of them finds it: the pair, and who has refused it.

shared/          the pair of each, in the folders of `pair.Store`; no server reads there
sites/_.<domain>.held   the service that did not come up with it last
"""

from ..base import saved
from ..base.errors import StoreError
from ..base.files import store_errors
from ..base.names import file_name
from ..config.settings import Config
from ..model.memory import SavedPair
from ..model.shared import Held, Shared
from .pair import Store
from .site import SiteFile


class SharedCertificate:
    """The shared certificate `wildcard` of a configuration. Reads without its lock."""

    def __init__(self, config: Config, wildcard: str) -> None:
        self._file = SiteFile(config.state_dir, wildcard)
        self._store = Store(config.shared_dir, wildcard)
        self._held = config.state_dir / "sites" / f"{file_name(wildcard)}.held"

    def seen(self) -> Shared:
        """Return what is there. Raises StoreError where the state cannot be read."""
        return Shared(self._store.look(self._file.load().generations).facts, self._held_now())

    def pair(self) -> SavedPair:
        """Return the pair, for a site to publish. Raises StoreError."""
        known = self._file.load().generations
        found = self._store.look(known)
        if found.facts is None or found.origin is None:
            raise StoreError(found.fault)
        return SavedPair.of(*self._store.pair(known), found.origin, found.facts.not_after)

    def hold(self, held: Held) -> None:
        """Keep the sites that are later in the file from it. Raises StoreError."""
        saved.save(self._held, held.to_plain())

    def release(self, domain: str) -> None:
        """Forget that the service of this site refused it. Raises StoreError."""
        held = self._held_now()
        if held is not None and held.by == domain:
            with store_errors(self._held):
                self._held.unlink(missing_ok=True)

    def _held_now(self) -> Held | None:
        try:
            return saved.load(self._held, Held)
        except ValueError:
            return None
