"""What is made from the code is equal to it: the JSON Schema, the man page, and parts of docs/."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from certbotless.cli import arguments
from certbotless.world.dns import ram_policy
from tools.docs import log_events, manual, schema, tables
from tools.docs.made import MADE, replace_region

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", MADE, ids=str)
def test_the_file_is_that_of_the_code(path: Path) -> None:
    text = (ROOT / path).read_text()
    assert text == MADE[path](text), "run: make docs"


@pytest.mark.process
def test_each_file_is_written_where_it_belongs(tmp_path: Path) -> None:
    """A part of a page between its marks, and nothing else of it."""
    for path in MADE:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        text = (ROOT / path).read_text()
        stale = re.sub(r"(?s)(begin \(make docs\) -->\n).*?(<!-- \w+: end -->)", r"\1stale\n\2", text)
        (tmp_path / path).write_text(stale if stale != text else "stale")
    subprocess.run([sys.executable, "-m", "tools.docs.made", str(tmp_path)], cwd=ROOT, check=True)
    for path in MADE:
        assert (tmp_path / path).read_text() == (ROOT / path).read_text()


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="unpack"):
        replace_region("a page\n", "keys", "text\n")


def test_the_tables_have_a_row_for_each_thing_that_they_are_about() -> None:
    paths = {path for path, _, _ in schema.all_keys()}
    for table in (schema.table(), schema.table_in_chinese()):
        assert all(f"\n| `{path}` | " in table for path in paths)
    assert schema.CHINESE["keys"].keys() == paths
    assert all(limit.theirs in tables.limits_table() for limit in tables.LIMITS)


def test_every_call_says_what_it_is_for_and_nothing_else_does() -> None:
    """A new call needs a line in `PURPOSES`, and then `make docs`."""
    assert sorted(tables.PURPOSES) == ram_policy.actions()
    for action in ram_policy.actions():
        assert f"| `alidns:{action}` | {tables.PURPOSES[action]} |\n" in tables.calls_table()


def test_every_event_of_the_log_says_what_it_means_and_nothing_else_does() -> None:
    """A new event needs a line in tools/docs/log_events.yaml, and then `make docs`."""
    table = log_events.table()
    assert sorted(log_events.MEANINGS) == sorted(re.findall("^[|] `([^`]+)` [|]", table, re.MULTILINE))
    assert len(log_events.MEANINGS) > 90


def test_each_command_and_option_is_on_the_man_page() -> None:
    page = manual.page().replace("\\-", "-")
    for action in arguments.parser()._actions:
        if action.help == argparse.SUPPRESS:
            continue
        assert "--help" in action.option_strings or all(word in page for word in action.option_strings)
        for command in action.choices or ():
            assert command in page


def test_each_usage_has_a_line_of_its_own() -> None:
    synopsis = manual.page().replace("\\-", "-").partition(".SH SYNOPSIS\n")[2].partition(".SH")[0]
    shown = [" ".join(lines.split()).removeprefix(".B ") for lines in synopsis.split(".br\n")]
    usages = arguments.parser().format_usage().removeprefix("usage: ").splitlines()
    assert shown == [usage.strip() for usage in usages]
