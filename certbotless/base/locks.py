"""Locks between runs, in `state_dir`: of a site, the ledger, an account, a container, the daemon.

Each is an flock. The kernel releases it when its holder ends, however it ends.

Source: flock(2).
"""

import fcntl
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from . import files
from .clock import Clock, Pace
from .errors import AlreadyRunning, CertbotlessError, StoreError, reason_of
from .log_context import waits_for
from .times import parse_rfc3339
from .words import N_, Text

logger = logging.getLogger(__name__)

# To see whether a lock is held: a pipe in its place must not make us wait.
_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# As long as a program with its arguments may be; of a longer one it is not known whether it is the same.
_MOST_NOTED_BYTES = 1 << 16


class Lock:
    """An flock on a file. Waiting polls, because flock(2) would not notice that we are asked to stop.

    Args:
        guards: files that only the holder writes. What killed writers left beside them goes on entering.
    """

    def __init__(self, path: Path, clock: Clock, timeout_s: float, *, guards: Sequence[Path] = ()) -> None:
        self._path = path
        self._guards = guards
        self._clock = clock
        self._timeout_s = timeout_s
        self._fd = -1

    def __enter__(self) -> Self:
        with files.store_errors(self._path):
            files.make_dir(self._path.parent, 0o700)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # Some 200 sites write to the ledger, each for some 50 ms. With longer pauses nobody has it for
            # most of the time, and some wait in vain.
            pace = Pace(self._clock, self._timeout_s, first_s=0.02, most_s=0.1)
            if not _try_flock(self._fd, fcntl.LOCK_EX):
                logger.debug("lock.waiting file=%s", self._path, extra=waits_for(N_("another run")))
                while not _try_flock(self._fd, fcntl.LOCK_EX):
                    if pace.expired:
                        raise self._held()
                    pace.wait()
        except OSError as exc:
            os.close(self._fd)
            raise self._unlockable(exc) from exc
        except BaseException:
            os.close(self._fd)
            raise
        files.sweep(self._path.parent, {path.name for path in self._guards})
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def _held(self) -> CertbotlessError:
        """Return the error for a lock that is not free in time."""
        return StoreError(
            Text("{!r} is still locked after {:.0f} s", str(self._path), self._timeout_s),
            hint=Text("another certbotless process is using it; try again later"),
        )

    def _unlockable(self, exc: OSError) -> CertbotlessError:
        """Return the error for a file system that gives no locks."""
        return StoreError(
            Text("{!r} cannot be locked: {}", str(self._path), reason_of(exc)),
            hint=Text("put state_dir on a file system with locks (flock), such as a local disk"),
        )

    def _note(self, text: str) -> None:
        """Write this text to the lock file. Hold the lock."""
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text.encode(), 0)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock: its pid, 0 if that is not known, and since when."""

    pid: int
    since: datetime


class SignedLock(Lock):
    """A lock whose file says who holds it (pid and moment); `holder` reads that without the lock."""

    def __enter__(self) -> Self:
        super().__enter__()
        with suppress(OSError):  # nothing depends on it
            self._note(f"{os.getpid()} {self._clock.now().isoformat()}")
        return self


class ActionLock(Lock):
    """The lock around an action on one container or command, which several sites may share.

    Args:
        action_id: hexadecimal, such as the digest of the container's name.

    Its file has the last action that succeeded, for the runs that have waited for the lock.
    """

    def __init__(self, state_dir: Path, action_id: str, clock: Clock, timeout_s: float) -> None:
        files.refuse_unless_directory(state_dir / "containers")
        super().__init__(state_dir / "containers" / f"{action_id}.lock", clock, timeout_s)

    def last_action(self, what: str) -> datetime | None:
        """Return when the last action began, None if it was not this one or lies in the future.

        Hold the lock.
        """
        try:
            moment, _, noted = _read(self._fd).partition(" ")
            last = parse_rfc3339(moment)
        except ValueError:
            return None
        return last if last <= self._clock.now() and noted == what else None

    def note_action(self, began: datetime, what: str) -> None:
        """Note an action that has succeeded: when it began, and what it was. Hold the lock."""
        with files.store_errors(self._path):
            self._note(f"{began.isoformat(timespec='microseconds')} {what}")


class DaemonLock(SignedLock):
    """`daemon.lock`, for the daemon's life.

    Entering it raises AlreadyRunning, with the pid, if another daemon holds it.
    """

    def __init__(self, state_dir: Path, clock: Clock) -> None:
        # `running_daemon` holds the lock for an instant, so one refusal proves nothing.
        super().__init__(state_dir / "daemon.lock", clock, timeout_s=1)

    def _held(self) -> CertbotlessError:
        pid, state_dir = _holder_in(_read(self._fd)).pid, str(self._path.parent)
        return AlreadyRunning(
            Text("another certbotless daemon is running with pid {} on {!r}", pid, state_dir),
            hint=Text("stop it first, or give this one a state_dir of its own"),
        )


def running_daemon(state_dir: Path) -> int | None:
    """Return the pid of the daemon on this state directory, 0 if not known; None if no daemon runs."""
    found = holder(state_dir / "daemon.lock")
    return None if found is None else found.pid


def holder(path: Path) -> Holder | None:
    """Return the holder of the `SignedLock` with this file, None if there is none. Never waits."""
    try:
        fd = os.open(path, _LOOK)
    except OSError:
        return None
    try:
        return None if _try_flock(fd, fcntl.LOCK_SH) else _holder_in(_read(fd))
    except OSError:
        return _holder_in("")  # a file system without locks, or a broken disk
    finally:
        os.close(fd)


def _holder_in(noted: str) -> Holder:
    """Return the holder that a lock file names."""
    pid, _, since = noted.partition(" ")
    try:
        moment = parse_rfc3339(since)
    except ValueError:
        moment = datetime.now(UTC)  # it has written nothing yet, or an older version wrote it
    return Holder(int(pid) if pid.strip().isdecimal() else 0, moment)


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _read(fd: int) -> str:
    return os.pread(fd, _MOST_NOTED_BYTES, 0).decode(errors="replace")
