"""What the daemon does beside the four facts: visits and messages, each by a process of its own. Light.

Nothing waits for an errand, and what becomes of it changes no site.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from . import client, news, outbox
from .child import Errand
from .client import ClientFacts
from .clock import SystemClock
from .config import Config
from .errors import StoreError
from .ledger import local_backoff
from .look import View
from .news import Facts

logger = logging.getLogger(__name__)

# One asks everybody at once, so it takes as long as the slowest.
_TIMEOUT_S = 600.0
# One that left no trace is not started again at every look, but so long after its last start; one that failed
# later and later.
_PAUSES = {"visit": timedelta(minutes=1), "notify": timedelta(seconds=5)}


class Errands:
    """The errands of one daemon: started by the thread that looks, taken leave of by the main thread."""

    def __init__(self, clock: SystemClock) -> None:
        self._clock = clock
        self._running: dict[str, Errand] = {}
        self._lock = threading.Lock()
        self._not_before_s: dict[str, float] = {}
        self._failures: Counter[str] = Counter()
        self._untold = ""

    def start(self, config: Config, raw: bytes, views: Sequence[View], refused: tuple[str, ...]) -> None:
        """Start what is due.

        Args:
            raw: the text of `config`.
            refused: what is wrong with an edit of it that is not taken, a line each.
        """
        visits = client.remembered(config.state_dir)
        due = {
            "visit": any(client.is_due(view, visits) for view in views),
            "notify": bool(config.notify) and self._has_news(config, views, visits, refused),
        }
        now_s = time.monotonic()
        with self._lock:
            for name in (name for name, is_due in due.items() if is_due and name not in self._running):
                if self._clock.is_stopped or now_s < self._not_before_s.get(name, now_s):
                    continue
                pause = local_backoff(self._failures[name] + 1, _PAUSES[name])
                self._not_before_s[name] = now_s + pause.total_seconds()
                self._running[name] = Errand(raw, name, _TIMEOUT_S)

    def running(self) -> list[Errand]:
        """Return those that have not ended; takes leave of the others, and ends what is overdue."""
        with self._lock:
            ended = {name: each for name, each in self._running.items() if each.has_ended()}
            for name, each in ended.items():
                del self._running[name]
                self._failures[name] = self._failures[name] + 1 if each.has_failed else 0
            return [*self._running.values()]

    def _has_news(
        self,
        config: Config,
        views: Sequence[View],
        visits: Mapping[str, ClientFacts],
        refused: tuple[str, ...],
    ) -> bool:
        """Write down what there is to tell, and return whether something is to be sent."""
        with self._lock:
            if "notify" in self._running:
                return False  # it has the file; what stands at the next look is told then
        domains = frozenset(site.domain for site in config.sites)
        facts = Facts(datetime.now(UTC), domains, views, visits, refused)
        try:
            has_news, untold = outbox.look(config, facts, news.patience(config.check_every)), ""
        except StoreError as exc:
            has_news, untold = False, str(exc)
        if untold and untold != self._untold:
            logger.warning("notify.not_told error=%s", untold)
        self._untold = untold
        return has_news
