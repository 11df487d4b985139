"""Locks between runs: held by one, waited for, and let go however their holder ends."""

import errno
import fcntl
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.children import DONE, start_child, wait_for
from support.fakes import FakeClock
from support.files import in_time, plant
from support.pairs import DOMAIN, NOW

from certbotless.base.clock import Clock, SystemClock
from certbotless.base.errors import AlreadyRunning, Interrupted, StoreError
from certbotless.base.locks import ActionLock, DaemonLock, running_daemon
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.site import Accounts, SiteFile


@pytest.fixture
def site(tmp_path: Path) -> SiteFile:
    return SiteFile(tmp_path, DOMAIN)


# --- locks ------------------------------------------------------------------------------------------------

LOCKS: dict[str, Callable[[Path, Clock, float], Any]] = {
    "site": lambda state_dir, clock, timeout_s: SiteFile(state_dir, DOMAIN).locked(clock, timeout_s),
    "ledger": lambda state_dir, clock, timeout_s: LedgerFile(state_dir).locked(clock, timeout_s),
    "account": lambda state_dir, clock, timeout_s: Accounts(state_dir, "https://ca.test/").locked(
        clock, timeout_s
    ),
    "container": lambda state_dir, clock, timeout_s: ActionLock(state_dir, "0123", clock, timeout_s),
}
locks = pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS.keys())


@contextmanager
def held_by_another_process(enter: Callable[[], Any]) -> Iterator[int]:
    """Have a child hold what `enter` gives, for as long as the block runs or somebody kills the child."""
    ready, say_ready = os.pipe()

    def hold() -> None:
        with enter():
            os.write(say_ready, b"!")
            signal.pause()

    pid = start_child(hold)
    os.close(say_ready)
    assert os.read(ready, 1) == b"!"
    os.close(ready)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        wait_for(pid)


@locks
def test_a_lock_that_is_free_is_taken_at_once(tmp_path: Path, lock: Callable[..., Any]) -> None:
    clock = FakeClock()
    for _ in range(2):
        with lock(tmp_path, clock, 10):
            pass
    assert clock.sleeps == []


@pytest.mark.process
@locks
def test_a_lock_that_another_process_holds_is_waited_for_and_then_given_up(
    tmp_path: Path, lock: Callable[..., Any]
) -> None:
    clock = FakeClock()
    with held_by_another_process(lambda: lock(tmp_path, SystemClock(), 1)):
        with (
            pytest.raises(StoreError, match="still locked after 10 s") as given_up,
            lock(tmp_path, clock, 10),
        ):
            pytest.fail("the lock is held")
        assert clock.monotonic() == pytest.approx(10)
        assert "try again later" in given_up.value.hint


@pytest.mark.process
@locks
def test_a_lock_ends_with_its_holder_however_that_ends(tmp_path: Path, lock: Callable[..., Any]) -> None:
    clock = FakeClock()
    with held_by_another_process(lambda: lock(tmp_path, SystemClock(), 1)) as pid:

        def kill_holder() -> None:
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        clock.on_sleep = kill_holder
        with lock(tmp_path, clock, 10):
            pass
    assert len(clock.sleeps) == 1


@pytest.mark.row(142)
def test_a_lock_that_is_waited_for_is_tried_often(tmp_path: Path, site: SiteFile) -> None:
    """Also after a while: of 100 sites that wrote to the ledger for 0.1 s, 21 had waited for 60 s in vain."""
    clock = FakeClock()
    with site.locked(FakeClock(), 1), pytest.raises(StoreError), site.locked(clock, 60):
        pytest.fail("the lock is held")
    assert clock.sleeps[0] <= 0.05
    assert max(clock.sleeps) <= 0.1


