"""Count and write down as one step: what is reserved, refused, forced and taken back, and by whose clock."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.children import DONE, start_child, wait_for
from support.fakes import FakeClock
from support.pairs import DOMAIN, NOW, ORIGIN

from certbotless.base.clock import SystemClock
from certbotless.base.errors import Interrupted, RateLimited
from certbotless.config.settings import Site
from certbotless.model import limits
from certbotless.model.certificate import LeafFacts
from certbotless.model.ledger import UNREADABLE, Entry
from certbotless.model.memory import RenewalInfo
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.order_guard import OrderGuard

CA = ORIGIN.directory
SITE = Site(domain=DOMAIN, names=(f"*.{DOMAIN}",))
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
LEAF = LeafFacts(SITE.all_names, "ab" * 32, "CN=Example CA", NOW - 60 * DAY, NOW + 30 * DAY, "a.b")
SUGGESTED = RenewalInfo(sha256=LEAF.sha256, next_look=NOW, start=NOW - DAY, end=NOW + DAY)


def guard(ledger: LedgerFile, **fields: Any) -> OrderGuard:
    given: dict[str, Any] = {"in_hand": None, "is_forced": False} | fields
    return OrderGuard(ledger, FakeClock(), SITE, CA, **given)


@pytest.fixture
def ledger(tmp_path: Path) -> LedgerFile:
    return LedgerFile(tmp_path)


@pytest.mark.parametrize(
    ("in_hand", "replaces", "purpose"),
    [(None, False, "new"), (LEAF, False, "renewal"), (LEAF, True, "replacement")],
)
def test_an_order_is_written_down_with_what_it_is_for(
    ledger: LedgerFile, in_hand: LeafFacts | None, replaces: bool, purpose: Any
) -> None:
    guard(ledger, in_hand=in_hand, renewal=SUGGESTED).reserve_order(NOW, replaces=replaces)
    assert ledger.entries() == [Entry(NOW, "order", CA, SITE.all_names, purpose)]


@pytest.mark.row(95)
@pytest.mark.parametrize(
    ("renewal", "at", "purpose"),
    [
        (SUGGESTED, NOW - DAY, "replacement"),
        (SUGGESTED, NOW - DAY - timedelta(seconds=1), "renewal"),
        (SUGGESTED, NOW + DAY, "renewal"),
        (replace(SUGGESTED, sha256="cd" * 32), NOW, "renewal"),
        (RenewalInfo(sha256=LEAF.sha256, next_look=NOW), NOW, "renewal"),
        (None, NOW, "renewal"),
    ],
    ids=["at its start", "before", "at its end", "of another leaf", "none suggested", "never asked"],
)
def test_an_order_that_replaces_is_exempt_inside_the_suggested_window_alone(
    ledger: LedgerFile, renewal: RenewalInfo | None, at: datetime, purpose: str
) -> None:
    guard(ledger, in_hand=LEAF, renewal=renewal).reserve_order(at, replaces=True)
    assert [row.purpose for row in ledger.entries()] == [purpose]


@pytest.mark.row(95)
def test_forced_renewals_outside_the_window_use_up_what_lets_encrypt_gives(tmp_path: Path) -> None:
    """Certificates of 160 hours: the window for every CA is 53 h, that of Let's Encrypt a week."""
    facts = LeafFacts(SITE.all_names, "ab" * 32, "CN=LE", NOW - 60 * HOUR, NOW + 100 * HOUR, "a.b")
    ledger = LedgerFile(tmp_path)

    def order(at: datetime, renewal: RenewalInfo | None) -> None:
        mine = OrderGuard(
            ledger, FakeClock(), SITE, limits.LETS_ENCRYPT, facts, is_forced=False, renewal=renewal
        )
        mine.reserve_order(at, replaces=True)

    for number in range(3):
        order(NOW - 80 * HOUR + number * HOUR, None)
    with pytest.raises(RateLimited, match="3 orders for these names that are not exempt in 7 days"):
        order(NOW, None)
    order(NOW, RenewalInfo(sha256=facts.sha256, next_look=NOW, start=NOW, end=NOW + HOUR))


def test_an_adopted_certificate_is_no_renewal_and_its_lifetime_is_the_window(ledger: LedgerFile) -> None:
    """A day's: the orders before it would hold the next one for a week, and it expires."""
    adopted = replace(LEAF, not_before=NOW - 13 * HOUR, not_after=NOW + 11 * HOUR)
    for number in range(3):
        ledger.append(Entry(NOW - (14 + number) * HOUR, "order", CA, SITE.all_names))
    with pytest.raises(RateLimited, match="3 orders for these names in 7 days"):
        guard(ledger).reserve_order(NOW, replaces=False)
    guard(ledger, adopted=adopted).reserve_order(NOW, replaces=False)
    assert ledger.entries()[-1].purpose == "new"


