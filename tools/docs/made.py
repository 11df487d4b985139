"""``python -m tools.docs.made ROOT`` writes all that is made from the code where it belongs (`make docs`)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from certbotless.world.dns import ram_policy

from . import log_events, manual, schema, tables, words


def replace_region(page: str, name: str, text: str) -> str:
    """Return a page with `text` between its two marks of this name."""
    begin, end = f"<!-- {name}: begin (make docs) -->\n", f"<!-- {name}: end -->"
    before, rest = page.split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{text}{end}{after}"


def policy_page(page: str, calls: str) -> str:
    """Return the page of the RAM policy with the policy and what each call is for."""
    page = replace_region(page, "policy", f"```json\n{ram_policy.document()}```\n")
    return replace_region(page, "calls", calls)


# By path: what makes the text of a file of the one that is there.
MADE: Mapping[Path, Callable[[str], str]] = {
    Path("config", "schema.json"): lambda _: schema.schema_text(),
    Path("docs", "certbotless.1"): lambda _: manual.page(),
    Path("docs", "configuration.md"): lambda page: replace_region(page, "keys", schema.table()),
    Path("docs", "configuration.zh-CN.md"): lambda page: replace_region(
        page, "keys", schema.table_in_chinese()
    ),
    Path("docs", "log-events.md"): lambda page: replace_region(page, "events", log_events.table()),
    Path("docs", "limits.md"): lambda page: replace_region(page, "limits", tables.limits_table()),
    Path("docs", "ram-policy.md"): lambda page: policy_page(page, tables.calls_table()),
    Path("docs", "ram-policy.zh-CN.md"): lambda page: policy_page(
        page, tables.calls_table(tables.PURPOSES_IN_CHINESE, "接口 | 用途")
    ),
}


def write(root: Path) -> None:
    """Write all files below the root of a source tree."""
    for path, make in MADE.items():
        (root / path).write_text(make((root / path).read_text()))
    for path, content in [*words.catalogues(root)]:
        path.write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
