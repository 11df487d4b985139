"""When a record is written, and when the API lists it."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.decisions import (
    AHEAD,
    DOMAIN,
    LAN,
    MINUTE,
    NOW,
    OTHER_LAN,
    WELL,
    WRITTEN,
    config_of,
    decided,
    shown,
    state,
    steps_of,
)

from certbotless.model.certificate import Published
from certbotless.model.memory import WrittenRecord
from certbotless.model.observation import Observation

SPREADING = replace(WRITTEN, is_seen=False)
RECORDS = {
    "no record": (shown(set(), set()), None, ("record", f"nothing -> {LAN}")),
    "an old address": (shown({OTHER_LAN}, {OTHER_LAN}), None, ("record", f"{OTHER_LAN} -> {LAN}")),
    "another one beside it": (
        shown({LAN, OTHER_LAN}, {LAN}),
        None,
        ("record", f"{LAN}, {OTHER_LAN} -> {LAN}"),
    ),
    "one server behind": (shown({LAN}, {OTHER_LAN}), None, ("record", f"{LAN}, {OTHER_LAN} -> {LAN}")),
    "one server silent": (shown({LAN}, None), None, None),
    "one silent, one wrong": (shown(None, {OTHER_LAN}), None, ("record", f"{OTHER_LAN} -> {LAN}")),
    "all silent": (shown(None, None), None, None),
    "no zone yet": (replace(WELL, answers=None), None, ("record", "the zone is not known yet")),
    "no servers": (replace(WELL, answers={}), None, None),
    "no address wanted": (replace(WELL, addresses={}, answers={}), None, None),
    "no address to be had": (replace(shown({OTHER_LAN}), addresses={}), WRITTEN, None),
    "just written": (
        shown({OTHER_LAN}, {LAN}),
        SPREADING,
        ("confirm", f"{LAN} is not shown by every name server yet"),
    ),
    "written while the clock was ahead": (
        shown({OTHER_LAN}),
        replace(SPREADING, at=NOW + AHEAD),
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "written, not seen in time": (
        shown(set(), {LAN}),
        replace(SPREADING, at=NOW - 10 * MINUTE),
        ("record", f"{LAN} -> {LAN}"),
    ),
    "drifted after it was seen": (
        shown({OTHER_LAN}, {OTHER_LAN}),
        WRITTEN,
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "another address wanted while the last one spreads": (
        shown({OTHER_LAN}, {OTHER_LAN}),
        replace(SPREADING, value=OTHER_LAN),
        ("record", f"{OTHER_LAN} -> {LAN}"),
    ),
    "right, and written by us": (WELL, WRITTEN, None),
    "right, though we wrote another": (WELL, replace(WRITTEN, value=OTHER_LAN), None),
    "right, with another TTL since": (
        WELL,
        replace(WRITTEN, ttl_s=1200),
        ("record", "ttl 1200 -> 600"),
    ),
    "right, with a smaller TTL since": (
        WELL,
        replace(WRITTEN, ttl_s=3600),
        ("record", "ttl 3600 -> 600"),
    ),
    "another TTL wanted while the last one spreads": (
        shown(set()),
        replace(SPREADING, ttl_s=1200),
        ("record", f"nothing -> {LAN}"),
    ),
}


@pytest.mark.parametrize(("seen", "record", "step"), RECORDS.values(), ids=RECORDS.keys())
def test_the_record_is_written_when_it_is_wrong_and_nobody_knows_better(
    seen: Observation, record: WrittenRecord | None, step: tuple[str, str] | None
) -> None:
    assert steps_of(seen, state(records={"A": {DOMAIN: record}} if record else {})) == (
        [step] if step else []
    )


LAN6, OTHER_LAN6 = "fd12:3456:789a::20", "fd12:3456:789a::7"
CONFIG6 = config_of(address6=f"'{LAN6}'")


def as_ipv6(text: str) -> str:
    return text.replace(LAN, LAN6).replace(OTHER_LAN, OTHER_LAN6)


@pytest.mark.parametrize(("seen", "record", "step"), RECORDS.values(), ids=RECORDS.keys())
def test_the_aaaa_record_is_decided_upon_as_the_a_record_and_apart_from_it(
    seen: Observation, record: WrittenRecord | None, step: tuple[str, str] | None
) -> None:
    answers6 = seen.answers and {
        (fqdn, "AAAA"): tuple(None if a is None else frozenset(map(as_ipv6, a)) for a in each)
        for (fqdn, _), each in seen.answers.items()
    }
    answers = None if answers6 is None else {**(WELL.answers or {}), **answers6}
    of_both = replace(WELL, addresses={"A": LAN, "AAAA": as_ipv6(seen.address)}, answers=answers)
    known = {DOMAIN: replace(record, value=as_ipv6(record.value))} if record else {}
    expected = [("record", "the zone is not known yet")] if answers is None else []
    expected += [(f"{step[0]}6", as_ipv6(step[1]))] if step else []
    assert steps_of(of_both, state(records={"AAAA": known}), config=CONFIG6) == expected


def test_a_site_that_asks_for_no_aaaa_record_gets_none() -> None:
    """Whatever stands there, and whatever was written when it was asked for."""
    there = replace(WELL, answers={**(WELL.answers or {}), (DOMAIN, "AAAA"): (frozenset({OTHER_LAN6}),)})
    assert steps_of(there, state(records={"AAAA": {DOMAIN: replace(WRITTEN, value=LAN6)}})) == []


def test_a_record_that_spreads_is_looked_for_last() -> None:
    seen = replace(shown(set()), published=Published(None, None), has_copy=False, served={})
    keys = [key for key, _ in steps_of(seen, state(records={"A": {DOMAIN: SPREADING}}))]
    assert keys == ["order", "confirm"]


@pytest.mark.parametrize(
    ("age", "steps", "upkeep"),
    [
        (timedelta(minutes=9, seconds=59), [], []),
        (timedelta(minutes=10), [], ["list"]),
        (timedelta(minutes=29, seconds=59), [], ["list"]),
        (timedelta(minutes=30), ["list"], []),
    ],
)
def test_what_the_api_listed_is_good_for_half_an_hour_and_listed_again_each_ten_minutes(
    age: timedelta, steps: list[str], upkeep: list[str]
) -> None:
    decision = decided(replace(WELL, listed_at={DOMAIN: NOW - age}))
    assert [step.key for step in decision.steps] == steps
    assert [step.key for step in decision.optional] == upkeep
