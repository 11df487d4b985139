"""The messages about the root of the local CA: a few in ten years, and each says what to do."""

from dataclasses import replace
from datetime import timedelta

import pytest
from support.conditions import HOST
from support.receivers import DAY, MINUTE, Reader
from support.views import NOW, failure, pair, view

from certbotless.model.decision import Step
from certbotless.model.local_ca import LocalCa
from certbotless.model.reason import Why, because
from certbotless.model.view import View

pytestmark = pytest.mark.usefixtures("in_utc")

YEARS_10 = timedelta(days=3652)
MADE, WILL_BE, SOON = (
    "the local CA has a new root",
    "the root of the local CA will be replaced",
    "the next root of the local CA signs soon",
)
SIGNS = "the next root of the local CA signs now"
MUST_BE = "the root of the local CA must be replaced"
STEP = Step("rotate", because(Why.SWITCH_DUE, NOW))


def root(digit: str, age: timedelta = 8 * 365 * DAY) -> LocalCa:
    """Return a CA that was made so long before now."""
    return LocalCa(digit * 64, ("lan",), NOW - age, NOW - age + YEARS_10)


FIRST, NEXT = root("a"), root("b", timedelta())


def of(ca: LocalCa, coming: LocalCa | None = None, *steps: Step, what: str = "") -> View:
    """Return a site of this CA; `what` is why its rotation does not go on."""
    failures = {"rotate": failure(what)} if what else {}
    lasting = pair(-10 * DAY, 1000 * DAY)
    return view(*steps, failures=failures, published=lasting, local_ca=ca, next_ca=coming)


def test_a_new_root_is_reported_once_with_what_to_do() -> None:
    new, reader = root("a", timedelta(hours=1)), Reader()
    assert reader.look(of(new), looks=5) == [MADE]
    (made,) = reader.messages
    assert made.severity == "warning"
    assert made.body.startswith(
        f"{MADE}\n"
        "  the root aaaaaaaa is valid until 2036-11-23 04:30 UTC; a client without it refuses the local"
        " sites\n"
        "  to do: give it to every client: certbotless trust export\n"
    )
    assert reader.look(of(new), looks=24 * 30, every=timedelta(hours=1)) == []
    assert Reader().look(of(root("a", 3 * DAY)), looks=5) == []


def test_a_rotation_is_reported_when_it_begins_twice_before_its_end_and_when_the_next_root_signs() -> None:
    """Each once, however often it is looked at; and never that the next root is new."""
    reader, hour = Reader(), timedelta(hours=1)
    assert reader.look(of(FIRST), looks=5) == []
    began = reader.now
    assert reader.look(of(FIRST, NEXT), looks=24 * 95, every=hour) == [WILL_BE, SOON, SOON]
    at = [NEXT.not_before + timedelta(days=days) for days in (0, 60, 83)]
    assert all(timedelta() <= sent - due < 2 * hour for sent, due in zip(reader.at, at, strict=True))
    assert [each.severity for each in reader.messages] == ["warning"] * 3
    assert (
        "  the root bbbbbbbb signs from 2027-02-22 05:30 UTC on; then a client without it refuses the local"
        " sites\n  to do: give it to every client: certbotless trust export\n"
    ) in reader.messages[0].body
    assert reader.look(of(NEXT), looks=24 * 100, every=hour) == [SIGNS]
    assert reader.messages[-1].severity == "success"
    assert f"it began at {began:%Y-%m-%d}" in reader.messages[-1].body


def test_a_rotation_by_hand_is_reported_in_any_length() -> None:
    """One that is over before two checks is a new root; one of an hour is not one later."""
    reader = Reader()
    assert reader.look(of(FIRST, NEXT), looks=1) == []
    assert reader.look(of(NEXT), looks=60) == [MADE]
    reader = Reader()
    assert reader.look(of(FIRST, NEXT), looks=60) == [WILL_BE]
    assert reader.look(of(NEXT), looks=72, every=timedelta(hours=1)) == [SIGNS]


