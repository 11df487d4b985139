"""A cure in good time saves the certificate: what kept it from being renewed is mended before its end.

`decide`, the limits and the back-off are the program's own. Every order fails, from before the renewal moment
until the cure, at a random moment; a look comes whenever something comes due.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import pytest
from support.fakes import EPOCH
from support.weeks import DAY, HOUR, MINUTE, config_of

from certbotless.decide.decide import decide
from certbotless.model import ledger
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.ledger import Entry, Purpose
from certbotless.model.memory import Failure, SiteState
from certbotless.model.observation import Observation
from certbotless.model.renewal import renewal_moment
from certbotless.model.situation import Goal, Situation

CONFIG = config_of("letsencrypt", 1)
SITE = CONFIG.sites[0]
# How an order ends: the CA could not validate, which costs no certificate; or nobody knows, which may have.
End = Literal["failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Life:
    """How much of a certificate's life was left at the cure, and whether it was renewed in time."""

    left: timedelta
    is_saved: bool


def lived(days: float, random: Random, end: End, purpose: Purpose) -> Life:
    facts = LeafFacts(
        SITE.all_names, f"{random.getrandbits(256):064x}", "CN=CA", EPOCH, EPOCH + days * DAY, "a.b"
    )
    due = renewal_moment(facts)
    cured = due + (facts.not_after - due) * random.random()
    rows: list[Entry] = []
    failures: dict[str, Failure] = {}
    now = due
    while now < facts.not_after:
        if (until := _order_waits_until(now, facts, rows, failures)) > now:
            now = until
            continue
        order = Entry(now, "order", CONFIG.cas[0].url, SITE.all_names, purpose)
        rows.append(order)
        now += MINUTE
        if now >= cured:
            return Life(facts.not_after - cured, True)
        if end == "failed":
            failed = Entry(now, "failure", CONFIG.cas[0].url, SITE.all_names)
            rows = ledger.with_failure(rows, failed, SITE.all_names)
        count = failures["order"].count + 1 if failures else 1
        wait = ledger.order_backoff(count, facts, now, random.random(), is_spent=end != "failed")
        failures = {"order": Failure(at=now, what="no", hint="", retry_at=now + wait, count=count)}
    return Life(facts.not_after - cured, False)


def _order_waits_until(
    now: datetime, facts: LeafFacts, rows: list[Entry], failures: dict[str, Failure]
) -> datetime:
    origin = Origin(CONFIG.cas[0].url, "https://ca.test/account/1", "ec256", EPOCH)
    seen = Observation(now, {}, {}, Published(facts, origin), has_copy=True, served={})
    decision = decide(Situation(Goal(SITE, CONFIG), seen, SiteState(failures=failures), rows))
    [step] = [step for step in decision.steps if step.action == "order"]
    return step.wait_until or now


@pytest.mark.row(48)
@pytest.mark.parametrize("purpose", ["renewal", "replacement"])
@pytest.mark.parametrize("days", [6.67, 45, 47, 64, 90])
@pytest.mark.parametrize("end", ["failed", "unknown"])
def test_a_cure_in_good_time_saves_the_certificate(days: float, purpose: Purpose, end: End) -> None:
    """Two hours before the end are enough, and two days where each order may have given a certificate."""
    random = Random(20261128)  # noqa: S311
    lives = [lived(days, random, end, purpose) for _ in range(100)]
    in_time = 2 * HOUR if end == "failed" else min(2 * DAY, days * DAY / 10)
    assert sum(life.left >= in_time for life in lives) > len(lives) / 5
    late = [life for life in lives if not life.is_saved]
    print(
        f"\n{days} days, {purpose}, {end}: {len(late)} of {len(lives)} expired, "
        f"the earliest cure {max((life.left for life in late), default=timedelta())} before the end"
    )
    assert all(life.left < in_time for life in late)
