"""Nothing that the explorer tries breaks what must always hold; its package says how to replay an episode."""

from collections.abc import Sequence

import pytest

from .episode import KINDS, Kind, explore, told_in_words

SEEDS: dict[Kind, Sequence[int]] = {"public": range(6), "local": range(2)}
SOAKED: dict[Kind, Sequence[int]] = {"public": range(1000, 2000), "local": range(1000, 1300)}


@pytest.mark.parametrize(("kind", "seed"), [(kind, seed) for kind, seeds in SEEDS.items() for seed in seeds])
def test_an_episode_breaks_nothing(kind: Kind, seed: int) -> None:
    told = explore(seed, kind)
    assert not told.violation, told_in_words(told)


@pytest.mark.parametrize("kind", ["public", pytest.param("local", marks=pytest.mark.soak)])
def test_an_episode_goes_the_same_way_each_time(kind: Kind) -> None:
    assert explore(0, kind) == explore(0, kind)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
def test_many_episodes_break_nothing(kind: Kind) -> None:
    told = [explore(seed, kind) for seed in SOAKED[kind]]
    longest = max(told, key=lambda each: each.rested_after)
    print(f"\n{kind}: episodes {len(told)}, the longest rest {longest.rested_after} (seed {longest.seed})")
    found = [told_in_words(each) for each in told if each.violation]
    assert not found, "\n".join(found)
