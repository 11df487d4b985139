"""Orders that fail, are lost or cut short, and clocks that are wrong: counted at the CA and by our ledger."""

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import pytest
from dns import rcode
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.commands import completed
from support.fault_proxy import FaultProxy, answer, hung, problem
from support.invariants import assert_invariants

from certbotless.model.limits import FAILED_VALIDATIONS, SAME_NAMES
from certbotless.sandbox.pebble import Pebble

HOUR_S = 3600
own_ca = pytest.mark.parametrize("ca", [{"retry_after_s": 0}], indirect=True, ids=["own"])


@contextmanager
def blind_ca(bed: Bed) -> Iterator[None]:
    """Let the name server that the CA asks be of no use, and the one that we ask show everything."""
    bed.dns.set_rcode(0, rcode.SERVFAIL)
    before = bed.config["dns"]
    bed.config["dns"] = {"nameservers": [bed.dns.nameservers[1]]}
    yield
    bed.dns.set_rcode(0, None)
    bed.config["dns"] = before


# --- an order that fails ----------------------------------------------------------------------------------


@pytest.mark.row(48, 79)
def test_a_failed_validation_counts_once_and_the_next_order_comes_by_the_schedule(bare: Bed) -> None:
    """Three at most in an hour, whoever asks; a refused command says when it may be tried again."""
    with blind_ca(bare):
        failed = bare.run("--once")
        assert failed.returncode == 1
        assert f"the CA could not validate {DOMAIN}" in failed.stdout
        failure = bare.state_of()["failures"]["order"]
        wait = datetime.fromisoformat(failure["retry_at"]) - datetime.fromisoformat(failure["at"])
        assert timedelta(minutes=1) <= wait <= timedelta(minutes=1.05)
        assert bare.state_of()["order"] is None
        assert (bare.orders(), len(bare.rows("order")), len(bare.rows("failure"))) == (1, 1, 1)

        # Not before its time; a command does not wait for it.
        assert f"next try {failure['retry_at'][:17]}" in bare.run("--once").stdout
        assert bare.orders() == 1
        for _ in range(2):
            failed = bare.run("--renew-now")
            assert f"the CA could not validate {DOMAIN}" in failed.stdout
        assert (bare.orders(), len(bare.rows("failure"))) == (3, 3)
        # It comes by itself, less than two hours after the third.
        failure = bare.state_of()["failures"]["order"]
        wait = datetime.fromisoformat(failure["retry_at"]) - datetime.fromisoformat(failure["at"])
        assert timedelta(minutes=100) <= wait <= timedelta(minutes=105)
        assert f"next try {failure['retry_at'][:17]}" in failed.stdout
        # A command is told what the CA counts: failed validations, of which it allows two more in an hour.
        first = datetime.fromisoformat(bare.rows("failure")[0]["at"])
        until = f"{first + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        refused = bare.run("--renew-now")
        assert refused.returncode == 1
        assert f"order not before {until}: 3 failed validations of {DOMAIN} in 1 h" in refused.stdout
        assert "to order now: certbotless --renew-now --force" in refused.stdout
        assert bare.orders() == 3
        assert [row["outcome"] for row in bare.rows("order")] == ["failed"] * 3
    bare.ok("--renew-now", "--force")
    assert len(bare.rows("order")) == bare.orders() == 4
    assert_invariants(bare, forced_orders=1)


