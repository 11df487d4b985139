"""When is a certificate due? Pure: leaf facts + now -> keep or renew, and why.

Source: docs/architecture.md, "Renewal moment" (two thirds of the lifetime, half of a short one).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from .leaf import LeafFacts

# Let's Encrypt's integration guide: a third left, or half left if the lifetime is under ten days.
_SHORT = timedelta(days=10)
# Spreads a fleet whose certificates were issued together: a day and a half of ninety.
_JITTER_SHARE = 1 / 60


def renewal_moment(facts: LeafFacts) -> datetime:
    """Return the instant from which a renewal is due.

    The jitter comes from the leaf's own digest: uniform over leaves, the same at every look, and nothing to
    store.
    """
    share = 1 / 2 if facts.lifetime < _SHORT else 2 / 3
    jitter = int(facts.sha256[:8], 16) / 0xFFFFFFFF * _JITTER_SHARE
    return facts.not_before + facts.lifetime * (share + jitter)


def is_due(facts: LeafFacts, now: datetime) -> bool:
    """Tell whether the renewal moment has come; once true it stays true."""
    return now >= renewal_moment(facts)
