"""A CA and a DNS API that are hostile: whatever they say, a run ends in time with one clear line."""

import logging
import re
from pathlib import Path

import pytest
from support.fakes import FakeClock
from support.fault_proxy import FaultProxy
from support.ground import Ground
from support.hostile import Case, api_cases, ca_cases

# What `issue` promises of the CA's own time, what the API has for each call, and some waiting in between.
MOST_S = 45 * 60
# An authorization that is polled for ten minutes is asked for 210 times.
MOST_REQUESTS = 300


CLOCKS: list[FakeClock] = []
CA_CASES = list(ca_cases(lambda: CLOCKS[-1].advance(1)))
API_CASES = list(api_cases(lambda: CLOCKS[-1].advance(1)))


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.row(53, 54, 72, 73, 74, 75, 76)
@pytest.mark.parametrize("case", CA_CASES, ids=by_name)
def test_a_hostile_ca_is_told_in_one_line_and_harms_nothing(
    ground: Ground, case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harms_nothing(ground, ground.ca_proxy, case, tmp_path, caplog)


@pytest.mark.row(31, 72, 73, 74)
@pytest.mark.parametrize("case", API_CASES, ids=by_name)
def test_a_hostile_api_is_told_in_one_line_and_harms_nothing(
    ground: Ground, case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harms_nothing(ground, ground.api_proxy, case, tmp_path, caplog)


def test_there_are_enough_cases_and_none_twice() -> None:
    for cases in (CA_CASES, API_CASES):
        assert len({case.name for case in cases}) == len(cases)
    assert len(CA_CASES) + len(API_CASES) >= 60


def harms_nothing(
    ground: Ground, proxy: FaultProxy, case: Case, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Run while `proxy` is hostile, and once more when it is honest again."""
    caplog.set_level(logging.INFO)
    CLOCKS.append(ground.restart_clock())
    before = ground.ca.orders_made()
    proxy.at(case.method, case.path, case.fault, nth=case.nth, times=10_000)
    try:
        hostile = ground.run(home)
        assert ground.clock.monotonic() < MOST_S
        assert len(proxy.asked) < MOST_REQUESTS
        if case.says:
            assert hostile.failure is not None, "nothing failed"
            told = f"{hostile.failure.what}; {hostile.failure.hint}"
            assert re.search(case.says, told), told
            assert told.isprintable()
            assert len(told) < 1000
    finally:
        ground.forget()

    again = ground.run(home, asks_again=True)
    assert again.state == "ok", again
    assert ground.ca.orders_made() - before == case.orders
    for record in caplog.records:
        if record.name.startswith("certbotless"):
            assert record.getMessage().isprintable()
    ground.assert_zone_is_as_left()
    assert sorted(path.name for path in home.iterdir()) == ["certs", "state"]
