"""What the daemon tells the commands beside it counts while it runs, and only if it makes sense."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fakes import FakeClock

from certbotless import bulletin
from certbotless.bulletin import Bulletin
from certbotless.locks import daemon_lock
from certbotless.renewal import Start

AT = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
TOLD = Bulletin(Start(AT, AT + timedelta(minutes=3)), ("c.yaml:1:1: sites: is needed",), "ab" * 32)


def test_what_is_told_is_heard_while_the_daemon_runs(tmp_path: Path) -> None:
    with daemon_lock(tmp_path, FakeClock()):
        assert bulletin.heard(tmp_path) is None
        bulletin.tell(tmp_path, TOLD)
        assert bulletin.heard(tmp_path) == TOLD
    assert bulletin.heard(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "{}", "[" * 100_000, '{"started_at": 7}', '{"started_at": "2026-11-24T05:30:00"}'],
)
def test_what_makes_no_sense_is_not_heard(text: str, tmp_path: Path) -> None:
    with daemon_lock(tmp_path, FakeClock()):
        (tmp_path / "daemon.json").write_text(text)
        assert bulletin.heard(tmp_path) is None


def test_where_it_cannot_be_told_the_daemon_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "daemon.json").mkdir()
    bulletin.tell(tmp_path, TOLD)
    (record,) = caplog.records
    assert record.getMessage().startswith("daemon.not_told error=cannot write")
