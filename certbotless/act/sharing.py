"""Sites of one run that share a container: it is acted upon once for all of them."""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..base.clock import Clock, Pace
from ..base.errors import StoreError
from ..base.log_context import waits_for
from ..config.settings import Config, Site, Target
from ..state.site import SiteFile

logger = logging.getLogger(__name__)

# How long a published site waits for another one of the run that shares its container.
_TIMEOUT_S = 120


class SharedTargets:
    """Where the sites of a run that share a container wait for each other, so that it is acted upon once.

    A container counts as shared whether a target names it or matches it by its label. The names behind a
    label are those of the last check.
    """

    def __init__(self, config: Config, sites: Sequence[Site]) -> None:
        self._names = {
            (site.domain, t.name): _names_of(config, site, t, is_shared=len(sites) > 1)
            for site in sites
            for t in site.deploy
        }
        self._certifying = {site.domain for site in sites}
        self._lock = threading.Lock()

    def leave(self, site: Site) -> None:
        """Say that the site has what it serves, or will not get it in this run."""
        with self._lock:
            self._certifying.discard(site.domain)

    def wait(self, site: Site, target: str, clock: Clock) -> None:
        """Wait for the others that share `target`; at most 2 minutes, so that none holds another up."""
        self.leave(site)
        ours = self._names[site.domain, target]
        sharers = {domain for (domain, _), names in self._names.items() if names & ours}
        pace = Pace(clock, _TIMEOUT_S, first_s=0.05, most_s=0.5)
        told: set[str] = set()
        while not pace.expired:
            with self._lock:
                busy = sharers & self._certifying
            if not busy:
                return
            if busy != told:
                told = busy
                others = ",".join(sorted(busy))
                extra = waits_for("other sites that share the target", others)
                logger.debug("target.shared target=%s with=%s", target, others, extra=extra)
            pace.wait()


def _names_of(config: Config, site: Site, target: Target, *, is_shared: bool) -> frozenset[str]:
    """Return the names under which others may know what the target is about.

    Reads the states of these sites without their locks: a run of one site shares nothing, and reads none.
    """
    names = {target.name}
    if target.label is not None and is_shared:
        with suppress(StoreError):  # told where it matters
            names |= set(SiteFile(config.state_dir, site.domain).load().matched.get(target.label, ()))
    return frozenset(names)