def test_the_fourth_order_is_refused_with_when_it_may_be_tried_again(ledger: LedgerFile) -> None:
    for hours in range(3):
        guard(ledger).reserve_order(NOW + hours * HOUR, replaces=False)
    with pytest.raises(
        RateLimited, match=f"no order for {DOMAIN}: already 3 orders for these names"
    ) as limited:
        guard(ledger).reserve_order(NOW + 3 * HOUR, replaces=False)
    assert limited.value.retry_after == 7 * DAY - 3 * HOUR
    assert limited.value.hint.startswith(
        "it may be tried again at 2026-12-01T05:30:00Z; to order now: certbotless --renew-now --force"
    )
    assert len(ledger.entries()) == 3


def test_what_is_forced_is_counted_all_the_same(ledger: LedgerFile) -> None:
    forced = guard(ledger, is_forced=True)
    for _ in range(5):
        forced.reserve_order(NOW, replaces=False)
        forced.reserve_account(NOW)
    assert len(ledger.entries()) == 10
    with pytest.raises(RateLimited):
        guard(ledger).reserve_order(NOW + DAY, replaces=True)


def test_the_fourth_account_is_refused(ledger: LedgerFile) -> None:
    for _ in range(3):
        guard(ledger).reserve_account(NOW)
    with pytest.raises(RateLimited, match=f"no new account at {CA}: already 3 new accounts in 3 h"):
        guard(ledger).reserve_account(NOW + HOUR)
    guard(ledger).reserve_account(NOW + 3 * HOUR)


def test_an_order_that_the_ca_did_not_take_is_taken_back_once(ledger: LedgerFile) -> None:
    guard(ledger).reserve_order(NOW, replaces=False)
    mine = guard(ledger, in_hand=LEAF, renewal=SUGGESTED)
    mine.withdraw_order()
    mine.reserve_order(NOW + HOUR, replaces=True)
    mine.withdraw_order()
    mine.withdraw_order()
    mine.reserve_order(NOW + HOUR, replaces=False)
    assert [row.purpose for row in ledger.entries()] == ["new", "renewal"]


@pytest.mark.row(79)
def test_orders_whose_validation_failed_are_held_for_an_hour_not_for_a_week(ledger: LedgerFile) -> None:
    for number in range(3):
        mine = guard(ledger)
        mine.reserve_order(NOW + number * timedelta(minutes=5), replaces=False)
        mine.count_failure(NOW + number * timedelta(minutes=5), SITE.all_names)
    assert [row.outcome for row in ledger.entries() if row.kind == "order"] == ["failed"] * 3
    with pytest.raises(RateLimited, match="3 failed validations") as limited:
        guard(ledger).reserve_order(NOW + HOUR / 2, replaces=False)
    assert limited.value.retry_after == HOUR / 2
    guard(ledger).reserve_order(NOW + HOUR, replaces=False)


def test_an_order_counts_from_when_it_gave_its_certificate(ledger: LedgerFile) -> None:
    """The CA issues at finalize, which a run that was killed leaves to the next one, days later."""
    guard(ledger).reserve_order(NOW, replaces=False)
    for hours in (60, 61):
        guard(ledger).note_certificate(NOW + hours * HOUR, 24 * HOUR)
    came = Entry(NOW + 60 * HOUR, "order", CA, SITE.all_names, outcome="issued", lifetime_s=86400)
    assert ledger.entries() == [came]
    guard(ledger).note_certificate(NOW + 62 * HOUR, 24 * HOUR)
    guard(ledger, is_rehearsal=True).note_certificate(NOW + 62 * HOUR, 24 * HOUR)
    assert len(ledger.entries()) == 1


def test_a_failure_that_is_found_again_after_a_kill_is_counted_once(ledger: LedgerFile) -> None:
    """The run was killed after it had counted, and before it had dropped the order."""
    guard(ledger).reserve_order(NOW, replaces=False)
    for _ in range(3):
        guard(ledger).count_failure(NOW, [DOMAIN])
    assert [row.kind for row in ledger.entries()] == ["order", "failure"]


