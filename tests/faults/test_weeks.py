"""No week, however bad, asks a CA for more than it gives: simulated, and with a daemon that is killed."""

from datetime import timedelta
from random import Random

import pytest
from support.weeks import Figures, World

SEED = 20261124
WEEKS_OF_A_WORLD = 10


def lived(worlds: int) -> Figures:
    """Live in so many worlds, and return the figures; a limit that is exceeded is an `AssertionError`."""
    figures = Figures()
    for number in range(worlds):
        random = Random(SEED + number)  # noqa: S311
        # In one of thirty somebody writes many sites into the file at once.
        world = World(random, figures, sites=60 if number % 30 == 29 else random.choice([1, 2, 3, 5]))
        world.live(WEEKS_OF_A_WORLD)
        world.sum_up()
        world.recover()
    print(f"\n{figures}")
    return figures


def assert_limits_were_come_to(figures: Figures) -> None:
    """Else nothing was shown."""
    assert figures.most_per_set >= 3
    assert figures.most_failures == 3
    assert figures.most_accounts == 3
    assert figures.refused > figures.weeks
    assert figures.killed > figures.weeks


@pytest.mark.row(9, 55)
def test_three_hundred_weeks_keep_every_limit() -> None:
    assert_limits_were_come_to(lived(30))


@pytest.mark.soak
@pytest.mark.row(9, 55)
def test_ten_thousand_weeks_keep_every_limit() -> None:
    figures = lived(1000)
    assert_limits_were_come_to(figures)
    assert figures.most_plain_per_set >= 4
    assert figures.most_new_sets >= 40


@pytest.mark.row(79)
@pytest.mark.parametrize("seed", range(20))
def test_a_zone_that_is_mended_after_three_failures_has_its_certificate_within_two_hours(seed: int) -> None:
    """By the schedule alone: the daemon looks when a step is due, and every minute."""
    world = World(Random(seed), Figures(), sites=1)  # noqa: S311
    took = world.mended_after(failures=3)
    print(f"\nthe certificate came {took} after the mend")
    assert took <= timedelta(hours=2)
