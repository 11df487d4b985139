"""Which messages are due, and how often: from what is wrong now and what a receiver was sent before."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import sharing
from support.conditions import BROKEN, DEPLOY, DOMAIN, HOST, OVER, broken
from support.receivers import DAY, MINUTE, Reader
from support.views import FACTS, NOTHING, NOW, ORIGIN, failure, said, site, view

from certbotless.model.authority import Authority
from certbotless.model.certificate import Published
from certbotless.model.decision import Step
from certbotless.model.memory import SiteState
from certbotless.model.reason import Why, because
from certbotless.model.shared import Shared
from certbotless.model.view import ClientFacts, View, digest_of_visit
from certbotless.notify import alerts
from certbotless.notify.alerts import Sent

pytestmark = pytest.mark.usefixtures("in_utc")

RENEWED = f"{DOMAIN}: certificate renewed"
OTHER = site("other.sweetlove.top")
LONG = site(".".join(["l" * 60] * 3 + ["sweetlove.top"]))


def issued(sha256: str, at: datetime) -> Published:
    """Return a renewed certificate that was issued then."""
    return Published(replace(FACTS, sha256=sha256), replace(ORIGIN, issued_at=at), previous="the one before")


def waiting(step: Step, what: str) -> View:
    """Return a site that can do a step only when somebody else has done something."""
    return view(step, failures={step.key: failure(what, is_waiting=True)})


@pytest.fixture
def reader() -> Reader:
    return Reader()


# --- it began, it lasts, it is over -------------------------------------------------------------------------


def test_a_problem_is_told_once_and_its_end_once(reader: Reader) -> None:
    """And nothing of a site that is all right."""
    assert reader.look(view(), looks=10) == []
    reader.now = NOW
    assert reader.look(broken(), looks=60) == [BROKEN]
    (began,) = reader.messages
    assert began.severity == "failure"
    assert began.body == (
        f"{BROKEN}\n"
        "  it does not start\n"
        "  fix: try later\n"
        "  next try: 2026-11-24 05:40 UTC\n"
        "\n"
        "box, 2026-11-24 05:32 UTC; for details: certbotless status"
    )
    assert reader.look(view(), looks=60) == [OVER]
    assert reader.messages[-1].severity == "success"
    assert "it began at 2026-11-24 05:30 UTC\n" in reader.messages[-1].body
    assert reader.look(view(), looks=60) == []


def test_what_is_over_before_it_has_lasted_two_looks_is_not_told(reader: Reader) -> None:
    for _ in range(20):
        assert reader.look(broken(), looks=2) + reader.look(view(), looks=1) == []
    assert reader.sent == Sent()


def test_a_problem_that_lasts_is_told_of_once_a_day(reader: Reader) -> None:
    told = reader.look(broken(), looks=10 * 24 * 6, every=10 * MINUTE)
    assert told == [BROKEN, *[f"{DOMAIN}: still: deploy failed"] * 9]
    assert "since 2026-11-24 05:30 UTC\n" in reader.messages[-1].body
    assert reader.messages[-1].severity == "warning"


def test_a_run_without_a_daemon_tells_at_once_and_who_looks_once_a_day_at_the_second_look() -> None:
    """The next run may be hours away."""
    assert Reader().look(broken(), patience=timedelta()) == [BROKEN]
    assert alerts.patience(DAY) < DAY
    assert Reader().look(broken(), looks=2, every=DAY) == [BROKEN]


def test_a_site_that_is_worked_on_stays_as_it_was_and_one_that_is_gone_is_forgotten(reader: Reader) -> None:
    assert reader.look(broken()) == reader.look(domains=frozenset({DOMAIN})) == []
    assert reader.look(broken()) == [BROKEN]
    assert reader.look(looks=60, domains=frozenset({DOMAIN})) == []
    assert reader.look(view(), looks=3) == [OVER]
    reader.look(broken(), looks=3)
    assert reader.look(looks=60, domains=frozenset()) == []
    reader.look(view(of=OTHER, published=issued("cd" * 32, reader.now)))
    assert reader.sent.problems == {}


def test_a_clock_that_was_ahead_keeps_nothing_back(reader: Reader) -> None:
    """Neither what was told by then, nor what was only seen."""
    reader.now, early = NOW + 30 * DAY, Reader(now=NOW + 30 * DAY)
    reader.look(broken(), looks=3)
    early.look(broken())
    reader.now = early.now = NOW
    assert reader.look(broken(), looks=60) == [f"{DOMAIN}: still: deploy failed"]
    assert early.look(broken(), looks=60) == [BROKEN]


# --- no flood -----------------------------------------------------------------------------------------------


def test_a_service_that_comes_and_goes_is_told_of_four_times_a_day(reader: Reader) -> None:
    """And as it is, when it has come to rest."""
    for _ in range(2 * 24 * 6):
        reader.look(broken(), looks=5)
        reader.look(view(), looks=5)
    assert reader.most_of_a_day() == 4
    assert len(reader.at) >= 2 * 3
    reader.look(view(), looks=2 * 24 * 6, every=10 * MINUTE)
    assert reader.messages[-1].subject.endswith("solved: deploy failed")
    assert reader.look(view(published=issued("cd" * 32, reader.now))) == [RENEWED]
    assert reader.sent.problems == {}


@given(st.lists(st.sampled_from(["well", "broken", "other"]), max_size=60), st.integers(1, 600))
def test_however_it_goes_the_last_message_is_true_in_the_end_and_there_are_few(
    states: list[str], every: int
) -> None:
    """Each problem has four messages a day at most; it began and it is over by turns."""
    reader = Reader()
    views = {
        "well": view(),
        "broken": broken(),
        "other": view(Step("record", said("x")), failures={"record": failure()}),
    }
    for state in states:
        reader.look(views[state], every=every * MINUTE)
    assert reader.most_of_a_day() <= 8
    for title in ("deploy failed", "its DNS record is wrong"):
        lines = [line for m in reader.messages for line in m.body.splitlines() if line.endswith(f": {title}")]
        is_over = [line.split(": ")[1] == "solved" for line in lines if ": still: " not in line]
        assert is_over == [i % 2 == 1 for i in range(len(is_over))]
    reader.look(views[states[-1] if states else "well"], looks=3 * 24, every=timedelta(hours=1))
    believed = {key.split(" ")[1] for key, each in reader.sent.problems.items() if each.is_on}
    assert believed == {"broken": {"deploy"}, "other": {"record"}}.get(states[-1] if states else "", set())


def test_a_year_without_trouble_is_six_renewals(reader: Reader) -> None:
    """A certificate of 90 days, renewed after 60; a look every hour."""
    at, shown, renewals = NOW, view(), 0
    while reader.now < NOW + 365 * DAY:
        if reader.now - at >= 60 * DAY:
            at, renewals = reader.now, renewals + 1
            leaf = replace(FACTS, sha256=f"{renewals:064x}", not_before=at, not_after=at + 90 * DAY)
            shown = view(published=replace(issued("", at), facts=leaf))
        reader.look(shown, every=timedelta(hours=1))
    assert len(reader.messages) == renewals == 6
    assert {each.subject for each in reader.messages} == {f"certbotless on {HOST}: {RENEWED}"}


def test_many_sites_that_come_and_go_at_their_own_times_are_24_messages_a_day(reader: Reader) -> None:
    """What is held back by that is told as it is then, all of it, when there is room again."""
    sites = [site(f"box{i}.sweetlove.top") for i in range(12)]
    for look in range(36 * 6):
        is_bad = [(look // 3 + i) % 12 < 6 for i in range(12)]
        views = [broken(of=each) if bad else view(of=each) for bad, each in zip(is_bad, sites, strict=True)]
        reader.look(*views, every=10 * MINUTE)
    assert reader.most_of_a_day() == 24
    reader.look(*(view(of=each) for each in sites), looks=3 * 24, every=timedelta(hours=1))
    assert not any(each.is_on for each in reader.sent.problems.values())


def test_what_lasts_at_many_sites_is_reminded_of_together(reader: Reader) -> None:
    sites = [site(f"box{i}.sweetlove.top") for i in range(12)]
    for count in range(12):
        reader.look(*(broken(f"{i}", of=each) for i, each in enumerate(sites[: count + 1])), looks=60)
    reader.messages.clear()
    views = [broken(f"{i}", of=each) for i, each in enumerate(sites)]
    reader.look(*views, looks=10 * 24 * 6, every=10 * MINUTE)
    assert len(reader.messages) <= 10 * 4
    for each in sites:
        told = [m for m in reader.messages if each.domain in m.body or "more\n" in m.body]
        assert 10 <= len(told) <= 10 * 4


# --- one message for a look ---------------------------------------------------------------------------------


def test_several_sites_that_fail_for_one_cause_are_one_message(reader: Reader) -> None:
    views = [broken("the engine is down", of=site(f"box{i}.sweetlove.top")) for i in range(30)]
    assert reader.look(*views, looks=3) == ["30 sites: deploy failed"]
    (message,) = reader.messages
    assert message.body.startswith("box0.sweetlove.top, box1.sweetlove.top, ")
    assert " and 20 more: deploy failed\n  the engine is down\n" in message.body
    assert message.body.count("the engine is down") == 1


def test_a_message_stays_below_what_the_smallest_service_takes(reader: Reader) -> None:
    views = [broken(f"{i} " + "错" * 500, of=site(f"box{i}.sweetlove.top")) for i in range(30)]
    reader.look(*views, looks=3)
    (message,) = reader.messages
    assert len(message.body.encode()) < 2048 - len(message.subject.encode())
    assert "more\n" in message.body
    assert message.body.endswith("certbotless status")


@pytest.mark.parametrize("name", ["x", "错", "\U0001f512"])
@pytest.mark.parametrize("size", [1, 400, 5000])
def test_what_the_subject_names_is_in_the_body_however_much_there_is_to_say(
    name: str, size: int, reader: Reader
) -> None:
    """A long domain, and a reason and a hint in letters of several bytes."""
    shown = view(DEPLOY, failures={"deploy:registry": failure(name * size, hint=name * size)}, of=LONG)
    reader.look(shown, looks=3)
    (message,) = reader.messages
    assert message.body.startswith(f"{LONG.domain}: deploy failed\n  {name}")
    assert "fix: " in message.body
    assert len(message.subject.encode()) <= 120
    assert len(message.body.encode()) <= 1900


def test_a_certificate_of_a_hundred_names_is_told_of_with_ten(reader: Reader) -> None:
    names = tuple(f"{'n' * 60}{i}.{'d' * 60}.example.com" for i in range(100))
    reader.look(view(published=replace(issued("", NOW), facts=replace(FACTS, names=names))))
    body = reader.messages[-1].body
    assert body.startswith(f"{RENEWED}\n  {names[0]}")
    assert " and 90 more; valid until 2027-02-12 05:30 UTC\n" in body
    assert len(body.encode()) <= 1900


def test_the_gravest_is_the_subject(reader: Reader) -> None:
    reader.look(view(of=OTHER), broken(), looks=2)
    renewed = view(of=OTHER, published=issued("cd" * 32, reader.now))
    assert reader.look(renewed, broken()) == [f"{BROKEN} (and 1 more)"]


# --- what is told -------------------------------------------------------------------------------------------


def test_a_new_certificate_is_told_when_it_is_served(reader: Reader) -> None:
    """Not one that was there before, or was gone back to, nor a week later, nor by a clock that is behind."""
    assert reader.look(view(), looks=3) == []
    other = issued("cd" * 32, reader.now)
    assert reader.look(view(DEPLOY, published=other), looks=3) == []
    assert reader.look(view(published=other), looks=3) == [RENEWED]
    assert "valid until 2027-02-12 05:30 UTC" in reader.messages[-1].body
    assert reader.look(view(), looks=3) == []
    for now in (NOW + 7 * DAY, NOW - DAY):
        assert Reader(now=now).look(view(published=other), looks=3) == []


def test_the_first_certificate_of_a_site_is_issued(reader: Reader) -> None:
    reader.look(view(Step("order", said("there is none")), published=NOTHING, served={}), looks=3)
    first = Published(FACTS, replace(ORIGIN, issued_at=reader.now))
    assert reader.look(view(published=first), looks=3) == [f"{DOMAIN}: new certificate"]


def test_a_site_that_is_taken_out_and_put_back_has_no_new_certificate(reader: Reader) -> None:
    """Soon or late; nor do two files with one state directory tell it by turns."""
    first = view(published=issued("cd" * 32, NOW))
    assert reader.look(first) == [RENEWED]
    for _ in range(10):
        reader.look(view(of=OTHER), looks=5, every=timedelta(hours=7))
        assert reader.look(first) == []


def test_a_stand_in_is_told_of_once_with_its_certificate_and_the_first_ca_when_it_is_back(
    reader: Reader,
) -> None:
    first, other = (Authority(f"https://{n}.test/dir", "ec256", name=n) for n in ("first", "other"))

    def by(ca: Authority, sha256: str, before: str) -> View:
        published = issued(sha256, reader.now)
        origin = replace(published.origin or ORIGIN, directory=ca.id)
        shown = view(published=replace(published, origin=origin), ca_before=before)
        return replace(shown, authorities=(first, other))

    assert reader.look(by(other, "cd" * 32, first.id), looks=3) == [RENEWED]
    assert "\n  other issued instead of first\n" in reader.messages[-1].body
    assert reader.look(by(first, "ef" * 32, other.id), looks=3) == [RENEWED]
    assert "\n  first is back; other had issued instead\n" in reader.messages[-1].body
    assert reader.look(by(first, "12" * 32, first.id), looks=3) == [RENEWED]
    assert " is back" not in reader.messages[-1].body


def test_certificates_of_hours_are_told_of_four_times_a_day(reader: Reader) -> None:
    for i in range(3 * 12):
        reader.look(view(published=issued(f"{i:064x}", reader.now)), every=timedelta(hours=2))
    assert len(reader.messages) == 12


REDEPLOY, RESTORE, ORDER = (
    Step("redeploy", said("refused")),
    Step("restore", said("damaged")),
    Step("order", said("due")),
)
UNREACHABLE = because(Why.UNREACHABLE)
RECORD, DAMAGED = Step("record", said("x")), Published(FACTS, ORIGIN, "its key is gone")
OTHER_LEAF = Published(replace(FACTS, sha256="cd" * 32), ORIGIN)
NO_RECORD = view(RECORD, failures={"record": failure()})
NO_ORDER = view(ORDER, failures={"order": failure()})
ROLLED_BACK = view(REDEPLOY, failures={"redeploy": failure()}, refused=OTHER_LEAF)
NEAR_ITS_END = view(published=Published(replace(FACTS, not_after=NOW + DAY), ORIGIN))
NO_FILES = view(RESTORE, failures={"restore": failure()})
SILENT = view(problems=(failure("no server answers"),))
HELD = Step(
    "order",
    said("there is none"),
    wait_until=NOW + DAY,
    wait_why=said("5 orders in 7 days")[0],
)
WAITS = waiting(DEPLOY, "set port in its deploy entry")
# A service that is down serves no old certificate, and nobody but us knows that the published one is new.
LATE = replace(WAITS, remembered=SiteState(deploy_by=NOW))
STOPPED = replace(
    waiting(Step("deploy", because(Why.NO_ANSWER), "registry"), "stopped"),
    remembered=LATE.remembered,
)


@pytest.mark.parametrize(
    ("title", "is_wrong", "is_undone"),
    [
        (
            "its DNS record is wrong",
            NO_RECORD,
            view(Step("confirm", said("not every server shows it yet"))),
        ),
        # As without a network: no name server of the zone can be reached, and the API cannot be asked either.
        *(
            (
                "the check could not run",
                view(Step(action, because(Why.UNREACHABLE)), failures={action: failure()}),
                None,
            )
            for action in ("record", "record6", "list")
        ),
        ("the check could not run", SILENT, None),
        ("no new certificate", NO_ORDER, view(replace(ORDER, wait_until=NOW + DAY))),
        ("no new certificate", view(HELD, published=NOTHING, served={}), view(HELD)),
        ("its certificate files are wrong", NO_FILES, view(RESTORE)),
        ("rolled back", ROLLED_BACK, view(RESTORE, published=DAMAGED)),
        ("deploy failed", broken(), view(DEPLOY)),
        ("deploy failed", broken(), waiting(DEPLOY, "its admin stopped it")),
        ("deploy failed", broken(), view(RESTORE, published=DAMAGED)),
        ("deploy failed", LATE, WAITS),
        ("its certificate ends soon", NEAR_ITS_END, view(published=NOTHING)),
    ],
)
def test_a_problem_has_a_name_and_is_not_over_while_something_is_to_be_done(
    title: str, is_wrong: View, is_undone: View | None, reader: Reader
) -> None:
    """Whatever became of its failure; and what begins anew is the same problem."""
    over = f"{DOMAIN}: solved: {title}"
    assert reader.look(is_wrong, looks=3) == [f"{DOMAIN}: {title}"]
    if is_undone is not None:
        assert over not in reader.look(is_undone, looks=30)
        assert reader.look(is_wrong, looks=3) == []
    assert reader.look(view(), looks=3) == [over]


@pytest.mark.parametrize("shown", [view(failures={"order": failure()}), WAITS, STOPPED, view(HELD)])
def test_what_only_waits_or_was_not_needed_is_no_problem(shown: View, reader: Reader) -> None:
    """As a renewal that was forced, and failed."""
    assert reader.look(shown, looks=10) == []


def test_a_first_certificate_that_our_own_count_holds_back_has_its_reason(reader: Reader) -> None:
    reader.look(view(HELD, published=NOTHING, served={}), looks=3)
    assert "5 orders in 7 days\n  next try: 2026-11-25" in reader.messages[-1].body


# --- what a look can tell -----------------------------------------------------------------------------------


def test_the_last_sixth_of_a_certificate_is_told_with_the_days_that_are_left(reader: Reader) -> None:
    def aged(days: int) -> View:
        leaf = replace(FACTS, not_before=reader.now - days * DAY, not_after=reader.now + (90 - days) * DAY)
        return view(published=Published(leaf, ORIGIN))

    reader.look(aged(74))
    assert reader.look(aged(74), looks=3) == []
    assert reader.look(aged(76), looks=3) == [f"{DOMAIN}: its certificate ends soon"]
    assert "will expire in 13 days, at 2026-12-08" in reader.messages[-1].body
    reader.now += DAY
    reader.look(aged(91))
    assert "the certificate expired at" in reader.messages[-1].body


MET = ClientFacts(NOW, False, None, None, "the resolver gives no address", digest_of_visit(view()))
NOT_SERVED = f"{DOMAIN}: the check as a client failed"


def test_what_a_client_met_is_told_and_is_over_when_it_was_there_again(reader: Reader) -> None:
    """With another certificate what it met says nothing any more; that is no end of it."""
    assert reader.look(view(), looks=3, visits={DOMAIN: MET}) == [NOT_SERVED]
    assert reader.look(view(), looks=60) == []
    assert reader.look(view(), looks=3, visits={DOMAIN: replace(MET, resolved=None)}) == []
    well = {DOMAIN: replace(MET, resolved=True)}
    assert reader.look(view(), looks=3, visits=well) == [NOT_SERVED.replace(": ", ": solved: ")]


def test_what_a_client_met_long_ago_is_neither_a_problem_nor_its_end(reader: Reader) -> None:
    """The daemon that visited is gone, and a run by a timer finds what it has left."""
    reader.now = NOW + timedelta(hours=3)
    assert reader.look(view(), looks=3, visits={DOMAIN: MET}) == []
    reader.now = NOW
    assert reader.look(view(), looks=3, visits={DOMAIN: MET}) == [NOT_SERVED]
    assert reader.look(view(), looks=48, every=timedelta(hours=1), visits={DOMAIN: MET}) == []


def test_behind_a_silence_nothing_is_over(reader: Reader) -> None:
    """A record that nobody can ask for is none that has been put right."""
    reader.look(NO_RECORD, looks=3)
    assert reader.look(SILENT, looks=60) == [f"{DOMAIN}: the check could not run"]
    reader.look(NO_RECORD, looks=3)
    assert reader.look(view(), looks=3) == [f"{DOMAIN}: solved: its DNS record is wrong"]


def test_a_refused_edit_is_told_without_a_site(reader: Reader) -> None:
    refused = ["c.yaml:3:1: sits: unknown key 'sits'"]
    told = reader.look(view(), looks=3, refused=refused)
    assert told == ["an edit of the configuration is refused"]
    assert "c.yaml:3:1" in reader.messages[0].body
    assert reader.look(view(), looks=3) == ["solved: an edit of the configuration is refused"]


# --- a certificate that sites share -------------------------------------------------------------------------


@pytest.mark.row(124)
def test_a_shared_certificate_that_fails_is_one_problem_and_not_one_for_each_site(reader: Reader) -> None:
    """Also when it ends soon; and when it has come, that is said once."""
    many = sharing.sharers(count=20)
    assert reader.look(sharing.failing(), *many, looks=5) == [f"{sharing.WILDCARD}: no new certificate"]
    ending = sharing.near_its_end()
    late = sharing.sharers(facts=ending, count=20, shared=Shared(ending))
    told = reader.look(sharing.failing(ending), *late, looks=5)
    assert told == [f"{sharing.WILDCARD}: its certificate ends soon"]
    assert f"certbotless status '{sharing.WILDCARD}'" in reader.messages[-1].body

    fresh = sharing.published(replace(sharing.FACTS_OF_ALL, sha256="cd" * 32))
    new = replace(fresh, origin=replace(ORIGIN, issued_at=reader.now), previous="the one before")
    unit, *sites = (
        replace(each, seen=replace(each.seen, published=new, shared=Shared(new.facts)))
        for each in (sharing.unit(), *many)
    )
    assert reader.look(unit, *sites, looks=5) == [
        f"{sharing.WILDCARD}: certificate renewed",
        f"{sharing.WILDCARD}: solved: its certificate ends soon (and 1 more)",
    ]


def test_a_site_that_is_kept_from_it_says_itself_that_its_own_ends_soon(reader: Reader) -> None:
    own = replace(sharing.near_its_end(), sha256="ef" * 32)
    held = Step("take", because(Why.SHARED, sharing.WILDCARD), wait_until=NOW + DAY, wait_why=said("no")[0])
    kept = sharing.sharers(held, facts=own, shared=Shared(sharing.FACTS_OF_ALL))
    assert reader.look(sharing.unit(), *kept[:1], looks=5) == [
        f"{sharing.NAMES[0]}: its certificate ends soon"
    ]
