"""What is lost, cut short or changed in the middle of the work is made good, and costs no order too many."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.bed import DOMAIN, ZONE, Bed, wait_until

from certbotless.sandbox.host import LAN_ADDRESS

HOUR_S = 3600


def remember(bed: Bed, **fields: Any) -> None:
    """Let an earlier run have left these fields in the state of the site."""
    path = bed.state / "sites" / f"{DOMAIN}.json"
    path.write_text(json.dumps(bed.state_of() | fields))


def account_file(bed: Bed, name: str) -> Path:
    """Return a file of the one account."""
    (path,) = (bed.state / "accounts").glob(f"*/{name}")
    return path


def is_challenged(bed: Bed) -> bool:
    """Whether a challenge stands in DNS."""
    return bool(bed.dns.records(type="TXT"))


@contextmanager
def once_at_work(bed: Bed, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `--once` for as long as the block runs; it is gone afterwards."""
    bed.write()
    command = bed.command("--once", *args)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- the daemon goes on with the rest -----------------------------------------------------------------------


def test_an_edit_is_in_the_record_while_dns_is_still_waited_for(bed: Bed) -> None:
    """The child waits for a name server that needs an hour; edits do not wait for the child."""
    bed.dns.set_delay(1, HOUR_S)
    bed.config["check_every"] = "1s"
    bed.config["sites"] = [bed.site(deploy=[])]
    with bed.daemon():
        wait_until(lambda: is_challenged(bed), "the challenge is presented")
        assert bed.a_values() == [LAN_ADDRESS]
        bed.config["sites"] = [bed.site(address="10.79.40.99", deploy=[])]
        bed.write()
        wait_until(lambda: bed.a_values() == ["10.79.40.99"], "the record has the new address")
        wait_until(lambda: is_challenged(bed), "the order is gone on with")
        bed.config["sites"] = [bed.site(address="10.79.40.99", ttl=1200, deploy=[])]
        bed.write()
        wait_until(lambda: bed.dns.records("devbox", "A")[0].ttl_s == 1200, "it has the new TTL")
        wait_until(lambda: is_challenged(bed), "the order is gone on with")
    assert bed.orders() == 1
    bed.assert_no_txt()


def test_a_site_is_looked_after_while_another_one_waits_for_dns(bed: Bed) -> None:
    """Both were due, and went to one child; what breaks at the one that is done is put right at once."""
    bed.ok("--once")
    pem = bed.certs / f"{DOMAIN}.pem"
    pem.unlink()
    bed.dns.set_delay(1, HOUR_S)
    bed.config["check_every"] = "1s"
    bed.config["sites"] = [bed.site(), bed.site(f"slow.{ZONE}", address="none", deploy=[])]
    with bed.daemon() as daemon:
        wait_until(lambda: is_challenged(bed), "the other site waits for DNS")
        wait_until(pem.exists, "the deleted name is back")
        for _ in range(2):
            pem.unlink()
            wait_until(pem.exists, "it is back again")
        wait_until(lambda: daemon.log_text().count("files.restored") >= 3, "each time is told of")
        assert daemon.log_text().count("files.restored") == 3
        assert is_challenged(bed)
        assert not (bed.certs / f"slow.{ZONE}.pem").exists()
    bed.assert_no_txt()


# --- what was lost ------------------------------------------------------------------------------------------


@pytest.mark.row(49)
def test_a_lost_account_url_is_recovered_by_the_key_and_a_lost_key_costs_a_new_account(bed: Bed) -> None:
    """And nothing else."""
    bed.ok("--once")
    leaf, account = bed.published(), account_file(bed, "account.json")
    before = account.read_bytes()
    account.unlink()
    bed.ok("--renew-now")
    assert bed.served() == bed.published() != leaf
    assert account.read_bytes() == before
    assert (len(bed.rows("account")), bed.orders()) == (1, 2)

    leaf = bed.published()
    account_file(bed, "key.pem").unlink()
    bed.ok("--renew-now")
    assert bed.served() == bed.published() != leaf
    assert json.loads(account.read_bytes())["url"] != json.loads(before)["url"]
    assert (len(bed.rows("account")), bed.orders()) == (2, 3)


def test_an_order_in_flight_whose_certificate_is_published_already_is_no_renewal(bed: Bed) -> None:
    """As left by a run that was killed right after it had published: the next command orders anew."""
    bed.config["sites"] = [bed.site(address="none")]
    bed.dns.set_delay(1, HOUR_S)
    order_key = bed.state / "sites" / f"{DOMAIN}.order.key"
    with once_at_work(bed):
        wait_until(lambda: is_challenged(bed) and order_key.exists(), "the order is in flight")
        order, key = bed.state_of()["order"], order_key.read_bytes()
    bed.dns.set_delay(1, 0)
    bed.ok("--once")
    leaf, current = bed.published(), bed.certs / ".certbotless" / DOMAIN / "current"
    generation = current.readlink()
    for command, orders in (("--once", 1), ("--renew-now", 2)):
        remember(bed, order=order)
        order_key.write_bytes(key)
        bed.ok(command)
        assert (bed.orders(), bed.state_of()["order"], order_key.exists()) == (orders, None, False)
        was_left = (bed.published() == leaf, current.readlink() == generation)
        assert was_left == ((True, True) if command == "--once" else (False, False))
    assert bed.served() == bed.published()


# --- the container ------------------------------------------------------------------------------------------


@pytest.mark.row(58)
@pytest.mark.parametrize("is_ours", [True, False], ids=["ours, cut short", "of another start"])
def test_only_a_stop_that_is_our_own_is_undone(is_ours: bool, bed: Bed) -> None:
    """One that an engine did not live to finish; an old note does not start what its admin stopped."""
    bed.ok("--once")
    container = bed.registry.container
    container.stop(timeout=1)
    started_at = container.attrs["State"]["StartedAt"] if is_ours else "2026-01-01T00:00:00Z"
    remember(bed, restarting={"registry": {"id": container.id, "started_at": started_at}})
    done = bed.run("--once")
    if is_ours:
        assert done.returncode == 0, done.stdout
        assert bed.served() == bed.published()
        assert bed.state_of()["restarting"] == {}
    else:
        assert done.returncode == 1
        assert "the container 'registry' is exited; certbotless does not start it" in done.stdout
        assert bed.registry.container.status == "exited"
    assert bed.orders() == 1
