"""Files as somebody else may plant them, and reads that must not wait."""

import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from support.children import (
    run_in_child,
)


def plant(kind: str, path: Path) -> None:
    """Put something that is no plain file at a path."""
    match kind:
        case "a symbolic link":
            (path.parent / "secret").write_bytes(b"secret")
            path.symlink_to("secret")
        case "a named pipe":
            os.mkfifo(path)
        case "a socket":
            os.mknod(path, 0o600 | stat.S_IFSOCK)
        case "a directory":
            path.mkdir()
        case "a device":
            os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 5))  # /dev/zero, which has no end
        case _:
            raise ValueError(kind)


KINDS = ["a symbolic link", "a named pipe", "a socket", "a directory", "a device"]


def in_time(action: Callable[[], object]) -> int:
    """Run an action that may hang in a child, and return its exit code; minus SIGALRM if it does."""

    def run() -> None:
        signal.alarm(60)
        action()

    return run_in_child(run)


def mode_of(path: Path) -> str:
    return oct(stat.S_IMODE(path.lstat().st_mode))


_listeners: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for opened in _listeners:
            opened.append(str(arguments[0]))


# There is no way to take an audit hook away again.
sys.addaudithook(_note)


@contextmanager
def opened_files() -> Iterator[list[str]]:
    """Give a list of the path of each file that this process opens within the block."""
    found: list[str] = []
    _listeners.append(found)
    try:
        yield found
    finally:
        _listeners.remove(found)
