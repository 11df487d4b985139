"""The last attempt at a site, as one text that is fit for a bug report: `<state_dir>/sites/<domain>.log`.

It is the log of one run, from its first step for the site on, with every request to the CA and every call of
the DNS API; no secret stands in it. It is no fact: what keeps it from being written is only logged.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import __version__, files
from .errors import printable
from .leaf import rfc3339
from .state import SiteFile
from .story import RUN_ENDED, site, turn_of

logger = logging.getLogger(__name__)

# What a mail or an issue takes. How it ended is written beyond it.
MOST_BYTES = 64 * 1024
# What hours of polling say stops here, so that what follows has room.
_MOST_DETAIL_BYTES = 48 * 1024
_MOST_LINE = 1000


class Transcripts(logging.Handler):
    """Writes the lines that are about a site to its file. For the length of one run.

    Args:
        head: the lines above the log of a site: what was asked for, and its configuration.
        redact: takes secrets out of a text.
    """

    def __init__(
        self, state_dir: Path, head: Callable[[str], Sequence[str]], redact: Callable[[str], str]
    ) -> None:
        super().__init__(logging.DEBUG)
        self._state_dir = state_dir
        self._head = head
        self._redact = redact
        self._sheets: dict[str, _Sheet] = {}
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if it is about a site for which a step has begun."""
        domain, message = site(), record.getMessage()
        if not domain or domain in self._told:
            return
        try:
            sheet = self._sheets.get(domain)
            if sheet is None:
                if not _begins(record, message):
                    return
                sheet = self._sheets[domain] = self._begin(domain)
            if message.startswith(RUN_ENDED):
                sheet.end(self._lines(record, message, sheet))
                self._leave(domain)
                return
            most_bytes = _MOST_DETAIL_BYTES if record.levelno <= logging.DEBUG else MOST_BYTES
            for line in self._lines(record, message, sheet):
                sheet.write(line, most_bytes)
        except OSError as exc:
            self._leave(domain)
            logger.warning("transcript.not_written file=%s error=%s", self._path_of(domain), exc.strerror)

    def close(self) -> None:
        for domain in list(self._sheets):
            self._leave(domain)
        super().close()

    def _path_of(self, domain: str) -> Path:
        return SiteFile(self._state_dir, domain).attempt_path

    def _begin(self, domain: str) -> _Sheet:
        path = self._path_of(domain)
        files.make_dir(path.parent, 0o700)
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        sheet = _Sheet(os.open(path, flags, 0o600), time.monotonic())
        system, python = os.uname(), sys.version.partition(" ")[0]
        sheet.write(f"certbotless {__version__}, Python {python}, {system.sysname} {system.release}")
        for line in self._head(domain):
            sheet.write(printable(self._redact(line), _MOST_LINE))
        sheet.write(f"began at {rfc3339(datetime.now(UTC))}; seconds since then:")
        return sheet

    def _lines(self, record: logging.LogRecord, message: str, sheet: _Sheet) -> Iterator[str]:
        after_s = time.monotonic() - sheet.began_s
        yield f"{after_s:8.3f} {record.levelname:<7} {printable(self._redact(message), _MOST_LINE)}"
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            for line in self._redact(trace).splitlines():
                yield f"         {printable(line, _MOST_LINE)}"

    def _leave(self, domain: str) -> None:
        self._told.add(domain)
        sheet = self._sheets.pop(domain, None)
        if sheet is not None:
            with suppress(OSError):
                os.close(sheet.fd)


@dataclass(slots=True)
class _Sheet:
    """An open file of bounded size; `left_out` counts the lines that found no room."""

    fd: int
    began_s: float
    size: int = 0
    left_out: int = 0

    def write(self, line: str, most_bytes: int = MOST_BYTES) -> None:
        data = f"{line}\n".encode("utf-8", "backslashreplace")
        if self.size + len(data) > most_bytes:
            self.left_out += 1
            return
        self.size += len(data)
        left = memoryview(data)
        while left:
            left = left[os.write(self.fd, left) :]

    def end(self, lines: Iterable[str]) -> None:
        """Write the last lines, for which there always is room."""
        if self.left_out:
            self.write(f"         ({self.left_out} lines left out)", 2 * MOST_BYTES)
        for line in lines:
            self.write(line, 2 * MOST_BYTES)


def _begins(record: logging.LogRecord, message: str) -> bool:
    """Whether this is the first step of an attempt; upkeep, which is told as detail, is none."""
    turn = turn_of(message)
    return turn is not None and turn[1] == "due" and record.levelno > logging.DEBUG
