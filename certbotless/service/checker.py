"""When the sites are checked, what was seen, and which workers that starts. Light.

The methods that are jobs of the timetable share its thread. Only `observe` and the asking of name servers,
which wait for the network, have threads of their own.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from ..base.clock import SystemClock
from ..base.concurrent import together
from ..config.fingerprints import Fingerprints
from ..config.settings import Config, Site
from ..model.decision import WRITES
from ..model.ledger import Ledger
from ..model.situation import Goal
from ..model.view import View
from ..observe.dns_schedule import DnsSchedule
from ..observe.views import Looking, look
from ..state.ledger_file import LedgerFile
from ..state.site import SiteFile
from ..world.dns.nameservers import NameServers
from ..world.lan.watch import Lan
from .timetable import Timetable
from .workers import Workers

logger = logging.getLogger(__name__)

# The threads that wait for the network: for checks, and for what name servers show by now.
THREADS = _CHECKS, _SERVERS = "looks", "servers"
_SITES_AT_ONCE = 8
# Name servers are asked no more often, however many sites take turns.
_TURN_S = 1.0
# The kernel reports each address and each route. What it reports within this time starts one check.
_BURST_S = 0.1


@dataclass(slots=True)
class Check:
    """A check of some sites, from its beginning to what follows from it.

    Attributes:
        raw, config: in force when it began.
        is_outdated: the configuration was edited, or the clock has jumped, since it began.
        locked: the domains that a command was at work on.
        views: what was seen; None until all of it was.
    """

    raw: bytes
    config: Config
    sites: Sequence[Site]
    is_outdated: bool = False
    locked: frozenset[str] = frozenset()
    ledger: Ledger = ()
    views: Sequence[View] | None = None


class Checker:
    """Checks the sites of one daemon, and has workers started for what is due. `follow` comes first.

    Args:
        on_seen: called with each check and its views, after workers were started.
    """

    def __init__(
        self,
        timetable: Timetable,
        workers: Workers,
        lan: Lan,
        clock: SystemClock,
        on_seen: Callable[[Check, Sequence[View]], None],
    ) -> None:
        self._timetable, self._workers, self._lan, self._clock = timetable, workers, lan, clock
        workers.on_ended = self._check_ended
        self._on_seen = on_seen
        self._sites: Sequence[Site] = ()
        self._dns_schedule = DnsSchedule(clock, lambda: timetable.after("shown", 0, self.check_soon))
        self._current: Check | None = None
        self._must_check = False
        self._crashes: dict[str, str] = {}
        self._fingerprints: Fingerprints | None = None
        self._problems: dict[str, tuple[str, ...]] = {}
        self._progress_due_s = clock.monotonic()

    def start(self) -> None:
        """Check now, and whenever the kernel reports another address."""
        self._lan.listen(partial(self._timetable.after, "addresses", _BURST_S, self._check_addresses))
        self.check_soon()

    @property
    def late_s(self) -> float:
        """For how many seconds a check or a site of a check is overdue; below 0 if none is."""
        return self._clock.monotonic() - self._progress_due_s

    # What starts a check.

    def follow(self, raw: bytes, config: Config) -> None:
        """Check by this configuration from now on; `raw` is the text that workers get."""
        for site in self._sites:
            self._timetable.plan(f"due:{site.domain}", None, self.check_soon)
        self._raw, self._config, self._sites = raw, config, config.kept
        servers = NameServers(config.dns.nameservers, self._clock, is_brief=True)
        self._dns_schedule.follow(servers, config.check_every)
        self._lan.follow(rule for site in config.sites for rule in site.rules.values())

    def check_soon(self) -> None:
        """Check now; after a check that is under way, once more."""
        self._must_check = True
        self._progress_due_s = min(self._progress_due_s, self._clock.monotonic())
        self._timetable.after("look", 0, self.check)

    def check_afresh(self) -> None:
        """Check now as if for the first time, because the configuration or the clock has changed."""
        if self._current is not None:
            self._current.is_outdated = True
        self._workers.pauses.forget()  # the moments may be years away now
        self._dns_schedule.forget()
        self.check_soon()

    def _check_ended(self, domains: Collection[str]) -> None:
        """Check these sites, whose workers have ended."""
        self._dns_schedule.forget(domains)
        if not self._clock.is_stopped:
            self.check_soon()

    def _check_addresses(self) -> None:
        if self._lan.look():
            self._dns_schedule.forget()
            self.check_soon()
        self._plan_addresses()

    def _plan_addresses(self) -> None:
        self._timetable.after("addresses", self._lan.wait_s(), self._check_addresses)

    def _ask_servers(self) -> None:
        """Ask them about the sites whose turn has come."""
        self._dns_schedule.ask_due()
        self._plan_servers()

    def _plan_servers(self) -> None:
        self._timetable.after(
            "servers", max(self._dns_schedule.wait_s(), _TURN_S), self._ask_servers, _SERVERS
        )

    # The check.

    def check(self) -> None:
        """Begin a check of all sites that no worker is at work on, unless one is under way."""
        config = self._config
        # At a fixed rate, and planned before anything can fail.
        self._timetable.after("look", config.check_every.total_seconds(), self.check)
        if self._clock.is_stopped:
            return
        self._lan.look()
        self._plan_addresses()
        self._workers.end_misled(config, self._lan.settled)
        if self._current is not None:
            return
        self._must_check = False
        self._progress_due_s = self._clock.monotonic()
        busy = self._workers.busy
        self._current = Check(self._raw, config, [s for s in self._sites if s.domain not in busy])
        self._timetable.after("observe", 0, partial(self._observe, self._current), _CHECKS)

    def _observe(self, current: Check) -> None:
        config, now = current.config, self._clock.now()
        try:
            files = [(site, SiteFile(config.state_dir, site.domain)) for site in current.sites]
            current.locked = frozenset(site.domain for site, file in files if file.holder)
            current.ledger = LedgerFile(config.state_dir, config.certs_dirs).seen()
            self._fingerprints = Fingerprints.of(config, self._fingerprints)
            looking = Looking(
                self._dns_schedule.shown,
                current.ledger,
                address_of=self._lan.address,
                crashes=self._crashes,
                fingerprints=self._fingerprints,
            )
            one = partial(self._observe_site, looking=looking, now=now)
            current.views = together(one, [Goal(site, config) for site in current.sites], _SITES_AT_ONCE)
        finally:
            self._timetable.after("seen", 0, partial(self._finish, current))

    def _observe_site(self, goal: Goal, looking: Looking, now: datetime) -> View:
        view = look(goal, looking, now)
        self._progress_due_s = self._clock.monotonic()
        return view

    def _finish(self, current: Check) -> None:
        """Report what was seen, act on it, and plan what comes next."""
        self._current = None
        self._progress_due_s = self._clock.monotonic() + self._config.check_every.total_seconds()
        if self._must_check:
            self.check_soon()
        if current.views is None:
            return
        for view in current.views:
            problems = tuple(problem.advice for problem in view.decision.problems)
            if problems != self._problems.get(view.site.domain, ()):
                self._problems[view.site.domain] = problems
                for problem in problems:
                    logger.warning("check.incomplete domain=%s problem=%s", view.site.domain, problem)
        try:
            # After an edit or a jump of the clock it starts nothing; the next check follows at once.
            if not current.is_outdated:
                self._act(current, current.views)
        finally:
            self._on_seen(current, current.views)

    def _act(self, current: Check, views: Sequence[View]) -> None:
        """Start one worker for all that is due.

        A site that a command is at work on was checked, as the command may have been stopped, but gets no
        worker.
        """
        for view in views:
            self._dns_schedule.judge(view)
        self._plan_servers()
        ripe = [v for v in views if v.site.domain not in current.locked and not self._must_settle(v)]
        try:
            self._workers.start(current.raw, current.config, ripe)
        finally:
            for view in views:
                self._plan_due(view)

    def _plan_due(self, view: View) -> None:
        """Plan a check for when something comes due: a renewal, a rotation, or what has to wait."""
        decision = view.decision
        moments = [decision.next_renewal, decision.next_rotation]
        moments.append(self._workers.pauses.not_before(view.site.domain))
        moments += [step.wait_until for step in decision.steps]
        # A moment that came during the check counts: the next check may be a day away.
        coming = [moment for moment in moments if moment is not None and moment > view.seen.at]
        self._timetable.plan(f"due:{view.site.domain}", min(coming, default=None), self.check_soon)

    def _must_settle(self, view: View) -> bool:
        """Whether a record is due whose address is too new; all of its site waits, a minute at most.

        A site of the local CA has the address in its certificate, or is proved there: anything waits.
        """
        due = {step.action for step in view.decision.due(view.seen.at)}
        types = {WRITES[action] for action in due & WRITES.keys()}
        types |= {"A"} if due and view.site.is_local and view.seen.address else set()
        return any(not self._lan.is_settled(view.site.rules[type_]) for type_ in types)
