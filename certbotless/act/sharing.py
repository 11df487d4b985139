"""Sites of one run that share a container: it is acted upon once for all of them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from ..base.clock import Clock, Pace
from ..base.errors import StoreError
from ..base.log_context import waits_for
from ..base.words import N_
from ..config.settings import Site
from ..config.targets import Target
from ..model.situation import Goal
from ..state.site import SiteFile

if TYPE_CHECKING:
    from .shared import Turns

logger = logging.getLogger(__name__)

# How long a published site waits for another one of the run that shares its container.
_TIMEOUT_S = 120


class SharedTargets:
    """Lets the sites of a run that share a container wait for each other, so that it is acted upon once.

    A container counts as shared whether a target names it or matches it by its label. The names behind a
    label are those of the last check.

    Args:
        most: so many run at a time. Where there are more, those that have not begun are not waited for: they
            begin when others have ended.

    Attributes:
        turns: of the sites that share a certificate; None where none does.
    """

    def __init__(self, goals: Sequence[Goal], most: int) -> None:
        self._names = {
            (goal.site.domain, t.name): _names_of(goal, t, is_shared=len(goals) > 1)
            for goal in goals
            for t in goal.site.deploy
        }
        self._certifying = {goal.site.domain for goal in goals if len(goals) <= most}
        self._lock = threading.Lock()
        self.turns: Turns | None = None
        if any(goal.site.certificate for goal in goals):
            from .shared import Turns  # noqa: PLC0415  (nothing of it is loaded for other sites)

            self.turns = Turns([goal.site for goal in goals], _sharers(goals, self._names))

    def in_turn(self, goals: Sequence[Goal]) -> list[Goal]:
        """Return these with the sites that share a certificate last, in the order of their turns.

        Where more sites are to run than threads, one that others wait for has a thread before they have.
        """
        places = {domain: place for place, domain in enumerate(self.turns.order)} if self.turns else {}
        return sorted(goals, key=lambda goal: places.get(goal.site.domain, -1))

    @contextmanager
    def running(self, site: Site) -> Iterator[None]:
        """Note that the run of a site begins, and that it has ended."""
        with self._lock:
            self._certifying.add(site.domain)
        try:
            yield
        finally:
            self.leave(site.domain)
            if self.turns is not None:
                self.turns.end(site)

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
            if self.turns is not None:
                # Those that take a shared certificate later have a turn of their own.
                busy = {each for each in busy if not self.turns.is_behind(each)}
            if not busy:
                return
            if busy != told:
                told = busy
                others = ",".join(sorted(busy))
                extra = waits_for(N_("the other sites of this target"), others)
                logger.debug("target.shared target=%s with=%s", target, others, extra=extra)
            pace.wait()


def _sharers(
    goals: Sequence[Goal], known: Mapping[tuple[str, str], frozenset[str]]
) -> dict[str, dict[str, set[str]]]:
    """Return the names of the services of all sites that share a certificate with one of these.

    Args:
        known: the names of each target of these, by domain and target.

    Returns:
        By certificate and by domain, in the order of the file.
    """
    config, wildcards = goals[0].config, {goal.site.certificate for goal in goals}
    found: dict[str, dict[str, set[str]]] = {}
    for site in config.sites:
        if site.certificate and site.certificate in wildcards:
            goal = Goal(site, config)
            names = (
                known.get((site.domain, target.name)) or _names_of(goal, target, is_shared=len(goals) > 1)
                for target in site.deploy
            )
            found.setdefault(site.certificate, {})[site.domain] = set[str]().union(*names)
    return found


def _serves_all(target: Target) -> bool:
    """Whether one run of a command may be seen to serve other sites as well."""
    return target.argv("") == target.command and not (target.port and target.port.kind == "none")


def _names_of(goal: Goal, target: Target, *, is_shared: bool) -> frozenset[str]:
    """Return the names under which others may know what the target is about.

    Reads the states of these sites without their locks: a run of one site shares nothing, and reads none.
    """
    if target.reads_by_itself or target.service or (target.command and not _serves_all(target)):
        # Nothing that is done for this site serves another one.
        return frozenset({f"{goal.site.domain} {target.name}"})
    names = {target.name}
    if target.label is not None and is_shared:
        with suppress(StoreError):  # the check of the site reports it
            state = SiteFile(goal.config.state_dir, goal.site.domain).load()
            names |= set(state.matched.get(target.label, ()))
    return frozenset(names)
