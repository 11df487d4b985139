"""What root does before it becomes the owner of the state directory: nobody can turn it elsewhere."""

import ctypes
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.children import DONE, REFUSED, run_in_child

from certbotless.base import privileges
from certbotless.base.errors import ProgramUnreadable

pytestmark = pytest.mark.process

# Whoever may write below certs_dir.
STRANGER = 4712


@pytest.fixture
def ground(tmp_path: Path) -> Path:
    """A folder to which every user may go, and where only root may write."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o055 != 0o055:
            folder.chmod(folder.stat().st_mode | 0o055)
    return tmp_path


@pytest.fixture
def secret(ground: Path) -> Path:
    """A file of root's that nobody else reads."""
    path = ground / "shadow"
    path.write_text("root's alone")
    path.chmod(0o600)
    return path


def become_owner(state_dir: Path, certs_dirs: list[Path]) -> None:
    """Become it, also where the owner could not read this checkout, which is another matter."""
    with suppress(ProgramUnreadable):
        privileges.become_owner(state_dir, certs_dirs)


def facts(path: Path) -> tuple[int, int, int, bytes]:
    found = path.lstat()
    content = path.read_bytes() if stat.S_ISREG(found.st_mode) else b""
    return found.st_uid, found.st_gid, found.st_mode, content


def owner_of(path: Path) -> int:
    return path.lstat().st_uid


def test_an_absent_folder_is_made_for_the_service_in_one_that_only_root_may_change(
    ground: Path, user: int
) -> None:
    state, certs = ground / "a" / "b" / "state", ground / "certs"

    def act() -> None:
        become_owner(state, [certs])
        assert os.geteuid() == user
        (state / "file").touch()

    assert run_in_child(act) == DONE
    assert [owner_of(path) for path in (state, certs, ground / "a")] == [user, user, 0]
    assert [oct(stat.S_IMODE(path.stat().st_mode)) for path in (state, certs)] == ["0o700", "0o755"]


@pytest.mark.parametrize("target", ["a file", "a folder", "a device", "nothing"])
def test_what_a_link_in_place_of_a_certs_dir_leads_to_stays_roots(
    ground: Path, secret: Path, user: int, target: str
) -> None:
    """Whoever may write to /certs puts it there, where the folder of a site of its own is to be."""
    folder, absent = ground / "folder", ground / "absent"
    folder.mkdir()
    to = {"a file": secret, "a folder": folder, "a device": Path("/dev/null"), "nothing": absent}[target]
    certs = ground / "certs"
    certs.mkdir()
    os.chown(certs, STRANGER, STRANGER)
    (certs / "registry").symlink_to(to)
    before = [facts(path) for path in (secret, folder, Path("/dev/null"))]

    run_in_child(lambda: become_owner(ground / "state", [certs, certs / "registry", certs / "registry/deep"]))

    assert [facts(path) for path in (secret, folder, Path("/dev/null"))] == before
    assert not absent.exists()
    assert not list(folder.iterdir())


@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.soak)])
def test_what_takes_the_place_of_a_folder_that_root_has_just_made_stays_roots(
    ground: Path, secret: Path, user: int, stride: int
) -> None:
    """A link is put there after mkdir, at whichever step."""
    for step in range(1, 500, stride):
        certs = ground / f"certs{step}"
        steps = 0

        def swap(event: str, arguments: tuple[Any, ...], certs: Path = certs, step: int = step) -> None:
            nonlocal steps
            if certs.is_dir() and not certs.is_symlink():
                steps += 1
                if steps == step and event != "os.rmdir":
                    certs.rmdir()
                    certs.symlink_to(secret)

        def act(certs: Path = certs, swap: Any = swap) -> None:
            sys.addaudithook(swap)
            become_owner(ground / "state", [certs])

        assert run_in_child(act) in (DONE, REFUSED)
        assert owner_of(secret) == 0
        if not certs.is_symlink():
            assert owner_of(certs) == user
            return
    raise AssertionError("the swap came too late for no step")


