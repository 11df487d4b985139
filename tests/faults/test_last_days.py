"""What keeps a certificate from being renewed is cured in good time: is it renewed before it expires?

What decides, what counts and what waits is the program's own (`decide`, `ledger`); the world is a renewal
that fails from its moment on until it is cured at a random time. A look comes whenever a step may be taken.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from random import Random

import pytest
from fakes import EPOCH

from certbotless import configfile, ledger
from certbotless.decide import Intent, decide
from certbotless.leaf import LeafFacts
from certbotless.ledger import Entry, with_failure
from certbotless.observe import Observation
from certbotless.renewal import renewal_moment
from certbotless.state import Failure, SiteState
from certbotless.store import Origin, Published

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LIVES = 300
CONFIG = configfile.parse(
    b"""
aliyun: {access_key_id: id, access_key_secret: secret}
sites: [{domain: box.sweetlove.test, address: none}]
""",
    "test.yaml",
)
[SITE] = CONFIG.sites
NAMES, URL = SITE.all_names, CONFIG.acme.url


class Life:
    """The last part of the life of a certificate of Let's Encrypt, from its renewal moment on.

    Args:
        costs: whether each attempt costs a certificate, as one that our checks refuse does; else it fails at
            the validation.
    """

    def __init__(self, random: Random, lifetime: timedelta, *, costs: bool) -> None:
        self._random = random
        self._costs = costs
        self.facts = LeafFacts(NAMES, f"{random.getrandbits(256):064x}", "CN=CA", EPOCH, EPOCH + lifetime)
        self.due = renewal_moment(self.facts)
        self.cured = self.due + (self.facts.not_after - self.due) * random.random()
        self._rows: list[Entry] = []
        self._failure: Failure | None = None

    @property
    def left(self) -> timedelta:
        """How much of the life is left when it is cured."""
        return self.facts.not_after - self.cured

    def is_renewed(self) -> bool:
        """Live it, and tell whether it is renewed before its end."""
        now = self.due
        while now < self.facts.not_after:
            origin = Origin(URL, f"{URL}/account/1", "ec256", EPOCH)
            seen = Observation(now, "", {}, Published(self.facts, origin), True, {})
            failures = {"order": self._failure} if self._failure else {}
            decision = decide(SITE, CONFIG, seen, SiteState(failures=failures), self._rows, Intent())
            [step] = [step for step in decision.steps if step.action == "order"]
            if not step.is_due(now):
                assert step.wait_until is not None
                now = step.wait_until
                continue
            self._rows.append(Entry(now, "order", URL, NAMES, "renewal"))
            now += timedelta(minutes=1)
            if now >= self.cured:
                return True
            self._fail(now)
        return False

    def _fail(self, now: datetime) -> None:
        if not self._costs:
            self._rows = with_failure(self._rows, Entry(now, "failure", URL, NAMES), NAMES)
        count = self._failure.count + 1 if self._failure else 1
        jitter = self._random.random()
        wait = ledger.order_backoff(count, self.facts, now, jitter, is_spent=self._costs)
        self._failure = Failure(at=now, what="it failed", hint="", retry_at=now + wait, count=count)


@pytest.mark.row(48)
@pytest.mark.parametrize(("costs", "hours"), [(False, 2), (True, 48)], ids=["validation", "certificate"])
@pytest.mark.parametrize("days", [6.67, 45, 47, 64, 90])
def test_what_is_cured_two_days_before_the_end_is_renewed(days: float, costs: bool, hours: int) -> None:
    """Where an attempt costs no certificate, two hours are enough: nothing but the back-off holds it then."""
    random = Random(20261128)  # noqa: S311
    lives = [Life(random, days * DAY, costs=costs) for _ in range(LIVES)]
    lost = [life.left for life in lives if not life.is_renewed()]
    cured = sum(life.left >= hours * HOUR for life in lives)
    print(
        f"\n{days} days: {len(lost)} of {LIVES} expired, cured at most {max(lost, default=HOUR * 0)} before"
    )
    assert cured > LIVES / 5
    assert max(lost, default=HOUR * 0) < hours * HOUR