def let_pass(bed: Bed, time: timedelta) -> None:
    """Let everything that the program has noted have been so long ago."""

    def earlier(found: re.Match[str]) -> str:
        return f"{datetime.fromisoformat(found[0]) - time:%Y-%m-%dT%H:%M:%SZ}"

    for path in (bed.state / "ledger.jsonl", bed.state / "sites" / f"{DOMAIN}.json"):
        path.write_text(re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", earlier, path.read_text()))


@pytest.mark.row(79)
def test_after_three_failures_the_daemon_gets_the_certificate_of_a_mended_zone_by_itself(bare: Bed) -> None:
    with blind_ca(bare):
        bare.run("--once")
        for _ in range(2):
            bare.run("--renew-now")
    assert len(bare.rows("failure")) == bare.orders() == 3
    with bare.daemon():
        wait_until(lambda: bare.status()["daemon"]["running"], "the daemon looks")
        assert bare.orders() == 3
    let_pass(bare, timedelta(minutes=110))
    with bare.daemon():
        wait_until((bare.certs / f"{DOMAIN}.pem").exists, "it is published")
        wait_until(lambda: bare.status()["sites"][0]["state"] == "ok", "all is well")
    assert bare.orders() == 4
    assert_invariants(bare)


@pytest.mark.row(48)
def test_a_validation_that_fails_after_its_run_was_killed_is_counted_when_it_is_found(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    """The order cannot be gone on with; another one is placed at once."""
    with blind_ca(bare):
        # The second look at the authorization: the challenge was answered, and the CA has looked by then.
        ca_proxy.at("POST", "/authZ/", hung(after_change=True), nth=2)
        bare.write()
        run = subprocess.Popen(bare.command("--once"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: ca_proxy.count("POST", "/authZ/") == 2, "it looks at the outcome")
        run.kill()
        run.wait()
    assert bare.rows("failure") == []
    bare.ok("--once")
    assert [row["names"] for row in bare.rows("failure")] == [[DOMAIN]]
    assert [row["outcome"] for row in bare.rows("order")] == ["failed", "issued"]
    assert bare.orders() == 2
    assert_invariants(bare)


@pytest.mark.row(48)
@pytest.mark.parametrize("status", [404, 403])
def test_an_order_that_has_expired_meanwhile_is_placed_anew(
    bare: Bed, ca_proxy: FaultProxy, status: int
) -> None:
    leave_an_order_in_flight(bare)
    ca_proxy.at("POST", "/my-order/", problem("malformed", status))
    bare.ok("--renew-now")
    assert len(bare.rows("order")) == bare.orders() == 2
    assert bare.rows("failure") == []
    assert_invariants(bare)


def leave_an_order_in_flight(bed: Bed) -> None:
    """Let a run give up because its challenge never shows."""
    bed.config["sites"] = [bed.site(deploy=[], address="none")]
    bed.dns.set_delay(1, HOUR_S)
    bed.config["dns"]["propagation_timeout"] = "1s"
    assert bed.run("--once").returncode == 1
    assert bed.state_of()["order"]
    bed.dns.set_delay(1, 0)


@own_ca
@pytest.mark.row(48, 49)
def test_an_order_that_the_ca_has_lost_with_our_account_is_placed_anew(bare: Bed, ca: Pebble) -> None:
    leave_an_order_in_flight(bare)
    ca.stop()
    ca.start()
    bare.ok("--renew-now")
    assert (len(bare.rows("order")), len(bare.rows("account"))) == (2, 2)
    assert_invariants(bare)


def kill_when_it_has_asked(bed: Bed, ca_proxy: FaultProxy, count: int) -> None:
    """Kill a run at this request to the CA, or let it end before; an edit lets it try what has failed."""
    bed.config["sites"] = [bed.site(deploy=[], names=[f"git.{ZONE}"], address="none", ttl=1 + count)]
    bed.write()
    ca_proxy.asked.clear()
    none = subprocess.DEVNULL
    with subprocess.Popen(bed.command("--once"), stdout=none, stderr=none) as run:
        wait_until(lambda: len(ca_proxy.asked) >= count or run.poll() is not None, "it is so far")
        run.kill()


@pytest.mark.row(9)
def test_a_program_that_is_killed_at_each_start_places_few_orders_in_all(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    """Each time at another request to the CA. The certificate that there is has other names, and stays."""
    bare.ok("--once")
    old = bare.published()
    with blind_ca(bare):
        for start in range(14):
            kill_when_it_has_asked(bare, ca_proxy, start)
    failed = sum(row.get("outcome") == "failed" for row in bare.rows("order"))
    assert 0 < bare.orders() - 1 <= len(bare.rows("order")) - 1 <= SAME_NAMES.count + failed
    assert failed == len(bare.rows("failure")) <= FAILED_VALIDATIONS.count
    assert bare.published() == old
    bare.ok("--renew-now", "--force")
    assert_invariants(bare, forced_orders=1)


@pytest.mark.row(47)
def test_the_failure_of_an_order_is_over_when_a_later_run_has_collected_its_certificate(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    bare.ok("--once")
    old = bare.published()
    ca_proxy.at("POST", "/certZ/", answer(503), times=100)
    assert bare.run("--renew-now").returncode == 1
    ca_proxy.forget()
    assert bare.state_of()["failures"]["order"]
    bare.ok("--once")
    assert bare.published() != old
    assert bare.state_of()["failures"] == {}
    assert bare.status()["sites"][0]["last_error"] is None
    assert bare.orders() == 2
    assert_invariants(bare)


# --- a ledger that is lost or damaged ---------------------------------------------------------------------


@pytest.mark.row(20)
def test_rows_that_cannot_be_read_hold_an_order_and_are_kept(bare: Bed) -> None:
    """They are told of once."""
    bare.ok("--once")
    ledger = bare.state / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes() + b'{"at": "2026-11\n\x00\xff\n')
    refused = bare.run("--renew-now")
    assert "already 3 orders for these names in 7 days; it may be tried again at" in refused.stdout
    aside = bare.state / "ledger.jsonl.unreadable"
    assert f"ledger.unreadable rows=2 kept_in={aside}" in refused.stderr
    assert aside.read_bytes() == b'{"at": "2026-11\n\x00\xff\n'
    assert "ledger.unreadable" not in bare.run("--renew-now").stderr
    assert bare.orders() == 1
    assert_invariants(bare)


# --- whose clock is right ---------------------------------------------------------------------------------


def at(moment: str, command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine whose clock says so; the monotonic one goes on as it should."""
    environment = os.environ | {"FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    return completed(["faketime", moment, *command], env=environment)


@pytest.mark.row(55)
@pytest.mark.parametrize(
    "wrong", ["+90d", "-2h", *(pytest.param(by, marks=pytest.mark.soak) for by in ("-20d", "+2h"))]
)
def test_a_clock_that_has_jumped_orders_nothing_and_holds_nobody_back_when_it_is_right(
    bare: Bed, wrong: str
) -> None:
    bare.config["sites"] = [bare.site(deploy=[], address="none")]
    bare.write()
    done = at(wrong, bare.command("--once"))
    assert done.returncode == 1, done.stdout
    assert bare.orders() == 0
    asked = len(bare.ca.requests())
    if "-" in wrong:
        # It waits a minute more, as after any failure; what was noted in the future holds nobody.
        bare.ok("--renew-now")
    else:
        bare.ok("--once")
    assert len(bare.ca.requests()) > asked
    assert bare.orders() == 1
    assert_invariants(bare)
