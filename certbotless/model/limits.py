"""How much a CA is asked for: its limits, and our own smaller ones. The one place of these numbers.

Let's Encrypt counts by buckets that fill up again slowly; a sliding window of the same size and length never
asks a bucket for more than it holds. What counts against what is in `ledger`.

Source: Let's Encrypt, "Rate Limits" (letsencrypt.org/docs/rate-limits, as of 2026-08-05); RFC 9773 section 5.
"""

from dataclasses import dataclass
from datetime import timedelta

from ..base.words import N_
from ..config.values import DIRECTORIES, STAGING_WORDS

LETS_ENCRYPT = DIRECTORIES["letsencrypt"]
# Directories of certificates that no client trusts; their CAs limit almost nothing.
STAGING = frozenset(DIRECTORIES[word] for word in STAGING_WORDS)

_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` of something in any `window`.

    `what` names it, as it follows the number; ``{}`` is replaced by its subject.
    """

    what: str
    count: int
    window: timedelta


# What each CA itself allows, with the sources: tools/docs/tables.py, from which docs/limits.md is made.
SAME_NAMES = Allowance(N_("orders for these names"), 3, _WEEK)
NOT_REPLACING = Allowance(N_("orders for these names that are not exempt"), 3, _WEEK)
FAILED_VALIDATIONS = Allowance(N_("failed validations of {}"), 3, timedelta(hours=1))
NEW_ACCOUNTS = Allowance(N_("new accounts"), 3, timedelta(hours=3))
NEW_ORDERS = Allowance(N_("orders for new sets of names"), 250, timedelta(hours=3))
# There is no list of public suffixes here. All names of a registered domain end in the same two labels, so
# these are never counted too low; below a suffix like com.cn several owners count as one.
NEW_CERTIFICATES = Allowance(N_("orders for new sets of names below {}"), 45, _WEEK)
REHEARSALS = Allowance(N_("dry runs or staging orders for these names"), 30, _WEEK)
LONGEST_WINDOW = _WEEK

# What is renewed more often than every few weeks needs a shorter window than the CA's.
SAME_NAMES_SHARE = 3
# Two of the five are left for when the certificate would expire else: for the last 1/20 of its life. Of a
# short life the last quarter may have one of them, because a CA may be away for a day.
MOST_AT_THE_END = 5
LAST_SHARE, LAST_SHARE_OF_SHORT = 20, 4
SHORT = timedelta(days=10)


def staging_of(directory: str) -> str:
    """Return the directory URL where a dry run costs nothing; empty for a CA that has none.

    Google's takes no account but one bound to it by a key of its own, so it is none for a configuration that
    names the other directory.
    """
    if directory in STAGING:
        return directory
    return DIRECTORIES["letsencrypt-staging"] if directory == LETS_ENCRYPT else ""


def same_names_window(lifetime: timedelta) -> timedelta:
    """Return the window of `SAME_NAMES` for certificates that live this long."""
    return min(SAME_NAMES.window, lifetime / SAME_NAMES_SHARE)


def last_part(lifetime: timedelta) -> timedelta:
    """Return the last part of a life, in which one order more may be made."""
    return lifetime / (LAST_SHARE if lifetime >= SHORT else LAST_SHARE_OF_SHORT)
