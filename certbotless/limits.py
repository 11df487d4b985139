"""How much a CA is asked for: its limits, and our own smaller ones. The one place of these numbers.

Let's Encrypt counts by buckets that fill up again slowly; a sliding window of the same size and length never
asks a bucket for more than it holds. What counts against what is in `ledger`.
`make docs` writes them into docs/limits.md.

Source: Let's Encrypt, "Rate Limits" (letsencrypt.org/docs/rate-limits, as of 2026-08-05); RFC 9773 section 5.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from .values import DIRECTORIES

LETS_ENCRYPT = DIRECTORIES["letsencrypt"]
# Directories of certificates that no client trusts; their CAs limit almost nothing.
STAGING = frozenset({DIRECTORIES["letsencrypt-staging"], "https://dv.acme-v02.test-api.pki.goog/directory"})

_EVERY_CA, _THERE = "every CA", "Let's Encrypt"
_PAGE_OF_CA = "Let's Encrypt, Rate Limits"


@dataclass(frozen=True, slots=True)
class Allowance:
    """At most `count` of something in any `window`.

    Attributes:
        what: what is counted, as it stands after the number; ``{}`` is whom it is about.
        at: where it holds.
        theirs: what the CA allows.
        source: who says so.
        note: when it is another number, or another window.
    """

    what: str
    count: int
    window: timedelta
    at: str
    theirs: str
    source: str
    note: str = ""


# What is renewed more often than every few weeks needs a shorter window than the CA's.
SAME_NAMES_SHARE = 3
# Two of the five are left for when the certificate would expire else: for the last 1/20 of its life.
MOST_AT_THE_END = 5
LAST_SHARE = 20
_RESERVE = f"{MOST_AT_THE_END} in the last 1/{LAST_SHARE} of the lifetime"
SAME_NAMES = Allowance(
    what="orders for these names",
    count=3,
    window=timedelta(days=7),
    at=_EVERY_CA,
    theirs="5 certificates in 7 days (one comes back in 34 h), over all accounts, without exception",
    source=f"{_PAGE_OF_CA}: New Certificates per Exact Set of Identifiers",
    note=f"; in 1/{SAME_NAMES_SHARE} of the lifetime, if that is less; {_RESERVE}",
)

NOT_REPLACING = Allowance(
    what="orders for these names that are not exempt",
    count=3,
    window=timedelta(days=7),
    at=_THERE,
    theirs="the same 5; an order that names what it replaces, in the window suggested for that, is exempt",
    source=f"{_PAGE_OF_CA}: Renewals (ARI); RFC 9773 section 5",
    note=f"; {_RESERVE}",
)

FAILED_VALIDATIONS = Allowance(
    what="failed validations of {}",
    count=3,
    window=timedelta(hours=1),
    at=_EVERY_CA,
    theirs="5 per name, account and hour (one comes back in 12 min)",
    source=f"{_PAGE_OF_CA}: Authorization Failures per Identifier per Account",
)

NEW_ACCOUNTS = Allowance(
    what="new accounts",
    count=3,
    window=timedelta(hours=3),
    at=_EVERY_CA,
    theirs="10 per IP address in 3 h (one comes back in 18 min)",
    source=f"{_PAGE_OF_CA}: New Registrations per IP Address",
)

NEW_ORDERS = Allowance(
    what="orders for new sets of names",
    count=250,
    window=timedelta(hours=3),
    at=_THERE,
    theirs="300 per account in 3 h (one comes back in 36 s); a renewal is exempt",
    source=f"{_PAGE_OF_CA}: New Orders per Account",
)

# There is no list of public suffixes here. All names of a registered domain end in the same two labels, so
# these are never counted too low; below a suffix like com.cn several owners count as one.
NEW_CERTIFICATES = Allowance(
    what="orders for new sets of names below {}",
    count=45,
    window=timedelta(days=7),
    at=_THERE,
    theirs="50 certificates per registered domain in 7 days (one comes back in 202 min); a renewal is exempt",
    source=f"{_PAGE_OF_CA}: New Certificates per Registered Domain",
)

REHEARSALS = Allowance(
    what="dry runs or staging orders for these names",
    count=30,
    window=timedelta(days=7),
    at="staging directories; dry runs",
    theirs="30000 certificates in 7 days at Let's Encrypt's staging; a dry run elsewhere gives none",
    source="Let's Encrypt, Staging Environment",
)

ALLOWANCES = (
    SAME_NAMES,
    NOT_REPLACING,
    FAILED_VALIDATIONS,
    NEW_ACCOUNTS,
    NEW_ORDERS,
    NEW_CERTIFICATES,
    REHEARSALS,
)
LONGEST_WINDOW = max(allowance.window for allowance in ALLOWANCES)


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
