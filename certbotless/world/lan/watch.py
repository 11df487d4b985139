"""The LAN addresses of this machine over time: news of them, and which have lasted.

A record is written with an address that has been the same for 2 s, so that neither a lease that comes in two
steps nor a loose cable is published. What counts is which address is there now, and for how long. News from
the kernel only says when to check; without it, checks at an interval find the same, later.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from ...base.errors import AddressError
from ...base.words import Text
from ...config.addresses import AddressRule
from .address import AddressSource, address_now
from .netlink import News

logger = logging.getLogger(__name__)

# How long an address must have been the same before it is published.
SETTLE_S = 2.0
# An address that has not settled after this counts as absent: the rest of a site waits no longer for it.
RESTLESS_S = 60.0


def settled_before(settled: Mapping[AddressRule, str], now: AddressSource = address_now) -> AddressSource:
    """Return a source for a process that starts now: for these rules it takes the settled address alone."""

    def source(rule: AddressRule) -> str:
        found = now(rule)
        if found != settled.get(rule, found):
            raise AddressError(
                Text("the LAN address has changed a moment ago"),
                hint=Text("certbotless checks it again soon"),
            )
        return found

    return source


@dataclass(frozen=True, slots=True)
class _Held:
    """What a rule finds: the address or, where it finds none, why; since when, and since when it is restless.

    The times are of the monotonic clock; `restless_since_s` is None once it has settled.
    """

    address: str
    error: AddressError | None
    since_s: float
    restless_since_s: float | None


class Lan:
    """What each rule finds on this machine, and whether it has settled.

    `follow` and `look` are for one thread; any thread may ask what was found.

    Args:
        now: finds the address of a rule, or raises `AddressError`.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self, now: AddressSource = address_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._now, self._monotonic = now, monotonic
        self._held: dict[AddressRule, _Held] = {}

    def follow(self, rules: Iterable[AddressRule]) -> None:
        """Follow these rules from now on, and no others."""
        wanted = {rule for rule in rules if rule.kind not in ("literal", "none")}
        self._held = {rule: self._held.get(rule) or self._found(rule) for rule in wanted}

    def listen(self, on_news: Callable[[], None]) -> None:
        """Call `on_news`, from a thread of its own, whenever the kernel reports a change."""
        try:
            news = News()
        except OSError as exc:
            hint = "the address is checked every check_every"
            logger.warning("lan.watch_lost error=%s hint=%s", exc.strerror, hint)
            return

        def hear() -> None:
            try:
                while True:
                    news.wait()
                    on_news()
            except OSError as exc:
                logger.warning("lan.watch_ended error=%s", exc.strerror)

        threading.Thread(target=hear, name="lan-news", daemon=True).start()

    def look(self) -> bool:
        """Check every rule; return whether the address of one has settled since the last check."""
        before = self._held
        self._held = {rule: self._followed(held, self._found(rule)) for rule, held in before.items()}
        return any(
            held.restless_since_s is None and before[rule].restless_since_s is not None
            for rule, held in self._held.items()
        )

    def wait_s(self) -> float:
        """Return in how many seconds something may settle at the earliest; infinite if all has."""
        waiting = [held.since_s for held in self._held.values() if held.restless_since_s is not None]
        return max(min(waiting) + SETTLE_S - self._monotonic(), 0) if waiting else math.inf

    def is_settled(self, rule: AddressRule) -> bool:
        """Whether what `rule` finds may be published."""
        held = self._held.get(rule)
        return rule.kind in ("literal", "none") or (held is not None and held.restless_since_s is None)

    def settled(self, rule: AddressRule) -> str:
        """Return the address if it has settled, else nothing."""
        held = self._held.get(rule)
        if held is None:
            return rule.value if rule.kind == "literal" else ""
        return held.address if held.restless_since_s is None else ""

    def address(self, rule: AddressRule) -> str:
        """Return what `rule` found at the last check, settled or not; an `AddressSource`.

        Raises:
            AddressError: there is none, or it keeps changing.
        """
        held = self._held.get(rule)
        if held is None:
            return self._now(rule)
        if held.error is not None:
            # A new one each time: an error gathers the frames that it was raised through.
            raise AddressError(held.error.message, hint=held.error.hint)
        if held.restless_since_s is not None and self._monotonic() - held.restless_since_s >= RESTLESS_S:
            raise AddressError(
                Text("the LAN address keeps changing, and is {!r} at the moment", held.address),
                hint=Text("check the cable, the DHCP server, and which other program sets addresses here"),
            )
        return held.address

    def _found(self, rule: AddressRule) -> _Held:
        now_s = self._monotonic()
        try:
            return _Held(self._now(rule), None, now_s, now_s)
        except AddressError as exc:
            return _Held("", exc.with_traceback(None), now_s, now_s)

    @staticmethod
    def _followed(before: _Held, found: _Held) -> _Held:
        """Return what becomes of what was held, now that this was found."""
        restless_since_s = before.restless_since_s
        if found.address != before.address:
            return found if restless_since_s is None else replace(found, restless_since_s=restless_since_s)
        if restless_since_s is not None and found.since_s - before.since_s >= SETTLE_S:
            restless_since_s = None
        return replace(found, since_s=before.since_s, restless_since_s=restless_since_s)
