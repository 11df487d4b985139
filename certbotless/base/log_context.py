"""Which site a line of the log is about, and what it says of a step: for handlers that tell a run as a story.

The log is the one source of it. Who works for a site says so once, with `about`; its threads carry that on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_site: ContextVar[str] = ContextVar("site", default="")

# The last line about a site in a run.
RUN_ENDED = "run.ended"

_TURNS = ("due", "done", "not_done")


@contextmanager
def about(domain: str) -> Iterator[None]:
    """Let every line that is logged in the block be about this site."""
    token = _site.set(domain)
    try:
        yield
    finally:
        _site.reset(token)


def site() -> str:
    """Return the site that this thread works for, empty if for none."""
    return _site.get()


def turn_of(message: str) -> tuple[str, str] | None:
    """Return the key of the step that begins or ends with this line, and its turn; None for any other.

    The lines are those of `act.dispatch`.
    """
    # A key may hold spaces: the command that a deploy runs.
    event, rest, _ = message.partition(" domain=")
    key, _, turn = event.rpartition(".")
    return (key, turn) if key and turn in _TURNS and rest else None
