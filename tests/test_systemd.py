"""What systemd says in the environment, and what it is told."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from certbotless.systemd import is_read_by_journal, notify


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
