"""Events are kept in order, with a bound on their size, and never make a run fail."""

import errno
import fcntl
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from support.files import mode_of
from support.pairs import DOMAIN, NOW

from certbotless.base.log_context import Event
from certbotless.state.history import Events


def test_an_event_is_a_line_of_json(tmp_path: Path) -> None:
    events = Events(tmp_path / "state")
    events.append(NOW, DOMAIN, Event("record.updated", {"old": "最終 \ud800", "ttl_s": 600, "argv": ["a"]}))
    events.append(
        NOW + timedelta(seconds=1), DOMAIN, Event("order.failed", {"error": "DnsError"}), "no\n\ud800"
    )
    rows = [json.loads(line) for line in (tmp_path / "state" / "events.jsonl").read_bytes().splitlines()]
    assert rows == [
        {
            "at": "2026-11-24T05:30:00Z",
            "site": DOMAIN,
            "event": "record.updated",
            "values": {"old": "最終 \\ud800", "ttl_s": 600, "argv": ["a"]},
            "text": "",
        },
        {
            "at": "2026-11-24T05:30:01Z",
            "site": DOMAIN,
            "event": "order.failed",
            "values": {"error": "DnsError"},
            "text": "no\n\\ud800",
        },
    ]
    assert mode_of(tmp_path / "state" / "events.jsonl") == "0o600"


def test_events_start_a_new_file_when_the_old_one_is_large(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = Events(tmp_path)
    path.write_bytes(b"x" * ((1 << 20) + 1))
    events.append(NOW, DOMAIN, Event("record.updated"))
    assert len(path.read_text().splitlines()) == 1
    assert (tmp_path / "events.jsonl.old").stat().st_size == (1 << 20) + 1


def test_of_many_sites_that_find_it_too_large_at_once_one_puts_it_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The older events stay, each new one is kept, and no line of the log says otherwise."""
    path, replaced = tmp_path / "events.jsonl", Path.replace
    path.write_bytes(b"x" * (1 << 20) + b"\n")

    def replace(before: Path, after: Path) -> Path:
        monkeypatch.setattr(Path, "replace", replaced)
        # Another site has found the same, and is faster.
        Events(tmp_path).append(NOW, "other.example.com", Event("record.updated"))
        return replaced(before, after)

    monkeypatch.setattr(Path, "replace", replace)
    Events(tmp_path).append(NOW, DOMAIN, Event("record.updated"))
    assert (tmp_path / "events.jsonl.old").stat().st_size > 1 << 20
    for site in (DOMAIN, "other.example.com"):
        assert [event.event for event in Events(tmp_path).last(site, 9)] == ["record.updated"]
    assert caplog.text == ""


def test_events_start_a_new_file_over_nfs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """There a lock that excludes others is for a file that is open to be written alone (flock(2))."""
    known = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if operation & fcntl.LOCK_EX and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        known(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / "events.jsonl").write_bytes(b"x" * (1 << 20) + b"\n")
    Events(tmp_path).append(NOW, DOMAIN, Event("record.updated"))
    assert [event.event for event in Events(tmp_path).last(DOMAIN, 9)] == ["record.updated"]
    assert caplog.text == ""


def test_the_last_events_of_a_site_are_told_in_order(tmp_path: Path) -> None:
    """Those in the older file too; lines that a full disk cut off, and other sites, are passed over."""
    events = Events(tmp_path)
    assert events.last(DOMAIN, 3) == []
    for i in range(3):
        events.append(NOW, DOMAIN, Event("record.updated", {"new": f"10.0.0.{i}", "ttl_s": 600}))
        events.append(NOW, "other.example.com", Event("record.updated"))
    path = tmp_path / "events.jsonl"
    path.replace(path.with_suffix(".jsonl.old"))
    path.write_text('{"at": "2026-11-\n[]\n"text"\n{"site": "' + DOMAIN + '"}\n')
    events.append(NOW, DOMAIN, Event("order.failed", {"error": "DnsError"}), "no; wait")
    assert [(event.at, event.words) for event in events.last(DOMAIN, 3)] == [
        (NOW, "record.updated new=10.0.0.1 ttl_s=600"),
        (NOW, "record.updated new=10.0.0.2 ttl_s=600"),
        (NOW, "order.failed no; wait"),
    ]


def test_an_event_that_cannot_be_told_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "events.jsonl").mkdir()
    Events(tmp_path).append(NOW, DOMAIN, Event("record.updated"))
    assert "events.not_written" in caplog.text
