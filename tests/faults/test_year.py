"""A year with certificates of 160 hours: no second of an expired one, and few orders beyond the least."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from support.weeks import DAY, HOUR, START
from support.year import LIFETIME, YEAR, Year
from support.year_of_two import YearOfTwo

from certbotless.model.renewal import RenewalWindow

SEED = 20261125
Outage = tuple[datetime, datetime]


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


# --- with a second CA in the list ---------------------------------------------------------------------------


def outages_of(random: Random, count: int, shortest: timedelta, longest: timedelta) -> list[Outage]:
    """Return so many times in a year at which nobody reaches the first CA."""
    starts = sorted(START + YEAR * random.random() for _ in range(count))
    return [(at, at + shortest + (longest - shortest) * random.random()) for at in starts]


def lived_with_two(seed: int, outages: list[Outage], lifetime: timedelta, faults: float = 0) -> YearOfTwo:
    year = YearOfTwo(Random(seed), outages=outages, lifetime=lifetime, faults=faults)  # noqa: S311
    year.pass_by(YEAR)
    return year


@pytest.mark.row(110)
@pytest.mark.parametrize(
    ("lifetime", "shortest", "longest"),
    [
        (LIFETIME, 2 * DAY, 2 * DAY),
        pytest.param(LIFETIME, HOUR, 20 * DAY, marks=pytest.mark.soak),
        pytest.param(45 * DAY, HOUR, 20 * DAY, marks=pytest.mark.soak),
        pytest.param(90 * DAY, HOUR, 20 * DAY, marks=pytest.mark.soak),
    ],
    ids=["160 h, two days", "160 h", "45 days", "90 days"],
)
@pytest.mark.parametrize("years", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_no_certificate_expires_while_the_first_of_two_cas_is_away(
    lifetime: timedelta, shortest: timedelta, longest: timedelta, years: int
) -> None:
    """Authorizations last for 7 hours, as at Let's Encrypt from 2028 on. Nothing else fails."""
    least = lived_with_two(SEED, [], lifetime)
    assert (least.changes, least.expired) == (0, timedelta())
    for seed in range(SEED, SEED + years):
        outages = outages_of(Random(seed), 10, shortest, longest)  # noqa: S311
        year = lived_with_two(seed, outages, lifetime)
        print(
            f"\n{lifetime.total_seconds() / 3600:.0f} h, {len(outages)} outages: expired {year.expired}, "
            f"{year.orders} orders (without one {least.orders}), {year.changes} changes of the CA, "
            f"never less than {year.nearest} left, the second one asked with {year.most_left:.3f} left"
        )
        assert year.expired == timedelta()
        assert year.orders <= least.orders + year.changes
        assert year.most_left <= 1 / 6


@pytest.mark.row(110)
@pytest.mark.soak
def test_nothing_expires_where_all_else_may_fail_as_well() -> None:
    for seed in range(SEED, SEED + 10):
        outages = outages_of(Random(seed), 10, HOUR, 3 * DAY)  # noqa: S311
        year = lived_with_two(seed, outages, LIFETIME, faults=0.05)
        print(f"\n{year.orders} orders, {year.changes} changes, never less than {year.nearest} left")
        assert year.expired == timedelta()
        assert year.most_left <= 1 / 6
