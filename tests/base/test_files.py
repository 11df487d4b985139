"""Files that are whole or absent, with their mode from the first instant."""

import errno
import os
import signal
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.children import (
    DONE,
    REFUSED,
    at_each_step,
    die_at_first_byte,
    io_error,
    kill,
    limit_file_size,
    run_in_child,
)
from support.files import KINDS, in_time, mode_of, plant

from certbotless.base import files
from certbotless.base.entered import entered
from certbotless.base.errors import StoreError

OLD, NEW = b"old" * 1000, b"new" * 1000


# --- new files --------------------------------------------------------------------------------------------


def test_a_new_file_has_its_bytes_and_its_mode(tmp_path: Path) -> None:
    files.write_new(tmp_path / "file", NEW, 0o640)
    assert (tmp_path / "file").read_bytes() == NEW
    assert mode_of(tmp_path / "file") == "0o640"


@pytest.mark.process
@pytest.mark.parametrize("mode", [0o600, 0o640])
@pytest.mark.parametrize("write", [files.write_new, files.replace])
def test_a_file_has_its_final_mode_before_its_first_byte(
    tmp_path: Path, write: Callable[[Path, bytes, int], None], mode: int
) -> None:
    def write_and_die() -> None:
        os.umask(0)
        die_at_first_byte()
        write(tmp_path / "key.pem", NEW, mode)

    assert run_in_child(write_and_die) == -signal.SIGXFSZ
    [left] = tmp_path.iterdir()
    assert left.read_bytes() == b""
    assert mode_of(left) == oct(mode)


