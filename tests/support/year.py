"""A year in the life of a daemon with certificates of 160 hours, simulated: looks, renewals, restarts.

Builds on the stand-ins of `weeks`: the same CA that counts, and the same client that may be killed between
any two steps. Here the time is the daemon's: it looks every few minutes, and when something comes due. What
is decided is the program's own decision, for what is served too.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from certbotless.decide.decide import decide
from certbotless.model import ledger
from certbotless.model.certificate import LeafFacts
from certbotless.model.decision import Decision, Intent
from certbotless.model.memory import Failure, RenewalInfo, SiteState
from certbotless.model.observation import Observation
from certbotless.model.renewal import RenewalWindow, next_look
from certbotless.model.situation import Goal, Situation
from support.weeks import DAY, HOUR, MINUTE, SECOND, START, Client, CountingCa, Figures, World, config_of

LIFETIME = 160 * HOUR
YEAR = 365 * DAY
CHECK_EVERY = 10 * MINUTE
TARGETS = [{"container": "registry", "port": 5000}]
# How long a deploy takes: the restart, and the handshake that proves it.
_DEPLOY_S = 15


@dataclass
class Kept(Client):
    """What stands on disk for one site, and what its container serves."""

    served: LeafFacts | None = None
    failed: dict[str, Failure] = field(default_factory=dict)


class Year(World):
    """One site at a CA like Let's Encrypt.

    Args:
        faults: how often anything that may fail does.
        has_windows: whether the CA suggests when to renew.
        window: when it does, for every certificate; else at half of each one's life.

    Attributes:
        expired: for how long an expired certificate was served.
        orders: how many the CA has made.
        restarts: how often the container was restarted.
        nearest: how little of its life a served certificate had left.
    """

    def __init__(
        self, random: Random, *, faults: float, has_windows: bool, window: RenewalWindow | None = None
    ) -> None:
        super().__init__(random, Figures(), sites=1)
        # A renewal may be killed at four moments.
        self._faults, self._kills = faults, faults / 4
        self._ca = CountingCa(LIFETIME, random, has_buckets=True)
        self._ca.moods = faults
        self._config = config_of("letsencrypt", 1, deploy=TARGETS)
        self._directory = self._config.cas[0].url
        self._client = Kept(self._config.sites[0])
        self._has_windows = has_windows
        self._window = window
        self._away_until = START
        self.expired, self.restarts, self.nearest = timedelta(), 0, LIFETIME

    @property
    def orders(self) -> int:
        return self._ca.orders_made

    def pass_by(self, time: timedelta = YEAR) -> None:
        """Let the year pass, or another time, as the daemon lives it."""
        day = START
        while self._ca.now < START + time:
            if self._ca.now >= day:
                day += DAY
                if self._random.random() < self._faults:
                    self._away_until = day  # nobody reaches the CA on this day
            decision = self._look()
            moments = [decision.next_renewal, *(step.wait_until for step in decision.steps)]
            coming = [moment for moment in moments if moment is not None and moment > self._ca.now]
            until = min([self._ca.now + CHECK_EVERY, *coming])
            self._let_pass(max(until - self._ca.now, SECOND))

    def _look(self) -> Decision:
        """Look once, take what is due, and return what is still asked for."""
        due = {step.action for step in self._decision().due(self._ca.now)}
        if "renewal-info" in due:
            self._ask_when_to_renew()
        if due & {"order", "collect"}:
            self._ca.moods = 1.0 if self._ca.now < self._away_until else self._faults
            self._attempt(self._client, Intent())
        if any(step.action == "deploy" for step in self._decision().due(self._ca.now)):
            self._deploy()
        return self._decision()

    def _decision(self) -> Decision:
        client = self._client
        seen, state = self._seen(client), self._state(client)
        return decide(Situation(Goal(client.site, self._config), seen, state, self._rows.rows))

    def _ask_when_to_renew(self) -> None:
        facts, client = self._client.published.facts, self._client
        if facts is None:
            return
        now, known = self._ca.now, client.renewal
        if known is None or known.sha256 != facts.sha256:
            known = RenewalInfo(sha256=facts.sha256, next_look=now)
        window = self._ca.suggests.get(facts.ari_id)
        if (
            window
            and known.moment is None
            and self._random.random() >= self._faults
            and window.is_sound(facts)
        ):
            moment = window.moment(self._random.random())
            known = replace(known, start=window.start, end=window.end, moment=moment)
        client.renewal = replace(known, next_look=next_look(now, None))

    def _suggest(self, client: Client, facts: LeafFacts) -> None:
        """Let the CA want it renewed at half of its life, as Let's Encrypt does where it is so short."""
        client.renewal = None
        if self._has_windows:
            start = facts.not_before + facts.lifetime / 2
            self._ca.suggests[facts.ari_id] = self._window or RenewalWindow(start, start + 4 * HOUR)

    def _deploy(self) -> None:
        client, now = self._client, self._ca.now
        self._let_pass(_DEPLOY_S * SECOND)
        self.restarts += 1
        if self._random.random() < self._faults:
            before = client.failed.get("deploy:registry")
            count = before.count + 1 if before else 1
            retry_at = now + ledger.local_backoff(count, CHECK_EVERY)
            client.failed["deploy:registry"] = Failure(
                at=now, what="it does not answer", hint="", retry_at=retry_at, count=count
            )
            return
        client.failed.pop("deploy:registry", None)
        client.served = client.published.facts

    def _let_pass(self, time: timedelta) -> None:
        """Let time pass, and count in it how long what is served has expired."""
        began: datetime = self._ca.now
        super()._let_pass(time)
        client = getattr(self, "_client", None)
        if client is not None and client.served is not None:
            left = client.served.not_after - self._ca.now
            self.nearest = min(self.nearest, left)
            self.expired += max(min(-left, self._ca.now - began), timedelta())

    def _seen(self, client: Client) -> Observation:
        served = {"registry": self._client.served.sha256 if self._client.served else ""}
        has_copy = client.published.facts is not None
        return Observation(self._local_now(), {}, {}, client.published, has_copy=has_copy, served=served)

    def _state(self, client: Client) -> SiteState:
        state = super()._state(client)
        return replace(state, failures=self._client.failed | state.failures, ports={"registry": 5000})
