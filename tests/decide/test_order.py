"""When a certificate is ordered, and when one that is there already is enough."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from support.decisions import (
    AHEAD,
    CONFIG,
    DAY,
    DOMAIN,
    DUE,
    FACTS,
    NOW,
    OLD_LEAF,
    ORDER,
    ORIGIN,
    OVERDUE,
    REFUSED,
    WELL,
    WILDCARD,
    config_of,
    decided,
    published,
    state,
    steps_of,
)

from certbotless.decide.decide import without_abandoned
from certbotless.model.certificate import Origin, Published
from certbotless.model.decision import Intent
from certbotless.model.observation import Observation
from certbotless.model.situation import Goal

ORDERS = {
    "none at all": (
        replace(WELL, published=Published(None, None), has_copy=False),
        "there is no certificate yet",
    ),
    "a damaged one without a copy": (
        replace(WELL, published=Published(None, None, "privkey.pem was edited by hand"), has_copy=False),
        "there is no certificate yet",
    ),
    "of fewer names": (published(replace(FACTS, names=(DOMAIN,))), f"the certificate is for {DOMAIN}"),
    "of more names": (
        published(replace(FACTS, names=(WILDCARD, DOMAIN, "x.test"))),
        f"the certificate is for {WILDCARD}, {DOMAIN}, x.test",
    ),
    "of another CA": (
        published(origin=replace(ORIGIN, directory="https://other.test/directory")),
        "the certificate is from https://other.test/directory",
    ),
    "of another kind of key": (
        published(origin=replace(ORIGIN, key_type="rsa2048")),
        "the certificate's key is rsa2048",
    ),
    "of another account": (published(origin=replace(ORIGIN, account="https://ca.test/account/2")), None),
    "a moment before it is due": (replace(WELL, at=DUE - timedelta(microseconds=1)), None),
    "due": (
        replace(WELL, at=DUE),
        f"due since {DUE:%Y-%m-%dT%H:%M:%SZ}, expires {FACTS.not_after:%Y-%m-%dT%H:%M:%SZ}",
    ),
    "expired": (
        replace(WELL, at=FACTS.not_after + DAY),
        f"due since {DUE:%Y-%m-%dT%H:%M:%SZ}, expires {FACTS.not_after:%Y-%m-%dT%H:%M:%SZ}",
    ),
}


@pytest.mark.parametrize(("seen", "reason"), ORDERS.values(), ids=ORDERS.keys())
def test_a_certificate_is_ordered_for_a_reason(seen: Observation, reason: str | None) -> None:
    orders = [step for step in decided(seen).steps if step.action == "order"]
    assert [step.reason for step in orders] == ([reason] if reason else [])
    assert all(step.is_due(seen.at) for step in orders)


def test_the_order_of_names_in_the_file_is_no_reason() -> None:
    one, other = f"a.{DOMAIN}", f"b.{DOMAIN}"
    seen = published(replace(FACTS, names=(one, other, DOMAIN)))
    for names in (f"[{one}, {other}]", f"[{other}, {one}, {other}]"):
        assert steps_of(seen, config=config_of(names=names)) == []


def test_an_order_that_a_dead_run_left_is_collected_or_gone_on_with_when_one_is_due() -> None:
    left = state(order=ORDER)
    assert steps_of(state=left) == [("collect", "an earlier run left an order")]
    assert [key for key, _ in steps_of(replace(WELL, at=DUE), left)] == ["order"]


@pytest.mark.parametrize(
    ("since", "issued_at", "reasons"),
    [
        (NOW, NOW, []),
        (NOW + timedelta(microseconds=1), NOW, ["asked for"]),
        (NOW, NOW - DAY, ["asked for"]),
        (NOW, NOW + AHEAD, ["asked for"]),
    ],
)
def test_renew_now_orders_unless_the_certificate_was_issued_since_it_began(
    since: datetime, issued_at: datetime, reasons: list[str]
) -> None:
    """One from the future, by a clock that was ahead, was not."""
    seen = replace(published(origin=replace(ORIGIN, issued_at=issued_at)), at=max(since, NOW))
    assert [reason for _, reason in steps_of(seen, intent=Intent(renew_since=since))] == reasons


# --- a certificate that the service refused ---------------------------------------------------------------


def test_a_refused_certificate_is_tried_again_while_it_is_fresh_and_no_other_one_ordered() -> None:
    """The published one before it is due; the one in hand says whether one must be ordered."""
    fresh = replace(WELL, published=Published(OVERDUE, ORIGIN), refused=REFUSED)
    overdue = replace(WELL, refused=Published(OVERDUE, ORIGIN, generation=REFUSED.generation))
    assert [key for key, _ in steps_of(fresh)] == ["redeploy"]
    assert [key for key, _ in steps_of(overdue)] == ["order"]


@pytest.mark.parametrize(
    ("origin", "asked"),
    [
        (replace(ORIGIN, key_type="rsa2048"), []),
        (replace(ORIGIN, directory="https://other.test/dir"), []),
        (ORIGIN, ["redeploy"]),
    ],
)
def test_an_edit_that_is_taken_back_after_a_rollback_orders_nothing(origin: Origin, asked: list[str]) -> None:
    """What is published is what is asked for; a refused one that is asked for is tried again as ever."""
    refused = Published(replace(FACTS, sha256=OLD_LEAF), origin)
    seen = without_abandoned(Goal(CONFIG.sites[0], CONFIG), replace(WELL, refused=refused))
    assert [key for key, _ in steps_of(seen)] == asked