def test_a_new_file_never_replaces_one_that_is_there_nor_is_written_through_a_planted_link(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("file", "link"):
        with pytest.raises(FileExistsError):
            files.write_new(tmp_path / name, NEW, 0o600)
    assert (tmp_path / "file").read_bytes() == OLD
    assert not (tmp_path / "elsewhere").exists()


# --- reading ----------------------------------------------------------------------------------------------


def test_a_plain_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    assert files.read(tmp_path / "file") == OLD
    assert files.read(tmp_path / "file", len(OLD)) == OLD


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    """Whatever it holds; a sparse one of a terabyte costs nobody anything to make."""
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(files.NotPlainError, match="larger than 1048576 bytes"):
        files.read(tmp_path / "file")


@pytest.mark.process
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_named_and_never_waited_for_or_added_to(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    plant(kind, path)

    def read_and_append() -> None:
        for action in (partial(files.read, path), partial(files.append, path, NEW, 0o600)):
            with pytest.raises(files.NotPlainError) as refused:
                action()
            assert refused.value.strerror == f"it is {kind}"

    assert in_time(read_and_append) == DONE
    if kind == "a symbolic link":
        assert path.read_bytes() == b"secret"


# --- adding -----------------------------------------------------------------------------------------------


def test_what_is_added_comes_last_and_a_new_file_has_its_mode(tmp_path: Path) -> None:
    for data in (OLD, NEW):
        files.append(tmp_path / "file", data, 0o600)
    assert (tmp_path / "file").read_bytes() == OLD + NEW
    assert mode_of(tmp_path / "file") == "0o600"


@pytest.mark.process
def test_a_disk_that_takes_half_of_what_is_added_is_left_with_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def append() -> None:
        limit_file_size(len(OLD) + 10)
        with files.store_errors(tmp_path):
            files.append(tmp_path / "file", NEW, 0o600)

    assert run_in_child(append) == REFUSED
    assert (tmp_path / "file").read_bytes() == OLD


# --- before and after -------------------------------------------------------------------------------------


@pytest.mark.process
def test_a_trial_leaves_nothing_and_needs_the_room_of_a_pair(tmp_path: Path) -> None:
    def probe() -> None:
        files.probe(tmp_path / "file")
        limit_file_size(32 * 1024)
        with files.store_errors(tmp_path):
            files.probe(tmp_path / "file")

    assert run_in_child(probe) == REFUSED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.process
@pytest.mark.parametrize("fault", [kill, io_error])
def test_what_a_killed_writer_leaves_is_swept_and_nothing_else(
    tmp_path: Path, fault: Callable[[], None]
) -> None:
    others = ["file", ".file", ".file.0123456789abcde", ".file.0123456789abcdeg", ".other.0123456789abcdef"]

    def prepare(step: int) -> Callable[[], None]:
        home = tmp_path / str(step)
        home.mkdir()
        for name in others:
            (home / name).write_bytes(OLD)
        (home / ".file.ffffffffffffffff").mkdir()

        def write() -> None:
            with files.store_errors(home):
                files.probe(home / "file")
                files.replace(home / "file", NEW, 0o600)
                files.link(home / "file", "target")

        return write

    codes = list(at_each_step(prepare, fault))
    assert len(codes) >= 6
    littered = 0
    for step in range(1, len(codes) + 1):
        home = tmp_path / str(step)
        littered += len(list(home.iterdir())) > len(others) + 1
        files.sweep(home, {"file"})
        assert {path.name for path in home.iterdir()} == {*others, ".file.ffffffffffffffff"}
    assert littered
    files.sweep(tmp_path / "absent", {"file"})


def test_a_folder_with_something_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(OLD)
    (tmp_path / "theirs" / "notes").write_bytes(b"mine")
    for name in ("ours", "theirs"):
        files.remove_dir(tmp_path / name, {"file", "other"})
    assert not (tmp_path / "ours").exists()
    assert {path.name for path in (tmp_path / "theirs").iterdir()} == {"file", "notes"}


@pytest.mark.parametrize(
    ("modes", "named"),
    [
        ((0o755, 0o755), ""),
        ((0o755, 0o775), ""),
        ((0o755, 0o777), "b"),
        ((0o755, 0o1777), "b"),
        ((0o777, 0o755), "a"),
        ((0o1777, 0o755), ""),
    ],
)
def test_a_folder_that_anybody_may_change_is_named(
    tmp_path: Path, modes: tuple[int, int], named: str
) -> None:
    """So is one above it, unless its sticky bit keeps others from what is not theirs."""
    folders = {"a": tmp_path / "a", "b": tmp_path / "a" / "b"}
    for folder, mode in zip(folders.values(), modes, strict=True):
        folder.mkdir()
        folder.chmod(mode)
    found = files.open_to_all(folders["b"])
    assert found.partition(" has mode ")[0] == (repr(str(folders[named])) if named else "")


# --- replacing --------------------------------------------------------------------------------------------


def test_a_replaced_file_has_the_new_bytes_and_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    """Whoever has the old one open reads it to its end."""
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "file").chmod(0o644)
    with (tmp_path / "file").open("rb") as reader:
        files.replace(tmp_path / "file", NEW, 0o600)
        assert reader.read() == OLD
    assert (tmp_path / "file").read_bytes() == NEW
    assert mode_of(tmp_path / "file") == "0o600"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "file").symlink_to("target")
    files.replace(tmp_path / "file", NEW, 0o600)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "target").read_bytes() == OLD


@pytest.mark.process
def test_a_disk_that_takes_only_a_part_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def write() -> None:
        limit_file_size(1000)
        with files.store_errors(tmp_path):
            files.replace(tmp_path / "file", NEW, 0o600)

    assert run_in_child(write) == REFUSED
    assert (tmp_path / "file").read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.process
def test_a_disk_that_takes_just_enough_in_two_writes_is_enough(tmp_path: Path) -> None:
    def write() -> None:
        limit_file_size(len(NEW))
        files.replace(tmp_path / "file", NEW, 0o600)

    assert run_in_child(write) == DONE
    assert (tmp_path / "file").read_bytes() == NEW


