"""The facts of a certificate as a value, and times as text."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbotless.leaf import LeafFacts, parse_rfc3339, rfc3339

FACTS = LeafFacts(
    names=("*.devbox.sweetlove.test", "devbox.sweetlove.test"),
    sha256="ab" * 32,
    issuer="CN=Example CA",
    not_before=datetime(2026, 11, 24, 5, 30, tzinfo=UTC),
    not_after=datetime(2027, 2, 22, 5, 29, 59, tzinfo=UTC),
    ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
)

moments = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  (hypothesis adds the time zone)
    max_value=datetime(9000, 1, 1),  # noqa: DTZ001
    timezones=st.timezones() | st.just(UTC),
)


def test_the_lifetime_is_from_not_before_to_not_after() -> None:
    assert FACTS.lifetime == timedelta(days=90) - timedelta(seconds=1)


@given(
    st.builds(LeafFacts, st.lists(st.text()).map(tuple), st.text(), st.text(), moments, moments, st.text())
)
def test_facts_go_to_json_and_back_to_the_second(facts: LeafFacts) -> None:
    back = LeafFacts.from_json(json.loads(json.dumps(facts.to_json())))
    assert (back.names, back.sha256, back.issuer, back.ari_id) == (
        facts.names,
        facts.sha256,
        facts.issuer,
        facts.ari_id,
    )
    assert back.not_before == facts.not_before.astimezone(UTC).replace(microsecond=0)
    assert back.not_after == facts.not_after.astimezone(UTC).replace(microsecond=0)


def test_what_to_json_gives_is_plain_and_dated_in_utc() -> None:
    assert FACTS.to_json() == {
        "names": ["*.devbox.sweetlove.test", "devbox.sweetlove.test"],
        "sha256": "ab" * 32,
        "issuer": "CN=Example CA",
        "not_before": "2026-11-24T05:30:00Z",
        "not_after": "2027-02-22T05:29:59Z",
        "ari_id": "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
    }


@pytest.mark.parametrize("key", FACTS.to_json().keys())
def test_facts_that_lack_a_key_are_none(key: str) -> None:
    data = FACTS.to_json()
    del data[key]
    with pytest.raises(KeyError):
        LeafFacts.from_json(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [("names", None), ("names", 5), ("not_before", "yesterday"), ("not_after", 5), ("not_after", None)],
)
def test_facts_of_another_shape_are_none(key: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        LeafFacts.from_json(FACTS.to_json() | {key: value})


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
