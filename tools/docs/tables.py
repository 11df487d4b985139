"""Tables of docs/ in Markdown: the limits on orders, and what each call of the Aliyun API is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from certbotless.base.times import in_words
from certbotless.model import limits
from certbotless.world.dns.ram_policy import actions

PURPOSES = {
    "AddDomainRecord": "Adds the A or AAAA record of a site, and the TXT record of a challenge.",
    "DeleteDomainRecord": "Deletes that TXT record afterwards, and stale A and AAAA records.",
    "DescribeDomainRecords": "Finds the zone of a site without `zone`, and that of a delegated challenge.",
    "DescribeSubDomainRecords": "Reads the records of a name: before one is written, to find the right one,"
    " and where no name server of the zone can be reached.",
    "UpdateDomainRecord": "Changes the A or AAAA record to another address or TTL.",
}
PURPOSES_IN_CHINESE = {
    "AddDomainRecord": "添加站点的 A 或 AAAA 记录，以及验证用的 TXT 记录。",
    "DeleteDomainRecord": "验证后删除该 TXT 记录，并删除过时的 A 和 AAAA 记录。",
    "DescribeDomainRecords": "为没有写 `zone` 的站点和委托的验证查找所在的域名。",
    "DescribeSubDomainRecords": "读取一个名称的记录：写入前找到正确的那条，或域名服务器都无法访问时使用。",
    "UpdateDomainRecord": "把 A 或 AAAA 记录改为另一个地址或 TTL。",
}


_EVERY_CA, _THERE = "every CA", "Let's Encrypt"
_PAGE_OF_CA = "Let's Encrypt, Rate Limits"
_RESERVE = (
    f"{limits.MOST_AT_THE_END} in the last 1/{limits.LAST_SHARE} of the lifetime,"
    f" {limits.MOST_AT_THE_END - 1} in the last 1/{limits.LAST_SHARE_OF_SHORT} of one under"
    f" {in_words(limits.SHORT)}"
)


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of ours beside the CA's.

    Attributes:
        at: where it holds.
        theirs: what the CA allows.
        source: who says so.
        note: when ours is another number, or another window.
    """

    ours: limits.Allowance
    at: str
    theirs: str
    source: str
    note: str = ""


LIMITS = (
    Limit(
        limits.SAME_NAMES,
        _EVERY_CA,
        "5 certificates in 7 days (one comes back in 34 h), over all accounts, without exception",
        f"{_PAGE_OF_CA}: New Certificates per Exact Set of Identifiers",
        f"; in 1/{limits.SAME_NAMES_SHARE} of the lifetime, if that is less; {_RESERVE}",
    ),
    Limit(
        limits.NOT_REPLACING,
        _THERE,
        "the same 5; an order that names what it replaces, in the window suggested for that, is exempt",
        f"{_PAGE_OF_CA}: Renewals (ARI); RFC 9773 section 5",
        f"; {_RESERVE}",
    ),
    Limit(
        limits.FAILED_VALIDATIONS,
        _EVERY_CA,
        "5 per name, account and hour (one comes back in 12 min)",
        f"{_PAGE_OF_CA}: Authorization Failures per Identifier per Account",
    ),
    Limit(
        limits.NEW_ACCOUNTS,
        _EVERY_CA,
        "10 per IP address in 3 h (one comes back in 18 min)",
        f"{_PAGE_OF_CA}: New Registrations per IP Address",
    ),
    Limit(
        limits.NEW_ORDERS,
        _THERE,
        "300 per account in 3 h (one comes back in 36 s); a renewal is exempt",
        f"{_PAGE_OF_CA}: New Orders per Account",
    ),
    Limit(
        limits.NEW_CERTIFICATES,
        _THERE,
        "50 certificates per registered domain in 7 days (one comes back in 202 min); a renewal is exempt",
        f"{_PAGE_OF_CA}: New Certificates per Registered Domain",
    ),
    Limit(
        limits.REHEARSALS,
        "staging directories; dry runs",
        "30000 certificates in 7 days at Let's Encrypt's staging; a dry run elsewhere gives none",
        "Let's Encrypt, Staging Environment",
    ),
)


def limits_table() -> str:
    """Return the table of all limits."""
    rows = ["| What is counted | At | We | The CA | Source |", "|---|---|---|---|---|"]
    for limit in LIMITS:
        ours = f"{limit.ours.count} in {in_words(limit.ours.window)}{limit.note}"
        what = limit.ours.what.format("one domain")
        rows.append(f"| {what} | {limit.at} | {ours} | {limit.theirs} | {limit.source} |")
    return "\n".join(rows) + "\n"


def calls_table(purposes: Mapping[str, str] = PURPOSES, head: str = "Action | What it does here") -> str:
    """Return what each call is for.

    Raises:
        KeyError: nobody has said it of one of them.
    """
    rows = [f"| `alidns:{action}` | {purposes[action]} |\n" for action in actions()]
    return "".join([f"| {head} |\n", "|---|---|\n", *rows])
