"""One look at a site, or at several at once: what is remembered, what is seen, what follows.

Reads only, and is light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from .bulletin import heard
from .clock import SystemClock
from .config import Config, Site
from .decide import CONFIRM_OF, Decision, Intent, decide, state_of
from .errors import StoreError
from .lan import AddressSource, address_now
from .ledger import Entry
from .ledgerfile import LedgerFile
from .nameservers import NameServers
from .observe import Observation, observe, unseen
from .state import Failure, SiteFile, SiteState
from .together import together

NOTHING_ASKED = Intent()

# Each look waits for the network most of its time.
_LOOKERS = 128


@dataclass(frozen=True, slots=True)
class View:
    """A site at one moment.

    Attributes:
        state, reason: as `status` says them; the reason is empty where all is well.
        standing_failures: what has not come true since it failed; `order` stays until one succeeds.
    """

    site: Site
    remembered: SiteState
    seen: Observation
    decision: Decision
    state: Literal["ok", "pending", "failing"]
    reason: str
    standing_failures: Mapping[str, Failure]

    @property
    def is_well(self) -> bool:
        """Whether all is true, or only a target's window is waited for."""
        steps = self.decision.steps
        return self.state == "ok" or (self.state == "pending" and all(step.is_by_choice for step in steps))

    @property
    def last_failure(self) -> Failure | None:
        """The failure behind the state, or what could not be seen; else the newest, as of a forced renewal.

        One that only waits is none, unless there is no other. Its retry time is when its step may be taken:
        there may be other reasons to wait.
        """
        asked = {step.key for step in self.decision.steps}
        found = [*self.standing_failures.items(), *(("", problem) for problem in self.decision.problems)]
        if not found:
            return None
        key, failure = max(
            found, key=lambda item: (not item[1].is_waiting, item[0] in asked, not item[0], item[1].at)
        )
        until = next((step.wait_until for step in self.decision.steps if step.key == key), None)
        is_later = until is not None and until > failure.retry_at
        return failure.model_copy(update={"retry_at": until}) if is_later else failure


def look(
    site: Site,
    config: Config,
    servers: NameServers,
    ledger: Sequence[Entry],
    now: datetime,
    intent: Intent = NOTHING_ASKED,
    address_of: AddressSource = address_now,
) -> View:
    """Observe and decide. Takes at most about 6 s.

    A state that cannot be read is a problem of this site alone; without it nothing is decided.
    """
    try:
        remembered = SiteFile(config.state_dir, site.domain).load()
    except StoreError as exc:
        seen = observe(site, config, SiteState(), servers, now, address_of)
        return _view(site, SiteState(), seen, Decision((), (unseen(exc, now, config),), None))
    if remembered.failures and remembered.digest != config.digest(site):
        # What failed under another configuration says nothing about this one.
        remembered = remembered.model_copy(update={"failures": {}})
    seen = observe(site, config, remembered, servers, now, address_of)
    return _view(site, remembered, seen, decide(site, config, seen, remembered, ledger, intent))


def _view(site: Site, remembered: SiteState, seen: Observation, decision: Decision) -> View:
    asked = {step.key for step in decision.steps}
    is_unfinished = "order" in asked
    standing = {
        key: failure
        for key, failure in remembered.failures.items()
        if key in asked or key == "order" or (is_unfinished and key.startswith("deploy:"))
    }
    for step in decision.steps:
        if step.action not in CONFIRM_OF or step.key in standing:
            continue
        if (waited := replace(step, action=CONFIRM_OF[step.action]).key) in remembered.failures:
            # What did not show in time is to be written again: the same failure of the same fact.
            standing[step.key] = remembered.failures[waited]
    state, reason = state_of(decision, standing)
    return View(site, remembered, seen, decision, state, reason, standing)


def look_at(config: Config, sites: Sequence[Site]) -> list[View]:
    """Look at several sites at once. Takes about as long as the slowest of them, at most 6 s.

    Raises:
        StoreError: the ledger cannot be read.
    """
    clock = SystemClock()
    servers = NameServers(config.dns.nameservers, clock, is_brief=True)
    ledger = LedgerFile(config.state_dir, config.certs_dirs).entries()
    told = heard(config.state_dir)
    intent = Intent(start=told.start if told else None)
    return together(lambda site: look(site, config, servers, ledger, clock.now(), intent), sites, _LOOKERS)
