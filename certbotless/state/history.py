"""`events.jsonl`: what changed at the sites, for `status`."""

import fcntl
import logging
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ..base import files
from ..base.checked import dump, of_json
from ..base.errors import encodable
from ..base.log_context import Event
from ..model.memory import KeptEvent

logger = logging.getLogger(__name__)

# About 5,000 events; then the file starts anew, with the old one beside it.
_EVENTS_MAX_BYTES = 1 << 20


class Events:
    """The events of all sites, one JSON object a line."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "events.jsonl"
        self._old = self._path.with_suffix(".jsonl.old")

    def last(self, site: str, count: int) -> list[KeptEvent]:
        """Return the newest events of a site, oldest first. Raises StoreError where they cannot be read."""
        found: list[KeptEvent] = []
        for path in (self._old, self._path):
            for line in (files.read_if_there(path) or b"").splitlines():
                with suppress(ValueError):  # cut off by a full disk
                    found.append(of_json(KeptEvent, line))
        return [event for event in found if event.site == site][-count:]

    def append(self, at: datetime, site: str, event: Event, text: str = "") -> None:
        """Write one event, with the words of an error. No run fails because it cannot be written."""
        values = {k: encodable(v) if isinstance(v, str) else v for k, v in event.values.items()}
        line = dump(KeptEvent(at, site, event.kind, values, encodable(text))) + b"\n"
        try:
            files.make_dir(self._path.parent, 0o700)
            with suppress(FileNotFoundError):
                if self._path.stat().st_size > _EVENTS_MAX_BYTES:
                    self._begin_anew()
            files.append(self._path, line, 0o600)
        except OSError as exc:
            logger.warning("events.not_written file=%s error=%s", self._path, exc.strerror)

    def _begin_anew(self) -> None:
        """Put the file aside, once: many sites may find it too large at the same moment."""
        # To be written: over NFS the kernel locks no other one (flock(2)).
        fd = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with suppress(BlockingIOError):  # another one is at it
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = os.fstat(fd)
                if found.st_size > _EVENTS_MAX_BYTES and os.path.samestat(found, self._path.stat()):
                    self._path.replace(self._old)
        finally:
            os.close(fd)
