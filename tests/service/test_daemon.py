"""The daemon without its world: when a child may be started; how the real process looks, follows and ends.

What it makes of a whole world is in the system tests.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import dns.rcode
import pytest
from support.bed import wait_until
from support.daemons import DOMAIN, PATIENCE_S, ZONE, Machine
from support.fakes import EPOCH
from support.views import said

from certbotless.base.clock import SystemClock
from certbotless.config import load
from certbotless.config.values import AddressRule
from certbotless.model.certificate import Published
from certbotless.model.decision import Decision, Step
from certbotless.model.memory import SiteState
from certbotless.model.observation import Observation
from certbotless.model.view import View
from certbotless.sandbox.alidns import Fault
from certbotless.service import daemon as daemon_module
from certbotless.service.daemon import Daemon, _Tries
from certbotless.service.worker import Addresses
from certbotless.state.site import SiteFile

OTHER_DOMAIN = f"other.{ZONE}"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

# --- when a child may be started --------------------------------------------------------------------------

ORDER, RECORD, CONFIRM = (
    Step("order", said("due")),
    Step("record", said("another")),
    Step("confirm", said("spreading")),
)
DEPLOY, DEPLOY_MIRROR = (
    Step("deploy", said("no answer"), "registry"),
    Step("deploy", said("no answer"), "mirror"),
)
SITES = {
    site.domain: site
    for site in load.parse(
        b"aliyun: {access_key_id: a, access_key_secret: b}\n"
        b"sites: [{domain: devbox.sweetlove.test}, {domain: other.sweetlove.test}]\n",
        "test.yaml",
    ).sites
}


def view(age: timedelta, *steps: Step, domain: str = DOMAIN) -> View:
    """What is seen of a site this long after the first look: these steps are called for."""
    seen = Observation(EPOCH + age, {}, {}, Published(None, None), False, {})
    decision = Decision(steps, (), None)
    return View(SITES[domain], SiteState(), seen, decision, "pending", None, {})


def starts(*looks: tuple[int, *tuple[Step, ...]], check_every: timedelta = MINUTE) -> list[int]:
    """Return at which of these looks a child is started; each is a second, and what is due in it."""
    tries = _Tries()
    return [second for second, *steps in looks if tries.may(view(second * SECOND, *steps), check_every)]


def test_what_changes_nothing_is_tried_with_growing_pauses() -> None:
    each_second = [(second, ORDER) for second in range(64)]
    assert starts(*each_second, check_every=SECOND) == [0, 1, 3, 7, 15, 31, 63]


def test_the_pauses_grow_to_ten_minutes_and_no_further() -> None:
    started = starts(*((second, ORDER) for second in range(3700)))
    pauses = [after - before for before, after in itertools.pairwise(started)]
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600, 600]


def test_rare_looks_do_not_make_the_first_pause_longer() -> None:
    """A look that comes early, as after a child has ended, may start one again after 30 s."""
    assert starts((0, ORDER), (29, ORDER), (30, ORDER), check_every=timedelta(hours=6)) == [0, 30]


def test_something_else_is_tried_at_once() -> None:
    """Also one thing more or less, and another container; and its pauses start anew."""
    others = ((0, ORDER), (1, ORDER, RECORD), (2, RECORD), (3, DEPLOY), (4, DEPLOY_MIRROR))
    assert starts(*others, (33, DEPLOY_MIRROR), (34, DEPLOY_MIRROR)) == [0, 1, 2, 3, 4, 34]


def test_a_record_that_spreads_needs_no_child() -> None:
    """It makes no difference beside something else either."""
    assert starts((0, CONFIRM), (1, CONFIRM, ORDER), (2, ORDER)) == [1]


def test_what_must_wait_is_not_tried() -> None:
    held = Step(
        "order",
        said("due"),
        wait_until=EPOCH + MINUTE,
        wait_why=said("it failed")[0],
    )
    assert starts((59, held), (60, held)) == [60]


def test_what_came_true_in_between_is_tried_at_once_when_it_is_lost_again() -> None:
    assert starts((0, DEPLOY), (1,), (2, DEPLOY)) == [0, 2]


def test_sites_do_not_hold_each_other_up_and_after_an_edit_everything_is_tried_at_once() -> None:
    tries = _Tries()
    assert tries.may(view(0 * SECOND, ORDER), MINUTE)
    assert tries.may(view(0 * SECOND, ORDER, domain=OTHER_DOMAIN), MINUTE)
    assert not tries.may(view(1 * SECOND, ORDER), MINUTE)
    tries.forget()
    assert tries.may(view(1 * SECOND, ORDER), MINUTE)


# --- when it looks ------------------------------------------------------------------------------------------


class Started:
    """A child that only notes what it was started with; one that `goes_on` comes to no end by itself."""

    left_s = 60.0

    def __init__(self, raw: bytes, addresses: dict[str, Addresses], *, goes_on: bool) -> None:
        self.raw, self.addresses = raw, addresses
        self.unfinished = frozenset(addresses if goes_on else ())
        self.asked = 0

    @property
    def is_ending(self) -> bool:
        return self.asked > 0

    def ask_to_end(self) -> None:
        self.asked += 1


@pytest.fixture
def started(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Started]:
    """The children that are started from now on, none of which is a process; they go on if asked for so."""
    found: list[Started] = []

    def start(raw: bytes, addresses: dict[str, Addresses], _: float) -> Started:
        found.append(Started(raw, addresses, goes_on=getattr(request, "param", False)))
        return found[-1]

    monkeypatch.setattr(daemon_module, "Child", start)
    return found


class MovedLan:
    """A machine whose address of the default route is `here`, and has settled.

    With None, nobody can ask for that without a fault of the program.
    """

    def __init__(self, daemon: Daemon, here: str | None) -> None:
        self.here = here
        self._lan, daemon._lan = daemon._lan, self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> object:
        return getattr(self._lan, name)

    def address(self, rule: AddressRule) -> str:
        if rule.kind == "auto" and self.here is None:
            raise ZeroDivisionError
        return self.here if rule.kind == "auto" and self.here else self._lan.address(rule)

    settled = address

    def is_settled(self, _: AddressRule) -> bool:
        return True


def daemon_of(home: Path, *sites: dict[str, object], **settings: object) -> Daemon:
    """Return a daemon of these sites that nobody runs, of one without a record for none.

    Its jobs are run one by one.
    """
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "certs_dir": str(home / "certs"),
        "state_dir": str(home / "state"),
        "sites": [{"zone": ZONE, "deploy": [], **site} for site in sites or [NO_RECORD]],
        **settings,
    }
    file = home / "config.yaml"
    file.write_text(json.dumps(fields))
    return Daemon(file)


NO_RECORD: dict[str, object] = {"domain": DOMAIN, "address": "none"}


def page_of(daemon: Daemon, show: Callable[..., None] | None) -> None:
    """Give a daemon a page that shows what it is told by this; None: it crashes."""
    daemon._web = SimpleNamespace(show=show, follow=lambda _: True)  # type: ignore[assignment]


def begin_look(daemon: Daemon) -> None:
    daemon._look()
    assert daemon._current is not None
    daemon._observe(daemon._current)


def look_once(daemon: Daemon) -> None:
    """Run the jobs of one look, as the timetable does."""
    begin_look(daemon)
    daemon._seen()


def test_a_look_at_one_site_that_crashes_stops_no_other(
    tmp_path: Path, started: list[Started], caplog: pytest.LogCaptureFixture
) -> None:
    """The others get their child at this very look; the traceback is logged once."""
    daemon = daemon_of(tmp_path, NO_RECORD, {"domain": OTHER_DOMAIN})
    MovedLan(daemon, None)
    for _ in range(3):
        look_once(daemon)
    assert [[*child.addresses] for child in started] == [[DOMAIN]]
    crashed = [r for r in caplog.records if r.message == f"look.crashed domain={OTHER_DOMAIN}"]
    assert [record.exc_info is not None for record in crashed] == [True]
    assert daemon._is_looking()


def test_a_look_that_crashes_as_a_whole_is_followed_by_the_next_one(
    tmp_path: Path, started: list[Started], caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback in the log; what was due has been started before it."""
    daemon = daemon_of(tmp_path, check_every="1h")
    shown: list[object] = []
    page_of(daemon, None)
    daemon._timetable.start()
    try:
        daemon._look_soon()
        wait_until(lambda: not daemon._is_looking(), "a look has crashed")
        assert [[*child.addresses] for child in started] == [[DOMAIN]]
        crashed = [record for record in caplog.records if record.message.startswith("job.crashed")]
        assert [(record.message, record.exc_info is not None) for record in crashed] == [
            ("job.crashed name=seen", True)
        ]
        page_of(daemon, lambda *told: shown.append(told))
        daemon._timetable.after("shown", 0, daemon._look_soon)
        wait_until(lambda: shown != [] and daemon._is_looking(), "a look has come to its end")
    finally:
        daemon._timetable.stop()


