"""The whole chain under the RAM policy of docs/ram-policy.md: it is enough, and none of it can be spared.

The key of the stand-in is held to the policy as a RAM user's is; the page's own JSON is what is attached.
"""

import pytest
from support.bed import DOMAIN, ZONE, Bed
from support.ram import pasted

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.world.dns import ram_policy

THROWAWAY = "throwaway.test"


def calls(bed: Bed) -> dict[str, set[str]]:
    """Return the actions that were called, each with its outcomes."""
    found: dict[str, set[str]] = {}
    for call in bed.dns.calls:
        found.setdefault(call.action, set()).add(call.code)
    return found


def find_the_zone(bed: Bed) -> None:
    """Let the site's zone be looked for through the API."""
    site = bed.site(deploy=[])
    del site["zone"]
    bed.config["sites"] = [site]


# --- it is enough -----------------------------------------------------------------------------------------


def test_the_whole_chain_makes_no_call_outside_the_policy_of_its_zone(bed: Bed) -> None:
    """A first issuance with no `zone`, a renewal, a new address, a stale record: every call, and none more.

    "Forbidden" is heard only where it is an answer: the name itself is not a zone of ours.
    """
    bed.dns.attach_policy(pasted(ZONE))
    site = bed.site()
    del site["zone"]
    bed.config["sites"] = [site]
    bed.ok("--once")
    assert bed.served() == bed.published()
    bed.ok("--renew-now")
    assert bed.served() == bed.published()

    bed.dns.update(bed.dns.records("devbox", "A")[0].record_id, value="10.79.40.7")
    bed.dns.add("devbox", "A", "10.79.40.8")
    bed.ok("--once")
    assert bed.a_values() == [LAN_ADDRESS]
    bed.assert_no_txt()

    # The zone is looked for once, and remembered.
    asked = [
        (c.parameters["DomainName"], c.code) for c in bed.dns.calls if c.action == "DescribeDomainRecords"
    ]
    assert asked == [(DOMAIN, "Forbidden.RAM"), (ZONE, "OK")]
    assert {call.action for call in bed.dns.calls if call.code != "OK"} == {"DescribeDomainRecords"}
    assert sorted(calls(bed)) == ram_policy.actions()


@pytest.mark.parametrize("dns", [[THROWAWAY]], indirect=True)
def test_a_delegated_challenge_needs_both_zones_in_the_policy(bare: Bed) -> None:
    bare.dns.add("_acme-challenge.devbox", "CNAME", f"devbox.{THROWAWAY}.")
    bare.dns.attach_policy(pasted(ZONE))
    line = bare.refused("--once")
    assert f"'_acme-challenge.{DOMAIN}' is an alias of 'devbox.{THROWAWAY}'" in line
    assert f"DescribeDomainRecords is forbidden for devbox.{THROWAWAY}, {THROWAWAY}" in line
    assert "docs/delegation.md" in line
    assert bare.orders() == 0

    bare.dns.attach_policy(pasted(ZONE, THROWAWAY))
    bare.ok("--renew-now")  # which does not wait for what has failed
    bare.ok("--once")
    bare.assert_no_txt()
    challenges = [c.parameters for c in bare.dns.calls if c.parameters.get("Type") == "TXT"]
    assert {call["DomainName"] for call in challenges} == {THROWAWAY}


@pytest.mark.parametrize("dns", [[THROWAWAY]], indirect=True)
def test_a_delegated_challenge_without_an_address_needs_the_throw_away_zone_alone(bare: Bed) -> None:
    """Nothing is asked of the zone of the site, not even whether it is there."""
    bare.dns.add("_acme-challenge.devbox", "CNAME", f"devbox.{THROWAWAY}.")
    bare.dns.attach_policy(pasted(THROWAWAY))
    bare.config["sites"] = [bare.site(deploy=[], address="none")]
    bare.ok("--once")
    bare.ok("--renew-now")
    bare.assert_no_txt()
    asked = {(c.parameters.get("DomainName", THROWAWAY), c.code) for c in bare.dns.calls}
    assert asked == {(THROWAWAY, "OK"), (f"devbox.{THROWAWAY}", "Forbidden.RAM")}


# --- none of it can be spared -----------------------------------------------------------------------------


@pytest.mark.parametrize("action", ram_policy.actions())
def test_without_one_of_its_actions_a_step_fails_and_names_it(bare: Bed, action: str) -> None:
    """Of a site whose zone is looked for, and whose record is of old; with all of them it is well at once."""
    bare.dns.add("devbox", "A", "10.79.40.7")
    find_the_zone(bare)
    bare.dns.attach_policy(pasted(ZONE, without=action))
    done = bare.run("--once")
    assert done.returncode == 1
    [line] = [line for line in done.stdout.splitlines() if line.startswith(f"{DOMAIN}: failing: ")]
    assert action in line
    assert "docs/ram-policy.md" in line
    error = bare.status()["sites"][0]["last_error"]
    assert action in error["what"]
    assert "RAM user" in error["hint"]
    other = [(c.action, c.code) for c in bare.dns.calls if c.code not in ("OK", "Forbidden.RAM")]
    assert other == []

    bare.dns.attach_policy(pasted(ZONE))
    bare.config["sites"][0]["ttl"] = 601  # an edit: nothing that failed is waited for
    bare.ok("--once")
    assert bare.a_values() == [LAN_ADDRESS]
    bare.assert_no_txt()


def test_what_may_not_be_read_is_told_before_an_order(bare: Bed) -> None:
    bare.config["sites"] = [bare.site(deploy=[], address="none")]
    bare.dns.attach_policy(pasted("another.test"))
    line = bare.refused("--once")
    assert "DescribeSubDomainRecords refused with Forbidden.RAM" in line
    assert "grant the RAM user alidns:DescribeSubDomainRecords" in line
    assert bare.orders() == 0
