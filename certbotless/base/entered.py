"""A folder that is reached by its descriptor, so nothing that takes its name meanwhile is met.

Where another user may write to a folder, each name in it may lead elsewhere a moment after it was checked.

Source: open(2), "Rationale for openat and other directory file descriptor APIs"; proc_pid_fd(5).
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from . import files

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextmanager
def entered(top: Path, way: Sequence[str], made: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield a path that leads to a folder below `top` for as long as the block lasts.

    No link is followed below `top`. An OSError of the block names the folder by its own path.

    Args:
        way: the names of the folders from `top` to it.
        made: is called with each folder that was absent, by such a path; without it none is made.

    Raises:
        OSError: a folder is absent, or something else has its name.
    """
    folder = top.joinpath(*way)
    fd = os.open(top, _FLAGS)
    try:
        for name in way:
            is_new = made is not None and _is_made(name, fd)
            inner = os.open(name, _FLAGS | os.O_NOFOLLOW, dir_fd=fd)
            os.close(fd)
            fd = inner
            if made is not None and is_new:
                made(_by(fd))
        yield _by(fd)
    except OSError as exc:
        at = str(exc.filename)
        # The name of a folder on the way has no path.
        exc.filename = str(folder) if "/" not in at else at.replace(str(_by(fd)), str(folder), 1)
        raise
    finally:
        os.close(fd)


def _is_made(name: str, fd: int) -> bool:
    """Make a folder in an open one, unless it is there; return whether it was absent."""
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=fd)
        files.sync_dir_at(fd)
        return True
    return False


def _by(fd: int) -> Path:
    return Path(f"/proc/self/fd/{fd}")
