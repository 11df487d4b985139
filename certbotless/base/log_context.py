"""What goes with a line of the log beside its text: the site that it is about, and an event of the site.

The progress on a terminal, the attempt log and `events.jsonl` are made from these values. None of them reads
the text of a line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_site: ContextVar[str] = ContextVar("site", default="")


@dataclass(frozen=True, slots=True)
class Event:
    """What happens at a site in a run, as data; words are made of it when it is shown.

    Attributes:
        kind: a change as ``record.added``, a failure as ``order.failed``, or one of these with their values:
            begins (step, reason), done (step), not done (step), waits (what, detail), run ended.
        values: texts, numbers and lists by name.
    """

    kind: str = ""
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """The values as they are shown; an empty one is left out."""
        return " ".join(f"{name}={value}" for name, value in self.values.items() if value not in ("", None))

    @property
    def extra(self) -> dict[str, Event]:
        """Pass this to a logger as `extra`."""
        return {"event": self}


_NO_EVENT = Event()


def event_of(record: logging.LogRecord) -> Event:
    """Return the event of a line of the log; its kind is empty for a line without one."""
    return getattr(record, "event", _NO_EVENT)


def waits_for(what: str, detail: str = "") -> dict[str, Event]:
    """Return the `extra` of a line that says what is waited for."""
    return Event("waits", {"what": what, "detail": detail}).extra


@contextmanager
def about(domain: str) -> Iterator[None]:
    """Let every line that is logged in the block be about this site. Threads of the block inherit it."""
    token = _site.set(domain)
    try:
        yield
    finally:
        _site.reset(token)


def site() -> str:
    """Return the site that this thread works for, empty if for none."""
    return _site.get()
