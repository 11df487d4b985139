"""Faults of the Aliyun DNS API, in the whole chain."""

from __future__ import annotations

import pytest
from system.bed import Bed

from certbotless.sandbox.alidns import Fault

from .invariants import assert_invariants

# A CA that asks for no pause between looks: these tests are about something else.
pytestmark = pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["hasty"])


@pytest.mark.row(28)
def test_throttling_is_no_failure_of_the_order(bare: Bed) -> None:
    """Of the A record, of the TXT record, and of its deletion."""
    for action in ("DescribeSubDomainRecords", "AddDomainRecord", "DeleteDomainRecord"):
        bare.dns.fail(action, Fault("error", code="Throttling.User"), times=2)
    bare.ok("--once")
    assert bare.orders() == 1
    assert [call.code for call in bare.dns.calls].count("Throttling.User") == 6
    assert_invariants(bare)
