"""The man page is that of the parser, and a reader of man pages can show it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from certbotless import arguments, manual

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_is_that_of_the_parser() -> None:
    assert (ROOT / manual.PAGE).read_text() == manual.page(), "run: make docs"


def test_each_command_and_option_is_on_the_page() -> None:
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


@pytest.mark.process
def test_no_command_needs_what_makes_it() -> None:
    script = "import sys, certbotless.cli, certbotless.daemon; print('argparse_manpage' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
