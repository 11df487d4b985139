"""The last attempt at a site, as one text that is fit for a bug report: `<state_dir>/sites/<domain>.log`.

It is the log of one run, from the first step for the site on, with every request to the CA and every call of
the DNS API. It holds no secret. Until the run has ended it is called `<domain>.log.unfinished`. The run does
not depend on it: a fault that keeps it from being written is logged, and the run goes on.
"""

import logging
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from typing import TextIO

from .. import __version__
from ..base import files
from ..base.errors import printable
from ..base.log_context import event_of, logfmt, site
from ..base.times import rfc3339
from ..state.site import SiteFile

logger = logging.getLogger(__name__)

# A mail or an issue takes as much. The record that exceeds it is written whole, and so is the end of the run.
MOST_BYTES = 64 * 1024
_MOST_LINE, _MOST_LINES_OF_TRACE = 1000, 60


class AttemptLogs(logging.Handler):
    """Writes each record about a site to the site's file. For the length of one run.

    Args:
        head: returns the lines above the log of a site: the command and the configuration.
        redact: takes secrets out of a text.
    """

    def __init__(
        self, state_dir: Path, head: Callable[[str], Sequence[str]], redact: Callable[[str], str]
    ) -> None:
        super().__init__(logging.DEBUG)
        self._state_dir, self._head, self._redact = state_dir, head, redact
        # By domain; None where no more is written.
        self._streams: dict[str, TextIO | None] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, if it is about a site for which a step has begun."""
        domain, kind = site(), event_of(record).kind
        if not domain or (domain not in self._streams and kind != "begins"):
            return
        try:
            if domain not in self._streams:
                self._streams[domain] = self._begin(domain, record)
            if stream := self._streams[domain]:
                self._write(stream, record, is_end=kind == "run ended")
                if kind == "run ended":
                    self._path_of(domain).replace(SiteFile(self._state_dir, domain).attempt_path)
        except OSError as exc:
            self._end(domain)
            logger.warning("attempt_log.not_written file=%s error=%s", self._path_of(domain), exc.strerror)
        if kind == "run ended":
            self._end(domain)

    def close(self) -> None:
        for domain in self._streams:
            self._end(domain)
        super().close()

    def _path_of(self, domain: str) -> Path:
        return SiteFile(self._state_dir, domain).unfinished_path

    def _begin(self, domain: str, record: logging.LogRecord) -> TextIO:
        """Make the file, for its owner alone, in place of one that a killed run has left; write the head."""
        path = self._path_of(domain)
        files.make_dir(path.parent, 0o700)
        path.unlink(missing_ok=True)
        # O_EXCL follows no link.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        stream = open(fd, "w", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        system, python = os.uname(), sys.version.partition(" ")[0]
        began_at = datetime.fromtimestamp(record.created - record.relativeCreated / 1000, UTC)
        stream.write(f"certbotless {__version__}, Python {python}, {system.sysname} {system.release}\n")
        stream.writelines(f"{printable(self._redact(line), _MOST_LINE)}\n" for line in self._head(domain))
        stream.write(f"began at {rfc3339(began_at)}; seconds since then:\n")
        return stream

    def _write(self, stream: TextIO, record: logging.LogRecord, *, is_end: bool) -> None:
        if stream.tell() < MOST_BYTES or is_end:
            stream.write(f"{self.format(record)}\n")
            if stream.tell() >= MOST_BYTES and not is_end:
                stream.write("         (what follows is left out, but for the end)\n")
            stream.flush()

    def format(self, record: logging.LogRecord) -> str:
        """Return a line for the message and one for each of its traceback, printable, without secrets."""
        message = printable(self._redact(logfmt(record, self._redact)), _MOST_LINE)
        lines = [f"{record.relativeCreated / 1000:8.3f} {record.levelname:<7} {message}"]
        if record.exc_info:
            # Redacted as a whole: a key in PEM has several lines. The exception is at the end.
            trace = self._redact("".join(format_exception(record.exc_info[1]))).splitlines()
            lines += [f"         {printable(line, _MOST_LINE)}" for line in trace[-_MOST_LINES_OF_TRACE:]]
        return "\n".join(lines)

    def _end(self, domain: str) -> None:
        stream, self._streams[domain] = self._streams.get(domain), None
        if stream is not None:
            with suppress(OSError):
                stream.close()
