"""What is remembered of a CA of a list that has failed."""

from datetime import UTC, datetime, timedelta

import pytest

from certbotless.act.stand_ins import after_failure
from certbotless.base.errors import CaUnavailable, CertbotlessError, RateLimited
from certbotless.model.memory import SiteState

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMITED = RateLimited("too many")


@pytest.mark.parametrize(
    ("first", "then", "later", "faults"),
    [
        (LIMITED, LIMITED, 100 * MINUTE, 1),
        (LIMITED, LIMITED, 10 * MINUTE, 0),
        # Our own count says until when.
        (LIMITED, RateLimited("already 3 orders", retry_after=MINUTE), 100 * MINUTE, 0),
        (CaUnavailable("no connection"), LIMITED, 100 * MINUTE, 0),
    ],
)
def test_a_limit_without_an_end_is_the_cas_fault_after_an_hour(
    first: CertbotlessError, then: CertbotlessError, later: timedelta, faults: int
) -> None:
    """Else a certificate could expire at a CA that names no time."""
    state = SiteState(troubles=after_failure(SiteState(), "first", first, NOW))
    assert after_failure(state, "first", then, NOW + later)["first"].faults == faults
