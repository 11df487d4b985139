"""Privileges: a command that root starts becomes the owner of the state directory before it acts.

So `sudo certbotless --renew-now` never leaves a file that the daemon's user cannot read.

As root it makes a folder only where no other user can put a link in the way. It gives away only a folder that
it has just made, by its descriptor. The owner reads what is imported later and what workers run: if the owner
cannot read it, a run would fail in ways that hide the cause. So this is checked first.

Source: credentials(7), initgroups(3), chown(2) (by a name it follows links), open(2); access(2), which checks
the real user: after setuid(2) all our user ids are the same.
"""

import os
import pwd
import stat
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from . import files, systemd
from .errors import ProgramUnreadable, StoreError
from .words import N_, Text

# Of a user that has none, and of one that is not known.
NO_HOME = "/nonexistent"


def become_owner(state_dir: Path, certs_dirs: Iterable[Path]) -> None:
    """Make the folders that are absent, and become the owner of `state_dir`, with all of its groups.

    A new folder belongs to the service's user if there is one, else to us. In a folder that others may change
    none is made: its owner must do it. Does nothing unless we are root.

    Raises:
        StoreError: a folder could not be made.
        ProgramUnreadable: the owner cannot read the program that it is to run.
    """
    if os.geteuid() != 0:
        return
    _make(state_dir, 0o700)
    for certs_dir in certs_dirs:
        _make(certs_dir, 0o755)
    if not state_dir.is_dir():
        raise StoreError(
            Text("state_dir {!r} is absent, and others may change the folders above it", str(state_dir)),
            hint=Text(
                "create it for the user that owns it: install -d -m 0700 -o {} {}", systemd.USER, state_dir
            ),
        )
    with files.store_errors(state_dir, "read"):
        found = _reached(state_dir)
    if found.st_uid == 0:
        return
    needed = _files_of_program()
    # The Docker socket is the service's by a group of its user.
    try:
        name = pwd.getpwuid(found.st_uid).pw_name
        os.initgroups(name, found.st_gid)
    except KeyError:
        name = f"uid {found.st_uid}"
        os.setgroups([])
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)
    _refuse_unless_readable(needed, f"the owner of {str(state_dir)!r} ({name})")


def _reached(state_dir: Path) -> os.stat_result:
    """Return the state of the folder: of root's own only where no link of another user has led to it.

    Else we would remain root, and run programs of that user as root.

    Raises:
        StoreError: such a link has.
        OSError: the folder cannot be opened.
    """
    # Root may have no right to read it, as over NFS, or in a container without CAP_DAC_OVERRIDE.
    fd = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        found, real = os.fstat(fd), os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)
    if found.st_uid == 0 and real != os.path.normpath(state_dir) and not _is_roots_alone(state_dir):
        form = N_("state_dir {!r} leads to {!r}, a folder of root, and others may change where it leads")
        raise StoreError(
            Text(form, str(state_dir), real), hint=Text("name a folder that no other user can replace")
        )
    return found


def owner_of(state_dir: Path) -> pwd.struct_passwd:
    """Return the user that a run with this `state_dir` has: its owner; without it, the service's.

    Raises:
        StoreError: we are root, and a link of another user leads to a folder of root.
    """
    try:
        return user_of((_reached(state_dir) if os.geteuid() == 0 else state_dir.stat()).st_uid)
    except OSError:
        with suppress(KeyError):
            if os.geteuid() == 0:
                return pwd.getpwnam(systemd.USER)
    return user_of(os.geteuid())


def runner_of(state_dir: Path) -> pwd.struct_passwd:
    """Return the user as whom a program of the configuration is to run: never root for a service's folder.

    A command of root that changes nothing does not become the owner of an absent `state_dir`. The program may
    belong to the service's user, who must not get at root by it.
    """
    return owner_of(state_dir) if os.geteuid() == 0 else user_of(os.geteuid())


def user_of(uid: int) -> pwd.struct_passwd:
    """Return a user; one that this machine does not list, as in a container, has the home `NO_HOME`."""
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        return pwd.struct_passwd((f"uid {uid}", "x", uid, uid, "", NO_HOME, "/bin/false"))


