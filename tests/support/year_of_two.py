"""A year with two CAs in the list, of which the first is away now and then, as `year` has it with one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

from certbotless.act.stand_ins import after_certificate, after_failure
from certbotless.base.errors import CaUnavailable, CertbotlessError, IssueError
from certbotless.model import ledger
from certbotless.model.certificate import LeafFacts
from certbotless.model.decision import Decision, Intent, Step, is_order
from certbotless.model.memory import CaTrouble, Failure, OrderInFlight, SiteState
from support.weeks import HOUR, SECOND, Client, CountingCa, Killed, Order, config_of
from support.year import TARGETS, Year

OTHER = "https://other.test/directory"
# For how long a client waits for a CA that says nothing.
_SILENCE = 35 * SECOND


class YearOfTwo(Year):
    """One site, Let's Encrypt, and a CA that stands in for it.

    Args:
        outages: from when to when nobody reaches the first CA.
        lifetime: of all certificates.

    Attributes:
        changes: how often the CA was another one than before.
        most_left: the most of a life, as a share, that was left when the second CA was asked.
    """

    def __init__(
        self,
        random: Random,
        *,
        outages: Sequence[tuple[datetime, datetime]],
        lifetime: timedelta,
        faults: float = 0,
        authorized_for: timedelta = 7 * HOUR,
    ) -> None:
        super().__init__(random, faults=faults, has_windows=False)
        self._config = config_of(["letsencrypt", OTHER], 1, deploy=TARGETS)
        first, other = (ca.url for ca in self._config.cas)
        self._cas = {
            first: self._ca,
            other: CountingCa(lifetime, random, has_buckets=False, numbers_apart=True),
        }
        for ca in self._cas.values():
            ca.lifetime, ca.moods, ca.authorized_for = lifetime, faults, authorized_for
        self._outages = outages
        self._in_flight: dict[str, Order] = {}
        self._troubles: dict[str, CaTrouble] = {}
        self.changes, self.most_left, self.nearest = 0, 0.0, lifetime

    @property
    def orders(self) -> int:
        return sum(ca.orders_made for ca in self._cas.values())

    def _look(self) -> Decision:
        due = {step.action for step in self._decision().due(self._ca.now)}
        if "renewal-info" in due:
            self._ask_when_to_renew()
        if due & {"order", "collect"}:
            self._attempt(self._client, Intent())
        if any(step.action == "deploy" for step in self._decision().due(self._ca.now)):
            self._deploy()
        return self._decision()

    def _attempt(self, client: Client, intent: Intent) -> None:
        """Take what is due, as a run does: each step once."""
        taken: set[str] = set()
        while step := next((s for s in self._orders_due() if s.key not in taken), None):
            taken.add(step.key)
            name = step.target or self._name_of(next(iter(self._in_flight)))
            self._use(next(ca.url for ca in self._config.cas if ca.directory == name))
            before = client.published
            try:
                self._talk(client, intent)
            except Killed:
                return
            except CertbotlessError as exc:
                self._fail(client, step, name, exc)
            else:
                was = before.origin.directory if before.origin else self._directory
                self.changes += was != self._directory
                failed = self._client.failed
                self._client.failed = {key: each for key, each in failed.items() if not is_order(key)}
                self._troubles = after_certificate(self._state(client), name)
                self._in_flight.clear()

    def _orders_due(self) -> list[Step]:
        return [step for step in self._decision().due(self._ca.now) if step.action in ("order", "collect")]

    def _name_of(self, url: str) -> str:
        return next(ca.directory for ca in self._config.cas if ca.url == url)

    def _use(self, directory: str) -> None:
        """Let this CA be the one that is asked."""
        self._directory, self._ca = directory, self._cas[directory]

    def _talk(self, client: Client, intent: Intent) -> None:
        now, facts = self._ca.now, client.published.facts
        is_first = self._directory == self._config.cas[0].url
        if is_first and any(start <= now < end for start, end in self._outages):
            self._let_pass(_SILENCE)
            raise CaUnavailable("no connection")
        if not is_first and facts is not None:
            self.most_left = max(self.most_left, (facts.not_after - now) / facts.lifetime)
        client.in_flight = self._in_flight.get(self._directory)
        try:
            self._converse(client, intent)
        finally:
            if client.in_flight is not None:
                self._in_flight[self._directory] = client.in_flight
            else:
                self._in_flight.pop(self._directory, None)

    def _fail(self, client: Client, step: Step, name: str, exc: CertbotlessError) -> None:
        now, known = self._local_now(), self._client.failed.get(step.key)
        count, is_spent = known.count + 1 if known else 1, type(exc) is IssueError
        wait = ledger.order_backoff(
            count, client.published.facts, now, self._random.random(), is_spent=is_spent
        )
        self._troubles = after_failure(self._state(client), name, exc, now)
        self._client.failed[step.key] = Failure(
            at=now,
            what=exc.message,
            hint="",
            retry_at=now + max(wait, exc.retry_after or wait),
            count=count,
            kind=exc.kind,
        )

    def _let_pass(self, time: timedelta) -> None:
        super()._let_pass(time)
        for ca in getattr(self, "_cas", {}).values():
            ca.now = self._ca.now

    def _suggest(self, client: Client, facts: LeafFacts) -> None:
        client.renewal = None

    def _state(self, client: Client) -> SiteState:
        flying = [
            OrderInFlight(url=str(order.number), directory=url, names=order.names)
            for url, order in self._in_flight.items()
        ]
        orders = {each.directory: each for each in flying[1:]}
        state = replace(super()._state(client), order=flying[0] if flying else None, orders=orders)
        return replace(state, troubles=self._troubles)