def test_a_site_that_a_command_has_locked_is_looked_at_and_no_child_started(
    tmp_path: Path, started: list[Started]
) -> None:
    daemon = daemon_of(tmp_path)
    shown: list[View] = []
    page_of(daemon, lambda _, views, __: shown.extend(views))
    with SiteFile(tmp_path / "state", DOMAIN).locked(SystemClock(), 1):
        look_once(daemon)
    assert [view.reason for view in shown] == ["order: there is no certificate yet"]
    assert started == []
    look_once(daemon)
    assert len(started) == 1


def test_what_left_no_trace_is_tried_again_before_the_next_look_of_the_interval(
    tmp_path: Path, started: list[Started]
) -> None:
    """As a child that was killed, where the daemon looks once a day."""
    daemon = daemon_of(tmp_path, check_every="1d")
    look_once(daemon)
    assert len(started) == 1
    [due] = [job for job in daemon._timetable._scheduler.get_jobs() if job.id == f"due:{DOMAIN}"]
    assert due.next_run_time - datetime.now(UTC) <= 30 * SECOND
    look_once(daemon)
    assert len(started) == 1


@pytest.mark.parametrize("started", [True], indirect=True, ids=["at work"])
def test_addresses_that_come_and_go_let_a_child_come_to_its_end(
    tmp_path: Path, started: list[Started], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where each address lasts for less than a run, three children are ended; the next one goes on.

    A child that is about to end is asked once, and the count begins anew after the longest run.
    """
    daemon = daemon_of(tmp_path, {"domain": DOMAIN})
    moved = MovedLan(daemon, "10.79.40.9")
    for number in range(8):
        moved.here = f"10.79.40.{number + 10}"
        look_once(daemon)
        look_once(daemon)
        daemon._children = [child for child in daemon._children if not child.is_ending]
        daemon._tries.forget()
    assert [child.asked for child in started] == [1, 1, 1, 0]
    began_s = daemon._clock.monotonic()
    after_s = began_s + daemon._config.longest_run.total_seconds() + 1
    monkeypatch.setattr(daemon._clock, "monotonic", lambda: after_s)
    look_once(daemon)
    assert [child.asked for child in started] == [1, 1, 1, 1]


@pytest.mark.parametrize("is_edit", [True, False], ids=["an edit", "a jump of the clock"])
def test_a_look_that_something_has_overtaken_starts_no_child(
    is_edit: bool, tmp_path: Path, started: list[Started]
) -> None:
    """It would be at work on what is no more asked for, or not due. The next look comes at once."""
    daemon = daemon_of(tmp_path)
    begin_look(daemon)
    if is_edit:
        daemon_of(tmp_path, {"domain": OTHER_DOMAIN, "address": "none"})
        daemon._source.poll(0, is_asked=True)
        daemon._edits.put((daemon._source.raw, daemon._source.config))
        daemon._on_edit()
    else:
        daemon._look_anew()
    daemon._seen()
    assert started == []
    assert daemon._must_look
    look_once(daemon)
    assert [[*child.addresses] for child in started] == [[OTHER_DOMAIN if is_edit else DOMAIN]]
    assert (OTHER_DOMAIN.encode() in started[0].raw) == is_edit


def test_what_comes_due_while_it_looks_is_looked_at_again(tmp_path: Path) -> None:
    """Where it looks once a day, a moment that passed during the look would else be a day late."""
    daemon = daemon_of(tmp_path, {"domain": DOMAIN}, check_every="1d")
    came = datetime.now(UTC)
    held = view(
        0 * SECOND,
        Step("order", said("due"), wait_until=came, wait_why=said("it failed")[0]),
    )
    daemon._plan_due(replace(held, seen=replace(held.seen, at=came - SECOND)))
    [due] = daemon._timetable._scheduler.get_jobs()
    assert (due.id, due.next_run_time) == (f"due:{DOMAIN}", came)


@pytest.mark.usefixtures("started")
def test_a_daemon_looks_while_each_site_and_each_look_comes_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site has 10 s; between two looks it rests for the interval, unless a look is asked for."""
    daemon = daemon_of(tmp_path, check_every="6h")

    @contextmanager
    def later(seconds: float) -> Iterator[None]:
        later_s = time.monotonic() + seconds
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: later_s)
            yield

    def assert_looks_for(seconds: float) -> None:
        """It is said to look a second before, and not a second after."""
        with later(seconds - 1):
            assert daemon._is_looking()
        with later(seconds + 1):
            assert not daemon._is_looking()

    daemon._look()
    assert_looks_for(10)
    assert daemon._current is not None
    with later(9):
        daemon._observe(daemon._current)
    assert_looks_for(19)
    # Being asked for again gives a look that hangs no more time.
    daemon._look_soon()
    assert_looks_for(10)
    daemon._must_look = False
    daemon._seen()
    assert_looks_for(6 * 3600 + 10)
    daemon._look_soon()
    assert_looks_for(10)