def environment_of(user: pwd.struct_passwd) -> dict[str, str]:
    """Return what programs take for the home and the name of a user; nothing for one that is not listed.

    What root has is of no use to the user that a command of root has become.
    """
    if user.pw_dir == NO_HOME:
        return {}  # what is set in a container may be right
    return {"HOME": user.pw_dir, "USER": user.pw_name, "LOGNAME": user.pw_name}


@contextmanager
def as_owner(folder: Path) -> Iterator[None]:
    """Reach files with the rights of the owner of a folder, and no others; root has its own again after it.

    So a link that the owner has put there leads root to nothing that the owner could not read. Does nothing
    unless we are root, or where the folder is absent. Not for a process with threads.

    Raises:
        StoreError: a link of another user leads to a folder of root.
    """
    found = None
    if os.geteuid() == 0:
        with suppress(OSError):
            found = _reached(folder)
    with as_user(found.st_uid, found.st_gid) if found else nullcontext():
        yield


@contextmanager
def as_user(uid: int, gid: int) -> Iterator[None]:
    """Reach files with the rights of a user, as `as_owner` does."""
    if os.geteuid() != 0 or uid == 0:
        yield
        return
    group, groups = os.getegid(), os.getgroups()
    os.setgroups([])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _make(path: Path, mode: int) -> None:
    """Make an absent folder for the service's user, if only root can change the way to it."""
    above = [folder for folder in path.parents if not os.path.lexists(folder)]
    if os.path.lexists(path) or not _is_roots_alone((above[-1] if above else path).parent):
        return
    with files.store_errors(path):
        for folder in reversed(above):
            with suppress(FileExistsError):
                folder.mkdir(0o755)
                files.sync_dir(folder.parent)
            # In a folder like /tmp another process may have put a link there meanwhile.
            if not _is_roots_alone(folder):
                return
        # A folder that another process has made meanwhile is not ours to give away.
        with suppress(FileExistsError):
            path.mkdir(mode)
            _give_to_the_service(path)
        files.sync_dir(path.parent)


def _give_to_the_service(folder: Path) -> None:
    try:
        user = pwd.getpwnam(systemd.USER)
    except KeyError:
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchown(fd, user.pw_uid, user.pw_gid)
    finally:
        os.close(fd)


def _is_roots_alone(folder: Path) -> bool:
    """Whether only root can change where this path leads, and the content of the folder at its end.

    In a folder with the sticky bit, such as /tmp, other users cannot remove or replace what belongs to root.
    """
    if folder != folder.parent and not _is_roots_alone(folder.parent):
        return False
    try:
        found = folder.lstat()
        if found.st_uid != 0:
            return False
        if stat.S_ISLNK(found.st_mode):
            return _is_roots_alone(folder.parent / folder.readlink())
    except (OSError, RecursionError):
        return False
    is_open = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    return stat.S_ISDIR(found.st_mode) and not is_open


def _files_of_program() -> list[Path]:
    """Return the files that a run reads: our own first, those of loaded modules, and Python itself.

    Call it before the user changes: the new user may not see them.
    """
    loaded = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    places = [*sorted(Path(__file__).parents[1].rglob("*.py")), *map(Path, loaded), Path(sys.executable)]
    return [path for path in places if path.is_file()]


def _refuse_unless_readable(paths: Iterable[Path], user: str) -> None:
    """Raise ProgramUnreadable for the first path that we cannot read; it names the folder in the way."""
    path = next((each for each in paths if not os.access(each, os.R_OK)), None)
    if path is None:
        return
    folders = [*reversed(path.parents), *reversed(Path(os.path.realpath(path)).parents)]
    closed, mode = next((folder for folder in folders if not os.access(folder, os.X_OK)), path), ""
    with suppress(OSError):
        mode = f": {str(closed)!r} has mode {stat.S_IMODE(closed.stat().st_mode):04o}"
    raise ProgramUnreadable(
        Text("{} cannot read {!r}, a file of this program{}", user, str(path), mode),
        hint=Text(
            "install it where every user can read it: by `make install`, or by pipx with "
            "PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin"
        ),
    )