def test_a_link_that_is_put_on_the_way_in_a_folder_like_tmp_is_not_gone_through(
    ground: Path, user: int
) -> None:
    """As root makes the folders above. The link is root's here, for the kernel may follow no other one."""
    shared, roots = ground / "shared", ground / "roots"
    shared.mkdir()
    shared.chmod(0o1777)
    roots.mkdir()
    os.chown(roots, STRANGER, STRANGER)

    def swap(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "os.mkdir" and str(arguments[0]) == str(shared / "a"):
            (shared / "a").symlink_to(roots)

    def act() -> None:
        sys.addaudithook(swap)
        become_owner(ground / "state", [shared / "a" / "certs"])

    assert run_in_child(act) == DONE
    assert (shared / "a").is_symlink()
    assert not list(roots.iterdir())


def test_an_absent_state_dir_that_a_stranger_could_turn_elsewhere_is_refused(
    ground: Path, user: int, capfd: pytest.CaptureFixture[str]
) -> None:
    home = ground / "home"
    home.mkdir()
    os.chown(home, STRANGER, STRANGER)
    assert run_in_child(lambda: become_owner(home / "state", [])) == REFUSED
    assert not list(home.iterdir())


def test_a_link_of_another_user_does_not_make_root_the_owner_of_the_state_dir(
    ground: Path, user: int
) -> None:
    """Root would run programs of the configuration, which may be that user's. One of root's own is good."""
    home, roots = ground / "home", ground / "roots"
    home.mkdir()
    roots.mkdir(mode=0o700)
    (home / "state").symlink_to(roots)
    assert run_in_child(lambda: become_owner(home / "state", [])) == DONE
    for path in (home, home / "state"):
        os.chown(path, STRANGER, STRANGER, follow_symlinks=False)
    assert run_in_child(lambda: become_owner(home / "state", [])) == REFUSED
    assert run_in_child(lambda: privileges.runner_of(home / "state")) == REFUSED
    assert run_in_child(lambda: privileges.as_owner(home / "state").__enter__()) == REFUSED


def test_root_need_not_be_able_to_read_the_state_dir(ground: Path) -> None:
    """Over NFS it is nobody (root_squash), and in a container it may lack CAP_DAC_OVERRIDE."""
    state = ground / "state"
    state.mkdir(0o700)
    os.chown(state, STRANGER, STRANGER)

    def act() -> None:
        libc, version, capabilities = (
            ctypes.CDLL(None),
            (ctypes.c_uint32 * 2)(0x20080522),
            (ctypes.c_uint32 * 6)(),
        )
        libc.capget(version, capabilities)
        capabilities[0] &= ~0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.capset(version, capabilities)
        with pytest.raises(PermissionError):
            os.listdir(state)
        become_owner(state, [])
        assert os.geteuid() == STRANGER

    assert run_in_child(act) == DONE


@given(
    modes=st.lists(st.sampled_from([0o755, 0o775, 0o777, 0o1777, 0o700]), min_size=3, max_size=3),
    owners=st.lists(st.sampled_from([0, 0, STRANGER]), min_size=3, max_size=3),
    links=st.lists(st.booleans(), min_size=3, max_size=3),
)
@example(modes=[0o755] * 3, owners=[0] * 3, links=[True, False, True])
@example(modes=[0o755] * 3, owners=[0, 0, STRANGER], links=[False] * 3)
def test_root_makes_nothing_where_another_user_may_write(
    tmp_path_factory: pytest.TempPathFactory, modes: list[int], owners: list[int], links: list[bool]
) -> None:
    """Whatever stands on the way: folders of any owner and mode, and links of any owner to them.

    A folder of the service is one of another user too: what is absent there it makes itself.
    """
    ground = way = tmp_path_factory.mktemp("ground")
    folders = []
    for i, (mode, uid, is_link) in enumerate(zip(modes, owners, links, strict=True)):
        real = way / f"{i}"
        real.mkdir()
        folders.append(real)
        way = real
        if is_link:
            way = real.with_name(f"link{i}")
            way.symlink_to(real)
            os.chown(way, uid, uid, follow_symlinks=False)
        os.chown(real, uid, uid)
        real.chmod(mode)
    certs = way / "certs"
    run_in_child(lambda: become_owner(ground / "state", [certs]))
    is_safe = all(
        uid == 0 and (mode & 0o022 == 0 or mode & 0o1000) for mode, uid in zip(modes, owners, strict=True)
    )
    assert certs.is_dir() == is_safe
