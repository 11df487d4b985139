"""The RAM policy of the key: exactly the calls that `alidns` makes, and what each of them is for.

Made from the code that makes the calls, and only when it is asked for: of the commands `init` alone loads
this module. ``python -m certbotless.policy ROOT`` writes it into its page.

Source: Alidns, "RAM authorization" (actions and resources); RAM, "Policy structure and syntax".
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from . import alidns
from .names import u_labels

PAGE = Path("docs", "ram-policy.md")

PURPOSES = {
    "AddDomainRecord": "Adds the A or AAAA record of a site, and the TXT record of a challenge.",
    "DeleteDomainRecord": "Deletes that TXT record afterwards, and a stale A or AAAA record beside ours.",
    "DescribeDomainRecords": "Finds the zone of a site without `zone`, and that of a delegated challenge.",
    "DescribeSubDomainRecords": "Reads the records of a name: before one is written, to find ours again,"
    " and where no name server speaks for the zone.",
    "UpdateDomainRecord": "Changes the A or AAAA record to another address or TTL.",
}


def actions() -> list[str]:
    """Return the actions that the program can call: those of the SDK's requests that `alidns` knows."""
    known = [
        value
        for value in vars(alidns).values()
        if isinstance(value, type) and value.__module__.startswith("aliyunsdkalidns.")
    ]
    return sorted(request().get_action_name() for request in known)


def document(zone: str = "ZONE") -> str:
    """Return the policy as it is pasted into the RAM console, but for ACCOUNT.

    How a resource names a zone that is not ASCII is not documented, so such a zone is named in both forms.
    """
    statement = {
        "Effect": "Allow",
        "Action": [f"alidns:{action}" for action in actions()],
        "Resource": [f"acs:alidns:*:ACCOUNT:domain/{name}" for name in sorted({zone, u_labels(zone)})],
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, indent=2, ensure_ascii=False) + "\n"


def table() -> str:
    """Return what each call is for, in Markdown.

    Raises:
        KeyError: nobody has said it of one of them.
    """
    rows = [f"| `alidns:{action}` | {PURPOSES[action]} |\n" for action in actions()]
    return "".join(["| Action | What it does here |\n", "|---|---|\n", *rows])


def with_policy(page: str) -> str:
    """Return the page with the policy and the table of now, each between its two marks."""
    for name, text in (("policy", f"```json\n{document()}```\n"), ("calls", table())):
        begin, end = f"<!-- {name}: begin (make docs) -->\n", f"<!-- {name}: end -->"
        before, rest = page.split(begin)
        _, after = rest.split(end)
        page = f"{before}{begin}{text}{end}{after}"
    return page


def main(root: Path) -> None:
    """Write the policy and the table into the page."""
    (root / PAGE).write_text(with_policy((root / PAGE).read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
