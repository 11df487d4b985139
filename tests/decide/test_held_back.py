"""What holds a step back: its own failure, the limits on orders, and a clock that is wrong."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from support.decisions import (
    AHEAD,
    CONFIG,
    DAY,
    DIRECTORY,
    DOMAIN,
    DRIFTED,
    DUE,
    FACTS,
    HOUR,
    LEAF,
    MINUTE,
    NOW,
    ORDER,
    ORIGIN,
    OTHER_LAN,
    WELL,
    WILDCARD,
    decided,
    failure,
    published,
    shown,
    state,
)

from certbotless.base.clock import RELEASED
from certbotless.model.certificate import Published
from certbotless.model.decision import NOTHING_ASKED, Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import Failure, RenewalInfo


@pytest.mark.parametrize(
    ("at", "wait_text"),
    [(NOW, "record not before 2026-11-24T06:30:00Z: it failed"), (NOW + HOUR, ""), (NOW + DAY, "")],
)
def test_a_step_that_failed_waits_for_its_retry_time_and_is_due_from_then_on(
    at: datetime, wait_text: str
) -> None:
    decision = decided(replace(DRIFTED, at=at), state(failures={"record": failure(NOW + HOUR)}))
    [step] = decision.steps
    assert (step.key, step.wait_text) == ("record", wait_text)
    assert step.wait_until == (NOW + HOUR if wait_text else None)
    assert decision.due(at) == (() if wait_text else (step,))


def test_a_failure_holds_back_its_own_step_alone() -> None:
    failed = state(failures={"deploy:registry": failure(), "order": failure()})
    seen = replace(DRIFTED, served={"registry": "", "mirror": ""})
    assert [step.key for step in decided(seen, failed).due(NOW)] == ["record", "deploy:mirror"]


def test_a_new_address_never_waits_for_a_certificate() -> None:
    seen = replace(DRIFTED, published=Published(None, None), has_copy=False)
    failed = state(failures={"order": failure(NOW + DAY)})
    assert [step.key for step in decided(seen, failed).due(NOW)] == ["record"]


# --- the limits on orders ---------------------------------------------------------------------------------

ORDERED = [Entry(NOW - age, "order", DIRECTORY, (WILDCARD, DOMAIN)) for age in (HOUR, DAY, 2 * DAY)]
DUE_NOW = replace(WELL, at=DUE)
ORDERED_BEFORE_DUE = [replace(entry, at=entry.at + (DUE - NOW)) for entry in ORDERED]


def test_a_fourth_order_waits_for_the_window_and_says_how_to_order_all_the_same() -> None:
    [step] = decided(DUE_NOW, ledger=ORDERED_BEFORE_DUE).steps
    assert step.wait_until == DUE + 5 * DAY
    assert "3 orders for these names in 7 days" in step.wait_reason
    assert "--renew-now --force" in step.wait_reason


def test_the_window_is_that_of_the_lifetime_in_hand() -> None:
    short = replace(FACTS, not_before=NOW - 4 * DAY, not_after=NOW + 2 * DAY)
    ledger = [
        replace(entry, at=NOW - age) for entry, age in zip(ORDERED, [HOUR, HOUR, 47 * HOUR], strict=True)
    ]
    [step] = decided(published(short), ledger=ledger).steps
    assert step.wait_until == NOW + HOUR


def test_an_adopted_certificate_is_renewed_before_it_expires_whatever_its_ca_gave_before() -> None:
    """Its lifetime says how often its CA is asked, and the last of its life has the reserve."""
    short = replace(FACTS, not_before=NOW - 13 * HOUR, not_after=NOW + 11 * HOUR)
    adopted = replace(ORIGIN, account="")
    every_half_day = [replace(ORDERED[0], at=NOW - age * HOUR) for age in range(14, 168, 12)]
    decision = decided(published(short, adopted), ledger=every_half_day)
    assert [step.key for step in decision.due(NOW)] == ["order"]

    long = replace(FACTS, not_before=NOW - 86 * DAY, not_after=NOW + 4 * DAY)
    [step] = decided(published(long, adopted), ledger=[*ORDERED, *ORDERED][:4]).due(NOW)
    assert step.key == "order"


def test_an_order_in_flight_was_counted_when_it_was_placed() -> None:
    decision = decided(DUE_NOW, state(order=ORDER), ORDERED_BEFORE_DUE)
    assert [step.key for step in decision.due(DUE)] == ["order"]


@pytest.mark.parametrize(("retry_at", "until"), [(DUE + DAY, DUE + 5 * DAY), (DUE + 6 * DAY, DUE + 6 * DAY)])
def test_of_two_reasons_to_wait_the_later_one_counts(retry_at: datetime, until: datetime) -> None:
    failed = Failure(at=DUE, what="it failed", hint="", retry_at=retry_at, count=1)
    [step] = decided(DUE_NOW, state(failures={"order": failed}), ORDERED_BEFORE_DUE).steps
    assert step.wait_until == until


def test_a_lifetime_of_another_ca_or_of_other_names_shortens_no_window() -> None:
    """Else an edit would lead from a CA that issues for minutes to one that counts in weeks."""
    minutes = replace(FACTS, not_before=NOW - MINUTE, not_after=NOW + MINUTE)
    elsewhere = Published(minutes, replace(ORIGIN, directory="https://other.test/directory"))
    for other in (elsewhere, Published(replace(minutes, names=(DOMAIN,)), ORIGIN)):
        [step] = decided(replace(WELL, published=other), ledger=ORDERED).steps
        assert step.wait_until == NOW + 5 * DAY


LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"


@pytest.mark.row(95)
@pytest.mark.parametrize(
    ("ari_id", "ends_in", "is_held"),
    [("", HOUR, True), ("aYhba4dG.AIdlQyE", HOUR, False), ("aYhba4dG.AIdlQyE", timedelta(), True)],
    ids=["has no identifier", "in the window", "after the window"],
)
def test_at_lets_encrypt_only_a_renewal_that_is_suggested_now_is_free_of_the_limit_of_the_week(
    ari_id: str, ends_in: timedelta, is_held: bool
) -> None:
    config = replace(CONFIG, acme=(replace(CONFIG.cas[0], directory="letsencrypt"),))
    six_days = replace(FACTS, not_before=NOW - 4 * DAY, not_after=NOW + 2 * DAY, ari_id=ari_id)
    seen = replace(WELL, published=Published(six_days, replace(ORIGIN, directory=LETS_ENCRYPT)))
    ledger = [Entry(NOW - 3 * DAY, "order", LETS_ENCRYPT, FACTS.names, "renewal")] * 3
    told = RenewalInfo(
        sha256=LEAF, next_look=NOW + HOUR, start=NOW - HOUR, end=NOW + ends_in, moment=NOW - HOUR
    )
    [step] = decided(seen, state(renewal=told), ledger, config=config).steps
    assert step.wait_until == (NOW + 2 * DAY - 6 * DAY / 4 if is_held else None)


# --- what a command ignores -------------------------------------------------------------------------------


def test_renew_now_ignores_the_back_off_and_force_the_ledger_too() -> None:
    failed = state(failures={"order": failure(NOW + DAY)})
    asked, forced = Intent(NOW, ignore_backoff=True), Intent(NOW, ignore_backoff=True, ignore_ledger=True)
    assert [step.key for step in decided(WELL, failed, intent=asked).due(NOW)] == ["order"]
    assert decided(WELL, failed, ORDERED, asked).due(NOW) == ()
    assert [step.key for step in decided(WELL, failed, ORDERED, forced).due(NOW)] == ["order"]


@pytest.mark.row(46)
def test_renew_now_waits_for_the_moment_that_a_ca_has_named_and_force_does_not() -> None:
    """Not for the whole back-off, which is longer."""
    limited = replace(failure(NOW + DAY), limited_until=NOW + HOUR, at=NOW)
    remembered = state(failures={"order": limited})
    [step] = decided(WELL, remembered, intent=Intent(NOW, ignore_backoff=True)).steps
    assert step.wait_until == NOW + HOUR
    assert "--force" in step.wait_text
    forced = Intent(NOW, ignore_backoff=True, ignore_ledger=True)
    assert [step.key for step in decided(WELL, remembered, intent=forced).due(NOW)] == ["order"]


# --- a clock that is wrong --------------------------------------------------------------------------------


def test_nothing_is_ordered_by_a_clock_that_is_older_than_the_program() -> None:
    """Not even where a command forces it; a machine without a battery starts in 1970."""
    seen = replace(WELL, at=datetime(1970, 1, 1, tzinfo=UTC), published=Published(None, None), has_copy=False)
    forced = Intent(seen.at, ignore_backoff=True, ignore_ledger=True)
    for intent in (NOTHING_ASKED, forced):
        [step] = decided(seen, intent=intent).steps
        assert step.wait_until == RELEASED
        assert "this machine's clock is older than this program" in step.wait_text


def test_what_failed_while_the_clock_was_ahead_is_tried_at_once() -> None:
    seen = shown({OTHER_LAN})
    failed = replace(failure(NOW + AHEAD + HOUR), at=NOW + AHEAD)
    assert [step.key for step in decided(seen, state(failures={"record": failed})).due(NOW)] == ["record"]
    # A step of a second is none.
    failed = replace(failure(), at=NOW + timedelta(seconds=1))
    assert decided(seen, state(failures={"record": failed})).due(NOW) == ()
