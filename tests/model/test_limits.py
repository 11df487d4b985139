"""The table of limits: each number below the CA's, with its source; and where a rehearsal goes."""

import re
from datetime import timedelta

import pytest

from certbotless.config.values import DIRECTORIES
from certbotless.model import limits
from certbotless.model.limits import STAGING, Allowance, staging_of
from tools.docs.tables import LIMITS, Limit


def test_the_table_has_a_row_for_each_of_our_limits() -> None:
    allowances = [each for each in vars(limits).values() if isinstance(each, Allowance)]
    assert [limit.ours for limit in LIMITS] == allowances
    assert max(each.window for each in allowances) == limits.LONGEST_WINDOW


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: limit.ours.what)
def test_each_limit_leaves_the_ca_some_and_says_who_set_it(limit: Limit) -> None:
    """The number of the CA stands first in its words; "the same" is that of the row before."""
    theirs = re.search(r"\d+", limit.theirs)
    assert theirs is not None
    assert limit.ours.count < int(theirs[0])
    assert limit.source


def test_the_last_part_of_a_short_life_is_a_quarter() -> None:
    ten_days, second = timedelta(days=10), timedelta(seconds=1)
    assert limits.last_part(ten_days) == timedelta(hours=12)
    assert limits.last_part(ten_days - second) == (ten_days - second) / 4


def test_the_reserve_for_the_end_of_a_life_is_all_that_the_ca_gives() -> None:
    for allowance in (limits.SAME_NAMES, limits.NOT_REPLACING):
        assert allowance.count < limits.MOST_AT_THE_END <= 5


def test_a_rehearsal_goes_to_the_staging_directory_where_there_is_one() -> None:
    assert staging_of(DIRECTORIES["letsencrypt"]) == DIRECTORIES["letsencrypt-staging"]
    assert {staging_of(directory) for directory in STAGING} == STAGING


@pytest.mark.row(94)
@pytest.mark.parametrize(
    "directory", [*map(DIRECTORIES.__getitem__, ("zerossl", "google", "litessl")), "https://ca.test/dir"]
)
def test_other_cas_have_no_staging_directory(directory: str) -> None:
    """Google's needs an external account binding of its own, which the configuration does not have."""
    assert staging_of(directory) == ""
