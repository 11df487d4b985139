"""Tables of docs/ in Markdown: the limits on orders, and what each call of the Aliyun API is for."""

from __future__ import annotations

from certbotless.limits import ALLOWANCES
from certbotless.policy import actions
from certbotless.times import in_words

PURPOSES = {
    "AddDomainRecord": "Adds the A or AAAA record of a site, and the TXT record of a challenge.",
    "DeleteDomainRecord": "Deletes that TXT record afterwards, and a stale A or AAAA record beside ours.",
    "DescribeDomainRecords": "Finds the zone of a site without `zone`, and that of a delegated challenge.",
    "DescribeSubDomainRecords": "Reads the records of a name: before one is written, to find ours again,"
    " and where no name server speaks for the zone.",
    "UpdateDomainRecord": "Changes the A or AAAA record to another address or TTL.",
}


def limits_table() -> str:
    """Return the table of all limits."""
    rows = ["| What is counted | At | We | The CA | Source |", "|---|---|---|---|---|"]
    for allowance in ALLOWANCES:
        ours = f"{allowance.count} in {in_words(allowance.window)}{allowance.note}"
        what = allowance.what.format("one domain")
        rows.append(f"| {what} | {allowance.at} | {ours} | {allowance.theirs} | {allowance.source} |")
    return "\n".join(rows) + "\n"


def calls_table() -> str:
    """Return what each call is for.

    Raises:
        KeyError: nobody has said it of one of them.
    """
    rows = [f"| `alidns:{action}` | {PURPOSES[action]} |\n" for action in actions()]
    return "".join(["| Action | What it does here |\n", "|---|---|\n", *rows])
