"""Where a rehearsal goes. What the steps around a certificate do is seen in the system tests."""

from __future__ import annotations

import pytest

from certbotless.limits import STAGING, staging_of
from certbotless.values import DIRECTORIES


@pytest.mark.parametrize(
    ("name", "staging"),
    [("letsencrypt", "letsencrypt-staging"), ("letsencrypt-staging", "letsencrypt-staging")],
)
def test_a_rehearsal_goes_to_the_staging_directory_where_there_is_one(name: str, staging: str) -> None:
    assert staging_of(DIRECTORIES[name]) == DIRECTORIES[staging]


def test_a_rehearsal_of_a_configuration_that_names_a_staging_directory_stays_there() -> None:
    assert {staging_of(directory) for directory in STAGING} == STAGING


@pytest.mark.row(94)
@pytest.mark.parametrize(
    "directory", [*map(DIRECTORIES.__getitem__, ("zerossl", "google", "litessl")), "https://ca.test/dir"]
)
def test_other_cas_have_no_staging_directory(directory: str) -> None:
    """Google's needs an external account binding of its own, which the configuration does not have."""
    assert staging_of(directory) == ""
