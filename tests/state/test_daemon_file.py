"""What the daemon tells the commands beside it counts while it runs, and only if it makes sense."""

import hashlib
from pathlib import Path

import pytest
from support.fakes import FakeClock
from support.languages import chinese

from certbotless.base.locks import DaemonLock
from certbotless.base.words import Text, _
from certbotless.state import daemon_file

REFUSED, RAW = ("c.yaml:1:1: sites: is needed", "c.yaml:2:1: acme: is no list"), b"sits: []\n"
DIGEST = hashlib.sha256(RAW).hexdigest()


def test_a_refusal_is_told_of_that_text_alone_and_while_the_daemon_runs(tmp_path: Path) -> None:
    with DaemonLock(tmp_path, FakeClock()):
        assert daemon_file.refusal(tmp_path, RAW) == ()
        daemon_file.tell(tmp_path, REFUSED, DIGEST)
        assert daemon_file.refusal(tmp_path, RAW) == REFUSED
        assert daemon_file.refusal(tmp_path, RAW + b"\n") == ()
        daemon_file.tell(tmp_path, (), "")
        assert daemon_file.refusal(tmp_path, RAW) == ()
        daemon_file.tell(tmp_path, REFUSED, DIGEST)
    assert daemon_file.refusal(tmp_path, RAW) == ()


def test_a_refusal_is_told_in_the_language_of_the_reader(tmp_path: Path) -> None:
    fault = Text("{}:{}:{}: {}", "c.yaml", 1, 1, Text("{}: {}", "sites", Text("is needed")))
    with DaemonLock(tmp_path, FakeClock()):
        daemon_file.tell(tmp_path, [fault], DIGEST)
        assert daemon_file.refusal(tmp_path, RAW) == REFUSED[:1]
        with chinese():
            assert [*map(_, daemon_file.refusal(tmp_path, RAW))] == ["c.yaml:1:1: sites：缺少此项"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        "{}",
        "[" * 100_000,
        '{"refused": 7}',
        f'{{"refused": 7, "refused_digest": "{DIGEST}"}}',
    ],
)
def test_what_makes_no_sense_is_not_heard(text: str, tmp_path: Path) -> None:
    with DaemonLock(tmp_path, FakeClock()):
        (tmp_path / "daemon.json").write_text(text)
        assert daemon_file.refusal(tmp_path, RAW) == ()


def test_where_it_cannot_be_told_the_daemon_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "daemon.json").mkdir()
    daemon_file.tell(tmp_path, REFUSED, DIGEST)
    (record,) = caplog.records
    assert record.getMessage().startswith("daemon.not_notified error=cannot write")
