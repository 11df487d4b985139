"""The story of what changed, for `status`: one JSON object a line."""

import logging
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ..base import files
from ..base.errors import encodable
from ..model.memory import Event

logger = logging.getLogger(__name__)

# About 5,000 events; then the file starts anew, with the old one beside it.
_EVENTS_MAX_BYTES = 1 << 20


class Events:
    """The story of what changed, one JSON object a line."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "events.jsonl"
        self._old = self._path.with_suffix(".jsonl.old")

    def last(self, site: str, count: int) -> list[Event]:
        """Return the newest events of a site, oldest first. Raises StoreError where they cannot be read."""
        found: list[Event] = []
        for path in (self._old, self._path):
            for line in (files.read_if_there(path) or b"").splitlines():
                with suppress(ValueError):  # cut off by a full disk: the story goes on
                    found.append(Event.validate_json(line))
        return [event for event in found if event.site == site][-count:]

    def append(self, at: datetime, site: str, event: str, text: str) -> None:
        """Write one event. The story is no fact: what keeps it from being told is only logged."""
        text = encodable(text)
        try:
            files.make_dir(self._path.parent, 0o700)
            if self._path.exists() and self._path.stat().st_size > _EVENTS_MAX_BYTES:
                self._path.replace(self._old)
            files.append(self._path, Event(at, site, event, text).dump_json() + b"\n", 0o600)
        except OSError as exc:
            logger.warning("events.not_written file=%s error=%s", self._path, exc.strerror)
