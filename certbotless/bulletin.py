"""What the daemon tells the commands beside it: which edit it refuses. Light.

It is written at the start and when an edit is refused, and counts for as long as that daemon runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path

from . import files
from .errors import StoreError
from .locks import running_daemon

logger = logging.getLogger(__name__)

_NAME = "daemon.json"


def tell(state_dir: Path, refused: Sequence[str], digest: str) -> None:
    """Write it; where that fails, the commands know less, and nothing else is lost.

    Args:
        refused: what is wrong with the file, a line each; empty where it is in force.
        digest: SHA-256 of the file that is refused.
    """
    path, fields = state_dir / _NAME, {"refused": refused, "refused_digest": digest}
    try:
        with files.store_errors(path):
            files.sweep(state_dir, [_NAME])
            files.replace(path, json.dumps(fields, indent=1).encode(), 0o600)
    except StoreError as exc:
        logger.warning("daemon.not_told error=%s", exc)


def refusal(state_dir: Path, raw: bytes) -> tuple[str, ...]:
    """Return why the daemon that runs now refuses this text, a line each.

    Nothing, if it does not, if none runs, or if what it told makes no sense.
    """
    if running_daemon(state_dir) is None:
        return ()
    try:
        fields = json.loads(files.read(state_dir / _NAME))
        is_of_this = fields["refused_digest"] == hashlib.sha256(raw).hexdigest()
        return tuple(map(str, fields["refused"])) if is_of_this else ()
    except (OSError, ValueError, KeyError, TypeError, RecursionError, StoreError):
        return ()
