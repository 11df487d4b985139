"""The key of a role that is assumed, limited to our calls in the zones of the configuration. Light.

The libraries are loaded with the first key: a run may need none.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ...base.clock import Clock
from ...config.settings import Aliyun
from .access import Key, KeySource

logger = logging.getLogger(__name__)


class AssumedRole:
    """A role, and what its next key may do (fetched.Limits).

    Args:
        zones: that its keys may change; None for keys that are as broad as the role.
    """

    def __init__(
        self,
        aliyun: Aliyun,
        source: KeySource,
        clock: Clock,
        role: tuple[str, str],
        zones: Iterable[str] | None = None,
    ) -> None:
        self._aliyun, self._source, self._clock = aliyun, source, clock
        self._arn, self._external_id = role
        self._zones = None if zones is None else set(zones)
        self._is_limited = zones is not None

    def fetch(self) -> Key:
        """Return a key of the role. Raises as `sts.Sts.assume`."""
        from ..dns.ram_policy import session_policy  # noqa: PLC0415  (with the library of the API)
        from .sts import Role, Sts  # noqa: PLC0415  (as above)

        role = Role(self._arn, self._external_id)
        policy = ""
        if self._zones is not None:
            policy = session_policy(self._zones, role.account)
            if self._is_limited and not policy:
                logger.warning("key.not_limited zones=%d", len(self._zones))
            self._is_limited = bool(policy)
        return Sts(self._aliyun, self._source, self._clock).assume(role, policy)

    def allow(self, zones: Iterable[str]) -> bool:
        """Let the next key change these zones too; return whether that makes another one necessary."""
        if self._zones is None or self._zones.issuperset(added := set(zones)):
            return False
        self._zones |= added
        return self._is_limited
