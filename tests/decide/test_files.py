"""What is done for the files of a certificate: restored, copied, adopted, checked, noted."""

from dataclasses import replace

import pytest
from support.decisions import (
    DAY,
    DUE,
    FACTS,
    HOUR,
    NOTHING,
    NOW,
    OLD_LEAF,
    ORIGIN,
    OVERDUE,
    WELL,
    decided,
    failure,
    published,
    state,
    state_of,
    steps_of,
)

from certbotless.model.certificate import Published
from certbotless.model.memory import Foreign, SiteState
from certbotless.model.observation import Observation

RESTORES = {
    "a name deleted": (published(fault="'/certs/x.pem' is missing"), "'/certs/x.pem' is missing"),
    "the generation edited": (
        replace(WELL, published=Published(None, None, "privkey.pem was edited by hand")),
        "privkey.pem was edited by hand",
    ),
    "all deleted": (replace(WELL, published=Published(None, None)), "no certificate is published"),
}


@pytest.mark.parametrize(("seen", "reason"), RESTORES.values(), ids=RESTORES.keys())
def test_what_can_be_restored_is_restored_without_an_order(seen: Observation, reason: str) -> None:
    assert [step for step in steps_of(seen) if not step[0].startswith("deploy")] == [("restore", reason)]


def test_a_damaged_pair_that_is_due_is_restored_and_ordered_anew() -> None:
    seen = replace(published(fault="gone"), at=DUE)
    assert [key for key, _ in steps_of(seen)] == ["restore", "order"]


def test_an_expired_certificate_is_put_back_where_no_other_is_and_a_new_one_is_ordered() -> None:
    lost = replace(WELL, published=Published(None, None), has_copy=True, copy_ends=NOW)
    assert [key for key, _ in steps_of(lost)] == ["restore", "order"]
    # Where there is nothing else it does not matter.
    assert [key for key, _ in steps_of(replace(lost, copy_ends=None))] == ["restore"]


@pytest.mark.parametrize(
    ("seen", "remembered"), [(replace(WELL, has_copy=False), NOTHING), (WELL, state(is_lost=True))]
)
def test_a_lost_copy_or_state_is_made_good_and_the_site_is_well_all_the_same(
    seen: Observation, remembered: SiteState
) -> None:
    decision = decided(seen, remembered)
    assert [step.key for step in decision.due(NOW)] == ["rebuild"]
    assert state_of(decision, {}) == ("ok", "")


@pytest.mark.parametrize(
    "published", [Published(None, None), replace(WELL.published, fault="'/certs/devbox.key' is missing")]
)
def test_there_is_nothing_to_copy_but_an_intact_pair(published: Published) -> None:
    assert decided(replace(WELL, published=published, has_copy=False)).optional == ()


# --- the files of another tool ----------------------------------------------------------------------------


def test_the_pair_of_another_tool_is_not_looked_into_where_a_copy_of_ours_can_be_restored() -> None:
    seen = replace(WELL, published=Published(None, None, plain="1:2:3"), has_copy=True)
    assert [key for key, _ in steps_of(replace(seen, copy_ends=NOW + DAY))] == ["restore"]
    # Whether it can be is to be found out first.
    assert [key for key, _ in steps_of(seen)] == ["rebuild"]


def test_a_foreign_pair_that_is_none_for_us_is_looked_into_again_with_the_next_order() -> None:
    seen = replace(WELL, published=Published(None, None, plain="1:2:3"), has_copy=False)
    foreign = Foreign(files="1:2:3", why="it is for another name")
    waiting = state(foreign=foreign, failures={"order": failure()})
    assert {step.key: step.wait_until for step in decided(seen, waiting).steps} == {
        "adopt": NOW + HOUR,
        "order": NOW + HOUR,
    }


# --- which files are ours ---------------------------------------------------------------------------------

NOTED = Published(FACTS, ORIGIN, generation="one", digest="12" * 32)


@pytest.mark.parametrize(
    ("noted", "is_asked"), [({"one": "12" * 32}, False), ({"an older one": "12" * 32}, True)]
)
def test_which_pairs_are_ours_is_noted_where_it_is_not_yet(noted: dict[str, str], is_asked: bool) -> None:
    decision = decided(replace(WELL, published=NOTED), state(generations=noted))
    assert [step.key for step in decision.optional] == ["note"] * is_asked
    assert decision.steps == ()


@pytest.mark.parametrize(
    "seen",
    [
        WELL,
        replace(WELL, served={"registry": OLD_LEAF, "mirror": ""}),
        replace(WELL, has_copy=False),
        replace(WELL, published=replace(WELL.published, facts=OVERDUE)),
        replace(WELL, published=replace(WELL.published, fault="it links to another place", plain="1:2:3")),
    ],
    ids=["well", "another one is served", "no copy", "overdue", "of another tool"],
)
def test_where_nothing_is_known_of_a_certificate_it_is_checked_before_anything_is_done_for_it(
    seen: Observation,
) -> None:
    """Who may write to certs_dir could have written what is told of it; the record needs none of that."""
    seen = replace(seen, published=replace(seen.published, generation="one", digest="12" * 32))
    decision = decided(seen)
    assert [step.key for step in decision.due(NOW)] == ["verify"]
    assert decision.next_renewal is None
    assert state_of(decision, {})[0] == "pending"
    wrong = replace(seen, answers={key: (frozenset({"10.9.9.9"}),) for key in seen.answers or {}})
    assert [step.key for step in decided(wrong).due(NOW)] == ["verify", "record"]
