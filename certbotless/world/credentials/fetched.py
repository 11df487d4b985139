"""A key that is not in the file: fetched when it is first needed, for all sites of a run, and kept in memory.

It is used until 5 minutes before its end, or half of what was left of it when it came. Then another one is
fetched. Where none comes, the one before is used for as long as it lasts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from ...base.clock import Clock
from ...base.errors import DnsError, Interrupted, KeyRefused, KeyUnavailable
from ...base.times import rfc3339
from .access import Key, Learn

logger = logging.getLogger(__name__)

# Before its end another key is fetched; a metadata service has one by then.
_SPARE = timedelta(minutes=5)
# A source that has failed is asked again after so long, whichever site wants a key.
_PAUSE_S = 15


class Limits(Protocol):
    """What the next key may do."""

    def allow(self, zones: Iterable[str]) -> bool:
        """Allow these zones too; return whether they were not allowed before."""


class FetchedKey:
    """The one key of a run (access.KeySource).

    Args:
        fetch: returns a key that is valid now, or raises a `DnsError`.
        cure: what to do where the API refuses the key.
        learn: is given each key before it is used.
        limits: None for a key that is not limited by us.
    """

    def __init__(
        self,
        fetch: Callable[[], Key],
        clock: Clock,
        cure: str,
        learn: Learn,
        limits: Limits | None = None,
    ) -> None:
        self._fetch, self._clock, self.cure, self._learn, self._limits = fetch, clock, cure, learn, limits
        self._lock = threading.Lock()
        self._key: Key | None = None
        self._renew_at: datetime | None = None
        self._failed: DnsError | Interrupted | None = None
        self._failed_s = 0.0

    def key(self) -> Key:
        with self._lock:
            if self._key is None:
                return self._fetched()
            ends_at = self._key.ends_at
            if self._renew_at is None or ends_at is None or self._clock.now() < self._renew_at:
                return self._key
            try:
                return self._fetched()
            except (DnsError, Interrupted) as exc:
                # It may last for what is to be done: a record that is deleted, above all.
                if self._clock.now() >= ends_at:
                    raise
                logger.warning("key.not_renewed ends_at=%s error=%s", rfc3339(ends_at), exc)
                return self._key

    def instead_of(self, refused: Key) -> Key | None:
        if refused.token is None:
            return None
        with self._lock:
            # Another site may have met the same end a moment before.
            key = self._fetched() if self._key in (refused, None) else self._key
        return None if key is None or (key.id, key.token) == (refused.id, refused.token) else key

    def allow(self, zones: Iterable[str]) -> None:
        if self._limits is None:
            return
        with self._lock:
            if self._limits.allow(zones):
                self._key = None

    def _fetched(self) -> Key:
        """Fetch a key and keep it. A source that has just failed is not asked again: others wait for us."""
        if self._failed is not None and self._clock.monotonic() - self._failed_s < _PAUSE_S:
            raise self._failed
        try:
            key = self._fetch()
        except Interrupted as exc:
            # Each of the others that have waited for us would begin another one. A quick source gives a key
            # after a stop, too: what was made is deleted with it.
            self._failed, self._failed_s = exc, self._clock.monotonic()
            raise
        except DnsError as exc:
            kind = KeyUnavailable if exc.retryable else KeyRefused
            self._failed = kind(exc.message, hint=exc.hint, retry_after=exc.retry_after)
            self._failed_s = self._clock.monotonic()
            raise self._failed from exc
        self._learn(key)
        self._key, self._failed, self._renew_at = key, None, None
        if key.ends_at is not None:
            self._renew_at = key.ends_at - min(_SPARE, (key.ends_at - self._clock.now()) / 2)
        logger.debug("key.fetched ends_at=%s", rfc3339(key.ends_at) if key.ends_at else "unknown")
        return key
