"""A year with certificates of 160 hours: no second of an expired one, and few orders beyond the least."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from support.year import LIFETIME, YEAR, Year

from certbotless.model.renewal import RenewalWindow

SEED = 20261125


def lived(
    seed: int,
    *,
    faults: float,
    has_windows: bool,
    window: RenewalWindow | None = None,
    time: timedelta = YEAR,
) -> Year:
    """Let one year pass, or another time, and return what came of it."""
    year = Year(Random(seed), faults=faults, has_windows=has_windows, window=window)  # noqa: S311
    year.pass_by(time)
    return year


@pytest.mark.row(48, 56)
@pytest.mark.parametrize("years", [1, pytest.param(20, marks=pytest.mark.soak)])
@pytest.mark.parametrize(
    "has_windows", [True, pytest.param(False, marks=pytest.mark.soak)], ids=["with windows", "without"]
)
def test_no_expired_certificate_is_served_in_a_year_of_faults(years: int, has_windows: bool) -> None:
    """Of anything that may fail, 5 % fails; on 5 % of the days nobody reaches the CA."""
    least = lived(SEED, faults=0, has_windows=has_windows)
    for seed in range(SEED, SEED + years):
        year = lived(seed, faults=0.05, has_windows=has_windows)
        print(
            f"\n365 days at {LIFETIME / timedelta(hours=1):.0f} h: {year.expired.total_seconds():.0f} s of "
            f"an expired certificate, {year.orders} orders (without a fault {least.orders}), {year.restarts} "
            f"restarts ({least.restarts}), never less than {year.nearest} of life left"
        )
        assert year.expired == timedelta()
        assert least.orders <= year.orders <= least.orders * 1.5


@pytest.mark.row(51)
def test_a_ca_that_suggests_a_window_of_1970_for_every_certificate_is_no_loop() -> None:
    """It would be as true of the next certificate, and each would be renewed as soon as it is asked about."""
    long_ago, two_months = datetime(1970, 1, 1, tzinfo=UTC), timedelta(days=60)
    window = RenewalWindow(long_ago, long_ago + timedelta(days=1))
    year = lived(SEED, faults=0, has_windows=True, window=window, time=two_months)
    without = lived(SEED, faults=0, has_windows=False, time=two_months)
    print(f"\n{year.orders} orders, {year.restarts} restarts in two months, without windows {without.orders}")
    assert (year.orders, year.restarts) == (without.orders, without.restarts)
    assert without.orders > 10
