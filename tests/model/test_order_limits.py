"""Our own limits: what is counted, in which window, and that obeying them keeps those of the CA."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.ledgers import (
    CA,
    DAY,
    HOUR,
    LETS_ENCRYPT,
    MINUTE,
    NAMES,
    NOW,
    OTHER_CA,
    entries,
    leaf,
    limit,
    of_many,
    until,
)

from certbotless.model import limits
from certbotless.model.ledger import (
    UNREADABLE,
    Entry,
    Limit,
    Purpose,
    limit_on,
    orders_left,
    orders_left_for_each,
    purpose_of,
    settled,
)

STAGING, GOOGLE_STAGING = sorted(limits.STAGING)


def reason(found: Limit | None) -> str:
    assert found is not None
    return found.reason


# --- every CA ---------------------------------------------------------------------------------------------


def test_an_empty_ledger_forbids_nothing() -> None:
    for directory in (CA, LETS_ENCRYPT):
        assert limit([], directory=directory) is None
    assert limit_on([], Entry(NOW, "account", CA, ())) is None


def test_the_fourth_order_for_the_same_names_waits_until_the_first_is_a_week_old() -> None:
    rows = entries(6 * DAY, 2 * DAY, HOUR)
    assert limit(rows) == Limit("3 orders for these names in 7 days", NOW + DAY)
    assert limit(rows, NOW + DAY - timedelta(microseconds=1)) is not None
    assert limit(rows, NOW + DAY) is None


@pytest.mark.parametrize(
    ("lifetime", "window"),
    [(None, 7 * DAY), (90 * DAY, 7 * DAY), (21 * DAY, 7 * DAY), (6 * DAY, 2 * DAY), (3 * HOUR, HOUR)],
)
def test_the_window_is_a_week_or_a_third_of_the_lifetime(
    lifetime: timedelta | None, window: timedelta
) -> None:
    inside, outside = window - timedelta(seconds=1), window
    assert limit(entries(inside, inside, inside), lifetime=lifetime) is not None
    assert limit(entries(outside, inside, inside), lifetime=lifetime) is None
    # Without a certificate in hand, what is known of the last one counts: the pair and its copy may be lost.
    known = entries(inside, inside, outcome="issued", lifetime=lifetime or timedelta())
    older = entries(8 * DAY, outcome="issued", lifetime=DAY) if lifetime else []
    for oldest, is_limited in ((inside, True), (outside, False)):
        rows = [*older, *entries(oldest), *known]
        assert (limit(rows) is not None) == is_limited


@pytest.mark.parametrize(("lifetime", "span"), [(6 * DAY, "2 days"), (3 * HOUR, "1 h"), (4 * DAY, "32 h")])
def test_the_window_is_told_in_words(lifetime: timedelta, span: str) -> None:
    assert reason(limit(entries(MINUTE, MINUTE, MINUTE), lifetime=lifetime)).endswith(f"in {span}")


COUNTED = {
    "fewer names": (entries(HOUR, HOUR, HOUR, names=("devbox.sweetlove.test",)), None),
    "more names": (entries(HOUR, HOUR, HOUR, names=(*NAMES, "third.sweetlove.test")), None),
    "another CA": (entries(HOUR, HOUR, HOUR, directory=OTHER_CA), None),
    "accounts": (entries(HOUR, HOUR, HOUR, kind="account"), None),
    "old failures": (entries(2 * HOUR, 2 * HOUR, 2 * HOUR, kind="failure"), None),
    "the names in another order": (entries(HOUR, HOUR, HOUR, names=NAMES[::-1]), NOW + 7 * DAY - HOUR),
    "of several limits the latest": (
        [*entries(6 * DAY, HOUR, HOUR), *entries(*[MINUTE] * 3, kind="failure", names=NAMES)],
        NOW + DAY,
    ),
    # As after `--force`: what counts is when only two are left in the window.
    "more than are allowed": (entries(6 * DAY, 5 * DAY, 4 * DAY, 3 * DAY, 2 * DAY), NOW + 3 * DAY),
}


@pytest.mark.parametrize(("rows", "ends"), COUNTED.values(), ids=COUNTED.keys())
def test_what_the_ca_counts_apart_is_counted_apart_and_the_rest_until_when(
    rows: list[Entry], ends: datetime | None
) -> None:
    found = limit(rows)
    assert (found and found.until) == ends


def test_an_order_whose_validation_failed_costs_no_certificate() -> None:
    """The CA counts it as a failed validation, which comes back within the hour."""
    for directory in (CA, LETS_ENCRYPT):
        for outcome in ("unknown", "issued"):
            rows = entries(2 * HOUR, 2 * HOUR, 2 * HOUR, directory=directory, outcome=outcome)
            assert until(limit(rows, directory=directory)) == NOW + 7 * DAY - 2 * HOUR
        failed = entries(*[2 * HOUR] * 40, directory=directory, outcome="failed")
        assert limit([*failed, *rows[1:]], directory=directory) is None
    # But it was an order, and those are counted by the account at Let's Encrypt.
    many = of_many(250, HOUR, outcome="failed")
    assert reason(limit(many, directory=LETS_ENCRYPT)) == "250 orders for new sets of names in 3 h"


def test_a_dry_run_costs_none_of_what_is_counted_in_earnest() -> None:
    for directory in (CA, LETS_ENCRYPT):
        rows = entries(*[HOUR] * 29, directory=directory, is_rehearsal=True)
        assert limit([*rows, *rows], directory=directory) is None
        assert limit(rows, directory=directory, is_rehearsal=True) is None


@pytest.mark.parametrize("directory", [CA, STAGING, GOOGLE_STAGING])
def test_dry_runs_and_staging_directories_have_a_limit_of_their_own(directory: str) -> None:
    is_rehearsal = directory == CA
    rows = entries(*[HOUR] * 29, directory=directory, is_rehearsal=is_rehearsal)
    # What was ordered in earnest, or failed elsewhere, holds none of them.
    rows += entries(*[HOUR] * 9, directory=LETS_ENCRYPT)
    rows += entries(*[MINUTE] * 9, directory=LETS_ENCRYPT, kind="failure", names=NAMES[1:])
    assert limit(rows, directory=directory, is_rehearsal=is_rehearsal) is None
    rows += entries(6 * DAY, directory=directory, is_rehearsal=is_rehearsal)
    what = "30 dry runs or staging orders for these names in 7 days"
    assert limit(rows, directory=directory, is_rehearsal=is_rehearsal) == Limit(what, NOW + DAY)


def test_failed_validations_hold_a_dry_run_where_the_ca_counts_them_and_nowhere_else() -> None:
    """A dry run at the directory itself costs what any failed validation there costs."""
    for directory, is_held in ((CA, True), (STAGING, False)):
        rows = entries(*[MINUTE] * 3, directory=directory, kind="failure", names=NAMES[1:])
        for is_rehearsal in (True, False):
            assert (limit(rows, directory=directory, is_rehearsal=is_rehearsal) is not None) == is_held


def test_orders_of_every_purpose_count() -> None:
    purposes: list[Purpose] = ["new", "renewal", "replacement"]
    rows = [row for purpose in purposes for row in entries(HOUR, purpose=purpose)]
    for purpose in purposes:
        assert limit(rows, purpose=purpose) is not None


def test_three_failed_validations_of_one_name_hold_its_orders_for_an_hour() -> None:
    one = ("devbox.sweetlove.test",)
    rows = entries(50 * MINUTE, 20 * MINUTE, MINUTE, kind="failure", names=one)
    assert limit(rows) == Limit("3 failed validations of devbox.sweetlove.test in 1 h", NOW + 10 * MINUTE)
    assert limit(rows, names=("other.sweetlove.test",)) is None


@pytest.mark.parametrize(
    ("third", "is_held"), [("git.sweetlove.test", False), ("*.devbox.sweetlove.test", True)]
)
def test_failures_of_a_name_and_its_wildcard_add_up_and_those_of_two_names_do_not(
    third: str, is_held: bool
) -> None:
    """The CA validates a name and its wildcard under the one name."""
    rows = entries(MINUTE, MINUTE, kind="failure", names=("devbox.sweetlove.test",))
    rows += entries(MINUTE, kind="failure", names=(third,))
    assert (limit(rows, names=(*NAMES, "git.sweetlove.test")) is not None) == is_held


@pytest.mark.parametrize("directory", [CA, LETS_ENCRYPT])
def test_the_fourth_account_waits_until_the_first_is_three_hours_old(directory: str) -> None:
    rows = entries(2 * HOUR, HOUR, MINUTE, kind="account", directory=directory, names=())
    planned = Entry(NOW, "account", directory, ())
    assert limit_on(rows, planned) == Limit("3 new accounts in 3 h", NOW + HOUR)
    assert limit_on(rows, replace(planned, at=NOW + HOUR)) is None
    assert limit_on(rows, replace(planned, directory=OTHER_CA)) is None
    # Orders of the account that is there already may be placed.
    assert limit(rows, directory=directory) is None


# --- Let's Encrypt ----------------------------------------------------------------------------------------

SIX_DAYS = 6 * DAY
# Far enough apart for the rule of every CA, whose window is two days here.
SPREAD = (6 * DAY, 3 * DAY, 2.5 * DAY)


def at_lets_encrypt(*ages: timedelta, purpose: Purpose = "renewal") -> list[Entry]:
    return entries(*ages, directory=LETS_ENCRYPT, purpose=purpose)


def limit_there(rows: Sequence[Entry], left: timedelta = DAY, purpose: Purpose = "renewal") -> Limit | None:
    """The limit on an order with a certificate of six days in hand."""
    return limit(rows, lifetime=SIX_DAYS, left=left, directory=LETS_ENCRYPT, purpose=purpose)


def test_orders_that_replace_nothing_are_counted_over_a_week_whatever_the_lifetime() -> None:
    what = "3 orders for these names that are not exempt in 7 days"
    assert limit_there(at_lets_encrypt(*SPREAD), left=3 * DAY) == Limit(what, NOW + DAY)
    assert limit_there(at_lets_encrypt(*SPREAD, purpose="replacement")) is None
    assert limit_there(at_lets_encrypt(*SPREAD), purpose="replacement") is None
    # Another CA has no such rule.
    assert limit(entries(*SPREAD, purpose="renewal"), lifetime=SIX_DAYS, left=2 * DAY) is None


def test_the_last_two_are_for_the_last_quarter_and_the_last_twentieth_of_a_short_life() -> None:
    """A CA that is away for a day is longer away than for a twentieth of six days."""
    for count, last in ((3, SIX_DAYS / 4), (4, SIX_DAYS / 20)):
        rows = at_lets_encrypt(*[3 * DAY] * count)
        # It is lifted when that begins, if not before.
        assert until(limit_there(rows, left=last + HOUR)) == NOW + HOUR
        assert limit_there(rows, left=last) is None
        # After its end too.
        assert limit_there(rows, left=-DAY) is None
    assert until(limit_there(at_lets_encrypt(*[3 * DAY] * 5), left=SIX_DAYS / 20)) == NOW + 4 * DAY


@pytest.mark.parametrize("directory", [CA, LETS_ENCRYPT])
@pytest.mark.parametrize("days", [21, 45, 64, 90])
def test_the_last_two_are_there_for_the_last_twentieth_of_a_long_life(directory: str, days: int) -> None:
    last = days * DAY / 20
    rows = entries(3 * DAY, 2 * DAY, DAY, directory=directory, purpose="renewal")

    def found(rows: list[Entry], left: timedelta) -> Limit | None:
        return limit(rows, lifetime=days * DAY, left=left, directory=directory, purpose="renewal")

    assert until(found(rows, last + HOUR)) == NOW + HOUR
    assert found(rows, last) is None
    five = [*rows, *entries(HOUR, HOUR, directory=directory, purpose="renewal")]
    assert until(found(five, last)) == NOW + 4 * DAY


def test_where_no_certificate_is_in_hand_there_is_no_last_twentieth() -> None:
    rows = at_lets_encrypt(*[3 * DAY] * 3, purpose="new")
    assert until(limit(rows, directory=LETS_ENCRYPT)) == NOW + 4 * DAY


def test_a_domain_gets_no_more_than_forty_five_new_sets_of_names_in_a_week() -> None:
    rows = of_many(45, 6 * DAY)
    assert limit(rows[1:], directory=LETS_ENCRYPT) is None
    what = "45 orders for new sets of names below sweetlove.test in 7 days"
    assert limit(rows, directory=LETS_ENCRYPT) == Limit(what, NOW + DAY)
    # A name of another domain is counted there; one of both is held by either.
    assert limit(rows, directory=LETS_ENCRYPT, names=("box.other.test",)) is None
    assert limit(rows, directory=LETS_ENCRYPT, names=("box.other.test", *NAMES)) is not None
    assert limit(of_many(45, 6 * DAY, directory=CA)) is None


def test_an_account_gets_no_more_than_two_hundred_and_fifty_new_sets_of_names_in_three_hours() -> None:
    rows = [row for n in range(250) for row in of_many(1, HOUR, domain=f"domain{n}.test")]
    assert limit(rows[1:], directory=LETS_ENCRYPT) is None
    what = "250 orders for new sets of names in 3 h"
    assert limit(rows, directory=LETS_ENCRYPT) == Limit(what, NOW + 2 * HOUR)


@pytest.mark.parametrize("purpose", ["renewal", "replacement"])
def test_what_is_renewed_neither_counts_as_new_nor_is_held_by_it(purpose: Purpose) -> None:
    rows = of_many(45, MINUTE)
    assert limit_there(rows, purpose=purpose) is None
    renewed = [replace(row, purpose=purpose) for row in rows]
    assert limit(renewed, directory=LETS_ENCRYPT) is None


def test_only_an_order_that_the_ca_suggests_now_is_exempt() -> None:
    """With `replaces` outside of the suggested window an order counts like any other."""
    facts = replace(leaf(SIX_DAYS), ari_id="a.b")
    for in_hand, is_suggested, purpose in (
        (None, True, "new"),
        (facts, True, "replacement"),
        (facts, False, "renewal"),
        (leaf(SIX_DAYS), True, "renewal"),
    ):
        assert purpose_of(in_hand, is_exempt=is_suggested) == purpose
        planned = Entry(NOW, "order", LETS_ENCRYPT, NAMES, purpose)
        rows = at_lets_encrypt(*SPREAD, purpose="renewal")
        assert (limit_on(rows, planned, in_hand) is None) == (purpose == "replacement")


# --- how many orders are left -----------------------------------------------------------------------------

BASES = ("a.example.com", "b.example.com", "a.example.org")


@given(
    st.lists(
        st.builds(
            Entry,
            st.timedeltas(timedelta(), 8 * DAY).map(lambda age: NOW - age),
            st.sampled_from(["order", "failure", "account", "unreadable"]),
            st.sampled_from([CA, LETS_ENCRYPT]),
            st.sets(st.sampled_from([*BASES, *(f"*.{base}" for base in BASES)])).map(
                lambda names: tuple(sorted(names))
            ),
            st.sampled_from(["new", "renewal", "replacement"]),
            st.sampled_from(["unknown", "issued", "failed"]),
            st.booleans(),
        ),
        max_size=20,
    ),
    st.sampled_from([CA, LETS_ENCRYPT]),
    st.booleans(),
)
def test_many_orders_are_counted_as_each_alone(rows: list[Entry], directory: str, has_one: bool) -> None:
    in_hand = leaf(90 * DAY) if has_one else None
    sets: list[tuple[str, ...]] = [BASES, BASES[:1], (f"*.{BASES[1]}", BASES[1])]
    purpose = purpose_of(in_hand, is_exempt=False)
    planned = [(Entry(NOW, "order", directory, names, purpose), in_hand) for names in sets]
    assert [*orders_left_for_each(rows, planned)] == [orders_left(rows, *each) for each in planned]


def test_an_order_for_new_names_is_counted_with_all_new_names_of_the_account() -> None:
    rows = [row for n in range(6) for row in of_many(40, HOUR, domain=f"other{n}.test")]
    planned = Entry(NOW, "order", LETS_ENCRYPT, NAMES)
    [left] = orders_left_for_each(rows + of_many(9, HOUR, domain="seventh.test"), [(planned, None)])
    assert left == 1


def test_a_renewal_is_counted_with_the_orders_for_its_own_names() -> None:
    planned = (Entry(NOW, "order", CA, NAMES, "renewal"), leaf(90 * DAY))
    rows = entries(3 * DAY, 2 * DAY, purpose="renewal")
    assert [*orders_left_for_each(rows, [planned])] == [orders_left(rows, *planned)] == [1]


# --- what cannot be read, or is of no known time ----------------------------------------------------------


def test_what_cannot_be_read_may_have_been_anything_and_counts_as_of_when_it_was_found() -> None:
    rows = settled([UNREADABLE] * 3, NOW - HOUR / 2)
    assert until(limit(rows)) == NOW + 7 * DAY - HOUR / 2
    # Also as a failure, of any name.
    assert limit(rows, lifetime=HOUR) == Limit(
        "3 failed validations of devbox.sweetlove.test in 1 h", NOW + HOUR / 2
    )
    planned = Entry(NOW, "account", OTHER_CA, ())
    assert until(limit_on(rows, planned)) == NOW + 2.5 * HOUR
    there = [*settled([UNREADABLE], NOW), *of_many(44, DAY)]
    assert limit(there, directory=LETS_ENCRYPT) is not None


def test_rows_from_the_future_count_from_when_they_are_settled_and_pass_like_others() -> None:
    """Until then they count for nothing, so that nobody waits for 2099 without having asked the CA."""
    rows = entries(*[-400 * DAY] * 3)
    assert limit(rows) is None
    rows = settled(rows, NOW)
    assert until(limit(rows)) == NOW + 7 * DAY
    assert settled(rows, NOW + DAY) == rows
    assert limit(rows, NOW + 7 * DAY) is None


def test_a_clock_that_is_behind_by_an_hour_sees_what_was_ordered_a_moment_ago() -> None:
    rows = entries(*[timedelta()] * 3)
    assert until(limit(rows, NOW - HOUR)) == NOW + 7 * DAY
    assert limit(rows, NOW - HOUR - timedelta(seconds=1)) is None


@given(st.lists(st.timedeltas(-400 * DAY, 20 * DAY), max_size=10))
def test_settling_changes_what_lies_ahead_and_nothing_else(ages: list[timedelta]) -> None:
    rows = [row for row in entries(*ages) if row.at > NOW - 14 * DAY]
    after = settled(rows, NOW)
    assert [min(row.at, NOW) for row in rows] == [row.at for row in after]
    assert settled(after, NOW) == after


# --- whoever obeys ----------------------------------------------------------------------------------------


@given(
    st.lists(st.timedeltas(timedelta(), 2 * DAY), max_size=60),
    st.none() | st.timedeltas(HOUR, 90 * DAY),
)
def test_who_obeys_the_ledger_never_orders_more_than_three_times_in_a_window(
    pauses: list[timedelta], lifetime: timedelta | None
) -> None:
    rows: list[Entry] = []
    now = NOW
    for pause in pauses:
        now += pause
        found = limit(rows, now, lifetime=lifetime)
        if found is None:
            rows.append(Entry(now, "order", CA, NAMES))
        else:
            assert found.until > now
            assert limit(rows, found.until, lifetime=lifetime) is None
    window = min(7 * DAY, lifetime / 3) if lifetime else 7 * DAY
    last = datetime.max.replace(tzinfo=UTC)
    if lifetime:
        last = leaf(lifetime).not_after - lifetime / (4 if lifetime < 10 * DAY else 20)
    for row in rows:
        found_within = [r for r in rows if row.at <= r.at < row.at + window]
        assert len(found_within) <= 5
        assert len([r for r in found_within if r.at < last]) <= 3


@given(st.lists(st.sampled_from(["fail", "wait"]), max_size=60))
def test_who_obeys_the_ledger_never_fails_a_name_more_than_three_times_an_hour(acts: list[str]) -> None:
    rows: list[Entry] = []
    now = NOW
    for act in acts:
        now += MINUTE if act == "fail" else 9 * MINUTE
        if act == "fail" and limit(rows, now, lifetime=90 * DAY, names=NAMES[:1]) is None:
            rows.append(Entry(now, "failure", CA, NAMES[:1]))
    for row in rows:
        assert len([r for r in rows if row.at <= r.at < row.at + HOUR]) <= 3


@given(st.permutations(entries(6 * DAY, 5 * DAY, HOUR, 8 * DAY)))
def test_the_rows_may_stand_in_any_order(rows: list[Entry]) -> None:
    assert until(limit(rows)) == NOW + DAY
