"""Moments and spans as text."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import moments

from certbotless.base.times import elapsed, parse_rfc3339, rfc3339, span


def test_a_moment_is_written_in_utc_with_whole_seconds() -> None:
    shanghai = timezone(timedelta(hours=8))
    assert rfc3339(datetime(2026, 11, 24, 13, 30, 0, 999_999, shanghai)) == "2026-11-24T05:30:00Z"


@pytest.mark.parametrize(
    "text", ["2026-11-24T05:30:00Z", "2026-11-24T13:30:00+08:00", "2026-11-24T05:30:00+00:00"]
)
def test_every_offset_is_read_as_the_same_moment(text: str) -> None:
    moment = parse_rfc3339(text)
    assert moment == datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize("text", ["2026-11-24T05:30:00", "2026-11-24", "", "now"])
def test_a_time_without_its_offset_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_rfc3339(text)


@given(moments)
def test_a_moment_goes_to_text_and_back(moment: datetime) -> None:
    assert parse_rfc3339(rfc3339(moment)) == moment.astimezone(UTC).replace(microsecond=0)


@given(
    st.datetimes(timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))))
)
def test_every_moment_has_a_text(moment: datetime) -> None:
    """Also where its offset leads beyond the calendar."""
    assert rfc3339(moment).endswith("Z")


@pytest.mark.parametrize(
    "text",
    [
        "1969-12-31T23:59:59Z",
        "2200-01-01T00:00:01Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
    ],
)
def test_a_moment_that_nothing_can_be_about_is_none(text: str) -> None:
    """No sum of a moment and a wait leaves the calendar."""
    with pytest.raises(ValueError, match="out of bounds"):
        parse_rfc3339(text)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7199, "119 min"), (7200, "2 h"), (2 * 86400, "2 days")],
)
def test_a_duration_is_told_in_its_largest_unit_that_says_enough(seconds: int, told: str) -> None:
    assert span(timedelta(seconds=seconds)) == told


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (60, "1 min 00 s"), (3725, "62 min 05 s")]
)
def test_an_elapsed_time_is_written_as_a_person_reads_it(seconds: float, said: str) -> None:
    assert elapsed(seconds) == said
