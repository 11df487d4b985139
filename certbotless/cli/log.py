"""The log of a command: one escaped line a record, on standard error."""

import logging
import sys
import time

from ..base.errors import printable
from ..base.log_context import logfmt
from ..base.systemd import is_read_by_journal


class Formatter(logging.Formatter):
    """One escaped line a record; with syslog's priority in front where systemd reads it."""

    _PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        line = printable(logfmt(record), 4000)
        if record.exc_info:
            # Indented, so that no text of an exception can pass for a record of ours.
            trace = self.formatException(record.exc_info).splitlines()
            line += "".join(f"\n  {printable(part, 4000)}" for part in trace)
        if self._for_journal:
            priority = next((p for level, p in self._PRIORITIES if record.levelno >= level), 7)
            return "\n".join(f"<{priority}>{part}" for part in line.split("\n"))
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        return f"{stamp} {record.levelname} {line}"


def set_up(level: int = logging.INFO) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter(for_journal=is_read_by_journal(sys.stderr.fileno())))
    # The attempt log may hear more (service.oneshot).
    handler.setLevel(level)
    log_through(handler, level)


def log_through(handler: logging.Handler, level: int) -> None:
    logging.basicConfig(level=level, handlers=[handler])
    levels = {
        "aliyunsdkcore": logging.CRITICAL,  # its lines hold signed URLs
        "urllib3": logging.CRITICAL,  # as above
        "apscheduler": logging.ERROR,  # it warns where a job is asked for a third time while it runs
        "docker": logging.WARNING,  # it says twice what ours say
    }
    for name, least in levels.items():
        logging.getLogger(name).setLevel(least)
