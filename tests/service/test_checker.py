"""When the sites are checked, and what a check starts. Mostly without threads and processes."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bed import files_below, wait_until
from support.daemons import DOMAIN, ZONE, publish
from support.jobs import Jobs, MovedClock, StillWorker
from support.local_cas import put_ca, put_next

from certbotless.base.clock import SystemClock
from certbotless.config import load
from certbotless.config.addresses import AddressRule
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.settings import Config
from certbotless.model.memory import Failure
from certbotless.model.view import View
from certbotless.service.checker import THREADS, Check, Checker
from certbotless.service.timetable import Timetable
from certbotless.service.workers import Workers
from certbotless.state.site import SiteFile
from certbotless.world.lan.watch import Lan

OTHER_DOMAIN = f"other.{ZONE}"
SECOND = timedelta(seconds=1)
ONE_CHECK = ("look", "observe", "seen")
NO_RECORD: dict[str, object] = {"domain": DOMAIN, "address": "none"}


def config_of(home: Path, *sites: dict[str, object], **settings: object) -> tuple[bytes, Config]:
    """Return a configuration of these sites, of one without a record for none, as text and as meaning."""
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "certs_dir": str(home / "certs"),
        "state_dir": str(home / "state"),
        "sites": [{"zone": ZONE, "deploy": [], **site} for site in sites or [NO_RECORD]],
        **settings,
    }
    raw = json.dumps(fields).encode()
    return raw, load.parse(raw, "config.yaml")


class Scene:
    """The checker of a daemon.

    Attributes:
        started: the workers, none of which is a process.
        checked: the views of each check.
        on_checked: called with them.
    """

    def __init__(
        self, raw: bytes, config: Config, jobs: Timetable | None = None, lan: Lan | None = None
    ) -> None:
        self.started: list[StillWorker] = []
        self.checked: list[Sequence[View]] = []
        self.on_checked: Callable[[], object] = lambda: None
        self.jobs, self.clock = Jobs(), MovedClock()
        timetable = jobs or self.jobs
        workers = Workers(timetable, self.clock, self._start)
        self.checker = Checker(timetable, workers, lan or Lan(), self.clock, self._checked)
        self.checker.follow(raw, config)

    def check(self) -> None:
        """Let one check come to its end."""
        self.checker.check_soon()
        self.jobs.run(*ONE_CHECK)

    def _start(self, *what: object) -> StillWorker:
        self.started.append(StillWorker(*what))  # type: ignore[arg-type]
        self.started[-1].has_gone = True
        return self.started[-1]

    def _checked(self, _: Check, views: Sequence[View]) -> None:
        self.on_checked()
        self.checked.append(views)


class BrokenLan(Lan):
    """Addresses that nobody can ask for without a fault of the program."""

    def address(self, rule: AddressRule) -> str:
        if rule.kind == "auto":
            raise ZeroDivisionError
        return super().address(rule)

    def is_settled(self, _: AddressRule) -> bool:
        return True


def test_a_check_of_one_site_that_crashes_stops_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The others get their worker in this very check; the traceback is logged once."""
    scene = Scene(*config_of(tmp_path, NO_RECORD, {"domain": OTHER_DOMAIN}), lan=BrokenLan())
    for _ in range(3):
        scene.check()
    assert [[*worker.addresses] for worker in scene.started] == [[DOMAIN]]
    crashed = [r for r in caplog.records if r.message == f"check.crashed domain={OTHER_DOMAIN}"]
    assert [record.exc_info is not None for record in crashed] == [True]