def test_a_stop_ends_the_wait_for_a_lock_and_leaves_nothing_open(site: SiteFile) -> None:
    clock = FakeClock()
    clock.stop()
    with site.locked(FakeClock(), 1):
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(Interrupted), site.locked(clock, 60):
            pytest.fail("the lock is held")
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("lock", "guarded"),
    [
        ("site", f"sites/{DOMAIN}.json"),
        ("site", f"sites/{DOMAIN}.order.key"),
        ("site", f"sites/{DOMAIN}.pair"),
        ("ledger", "ledger.jsonl"),
        ("account", "key.pem"),
        ("account", "account.json"),
    ],
)
def test_who_takes_a_lock_removes_what_a_killed_writer_has_left(
    tmp_path: Path, lock: str, guarded: str
) -> None:
    taken = LOCKS[lock](tmp_path, FakeClock(), 1)
    with taken:
        home = next(path.parent for path in tmp_path.rglob("*lock"))
    path = home / Path(guarded).name
    left = path.with_name(f".{path.name}.0123456789abcdef")
    kept = [path, path.with_name(f".{path.name}.bak"), path.with_name(".other.0123456789abcdef")]
    for each in (left, *kept):
        each.write_text("key")
    with LOCKS[lock](tmp_path, FakeClock(), 1):
        assert not left.exists()
    assert [each for each in kept if not each.exists()] == []


@pytest.mark.process
@pytest.mark.parametrize("kind", ["a named pipe", "a symbolic link", "a directory", "a socket"])
def test_a_look_at_a_lock_never_waits(tmp_path: Path, site: SiteFile, kind: str) -> None:
    (tmp_path / "sites").mkdir()
    plant(kind, tmp_path / "sites" / f"{DOMAIN}.lock")
    plant(kind, tmp_path / "daemon.lock")

    def look() -> None:
        assert site.holder is None
        assert running_daemon(tmp_path) is None

    assert in_time(look) == DONE


@pytest.mark.process
def test_whether_a_run_is_at_work_is_seen_without_waiting(tmp_path: Path, site: SiteFile) -> None:
    seen = [site.holder]
    with held_by_another_process(lambda: SiteFile(tmp_path, DOMAIN).locked(SystemClock(), 1)) as pid:
        seen.append(site.holder)
    seen.append(site.holder)
    assert [each and each.pid for each in seen] == [None, pid, None]


def test_the_locks_of_two_sites_and_of_two_daemons_are_two_locks(tmp_path: Path, site: SiteFile) -> None:
    clock = FakeClock()
    with site.locked(clock, 1), SiteFile(tmp_path, "other.test").locked(clock, 1):
        pass
    with DaemonLock(tmp_path / "one", clock), DaemonLock(tmp_path / "two", clock):
        pass
    assert clock.sleeps == []


@pytest.mark.process
def test_a_program_that_we_start_does_not_keep_our_lock(tmp_path: Path, site: SiteFile) -> None:
    clock = FakeClock()
    with site.locked(clock, 1):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with site.locked(clock, 1):
            assert clock.sleeps == []
    finally:
        child.kill()
        child.wait()


