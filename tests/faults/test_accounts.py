"""The CA and we do not know each other any more, or it wants a person: counted, told once, and no loop."""

from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from support.acme_client import client_of_account
from support.bed import DOMAIN, ZONE, Bed
from support.fault_proxy import FaultProxy, problem
from support.invariants import assert_invariants

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble

# A CA that keeps nothing over a restart, and that nobody else uses meanwhile.
own_ca = pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["own"])


def counted(bed: Bed) -> Counter[str]:
    """Return how many rows of each kind the ledger has."""
    return Counter(row["kind"] for row in bed.rows())


def home(bed: Bed) -> Path:
    """Return the folder of the one account."""
    [found] = (bed.state / "accounts").iterdir()
    return found


def close_account(bed: Bed) -> None:
    """Have our account closed for good (RFC 8555 section 7.3.6), by somebody who has its key."""
    client = client_of_account(bed)
    assert client.net.account is not None
    client.deactivate_registration(client.net.account)


# --- an account that is gone ------------------------------------------------------------------------------


@own_ca
@pytest.mark.row(47, 49)
def test_an_account_that_the_ca_has_forgotten_is_made_anew_once_for_all_sites(bare: Bed, ca: Pebble) -> None:
    """A restart of the CA loses it. Five sites find out at the same moment; the old certificate stays."""
    bare.ok("--once")
    old, key = bare.published(), (home(bare) / "key.pem").read_bytes()
    ca.stop()
    bare.config["sites"] = [bare.site(deploy=[]), *(bare.site(f"b{n}.{ZONE}", deploy=[]) for n in range(4))]
    away = f"no connection to the CA at {bare.config['acme']['directory']}"
    assert away in bare.refused("--renew-now", DOMAIN)
    assert bare.published() == old
    # Four true facts and a failed wish: ok, with the error kept.
    site = bare.status()["sites"][0]
    assert site["state"] == "ok"
    assert "no connection to the CA" in site["last_error"]["what"]
    ca.start()
    bare.ok("--renew-now")
    assert bare.published() != old
    assert (home(bare) / "key.pem").read_bytes() == key
    assert counted(bare) == {"account": 2, "order": 6}
    bare.ok("--renew-now", DOMAIN)
    assert counted(bare)["account"] == 2
    assert_invariants(bare)


@own_ca
@pytest.mark.row(49)
def test_an_account_that_is_closed_gives_way_to_a_new_one_with_a_key_of_its_own(bare: Bed) -> None:
    bare.ok("--once")
    key = (home(bare) / "key.pem").read_bytes()
    close_account(bare)
    bare.config["sites"] = [bare.site(deploy=[]), *(bare.site(f"b{n}.{ZONE}", deploy=[]) for n in range(4))]
    bare.ok("--renew-now")
    assert (home(bare) / "key.pem").read_bytes() != key
    assert (home(bare) / "key.pem.old").read_bytes() == key
    assert counted(bare) == {"account": 2, "order": 6}
    assert_invariants(bare)


@pytest.mark.row(49)
def test_each_ca_has_an_account_of_its_own_and_is_known_again(
    bare: Bed, dns: AlidnsEmulator, tmp_path: Path
) -> None:
    """The CA is switched, and switched back."""
    bare.ok("--once")
    first = bare.config["acme"]
    folder = tmp_path / "other"
    folder.mkdir()
    with Pebble(folder, dns.nameservers[0], retry_after_s=0) as other:
        bare.config["acme"] = {"directory": other.directory_url, "ca_bundle": str(other.ca_bundle)}
        bare.ok("--once")
        assert other.orders_made() == 1
        bare.config["acme"] = first
        bare.ok("--once")
    assert counted(bare) == {"account": 2, "order": 3}
    assert len(list((bare.state / "accounts").iterdir())) == 2
    assert_invariants(bare)


@own_ca
@pytest.mark.row(49)
def test_a_state_that_keeps_no_account_costs_three_and_then_nothing_for_hours(bare: Bed) -> None:
    domains = [DOMAIN, *(f"b{number}.{ZONE}" for number in range(3))]
    bare.config["sites"] = [bare.site(domain, deploy=[]) for domain in domains]
    codes = []
    for domain in domains:
        done = bare.run("--once", domain)
        codes.append(done.returncode)
        for path in home(bare).iterdir():
            path.unlink()
    assert codes == [0, 0, 0, 1]
    assert "already 3 new accounts in 3 h; it may be tried again at" in done.stdout
    assert bare.ca.requests().count("POST /sign-me-up") == 3
    assert_invariants(bare)


# --- a person must come -----------------------------------------------------------------------------------

LINK = "https://unpause.ca.test/sfe/v1/unpause?jwt=" + "eyJhbGci." * 90
NEW_ORDER = "/order-plz"


@pytest.mark.row(49)
def test_a_pause_is_told_once_with_its_link_and_then_left_alone_for_a_day(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    bare.ok("--once")
    old = bare.published()
    detail = f"Your account is prevented from requesting certificates for {DOMAIN}. Please visit: {LINK}"
    ca_proxy.at("POST", NEW_ORDER, problem("rateLimited", 429, detail=detail), times=2)

    first = bare.run("--renew-now")
    assert first.returncode == 1
    assert first.stderr.count(LINK) == 1
    [error] = [line for line in first.stderr.splitlines() if " ERROR " in line]
    assert f"has paused us: Your account is prevented from requesting certificates for {DOMAIN};" in error
    found = bare.status()["sites"][0]
    assert found["state"] == "ok"
    assert LINK in found["last_error"]["hint"]
    wait = _moment(found["last_error"]["retry_at"]) - _moment(found["last_error"]["at"])
    assert timedelta(days=1) <= wait <= timedelta(days=1.25)

    bare.ok("--once")
    assert ca_proxy.count("POST", NEW_ORDER) == 2
    again = bare.run("--renew-now")
    assert LINK not in again.stderr
    assert LINK in again.stdout
    assert bare.published() == old

    # Once the link was opened. What was refused was no order.
    bare.ok("--renew-now")
    assert counted(bare)["order"] == 2
    assert_invariants(bare)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.row(50)
def test_new_terms_are_told_with_where_to_agree_and_nothing_else_is_tried(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    """RFC 8555 section 7.3.3."""
    agree = problem("userActionRequired", 403, instance="https://ca.test/agree")
    ca_proxy.at("POST", NEW_ORDER, agree)
    failed = bare.run("--once")
    assert failed.returncode == 1
    assert "do what https://ca.test/agree asks for, then run certbotless --renew-now" in failed.stdout
    asked = len(ca_proxy.asked)
    assert bare.run("--once").returncode == 1
    assert len(ca_proxy.asked) == asked
    bare.ok("--renew-now")
    assert_invariants(bare)
