"""What the daemon tells the commands beside it: when it started, and which edit it refuses. Light.

It is written at the start and when an edit is refused, and counts for as long as that daemon runs.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path

from . import files
from .errors import StoreError
from .leaf import parse_rfc3339, rfc3339
from .locks import running_daemon
from .renewal import Start

logger = logging.getLogger(__name__)

_NAME = "daemon.json"


@dataclass(frozen=True, slots=True)
class Bulletin:
    """What is told.

    Attributes:
        refused: what is wrong with the file, a line each; empty where it is in force.
        refused_digest: SHA-256 of the file that was refused.
    """

    start: Start
    refused: tuple[str, ...] = ()
    refused_digest: str = ""


def tell(state_dir: Path, bulletin: Bulletin) -> None:
    """Write it; where that fails, the commands know less, and nothing else is lost."""
    fields = {
        "started_at": rfc3339(bulletin.start.at),
        "overdue_waits_until": rfc3339(bulletin.start.overdue_waits_until),
        "refused": bulletin.refused,
        "refused_digest": bulletin.refused_digest,
    }
    path = state_dir / _NAME
    try:
        with files.store_errors(path):
            files.sweep(state_dir, [_NAME])
            files.replace(path, json.dumps(fields, indent=1).encode(), 0o600)
    except StoreError as exc:
        logger.warning("daemon.not_told error=%s", exc)


def heard(state_dir: Path) -> Bulletin | None:
    """Return what the daemon that runs now has told; None where none runs, or what it told makes no sense."""
    if running_daemon(state_dir) is None:
        return None
    try:
        fields = json.loads(files.read(state_dir / _NAME))
        start = Start(parse_rfc3339(fields["started_at"]), parse_rfc3339(fields["overdue_waits_until"]))
        return Bulletin(start, tuple(map(str, fields["refused"])), str(fields["refused_digest"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StoreError):
        return None
