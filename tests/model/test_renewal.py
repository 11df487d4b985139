"""When a certificate is due: as the CA suggests, else by its lifetime, spread over a fleet."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.model.certificate import LeafFacts
from certbotless.model.renewal import (
    RenewalWindow,
    first_look,
    is_due,
    is_look_due,
    next_look,
    renewal_moment,
)

START = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


def leaf(lifetime: timedelta, sha256: str = "00" * 32) -> LeafFacts:
    return LeafFacts(("devbox.sweetlove.test",), sha256, "CN=Example CA", START, START + lifetime)


digests = st.text("0123456789abcdef", min_size=64, max_size=64)
lifetimes = st.timedeltas(timedelta(minutes=1), timedelta(days=400))


@pytest.mark.parametrize(
    ("lifetime", "earliest"),
    [
        (timedelta(days=90), timedelta(days=60)),
        (timedelta(days=45), timedelta(days=30)),
        (timedelta(days=10), timedelta(days=10) * 2 / 3),
        (timedelta(days=10) - timedelta(seconds=1), timedelta(days=5) - timedelta(seconds=0.5)),
        (timedelta(hours=160), timedelta(hours=80)),
        (timedelta(hours=24), timedelta(hours=12)),
        (timedelta(minutes=2), timedelta(minutes=1)),
    ],
)
def test_a_long_life_renews_at_two_thirds_and_a_short_one_at_half(
    lifetime: timedelta, earliest: timedelta
) -> None:
    no_jitter, most_jitter = leaf(lifetime), leaf(lifetime, "ff" * 32)
    tolerance = timedelta(milliseconds=1)
    assert abs(renewal_moment(no_jitter) - (START + earliest)) < tolerance
    assert abs(renewal_moment(most_jitter) - (START + earliest + lifetime / 60)) < tolerance


@given(lifetimes, digests)
def test_the_moment_lies_within_the_life_with_a_quarter_to_spare(lifetime: timedelta, sha256: str) -> None:
    moment = renewal_moment(leaf(lifetime, sha256))
    assert START + lifetime / 2 - timedelta(milliseconds=1) <= moment
    assert moment <= START + lifetime * 0.75


@given(lifetimes, digests)
def test_due_from_the_moment_on_and_not_before(lifetime: timedelta, sha256: str) -> None:
    facts = leaf(lifetime, sha256)
    moment = renewal_moment(facts)
    assert is_due(facts, moment)
    assert not is_due(facts, moment - timedelta(microseconds=1))
    assert is_due(facts, facts.not_after)


def test_the_moment_is_the_same_at_every_look_and_another_for_another_leaf() -> None:
    one = leaf(timedelta(days=90), "12" * 32)
    assert renewal_moment(one) == renewal_moment(replace(one))
    assert renewal_moment(one) != renewal_moment(replace(one, sha256="13" * 32))


@pytest.mark.row(12)
def test_a_fleet_that_was_issued_together_does_not_renew_together() -> None:
    fleet = [leaf(timedelta(days=90), f"{number * 0x01000000:08x}" + "0" * 56) for number in range(256)]
    moments = sorted(map(renewal_moment, fleet))
    assert moments[-1] - moments[0] > timedelta(days=1)
    gaps = [later - sooner for sooner, later in itertools.pairwise(moments)]
    assert max(gaps) < timedelta(minutes=10)


# --- the CA's window --------------------------------------------------------------------------------------

DAY = timedelta(days=1)
moments = st.datetimes(timezones=st.just(UTC))


def window(start: timedelta, end: timedelta) -> RenewalWindow:
    """Return a window by its distance from the start of the leaf."""
    return RenewalWindow(START + start, START + end)


@pytest.mark.row(51)
@pytest.mark.parametrize(
    ("start", "end", "is_sound"),
    [
        (60 * DAY, 62 * DAY, True),
        (0 * DAY, 90 * DAY, True),
        (90 * DAY, 91 * DAY, True),
        (-DAY, timedelta(seconds=1), True),  # past: it means now
        (-DAY / 24, -DAY / 48, True),  # of a revoked certificate that was issued a moment ago
        (-2 * DAY, timedelta(seconds=1) - DAY, True),
        (-2 * DAY, -DAY, False),  # the next one would be told the same
        (-20_000 * DAY, -19_999 * DAY, False),
        (60 * DAY, 60 * DAY, False),
        (62 * DAY, 60 * DAY, False),
        (-DAY, 90 * DAY, False),  # wider than the life
        (91 * DAY, 92 * DAY, False),
        (26_000 * DAY, 26_001 * DAY, False),
    ],
)
def test_a_window_counts_if_it_can_be_meant_for_the_leaf(
    start: timedelta, end: timedelta, is_sound: bool
) -> None:
    assert window(start, end).is_sound(leaf(90 * DAY)) is is_sound


def test_a_moment_is_drawn_uniformly() -> None:
    found = window(60 * DAY, 62 * DAY)
    shares = [0, 0.25, 0.5, 1]
    assert [found.moment(share) - START for share in shares] == [60 * DAY, 60.5 * DAY, 61 * DAY, 62 * DAY]


@given(lifetimes, moments)
def test_what_was_drawn_counts_but_for_the_last_twentieth_of_life(
    lifetime: timedelta, drawn: datetime
) -> None:
    facts = leaf(lifetime)
    moment = renewal_moment(facts, drawn)
    assert moment <= facts.not_after - lifetime / 20 + timedelta(microseconds=1)
    assert moment in (drawn, facts.not_after - lifetime * (1 / 20))
    assert moment <= drawn


@pytest.mark.row(51)
@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        (None, timedelta(hours=12)),
        (timedelta(), timedelta(minutes=1)),
        (timedelta(seconds=59), timedelta(minutes=1)),
        (timedelta(hours=6), timedelta(hours=6)),
        (timedelta(hours=34), DAY),
    ],
)
def test_the_ca_says_when_to_look_again_within_limits(asked: timedelta | None, wait: timedelta) -> None:
    assert next_look(START, asked) == START + wait


@pytest.mark.parametrize(
    ("lifetime", "looks"),
    [(90 * DAY, 119), (45 * DAY, 59), (timedelta(hours=160), 6), (DAY, 1), (timedelta(minutes=2), 1)],
)
def test_the_ca_is_asked_twice_a_day_until_the_renewal(lifetime: timedelta, looks: int) -> None:
    """And once at least of a certificate that lives for minutes."""
    facts = leaf(lifetime)
    asked, look_at = 0, first_look(START, lifetime)
    while look_at < renewal_moment(facts):
        asked, look_at = asked + 1, next_look(look_at, None)
    assert asked == looks


@pytest.mark.parametrize(
    ("lifetime", "wait"),
    [
        (timedelta(hours=8), timedelta(hours=1)),
        (timedelta(days=4), timedelta(hours=12)),
        (timedelta(days=90), timedelta(hours=12)),
    ],
)
def test_the_first_look_at_the_cas_window_comes_after_an_eighth_of_life_or_half_a_day(
    lifetime: timedelta, wait: timedelta
) -> None:
    assert first_look(START, lifetime) == START + wait


def test_a_look_in_a_day_is_waited_for_and_a_later_one_is_of_a_wrong_clock() -> None:
    day, second = timedelta(days=1), timedelta(seconds=1)
    moments = [START, START + second, START + day, START + day + second]
    assert [is_look_due(moment, START) for moment in moments] == [True, False, False, True]
