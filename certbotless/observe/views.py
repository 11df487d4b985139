"""Check one site, or several at once: read the state, observe, decide.

Reads only, and is light.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from ..base.clock import SystemClock
from ..base.concurrent import together
from ..base.errors import CertbotlessError, StoreError, internal_error
from ..base.times import rfc3339
from ..base.words import Text
from ..config.fingerprints import Fingerprints
from ..config.settings import Config, Site
from ..decide.decide import decide, state_of
from ..model.certificate import Published
from ..model.decision import CONFIRM_OF, NOTHING_ASKED, Decision, Intent, is_order
from ..model.ledger import Ledger
from ..model.memory import Failure, SiteState
from ..model.observation import Observation, unseen
from ..model.situation import Goal, Situation
from ..model.view import View
from ..state.ledger_file import LedgerFile
from ..state.site import SiteFile
from ..world.dns.nameservers import NameServers
from ..world.lan.address import AddressSource, address_now
from .record_answers import AnswerSource, ask_servers
from .site import observe

if TYPE_CHECKING:
    from ..model.shared import Shared

logger = logging.getLogger(__name__)

# Each check waits for the network most of its time.
_LOOKERS = 128
# All of them together: the units and compose.yaml allow 1024, for a daemon and its workers too.
_MOST_THREADS = 600
# Each question has as many: two name servers, as zones at Aliyun have, at three addresses each.
_THREADS_A_QUESTION = 6


@dataclass(frozen=True, slots=True)
class Looking:
    """What checks of sites work with.

    Attributes:
        shown_by: what the name servers show.
        crashes: where the last check of a site crashed, by domain: a traceback is logged once.
        fingerprints: of the configuration; without them, its secrets are read where something has failed.
        shared: what sites share, as far as it was read: once for all of them.
    """

    shown_by: AnswerSource
    ledger: Ledger = ()
    intent: Intent = NOTHING_ASKED
    address_of: AddressSource = address_now
    crashes: dict[str, str] = field(default_factory=dict)
    fingerprints: Fingerprints | None = None
    shared: dict[str, Shared | None] = field(default_factory=dict)


def look(goal: Goal, looking: Looking, now: datetime, remembered: SiteState | None = None) -> View:
    """Observe and decide. Takes at most about 6 s, and never raises.

    A state that cannot be read is a problem of this site alone; without it nothing is decided. So is a fault
    of the program in this check.

    Args:
        remembered: what a run has in hand; else the state of the site is read.
    """
    try:
        view = _look(goal, looking, now, remembered)
    except Exception as exc:
        where = "".join(traceback.format_tb(exc.__traceback__)) + type(exc).__name__
        if looking.crashes.get(goal.site.domain) != where:
            looking.crashes[goal.site.domain] = where
            logger.exception("check.crashed domain=%s", goal.site.domain)
        # The observation may be the cause of the crash: the code after us must not get it.
        seen = Observation(now, {}, {}, Published(None, None), False, {})
        return _unseen_view(goal, seen, internal_error(exc))
    looking.crashes.pop(goal.site.domain, None)
    return view


def _look(goal: Goal, looking: Looking, now: datetime, remembered: SiteState | None) -> View:
    site, config = goal.site, goal.config

    def observed(state: SiteState) -> Observation:
        return observe(goal, state, looking.shown_by, now, looking.address_of, looking.shared)

    def counted(state: SiteState) -> SiteState:
        if not (state.failures or state.foreign or state.troubles):
            return state
        prints = looking.fingerprints or Fingerprints.of(config)
        return state.under(*prints.digests(config, site))

    file = SiteFile(config.state_dir, site.domain)
    try:
        remembered = counted(remembered or file.load())
        seen = observed(remembered)
        if seen.published.facts is None and (after := file.load()).generations != remembered.generations:
            # A run has published another certificate since the state was read.
            remembered = counted(after)
            seen = observed(remembered)
    except StoreError as exc:
        return _unseen_view(goal, observed(SiteState()), exc)
    decision = decide(Situation(goal, seen, remembered, looking.ledger, looking.intent))
    if (endless := _endless_run(goal, now)) is not None:
        problem = unseen(endless, now, config.check_every)
        decision = replace(decision, problems=(*decision.problems, problem))
    return _view(goal, remembered, seen, decision)


def _endless_run(goal: Goal, now: datetime) -> CertbotlessError | None:
    """Return the problem of a run that holds the site longer than it may; None for none."""
    holder = SiteFile(goal.config.state_dir, goal.site.domain).holder
    if holder is None or holder.pid == os.getpid() or now - holder.since <= goal.config.longest_run:
        return None
    return CertbotlessError(
        Text(
            "process {} has held the lock of this site since {}, longer than a run may take",
            holder.pid,
            rfc3339(holder.since),
        ),
        hint=Text("see `ps {}`; continue it (`fg`, `kill -CONT`) or end it", holder.pid),
    )


def _unseen_view(goal: Goal, seen: Observation, exc: CertbotlessError) -> View:
    """Return the view of a site about which nothing can be decided."""
    problem = unseen(exc, seen.at, goal.config.check_every)
    return _view(goal, SiteState(), seen, Decision((), (problem,), None))


def _view(goal: Goal, remembered: SiteState, seen: Observation, decision: Decision) -> View:
    asked = {step.key for step in decision.steps}
    is_unfinished = any(map(is_order, asked))
    standing = {
        key: failure
        for key, failure in remembered.failures.items()
        if key in asked
        or "verify" in asked  # it is not known yet whether meta.json is true
        or (is_order(key) and not _is_cured(failure, seen))
        or (is_unfinished and key.startswith("deploy:"))
    }
    for step in decision.steps:
        if step.action not in CONFIRM_OF or step.key in standing:
            continue
        if (waited := replace(step, action=CONFIRM_OF[step.action]).key) in remembered.failures:
            # What did not show in time is to be written again: the same failure of the same fact.
            standing[step.key] = remembered.failures[waited]
    state, cause = state_of(decision, standing)
    has_choice = goal.config.has_stand_ins and not goal.site.is_local and not goal.site.certificate
    authorities = goal.authorities(seen) if has_choice else ()
    return View(goal.site, remembered, seen, decision, state, cause, standing, authorities)


def _is_cured(failure: Failure, seen: Observation) -> bool:
    """Whether the local CA could not be read, and can be now: its copy was put back."""
    return seen.local_ca is not None and failure.kind == StoreError.__name__


def look_at(config: Config, sites: Sequence[Site], fingerprints: Fingerprints | None = None) -> list[View]:
    """Check several sites at once. Takes about as long as the slowest of them, at most 6 s."""
    clock = SystemClock()
    shown_by = ask_servers(NameServers(config.dns.nameservers, clock, is_brief=True))
    ledger = LedgerFile(config.state_dir, config.certs_dirs).seen()
    looking = Looking(shown_by, ledger, fingerprints=fingerprints)
    # One for the check, one that waits for DNS.
    threads = 2 + _THREADS_A_QUESTION * max((len(site.wanted_records) for site in sites), default=0)
    most = max(min(_LOOKERS, _MOST_THREADS // threads), 1)
    return together(lambda site: look(Goal(site, config), looking, clock.now()), sites, most)
