"""Nothing that the explorer tries breaks what must always hold; its package says how to replay an episode."""

import pytest

from .episode import explore, told_in_words

SEEDS = range(12)
SOAKED = range(1000, 2000)


@pytest.mark.parametrize("seed", SEEDS)
def test_an_episode_breaks_nothing(seed: int) -> None:
    told = explore(seed)
    assert not told.violation, told_in_words(told)


def test_an_episode_goes_the_same_way_each_time() -> None:
    assert explore(SEEDS[0]) == explore(SEEDS[0])


@pytest.mark.soak
def test_a_thousand_episodes_break_nothing() -> None:
    told = [explore(seed) for seed in SOAKED]
    longest = max(told, key=lambda each: each.rested_after)
    print(f"\nepisodes {len(told)}, the longest rest {longest.rested_after} (seed {longest.seed})")
    found = [told_in_words(each) for each in told if each.violation]
    assert not found, "\n".join(found)
