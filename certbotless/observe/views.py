"""One look at a site, or at several at once: what is remembered, what is seen, what follows.

Reads only, and is light.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from ..base.clock import SystemClock
from ..base.concurrent import together
from ..base.errors import CertbotlessError, StoreError, internal_error
from ..base.times import rfc3339
from ..config.settings import Config, Site
from ..decide.decide import decide, state_of, without_abandoned
from ..model.certificate import Published
from ..model.decision import CONFIRM_OF, Decision, Intent
from ..model.ledger import Ledger
from ..model.memory import SiteState
from ..model.observation import Observation, unseen
from ..model.view import View
from ..state.ledger_file import LedgerFile
from ..state.site import SiteFile
from ..world.dns.nameservers import NameServers
from ..world.lan.address import AddressSource, address_now
from .record_answers import ShownSource, ask_servers, questions_of
from .site import observe

logger = logging.getLogger(__name__)

NOTHING_ASKED = Intent()

# Each look waits for the network most of its time.
_LOOKERS = 128
# All of them together: the units and compose.yaml allow 1024, with a daemon and its children beside us.
_MOST_THREADS = 600
# Each question has as many: two name servers, as zones at Aliyun have, at three addresses each.
_THREADS_A_QUESTION = 6


class Crashes:
    """The sites whose last look has crashed, and where: each traceback is logged once."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def is_new(self, domain: str, exc: Exception) -> bool:
        """Note the crash, and return whether the last look at the site did not crash at the same place."""
        where = "".join(traceback.format_tb(exc.__traceback__)) + type(exc).__name__
        before, self._known[domain] = self._known.get(domain), where
        return before != where

    def forget(self, domain: str) -> None:
        """Note that a look at the site has come to its end."""
        self._known.pop(domain, None)


def look(
    site: Site,
    config: Config,
    servers: NameServers,
    ledger: Ledger,
    now: datetime,
    intent: Intent = NOTHING_ASKED,
    address_of: AddressSource = address_now,
    crashes: Crashes | None = None,
    shown_by: ShownSource | None = None,
    remembered: SiteState | None = None,
) -> View:
    """Observe and decide. Takes at most about 6 s, and never raises.

    A state that cannot be read is a problem of this site alone; without it nothing is decided. So is a fault
    of the program in this look.

    Args:
        crashes: of the looks before; without them, a traceback is logged each time.
        shown_by: what the name servers show, where they are not to be asked now.
        remembered: what a run has in hand; else the state of the site is read.
    """
    crashes = crashes or Crashes()
    try:
        shown_by = shown_by or ask_servers(servers)
        view = _look(site, config, shown_by, ledger, now, intent, address_of, remembered)
    except Exception as exc:
        if crashes.is_new(site.domain, exc):
            logger.exception("look.crashed domain=%s", site.domain)
        # The observation may be the cause of the crash: the code after us must not get it.
        seen = Observation(now, "", {}, Published(None, None), False, {})
        return _blind(site, seen, internal_error(exc), config)
    crashes.forget(site.domain)
    return view


def _look(
    site: Site,
    config: Config,
    shown_by: ShownSource,
    ledger: Ledger,
    now: datetime,
    intent: Intent,
    address_of: AddressSource,
    remembered: SiteState | None,
) -> View:
    try:
        remembered = remembered or SiteFile(config.state_dir, site.domain).load()
    except StoreError as exc:
        return _blind(site, observe(site, config, SiteState(), shown_by, now, address_of), exc, config)
    if remembered.failures or remembered.foreign:
        remembered = remembered.under(config.digest(site), config.file_digest(site))
    seen = without_abandoned(site, config, observe(site, config, remembered, shown_by, now, address_of))
    decision = decide(site, config, seen, remembered, ledger, intent)
    if (endless := _endless_run(site, config, now)) is not None:
        decision = replace(decision, problems=(*decision.problems, unseen(endless, now, config)))
    return _view(site, remembered, seen, decision)


def _endless_run(site: Site, config: Config, now: datetime) -> CertbotlessError | None:
    """Return the problem of a run that holds the site longer than it may; None for none."""
    holder = SiteFile(config.state_dir, site.domain).holder
    if holder is None or holder.pid == os.getpid() or now - holder.since <= config.longest_run:
        return None
    return CertbotlessError(
        f"process {holder.pid} has held the lock of this site since {rfc3339(holder.since)}, longer than"
        " a run may take",
        hint=f"see `ps {holder.pid}`; let it go on (`fg`, `kill -CONT`) or end it",
    )


def _blind(site: Site, seen: Observation, exc: CertbotlessError, config: Config) -> View:
    """Return the view of a site about which nothing can be decided."""
    return _view(site, SiteState(), seen, Decision((), (unseen(exc, seen.at, config),), None))


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
    """Look at several sites at once. Takes about as long as the slowest of them, at most 6 s."""
    clock = SystemClock()
    servers = NameServers(config.dns.nameservers, clock, is_brief=True)
    ledger = LedgerFile(config.state_dir, config.certs_dirs).seen()
    # One for the look, one that waits for DNS.
    threads = 2 + _THREADS_A_QUESTION * max((len(questions_of(site)) for site in sites), default=0)
    most = max(min(_LOOKERS, _MOST_THREADS // threads), 1)
    return together(lambda site: look(site, config, servers, ledger, clock.now()), sites, most)