def test_a_lock_is_never_taken_through_a_link_that_somebody_planted(tmp_path: Path, site: SiteFile) -> None:
    (tmp_path / "sites").mkdir()
    (tmp_path / "sites" / f"{DOMAIN}.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError), site.locked(FakeClock(), 1):
        pytest.fail("no lock was to be had")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.row(141)
@pytest.mark.parametrize("name", [*LOCKS, "daemon"])
def test_a_file_system_without_locks_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As on NFS without its lock service."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    enter = (LOCKS | {"daemon": lambda state_dir, clock, _: DaemonLock(state_dir, clock)})[name]
    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(StoreError, match="No locks available") as refused, enter(tmp_path, FakeClock(), 1):
        pytest.fail("no lock was to be had")
    assert str(tmp_path) in refused.value.message
    assert "file system" in refused.value.hint
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_of_threads_too_only_one_at_a_time_holds_a_lock(tmp_path: Path) -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(20):
            with SiteFile(tmp_path, DOMAIN).locked(SystemClock(), 60):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


# --- the daemon's lock ------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_second_daemon_is_told_the_pid_of_the_first(tmp_path: Path) -> None:
    with held_by_another_process(lambda: DaemonLock(tmp_path, SystemClock())) as pid:
        with (
            pytest.raises(AlreadyRunning, match=f"pid {pid} ") as refused,
            DaemonLock(tmp_path, FakeClock()),
        ):
            pytest.fail("the lock is held")
        assert str(tmp_path) in refused.value.message
        assert refused.value.hint


@pytest.mark.process
def test_a_running_daemon_is_known_by_its_pid_and_one_that_was_killed_is_not(tmp_path: Path) -> None:
    assert running_daemon(tmp_path) is None
    with held_by_another_process(lambda: DaemonLock(tmp_path, SystemClock())) as pid:
        assert running_daemon(tmp_path) == pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert running_daemon(tmp_path) is None
    with DaemonLock(tmp_path, FakeClock()):
        assert (tmp_path / "daemon.lock").read_text().startswith(f"{os.getpid()} ")
        assert running_daemon(tmp_path) == os.getpid()
    assert running_daemon(tmp_path) is None


@pytest.mark.parametrize("noted", ["", "no pid", "\N{SUPERSCRIPT TWO}", "-5"])
def test_a_daemon_that_has_noted_no_pid_runs_all_the_same(tmp_path: Path, noted: str) -> None:
    with DaemonLock(tmp_path, FakeClock()):
        (tmp_path / "daemon.lock").write_text(noted)
        assert running_daemon(tmp_path) == 0


def test_a_shorter_pid_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").write_text("99999999999\n")
    with DaemonLock(tmp_path, FakeClock()):
        assert running_daemon(tmp_path) == os.getpid()


def test_a_look_at_the_lock_does_not_keep_a_daemon_from_starting(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").touch()
    looker = os.open(tmp_path / "daemon.lock", os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    clock = FakeClock()
    clock.on_sleep = lambda: fcntl.flock(looker, fcntl.LOCK_UN)
    with DaemonLock(tmp_path, clock):
        assert len(clock.sleeps) == 1
    os.close(looker)


def test_the_last_action_is_known_to_the_next_holder_but_not_one_of_a_time_to_come(tmp_path: Path) -> None:
    """What a clock that was ahead wrote down would count as done for all files until then."""
    clock = FakeClock(NOW)
    with ActionLock(tmp_path, "0123", clock, 1) as lock:
        assert lock.last_action("restart") is None
        lock.note_action(NOW, "restart")
    with ActionLock(tmp_path, "0123", FakeClock(NOW + timedelta(minutes=1)), 1) as lock:
        assert lock.last_action("restart") == NOW
    with ActionLock(tmp_path, "0123", FakeClock(NOW - timedelta(minutes=1)), 1) as lock:
        assert lock.last_action("restart") is None


def test_only_the_last_action_is_known_and_only_as_what_it_was(tmp_path: Path) -> None:
    """Older versions noted a moment alone, or a digest behind it: to act once more does no harm."""
    with ActionLock(tmp_path, "0123", FakeClock(NOW), 1) as lock:
        lock.note_action(NOW, "['nginx', '-s', 'reload'] \N{SNOWMAN}")
        assert lock.last_action("HUP") is None
        assert lock.last_action("['nginx', '-s', 'reload'] \N{SNOWMAN}") == NOW
        lock.note_action(NOW, "HUP")
        assert lock.last_action("HUP") == NOW
        for old in (f"{NOW.isoformat()}", f"{NOW.isoformat()} 36dc2ea3b0c5ec05"):
            (tmp_path / "containers" / "0123.lock").write_text(old)
            assert lock.last_action("HUP") is None


@pytest.mark.process
@pytest.mark.row(6)
def test_of_many_daemons_that_start_at_once_one_runs(tmp_path: Path) -> None:
    reports, report = os.pipe()
    end, keep_running = os.pipe()

    def daemon() -> None:
        os.close(keep_running)
        try:
            with DaemonLock(tmp_path, SystemClock()):
                os.write(report, b"+")
                os.read(end, 1)
        except AlreadyRunning:
            os.write(report, b"-")

    pids = [start_child(daemon) for _ in range(8)]
    outcomes = b"".join(os.read(reports, 1) for _ in pids)
    os.close(keep_running)
    assert sorted(outcomes) == sorted(b"+-------")
    assert [wait_for(pid) for pid in pids] == [DONE] * 8
    for fd in (reports, report, end):
        os.close(fd)
