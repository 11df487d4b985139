"""One file that others edit: is its content another one, and has it come to rest? Light.

Whatever an editor does (writes in place, renames over, flips a link somewhere in the path, deletes and
creates), the content counts and not how it came. A poll costs one stat; the content is read after the stat
has changed, and for as long as the stat may hide a further change.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .errors import CertbotlessError

# Two saves within a tick of the file system's clock, at most 2 s (FAT), may leave the same stat.
_STAT_GRAIN_S = 3.0


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held when it was read: its bytes, or why it could not be read."""

    raw: bytes
    error: CertbotlessError | None = None

    @property
    def digest(self) -> str:
        """Tells one content from another."""
        return f"error: {self.error.message}" if self.error else hashlib.sha256(self.raw).hexdigest()


class Followed:
    """A file, and the content of it that was dealt with.

    Args:
        find: where it is now, which may differ from call to call; None while it is no file.
        read: reads it; a CertbotlessError is a content too.
        known: what was dealt with already; else what is there now.
    """

    def __init__(
        self, find: Callable[[], Path | None], read: Callable[[], bytes], known: Content | None = None
    ) -> None:
        self._find = find
        self._read = read
        self._known = (known or self.now()).digest
        self._stamp: tuple[int, ...] = ()
        self._restless_until_s = 0.0
        self._new, self._new_since_s = "", 0.0
        # Until the first poll nobody knows what has happened since it was read.
        self.is_restless = True

    def poll(self, now_s: float) -> tuple[Content, float] | None:
        """Return a content that was not dealt with and how many seconds it has stood, if there is one."""
        stamp = stamp_of(self._find())
        if stamp != self._stamp:
            self._stamp, self.is_restless = stamp, True
            self._restless_until_s = now_s + _STAT_GRAIN_S
        if not self.is_restless:
            return None
        content = self.now()
        if content.digest == self._known:
            self._new = ""
            self.is_restless = now_s < self._restless_until_s
            return None
        if content.digest != self._new:
            self._new, self._new_since_s = content.digest, now_s
        return content, now_s - self._new_since_s

    def now(self) -> Content:
        """Return what the file holds now."""
        try:
            return Content(self._read())
        except CertbotlessError as exc:
            return Content(b"", exc)

    def settle(self, content: Content) -> None:
        """Take note that this content was dealt with."""
        self._known, self._new = content.digest, ""


def stamp_of(path: Path | None) -> tuple[int, ...]:
    """Return what changes with every edit, but for one within the grain of the file system's clock.

    It follows links, so one that is led elsewhere counts; nothing for what is not there or not to be seen.
    """
    if path is None:
        return ()
    try:
        found = os.stat(path)
    except OSError:
        return (0,)
    return (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size)


def is_plain(path: Path) -> bool:
    """Whether nobody is waited for when it is read, as one would be with a pipe; also if it is absent."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return True
