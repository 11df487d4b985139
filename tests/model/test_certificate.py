"""The facts of a certificate as a value."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.strategies import moments

from certbotless.model.certificate import LeafFacts

FACTS = LeafFacts(
    names=("*.devbox.sweetlove.test", "devbox.sweetlove.test"),
    sha256="ab" * 32,
    issuer="CN=Example CA",
    not_before=datetime(2026, 11, 24, 5, 30, tzinfo=UTC),
    not_after=datetime(2027, 2, 22, 5, 29, 59, tzinfo=UTC),
    ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
)

label = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
names = st.builds(
    "{}{}.{}.test".format, st.sampled_from(["", "*."]), label.filter(lambda text: "--" not in text), label
)
lines = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=100)
some_facts = st.builds(
    lambda first, life, **fields: LeafFacts(not_before=first, not_after=first + life, **fields),
    moments.map(lambda moment: max(moment.astimezone(UTC), datetime(2000, 1, 3, tzinfo=UTC))).filter(
        lambda moment: moment < datetime(2180, 1, 1, tzinfo=UTC)
    ),
    st.timedeltas(timedelta(seconds=1), timedelta(days=4000)),
    names=st.lists(names, min_size=1, max_size=5).map(tuple),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    issuer=lines,
    ari_id=st.from_regex(r"[A-Za-z0-9_-]{1,30}\.[A-Za-z0-9_-]{1,30}|", fullmatch=True),
)


def test_the_lifetime_is_from_not_before_to_not_after() -> None:
    assert FACTS.lifetime == timedelta(days=90) - timedelta(seconds=1)


@given(some_facts)
def test_facts_go_to_plain_data_and_back(facts: LeafFacts) -> None:
    assert LeafFacts.validate(json.loads(json.dumps(facts.to_plain()))).checked() == facts


@pytest.mark.parametrize("key", sorted(FACTS.to_plain().keys() - {"ari_id"}))
def test_facts_that_lack_a_key_are_none(key: str) -> None:
    data = FACTS.to_plain()
    del data[key]
    with pytest.raises(ValueError, match=key):
        LeafFacts.validate(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", None),
        ("names", 5),
        ("names", []),
        ("names", ["a"] * 2000),
        ("names", ["b.test\x1b]0;pwned\x07"]),
        ("names", ["../../etc"]),
        ("names", ["B.test"]),
        ("sha256", "zz" * 32),
        ("sha256", "AB" * 32),
        ("sha256", "ab"),
        ("issuer", "CN=a\nb"),
        ("issuer", "x" * 5000),
        ("not_before", "yesterday"),
        ("not_before", "1999-12-31T00:00:00Z"),
        ("not_before", "2027-02-22T05:29:59Z"),
        ("not_after", 5),
        ("not_after", None),
        ("not_after", "2201-01-01T00:00:00Z"),
        ("not_after", "9999-12-31T23:59:59-14:00"),
        ("ari_id", "a"),
        ("ari_id", "a.b/../c"),
        ("ari_id", "a." + "b" * 5000),
    ],
)
def test_facts_of_another_shape_are_none(key: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        LeafFacts.validate(FACTS.to_plain() | {key: value}).checked()
