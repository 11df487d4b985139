"""A worker of the daemon: the real program, at work on sites that are well, that fail, or that take long.

The DNS API is a small server that refuses each connection, or lets it hang; nobody else can be reached.
"""

import json
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bed import PATIENCE_S, wait_until
from support.daemons import publish
from support.fakes import FakeZone, HttpServer, Reply, Request, ZoneServer

from certbotless.service.process import Worker
from certbotless.service.wire import Addresses

pytestmark = pytest.mark.process

ZONE = "sweetlove.test"
WELL, FAILING, AT_WORK = f"well.{ZONE}", f"failing.{ZONE}", f"at-work.{ZONE}"
DIRECTORY = "https://127.0.0.1:1/dir"
ADDRESSES: Addresses = {"A": "10.79.40.213", "AAAA": ""}
CANARY = "PlantedCanary"


class Scene:
    """A machine with three sites: one is well, one cannot be published, and one needs the DNS API.

    Attributes:
        api: the DNS API; it closes each connection without an answer, so that it is asked again and again.
        hangs: the API does not even do that.
        name_server: knows of no record.
    """

    def __init__(self, home: Path) -> None:
        self.hangs = False
        self.api = HttpServer(self._respond)
        self.name_server = ZoneServer(FakeZone(ZONE))
        self._is_over = threading.Event()
        self._home = home
        self._workers: list[Worker] = []
        publish(home / "certs", home / "state", WELL, datetime.now(UTC) - timedelta(days=1), DIRECTORY)
        (home / "certs" / f"{FAILING}.pem").mkdir()

    def start(self, *domains: str, timeout_s: float = PATIENCE_S) -> Worker:
        """Start a worker for these sites; it is gone at the end of the test."""
        fields = {
            "acme": {"directory": DIRECTORY},
            "aliyun": {"access_key_id": "id", "access_key_secret": CANARY, "endpoint": self.api.url},
            "dns": {"nameservers": [self.name_server.place]},
            "certs_dir": str(self._home / "certs"),
            "state_dir": str(self._home / "state"),
            "sites": [
                {"domain": domain, "zone": ZONE, "address": "none"} for domain in (WELL, FAILING, AT_WORK)
            ],
        }
        worker = Worker(json.dumps(fields).encode(), dict.fromkeys(domains, ADDRESSES), timeout_s)
        self._workers.append(worker)
        return worker

    def start_at_work(self, *, timeout_s: float = PATIENCE_S) -> Worker:
        """Start a worker that asks the API, and return when it does."""
        worker = self.start(AT_WORK, timeout_s=timeout_s)
        wait_until(lambda: bool(self.api.requests), "the API is asked")
        return worker

    def end(self) -> None:
        """Let go of everything."""
        self._is_over.set()
        for worker in self._workers:
            worker.end(PATIENCE_S)
            assert worker.has_ended()

    def _respond(self, _: Request) -> Reply | None:
        if self.hangs:
            self._is_over.wait(PATIENCE_S)
        return None


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    with scene.api, scene.name_server:
        try:
            yield scene
        finally:
            scene.end()


def the_pid() -> int:
    """Return the pid of the one worker that runs."""
    ours = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (pid,) = (int(pid) for pid in ours if b"--once" in Path(f"/proc/{pid}/cmdline").read_bytes())
    return pid


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]


# --- what is run ------------------------------------------------------------------------------------------