# --- the process ------------------------------------------------------------------------------------------


@pytest.mark.process
def test_systemd_is_told_when_it_is_ready_how_all_stands_and_when_it_stops(machine: Machine) -> None:
    address = str(machine.home / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(PATIENCE_S)
        systemd.bind(address)
        with machine.daemon(NOTIFY_SOCKET=address):
            assert systemd.recv(100) == b"READY=1"
            assert systemd.recv(100).startswith(b"STATUS=sites: 1 ok; next renewal 20")
        assert systemd.recv(100) == b"STOPPING=1"


@pytest.mark.process
def test_an_edit_of_how_often_it_looks_is_taken(machine: Machine) -> None:
    machine.write(check_every="1d")
    with machine.daemon():
        machine.write(check_every="1s")
        machine.reload()
        machine.wait_for_log("config.accepted")
        # The edit itself brings one look, and perhaps a second one right after it.
        machine.wait_for_looks(3)


@pytest.mark.process
def test_what_cannot_be_seen_is_told_once_and_again_when_it_comes_back(machine: Machine) -> None:
    machine.dns.fail("DescribeSubDomainRecords", Fault("error", "Forbidden.RAM"), times=99)
    with machine.daemon():
        for times in (1, 2):
            for server in range(2):
                machine.dns.set_rcode(server, dns.rcode.SERVFAIL)
            machine.look(3)
            for server in range(2):
                machine.dns.set_rcode(server, None)
            machine.look(3)
            assert machine.log.read_text().count("look.blind") == times
    assert f"look.blind domain={DOMAIN} problem=no authoritative name server answers" in (
        machine.log.read_text()
    )


@pytest.mark.process
def test_a_ledger_that_cannot_be_read_stops_no_look(machine: Machine) -> None:
    ledger = machine.home / "state" / "ledger.jsonl"
    with machine.daemon():
        ledger.mkdir()
        machine.look(3)
        assert [site["state"] for site in machine.status()["sites"]] == ["ok"]
    assert "look.crashed" not in machine.log.read_text()


@pytest.mark.process
def test_a_healthy_site_needs_no_child(machine: Machine) -> None:
    """A child would have made the lock of its site."""
    with machine.daemon():
        machine.look(4)
    assert machine.dns.calls == []
    assert list((machine.home / "state" / "sites").glob("*.lock")) == []


@pytest.mark.process
@pytest.mark.row(81)
def test_what_the_api_tells_is_no_problem_where_no_name_server_answers(machine: Machine) -> None:
    """A child asks once; then the site is ok, and says where that is known from."""
    with machine.daemon():
        for server in range(2):
            machine.dns.set_rcode(server, dns.rcode.REFUSED)
        machine.wait_until(lambda: machine.status()["sites"][0]["address"]["source"] == "api")
        machine.wait_until(lambda: machine.status()["sites"][0]["state"] == "ok")
        machine.look(3)
        assert machine.log.read_text().count("look.blind") == 1
    assert [call.action for call in machine.dns.calls] == ["DescribeSubDomainRecords"]