@pytest.mark.process
@pytest.mark.parametrize("fault", [kill, io_error])
def test_a_file_is_old_or_new_wherever_replacing_it_ends(tmp_path: Path, fault: Callable[[], None]) -> None:
    def prepare(step: int) -> Callable[[], None]:
        home = tmp_path / str(step)
        home.mkdir()
        (home / "file").write_bytes(OLD)

        def replace() -> None:
            with files.store_errors(home):
                files.replace(home / "file", NEW, 0o600)

        return replace

    codes = list(at_each_step(prepare, fault))
    assert len(codes) >= 3
    assert set(codes) == ({-signal.SIGKILL} if fault is kill else {REFUSED})
    for step in range(1, len(codes) + 1):
        assert (tmp_path / str(step) / "file").read_bytes() in (OLD, NEW)


# --- files of a person --------------------------------------------------------------------------------------


def test_a_rewritten_file_keeps_its_mode_and_the_links_to_it(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "target").chmod(0o664)
    (tmp_path / "file").symlink_to("target")
    files.rewrite(tmp_path / "file", OLD, NEW)
    assert str((tmp_path / "file").readlink()) == "target"
    assert (tmp_path / "target").read_bytes() == NEW
    assert mode_of(tmp_path / "target") == "0o664"
    assert {path.name for path in tmp_path.iterdir()} == {"file", "target"}


@pytest.mark.process
def test_a_rewritten_file_keeps_its_owner(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    os.chown(tmp_path / "file", 4711, 4712)
    files.rewrite(tmp_path / "file", OLD, NEW)
    found = (tmp_path / "file").stat()
    assert (found.st_uid, found.st_gid) == (4711, 4712)


def test_a_file_that_has_changed_meanwhile_is_not_rewritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"edited")
    with pytest.raises(OSError, match="another program has changed it meanwhile"):
        files.rewrite(tmp_path / "file", OLD, NEW)
    assert (tmp_path / "file").read_bytes() == b"edited"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.process
