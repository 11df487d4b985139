"""What the daemon tells the commands beside it: which edit it refuses. Light.

It is written at the start and when an edit is refused, and counts for as long as that daemon runs.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..base import saved
from ..base.checked import Model
from ..base.errors import StoreError
from ..base.locks import running_daemon

logger = logging.getLogger(__name__)

_NAME = "daemon.json"


@dataclass(frozen=True, slots=True)
class _Told(Model):
    """What the file says: the faults of the text that is refused, a line each, and its SHA-256."""

    refused: tuple[str, ...]
    refused_digest: str


def tell(state_dir: Path, refused: Sequence[str], digest: str) -> None:
    """Write it; where that fails, the commands know less, and nothing else is lost.

    Args:
        refused: what is wrong with the file, a line each; empty where it is in force.
        digest: SHA-256 of the file that is refused.
    """
    try:
        saved.save(state_dir / _NAME, _Told(tuple(refused), digest))
    except StoreError as exc:
        logger.warning("daemon.not_told error=%s", exc)


def refusal(state_dir: Path, raw: bytes) -> tuple[str, ...]:
    """Return why the daemon that runs now refuses this text, a line each.

    Nothing, if it does not, if none runs, or if what it told makes no sense.
    """
    if running_daemon(state_dir) is None:
        return ()
    try:
        told = saved.load(state_dir / _NAME, _Told)
    except (ValueError, StoreError):
        return ()
    is_of_this = told is not None and told.refused_digest == hashlib.sha256(raw).hexdigest()
    return told.refused if told and is_of_this else ()
