"""What goes with a line of the log beside its text: the site that it is about, and the event that it tells.

The progress on a terminal and the attempt log are made from these values. Neither reads the text of a line.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal

_site: ContextVar[str] = ContextVar("site", default="")

# The first word of the last line about a site in a run. A complete attempt log ends with this line.
RUN_ENDED = "run.ended"


@dataclass(frozen=True, slots=True)
class RunEvent:
    """What happens in a run for a site.

    Attributes:
        kind: a step begins, is done or not done; something is waited for; the run has ended for the site.
        what: the key of the step; in words, what is waited for.
        detail: the reason of a step; what more is known of a wait.
    """

    kind: Literal["begins", "done", "not done", "waits", "run ended"]
    what: str = ""
    detail: str = ""

    @property
    def extra(self) -> dict[str, RunEvent]:
        """Pass this to a logger as `extra`."""
        return {"run_event": self}


def event_of(record: logging.LogRecord) -> RunEvent | None:
    """Return the event that a line of the log tells, None for any other line."""
    return getattr(record, "run_event", None)


def waits_for(what: str, detail: str = "") -> dict[str, RunEvent]:
    """Return the `extra` of a line that says what is waited for."""
    return RunEvent("waits", what, detail).extra


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
