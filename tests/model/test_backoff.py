"""How long a step that failed waits for its next try."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import DAY, HOUR, MINUTE, NOW, leaf

from certbotless.model.certificate import LeafFacts
from certbotless.model.ledger import local_backoff, order_backoff


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, MINUTE), (2, 10 * MINUTE), (3, 100 * MINUTE), (4, DAY), (5, DAY), (1000, DAY)]
)
def test_orders_back_off_as_lets_encrypt_asks(failures: int, wait: timedelta) -> None:
    assert order_backoff(failures, None, NOW, 0, is_spent=False) == wait
    assert order_backoff(failures, None, NOW, 1, is_spent=False) == wait * 1.05


def test_after_three_failures_the_next_try_comes_within_two_hours_with_time_for_a_slow_zone() -> None:
    assert order_backoff(3, None, NOW, 1) <= 2 * HOUR - 10 * MINUTE


@pytest.mark.parametrize(("days", "wait"), [(90, 7 * DAY / 3), (18, 1.5 * DAY), (6, 12 * HOUR)])
def test_attempts_that_cost_certificates_are_spread_over_the_window(days: int, wait: timedelta) -> None:
    """Daily ones would have spent the three of a week by its third day, and leave four days without a try."""
    assert order_backoff(4, leaf(days * DAY), NOW, 0) == wait
    assert order_backoff(4, None, NOW, 0) == 7 * DAY / 3
    assert order_backoff(3, leaf(90 * DAY), NOW, 0) == 100 * MINUTE


@given(
    st.integers(1, 10_000),
    st.timedeltas(MINUTE, 400 * DAY),
    st.timedeltas(timedelta(), 800 * DAY),
    st.floats(0, 1),
)
def test_an_order_never_waits_longer_than_a_tenth_of_the_lifetime_nor_past_the_end(
    failures: int, lifetime: timedelta, age: timedelta, jitter: float
) -> None:
    facts = LeafFacts(("a.test",), "ab", "CN=CA", NOW, NOW + lifetime)
    wait, left = order_backoff(failures, facts, NOW + age, jitter), lifetime - age
    assert timedelta() < wait <= min(7 * DAY / 3 * 1.05, lifetime / 10)
    assert wait <= 100 * MINUTE or wait <= left / 4


def test_the_last_hours_of_a_certificate_are_tried_more_often() -> None:
    """One of 160 hours with 8 left would expire in a wait of a tenth of its lifetime."""
    facts = LeafFacts(("a.test",), "ab", "CN=CA", NOW, NOW + 160 * HOUR)
    for left, wait in {100: 16 * HOUR, 8: 2 * HOUR, 1: 100 * MINUTE, -5: 100 * MINUTE}.items():
        assert order_backoff(9, facts, facts.not_after - left * HOUR, 0) == wait


def test_record_and_container_are_tried_at_each_look_with_a_back_off_of_their_own() -> None:
    waits = [local_backoff(failures, MINUTE) for failures in range(1, 7)]
    assert waits == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 10 * MINUTE, 10 * MINUTE]


def test_a_local_back_off_is_a_tenth_of_the_lifetime_at_most() -> None:
    """A private CA may issue for an hour."""
    assert local_backoff(9, MINUTE, leaf(HOUR)) == 6 * MINUTE
    assert local_backoff(9, MINUTE, leaf(90 * DAY)) == 10 * MINUTE
    # But it is a look, at least.
    assert local_backoff(9, MINUTE, leaf(5 * MINUTE)) == MINUTE


@given(st.integers(1, 1_000_000), st.timedeltas(timedelta(seconds=1), DAY))
def test_a_local_back_off_is_at_least_a_look_and_at_most_ten_minutes_or_a_look(
    failures: int, check_every: timedelta
) -> None:
    assert check_every <= local_backoff(failures, check_every) <= max(10 * MINUTE, check_every)
