"""The configuration in force: a good edit is taken, a bad one refused, and a moment of neither is nothing."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from support.authors import STYLES, TICK_S, Author
from support.bed import renamed_over
from support.configs import CANARY, text_of

from certbotless.base.errors import ConfigError, SecretUnreadable
from certbotless.config import secret
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.live import Source


@pytest.fixture
def author(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Author:
    """Somebody with the small file."""
    return Author(tmp_path, text_of(site="ttl: 600"), caplog)


NOBODY = 65534
EDITED = text_of(site="ttl: 60")
BAD = "sits: []\n"


@pytest.mark.row(23)
@pytest.mark.parametrize("save", STYLES)
def test_an_edit_is_in_force_within_two_seconds_however_it_is_saved(
    save: Callable[[Path, str], None], author: Author
) -> None:
    for ttl in range(60, 70):
        save(author.file, text_of(site=f"ttl: {ttl}"))
        (config,) = author.wait(1)  # beside the second in which nobody polled
        assert config is author.source.config
        assert config.sites[0].ttl == ttl
        assert author.source.raw == author.file.read_bytes()


@pytest.mark.row(23)
def test_an_edit_that_its_stat_does_not_show_is_seen(author: Author) -> None:
    """Of the same length, within a tick of the file system's clock (FAT: 2 s)."""
    author.file.write_text(text_of(site="ttl: 601"))
    author.wait(1)
    before = author.file.stat()
    author.file.write_text(text_of(site="ttl: 602"))
    os.utime(author.file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert author.file.stat().st_size == before.st_size
    (config,) = author.wait(1)
    assert config.sites[0].ttl == 602


@pytest.mark.row(22)
def test_a_file_that_keeps_changing_is_taken_when_it_has_come_to_rest(author: Author) -> None:
    """As while it is written in pieces, each of which is good in itself."""
    for ttl in range(60, 70):
        author.file.write_text(text_of(site=f"ttl: {ttl}"))
        assert author.wait(TICK_S) == []
    (config,) = author.wait(1)
    assert config.sites[0].ttl == 69


@pytest.mark.row(23)
def test_an_edit_that_just_missed_a_poll_is_taken_with_less_than_a_second_of_waiting(author: Author) -> None:
    """What is left of the two seconds is for a machine that is busy. Waits are counted, not measured."""
    source, now_s = author.source, 1000.0
    assert source.poll(now_s) is None
    author.file.write_text(EDITED)
    waited_s, change = 0.0, None
    while change is None:
        waited_s += source.poll_within_s
        change = source.poll(now_s + waited_s)
    assert waited_s < 1


def test_a_good_edit_is_told_a_line_a_change(author: Author) -> None:
    author.file.write_text(EDITED.replace(f"{CANARY}Secret", "another"))
    author.wait(1)
    assert author.said() == [
        "config.accepted sites=1",
        "config.changed what=aliyun.access_key_secret changed",
        "config.changed what=site devbox.sweetlove.top: ttl 600 -> 60",
    ]


@pytest.mark.row(22)
def test_a_bad_edit_is_refused_whole_and_each_fault_told_once(author: Author) -> None:
    good = author.source.config
    author.file.write_text(EDITED.replace("sites:", "sits:"))
    assert author.wait(60) == []
    assert author.source.config is good
    lines = author.said()
    assert [line.split(": ", 1)[0] for line in lines] == [
        f"config.refused fault={author.file}:1:1",
        f"config.refused fault={author.file}:7:1",
    ]
    assert author.source.refused == tuple(line.removeprefix("config.refused fault=") for line in lines)
    # A second fault beside them is told alone.
    author.file.write_text(EDITED.replace("sites:", "sits:") + "nonsense: 1\n")
    author.wait(60)
    (line,) = author.said()
    assert "unknown key 'nonsense'" in line
    author.file.write_text(EDITED)
    assert len(author.wait(2)) == 1
    assert (author.source.refused, author.source.refused_digest) == ((), "")


@pytest.mark.row(22)
def test_another_edit_with_the_same_fault_is_refused_as_well(author: Author) -> None:
    """So that `status`, which sees the new one, knows of it."""
    author.file.write_text(BAD)
    author.wait(2)
    before, digest = author.said(), author.source.refused_digest
    author.file.write_text(f"{BAD}# again\n")
    author.wait(2)
    assert author.said() == before
    assert author.source.refused_digest not in ("", digest)


@pytest.mark.row(22)
def test_a_file_that_is_broken_or_absent_for_a_moment_is_no_matter(author: Author) -> None:
    for text in ("", EDITED[:-20], BAD, None):
        if text is None:
            author.file.unlink()
        else:
            author.file.write_text(text)
        author.wait(0.75)
        author.file.write_text(text_of(site="ttl: 600"))
        author.wait(1)
    assert author.said() == []
    author.file.unlink()
    author.wait(60)
    assert author.said() == [
        f"config.refused fault=no configuration yet at {author.file}; make one: certbotless init"
    ]


def test_what_was_refused_and_is_put_back_is_no_fault_any_more(author: Author) -> None:
    before, good = author.file.read_text(), author.source.config
    author.file.write_text(BAD)
    author.wait(2)
    author.file.write_text(before)
    assert author.wait(2) == [good]
    assert author.said()[-1] == "config.accepted sites=1"
    assert author.source.refused == ()


def test_who_asks_gets_an_answer_at_once_and_each_time(author: Author) -> None:
    author.file.write_text(BAD)
    for _ in range(2):
        assert author.ask() is None
        assert author.said()
    author.file.write_text(EDITED)
    assert author.ask() is not None
    assert author.ask() is not None  # it is taken again, as after an edit of nothing


def test_another_state_dir_is_refused(author: Author) -> None:
    author.file.write_text(text_of(top="state_dir: /elsewhere"))
    author.wait(2)
    assert author.said() == [
        "config.refused fault=state_dir cannot change while the daemon runs; restart it",
    ]


def test_a_pipe_in_place_of_the_file_is_refused_and_waited_for_by_nobody(author: Author) -> None:
    author.file.unlink()
    os.mkfifo(author.file)
    author.wait(2)
    assert author.said() == [f"config.refused fault={author.file}:1:1: the file: is not a plain file"]


# --- secrets ------------------------------------------------------------------------------------------------


@pytest.fixture
def keeper(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Author:
    """An author whose secret stands in a file of its own."""
    (tmp_path / "secret").write_text(CANARY)
    text = text_of().replace(f"{CANARY}Secret", f"file:{tmp_path}/secret")
    return Author(tmp_path, text, caplog)


@pytest.mark.row(27)
@pytest.mark.parametrize("save", STYLES)
def test_a_secret_with_another_content_is_a_change(save: Callable[[Path, str], None], keeper: Author) -> None:
    config = keeper.source.config
    before = Fingerprints.of(config)
    save(keeper.home / "secret", "another")
    assert keeper.wait(1) == [config]
    assert keeper.said() == ["secret.changed key=aliyun.access_key_secret"]
    # What failed with the one before says nothing any more (look).
    assert Fingerprints.of(config) != before


def test_a_secret_that_is_gone_is_told_once_and_its_return_is_a_change(keeper: Author) -> None:
    secret = keeper.home / "secret"
    secret.unlink()
    assert keeper.wait(60) == []
    (line,) = keeper.said()
    assert line.startswith("secret.lost key=aliyun.access_key_secret error=cannot read the secret")
    secret.write_text(CANARY)
    assert len(keeper.wait(1)) == 1


def test_an_edit_that_lacks_a_secret_is_taken_as_soon_as_that_can_be_read(keeper: Author) -> None:
    other = keeper.home / "other"
    keeper.file.write_text(text_of().replace(f"{CANARY}Secret", f"file:{other}"))
    assert keeper.wait(60) == []
    (line,) = keeper.said()
    assert f"cannot read the secret {str(other)!r}" in line
    other.write_text("another")
    assert len(keeper.wait(1)) == 1
    assert keeper.source.refused == ()


def test_secrets_are_followed_where_the_file_was_standard_input_or_a_pipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    text = text_of().replace(f"{CANARY}Secret", f"file:{secret}").encode()
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    source = Source(Path(f"/dev/fd/{read}"))
    os.close(read)
    secret.write_text("another")
    found = [source.poll(n * TICK_S, is_asked=n == 9) for n in range(20)]
    assert [config for config in found if config is not None] == [source.config]
    assert source.raw == text


@pytest.mark.process
@pytest.mark.row(27)
def test_a_credential_of_systemd_that_changes_at_its_source_needs_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service keeps the copy that it was started with; one without systemd reads the source itself."""
    name = f"certbotless-test-{os.getpid()}"
    store = Path("/etc/credstore")
    made = not store.exists()
    store.mkdir(exist_ok=True, mode=0o700)
    kept = store / name
    try:
        kept.write_text(CANARY)
        (tmp_path / "credentials").mkdir()
        (tmp_path / "credentials" / name).write_text(CANARY)
        text = text_of().replace(f"{CANARY}Secret", f"credential:{name}")
        outside = Author(tmp_path, text, caplog)
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
        inside = Author(tmp_path, text, caplog)
        kept.write_text("another")
        assert inside.wait(5) == []
        (line,) = inside.said()
        assert line.startswith(f"secret.restart_needed key=aliyun.access_key_secret changed={kept} ")
        assert line.endswith("restart needed")
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        assert len(outside.wait(2)) == 1
    finally:
        kept.unlink()
        if made:
            store.rmdir()


@pytest.mark.process
@pytest.mark.row(27)
def test_the_folder_is_followed_where_its_credentials_are_not_ours_to_see(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by the installed service: the folder is root's alone."""
    with tempfile.TemporaryDirectory() as home:
        given, store = Path(home, "given"), Path(home, "store")
        for folder in (given, store):
            folder.mkdir()
            (folder / "key").write_text(CANARY)
        monkeypatch.setattr(secret, "CREDSTORES", [str(store)])
        monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(given))
        store.chmod(0o700)
        Path(home).chmod(0o755)
        os.chown(home, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            author = Author(Path(home), text_of().replace(f"{CANARY}Secret", "credential:key"), caplog)
            os.seteuid(0)
            renamed_over(store / "key", "another")
            os.seteuid(NOBODY)
            author.wait(5)
        finally:
            os.seteuid(0)
        (line,) = author.said()
        assert f"secret.restart_needed key=aliyun.access_key_secret changed={store} " in line


def test_there_is_nothing_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        Source(tmp_path / "absent")
    path = tmp_path / "config.yaml"
    path.write_text(text_of().replace(f"{CANARY}Secret", "file:/nowhere/secret"))
    with pytest.raises(SecretUnreadable):
        Source(path)