def test_a_check_that_crashes_as_a_whole_is_followed_by_the_next_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback in the log, and real threads. What was due has been started before it."""
    timetable = Timetable(*THREADS)
    scene = Scene(*config_of(tmp_path, check_every="1h"), timetable)
    scene.on_checked = lambda: 1 // 0
    timetable.start()
    try:
        scene.checker.check_soon()
        wait_until(lambda: timetable.has_crashed, "a check has crashed")
        assert [[*worker.addresses] for worker in scene.started] == [[DOMAIN]]
        crashed = [record for record in caplog.records if record.message.startswith("job.crashed")]
        assert [(record.message, record.exc_info is not None) for record in crashed] == [
            ("job.crashed name=seen", True)
        ]
        scene.on_checked = lambda: None
        timetable.after("shown", 0, scene.checker.check_soon)
        wait_until(lambda: scene.checked != [] and not timetable.has_crashed, "a check has come to its end")
    finally:
        timetable.stop()


def test_a_site_that_a_command_has_locked_is_checked_and_no_worker_started(tmp_path: Path) -> None:
    scene = Scene(*config_of(tmp_path))
    with SiteFile(tmp_path / "state", DOMAIN).locked(SystemClock(), 1):
        scene.check()
    assert [view.reason for view in scene.checked[0]] == ["order: there is no certificate yet"]
    assert scene.started == []
    scene.check()
    assert len(scene.started) == 1


def test_what_left_no_trace_is_tried_again_before_the_next_check_of_the_interval(tmp_path: Path) -> None:
    """As after a worker that was killed, where the daemon checks once a day."""
    scene = Scene(*config_of(tmp_path, check_every="1d"))
    scene.check()
    assert len(scene.started) == 1
    assert scene.jobs.planned[f"due:{DOMAIN}"][0] - datetime.now(UTC) <= 30 * SECOND
    scene.check()
    assert len(scene.started) == 1


@pytest.mark.parametrize("is_edit", [True, False], ids=["an edit", "a jump of the clock"])
def test_a_check_that_something_has_overtaken_starts_no_worker(is_edit: bool, tmp_path: Path) -> None:
    """It would be at work on what is no longer asked for, or not due. The next check comes at once."""
    scene = Scene(*config_of(tmp_path))
    scene.checker.check_soon()
    scene.jobs.run("look", "observe")
    if is_edit:
        scene.checker.follow(*config_of(tmp_path, {"domain": OTHER_DOMAIN, "address": "none"}))
    scene.checker.check_afresh()
    scene.jobs.run("seen")
    assert scene.started == []
    assert scene.jobs.is_due("look")
    scene.jobs.run(*ONE_CHECK)
    assert [[*worker.addresses] for worker in scene.started] == [[OTHER_DOMAIN if is_edit else DOMAIN]]
    assert (OTHER_DOMAIN.encode() in scene.started[0].raw) == is_edit


def test_what_comes_due_during_a_check_is_checked_again(tmp_path: Path) -> None:
    """Where it checks once a day, a moment that passed during the check would else be a day late."""
    raw, config = config_of(tmp_path, check_every="1d")
    scene = Scene(raw, config)
    came = scene.clock.now()
    failed = Failure(at=came - 120 * SECOND, what="it failed", hint="", retry_at=came, count=1)
    digest, _ = Fingerprints.of(config).digests(config, config.sites[0])
    SiteFile(tmp_path / "state", DOMAIN).change(digest=digest, failures={"order": failed})
    scene.clock.ahead_s = -60
    scene.checker.check_soon()
    scene.jobs.run("look", "observe")
    scene.clock.ahead_s = 0
    scene.jobs.run("seen")
    assert scene.started == []
    assert scene.jobs.planned[f"due:{DOMAIN}"][0] == came


def test_a_daemon_is_in_time_while_each_site_and_each_check_is(tmp_path: Path) -> None:
    """Between two checks the next one is due after the interval, or when it is asked for."""
    scene = Scene(*config_of(tmp_path, check_every="6h"))

    def late_s() -> int:
        return round(scene.checker.late_s)

    scene.checker.check_soon()
    scene.jobs.run("look")
    scene.clock.ahead_s = 9
    assert late_s() == 9
    scene.jobs.run("observe")
    assert late_s() == 0
    # Being asked for again gives a check that hangs no more time.
    scene.clock.ahead_s = 20
    scene.checker.check_soon()
    assert late_s() == 11
    scene.jobs.run("seen", *ONE_CHECK)
    assert late_s() == -6 * 3600
    scene.checker.check_soon()
    assert late_s() == 0


def test_a_check_is_planned_for_the_rotation_of_the_local_ca_and_a_worker_started_when_it_is_due(
    tmp_path: Path,
) -> None:
    """Though no certificate is. A healthy site with a young root gets no worker."""
    state, day = tmp_path / "state", timedelta(days=1)
    young = put_ca(state)
    publish(tmp_path / "certs", state, DOMAIN, datetime.now(UTC) - day, young.id)
    scene = Scene(*config_of(tmp_path, {**NO_RECORD, "ca": "local"}, check_every="1d"))
    before = files_below(state, tmp_path / "certs")
    scene.check()
    assert (scene.started, files_below(state, tmp_path / "certs")) == ([], before)
    begun = put_next(state, 80 * day)
    scene.check()
    # Before the renewal, which is 59 days away.
    assert scene.jobs.planned[f"due:{DOMAIN}"][0] == begun.switches_at
    assert scene.started == []
    put_next(state, 91 * day)
    scene.check()
    assert [[*worker.addresses] for worker in scene.started] == [[DOMAIN]]
    put_next(state)
    scene.check()
    assert len(scene.started) == 1
    old = put_ca(state, 3000 * day)
    publish(tmp_path / "certs", state, DOMAIN, datetime.now(UTC) - day, old.id)
    scene.check()
    assert len(scene.started) == 2


class Addresses:
    """What a machine has for a LAN address, and what time it is."""

    def __init__(self) -> None:
        self.address, self.now_s = "10.0.0.5", 0.0
        self.lan = Lan(lambda _: self.address, lambda: self.now_s)


def scene_of_local_site(home: Path, addresses: Addresses) -> Scene:
    """Return a scene whose site, of the local CA, has no certificate yet."""
    site = {"domain": "devbox", "ca": "local", "address": "auto"}
    return Scene(*config_of(home, sites=[site]), lan=addresses.lan)


def test_a_local_site_waits_until_its_address_has_settled(tmp_path: Path) -> None:
    """A lease that comes in two steps is one certificate."""
    addresses = Addresses()
    scene = scene_of_local_site(tmp_path, addresses)
    scene.check()
    addresses.address, addresses.now_s = "10.0.0.6", 1
    scene.check()
    addresses.now_s = 2.9
    scene.check()
    assert scene.started == []
    addresses.now_s = 3
    scene.check()
    assert [worker.addresses["devbox"]["A"] for worker in scene.started] == ["10.0.0.6"]


def test_a_local_site_goes_on_without_an_address_that_never_settles(tmp_path: Path) -> None:
    """After a minute: a certificate may be due."""
    addresses = Addresses()
    scene = scene_of_local_site(tmp_path, addresses)
    for second in range(62):
        addresses.address, addresses.now_s = f"10.0.0.{second}", second
        scene.check()
        assert (scene.started == []) == (second < 60)
    assert scene.started[0].addresses["devbox"]["A"] == ""