def test_a_file_that_this_user_may_not_write_is_not_rewritten(tmp_path: Path) -> None:
    """Though its folder would let it be replaced."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file").write_bytes(OLD)
    (folder / "file").chmod(0o444)
    os.chown(folder, 4711, 4711)

    def rewrite() -> None:
        # Below here, so that the folders above need not let this user in.
        os.chdir(folder)
        os.setuid(4711)
        with files.store_errors(folder):
            files.rewrite(Path("file"), OLD, NEW)

    assert run_in_child(rewrite) == REFUSED
    assert (folder / "file").read_bytes() == OLD


@pytest.mark.process
@pytest.mark.parametrize("fault", [kill, io_error])
def test_a_file_is_old_or_new_wherever_rewriting_it_ends(tmp_path: Path, fault: Callable[[], None]) -> None:
    def prepare(step: int) -> Callable[[], None]:
        home = tmp_path / str(step)
        home.mkdir()
        (home / "file").write_bytes(OLD)

        def rewrite() -> None:
            with files.store_errors(home):
                files.rewrite(home / "file", OLD, NEW)

        return rewrite

    codes = list(at_each_step(prepare, fault))
    assert len(codes) >= 4
    for step in range(1, len(codes) + 1):
        assert (tmp_path / str(step) / "file").read_bytes() in (OLD, NEW)


# --- links ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["nothing", "a file", "a link", "a dangling link"])
def test_a_link_takes_the_place_of_whatever_file_was_there(tmp_path: Path, before: str) -> None:
    (tmp_path / "target").write_bytes(NEW)
    path = tmp_path / "name"
    if before == "a file":
        path.write_bytes(OLD)
    elif before != "nothing":
        path.symlink_to("target" if before == "a link" else "nowhere")
    files.link(path, "target")
    assert str(path.readlink()) == "target"
    assert path.read_bytes() == NEW
    assert {p.name for p in tmp_path.iterdir()} == {"name", "target"}


def test_a_folder_is_not_replaced_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    with pytest.raises(IsADirectoryError):
        files.link(tmp_path / "name", "target")
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


# --- folders and errors -----------------------------------------------------------------------------------


def test_folders_are_made_down_to_the_last_with_the_mode_and_those_that_are_there_keep_theirs(
    tmp_path: Path,
) -> None:
    (tmp_path / "old").mkdir(0o755)
    for path in (tmp_path / "old", tmp_path / "a" / "b"):
        files.make_dir(path, 0o700)
    for path, mode in ((tmp_path / "old", 0o755), (tmp_path / "a", 0o700), (tmp_path / "a" / "b", 0o700)):
        assert mode_of(path) == oct(mode)


def test_what_the_file_system_refuses_is_told_with_path_reason_and_cure(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as refused, files.store_errors(tmp_path / "file"):
        files.write_new(tmp_path / "absent" / "file", NEW, 0o600)
    assert repr(str(tmp_path / "absent" / "file")) in refused.value.message
    assert "No such file or directory" in refused.value.message
    assert "writable" in refused.value.hint


def test_an_error_without_a_path_is_told_with_the_one_we_were_at(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="Input/output error") as refused, files.store_errors(tmp_path):
        io_error()
    assert repr(str(tmp_path)) in refused.value.message


def test_a_temporary_name_is_in_no_error(tmp_path: Path) -> None:
    """It means nothing to who reads it, and is another one at each try."""
    path = tmp_path / "file"
    path.mkdir()
    for write in (partial(files.replace, path, NEW, 0o600), partial(files.link, path, "target")):
        with pytest.raises(StoreError) as refused, files.store_errors(tmp_path):
            write()
        assert refused.value.message == f"cannot write {str(path)!r}: Is a directory"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_an_error_about_room_tells_how_much_there_is(tmp_path: Path, number: int) -> None:
    """On the file system of the nearest folder that is there."""
    with pytest.raises(StoreError, match=r" \(\d+ bytes free\); "), files.store_errors(tmp_path / "a" / "b"):
        raise OSError(number, os.strerror(number))


def test_other_errors_go_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.store_errors(tmp_path):
        raise ZeroDivisionError


@pytest.mark.row(141)
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_a_file_system_that_syncs_no_folder_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """So answer older Samba shares, the shared folders of VirtualBox, and some of FUSE."""
    fail = [number]
    fsync = os.fsync

    def sync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(fail[0], os.strerror(fail[0]))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", sync)
    files.make_dir(tmp_path / "made", 0o755)
    files.append(tmp_path / "made" / "log", b"a line", 0o600)
    files.replace(tmp_path / "made" / "file", b"new", 0o600)
    with entered(tmp_path, ["made", "below"], made=lambda _: None) as below:
        files.link(below / "link", "target")
    fail[0] = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        files.replace(tmp_path / "made" / "file", b"newer", 0o600)


def test_a_folder_that_was_synced_is_closed_again(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        files.sync_dir(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_this_file_system_keeps_modes_and_nothing_is_left_of_the_trial(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        assert files.keeps_mode(tmp_path, 0o640)
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["folder", "folder/inner", "folder/inner/file"])
def test_no_mode_is_set_through_a_link(tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    for home in (outside, tmp_path / "folder"):
        (home / "inner").mkdir(parents=True)
        files.write_new(home / "inner" / "file", OLD, 0o600)
    planted, way = tmp_path / place, ("folder", "inner", "file")
    files.set_mode(tmp_path, way, 0o640)
    assert mode_of(planted if planted.is_file() else tmp_path / "folder/inner/file") == "0o640"
    planted.rename(tmp_path / "away")
    planted.symlink_to(outside / place.removeprefix("folder").lstrip("/"))
    with pytest.raises(OSError, match=r"."):
        files.set_mode(tmp_path, way, 0o640)
    assert mode_of(outside / "inner" / "file") == "0o600"
