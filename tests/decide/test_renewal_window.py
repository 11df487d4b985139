"""When the CA wants a certificate renewed, and when it is asked for that."""

from dataclasses import replace
from datetime import datetime

import pytest
from support.decisions import (
    DAY,
    FACTS,
    HOUR,
    LEAF,
    MINUTE,
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
)

from certbotless.model.certificate import Published
from certbotless.model.memory import RenewalInfo, SiteState
from certbotless.model.observation import Observation
from certbotless.model.renewal import renewal_moment

KNOWN = replace(FACTS, ari_id="aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE")
WITH_ARI = replace(WELL, published=Published(KNOWN, ORIGIN))


def told(moment: datetime | None, sha256: str = LEAF, next_look: datetime = NOW + HOUR) -> SiteState:
    return state(renewal=RenewalInfo(sha256=sha256, next_look=next_look, moment=moment))


def test_the_drawn_moment_counts_in_place_of_the_share_of_the_lifetime() -> None:
    assert decided(WITH_ARI, told(NOW + DAY)).next_renewal == NOW + DAY
    due = decided(WITH_ARI, told(NOW - MINUTE))
    [order] = due.steps
    assert (order.key, order.reason.partition(",")[0]) == ("order", "due since 2026-11-24T05:29:00Z")
    assert due.optional == ()


def test_a_moment_drawn_for_another_leaf_counts_for_nothing() -> None:
    assert decided(WITH_ARI, told(NOW - MINUTE, OLD_LEAF)).next_renewal == renewal_moment(KNOWN)


EXPIRED = replace(KNOWN, not_after=NOW)
ELSEWHERE = replace(ORIGIN, directory="https://other.test/directory")
ASKED = {
    "never asked": (WITH_ARI, NOTHING, True),
    "asked for another leaf": (WITH_ARI, told(None, OLD_LEAF), True),
    "due": (WITH_ARI, told(NOW + DAY, next_look=NOW), True),
    "overdue": (WITH_ARI, told(None, next_look=NOW - DAY), True),
    "asked a while ago": (WITH_ARI, told(None), False),
    "no identifier": (WELL, NOTHING, False),
    "no certificate": (replace(WELL, published=Published(None, None), has_copy=False), NOTHING, False),
    "expired": (replace(WELL, published=Published(EXPIRED, ORIGIN)), NOTHING, False),
    "of another CA": (replace(WELL, published=Published(KNOWN, ELSEWHERE)), NOTHING, False),
}


@pytest.mark.parametrize(("seen", "remembered", "is_asked"), ASKED.values(), ids=ASKED.keys())
def test_the_ca_is_asked_where_it_is_needed_and_the_site_is_well_all_the_same(
    seen: Observation, remembered: SiteState, is_asked: bool
) -> None:
    decision = decided(seen, remembered)
    assert [step.key for step in decision.optional] == ["renewal-info"] * is_asked
    if is_asked:
        assert [step.key for step in decision.due(NOW)] == ["renewal-info"]
        assert decision.steps == ()
        assert state_of(decision, {"renewal-info": failure()}) == ("ok", "")


def test_the_ca_is_not_asked_for_its_window_while_an_order_is_due() -> None:
    decision = decided(published(OVERDUE))
    assert [step.key for step in decision.steps] == ["order"]
    assert decision.optional == ()


@pytest.mark.parametrize("days", [2, 3000])
def test_a_look_at_the_cas_window_that_is_too_far_off_comes_now(days: int) -> None:
    facts = replace(FACTS, ari_id="aYhba4dG.AIdlQyE")
    ahead = replace(ORIGIN, issued_at=NOW + days * DAY)
    told = RenewalInfo(sha256=LEAF, next_look=NOW + days * DAY)
    for origin, remembered in ((ahead, NOTHING), (ORIGIN, state(renewal=told))):
        seen = replace(WELL, published=Published(facts, origin))
        assert [step.key for step in decided(seen, remembered).optional] == ["renewal-info"]
