"""A file is followed by its content: whatever its editor does, and however little its stat tells."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from certbotless.errors import StoreError
from certbotless.follow import Content, Followed, is_plain, stamp_of


class Desk:
    """A file, and how often its content was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_bytes(b"old")
        self.reads = 0
        self.file = Followed(lambda: self.path, self.read)
        self.now_s = 0.0
        self.let_pass(10)

    def read(self) -> bytes:
        self.reads += 1
        try:
            return self.path.read_bytes()
        except OSError as exc:
            raise StoreError(f"cannot read: {exc.strerror}") from exc

    def poll(self) -> tuple[bytes, float] | None:
        found = self.file.poll(self.now_s)
        return None if found is None else (found[0].raw, found[1])

    def let_pass(self, seconds: int) -> None:
        """Poll each second."""
        for _ in range(seconds):
            self.now_s += 1
            self.poll()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "file")


def test_a_file_that_nobody_edits_is_not_read(desk: Desk) -> None:
    assert not desk.file.is_restless
    before = desk.reads
    desk.let_pass(3600)
    assert desk.reads == before


def test_a_new_content_is_told_with_how_long_it_has_stood_until_it_is_dealt_with(desk: Desk) -> None:
    desk.path.write_bytes(b"new")
    desk.now_s += 1
    assert desk.poll() == (b"new", 0)
    desk.now_s += 0.25
    assert desk.poll() == (b"new", 0.25)
    desk.file.settle(desk.file.now())
    assert desk.poll() is None


def test_what_is_not_dealt_with_is_told_for_ever(desk: Desk) -> None:
    """Also after a sleep of the machine, in which nothing was polled."""
    desk.path.write_bytes(b"new")
    desk.poll()
    desk.now_s += 72_000
    assert desk.poll() == (b"new", 72_000)


def test_a_content_that_changes_again_has_not_stood(desk: Desk) -> None:
    for n in range(8):
        desk.path.write_bytes(b"%d" % n)
        desk.now_s += 1
        assert desk.poll() == (b"%d" % n, 0)


def test_what_comes_back_as_it_was_is_no_news(desk: Desk) -> None:
    desk.path.write_bytes(b"")
    assert desk.poll() == (b"", 0)
    desk.path.write_bytes(b"old")
    assert desk.poll() is None


def test_a_file_that_cannot_be_read_is_a_content_too(desk: Desk) -> None:
    desk.path.unlink()
    found = desk.file.poll(desk.now_s)
    assert found is not None
    assert str(found[0].error) == "cannot read: No such file or directory"
    desk.file.settle(found[0])
    desk.let_pass(10)
    assert desk.poll() is None
    desk.path.write_bytes(b"old")
    assert desk.poll() == (b"old", 0)


def test_a_second_edit_that_leaves_the_same_stat_is_seen_within_the_grain_of_its_clock(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same length, within a tick of the file system's clock: as if the stat stood still."""
    desk.path.write_bytes(b"one")
    stat = os.stat(desk.path)
    desk.poll()
    desk.file.settle(desk.file.now())
    monkeypatch.setattr(os, "stat", lambda _: stat)
    desk.path.write_bytes(b"two")
    desk.now_s += 2
    assert desk.poll() == (b"two", 0)


@pytest.mark.row(23)
@pytest.mark.parametrize("through", ["the file", "a folder", "two links"])
def test_a_link_that_is_led_elsewhere_counts(through: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    link, path = tmp_path / "link", tmp_path / "link"
    target = "{}/file" if through == "the file" else "{}"
    link.symlink_to(target.format("a"))
    if through != "the file":
        path = link / "file"
    if through == "two links":
        path = tmp_path / "file"
        path.symlink_to("link/file")
    followed = Followed(lambda: path, path.read_bytes)
    beside = tmp_path / "beside"
    beside.symlink_to(target.format("b"))
    beside.replace(link)
    assert followed.poll(0) == (Content(b"b"), 0)


def test_a_pipe_is_not_plain_and_what_is_absent_is(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_plain(tmp_path / "pipe")
    assert not is_plain(tmp_path)
    assert is_plain(tmp_path / "absent")
    assert stamp_of(tmp_path / "absent") == (0,)
    assert stamp_of(None) == ()
