"""Sites of one run that share a container: it is acted upon once for all of them."""

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress

from ..base.clock import Clock, Pace
from ..base.errors import StoreError
from ..base.log_context import waits_for
from ..base.words import N_
from ..config.settings import Target
from ..model.situation import Goal
from ..state.site import SiteFile

logger = logging.getLogger(__name__)

# How long a published site waits for another one of the run that shares its container.
_TIMEOUT_S = 120


class SharedTargets:
    """Lets the sites of a run that share a container wait for each other, so that it is acted upon once.

    A container counts as shared whether a target names it or matches it by its label. The names behind a
    label are those of the last check.
    """

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._names = {
            (goal.site.domain, t.name): _names_of(goal, t, is_shared=len(goals) > 1)
            for goal in goals
            for t in goal.site.deploy
        }
        self._certifying = {goal.site.domain for goal in goals}
        self._lock = threading.Lock()

    def leave(self, domain: str) -> None:
        """Note that the site has its certificate, or will not get one in this run."""
        with self._lock:
            self._certifying.discard(domain)

    def wait(self, domain: str, target: str, clock: Clock) -> None:
        """Wait for the others that share `target`, at most 2 minutes."""
        self.leave(domain)
        ours = self._names[domain, target]
        sharers = {sharer for (sharer, _), names in self._names.items() if names & ours}
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
                extra = waits_for(N_("the other sites of this target"), others)
                logger.debug("target.shared target=%s with=%s", target, others, extra=extra)
            pace.wait()


def _names_of(goal: Goal, target: Target, *, is_shared: bool) -> frozenset[str]:
    """Return the names under which others may know what the target is about.

    Reads the states of these sites without their locks: a run of one site shares nothing, and reads none.
    """
    names = {target.name}
    if target.label is not None and is_shared:
        with suppress(StoreError):  # the check of the site reports it
            state = SiteFile(goal.config.state_dir, goal.site.domain).load()
            names |= set(state.matched.get(target.label, ()))
    return frozenset(names)
