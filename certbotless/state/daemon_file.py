"""`daemon.json`: the daemon tells other commands which edit of the configuration it refuses. Light.

The daemon writes it at its start and when it refuses an edit. It counts for as long as that daemon runs.
"""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ..base import saved
from ..base.checked import Model
from ..base.errors import StoreError
from ..base.locks import running_daemon
from ..base.words import of_parts, parts_of

logger = logging.getLogger(__name__)

_NAME = "daemon.json"


@dataclass(frozen=True, slots=True)
class _Refusal(Model):
    """The file: the faults of the refused text, one line each, and the SHA-256 of that text.

    `parts`: those of each fault (words.parts_of).
    """

    refused: tuple[str, ...]
    refused_digest: str
    parts: tuple[Any, ...] = ()


def tell(state_dir: Path, refused: Sequence[str], digest: str) -> None:
    """Write the file. A failure is only logged: the commands know less then.

    Args:
        refused: the faults of the configuration file, one line each; empty if it is in force.
        digest: SHA-256 of the refused file.
    """
    try:
        saved.save(state_dir / _NAME, _Refusal(tuple(refused), digest, tuple(map(parts_of, refused))))
    except StoreError as exc:
        logger.warning("daemon.not_notified error=%s", exc)


def refusal(state_dir: Path, raw: bytes) -> tuple[str, ...]:
    """Return why the running daemon refuses this text, one line each.

    Empty if it does not refuse it, if no daemon runs, or if the file makes no sense.
    """
    digest = hashlib.sha256(raw).hexdigest()
    with suppress(ValueError, StoreError):
        told = saved.load(state_dir / _NAME, _Refusal)
        if told and told.refused_digest == digest and running_daemon(state_dir) is not None:
            return tuple(of_parts(*each) for each in zip_longest(told.refused, told.parts))
    return ()
