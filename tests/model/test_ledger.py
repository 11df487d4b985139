"""A row of the ledger: as a line and back, and marked when its order has ended."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import CA, DAY, MINUTE, NAMES, NOW, OTHER_CA, entries

from certbotless.model.ledger import (
    UNREADABLE,
    Entry,
    OrderOutcome,
    with_certificate,
    with_failure,
    with_old_failures,
    without_failure,
)


def test_a_row_goes_to_its_line_and_back() -> None:
    entry = Entry(NOW, "failure", CA, NAMES)
    row: dict[str, Any] = {
        "at": "2026-11-24T05:30:00Z",
        "kind": "failure",
        "directory": CA,
        "names": list(NAMES),
        "purpose": "new",
        "outcome": "unknown",
        "rehearsal": False,
        "lifetime_s": 0,
    }
    assert json.loads(entry.to_line()) == row
    assert Entry.from_line(entry.to_line()) == entry


@given(
    st.builds(
        Entry,
        st.datetimes(
            datetime(1970, 1, 1),  # noqa: DTZ001  (hypothesis adds the time zone)
            datetime(2200, 1, 1),  # noqa: DTZ001
            timezones=st.just(UTC),
        ).map(lambda moment: moment.replace(microsecond=0)),
        st.sampled_from(["order", "failure", "account", "unreadable"]),
        st.text(),
        st.lists(st.text()).map(tuple),
        st.sampled_from(["new", "renewal", "replacement"]),
        outcome=st.sampled_from(["unknown", "issued", "failed"]),
        rehearsal=st.booleans(),
    )
)
def test_every_row_comes_back_as_it_was(entry: Entry) -> None:
    assert Entry.from_line(entry.to_line()) == entry
    assert entry.to_line().count(b"\n") == 1


def test_a_row_of_an_older_version_may_have_given_a_certificate_and_so_may_one_of_a_newer_one() -> None:
    newer: list[dict[str, Any]] = [{"outcome": "revoked"}, {"outcome": []}, {"rehearsal": "who knows"}]
    for fields in ({}, *newer, {"more": 1}):
        assert Entry.from_line(json.dumps(GOOD | fields).encode()) == Entry(NOW, "order", CA, ())


GOOD: dict[str, Any] = {"at": "2026-11-24T05:30:00Z", "kind": "order", "directory": CA, "names": []}


@pytest.mark.parametrize("seconds", [0, -1, 1e300, 10**12, True, "86400", None, {}])
def test_a_lifetime_that_cannot_be_is_not_known(seconds: object) -> None:
    entry = Entry.from_line(json.dumps(GOOD | {"lifetime_s": seconds}).encode())
    assert (entry.kind, entry.lifetime) == ("order", timedelta())


WRONG: list[dict[str, Any]] = [
    {"kind": "party"},
    {"kind": []},
    {"purpose": "fun"},
    {"at": "2026-11-24T05:30:00"},
    {"at": "0001-01-01T00:00:00+14:00"},
    {"at": 5},
    {"names": 5},
]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        *(json.dumps(GOOD | fields).encode() for fields in WRONG),
        json.dumps(GOOD).encode()[:-1],
    ],
    ids=range(14),
)
def test_what_is_no_row_is_one_that_cannot_be_read(line: bytes) -> None:
    assert Entry.from_line(line) is UNREADABLE


@given(st.binary())
def test_no_bytes_are_more_than_a_row_that_cannot_be_read(line: bytes) -> None:
    assert Entry.from_line(line) is UNREADABLE


# --- an order that failed ---------------------------------------------------------------------------------


def test_a_failed_validation_marks_its_order_and_no_other() -> None:
    others = [
        *entries(9 * MINUTE, 8 * MINUTE),
        *entries(MINUTE, names=NAMES[1:]),
        *entries(MINUTE, directory=OTHER_CA),
        *entries(MINUTE, is_rehearsal=True),
    ]
    [order], [failure] = entries(2 * MINUTE), entries(MINUTE, kind="failure", names=NAMES[1:])
    rows = with_failure([*others, order], failure, NAMES)
    assert rows == [*others, replace(order, outcome="failed"), failure]
    # A run that was killed right after this finds the order again.
    assert with_failure(rows, failure, NAMES) == rows
    [next_order] = entries(timedelta())
    assert with_failure([*rows, next_order], failure, NAMES)[-2:] == [
        replace(next_order, outcome="failed"),
        failure,
    ]


def test_an_order_that_is_known_to_have_given_a_certificate_is_never_marked() -> None:
    """After a loss of the ledger its rows are made from the certificates; the order in flight has none."""
    rows, [failure] = entries(DAY, outcome="issued"), entries(MINUTE, kind="failure")
    assert with_failure(rows, failure, NAMES) == [*rows, failure]
    assert with_failure([], failure, NAMES) == [failure]


def test_the_failure_of_a_dry_run_marks_the_order_of_the_dry_run() -> None:
    [real], [tried] = entries(MINUTE), entries(2 * MINUTE, is_rehearsal=True)
    [failure] = entries(MINUTE, kind="failure", is_rehearsal=True)
    assert with_failure([real, tried], failure, NAMES) == [real, replace(tried, outcome="failed"), failure]


def test_an_order_of_an_older_version_is_marked_by_the_failure_that_follows_it() -> None:
    """So that who was held back by such orders for a week is not so after an upgrade."""
    [killed], [failed] = entries(9 * MINUTE), entries(5 * MINUTE)
    [failure] = entries(4 * MINUTE, kind="failure", names=NAMES[1:])
    others = [
        *entries(3 * MINUTE, names=NAMES[1:], directory=OTHER_CA),
        *entries(3 * MINUTE, names=("a.other.test",)),
        *entries(3 * MINUTE, is_rehearsal=True),
        *entries(3 * MINUTE),
    ]
    rows = [killed, failed, failure, *others]
    assert with_old_failures(rows) == [killed, replace(failed, outcome="failed"), failure, *others]
    assert with_old_failures(with_old_failures(rows)) == with_old_failures(rows)


def test_a_failure_marks_its_order_whatever_failed_before_and_is_taken_back_without_a_trace() -> None:
    [failure] = entries(timedelta(), kind="failure", outcome="failed")
    for outcome in ("unknown", "issued"):
        rows = [*entries(2 * MINUTE, outcome=outcome), *entries(MINUTE, kind="failure", outcome="failed")]
        written = with_failure(rows, failure, NAMES)
        assert written[0].outcome == ("failed" if outcome == "unknown" else "issued")
        assert written[1:] == [rows[1], failure]
        assert without_failure(written, failure, NAMES) == rows


def test_a_failure_whose_order_was_marked_with_it_marks_no_other_one() -> None:
    """Its order may be another one than the last before it: that may be in flight."""
    [in_flight] = entries(5 * MINUTE)
    [failure] = entries(4 * MINUTE, kind="failure", outcome="failed")
    assert with_old_failures([in_flight, failure]) == [in_flight, failure]
    newer = Entry.from_line(failure.to_line().replace(b'"failed"', b'"a newer word"'))
    assert with_old_failures([in_flight, newer]) == [in_flight, failure]


def test_a_failure_of_names_that_an_order_does_not_have_marks_none() -> None:
    """Another site with one of its names was at the CA at the same time."""
    [of_more], [of_less] = entries(3 * MINUTE, names=("a.test", "b.test")), entries(MINUTE, names=("b.test",))
    [failure] = entries(timedelta(), kind="failure", names=("a.test", "b.test"))
    rows = with_old_failures([of_more, of_less, failure])
    assert rows == [replace(of_more, outcome="failed"), of_less, failure]
    [issued] = entries(MINUTE, outcome="issued")
    [failure] = entries(timedelta(), kind="failure")
    assert with_old_failures([failure, issued, failure]) == [failure, issued, failure]


# --- an order that gave a certificate ---------------------------------------------------------------------


def test_a_certificate_marks_its_order_at_the_moment_when_it_came() -> None:
    [order], others = entries(2 * DAY), entries(DAY, directory=OTHER_CA)
    [came] = entries(timedelta(), lifetime=6 * DAY)
    [marked, *unmarked] = with_certificate([order, *others], came)
    assert ([marked], unmarked) == (entries(timedelta(), outcome="issued", lifetime=6 * DAY), others)
    assert Entry.from_line(marked.to_line()) == marked


@pytest.mark.parametrize("outcome", ["failed", "issued"])
def test_an_order_whose_end_is_known_is_not_marked_again(outcome: OrderOutcome) -> None:
    rows, [came] = entries(DAY, outcome=outcome), entries(timedelta())
    assert with_certificate(rows, came) == rows
    assert with_certificate([], came) == []