def test_a_receiver_that_comes_late_or_sleeps_gets_what_is_true_by_then() -> None:
    """Added a week before the switch; and switched off until after the last reminder."""
    late = Reader(now=NEXT.switches_at - 8 * DAY)
    assert late.look(of(FIRST, NEXT), looks=24 * 12, every=timedelta(hours=1)) == [WILL_BE, SOON]
    sleeper = Reader()
    assert sleeper.look(of(FIRST, NEXT), looks=3) == [WILL_BE]
    sleeper.now = NEXT.switches_at - DAY
    assert sleeper.look(of(FIRST, NEXT), looks=20) == [SOON]


def test_a_next_root_that_is_given_up_never_signs_and_the_one_after_it_is_reported() -> None:
    """It was lost, of a wrong clock, or made again; no message says that it signs."""
    reader, third = Reader(), root("c", timedelta())
    assert reader.look(of(FIRST, NEXT), looks=3) == [WILL_BE]
    assert reader.look(of(FIRST), looks=60) == []
    assert reader.look(of(FIRST, root("d", -DAY)), looks=60) == []
    assert reader.look(of(FIRST, third), looks=3) == [WILL_BE]
    assert reader.look(of(third), looks=3) == [SIGNS]
    assert reader.sent.problems.keys() == {" rotation:cccccccc"}


def test_a_root_that_cannot_be_seen_is_not_judged() -> None:
    """As one that is damaged, which is a problem of its sites, or one whose sites are worked on."""
    reader = Reader()
    reader.look(of(FIRST, NEXT), looks=3)
    blind = view(problems=(failure("the local CA is damaged"),))
    told = reader.look(blind, looks=60)
    assert [each for each in told if "root" in each] == []
    assert reader.look(looks=60, domains=frozenset({blind.site.domain})) == []
    assert SIGNS in reader.look(of(NEXT), looks=3)[0] or SIGNS in reader.messages[-1].body


def test_a_root_near_its_end_is_reported_daily_until_another_one_is_to_sign_in_time() -> None:
    old = root("a", YEARS_10 - 300 * DAY)
    reader = Reader()
    said = reader.look(of(old), looks=3 * 24, every=timedelta(hours=1))
    assert said == [MUST_BE, f"still: {MUST_BE}", f"still: {MUST_BE}"]
    assert "  fix: certbotless trust rotate\n" in reader.messages[-1].body
    assert set(reader.look(of(old, NEXT), looks=10)) == {f"solved: {MUST_BE} (and 1 more)"}
    last = root("a", YEARS_10 - 30 * DAY)
    assert MUST_BE in reader.look(of(last, NEXT), looks=3)[0]
    assert "every client has the next root: certbotless trust switch" in reader.messages[-1].body


def test_what_keeps_a_root_from_being_replaced_is_reported_once_for_all_sites() -> None:
    """And not as a problem with their certificates."""
    reader, what = Reader(), "git would fail: the next root may not vouch for git"
    stuck = of(FIRST, NEXT, STEP, what=what)
    other = replace(stuck, site=replace(stuck.site, domain="other.lan"))
    reader.now = NEXT.switches_at
    assert reader.look(stuck, other, looks=60) == [f"{MUST_BE} (and 1 more)"]
    assert reader.messages[0].severity == "failure"
    assert reader.messages[0].body.count(what) == 1
    assert reader.look(of(NEXT), looks=3) == [f"solved: {MUST_BE} (and 1 more)"]
    assert SIGNS in reader.messages[-1].body


def test_a_rotation_changes_nothing_of_the_daily_messages_of_others() -> None:
    """A problem that lasts is due after a day, as ever."""
    reader = Reader()
    broken = of(FIRST, NEXT, Step("deploy", because(Why.NO_ANSWER), "registry"))
    broken = replace(broken, standing_failures={"deploy:registry": failure("it does not start")})
    reader.look(broken, looks=3)
    began = reader.at[-1]
    reader.look(broken, looks=60 * 24, every=MINUTE)
    assert reader.at[-1] - began >= DAY
    assert HOST in reader.messages[-1].body
