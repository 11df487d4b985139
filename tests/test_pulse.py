"""The pulse of the looks: it is felt as long as each site, and each look, comes in its time."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from certbotless.pulse import Pulse

PATIENCE_S = 60.0


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Let time pass."""
    now_s = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])

    def wait(seconds: float) -> None:
        now_s[0] += seconds

    return wait


def is_felt(pulse: Pulse) -> bool:
    """Whether it is felt now."""
    return pulse.is_felt


def test_a_look_that_hangs_has_a_pulse_for_its_patience_alone(wait: Callable[[float], None]) -> None:
    found = Pulse(PATIENCE_S)
    wait(59)
    assert is_felt(found)
    wait(1)
    assert not is_felt(found)


def test_a_look_at_a_thousand_sites_keeps_it_by_each_one_that_is_done(wait: Callable[[float], None]) -> None:
    found = Pulse(PATIENCE_S)
    for _ in range(1000):
        wait(6)
        assert is_felt(found)
        found.beat()


def test_between_two_looks_it_rests_until_the_next_one_is_overdue(wait: Callable[[float], None]) -> None:
    """Also where the next one should have begun already."""
    found = Pulse(PATIENCE_S)
    found.rest(6 * 3600)
    wait(6 * 3600 + 59)
    assert is_felt(found)
    wait(1)
    assert not is_felt(found)
    found.rest(-10)
    wait(59)
    assert is_felt(found)


def test_who_asks_for_a_look_during_a_rest_waits_no_longer_than_for_any(
    wait: Callable[[float], None],
) -> None:
    found = Pulse(PATIENCE_S)
    found.rest(6 * 3600)
    found.ask()
    wait(59)
    assert is_felt(found)
    wait(1)
    assert not is_felt(found)


def test_a_look_that_hangs_gets_no_more_time_by_being_asked_for_again(wait: Callable[[float], None]) -> None:
    """As by a link that flaps."""
    found = Pulse(PATIENCE_S)
    for _ in range(2):
        wait(30)
        found.ask()
    assert not is_felt(found)
