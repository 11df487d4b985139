"""The table of limits: each number below the CA's, with its source, and its page equal to it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from certbotless import limits
from certbotless.limits import Allowance

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("allowance", limits.ALLOWANCES, ids=lambda allowance: allowance.what)
def test_each_limit_leaves_the_ca_some_and_says_who_set_it(allowance: Allowance) -> None:
    """The number of the CA stands first in its words; "the same" is that of the row before."""
    theirs = re.search(r"\d+", allowance.theirs)
    assert theirs is not None
    assert allowance.count < int(theirs[0])
    assert allowance.source


def test_the_reserve_for_the_end_of_a_life_is_all_that_the_ca_gives() -> None:
    for allowance in (limits.SAME_NAMES, limits.NOT_REPLACING):
        assert allowance.count < limits.MOST_AT_THE_END <= 5


def test_the_page_is_that_of_the_code() -> None:
    """`make docs` writes it anew."""
    page = (ROOT / limits.PAGE).read_text()
    assert page == limits.with_table(page)
    for allowance in limits.ALLOWANCES:
        assert allowance.theirs in page


@pytest.mark.process
def test_the_page_is_written_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / limits.PAGE).parent.mkdir()
    page = (ROOT / limits.PAGE).read_text()
    (tmp_path / limits.PAGE).write_text(page.replace(" 3 in 7 days", " 30 in 7 days"))
    subprocess.run([sys.executable, "-m", "certbotless.limits", str(tmp_path)], check=True)
    assert (tmp_path / limits.PAGE).read_text() == page
