"""Files that are whole or absent, with their mode from the first instant."""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from children import (
    DONE,
    REFUSED,
    at_each_step,
    die_at_first_byte,
    io_error,
    kill,
    limit_file_size,
    run_in_child,
)

from certbotless import files
from certbotless.errors import StoreError

OLD, NEW = b"old" * 1000, b"new" * 1000


def assert_mode(path: Path, mode: int) -> None:
    assert oct(stat.S_IMODE(path.lstat().st_mode)) == oct(mode)


# --- new files --------------------------------------------------------------------------------------------


def test_a_new_file_has_its_bytes_and_its_mode(tmp_path: Path) -> None:
    files.write_new(tmp_path / "file", NEW, 0o640)
    assert (tmp_path / "file").read_bytes() == NEW
    assert_mode(tmp_path / "file", 0o640)


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
    assert_mode(left, mode)


def test_a_new_file_never_replaces_one_that_is_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "file", NEW, 0o600)
    assert (tmp_path / "file").read_bytes() == OLD


def test_a_new_file_is_never_written_through_a_link_that_somebody_planted(tmp_path: Path) -> None:
    (tmp_path / "file").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        files.write_new(tmp_path / "file", NEW, 0o600)
    assert not (tmp_path / "elsewhere").exists()


# --- replacing --------------------------------------------------------------------------------------------


def test_a_replaced_file_has_the_new_bytes_and_mode_and_nothing_stays_beside_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "file").chmod(0o644)
    files.replace(tmp_path / "file", NEW, 0o600)
    assert (tmp_path / "file").read_bytes() == NEW
    assert_mode(tmp_path / "file", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_who_has_the_old_file_open_reads_it_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    with (tmp_path / "file").open("rb") as reader:
        files.replace(tmp_path / "file", NEW, 0o600)
        assert reader.read() == OLD


def test_a_link_is_replaced_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(OLD)
    (tmp_path / "file").symlink_to("target")
    files.replace(tmp_path / "file", NEW, 0o600)
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "target").read_bytes() == OLD


def test_a_disk_that_takes_only_a_part_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)

    def write() -> None:
        limit_file_size(1000)
        with files.store_errors(tmp_path):
            files.replace(tmp_path / "file", NEW, 0o600)

    assert run_in_child(write) == REFUSED
    assert (tmp_path / "file").read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_takes_just_enough_in_two_writes_is_enough(tmp_path: Path) -> None:
    def write() -> None:
        limit_file_size(len(NEW))
        files.replace(tmp_path / "file", NEW, 0o600)

    assert run_in_child(write) == DONE
    assert (tmp_path / "file").read_bytes() == NEW


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


def test_folders_are_made_down_to_the_last_with_the_mode(tmp_path: Path) -> None:
    files.make_dir(tmp_path / "a" / "b", 0o700)
    assert_mode(tmp_path / "a", 0o700)
    assert_mode(tmp_path / "a" / "b", 0o700)


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir(0o755)
    files.make_dir(tmp_path / "a", 0o700)
    assert_mode(tmp_path / "a", 0o755)


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


def test_other_errors_go_through(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), files.store_errors(tmp_path):
        raise ZeroDivisionError


def test_a_folder_that_was_synced_is_closed_again(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(10):
        files.sync_dir(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
