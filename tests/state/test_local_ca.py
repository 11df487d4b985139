"""The folder of the local CA: whole or none at a kill at each step, and what each step leaves to clients."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeClock

from certbotless.base.errors import StoreError
from certbotless.base.privileges import as_user
from certbotless.model.local_ca import CaFiles, LocalCa
from certbotless.state.local_ca import FACTS, NEXT, LocalCaFolder
from certbotless.world import local_ca

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
# What changes the file system, by the names in `os` under which all our code calls it.
_CALLS = ("mkdir", "fsync", "rename", "unlink", "rmdir", "open")


def new_ca(days: int = 0) -> CaFiles:
    return local_ca.make("devbox", ("lan", "10.0.0.0/8"), NOW + timedelta(days=days))


FIRST, SECOND, THIRD = new_ca(), new_ca(), new_ca()


@pytest.fixture
def folder(tmp_path: Path) -> LocalCaFolder:
    return LocalCaFolder(tmp_path)


def change(folder: LocalCaFolder, step: Callable[[LocalCaFolder], object]) -> None:
    with folder.locked(FakeClock()):
        step(folder)


def made(folder: LocalCaFolder) -> None:
    change(folder, lambda each: each.make(FIRST))


def rotated(folder: LocalCaFolder) -> None:
    made(folder)
    change(folder, lambda each: each.make_next(SECOND))


def switched(folder: LocalCaFolder) -> None:
    rotated(folder)
    change(folder, LocalCaFolder.switch)


def old_roots(folder: LocalCaFolder) -> list[tuple[LocalCa, datetime | None]]:
    """Return the roots that have signed before, and when clients are to remove them."""
    return [(root.facts, root.remove_from) for root in folder.roots() if root.role == "old"]


def roles(folder: LocalCaFolder) -> list[tuple[str, str]]:
    return [(root.role, root.facts.root_sha256) for root in folder.roots()]


def test_a_ca_is_read_as_it_was_made(folder: LocalCaFolder) -> None:
    assert (folder.seen(), folder.next(), folder.load(), folder.load_next(), folder.roots()) == (
        *(None, None, None, None),
        (),
    )
    made(folder)
    assert (folder.seen(), folder.load()) == (FIRST.facts, FIRST)
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.path.iterdir()} == {
        **dict.fromkeys(("root.pem", "issuing.pem", "issuing.key", "ca.json"), 0o600),
    }
    assert folder.path.stat().st_mode & 0o777 == 0o700


def test_during_a_rotation_clients_have_both_roots_and_the_old_one_signs(folder: LocalCaFolder) -> None:
    rotated(folder)
    assert (folder.load(), folder.next()) == (FIRST, SECOND.facts)
    assert roles(folder) == [("current", FIRST.facts.root_sha256), ("next", SECOND.facts.root_sha256)]


def test_after_a_switch_the_old_root_is_listed_until_its_end_and_its_issuing_key_is_gone(
    folder: LocalCaFolder,
) -> None:
    switched(folder)
    assert (folder.load(), folder.next()) == (SECOND, None)
    current, old = folder.roots()
    assert (current.facts, current.pem) == (SECOND.facts, SECOND.root_pem)
    assert (old.role, old.facts, old.pem) == ("old", FIRST.facts, FIRST.root_pem)
    assert old.remove_from == FIRST.facts.not_after
    kept = b"".join(path.read_bytes() for path in folder.path.parent.rglob("*") if path.is_file())
    assert FIRST.issuing_key not in kept
    change(folder, lambda each: each.make_next(THIRD))
    change(folder, LocalCaFolder.switch)
    old_ones = [SECOND.facts, FIRST.facts]
    assert [ca for ca, _ in old_roots(folder)] == old_ones
    assert folder.load() == THIRD


def test_without_overlap_clients_are_to_remove_the_old_root_and_the_next_one_at_once(
    folder: LocalCaFolder,
) -> None:
    rotated(folder)
    change(folder, lambda each: each.replace(THIRD, NOW))
    assert (folder.load(), folder.next()) == (THIRD, None)
    assert old_roots(folder) == [(FIRST.facts, NOW), (SECOND.facts, NOW)]


def test_a_next_root_that_another_one_replaces_is_to_be_removed_at_once(folder: LocalCaFolder) -> None:
    """It never signs, and clients may have taken it."""
    rotated(folder)
    change(folder, lambda each: each.make_next(THIRD))
    assert (folder.load(), folder.next()) == (FIRST, THIRD.facts)
    assert old_roots(folder) == [(SECOND.facts, THIRD.facts.made_at)]
    assert [root.pem for root in folder.roots()] == [FIRST.root_pem, THIRD.root_pem, SECOND.root_pem]
    change(folder, LocalCaFolder.switch)
    assert [ca for ca, _ in old_roots(folder)] == [FIRST.facts, SECOND.facts]


def test_a_next_root_is_listed_as_old_though_the_ca_that_signed_is_damaged(folder: LocalCaFolder) -> None:
    rotated(folder)
    (folder.path / FACTS).write_bytes(b"{")
    change(folder, lambda each: each.replace(THIRD, NOW))
    assert old_roots(folder) == [(SECOND.facts, NOW)]


def test_without_a_next_root_nothing_is_switched(folder: LocalCaFolder) -> None:
    made(folder)
    with pytest.raises(StoreError, match="no next root"):
        change(folder, LocalCaFolder.switch)
    assert folder.load() == FIRST


# --- damaged, gone, restored --------------------------------------------------------------------------------


@pytest.mark.row(103)
@pytest.mark.parametrize("name", ["root.pem", "issuing.pem", "issuing.key", "ca.json"])
@pytest.mark.parametrize("data", [None, b"", b"{}", b"-----BEGIN CERTIFICATE-----\n", b"\xff\x00"])
def test_a_damaged_ca_is_an_error_with_two_ways_out(
    folder: LocalCaFolder, name: str, data: bytes | None
) -> None:
    made(folder)
    path = folder.path / name
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged") as caught:
        folder.load()
    assert "copy" in caught.value.hint
    assert "rotate --now" in caught.value.hint
    change(folder, lambda each: each.replace(SECOND, NOW))
    assert folder.load() == SECOND
    # The old root is listed where it could be read.
    is_legible = name not in ("ca.json", "root.pem")
    assert [ca for ca, _ in old_roots(folder)] == [FIRST.facts] * is_legible


@pytest.mark.row(103)
def test_a_copy_that_belongs_to_root_is_an_error_that_names_its_owner(folder: LocalCaFolder) -> None:
    """As where it was put back with sudo: the service may not read it."""
    rotated(folder)
    for above in folder.path.parents[:-2]:
        above.chmod(0o755)
    for read in (folder.seen, folder.next, folder.load, folder.load_next, folder.roots):
        with as_user(65534, 65534), pytest.raises(StoreError, match="Permission denied") as caught:
            read()
        assert "correct the owner" in caught.value.hint


def test_files_of_two_cas_are_no_ca(folder: LocalCaFolder) -> None:
    made(folder)
    (folder.path / "issuing.key").write_bytes(SECOND.issuing_key)
    with pytest.raises(StoreError, match="is damaged"):
        folder.load()


def test_digests_that_agree_make_no_root_of_other_bytes(folder: LocalCaFolder) -> None:
    """Who takes over the service may write both."""
    made(folder)
    noted = json.loads((folder.path / FACTS).read_text())
    for data in (b"\xff", b"-----BEGIN CERTIFICATE-----\n", SECOND.root_pem):
        (folder.path / "root.pem").write_bytes(data)
        noted["files"]["root.pem"] = hashlib.sha256(data).hexdigest()
        (folder.path / FACTS).write_text(json.dumps(noted))
        with pytest.raises(StoreError, match="is damaged"):
            folder.load()


def test_a_damaged_next_ca_never_takes_the_place_of_the_one_that_signs(folder: LocalCaFolder) -> None:
    rotated(folder)
    (folder.path / "next/issuing.key").unlink()
    with pytest.raises(StoreError, match="is damaged"):
        change(folder, LocalCaFolder.switch)
    assert folder.load() == FIRST
    change(folder, lambda each: each.make_next(THIRD))
    change(folder, LocalCaFolder.switch)
    assert folder.load() == THIRD


def test_a_link_in_place_of_a_file_is_not_followed(folder: LocalCaFolder, tmp_path: Path) -> None:
    made(folder)
    path = folder.path / "issuing.key"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="symbolic link"):
        folder.load()


@pytest.mark.row(103)
def test_a_ca_that_is_gone_is_none_and_its_copy_brings_all_of_it_back(
    folder: LocalCaFolder, tmp_path: Path
) -> None:
    switched(folder)
    change(folder, lambda each: each.make_next(THIRD))
    before = roles(folder)
    shutil.copytree(folder.path, tmp_path / "copy")
    shutil.rmtree(folder.path)
    assert (folder.seen(), folder.roots()) == (None, ())
    shutil.copytree(tmp_path / "copy", folder.path)
    assert roles(folder) == before
    assert folder.load() == SECOND


# --- killed -------------------------------------------------------------------------------------------------


class _Killed(BaseException):
    """Nothing catches it, as nothing runs after a kill."""


@contextmanager
def killed_at(nth: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Raise right before the nth call that changes the file system, and at each one after it."""
    calls: list[str] = []

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *args: Any, **kwargs: Any) -> Any:
            if name != "open" or (args and args[0] & os.O_CREAT):
                calls.append(f"{name} {path}")
                if len(calls) >= nth:
                    raise _Killed
            return call(path, *args, **kwargs)

        return wrapped

    with monkeypatch.context() as patched:
        for name in _CALLS:
            patched.setattr(os, name, counted(name, getattr(os, name)))
        yield calls


