"""Where a rehearsal goes. What the steps around a certificate do is seen in the system tests."""

from __future__ import annotations

import pytest

from certbotless.certify import staging_of
from certbotless.values import DIRECTORIES


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("letsencrypt", "letsencrypt-staging"),
        ("letsencrypt-staging", "letsencrypt-staging"),
        ("zerossl", "zerossl"),
        ("google", "google"),
    ],
)
def test_a_rehearsal_goes_to_the_staging_twin_where_there_is_one(name: str, twin: str) -> None:
    assert staging_of(DIRECTORIES[name]) == DIRECTORIES[twin]


def test_a_rehearsal_stays_at_a_private_ca() -> None:
    assert staging_of("https://ca.test/directory") == "https://ca.test/directory"
