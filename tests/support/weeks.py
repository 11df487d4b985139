"""Weeks in the life of some sites, simulated: random faults, kills, clocks that jump, and people in a hurry.

What decides and what counts is the program's own (`decide`, `ledger`, `order_guard`). A client here takes
the steps of `issue` in their order, and may be killed between any two. The CA keeps a count of its own, by
numbers that are written down anew: what Let's Encrypt publishes, as buckets like those it describes, and
our own promise. It counts an order when it is placed, a certificate when it is issued, a validation when it
fails; and it exempts what replaces a certificate inside the window that it suggests for that, and nowhere
else.

Source: Let's Encrypt, "Rate Limits" (letsencrypt.org/docs/rate-limits, as of 2026-08-05); Boulder,
ratelimits/transaction.go (what is checked at newOrder) and ra/ra.go (what is spent, and when).
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from random import Random
from typing import Any

from certbotless.base.clock import START_SLACK, TRUSTED_SKEW, Clock, is_possible
from certbotless.base.errors import (
    AuthorizationFailed,
    CertbotlessError,
    ClockWrong,
    IssueError,
    PropagationTimeout,
    RateLimited,
)
from certbotless.config import load
from certbotless.config.settings import Config, Site
from certbotless.decide.decide import decide
from certbotless.model import ledger
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Intent
from certbotless.model.ledger import UNREADABLE, Entry
from certbotless.model.limits import staging_of
from certbotless.model.memory import Failure, OrderInFlight, RenewalInfo, SiteState
from certbotless.model.observation import Observation
from certbotless.model.renewal import RenewalWindow
from certbotless.model.situation import Goal, Situation
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.order_guard import OrderGuard
from support.fakes import FakeClock

ZONE = "sweetlove.test"
START = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
WEEK = 7 * DAY
NOTHING = Published(None, None)
# What clocks of machines do: mostly nothing; a little; a time zone; a dead battery; a typing error.
OFFSETS = [timedelta()] * 8 + [
    *(sign * wrong for sign in (-1, 1) for wrong in (MINUTE, 59 * MINUTE, 61 * MINUTE, 8 * HOUR, 90 * DAY)),
    datetime(1970, 1, 1, tzinfo=UTC) - START,
    datetime(2099, 1, 1, tzinfo=UTC) - START,
]


class Killed(Exception):
    """SIGKILL: what is on disk stays, and nothing else."""


class CaProblem(Exception):
    """The CA refuses an order, or fails at it; `is_refusal` tells the one from the other."""

    def __init__(self, *, is_refusal: bool) -> None:
        self.is_refusal = is_refusal


# --- the CA's side ----------------------------------------------------------------------------------------


class Bucket:
    """`size` tokens, which come back one after the other, all of them within `window`."""

    def __init__(self, size: int, window: timedelta) -> None:
        self._refill = window / size
        self._window = window
        self._full_at = datetime.min.replace(tzinfo=UTC)

    def take(self, at: datetime) -> None:
        """Take a token; there must be one."""
        full_at = max(self._full_at, at) + self._refill
        assert full_at - at <= self._window, "the CA would have refused this"
        self._full_at = full_at


class Sliding:
    """Moments, and how many of them lie in the window that ends with each; the most of all is kept."""

    def __init__(self) -> None:
        self._moments: list[datetime] = []
        self.most = 0

    def add(self, at: datetime, window: timedelta) -> int:
        self._moments = [moment for moment in self._moments if moment > at - WEEK] + [at]
        found = sum(moment > at - window for moment in self._moments)
        self.most = max(self.most, found)
        return found


@dataclass
class Order:
    """An order as the CA knows it."""

    number: int
    names: tuple[str, ...]
    is_exempt: bool = False
    status: str = "pending"


class CountingCa:
    """A CA that counts what it is asked for; one count too many is an `AssertionError`.

    Args:
        has_buckets: whether it is Let's Encrypt, as it describes itself.
        is_staging: whether it is there to be tried, so that only our own limit for such ones is kept.
        lifetime: of its certificates.
        numbers_apart: whether its orders have numbers that no other CA has.

    Attributes:
        moods: how often it refuses an order, or takes one and does not say so.
        suggests: when it wants each certificate renewed, by its ARI identifier.
    """

    def __init__(
        self,
        lifetime: timedelta,
        random: Random,
        *,
        has_buckets: bool,
        is_staging: bool = False,
        numbers_apart: bool = False,
    ) -> None:
        # Staging directories of Let's Encrypt permit 60 failures an hour at least, and 30,000 certificates.
        self._most_per_set, self._most_failures = (30, 30) if is_staging else (5, 3)
        self.now = START
        self.lifetime = lifetime
        self.moods = 0.05
        self.orders_made = 0
        self.certificates_issued = 0
        self.suggests: dict[str, RenewalWindow] = {}
        self.per_set: defaultdict[frozenset[str], Sliding] = defaultdict(Sliding)
        self.plain_per_set: defaultdict[frozenset[str], Sliding] = defaultdict(Sliding)
        self.failures: defaultdict[str, Sliding] = defaultdict(Sliding)
        self.accounts = Sliding()
        self.new_sets = Sliding()
        self._random = random
        self._has_buckets = has_buckets
        self._replaced: set[str] = set()
        self._issued: set[frozenset[str]] = set()
        self._exact: defaultdict[frozenset[str], Bucket] = defaultdict(lambda: Bucket(5, WEEK))
        self._failed: defaultdict[str, Bucket] = defaultdict(lambda: Bucket(5, HOUR))
        self._per_domain = Bucket(50, WEEK)
        self._per_account = Bucket(300, 3 * HOUR)
        self._per_address = Bucket(10, 3 * HOUR)
        # No two certificates of several CAs have one number.
        self._numbers = count(random.getrandbits(64) if numbers_apart else 1)
        # For how long a name that was validated counts as valid.
        self.authorized_for = timedelta()
        self._valid_until: dict[str, datetime] = {}

    def new_account(self) -> int:
        assert self.accounts.add(self.now, 3 * HOUR) <= 3
        self._per_address.take(self.now)
        return next(self._numbers)

    def new_order(self, names: tuple[str, ...], replaces: str) -> Order:
        """Make an order. Raises `CaProblem` where it makes none, or does not say that it has."""
        if replaces and (replaces in self._replaced or self._random.random() < self.moods):
            raise CaProblem(is_refusal=True)
        if (chance := self._random.random()) < self.moods:
            raise CaProblem(is_refusal=True)
        suggested = self.suggests.get(replaces)
        is_exempt = suggested is not None and suggested.start <= self.now < suggested.end
        self.orders_made += 1
        if self._has_buckets and frozenset(names) not in self._issued and not is_exempt:
            self._per_account.take(self.now)
        self._replaced.add(replaces)
        if chance < 2 * self.moods:
            raise CaProblem(is_refusal=False)
        order = Order(next(self._numbers), names, is_exempt)
        if all(self.now < self._valid_until.get(name, self.now) for name in names):
            order.status = "ready"
        return order

    def validate(self, order: Order) -> None:
        """Let the validation of all names succeed."""
        order.status = "ready"
        self._valid_until |= dict.fromkeys(order.names, self.now + self.authorized_for)

    def fail(self, order: Order, name: str) -> None:
        """Let the validation of a name fail."""
        order.status = "invalid"
        assert self.failures[name].add(self.now, HOUR) <= self._most_failures, f"failures of {name}"
        if self._has_buckets:
            self._failed[name].take(self.now)

    def issue(self, order: Order) -> None:
        """Give a certificate, and count it."""
        order.status = "valid"
        names = frozenset(order.names)
        self.certificates_issued += 1
        is_known = names in self._issued and self._most_per_set == 5
        window = min(WEEK, self.lifetime / 3) if is_known else WEEK
        assert self.per_set[names].add(self.now, window) <= self._most_per_set, f"certificates for {names}"
        if self._has_buckets and not order.is_exempt:
            assert self.plain_per_set[names].add(self.now, WEEK) <= 5
            self._exact[names].take(self.now)
            if names not in self._issued:
                assert self.new_sets.add(self.now, WEEK) <= 45
                self._per_domain.take(self.now)
        self._issued.add(names)


# --- our side ---------------------------------------------------------------------------------------------


class Rows(LedgerFile):
    """The ledger in memory; what a disk does to it is done by hand."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []

    def locked(self, clock: Clock, timeout_s: float) -> Any:
        return nullcontext()

    def settle(self, now: datetime, how: Callable[[Sequence[Entry]], list[Entry]] = list) -> list[Entry]:
        self.rows = how(ledger.settled(self.rows, now))
        return self.rows

    def append(self, entry: Entry) -> None:
        self.rows.append(entry)

    def remove(self, entry: Entry) -> None:
        self.rows.remove(next(row for row in reversed(self.rows) if replace(row, at=entry.at) == entry))

    def damage(self, random: Random) -> None:
        """Let a row be cut off, or have been written by a clock that was ahead."""
        whole = [index for index, row in enumerate(self.rows) if row != UNREADABLE]
        if whole:
            row = self.rows[random.choice(whole)]
            ahead = replace(row, at=row.at + random.choice([DAY, 20000 * DAY]))
            self.rows[self.rows.index(row)] = random.choice([UNREADABLE, ahead])