def rotated_again(folder: LocalCaFolder) -> None:
    switched(folder)
    change(folder, lambda each: each.make_next(THIRD))


Step = Callable[[LocalCaFolder], object]
# What was there, the step, the CA that signed before it, and the one that signs after it.
STEPS: dict[str, tuple[Step, Step, CaFiles | None, CaFiles]] = {
    "the making": (lambda _: None, lambda each: each.make(FIRST), None, FIRST),
    "the next": (made, lambda each: each.make_next(SECOND), FIRST, FIRST),
    "another next": (rotated, lambda each: each.make_next(THIRD), FIRST, FIRST),
    "a switch": (rotated, LocalCaFolder.switch, FIRST, SECOND),
    "a second switch": (rotated_again, LocalCaFolder.switch, SECOND, THIRD),
    "no overlap": (rotated, lambda each: each.replace(THIRD, NOW), FIRST, THIRD),
}


@pytest.mark.row(100, 102)
@pytest.mark.parametrize("name", STEPS)
def test_killed_before_any_call_there_is_the_ca_before_or_the_new_one_and_the_step_can_be_taken(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is seen is whole without a lock, before anybody tidies up; then nothing is left over."""
    before, step, old, after = STEPS[name]
    nth = 0
    while True:
        nth += 1
        folder = LocalCaFolder(tmp_path / str(nth))
        before(folder)
        with killed_at(nth, monkeypatch) as calls, suppress(_Killed):
            change(folder, step)
        if len(calls) < nth:
            break
        where = f"killed before {calls[-1]}"
        found = folder.load()
        assert found in (old, after), where
        assert found is None or folder.roots()[0].facts == found.facts, where
        with folder.locked(FakeClock()):
            assert folder.load() == found, where
        parts = [path.name for path in folder.path.parent.iterdir()]
        assert set(parts) <= {"local-ca", "local-ca.lock"}, where
        assert not folder.path.exists() or ".next.new" not in os.listdir(folder.path), where
        if name == "the next":
            assert folder.next() in (None, SECOND.facts), where
        if name == "another next":
            assert folder.next() in (None, SECOND.facts, THIRD.facts), where
            is_old = (SECOND.facts, THIRD.facts.made_at) in old_roots(folder)
            assert is_old == (folder.next() != SECOND.facts), where
        if found != after or "next" in name:
            change(folder, step)
        assert folder.load() == after, where
    assert nth > 10
    assert folder.load() == after


@pytest.mark.parametrize(
    "change",
    [
        {"permit": ["lan/lan"]},
        {"permit": ["10.0.0.0/99"]},
        {"permit": ["lan\x1b[31m"]},
        {"root_sha256": "../../../etc/passwd"},
        {"root_sha256": "A" * 64},
        {"not_before": "0001-01-01T00:00:00Z"},
    ],
)
@pytest.mark.parametrize("place", ["", NEXT])
def test_facts_that_no_ca_has_are_damage(folder: LocalCaFolder, place: str, change: dict[str, Any]) -> None:
    """Who takes over the service may write them; others compute with them, and print them."""
    rotated(folder)
    path = folder.path / place / FACTS
    noted = json.loads(path.read_text())
    path.write_text(json.dumps(noted | {"ca": noted["ca"] | change}))
    for read in (folder.next, folder.load_next) if place else (folder.seen, folder.load, folder.roots):
        with pytest.raises(StoreError, match="is damaged"):
            read()


def test_a_list_of_old_roots_without_an_end_is_cut(folder: LocalCaFolder) -> None:
    """Each of them is read and checked; those that were replaced last are the first."""
    switched(folder)
    path = folder.path / FACTS
    noted = json.loads(path.read_text())
    path.write_text(json.dumps(noted | {"old": noted["old"] * 10_000}))
    assert len(old_roots(folder)) == len(folder.roots()) - 1 == 50
    change(folder, lambda each: each.replace(THIRD, NOW))
    assert old_roots(folder)[0][0] == SECOND.facts
