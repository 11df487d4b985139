"""When a target may be acted upon: in its window, in the machine's local time."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.decisions import (
    DAY,
    FACTS,
    HOUR,
    LEAF,
    MINUTE,
    NOW,
    OLD_LEAF,
    ORIGIN,
    REFUSED,
    WELL,
    decided,
    failure,
    of_targets,
    state,
    state_of,
)

from certbotless.model.certificate import Published
from certbotless.model.decision import Decision, Step

# As rules, because a machine need not have the time zones' names.
SHANGHAI = "CST-8"
NEW_YORK = "EST5EDT,M3.2.0,M11.1.0"


@pytest.fixture
def machine_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Set the machine's time zone for the test."""

    def be_in(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield be_in
    monkeypatch.undo()
    time.tzset()


def windowed(
    window: str, at: datetime, deploy_by: datetime | None = NOW + 4000 * DAY, leaf: str = OLD_LEAF
) -> tuple[Decision, Step]:
    """Decide at a moment about a container with this window, which serves `leaf`."""
    facts = replace(FACTS, not_before=at - DAY, not_after=at + 89 * DAY)
    seen = replace(WELL, at=at, published=Published(facts, ORIGIN), served={"registry": leaf})
    config = of_targets(f"{{container: registry, port: 5000, when: '{window}'}}")
    decision = decided(seen, state(deploy_by=deploy_by), config=config)
    [step] = decision.steps
    return decision, step


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


OPENINGS = {
    "before it": ("UTC", "02:00-05:00", "2026-11-24T01:59:59", "2026-11-24T02:00"),
    "at its start": ("UTC", "02:00-05:00", "2026-11-24T02:00", None),
    "at its last instant": ("UTC", "02:00-05:00", "2026-11-24T04:59:59.999999", None),
    "at its end": ("UTC", "02:00-05:00", "2026-11-24T05:00", "2026-11-25T02:00"),
    "over midnight, before": ("UTC", "23:00-01:00", "2026-11-24T22:00", "2026-11-24T23:00"),
    "over midnight, the evening": ("UTC", "23:00-01:00", "2026-11-24T23:30", None),
    "over midnight, the morning": ("UTC", "23:00-01:00", "2026-11-25T00:30", None),
    "over midnight, after": ("UTC", "23:00-01:00", "2026-11-25T01:00", "2026-11-25T23:00"),
    "until midnight": ("UTC", "22:00-00:00", "2026-11-24T23:59", None),
    "in Shanghai, before": (SHANGHAI, "02:00-05:00", "2026-11-24T05:30", "2026-11-24T18:00"),
    "in Shanghai, within": (SHANGHAI, "02:00-05:00", "2026-11-24T18:00", None),
    "in Shanghai, over its midnight": (SHANGHAI, "23:00-01:00", "2026-11-24T16:30", None),
    # Summer time begins on 14 March 2027 at 02:00 (07:00 UTC) and ends on 7 November at 02:00 (06:00 UTC).
    "the day before summer time": (NEW_YORK, "02:00-05:00", "2027-03-13T06:00", "2027-03-13T07:00"),
    "its start is skipped": (NEW_YORK, "02:30-05:00", "2027-03-14T06:59", "2027-03-14T07:30"),
    "its end is an hour earlier": (NEW_YORK, "01:00-05:00", "2027-03-14T09:00", "2027-03-15T05:00"),
    "all of it is skipped": (NEW_YORK, "02:00-03:00", "2027-03-14T06:59", "2027-03-15T06:00"),
    "all of it is skipped, after": (NEW_YORK, "02:00-03:00", "2027-03-14T07:00", "2027-03-15T06:00"),
    "skipped tomorrow": (NEW_YORK, "02:00-03:00", "2027-03-13T08:00", "2027-03-15T06:00"),
    "its hour comes twice, the first": (NEW_YORK, "01:00-02:00", "2027-11-07T05:30", None),
    "its hour comes twice, the second": (NEW_YORK, "01:00-02:00", "2027-11-07T06:30", None),
    "its hour comes twice, after": (NEW_YORK, "01:00-02:00", "2027-11-07T07:00", "2027-11-08T06:00"),
    "the clock goes back within it": (NEW_YORK, "01:30-02:30", "2027-11-07T06:10", None),
}


@pytest.mark.parametrize(("zone", "window", "at", "opens"), OPENINGS.values(), ids=OPENINGS.keys())
def test_a_deploy_waits_for_its_window_in_the_machines_local_time(
    machine_in: Callable[[str], None], zone: str, window: str, at: str, opens: str | None
) -> None:
    machine_in(zone)
    decision, step = windowed(window, utc(at))
    assert step.wait_until == (utc(opens) if opens else None)
    assert step.waits_for_window == (opens is not None)
    assert bool(decision.due(utc(at))) == (opens is None)


def test_who_waits_for_a_window_is_told_its_time(machine_in: Callable[[str], None]) -> None:
    machine_in(SHANGHAI)
    decision, step = windowed("02:00-05:00", NOW)
    assert step.wait_text == "deploy:registry not before 2026-11-24T18:00:00Z: its window 02:00-05:00"
    assert state_of(decision, {})[0] == "pending"


@pytest.mark.parametrize(
    ("deploy_by", "leaf", "wait_until"),
    [
        (None, OLD_LEAF, None),
        (NOW - MINUTE, OLD_LEAF, None),
        (NOW, OLD_LEAF, None),
        (NOW + MINUTE, OLD_LEAF, NOW + MINUTE),
        (NOW + DAY, "", None),
    ],
    ids=["nothing was replaced", "deadline passed", "deadline now", "deadline before it opens", "no answer"],
)
def test_a_window_is_not_waited_for_beyond_the_deadline_nor_by_a_service_that_is_down(
    machine_in: Callable[[str], None], deploy_by: datetime | None, leaf: str, wait_until: datetime | None
) -> None:
    machine_in("UTC")
    _, step = windowed("20:00-21:00", NOW, deploy_by, leaf)
    assert step.wait_until == wait_until


def test_a_failure_that_outlasts_the_window_is_no_choice(machine_in: Callable[[str], None]) -> None:
    machine_in("UTC")
    config = of_targets("{container: registry, port: 5000, when: '06:00-07:00'}")
    seen = replace(WELL, served={"registry": OLD_LEAF})
    for retry_at, waits_for_window in ((NOW + MINUTE, True), (NOW + HOUR, False)):
        remembered = state(deploy_by=NOW + DAY, failures={"deploy:registry": failure(retry_at)})
        [step] = decided(seen, remembered, config=config).steps
        assert step.waits_for_window == waits_for_window
        assert step.wait_until == max(retry_at, NOW + MINUTE * 30)


@pytest.mark.parametrize(
    ("retry_at", "waits_for_window"), [(NOW + HOUR, True), (NOW.replace(hour=22, minute=0), False)]
)
def test_a_target_whose_window_opens_after_the_canarys_retry_waits_for_its_window(
    machine_in: Callable[[str], None], retry_at: datetime, waits_for_window: bool
) -> None:
    """One that opens with the retry is no choice."""
    machine_in("UTC")
    config = of_targets(
        "{container: registry, port: 5000}", "{container: mirror, port: 5001, when: '22:00-23:00'}"
    )
    remembered = state(failures={"deploy:registry": failure(retry_at)}, deploy_by=NOW + 30 * DAY)
    seen = replace(WELL, served={"registry": OLD_LEAF, "mirror": OLD_LEAF})
    first, mirror = decided(seen, remembered, config=config).steps
    assert (first.key, first.wait_until) == ("deploy:registry", retry_at)
    opens = NOW.replace(hour=22, minute=0)
    assert (mirror.key, mirror.wait_until, mirror.waits_for_window) == (
        "deploy:mirror",
        opens,
        waits_for_window,
    )


def test_a_redeploy_waits_for_the_window_of_its_target(machine_in: Callable[[str], None]) -> None:
    machine_in("UTC")
    config = of_targets("{container: registry, port: 5000, when: '22:00-23:00'}")
    seen = replace(WELL, served={"registry": LEAF}, refused=REFUSED)
    [step] = decided(seen, state(deploy_by=NOW + 30 * DAY), config=config).steps
    assert (step.key, step.wait_until) == ("redeploy", NOW.replace(hour=22, minute=0))
    assert step.waits_for_window


@given(
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.integers(1, 24 * 60 - 1),
    st.datetimes(datetime(2026, 1, 1), datetime(2028, 12, 31)),  # noqa: DTZ001  (made aware below)
    st.sampled_from(["UTC", SHANGHAI, NEW_YORK]),
)
def test_a_window_opens_within_two_days_and_what_waits_for_it_finds_it_open(
    start: time_of_day, minutes: int, at: datetime, zone: str
) -> None:
    end = (datetime.combine(NOW, start) + timedelta(minutes=minutes)).time()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        now = at.replace(tzinfo=UTC)
        window = f"{start:%H:%M}-{end:%H:%M}"
        _, step = windowed(window, now)
        if step.wait_until is not None:
            assert now < step.wait_until < now + 2 * DAY + 2 * HOUR
            assert windowed(window, step.wait_until)[1].wait_until is None
            assert windowed(window, step.wait_until - timedelta(microseconds=1))[1].wait_until is not None
    time.tzset()
