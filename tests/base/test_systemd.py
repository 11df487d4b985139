"""What systemd says in the environment, and what it is told."""

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

import pytest

from certbotless.base.systemd import Watchdog, is_read_by_journal, notify, own_unit


def test_the_journal_is_known_by_the_stream_that_systemd_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "stream").open("wb") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert is_read_by_journal(stream.fileno())
        for other in ("", "0:0", "x", f"{found.st_dev}:{found.st_ino + 1}"):
            monkeypatch.setenv("JOURNAL_STREAM", other)
            assert not is_read_by_journal(stream.fileno())
    assert not is_read_by_journal(10**6)


def test_systemd_says_where_it_wants_to_be_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, or a name in the abstract namespace; where it says nothing nobody is told."""
    path = str(tmp_path / "notify")
    for written, bound in ((path, path), (f"@{path}", f"\0{path}")):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
            systemd.bind(bound)
            monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
            notify("READY=1")
            monkeypatch.setenv("NOTIFY_SOCKET", written)
            notify("STOPPING=1")
            assert systemd.recv(100) == b"STOPPING=1"


def test_a_systemd_that_does_not_listen_is_no_reason_to_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/nowhere/notify")
    notify("READY=1")
    assert caplog.messages == ["systemd.not_notified error=No such file or directory"]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("0::/system.slice/certbotless.service\n", "certbotless.service"),
        (
            "4:pids:/x\n1:name=systemd:/system.slice/certbotless-once.service\n0::/\n",
            "certbotless-once.service",
        ),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/system.slice/cron.service\n", ""),
        ("0::/certbotless.service/child\n", ""),
        ("", ""),
    ],
)
def test_a_unit_of_ours_is_known_by_its_control_group(text: str, unit: str, tmp_path: Path) -> None:
    """On a machine of one hierarchy of control groups, and on one of several."""
    (tmp_path / "cgroup").write_text(text)
    assert own_unit(tmp_path / "cgroup") == unit


@pytest.mark.parametrize(
    ("usec", "pid", "time_s"),
    [
        ("120000000", "", 120),
        ("120000000", "OURS", 120),
        ("120000000", "1", None),  # it watches who started us
        ("0", "", None),
        ("", "", None),
        ("x", "", None),
    ],
)
def test_systemd_says_whom_it_watches(
    monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, time_s: float | None
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", usec)
    monkeypatch.setenv("WATCHDOG_PID", pid.replace("OURS", str(os.getpid())))
    assert Watchdog().time_s == time_s


def test_the_watchdog_is_told_four_times_in_its_time_and_not_more_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, now_s = str(tmp_path / "notify"), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now_s[0])
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "120000000")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as systemd:
        systemd.bind(path)
        watchdog, told = Watchdog(), 0
        for _ in range(120):
            watchdog.ping()
            now_s[0] += 1
            with suppress(BlockingIOError):
                assert systemd.recv(100) == b"WATCHDOG=1"
                told += 1
    assert told == 4