@dataclass
class Client:
    """What stands on disk for one site."""

    site: Site
    published: Published = NOTHING
    in_flight: Order | None = None
    renewal: RenewalInfo | None = None
    failure: Failure | None = None


@dataclass
class Figures:
    """What came of it, over all weeks."""

    weeks: int = 0
    orders: int = 0
    certificates: int = 0
    attempts: int = 0
    killed: int = 0
    refused: int = 0
    most_per_set: int = 0
    most_plain_per_set: int = 0
    most_failures: int = 0
    most_accounts: int = 0
    most_new_sets: int = 0

    def __str__(self) -> str:
        most = {
            "certificates per set and window": self.most_per_set,
            "of those not exempt, per set and 7 d at Let's Encrypt": self.most_plain_per_set,
            "failures per name and hour": self.most_failures,
            "new accounts per 3 h": self.most_accounts,
            "new sets per domain and 7 d there": self.most_new_sets,
        }
        maxima = ", ".join(f"{what} max {number}" for what, number in most.items())
        attempts = f"attempts {self.attempts}, refused {self.refused}, killed {self.killed}"
        made = f"orders {self.orders}, certificates {self.certificates}"
        return f"weeks {self.weeks}, {made}: {maxima}; {attempts}"


class World:
    """Some sites at one CA, with a machine and people around them.

    Args:
        random: decides everything; the same one gives the same weeks.
    """

    def __init__(self, random: Random, figures: Figures, *, sites: int) -> None:
        self._random = random
        self._figures = figures
        self._offset = timedelta()
        self._clock = FakeClock()
        self._rows = Rows()
        self._accounts: dict[str, int] = {}
        self._faults = random.choice([0.02, 0.2, 0.7])
        self._kills = random.choice([0.0, 0.05, 0.3])
        is_lets_encrypt = random.random() < 0.5
        days = [6.7, 45, 64, 90] if is_lets_encrypt else [1 / 24, 0.5, 1, 6, 20, 47, 90, 200]
        # Two minutes is what Pebble is asked for in tests.
        lifetime = random.choice([*days, 2 / 1440] if not is_lets_encrypt else days) * DAY
        self._ca = CountingCa(lifetime, random, has_buckets=is_lets_encrypt)
        self._staging = CountingCa(lifetime, random, has_buckets=False, is_staging=True)
        directory = "letsencrypt" if is_lets_encrypt else "https://ca.test/directory"
        self._config = config_of(directory, sites)
        # The CA that is asked; `_ca` is it.
        self._directory = self._config.cas[0].url
        self._clients = [Client(site) for site in self._config.sites]

    def live(self, weeks: int) -> None:
        """Let so much time pass, with looks, commands and accidents in it."""
        for _ in range(weeks):
            end = self._ca.now + WEEK
            for _ in range(self._random.randrange(10, 60)):
                self._let_pass(SECOND * 10 ** self._random.uniform(0, 5))
                if self._ca.now >= end:
                    break
                self._happen()
            self._let_pass(max(end - self._ca.now, timedelta()))
            self._figures.weeks += 1
        self._figures.orders += self._ca.orders_made + self._staging.orders_made
        self._figures.certificates += self._ca.certificates_issued + self._staging.certificates_issued

    def recover(self) -> None:
        """See that no limit holds a site for ever: after some rest every one gets what it asks for."""
        self._offset, self._faults, self._kills, self._ca.moods = timedelta(), 0.0, 0.0, 0.0
        self._let_pass(WEEK)
        for client in self._clients:
            # The first one settles what a damaged row may have been.
            self._attempt(client, Intent(self._local_now(), ignore_backoff=True))
        self._let_pass(WEEK)
        for client in self._clients:
            before = client.published
            self._attempt(client, Intent(self._local_now(), ignore_backoff=True))
            assert client.published != before, f"{client.site.domain} is held: {client.failure}"

    def mended_after(self, *, failures: int) -> timedelta:
        """Let a new zone fail so many validations, mend it, and return how long its certificate takes then.

        Nobody gives a command: a look comes when a step is due, and at least every minute.
        """
        [client] = self._clients
        self._kills = self._ca.moods = 0.0
        self._faults = 1.0
        while sum(row.kind == "failure" for row in self._rows.rows) < failures:
            self._pass_minute(client)
        self._faults, mended = 0.0, self._ca.now
        while client.published == NOTHING:
            self._pass_minute(client)
        return self._ca.now - mended

    def _pass_minute(self, client: Client) -> None:
        self._attempt(client, Intent())
        self._let_pass(MINUTE)

    def sum_up(self) -> None:
        """Take the figures of the CA's side."""
        figures, ca = self._figures, self._ca
        figures.most_per_set = max(figures.most_per_set, *_most(ca.per_set.values()))
        figures.most_plain_per_set = max(figures.most_plain_per_set, *_most(ca.plain_per_set.values()))
        figures.most_failures = max(figures.most_failures, *_most(ca.failures.values()))
        figures.most_accounts = max(figures.most_accounts, ca.accounts.most)
        figures.most_new_sets = max(figures.most_new_sets, ca.new_sets.most)

    def _let_pass(self, time: timedelta) -> None:
        self._ca.now += timedelta(seconds=round(time.total_seconds()))
        self._staging.now = self._ca.now

    def _local_now(self) -> datetime:
        return self._ca.now + self._offset

    def _happen(self) -> None:
        random, client = self._random, self._random.choice(self._clients)
        match random.choices(
            ["look", "edit", "command", "rehearsal", "clock", "disk", "account", "files"],
            [45, 5, 30, 8, 4, 2, 3, 2],
        )[0]:
            case "look":
                self._attempt(client, Intent())
            case "edit":
                for each in self._clients:
                    self._attempt(each, Intent())
            case "command":
                # Impatience comes in bursts.
                for _ in range(random.randrange(1, 6)):
                    self._attempt(client, Intent(self._local_now(), ignore_backoff=True))
                    self._let_pass(SECOND * random.randrange(30))
            case "rehearsal":
                self._attempt(client, Intent(self._local_now(), ignore_backoff=True, only_rehearse=True))
            case "clock":
                self._offset = random.choice(OFFSETS)
            case "disk":
                self._rows.damage(random)
            case "account":
                # A state that does not keep what is written into it.
                for _ in range(random.randrange(1, 6)):
                    self._accounts.clear()
                    self._attempt(client, Intent(self._local_now(), ignore_backoff=True))
            case "files":
                client.published = NOTHING

    def _attempt(self, client: Client, intent: Intent) -> None:
        """Look, decide, and carry out an order that is due; as `act` does it, in its guard."""
        figures = self._figures
        figures.attempts += 1
        if not intent.only_rehearse:
            seen, state = self._seen(client), self._state(client)
            goal = Goal(client.site, self._config)
            decision = decide(Situation(goal, seen, state, self._rows.rows, intent))
            steps = [step for step in decision.steps if step.action in ("order", "collect")]
            if any(" in 7 days" in step.wait_reason or " h;" in step.wait_reason for step in steps):
                figures.refused += 1
            if not any(step.is_due(seen.at) for step in steps):
                return
        try:
            self._converse(client, intent)
            client.failure = None
        except Killed:
            figures.killed += 1
        except CertbotlessError as exc:
            figures.refused += isinstance(exc, RateLimited)
            self._note(client, exc)

    def _note(self, client: Client, exc: CertbotlessError) -> None:
        now, known = self._local_now(), client.failure.count + 1 if client.failure else 1
        facts = client.published.facts
        is_spent = type(exc) is IssueError
        wait = ledger.order_backoff(known, facts, now, self._random.random(), is_spent=is_spent)
        retry_at = now + max(wait, exc.retry_after or wait)
        client.failure = Failure(at=now, what=exc.message, hint=exc.hint, retry_at=retry_at, count=known)

    def _converse(self, client: Client, intent: Intent) -> None:
        """The steps of `issue.issue`, with every moment at which it may be killed."""
        directory, ca = self._directory, self._ca
        if intent.only_rehearse and staging_of(directory):
            directory, ca = staging_of(directory), self._staging
        guard = OrderGuard(
            self._rows,
            self._clock,
            client.site,
            directory,
            client.published.facts_for(directory, client.site.all_names),
            is_forced=False,
            renewal=client.renewal,
            is_rehearsal=intent.only_rehearse,
        )
        if directory not in self._accounts:
            guard.reserve_account(ca.now)
            self._may_die()
            account = ca.new_account()
            self._may_die()
            self._accounts[directory] = account
        order = None if intent.only_rehearse else self._resumed(client, guard)
        if order is None:
            order = self._placed(client, ca, guard)
            self._may_die()
            if not intent.only_rehearse:
                client.in_flight = order
        if order.status == "pending":
            self._validate(client, order, ca, guard)
            self._may_die()
            if intent.only_rehearse and ca is self._ca:
                return  # it has no staging directory, so the order is left as it is
        if order.status != "valid":
            ca.issue(order)
        self._may_die()
        guard.note_certificate(ca.now, ca.lifetime)
        self._may_die()
        if not intent.only_rehearse:
            self._publish(client, order)

    def _resumed(self, client: Client, guard: OrderGuard) -> Order | None:
        order = client.in_flight
        if order is not None and order.status == "invalid":
            # It failed while nobody looked.
            guard.count_failure(self._ca.now, [client.site.domain])
            self._may_die()
            client.in_flight = order = None
        return order

    def _placed(self, client: Client, ca: CountingCa, guard: OrderGuard) -> Order:
        if not -START_SLACK <= self._offset <= TRUSTED_SKEW or not is_possible(self._local_now()):
            raise ClockWrong("off")
        facts, origin = client.published.facts, client.published.origin
        is_ours = facts is not None and origin is not None and origin.account == self._account()
        replaces = facts.ari_id if facts is not None and is_ours and ca is self._ca else ""
        try:
            return self._ordered(client, ca, guard, replaces)
        except CaProblem as problem:
            if not replaces:
                raise IssueError("no order") from problem
            if not problem.is_refusal:
                guard.withdraw_order()
        self._may_die()
        try:
            return self._ordered(client, ca, guard, "")
        except CaProblem as problem:
            raise IssueError("no order") from problem

    def _ordered(self, client: Client, ca: CountingCa, guard: OrderGuard, replaces: str) -> Order:
        guard.reserve_order(ca.now, replaces=bool(replaces))
        self._may_die()
        try:
            return ca.new_order(client.site.all_names, replaces)
        except CaProblem as problem:
            self._may_die()
            if problem.is_refusal:
                guard.withdraw_order()
            raise

    def _validate(self, client: Client, order: Order, ca: CountingCa, guard: OrderGuard) -> None:
        self._let_pass(SECOND * self._random.randrange(600))  # DNS spreads
        # At 1 all values are shown to us, and none to the CA.
        if self._random.random() < self._faults / 2 < 1 / 2:
            raise PropagationTimeout("not shown")
        guard.begin_validation(ca.now, [client.site.domain])
        self._may_die()
        if self._random.random() < self._faults:
            ca.fail(order, client.site.domain)
            self._may_die()
            guard.count_failure(ca.now, [client.site.domain])
            client.in_flight = None
            raise AuthorizationFailed("no TXT record", names=(client.site.domain,))
        ca.validate(order)
        self._may_die()
        guard.note_validation(ca.now)

    def _publish(self, client: Client, order: Order) -> None:
        not_before = self._ca.now - min(HOUR, self._ca.lifetime / 20)
        not_after = not_before + self._ca.lifetime
        sha256 = f"{order.number:064x}"
        facts = LeafFacts(client.site.all_names, sha256, "CN=CA", not_before, not_after, f"ari.{sha256}")
        origin = Origin(self._directory, self._account(), "ec256", self._local_now())
        client.published = Published(facts, origin)
        self._suggest(client, facts)
        self._may_die()
        client.in_flight = None

    def _suggest(self, client: Client, facts: LeafFacts) -> None:
        """Let the CA want it renewed at some time, and the client have heard of it, or not."""
        start = facts.not_before + facts.lifetime * self._random.choice([0, 1 / 2, 2 / 3])
        window = RenewalWindow(start, start + facts.lifetime * self._random.choice([1 / 50, 1 / 3]))
        self._ca.suggests[facts.ari_id] = window
        client.renewal = None
        if self._random.random() >= self._faults / 2:
            moment = window.moment(self._random.random())
            now = self._local_now()
            client.renewal = RenewalInfo(
                sha256=facts.sha256, next_look=now, start=window.start, end=window.end, moment=moment
            )

    def _account(self) -> str:
        return str(self._accounts.get(self._directory))

    def _may_die(self) -> None:
        if self._random.random() < self._kills:
            raise Killed

    def _seen(self, client: Client) -> Observation:
        return Observation(self._local_now(), {}, {}, client.published, has_copy=False, served={})

    def _state(self, client: Client) -> SiteState:
        order = client.in_flight
        in_flight = (
            OrderInFlight(url=str(order.number), directory=self._directory, names=order.names)
            if order
            else None
        )
        failures = {"order": client.failure} if client.failure else {}
        return SiteState(order=in_flight, failures=failures, renewal=client.renewal)


def _most(counts: Iterable[Sliding]) -> list[int]:
    return [0, *(sliding.most for sliding in counts)]


def config_of(directory: str | Sequence[str], sites: int, **keys: object) -> Config:
    """Return the configuration of so many sites at this CA, or at a list of CAs, with these keys each."""
    is_one = isinstance(directory, str)
    fields = {
        "acme": {"directory": directory} if is_one else [{"directory": each} for each in directory],
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "sites": [
            {"domain": f"box{number}.{ZONE}", "names": [f"*.box{number}.{ZONE}"], "address": "none", **keys}
            for number in range(sites)
        ],
    }
    return load.parse(json.dumps(fields).encode(), "test.json")
