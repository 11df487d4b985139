"""What is decided for a site of the local CA, beside what is decided for each site."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certbotless.config.settings import Config, Site
from certbotless.decide.decide import decide
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Decision
from certbotless.model.local_ca import OVERLAP, LocalCa
from certbotless.model.memory import Failure, SiteState
from certbotless.model.observation import Observation
from certbotless.model.situation import Goal, Situation

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
DAY, SECOND = timedelta(days=1), timedelta(seconds=1)
NOTHING = SiteState()
YEARS_10 = timedelta(days=3650)
SITE = Site(domain="devbox", ca="local")
CONFIG = Config(sites=(SITE,), state_dir=Path("/nowhere"))


def root(age: timedelta, digit: str = "a") -> LocalCa:
    """Return a CA that was made so long ago."""
    return LocalCa(digit * 64, ("devbox",), NOW - age, NOW - age + YEARS_10)


def decided(
    ca: LocalCa,
    coming: LocalCa | None = None,
    begin: timedelta = -DAY,
    state: SiteState = NOTHING,
    of: LocalCa | None = None,
) -> Decision:
    """Return what is decided where a certificate of this CA, or of another one, is published."""
    facts = LeafFacts(("devbox",), "ab" * 32, "CN=x", NOW + begin, NOW + begin + 90 * DAY)
    published = Published(facts, Origin((of or ca).id, "local", "ec256", facts.not_before))
    seen = Observation(NOW, {"A": ""}, {}, published, has_copy=True, served={}, local_ca=ca, next_ca=coming)
    return decide(Situation(Goal(SITE, CONFIG), seen, state))


def failed(at: datetime) -> SiteState:
    """Return the state of a site whose order failed, and is to be tried again in an hour."""
    retry_at = NOW + timedelta(hours=1)
    failure = Failure(at=at, what="the CA is gone", hint="", retry_at=retry_at, count=1)
    return SiteState(failures={"order": failure})


@pytest.mark.parametrize(
    ("age", "waits"),
    [
        (timedelta(minutes=61), False),
        # In the second before: when it was made is known to the second.
        (timedelta(minutes=65, milliseconds=700), False),
        (timedelta(hours=2), True),
    ],
)
def test_what_failed_before_the_ca_was_made_keeps_no_certificate_waiting(age: timedelta, waits: bool) -> None:
    """As where it was gone, and `trust rotate --now` made another one a minute ago."""
    state = failed(NOW - timedelta(minutes=5))
    (step,) = decided(root(age, "b"), state=state, of=root(DAY)).steps
    assert (step.key, step.wait_until is not None) == ("order", waits)


def said(decision: Decision) -> list[tuple[str, str]]:
    return [(step.key, step.reason) for step in decision.steps]


def test_a_young_root_has_a_moment_for_its_rotation_and_no_step() -> None:
    young = root(DAY)
    assert said(decided(young)) == []
    assert decided(young).next_rotation == young.rotates_at == young.not_before + YEARS_10 * 4 / 5


@pytest.mark.parametrize(("age", "is_due"), [(2920 * DAY - SECOND, False), (2920 * DAY, True)])
def test_the_next_root_is_made_at_four_fifths_though_no_certificate_is_due(
    age: timedelta, is_due: bool
) -> None:
    why = "the root ends at 2028-11-23T05:30:00Z: four fifths of its life are over"
    assert said(decided(root(age))) == [("rotate", why)] * is_due


@pytest.mark.parametrize(("age", "is_due"), [(OVERLAP - SECOND, False), (OVERLAP, True)])
def test_the_next_root_signs_after_the_overlap_whoever_began_the_rotation(
    age: timedelta, is_due: bool
) -> None:
    for current in (root(DAY), root(3000 * DAY)):
        coming = root(age, "b")
        found = decided(current, coming)
        assert said(found) == [("rotate", "the next root signs from 2026-11-24T05:30:00Z on")] * is_due
        assert found.next_rotation == coming.switches_at


def test_a_certificate_that_is_due_waits_for_the_rotation() -> None:
    """Else it would be replaced a moment later."""
    assert [key for key, _ in said(decided(root(3000 * DAY), begin=-89 * DAY))] == ["rotate", "order"]


@pytest.mark.parametrize("age", [-DAY, YEARS_10 + DAY])
def test_a_root_that_is_not_valid_now_is_not_rotated(age: timedelta) -> None:
    """The clock may be wrong."""
    found = decided(root(age), root(2 * OVERLAP, "b"))
    assert (said(found), found.next_rotation) == ([], None)


def test_a_next_root_of_a_wrong_clock_is_none() -> None:
    young = root(DAY)
    assert decided(young, root(-DAY, "b")).next_rotation == young.rotates_at


def test_a_certificate_that_was_signed_while_the_clock_was_ahead_is_replaced() -> None:
    """Clients would refuse it. Not where the root itself is of such a clock: nothing can be signed then."""
    said_of_it = [("order", "the certificate is valid from 2026-11-25T05:30:00Z on")]
    assert said(decided(root(DAY), begin=DAY)) == said_of_it
    assert said(decided(root(-DAY), begin=DAY)) == []
