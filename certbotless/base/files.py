"""Files that are whole or absent: each is written beside its place, synced, and renamed into it.

A user who may write to a folder may plant anything under a name that we read. So no link is followed, only
plain files are read, and each read ends at once and has a bound.

Source: rename(2), fsync(2) (a rename is durable only after its directory is synced), open(2), fifo(7).
"""

import errno
import logging
import os
import re
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from . import systemd
from .errors import StoreError, reason_of
from .words import N_, Text

logger = logging.getLogger(__name__)

# The longest chain that we know of is 8 KiB.
MAX_BYTES = 1 << 20
# For what only we write. A ledger of 50,000 rows: a hundred times as many as 500 sites leave in 90 days.
_MOST_OF_OURS = 16 << 20
# As much as a pair with its facts, and as the state of a site may grow by during an order.
_TRIAL_BYTES = 64 * 1024
TRIAL = "trial"
# The name of a file that a killed writer leaves: see `_beside`.
_LITTER = re.compile(r"\.(.+)\.[0-9a-f]{16}")

_KINDS = (
    (stat.S_ISREG, N_("a file")),
    (stat.S_ISLNK, N_("a symbolic link")),
    (stat.S_ISDIR, N_("a directory")),
    (stat.S_ISFIFO, N_("a named pipe")),
    (stat.S_ISSOCK, N_("a socket")),
)


class NotPlainError(OSError):
    """The path is no plain file of a sensible size; `strerror` says what it is."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(errno.EINVAL, what, str(path))


@contextmanager
def store_errors(path: Path, to: Literal["read", "write"] = "write") -> Iterator[None]:
    """Map the errors of the file system; `path` is the file that we are about to use.

    Raises:
        StoreError: for any OSError inside.
    """
    try:
        yield
    except OSError as exc:
        where = exc.filename if isinstance(exc.filename, str) else str(path)
        reason = reason_of(exc)
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = Text("{} ({})", reason, _room_at(Path(where)))
        form = N_("check that {!r} exists, has room, and is writable by this user")
        hint = _drop_in(path, exc) or Text(form, str(path))
        if to == "read":
            hint = Text("check that {!r} is readable by this user", str(path))
        if exc.errno == errno.EACCES:
            hint = Text("use sudo, or correct the owner and the mode of {!r}", str(path))
        form = N_("cannot write {!r}: {}") if to == "write" else N_("cannot read {!r}: {}")
        raise StoreError(Text(form, where, reason), hint=hint) from exc


def _drop_in(path: Path, exc: OSError) -> str:
    """Return how to let our unit write there; empty if the cause is another one."""
    unit = systemd.own_unit().removesuffix(".service") if exc.errno == errno.EROFS else ""
    if not unit:
        return ""
    # Our own files have suffixes; a folder that is absent need not have one.
    folder = path if path.is_dir() or not path.suffix else path.parent
    make = "" if folder.is_dir() else f"`install -d -o {systemd.USER} -g {systemd.USER} {folder}`, then "
    return Text(
        "its unit needs the right to write there: {}`systemctl edit {}` with the lines `[Service]` and "
        "`ReadWritePaths=-{}`, and `systemctl restart {}`",
        make,
        unit,
        str(folder),
        unit,
    )


def kind_of(mode: int) -> str:
    """Return in words what a file with this mode is."""
    device = Text("a device")
    return next((Text(word) for is_kind, word in _KINDS if is_kind(mode)), device)


def read(path: Path, most_bytes: int = MAX_BYTES, *, follows_links: bool = False) -> bytes:
    """Return the content of a plain file, at once.

    Raises:
        NotPlainError: it is a link, a pipe, a directory and the like, or larger than `most_bytes`.
        OSError: it is absent, or cannot be read.
    """
    return read_with_mode(path, most_bytes, follows_links=follows_links)[0]


def read_with_mode(path: Path, most_bytes: int, *, follows_links: bool = False) -> tuple[bytes, int]:
    """Return the content of a plain file, and the mode of that very file. Raises like `read`."""
    fd = _open_plain(path, os.O_RDONLY | (0 if follows_links else os.O_NOFOLLOW))
    with open(fd, "rb") as file:
        data, mode = file.read(most_bytes + 1), os.fstat(fd).st_mode
    if len(data) > most_bytes:
        raise NotPlainError(path, Text("it is larger than {} bytes", most_bytes))
    return data, mode


def read_if_there(path: Path) -> bytes | None:
    """Return the content of a file that only we write, None if there is none.

    Raises:
        StoreError: it cannot be read.
    """
    with store_errors(path, "read"), suppress(FileNotFoundError):
        return read(path, _MOST_OF_OURS)
    return None


def refuse_unless_directory(path: Path) -> None:
    """Raise StoreError for a link in place of a directory of ours, which may lead anywhere, or for a file."""
    if os.path.lexists(path) and not stat.S_ISDIR(mode := path.lstat().st_mode):
        what = Text("{!r} is {}; it must be a directory", str(path), kind_of(mode))
        raise StoreError(what, hint=Text("move it away"))


def make_dir(path: Path, mode: int) -> None:
    """Make the directory, and those above it, if absent; durably. One that exists keeps its mode."""
    if not path.is_dir():
        make_dir(path.parent, mode)
        with suppress(FileExistsError):
            path.mkdir(mode)
        sync_dir(path.parent)


def write_new(path: Path, data: bytes, mode: int, group: int | None = None) -> None:
    """Write a file that must not exist yet, and sync it. It has its mode and group before its first byte.

    Args:
        group: its gid; None leaves it to the file system.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with _errors_about(path), open(fd, "wb", buffering=0) as file:
        if group is not None:
            os.fchown(fd, -1, group)
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]  # a short write is no error
        os.fsync(fd)