def test_a_dry_run_is_counted_apart_and_its_refusal_orders_nothing_in_earnest(ledger: LedgerFile) -> None:
    for _ in range(30):
        guard(ledger, is_rehearsal=True).reserve_order(NOW, replaces=False)
    with pytest.raises(RateLimited, match="already 30 dry runs") as limited:
        guard(ledger, is_rehearsal=True).reserve_order(NOW + HOUR, replaces=False)
    assert limited.value.hint.endswith("; for a dry run now: certbotless --renew-now --dry-run --force")
    guard(ledger).reserve_order(NOW + HOUR, replaces=False)
    assert [row.rehearsal for row in ledger.entries()] == [True] * 30 + [False]


@pytest.mark.row(94)
def test_a_dry_run_counts_a_failed_validation_until_the_validation_is_known(ledger: LedgerFile) -> None:
    """Killed in between, it has cost one: nobody resumes it, and the CA may have counted it."""
    other = "b.sweetlove.test"
    mine = guard(ledger, is_rehearsal=True)
    mine.reserve_order(NOW, replaces=False)
    [placed] = ledger.entries()
    mine.begin_validation(NOW, [DOMAIN, other])
    [_, ahead] = ledger.entries()
    assert (ahead.kind, ahead.names, ahead.rehearsal) == ("failure", (DOMAIN, other), True)
    mine.note_validation(NOW + HOUR / 60)
    assert ledger.entries() == [placed]
    mine.begin_validation(NOW, [DOMAIN, other])
    mine.count_failure(NOW + HOUR / 60, [DOMAIN])
    [order, failure] = ledger.entries()
    assert (order.outcome, failure.names, failure.at) == ("failed", (DOMAIN,), NOW + HOUR / 60)
    for _ in range(2):
        killed = guard(ledger, is_rehearsal=True)
        killed.reserve_order(NOW + HOUR / 60, replaces=False)
        killed.begin_validation(NOW + HOUR / 60, [DOMAIN])
    for is_rehearsal in (True, False):
        with pytest.raises(RateLimited, match=f"3 failed validations of {DOMAIN}"):
            guard(ledger, is_rehearsal=is_rehearsal).reserve_order(NOW + HOUR, replaces=False)


def test_an_order_in_earnest_counts_no_failure_ahead(ledger: LedgerFile) -> None:
    """It is resumed, so a failure is seen."""
    mine = guard(ledger)
    mine.reserve_order(NOW, replaces=False)
    before = ledger.entries()
    mine.begin_validation(NOW, [DOMAIN])
    assert ledger.entries() == before
    mine.note_validation(NOW)
    assert ledger.entries() == before


def test_nothing_is_reserved_once_we_are_asked_to_stop(ledger: LedgerFile) -> None:
    clock = FakeClock()
    clock.stop()
    with pytest.raises(Interrupted):
        OrderGuard(ledger, clock, SITE, CA, None, is_forced=False).reserve_order(NOW, replaces=False)
    assert ledger.entries() == []


def test_rows_of_2099_and_rows_that_are_none_are_settled_before_they_are_counted(
    ledger: LedgerFile, tmp_path: Path
) -> None:
    """They hold an order for a window, once, and it says so."""
    ahead = Entry(NOW.replace(year=2099), "order", CA, SITE.all_names)
    for _ in range(2):
        ledger.append(ahead)
    with (tmp_path / "ledger.jsonl").open("ab") as file:
        file.write(b"{cut off")
    for hours in (0, 1):
        with pytest.raises(RateLimited) as limited:
            guard(ledger).reserve_order(NOW + hours * HOUR, replaces=False)
        assert limited.value.retry_after == 7 * DAY - hours * HOUR
    guard(ledger).reserve_order(NOW + 7 * DAY, replaces=False)
    assert UNREADABLE not in ledger.entries()


def test_a_failure_is_no_reason_to_forget_what_the_generations_tell(tmp_path: Path) -> None:
    """It may be the first row after a ledger was lost."""
    folder = tmp_path / "certs" / ".certbotless" / DOMAIN / "20261124T053000Z-3f9a01c2"
    folder.mkdir(parents=True)
    ledger = LedgerFile(tmp_path / "state", [tmp_path / "certs"])
    guard(ledger).count_failure(NOW + HOUR, [DOMAIN])
    assert [row.kind for row in ledger.entries()] == ["unreadable", "failure"]


@pytest.mark.process
def test_of_many_processes_at_once_three_may_order(tmp_path: Path) -> None:
    def reserve() -> None:
        mine = OrderGuard(LedgerFile(tmp_path), SystemClock(), SITE, CA, None, is_forced=False)
        for _ in range(5):
            try:
                mine.reserve_order(NOW, replaces=False)
            except RateLimited:
                continue

    pids = [start_child(reserve) for _ in range(6)]
    assert [wait_for(pid) for pid in pids] == [DONE] * 6
    assert len(LedgerFile(tmp_path).entries()) == 3
