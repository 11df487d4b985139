"""One look at a site: what is remembered, what is seen, what follows. Reads only, and is light."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from .config import Config, Site
from .decide import Decision, Intent, decide, state_of
from .errors import StoreError
from .ledger import Entry
from .nameservers import NameServers
from .observe import Observation, observe
from .state import Failure, SiteFile, SiteState

NOTHING_ASKED = Intent()


@dataclass(frozen=True, slots=True)
class View:
    """A site at one moment."""

    site: Site
    remembered: SiteState
    seen: Observation
    decision: Decision

    @property
    def state(self) -> Literal["ok", "pending", "failing"]:
        """The site's state, as `status` says it."""
        return state_of(self.decision, self.remembered)[0]

    @property
    def reason(self) -> str:
        """Why it is not ok, empty if it is."""
        return state_of(self.decision, self.remembered)[1]

    @property
    def last_failure(self) -> Failure | None:
        """The failure behind the state; else the newest one, such as that of a forced renewal.

        One that only waits is none, unless there is no other.
        """
        behind = state_of(self.decision, self.remembered)[2]
        if behind is not None and not behind.is_waiting:
            return behind
        return max(self.remembered.failures.values(), key=lambda f: (not f.is_waiting, f.at), default=None)


def look(
    site: Site,
    config: Config,
    servers: NameServers,
    ledger: Sequence[Entry],
    now: datetime,
    intent: Intent = NOTHING_ASKED,
) -> View:
    """Observe and decide. Takes at most about 6 s.

    A state that cannot be read is a problem of this site alone; without it nothing is decided.
    """
    try:
        remembered = SiteFile(config.state_dir, site.domain).load()
    except StoreError as exc:
        seen = observe(site, config, SiteState(), servers, now)
        return View(site, SiteState(), seen, Decision((), (str(exc),), None))
    if remembered.failures and remembered.digest != config.digest(site):
        # What failed under another configuration says nothing about this one.
        remembered = remembered.model_copy(update={"failures": {}})
    seen = observe(site, config, remembered, servers, now)
    return View(site, remembered, seen, decide(site, config, seen, remembered, ledger, intent))
