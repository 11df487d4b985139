"""Our own limits and back-offs: what is counted, in which window, and that obeying it keeps them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.ledger import Entry, Kind, limit_on_orders, local_backoff, order_backoff

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
CA, OTHER_CA = "https://ca.test/directory", "https://other.test/directory"
NAMES = ("*.devbox.sweetlove.test", "devbox.sweetlove.test")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def entries(
    *ages: timedelta, kind: Kind = "order", directory: str = CA, names: tuple[str, ...] = NAMES
) -> list[Entry]:
    return [Entry(NOW - age, kind, directory, names) for age in ages]


# --- limits -----------------------------------------------------------------------------------------------


def test_an_empty_ledger_forbids_nothing() -> None:
    assert limit_on_orders([], CA, NAMES, None, NOW) is None


def test_the_fourth_order_for_the_same_names_waits_until_the_first_is_a_week_old() -> None:
    rows = entries(6 * DAY, 2 * DAY, HOUR)
    limit = limit_on_orders(rows, CA, NAMES, None, NOW)
    assert limit is not None
    assert limit.until == NOW + DAY
    assert limit.reason == "3 orders for these names in 7 days"
    assert limit_on_orders(rows, CA, NAMES, None, limit.until - timedelta(microseconds=1)) is not None
    assert limit_on_orders(rows, CA, NAMES, None, limit.until) is None


def test_two_orders_are_no_limit() -> None:
    assert limit_on_orders(entries(HOUR, HOUR), CA, NAMES, None, NOW) is None


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [(None, 7 * DAY), (90 * DAY, 7 * DAY), (21 * DAY, 7 * DAY), (6 * DAY, 2 * DAY), (3 * HOUR, HOUR)],
)
def test_the_window_is_a_week_or_a_third_of_the_lifetime(
    lifetime: timedelta | None, window: timedelta
) -> None:
    inside, outside = window - timedelta(seconds=1), window
    assert limit_on_orders(entries(inside, inside, inside), CA, NAMES, lifetime, NOW) is not None
    assert limit_on_orders(entries(outside, inside, inside), CA, NAMES, lifetime, NOW) is None


@pytest.mark.parametrize(("lifetime", "span"), [(6 * DAY, "2 days"), (3 * HOUR, "1 h"), (4 * DAY, "32 h")])
def test_the_window_is_told_in_words(lifetime: timedelta, span: str) -> None:
    limit = limit_on_orders(entries(MINUTE, MINUTE, MINUTE), CA, NAMES, lifetime, NOW)
    assert limit is not None
    assert limit.reason.endswith(f"in {span}")


@pytest.mark.parametrize(
    "rows",
    [
        entries(HOUR, HOUR, HOUR, names=("devbox.sweetlove.test",)),
        entries(HOUR, HOUR, HOUR, names=(*NAMES, "third.sweetlove.test")),
        entries(HOUR, HOUR, HOUR, directory=OTHER_CA),
        entries(HOUR, HOUR, HOUR, kind="account"),
        entries(2 * HOUR, 2 * HOUR, 2 * HOUR, kind="failure"),
    ],
    ids=["fewer names", "more names", "another CA", "accounts", "old failures"],
)
def test_what_the_ca_counts_apart_is_counted_apart(rows: list[Entry]) -> None:
    assert limit_on_orders(rows, CA, NAMES, None, NOW) is None


def test_the_order_of_names_makes_no_difference() -> None:
    rows = entries(HOUR, HOUR, HOUR, names=tuple(reversed(NAMES)))
    assert limit_on_orders(rows, CA, NAMES, None, NOW) is not None


def test_three_failed_validations_of_one_name_hold_its_orders_for_an_hour() -> None:
    one = ("devbox.sweetlove.test",)
    rows = entries(50 * MINUTE, 20 * MINUTE, MINUTE, kind="failure", names=one)
    limit = limit_on_orders(rows, CA, NAMES, None, NOW)
    assert limit is not None
    assert limit.until == NOW + 10 * MINUTE
    assert limit.reason == "3 failed validations of devbox.sweetlove.test in 1 h"
    assert limit_on_orders(rows, CA, ("other.sweetlove.test",), None, NOW) is None


def test_failures_of_different_names_do_not_add_up() -> None:
    rows = [
        *entries(MINUTE, MINUTE, kind="failure", names=("devbox.sweetlove.test",)),
        *entries(MINUTE, kind="failure", names=("git.sweetlove.test",)),
    ]
    assert limit_on_orders(rows, CA, (*NAMES, "git.sweetlove.test"), None, NOW) is None


def test_failures_of_a_name_and_its_wildcard_add_up() -> None:
    """The CA validates both under the one name."""
    rows = [
        *entries(MINUTE, MINUTE, kind="failure", names=("devbox.sweetlove.test",)),
        *entries(MINUTE, kind="failure", names=("*.devbox.sweetlove.test",)),
    ]
    assert limit_on_orders(rows, CA, NAMES, None, NOW) is not None


def test_of_several_limits_the_latest_counts() -> None:
    rows = [*entries(6 * DAY, HOUR, HOUR), *entries(*[MINUTE] * 3, kind="failure", names=NAMES)]
    limit = limit_on_orders(rows, CA, NAMES, None, NOW)
    assert limit is not None
    assert limit.until == NOW + DAY


def test_rows_from_the_future_count_as_now_and_pass_like_others() -> None:
    # The clock was ahead when they were written. A window later they must not hold anything any more.
    rows = entries(*[-400 * DAY] * 3)
    limit = limit_on_orders(rows, CA, NAMES, None, NOW)
    assert limit is not None
    assert limit.until == NOW + 7 * DAY


@given(
    st.lists(st.timedeltas(timedelta(), 2 * DAY), max_size=60),
    st.none() | st.timedeltas(HOUR, 90 * DAY),
)
def test_who_obeys_the_ledger_never_orders_more_than_three_times_in_a_window(
    pauses: list[timedelta], lifetime: timedelta | None
) -> None:
    rows: list[Entry] = []
    now = NOW
    for pause in pauses:
        now += pause
        limit = limit_on_orders(rows, CA, NAMES, lifetime, now)
        if limit is None:
            rows.append(Entry(now, "order", CA, NAMES))
        else:
            assert limit.until > now
            assert limit_on_orders(rows, CA, NAMES, lifetime, limit.until) is None
    window = min(7 * DAY, lifetime / 3) if lifetime else 7 * DAY
    for row in rows:
        assert len([r for r in rows if row.at <= r.at < row.at + window]) <= 3


@given(st.lists(st.sampled_from(["fail", "wait"]), max_size=60))
def test_who_obeys_the_ledger_never_fails_a_name_more_than_three_times_an_hour(acts: list[str]) -> None:
    rows: list[Entry] = []
    now = NOW
    for act in acts:
        now += MINUTE if act == "fail" else 9 * MINUTE
        if act == "fail" and limit_on_orders(rows, CA, NAMES[:1], 90 * DAY, now) is None:
            rows.append(Entry(now, "failure", CA, NAMES[:1]))
    for row in rows:
        assert len([r for r in rows if row.at <= r.at < row.at + HOUR]) <= 3


@given(st.permutations(entries(6 * DAY, 5 * DAY, HOUR, 8 * DAY)))
def test_the_rows_may_stand_in_any_order(rows: list[Entry]) -> None:
    limit = limit_on_orders(rows, CA, NAMES, None, NOW)
    assert limit is not None
    assert limit.until == NOW + DAY


# --- back-off ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("failures", "wait"), [(1, MINUTE), (2, 10 * MINUTE), (3, 100 * MINUTE), (4, DAY), (5, DAY), (1000, DAY)]
)
def test_orders_back_off_as_lets_encrypt_asks(failures: int, wait: timedelta) -> None:
    assert order_backoff(failures, None, 0) == wait
    assert order_backoff(failures, None, 1) == wait * 1.25


@given(st.integers(1, 10_000), st.none() | st.timedeltas(MINUTE, 400 * DAY), st.floats(0, 1))
def test_an_order_never_waits_longer_than_a_tenth_of_the_lifetime(
    failures: int, lifetime: timedelta | None, jitter: float
) -> None:
    wait = order_backoff(failures, lifetime, jitter)
    assert timedelta() < wait <= DAY * 1.25
    assert lifetime is None or wait <= lifetime / 10


def test_record_and_container_are_tried_at_each_look_with_a_back_off_of_their_own() -> None:
    waits = [local_backoff(failures, MINUTE) for failures in range(1, 7)]
    assert waits == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 10 * MINUTE, 10 * MINUTE]


@given(st.integers(1, 1_000_000), st.timedeltas(timedelta(seconds=1), DAY))
def test_a_local_back_off_is_at_least_a_look_and_at_most_ten_minutes_or_a_look(
    failures: int, check_every: timedelta
) -> None:
    assert check_every <= local_backoff(failures, check_every) <= max(10 * MINUTE, check_every)


# --- rows -------------------------------------------------------------------------------------------------


def test_a_row_goes_to_json_and_back() -> None:
    entry = Entry(NOW, "failure", CA, NAMES)
    assert entry.to_json() == {
        "at": "2026-11-24T05:30:00Z",
        "kind": "failure",
        "directory": CA,
        "names": list(NAMES),
    }
    assert Entry.from_json(json.loads(json.dumps(entry.to_json()))) == entry


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        {"at": "2026-11-24T05:30:00Z", "kind": "party", "directory": CA, "names": []},
        {"at": "2026-11-24T05:30:00", "kind": "order", "directory": CA, "names": []},
        {"at": "2026-11-24T05:30:00Z", "kind": "order", "directory": CA, "names": 5},
        {"at": 5, "kind": "order", "directory": CA, "names": []},
    ],
)
def test_what_is_no_row_raises_what_a_reader_expects(data: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Entry.from_json(data)
