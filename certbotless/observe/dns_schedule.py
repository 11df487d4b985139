"""When the name servers are asked again about each site: by turns, and seldom while all is right. Light.

A check takes what was shown last, so a thousand sites do not ask the same servers in one burst each minute.
Files and handshakes are no load for others: a check reads those of all sites together, so that a container is
acted upon once.
"""

import math
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from ..base.clock import Clock
from ..base.concurrent import together
from ..model.decision import CONFIRM_OF
from ..model.memory import SiteState
from ..model.situation import Goal
from ..model.view import View
from ..world.dns.nameservers import NameServers
from .record_answers import SeenAnswers, ask_servers

# After an hour in which a record was right its servers are asked so seldom: so late a change by hand is seen.
QUIET_EVERY = timedelta(minutes=5)
_QUIET_AFTER = timedelta(hours=1)
_ABOUT_RECORDS = frozenset({*CONFIRM_OF, *CONFIRM_OF.values(), "list"})
_AT_ONCE = 8


@dataclass(slots=True)
class _Kept:
    """What was shown of a site, when it is asked again, and since when all was right; monotonic seconds."""

    goal: Goal
    zone: str
    shown: SeenAnswers
    due_s: float
    right_since_s: float | None = None


class DnsSchedule:
    """What was shown last, of all sites. Checks take it from several threads while `ask_due` asks again.

    Args:
        on_news: called, from any thread, when something else is shown than before.
    """

    def __init__(self, clock: Clock, on_news: Callable[[], None]) -> None:
        self._clock = clock
        self._on_news = on_news
        self.kept: dict[str, _Kept] = {}
        self._every_s = 60.0

    def follow(self, servers: NameServers, check_every: timedelta) -> None:
        """Ask these servers from now on, so often; what was shown is forgotten."""
        self._ask = ask_servers(servers)
        self._every_s = check_every.total_seconds()
        self.kept = {}

    def forget(self, domains: Collection[str] | None = None) -> None:
        """Let the next check ask at once: about these sites, or all."""
        if domains is None:
            self.kept = {}
        else:
            for domain in domains:
                self.kept.pop(domain, None)

    def shown(self, goal: Goal, state: SiteState, now: datetime) -> SeenAnswers:
        """Return what was shown last; ask where it says nothing of the site as it is now."""
        site = goal.site
        # What was forgotten while it is asked for stays so: the answer may be of servers before an edit.
        all_kept, zone, now_s = self.kept, site.zone or state.zone, self._clock.monotonic()
        kept = all_kept.get(site.domain)
        is_of_now = kept is not None and (kept.goal.site, kept.zone) == (site, zone)
        written = [record.at for records in state.records.values() for record in records.values()]
        if kept is None or not is_of_now or any(at > kept.shown.at for at in written if at <= now):
            shown = self._ask(goal, state, now)
            due_s = now_s + _until_turn_s(site.domain, self._every_s, now_s)
            all_kept[site.domain] = _Kept(goal, zone, shown, due_s)
            return shown
        return kept.shown

    def judge(self, view: View) -> None:
        """Plan the next turn by what a check found of the records of a site."""
        kept = self.kept.get(view.site.domain)
        if kept is None:
            return
        if view.decision.problems or any(step.action in _ABOUT_RECORDS for step in view.decision.steps):
            kept.right_since_s = None
            kept.due_s = min(kept.due_s, self._clock.monotonic() + self._every_s)
        elif kept.right_since_s is None:
            kept.right_since_s = self._clock.monotonic()

    def wait_s(self) -> float:
        """Return in how many seconds the next turn of a site comes; infinite if no site has one."""
        due_s = min((kept.due_s for kept in list(self.kept.values())), default=math.inf)
        return max(due_s - self._clock.monotonic(), 0)

    def ask_due(self) -> None:
        """Ask about the sites whose turn has come; return when all have answered."""
        together(self._ask_again, self._due(), _AT_ONCE)

    def _due(self) -> list[_Kept]:
        now_s = self._clock.monotonic()
        due = [kept for kept in list(self.kept.values()) if kept.due_s <= now_s]
        for kept in due:
            since_s, every_s = kept.right_since_s, self._every_s
            if since_s is not None and now_s - since_s >= _QUIET_AFTER.total_seconds():
                every_s = max(QUIET_EVERY.total_seconds(), every_s)
            kept.due_s = now_s + _until_turn_s(kept.goal.site.domain, every_s, now_s)
        return due

    def _ask_again(self, kept: _Kept) -> None:
        before, kept.shown = kept.shown, self._ask(kept.goal, SiteState(zone=kept.zone), self._clock.now())
        if (kept.shown.answers, type(kept.shown.fault)) != (before.answers, type(before.fault)):
            self._on_news()


def _until_turn_s(domain: str, every_s: float, now_s: float) -> float:
    """Return how long until the site's turn, above 0: its place in each interval is always the same."""
    share = (zlib.crc32(domain.encode()) % 1000) / 1000
    return every_s - (now_s - every_s * share) % every_s
