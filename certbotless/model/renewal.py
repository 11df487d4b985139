"""When is a certificate due? Pure: leaf facts + what the CA suggests + now -> keep or renew, and why.

Source: docs/decisions/decide.md, "Renewal moment"; RFC 9773 (ACME Renewal Information) sections 4.2 and 4.3.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from .certificate import LeafFacts

# Let's Encrypt's integration guide: a third left, or half left if the lifetime is under ten days.
_SHORT = timedelta(days=10)
# Spreads a fleet whose certificates were issued together: a day and a half of ninety.
_JITTER_SHARE = 1 / 60
# No CA may talk us into letting a certificate expire.
_LAST_SHARE = 1 / 20

# Let's Encrypt's integration guide asks for twice a day; what a CA asks for is obeyed within these limits.
_LOOK_EVERY = timedelta(hours=12)
_SOONEST_LOOK, _LATEST_LOOK = timedelta(minutes=1), timedelta(days=1)

# A CA says of a revoked certificate, however new, that its window was in the last hour (Boulder and Pebble:
# `RenewalInfoImmediate`).
_BEFORE_ITS_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RenewalWindow:
    """The time in which the CA suggests to renew, aware UTC."""

    start: datetime
    end: datetime

    def is_sound(self, facts: LeafFacts) -> bool:
        """Whether it can be meant for this certificate. A window in the past can: it means now.

        But not one that ended long before the certificate began: the next certificate would get the same
        window, and each would be renewed at once.
        """
        length = self.end - self.start
        is_of_its_life = self.start <= facts.not_after and self.end > facts.not_before - _BEFORE_ITS_LIFE
        return timedelta() < length <= facts.lifetime and is_of_its_life

    def moment(self, share: float) -> datetime:
        """Return the moment at `share` (0..1) of it."""
        return self.start + (self.end - self.start) * share


def renewal_moment(facts: LeafFacts, drawn: datetime | None = None) -> datetime:
    """Return the instant from which a renewal is due.

    Args:
        drawn: the moment drawn in the CA's window, if there is one; the last 1/20 of life overrules it.

    Without a window the jitter comes from the leaf's own digest: uniform over leaves, always the same for one
    leaf, and nothing to store.
    """
    if drawn is not None:
        return min(drawn, facts.not_after - facts.lifetime * _LAST_SHARE)
    share = 1 / 2 if facts.lifetime < _SHORT else 2 / 3
    jitter = int(facts.sha256[:8], 16) / 0xFFFFFFFF * _JITTER_SHARE
    return facts.not_before + facts.lifetime * (share + jitter)


def is_due(facts: LeafFacts, now: datetime, drawn: datetime | None = None) -> bool:
    """Tell whether the renewal moment has come; once true it stays true."""
    return now >= renewal_moment(facts, drawn)


def first_look(issued_at: datetime, lifetime: timedelta) -> datetime:
    """Return when the CA is first asked for its window: not right after the order, which asks for much."""
    return issued_at + min(_LOOK_EVERY, lifetime / 8)


def next_look(now: datetime, asked: timedelta | None) -> datetime:
    """Return when the CA is asked for its window again; `asked` is its Retry-After, None for none."""
    return now + (min(max(asked, _SOONEST_LOOK), _LATEST_LOOK) if asked is not None else _LOOK_EVERY)


def is_look_due(look_at: datetime, now: datetime) -> bool:
    """Tell whether the CA is to be asked for its window. A later moment than any was set by a wrong clock."""
    return not now < look_at <= now + _LATEST_LOOK
