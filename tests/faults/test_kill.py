"""Killed at any moment, a run leaves what the next one ends; asked to end, it leaves nothing in DNS."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from queue import SimpleQueue

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from support import strace
from support.bed import DOMAIN, Bed, wait_until
from support.fault_proxy import Exchange, FaultProxy
from support.invariants import assert_invariants, is_pair
from support.kills import evenly, litter, make_due, txt_of_ours, watched

# --- at every system call -----------------------------------------------------------------------------------


class Tally:
    """What came of runs that were killed, each of them followed by one that was not."""

    def __init__(self, bed: Bed) -> None:
        self._bed = bed
        self._killed = self._survived = self._mixed = self._txt_left = self._most_orders = 0

    def kill(self, call: strace.Call, make_due: Callable[[], object]) -> None:
        """Kill a run that is due right before `call`, and let the next run end what it began.

        One that polls less often than the watched one does not come that far: then right before an earlier
        call of the same name.
        """
        bed, where = self._bed, f"killed at {call.name} {call.nth}: {call.arguments}"
        code, nth = 0, call.nth
        while code == 0:
            make_due()
            before, orders = bed.published(), bed.orders()
            killed = strace.killed(bed.command("--once"), replace(call, nth=nth))
            code, nth = killed.code, nth - 1
        assert code == -signal.SIGKILL, f"{where}\n{killed.said}"
        self._killed += 1
        self._mixed += not is_pair(bed.certs)
        placed = bed.orders() - orders
        is_known = bool(bed.state_of().get("order")) or bed.published() != before
        done = bed.run("--once")
        assert done.returncode == 0, f"{where}\n{killed.said}{done.stdout}{done.stderr}"
        placed_next = bed.orders() - orders - placed
        # Only an order whose URL had not reached us yet cannot be gone on with.
        assert not (is_known and placed_next), where
        assert bed.published() != before, where
        assert litter(bed) == [], where
        self._mixed += not is_pair(bed.certs)
        self._txt_left += len(txt_of_ours(bed))
        self._most_orders = max(self._most_orders, placed, placed_next)
        self._survived += 1

    def tell(self) -> None:
        """Print the figures, and check that they are as they should be."""
        print(
            f"\nkilled {self._killed}, survived {self._survived}, orders per run max {self._most_orders},"
            f" mixed pairs {self._mixed}, TXT left {self._txt_left}"
        )
        assert self._killed == self._survived
        assert (self._mixed, self._txt_left, self._most_orders) == (0, 0, 1)


@pytest.mark.row(1)
@pytest.mark.parametrize("count", [12, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
def test_a_renewal_that_is_killed_at_any_system_call_is_ended_by_the_next_run(
    bed: Bed, count: int | None
) -> None:
    """Order, DNS, files, restart: at all that it creates, writes, syncs, renames, removes and sends."""
    bed.ok("--once")
    make_due(bed)
    calls = watched(bed)
    assert len(calls) > 150
    tally = Tally(bed)
    for call in evenly(calls, count):
        tally.kill(call, partial(make_due, bed))
        assert bed.served() == bed.published()
    tally.tell()


@pytest.mark.row(1)
@pytest.mark.parametrize("count", [4, pytest.param(None, marks=pytest.mark.soak)], ids=["some", "all"])
def test_a_first_issuance_that_is_killed_at_any_system_call_is_ended_by_the_next_run(
    bare: Bed, count: int | None
) -> None:
    """With the account and the folders still to be made, and a pair of another tool to be set aside."""

    def start_anew() -> None:
        for folder in (bare.state, bare.certs):
            shutil.rmtree(folder, ignore_errors=True)
        bare.certs.mkdir()
        bare.registry.write_self_signed()

    start_anew()
    bare.write()
    calls = watched(bare)
    tally = Tally(bare)
    for call in evenly(calls, count):
        tally.kill(call, start_anew)
        assert len(list(bare.state.glob("accounts/*/key.pem"))) == 1
    tally.tell()


# --- at moments that matter ---------------------------------------------------------------------------------


def killed_at(
    bed: Bed,
    proxy: FaultProxy,
    path: str,
    *arguments: str,
    nth: int = 1,
    after_change: bool = False,
) -> None:
    """Run the program (`--once`), and kill it when its nth request to `path` comes, or is carried out."""
    pids: SimpleQueue[int] = SimpleQueue()

    def kill(exchange: Exchange) -> None:
        if after_change:
            exchange.forward()
        os.kill(pids.get(), signal.SIGKILL)
        exchange.hang_up()

    proxy.at("POST", path, kill, nth=nth)
    bed.write()
    command = bed.command(*(arguments or ["--once"]))
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        pids.put(run.pid)
        assert run.wait(60) == -signal.SIGKILL


@pytest.mark.row(2)
@pytest.mark.parametrize(
    ("path", "after_change"),
    [("/finalize-order/", True), ("/certZ/", False), ("/certZ/", True)],
    ids=["finalized, not told", "told, not fetched", "fetched, not received"],
)
def test_an_order_that_is_finalized_gives_its_certificate_to_the_next_run(
    bed: Bed, ca_proxy: FaultProxy, path: str, after_change: bool
) -> None:
    """Its URL and its key were on disk before."""
    killed_at(bed, ca_proxy, path, after_change=after_change)
    assert bed.state_of()["order"]["url"]
    key = load_pem_private_key((bed.state / "sites" / f"{DOMAIN}.order.key").read_bytes(), None)
    bed.ok("--once")
    leaf = x509.load_pem_x509_certificate((bed.certs / f"{DOMAIN}.pem").read_bytes())
    assert leaf.public_key() == key.public_key()
    assert bed.served() == bed.published()
    assert (bed.orders(), litter(bed)) == (1, [])
    assert_invariants(bed)


@pytest.mark.row(3)
def test_a_pair_that_is_published_and_not_served_is_seen_by_the_next_run(bed: Bed) -> None:
    """Killed after the rename that swaps the pair, before the container is restarted."""
    bed.ok("--once")
    make_due(bed)
    calls = watched(bed)
    [swap] = [
        i for i, call in enumerate(calls) if call.name == "rename" and '/current")' in f"{call.arguments})"
    ]
    old, orders = bed.served(), bed.orders()
    make_due(bed)
    assert strace.killed(bed.command("--once"), calls[swap + 1]).code == -signal.SIGKILL
    new = bed.published()
    assert (bed.served() == old) and new != old
    (target,) = bed.status()["sites"][0]["deploy"]
    assert (target["state"], target["served_sha256"]) == ("pending", old)
    bed.ok("--once")
    assert bed.served() == bed.published() == new
    assert bed.orders() == orders + 1
    assert (txt_of_ours(bed), litter(bed)) == ([], [])


@pytest.mark.row(4)
@pytest.mark.parametrize("after_change", [True, False], ids=["added, not told", "not added"])
def test_a_record_that_was_about_to_be_added_is_found_by_its_name_and_value(
    bed: Bed, api_proxy: FaultProxy, after_change: bool
) -> None:
    """The intent is noted first; what others have at the same name stays."""
    # The first one that is added is the A record.
    killed_at(bed, api_proxy, "AddDomainRecord", nth=2, after_change=after_change)
    [noted] = bed.state_of()["txt"]
    assert noted["record_id"] == ""
    assert txt_of_ours(bed) == ([noted["value"]] if after_change else [])
    bed.ok("--once")
    assert (bed.state_of()["txt"], bed.orders(), bed.served()) == ([], 1, bed.published())
    assert_invariants(bed)


@pytest.mark.row(94)
def test_a_dry_run_that_is_killed_while_the_ca_validates_counts_as_a_failed_validation(
    bare: Bed, ca_proxy: FaultProxy
) -> None:
    """At a CA without a staging directory: nobody resumes it, so what came of it is seen by nobody."""
    for _ in range(3):
        bare.forget_account()
        killed_at(bare, ca_proxy, "/chalZ/", "--renew-now", "--dry-run", after_change=True)
    assert f"already 3 failed validations of {DOMAIN} in 1 h" in bare.refused("--renew-now", "--dry-run")
    assert bare.ca.orders_made() == 3


# --- asked to end -------------------------------------------------------------------------------------------


@pytest.mark.row(5)
@pytest.mark.parametrize("count", [3, pytest.param(25, marks=pytest.mark.soak)], ids=["some", "many"])
@pytest.mark.parametrize("arguments", [["--once"], []], ids=["one shot", "daemon"])
def test_a_run_that_is_asked_to_end_does_so_within_5_s_and_leaves_no_txt(
    bed: Bed, arguments: list[str], count: int
) -> None:
    """At random moments of a renewal; the next run goes on with it."""
    moments = random.Random(20261124)  # noqa: S311
    bed.ok("--once")
    for number in range(count):
        make_due(bed)
        before, orders = bed.published(), bed.orders()
        log = bed.home / f"{number}.log"
        with (
            log.open("wb") as said,
            subprocess.Popen(bed.command(*arguments), stdout=said, stderr=said) as run,
        ):
            wait_until(lambda log=log: "order.due" in log.read_text(), "the renewal has begun")  # type: ignore[misc]
            with suppress(subprocess.TimeoutExpired):
                run.wait(moments.uniform(0, 1.5))
            run.terminate()
            # One that is done does not handle signals any more while Python ends.
            ends = (0, 1, -signal.SIGTERM) if arguments else (0,)
            assert run.wait(60) in ends, log.read_text()
        assert txt_of_ours(bed) == [], log.read_text()
        is_known = bool(bed.state_of()["order"]) or bed.published() != before
        placed = bed.orders() - orders
        bed.ok("--once")
        assert bed.orders() - orders == (1 if is_known else placed + 1)
        assert before != bed.published() == bed.served()
        assert (txt_of_ours(bed), litter(bed)) == ([], [])
