"""What people are told, and how often: from what stands and what they were told before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from views import FACTS, NOTHING, NOW, ORIGIN, failure, site, view

from certbotless import client, news, wording
from certbotless.client import ClientFacts
from certbotless.decide import NOBODY_SPEAKS, Step
from certbotless.look import View
from certbotless.news import Book, Facts, Message
from certbotless.state import SiteState
from certbotless.store import Published

HOST = "box"
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
DEPLOY = Step("deploy", "another certificate", "registry")
OTHER = site("other.sweetlove.top")
LONG = site(".".join(["l" * 60] * 3 + ["sweetlove.top"]))


def at(shown: View, moment: datetime) -> View:
    """Return the same view, seen at another moment."""
    return replace(shown, seen=replace(shown.seen, at=moment))


def broken(what: str = "it does not start", **fields: object) -> View:
    """Return a site whose deploy has failed."""
    return view(DEPLOY, failures={"deploy:registry": failure(what)}, **fields)  # type: ignore[arg-type]


def issued(sha256: str, at: datetime) -> Published:
    """Return a certificate that was issued then."""
    return Published(replace(FACTS, sha256=sha256), replace(ORIGIN, issued_at=at))


def waiting(step: Step, what: str) -> View:
    """Return a site that can do a step only when somebody else has done something."""
    return view(step, failures={step.key: failure(what, is_waiting=True)})


@dataclass
class People:
    """Who is told: each look that they have is a minute after the one before."""

    book: Book = field(default_factory=lambda: Book(NOW))
    now: datetime = NOW
    told: list[Message] = field(default_factory=list)

    def look(
        self,
        *views: View,
        looks: int = 1,
        every: timedelta = MINUTE,
        refused: Sequence[str] = (),
        visits: dict[str, ClientFacts] | None = None,
        domains: frozenset[str] | None = None,
    ) -> list[str]:
        """Look so often at the same, and return the subjects of what was told."""
        told = []
        for _ in range(looks):
            shown = [at(each, self.now) for each in views]
            known = domains if domains is not None else frozenset(each.site.domain for each in views)
            facts = Facts(self.now, known, shown, visits or {}, refused)
            self.book, items = news.tell(self.book, facts, news.patience(MINUTE))
            if items:
                told.append(wording.message_of(items, HOST, self.now))
            self.now += every
        self.told += told
        return [message.subject.removeprefix(f"certbotless on {HOST}: ") for message in told]


@pytest.fixture
def people() -> People:
    return People()


# --- one message for a change -------------------------------------------------------------------------------


def test_nothing_is_told_of_what_was_well_before_anybody_was_told(people: People) -> None:
    assert people.look(view(), looks=10) == []


def test_a_trouble_that_stands_when_it_is_switched_on_is_told(people: People) -> None:
    assert people.look(broken(), looks=3) == ["devbox.sweetlove.top: deploy failed"]
    (message,) = people.told
    assert message.kind == "failure"
    assert message.body == (
        "devbox.sweetlove.top: deploy failed\n"
        "  it does not start\n"
        "  to do: try later\n"
        "  next try: 2026-11-24 05:40 UTC\n"
        "\n"
        "box, 2026-11-24 05:32 UTC; all of it: certbotless status"
    )


@pytest.mark.parametrize("action", ["record", "record6", "list"])
def test_a_record_that_nobody_can_see_is_not_told_as_wrong(
    action: Literal["record", "record6", "list"], people: People
) -> None:
    """As without a network: no name server speaks for the zone, and the API cannot be asked either."""
    unseen = view(Step(action, NOBODY_SPEAKS), failures={action: failure("no connection")})
    assert people.look(unseen, looks=3) == ["devbox.sweetlove.top: cannot be seen"]
    assert people.look(view(), looks=3) == ["devbox.sweetlove.top: over: cannot be seen"]


def test_a_trouble_is_told_once_and_its_end_once(people: People) -> None:
    assert people.look(broken(), looks=60) == ["devbox.sweetlove.top: deploy failed"]
    assert people.look(view(), looks=60) == ["devbox.sweetlove.top: over: deploy failed"]
    assert people.told[-1].kind == "success"
    assert "it began at 2026-11-24 05:30 UTC\n" in people.told[-1].body
    assert people.look(view(), looks=60) == []


def test_what_is_over_before_it_has_stood_two_looks_is_no_news(people: People) -> None:
    for _ in range(20):
        assert people.look(broken(), looks=2) + people.look(view(), looks=1) == []
    assert people.book.matters == {}


def test_a_trouble_that_lasts_is_told_of_once_a_day(people: People) -> None:
    told = people.look(broken(), looks=10 * 24 * 6, every=10 * MINUTE)
    assert told[1:] == ["devbox.sweetlove.top: still: deploy failed"] * 9
    assert "since 2026-11-24 05:30 UTC\n" in people.told[-1].body
    assert people.told[-1].kind == "warning"


def test_a_run_without_a_daemon_tells_at_once() -> None:
    """Its next look may be hours away."""
    facts = Facts(NOW, frozenset({FACTS.names[1]}), [broken()], {})
    book, items = news.tell(Book(NOW), facts, timedelta())
    assert [item.kind for item in items] == ["begun"]
    assert news.tell(book, facts, timedelta()) == (book, [])


def test_who_looks_once_a_day_tells_at_the_second_look(people: People) -> None:
    assert news.patience(DAY) < DAY
    assert people.look(broken(), every=DAY) == []
    assert people.look(broken(), every=DAY) == ["devbox.sweetlove.top: deploy failed"]


def test_a_site_that_is_at_work_stays_as_it_was(people: People) -> None:
    people.look(broken(), looks=3)
    domains = frozenset({"devbox.sweetlove.top"})
    assert people.look(looks=60, domains=domains) == []
    assert people.look(view(), looks=3) == ["devbox.sweetlove.top: over: deploy failed"]


def test_a_site_that_is_no_more_is_forgotten(people: People) -> None:
    people.look(broken(), looks=3)
    assert people.look(looks=60, domains=frozenset()) == []
    assert (people.book.matters, people.book.certificates) == ({}, {})


def test_a_clock_that_was_ahead_keeps_nothing_back(people: People) -> None:
    people.now = NOW + 30 * DAY
    people.look(broken(), looks=3)
    people.now = NOW
    assert people.look(broken(), looks=60) == ["devbox.sweetlove.top: still: deploy failed"]


# --- no flood -----------------------------------------------------------------------------------------------


def test_a_service_that_comes_and_goes_is_told_of_four_times_a_day(people: People) -> None:
    for _ in range(2 * 24 * 6):
        people.look(broken(), looks=5)
        people.look(view(), looks=5)
    for message in people.told:
        assert sum(timedelta() <= other.at - message.at < DAY for other in people.told) <= 4
    assert len(people.told) >= 2 * 3
    assert any("and came" in message.body for message in people.told)


def test_what_has_come_to_rest_is_told_as_it_is_after_a_flood(people: People) -> None:
    for _ in range(100):
        people.look(broken(), looks=5)
        people.look(view(), looks=5)
    people.look(view(), looks=2 * 24 * 6, every=10 * MINUTE)
    assert people.told[-1].subject.endswith("over: deploy failed")
    assert people.book.matters == {}


@given(st.lists(st.sampled_from(["well", "broken", "other"]), max_size=60), st.integers(1, 600))
def test_however_it_goes_people_believe_the_truth_and_hear_little(states: list[str], every: int) -> None:
    """What they were told last is so, wherever it has stood; and two messages of a kind never follow."""
    people = People()
    views = {
        "well": view(),
        "broken": broken(),
        "other": view(Step("record", "x"), failures={"record": failure()}),
    }
    for state in states:
        people.look(views[state], every=every * MINUTE)
    for key, matter in people.book.matters.items():
        assert len(matter.told) <= 4 or not matter.is_on, key
    for message in people.told:
        assert sum(timedelta() <= other.at - message.at < DAY for other in people.told) <= 8
    for title in ("deploy failed", "its DNS record is not right"):
        lines = [line for m in people.told for line in m.body.splitlines() if line.endswith(f": {title}")]
        begun_or_over = [line.split(": ")[1] == "over" for line in lines if ": still: " not in line]
        assert begun_or_over == [i % 2 == 1 for i in range(len(begun_or_over))]


@given(st.lists(st.sampled_from(["well", "broken"]), max_size=20))
def test_the_same_facts_again_are_no_news(states: list[str]) -> None:
    people = People()
    views = {"well": view(), "broken": broken()}
    for state in states:
        shown = at(views[state], people.now)
        people.look(shown)
        facts = Facts(shown.seen.at, frozenset({shown.site.domain}), [shown], {})
        assert news.tell(people.book, facts, news.patience(MINUTE)) == (people.book, [])


def test_a_year_without_trouble_is_six_renewals(people: People) -> None:
    """A certificate of 90 days, renewed after 60; a look every hour."""
    hour = timedelta(hours=1)
    people.now = issued = NOW
    leaf, renewals = FACTS, 0
    while people.now < NOW + 365 * DAY:
        if people.now - issued >= 60 * DAY:
            issued, renewals = people.now, renewals + 1
            leaf = replace(FACTS, sha256=f"{renewals:064x}", not_before=issued, not_after=issued + 90 * DAY)
        people.look(view(published=Published(leaf, replace(ORIGIN, issued_at=issued))), every=hour)
    assert len(people.told) == renewals == 6
    assert {message.subject for message in people.told} == {
        "certbotless on box: devbox.sweetlove.top: certificate renewed"
    }


def test_many_sites_that_come_and_go_at_their_own_times_are_24_messages_a_day(people: People) -> None:
    """What is held back by that is told as it is then, all of it, when there is room again."""
    sites = [site(f"box{i}.sweetlove.top") for i in range(12)]
    for look in range(36 * 6):
        is_bad = [(look // 3 + i) % 12 < 6 for i in range(12)]
        views = [broken(of=each) if bad else view(of=each) for bad, each in zip(is_bad, sites, strict=True)]
        people.look(*views, every=10 * MINUTE)
    for message in people.told:
        assert sum(timedelta() <= other.at - message.at < DAY for other in people.told) <= 24
    assert len(people.told) >= 24
    people.look(*map(lambda each: view(of=each), sites), looks=3 * 24, every=timedelta(hours=1))
    assert not any(matter.is_told for matter in people.book.matters.values())


def test_what_lasts_at_many_sites_is_reminded_of_together(people: People) -> None:
    sites = [site(f"box{i}.sweetlove.top") for i in range(12)]
    for count in range(12):
        people.look(*(broken(f"{i}", of=each) for i, each in enumerate(sites[: count + 1])), looks=60)
    people.told.clear()
    views = [broken(f"{i}", of=each) for i, each in enumerate(sites)]
    people.look(*views, looks=10 * 24 * 6, every=10 * MINUTE)
    assert len(people.told) <= 10 * 4
    for each in sites:
        times = [m.at for m in people.told if each.domain in m.body or "more\n" in m.body]
        assert 10 <= len(times) <= 10 * 4


# --- one message for a look ---------------------------------------------------------------------------------


def test_several_sites_that_fail_for_one_cause_are_one_message(people: People) -> None:
    views = [broken("the engine is down", of=site(f"box{i}.sweetlove.top")) for i in range(30)]
    assert people.look(*views, looks=3) == ["30 sites: deploy failed"]
    (message,) = people.told
    assert message.body.startswith("box0.sweetlove.top, box1.sweetlove.top, ")
    assert " and 20 more: deploy failed\n  the engine is down\n" in message.body
    assert message.body.count("the engine is down") == 1


def test_a_message_stays_below_what_the_smallest_service_takes(people: People) -> None:
    views = [broken(f"{i} " + "错" * 500, of=site(f"box{i}.sweetlove.top")) for i in range(30)]
    people.look(*views, looks=3)
    (message,) = people.told
    assert len(message.body.encode()) < 2048 - len(message.subject.encode())
    assert "more\n" in message.body
    assert message.body.endswith("certbotless status")


@pytest.mark.parametrize("name", ["x", "错", "\U0001f512"])
@pytest.mark.parametrize("size", [1, 400, 5000])
def test_what_the_subject_names_is_in_the_body_however_much_there_is_to_say(
    name: str, size: int, people: People
) -> None:
    """A long domain, and a reason and a hint in letters of several bytes."""
    shown = view(DEPLOY, failures={"deploy:registry": failure(name * size, hint=name * size)}, of=LONG)
    people.look(shown, looks=3)
    (message,) = people.told
    assert message.body.startswith(f"{LONG.domain}: deploy failed\n  {name}")
    assert "to do: " in message.body
    assert len(message.subject.encode()) <= 120
    assert len(message.body.encode()) <= 1900


def test_a_certificate_of_a_hundred_names_is_told_of_with_ten(people: People) -> None:
    people.look(view())
    names = tuple(f"{'n' * 60}{i}.{'d' * 60}.example.com" for i in range(100))
    people.now += MINUTE
    shown = issued("cd" * 32, people.now)
    assert shown.facts is not None
    people.look(view(published=replace(shown, facts=replace(shown.facts, names=names))))
    body = people.told[-1].body
    assert body.startswith(f"devbox.sweetlove.top: certificate renewed\n  {names[0]}")
    assert " and 90 more; good until 2027-02-12 05:30 UTC\n" in body
    assert len(body.encode()) <= 1900


def test_the_gravest_is_the_subject(people: People) -> None:
    people.look(view(of=OTHER), view())
    renewed = view(
        of=OTHER,
        published=issued("cd" * 32, people.now),
        served={"registry": "cd" * 32, "web": "cd" * 32},
    )
    people.look(view(of=OTHER), broken(), looks=2)
    assert people.look(renewed, broken()) == ["devbox.sweetlove.top: deploy failed (and 1 more)"]


# --- what is told -------------------------------------------------------------------------------------------


def test_a_certificate_is_told_when_it_is_served(people: People) -> None:
    people.look(view())
    other = issued("cd" * 32, people.now)
    assert people.look(view(DEPLOY, published=other), looks=3) == []
    assert people.look(view(published=other), looks=3) == ["devbox.sweetlove.top: certificate renewed"]
    assert "good until 2027-02-12 05:30 UTC" in people.told[-1].body


def test_the_first_certificate_of_a_site_is_issued(people: People) -> None:
    """Of one that was there before, nothing is told."""
    blank = view(Step("order", "there is none"), published=Published(None, None), served={})
    people.look(blank, looks=3)
    first = Published(FACTS, replace(ORIGIN, issued_at=people.now))
    assert people.look(view(published=first), looks=3) == ["devbox.sweetlove.top: certificate issued"]


def test_a_site_that_is_taken_out_and_put_back_has_no_new_certificate(people: People) -> None:
    """Soon or late; nor do two files with one state directory tell it by turns."""
    first = view(published=issued("cd" * 32, NOW + MINUTE))
    people.now += 2 * MINUTE
    assert people.look(first) == ["devbox.sweetlove.top: certificate issued"]
    for _ in range(10):
        people.look(view(of=OTHER), looks=5, every=timedelta(hours=7))
        assert people.look(first) == []


def test_what_was_gone_back_to_is_no_new_certificate(people: People) -> None:
    people.look(view())
    people.now += MINUTE
    renewed = view(published=issued("cd" * 32, people.now))
    assert people.look(renewed) == ["devbox.sweetlove.top: certificate renewed"]
    assert people.look(view(), looks=3) == []


def test_certificates_of_hours_are_told_of_four_times_a_day(people: People) -> None:
    for i in range(3 * 12):
        people.look(view(published=issued(f"{i:064x}", people.now)), every=timedelta(hours=2))
    assert len(people.told) == 12


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        (view(Step("record", "x"), failures={"record": failure()}), "its DNS record is not right"),
        (view(Step("order", "x"), failures={"order": failure()}), "no new certificate"),
        (view(Step("restore", "x"), failures={"restore": failure()}), "its files are not right"),
        (view(problems=(failure("no server answers"),)), "cannot be seen"),
        (
            view(
                Step("redeploy", "x"),
                failures={"redeploy": failure()},
                refused=Published(replace(FACTS, sha256="cd" * 32), ORIGIN),
            ),
            "rolled back",
        ),
    ],
)
def test_each_trouble_has_its_name(shown: View, title: str, people: People) -> None:
    assert people.look(shown, looks=3) == [f"devbox.sweetlove.top: {title}"]


def test_a_forced_renewal_that_failed_leaves_the_site_well(people: People) -> None:
    assert people.look(view(failures={"order": failure()}), looks=10) == []


def test_what_only_waits_is_no_trouble(people: People) -> None:
    assert people.look(waiting(DEPLOY, "set port in its deploy entry"), looks=10) == []


def test_who_waits_with_the_old_certificate_until_its_end_is_told_of(people: People) -> None:
    """Nobody else would tell: the published one is new. A service that is down serves none."""
    late = SiteState(deploy_by=NOW)
    stopped = Step("deploy", "no TLS answer", "registry")
    shown = replace(waiting(stopped, "its admin stopped it"), remembered=late)
    assert people.look(shown, looks=10) == []
    shown = replace(waiting(DEPLOY, "set port in its deploy entry"), remembered=late)
    assert people.look(shown, looks=10) == ["devbox.sweetlove.top: deploy failed"]
    assert "set port in its deploy entry" in people.told[-1].body


def test_a_first_certificate_that_our_own_count_holds_back_is_told_of(people: People) -> None:
    held = Step("order", "there is none", wait_until=NOW + DAY, wait_reason="5 orders in 7 days")
    shown = view(held, published=NOTHING, served={})
    assert people.look(shown, looks=10) == ["devbox.sweetlove.top: no new certificate"]
    assert "5 orders in 7 days\n  next try: 2026-11-25" in people.told[-1].body
    assert people.look(view(held), looks=10) == []
    assert people.look(view(), looks=10) == ["devbox.sweetlove.top: over: no new certificate"]


# --- what is over -------------------------------------------------------------------------------------------


DAMAGED = Published(FACTS, ORIGIN, "its key is gone")
NEAR_ITS_END = Published(replace(FACTS, not_after=NOW + DAY), ORIGIN)
REDEPLOY, RESTORE, ORDER = Step("redeploy", "refused"), Step("restore", "damaged"), Step("order", "due")
OTHER_LEAF = Published(replace(FACTS, sha256="cd" * 32), ORIGIN)


@pytest.mark.parametrize(
    ("amiss", "then"),
    [
        pytest.param(broken(), view(DEPLOY), id="an edit forgets the failure"),
        pytest.param(broken(), waiting(DEPLOY, "its admin stopped it"), id="it is stopped"),
        pytest.param(broken(), view(RESTORE, published=DAMAGED), id="the pair is damaged"),
        pytest.param(view(published=NEAR_ITS_END), view(published=NOTHING), id="the folder is not mounted"),
        pytest.param(
            view(ORDER, failures={"order": failure()}),
            view(replace(ORDER, wait_until=NOW + DAY)),
            id="the order waits",
        ),
        pytest.param(
            view(Step("record", "x"), failures={"record": failure()}),
            view(Step("confirm", "it is not shown by every name server yet")),
            id="the record spreads",
        ),
        pytest.param(
            view(REDEPLOY, failures={"redeploy": failure()}, refused=OTHER_LEAF),
            view(RESTORE, published=DAMAGED),
            id="the pair is damaged after a rollback",
        ),
        pytest.param(view(RESTORE, failures={"restore": failure()}), view(RESTORE), id="the files wait"),
    ],
)
def test_what_is_still_to_be_done_is_not_over(amiss: View, then: View, people: People) -> None:
    """Whatever became of its failure; and what begins anew is the same trouble."""
    (begun,) = people.look(amiss, looks=3)
    assert [line for line in people.look(then, looks=30) if "over: " in line] == []
    assert people.look(amiss, looks=3) == []
    assert people.look(view(), looks=3) == [begun.replace(": ", ": over: ", 1)]


def test_the_last_sixth_of_a_certificate_is_told_with_the_days_that_are_left(people: People) -> None:
    def aged(days: int) -> View:
        leaf = replace(FACTS, not_before=people.now - days * DAY, not_after=people.now + (90 - days) * DAY)
        return view(published=Published(leaf, ORIGIN))

    people.look(aged(74))
    assert people.look(aged(74), looks=3) == []
    assert people.look(aged(76), looks=3) == ["devbox.sweetlove.top: its certificate is near its end"]
    assert "will expire in 13 days, at 2026-12-08" in people.told[-1].body
    people.now += DAY
    people.look(aged(91))
    assert "the certificate has expired at" in people.told[-1].body


def test_what_a_client_met_is_told(people: People) -> None:
    about = client._about(view())
    met = ClientFacts(NOW, False, None, None, "the resolver gives no address", about)
    visits = {"devbox.sweetlove.top": met}
    assert people.look(view(), looks=3, visits=visits) == [
        "devbox.sweetlove.top: a client is not served well"
    ]
    well = {"devbox.sweetlove.top": replace(met, resolved=True)}
    assert people.look(view(), looks=3, visits=well) == [
        "devbox.sweetlove.top: over: a client is not served well"
    ]


def test_before_a_client_was_there_again_nothing_is_over(people: People) -> None:
    """With another certificate what it met says nothing any more; that is no end of it."""
    met = ClientFacts(NOW, False, None, None, "the resolver gives no address", client._about(view()))
    people.look(view(), looks=3, visits={"devbox.sweetlove.top": met})
    assert people.look(view(), looks=60) == []
    too_early = {"devbox.sweetlove.top": replace(met, resolved=None)}
    assert people.look(view(), looks=60, visits=too_early) == []


def test_what_a_client_met_long_ago_is_neither_a_trouble_nor_its_end(people: People) -> None:
    """The daemon that visited is gone, and a run by a timer finds what it has left."""
    met = ClientFacts(NOW, False, None, None, "the resolver gives no address", client._about(view()))
    visits = {"devbox.sweetlove.top": met}
    people.now = NOW + 3 * timedelta(hours=1)
    assert people.look(view(), looks=3, visits=visits) == []
    people.now = NOW
    assert len(people.look(view(), looks=3, visits=visits)) == 1
    assert people.look(view(), looks=48, every=timedelta(hours=1), visits=visits) == []


def test_behind_a_silence_nothing_is_over(people: People) -> None:
    """A record that nobody can ask for is none that has been put right."""
    wrong = view(Step("record", "x"), failures={"record": failure()})
    people.look(wrong, looks=3)
    silent = view(problems=(failure("no server answers"),))
    assert people.look(silent, looks=60) == ["devbox.sweetlove.top: cannot be seen"]
    people.look(wrong, looks=3)
    assert people.look(view(), looks=3) == ["devbox.sweetlove.top: over: its DNS record is not right"]


def test_a_refused_edit_is_told_without_a_site(people: People) -> None:
    refused = ["c.yaml:3:1: sits: unknown key 'sits'"]
    told = people.look(view(), looks=3, refused=refused)
    assert told == ["an edit of the configuration is refused"]
    assert "c.yaml:3:1" in people.told[0].body
    assert people.look(view(), looks=3) == ["over: an edit of the configuration is refused"]