def test_nothing_in_the_working_directory_is_run_in_its_place(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even what is called as we are: it would have the configuration, and the secrets in it."""
    stolen, theirs = tmp_path / "stolen", tmp_path / "cwd" / "certbotless"
    theirs.mkdir(parents=True)
    (theirs / "__init__.py").write_text(f"import sys; open({str(stolen)!r}, 'w').write(sys.stdin.read())")
    (theirs / "__main__.py").touch()
    (theirs.parent / "yaml.py").write_text(f"open({str(stolen)!r}, 'w')")
    monkeypatch.chdir(theirs.parent)
    worker = scene.start(WELL)
    wait_until(lambda: stolen.exists() or not worker.unfinished, "it is done")
    assert not stolen.exists()


# --- what it reports --------------------------------------------------------------------------------------


def test_a_site_that_is_done_is_reported_while_the_worker_works_on_another(scene: Scene) -> None:
    """One that went well is done, and so is one that failed."""
    worker = scene.start(WELL, FAILING, AT_WORK)
    assert worker.addresses == dict.fromkeys((WELL, FAILING, AT_WORK), ADDRESSES)
    assert worker.unfinished == {WELL, FAILING, AT_WORK}
    wait_until(lambda: worker.unfinished == {AT_WORK}, "the others are done")
    assert not worker.has_ended()


@pytest.mark.parametrize("domain", [WELL, FAILING], ids=["well", "failing"])
def test_it_works_on_the_given_sites_alone_and_ends_by_itself(
    domain: str, scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """That a site failed is no error of the worker."""
    worker = scene.start(domain)
    wait_until(lambda: not worker.unfinished, "it is done")
    wait_until(worker.has_ended, "it has ended")
    assert errors_in(caplog) == []
    assert scene.api.requests == []


def test_reports_that_come_in_pieces_are_put_together(scene: Scene) -> None:
    """And what is no report changes nothing. The test writes into the pipe, in the worker's place."""
    worker = scene.start_at_work()
    with open(f"/proc/{the_pid()}/fd/1", "wb", buffering=0) as pipe:
        for piece in (b"no report\n\xff\xfe: \n\n:\n", AT_WORK.encode()[:4], AT_WORK.encode()[4:], b": o"):
            pipe.write(piece)
            assert worker.unfinished == {AT_WORK}
        pipe.write(b"k\n")
        assert worker.unfinished == frozenset()


def test_reports_longer_than_one_read_are_read_whole(scene: Scene) -> None:
    """A read may end within a name."""
    worker = scene.start_at_work()
    with open(f"/proc/{the_pid()}/fd/1", "wb", buffering=0) as pipe:
        pipe.write(b"x" * 4090 + b"\n" + AT_WORK.encode() + b": ok\n")
    assert worker.unfinished == frozenset()


@pytest.mark.row(142)
def test_a_thousand_reports_of_failures_wait_for_no_check(scene: Scene) -> None:
    """The daemon reads them at its next check, and meanwhile the worker must go on."""
    worker = scene.start_at_work()
    report = f"site.{ZONE}: failing: ".encode() + b"x" * 900 + b"\n"
    pipe = os.open(f"/proc/{the_pid()}/fd/1", os.O_WRONLY | os.O_NONBLOCK)
    try:
        assert [os.write(pipe, report) for _ in range(1000)] == [len(report)] * 1000
        os.write(pipe, f"{AT_WORK}: ok\n".encode())
    finally:
        os.close(pipe)
    assert worker.unfinished == frozenset()


def test_the_secrets_are_neither_on_its_command_line_nor_in_its_environment(scene: Scene) -> None:
    scene.start_at_work()
    for name in ("cmdline", "environ"):
        assert CANARY.encode() not in Path(f"/proc/{the_pid()}/{name}").read_bytes()


# --- how it ends ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [Worker.ask_to_end, lambda each: each.end(PATIENCE_S)], ids=["ask", "end"])
def test_one_that_is_asked_to_end_does_in_time_and_that_is_no_error(
    ask: Callable[[Worker], object], scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    worker = scene.start_at_work()
    ask(worker)
    wait_until(worker.has_ended, "it has ended")
    assert errors_in(caplog) == []


def test_one_that_is_asked_to_end_before_it_can_listen_is_no_error_either(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends by the signal itself: its handlers stand only after its imports."""
    worker = scene.start(AT_WORK)
    worker.ask_to_end()
    wait_until(worker.has_ended, "it has ended")
    assert errors_in(caplog) == []
    assert scene.api.requests == []


def test_one_that_does_not_end_in_time_is_killed(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """As where a library waits for an answer that does not come."""
    scene.hangs = True
    worker = scene.start_at_work()
    pid = the_pid()
    worker.end(0.1)
    assert worker.has_ended()
    assert errors_in(caplog) == [f"worker.failed pid={pid} exit=-{int(signal.SIGKILL)}"]


@pytest.mark.row(13)
def test_one_past_its_deadline_is_ended_and_its_unfinished_sites_are_named(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    worker = scene.start_at_work(timeout_s=0)
    pid = the_pid()
    assert worker.has_ended()
    assert errors_in(caplog)[0] == f"worker.overdue pid={pid} domains={AT_WORK}"


def test_one_that_others_killed_is_told_of(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    worker = scene.start_at_work()
    pid = the_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(worker.has_ended, "it has ended")
    assert errors_in(caplog) == [f"worker.failed pid={pid} exit=-{int(signal.SIGKILL)}"]


def test_one_that_cannot_work_at_all_is_told_of(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    """As for a site that its configuration does not know."""
    worker = scene.start(f"unknown.{ZONE}")
    wait_until(worker.has_ended, "it has ended")
    assert [error.rpartition(" ")[2] for error in errors_in(caplog)] == ["exit=2"]
