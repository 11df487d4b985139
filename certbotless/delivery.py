"""What is on its way, to each who lacks it, with what becomes of it written down at every step.

Whoever fails is tried again after 1 and 10 minutes, then hourly, and when there is something new to tell; the
others do not wait for it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from .clock import Clock
from .config import Config
from .errors import CertbotlessError, Interrupted, printable
from .leaf import rfc3339
from .news import Message
from .outbox import Outbox, Receiver, load, locked, save
from .state import Failure
from .together import together

logger = logging.getLogger(__name__)

# After this no further message is begun; one that is under way has its own deadline.
_SENDING_S = 60.0
# After the first failure, the second, and each further one.
_BACKOFF = [timedelta(minutes=minutes) for minutes in (1, 10, 60)]


def deliver(
    config: Config, whom: Sequence[Receiver], send: Callable[[str, Message, Clock], None], clock: Clock
) -> None:
    """Send to each receiver what it lacks, the oldest first, until one message fails; 2 minutes at most.

    Args:
        whom: the receivers of the configuration whose URL could be read.
        send: sends one message to one URL within 30 s, or raises a CertbotlessError; used by several threads.

    Raises:
        StoreError: somebody else sends, or it cannot be written what was sent.
    """
    with locked(config.state_dir, clock):
        desk = _Desk(config.state_dir, load(config.state_dir, clock.now()))
        due = desk.outbox.due(clock.now())
        until_s = clock.monotonic() + _SENDING_S

        def serve(receiver: Receiver) -> None:
            for message in desk.lacking(receiver):
                if clock.monotonic() > until_s:
                    return
                desk.prove_writable()
                try:
                    send(receiver.url, message, clock)
                except Interrupted:
                    return  # whoever comes next sends it
                except CertbotlessError as exc:
                    desk.note_failure(receiver, exc, clock.now())
                    return
                desk.note_sent(receiver, message, clock.now())

        together(serve, [receiver for receiver in whom if receiver.name in due])


class _Desk:
    """The outbox while it is sent; on disk after every change. Hold the lock of the file."""

    def __init__(self, state_dir: Path, outbox: Outbox) -> None:
        self._state_dir = state_dir
        self._guard = threading.Lock()
        self.outbox = outbox

    def lacking(self, receiver: Receiver) -> list[Message]:
        """Return what this receiver does not have yet, the oldest first."""
        return [unsent.message for unsent in self.outbox.unsent if receiver.name in unsent.to]

    def prove_writable(self) -> None:
        """Write it as it is: what could not be crossed out would be sent at every look. Raises StoreError."""
        with self._guard:
            save(self._state_dir, self.outbox)

    def note_sent(self, receiver: Receiver, message: Message, now: datetime) -> None:
        """Cross the message out for this receiver, and it is well again."""
        with self._guard:
            outbox = self.outbox
            left = (
                replace(u, to=tuple(n for n in u.to if n != receiver.name)) if u.message == message else u
                for u in outbox.unsent
            )
            others = {n: f for n, f in outbox.failures.items() if n != receiver.name}
            self._change(unsent=tuple(u for u in left if u.to), failures=others, last_sent=now)
        logger.info("notify.sent to=%s subject=%s", receiver.label, message.subject)

    def note_failure(self, receiver: Receiver, error: CertbotlessError, now: datetime) -> None:
        """Keep the failure with the moment of the next try."""
        with self._guard:
            before = self.outbox.failures.get(receiver.name)
            count = before.count + 1 if before else 1
            failure = Failure(
                at=now,
                what=printable(f"{receiver.label}: {error.message}"),
                hint=error.hint,
                retry_at=now + _BACKOFF[min(count, len(_BACKOFF)) - 1],
                count=count,
            )
            self._change(failures={**self.outbox.failures, receiver.name: failure})
        logger.warning("notify.failed error=%s retry_at=%s", failure.advice, rfc3339(failure.retry_at))

    def _change(self, **fields: Any) -> None:
        self.outbox = replace(self.outbox, **fields)
        save(self._state_dir, self.outbox)