def append(path: Path, data: bytes, mode: int) -> None:
    """Add to the end of a file, which is made if absent. On disk when this returns."""
    is_new = not os.path.lexists(path)
    fd = _open_plain(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, mode)
    with _errors_about(path), open(fd, "ab", buffering=0) as file:
        written = file.write(data)
        if written != len(data):
            end = file.tell()
            if os.fstat(fd).st_size == end:
                os.ftruncate(fd, end - written)  # no half of a line
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(fd)
    if is_new:
        sync_dir(path.parent)


def replace(path: Path, data: bytes, mode: int, group: int | None = None) -> None:
    """Give the file these contents in one step; its group as in `write_new`."""
    with _renamed_into(path) as temporary:
        write_new(temporary, data, mode, group)


def rewrite(path: Path, before: bytes, after: bytes) -> None:
    """Give a file of a person new contents in one step. It keeps its owner, its group and its mode.

    A link in the path stays; the file that it leads to is replaced.

    Args:
        before: what the file was when `after` was made of it.

    Raises:
        OSError: it has other contents by now, is not writable, or its owner cannot be kept.
    """
    path = path.resolve(strict=True)
    # Who may write to the folder could replace it all the same; its mode says what its owner wants.
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with _renamed_into(path) as temporary:
        found = path.stat()
        write_new(temporary, after, 0o600)
        made = temporary.stat()
        if (found.st_uid, found.st_gid) != (made.st_uid, made.st_gid):
            os.chown(temporary, found.st_uid, found.st_gid)
        temporary.chmod(stat.S_IMODE(found.st_mode))
        if read(path) != before:
            raise OSError(errno.EAGAIN, "another program has changed it meanwhile", str(path))


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target` in one step, whatever file it was before."""
    with _renamed_into(path) as temporary:
        temporary.symlink_to(target)


def probe(path: Path, *, links: bool = False) -> None:
    """Write, sync, read back and remove a file beside `path` that is as large as a pair; then make a link.

    Its bytes are random, so that no file system stores it in less room than a key.

    Raises:
        OSError: there is no room, or no right, or the disk does not keep what it is given.
    """
    trial, data = _beside(path.with_name(f"{path.name}.{TRIAL}")), os.urandom(_TRIAL_BYTES)
    with _errors_about(path.parent):
        try:
            write_new(trial, data, 0o600)
            if read(trial) != data:
                raise OSError(errno.EIO, "it does not read back as it was written")
            if links:  # CIFS keeps them by an option of the mount alone, and FAT never does
                trial.unlink()
                try:
                    trial.symlink_to(TRIAL)
                except OSError as exc:
                    what = Text("no symbolic link can be made there ({})", reason_of(exc))
                    raise OSError(exc.errno, what) from exc
        finally:
            with suppress(OSError):
                trial.unlink()


def sweep(folder: Path, names: Collection[str]) -> None:
    """Remove what killed writers have left beside these names. Hold the lock of the writers.

    Only files whose names have exactly the form of our temporary names are removed.
    """
    names = {*names, *(f"{name}.{TRIAL}" for name in names)}
    with suppress(OSError):  # the next time, then
        for entry in list(os.scandir(folder)):
            match = _LITTER.fullmatch(entry.name)
            if match and match[1] in names and (entry.is_symlink() or entry.is_file()):
                os.unlink(entry.path)
                logger.info("file.removed path=%s", entry.path)


def remove_dir(folder: Path, names: Collection[str]) -> None:
    """Remove a folder of ours. It stays as it is if it has anything else than `names`.

    Raises:
        OSError: not all of it could be removed.
    """
    found = {path.name for path in folder.iterdir()}
    if found <= set(names):
        for name in found:
            (folder / name).unlink()
        folder.rmdir()


def keeps_mode(folder: Path, mode: int) -> bool:
    """Whether a file in this folder can be given this mode, which a trial file shows. Raises OSError.

    On CIFS, NTFS and the drives of Windows below WSL the mount sets the mode of all files.
    """
    trial = _beside(folder / TRIAL)
    fd = os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with suppress(PermissionError):  # vfat, for a mode that it cannot show
            os.fchmod(fd, mode)
        return stat.S_IMODE(os.fstat(fd).st_mode) == mode
    finally:
        os.close(fd)
        trial.unlink()


def set_mode(top: Path, way: Sequence[str], mode: int) -> None:
    """Give a file of ours this mode, unless it has a second name. No link is followed below `top`.

    Args:
        way: the names of the folders from `top` to the file, and the file's name.

    Raises:
        OSError: it is not there, or not ours.
    """
    *folders, name = way
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for flags, part in [*((os.O_DIRECTORY, folder) for folder in folders), (os.O_NONBLOCK, name)]:
            inner = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | flags, dir_fd=fd)
            os.close(fd)
            fd = inner
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "this user may not set its mode", str(top.joinpath(*way)))
        os.fchmod(fd, mode)
    finally:
        os.close(fd)


def sync_dir(path: Path) -> None:
    """Make the entries of a directory durable, where its file system knows how."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with _errors_about(path):
            sync_dir_at(fd)
    finally:
        os.close(fd)


def sync_dir_at(fd: int) -> None:
    """Do what `sync_dir` does for an open directory. Raises OSError."""
    try:
        os.fsync(fd)
    except OSError as exc:
        # So answer Samba shares, VirtualBox's shared folders and some of FUSE, which sync no directory.
        if exc.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def open_to_all(path: Path) -> str:
    """Return the folder on the way to `path` that anybody may change, with its mode; empty for none.

    In a folder with the sticky bit, such as /tmp, nobody can remove the files of others, but anybody can add
    some: so it may be on the way, but not be the last folder.
    """
    for folder in (path, *path.parents):
        try:
            mode = folder.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and (folder == path or not mode & stat.S_ISVTX):
            return Text("{!r} has mode {:04o}", str(folder), stat.S_IMODE(mode))
    return ""


@contextmanager
def _renamed_into(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to, and rename it to `path`. After a failure nothing is left of it."""
    temporary = _beside(path)
    with _errors_about(path):
        try:
            yield temporary
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink()
            raise
        sync_dir(path.parent)


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Put this path into errors: write(2) names no file, and a temporary name says nothing."""
    try:
        yield
    except OSError as exc:
        exc.filename, exc.filename2 = str(path), None
        raise


def _open_plain(path: Path, flags: int, mode: int = 0) -> int:
    """Open a plain file. O_NONBLOCK: else a named pipe would make us wait until its other end is opened."""
    flags |= os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, mode)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR) and os.path.lexists(path):
            raise NotPlainError(path, Text("it is {}", kind_of(path.lstat().st_mode))) from exc
        raise
    found = os.fstat(fd).st_mode
    if not stat.S_ISREG(found):
        os.close(fd)
        raise NotPlainError(path, Text("it is {}", kind_of(found)))
    return fd


def _beside(path: Path) -> Path:
    # The same directory is the same file system, so the rename cannot fail with EXDEV.
    return path.with_name(f".{path.name}.{os.urandom(8).hex()}")


def _room_at(path: Path) -> str:
    """Return what is free on the file system of `path`, which need not exist."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        found = os.statvfs(path)
    except OSError:
        return "the free space of its file system is not known"
    files = " and no file" if found.f_files and not found.f_favail else ""
    return f"{found.f_bavail * found.f_frsize} bytes{files} free"
