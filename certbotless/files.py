"""Files that are whole or absent: each is written beside its place, synced, and renamed into it.

Source: rename(2), fsync(2) (a rename is durable only after its directory is synced).
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from .errors import StoreError


@contextmanager
def store_errors(path: Path, to: Literal["read", "write"] = "write") -> Iterator[None]:
    """Map what the file system raises; `path` is what we were about to touch.

    Raises:
        StoreError: for any OSError inside.
    """
    try:
        yield
    except OSError as exc:
        where = exc.filename if isinstance(exc.filename, str) else str(path)
        cure = "exists, has room, and is writable" if to == "write" else "is readable"
        raise StoreError(
            f"cannot {to} {where!r}: {exc.strerror}", hint=f"check that {str(path)!r} {cure} by this user"
        ) from exc


def make_dir(path: Path, mode: int) -> None:
    """Make the directory and those above it where absent; one that exists keeps its mode."""
    if not path.is_dir():
        make_dir(path.parent, mode)
        with contextlib.suppress(FileExistsError):
            path.mkdir(mode)


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet; it has its final mode before it has a byte. Synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    with open(fd, "wb", buffering=0) as file:
        left = memoryview(data)
        while left:
            left = left[file.write(left) :]  # a short write is no error
        os.fsync(fd)


def replace(path: Path, data: bytes, mode: int) -> None:
    """Give the file these contents in one step."""
    temporary = _beside(path)
    try:
        write_new(temporary, data, mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def link(path: Path, target: str) -> None:
    """Make `path` a symbolic link to `target` in one step, whatever file it was before."""
    temporary = _beside(path)
    try:
        temporary.symlink_to(target)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)


def sync_dir(path: Path) -> None:
    """Make the entries of a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _beside(path: Path) -> Path:
    # The same directory is the same file system, so the rename cannot fail with EXDEV.
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")
