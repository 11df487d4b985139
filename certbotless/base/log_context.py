"""What goes with a line of the log beside its text: the site that it is about, and an event of the site.

The progress on a terminal, the attempt log and `events.jsonl` are made from these values. None of them reads
the text of a line.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

_OURS = __name__.partition(".")[0]
# The conversion of a value in the format of a line, with the "=" behind its name.
_CONVERSION = re.compile(r"(=?)(%[-+ #0]*\d*(?:\.\d+)?[a-zA-Z%])")

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
        shown = {name: _plain(value) for name, value in self.values.items() if value not in ("", None)}
        return " ".join(f"{name}={quoted(value)}" for name, value in shown.items())

    @property
    def extra(self) -> dict[str, Event]:
        """Pass this to a logger as `extra`."""
        return {"event": self}


def _plain(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def quoted(value: str) -> str:
    """Return a value as logfmt has it: in double quotes where it holds a blank, a double quote or ``=``.

    Source: brandur.org/logfmt; github.com/kr/logfmt.
    """
    if value and not re.search(r'[\s"=]', value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def logfmt(record: logging.LogRecord, cleaned: Callable[[str], str] = str) -> str:
    """Return the text of a record with each value quoted as it needs; that of a foreign logger as it is.

    Args:
        cleaned: what becomes of a value before it is quoted.
    """
    args = record.args
    if record.name.partition(".")[0] != _OURS or not isinstance(args, tuple) or not args:
        return cleaned(record.getMessage())
    left = iter(args)

    def shown(found: re.Match[str]) -> str:
        key, form = found.groups()
        if form == "%%":
            return f"{key}%"
        value = cleaned(form % (next(left),))
        return f"{key}{quoted(value)}" if key else value

    return _CONVERSION.sub(shown, str(record.msg))


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
