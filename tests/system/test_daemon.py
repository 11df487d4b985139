"""The living daemon: it looks, starts workers that act, follows edits, and leaves cleanly."""

import os
import signal

import pytest
from support.bed import Bed, files_below, wait_until

from certbotless.sandbox.host import LAN_ADDRESS


@pytest.fixture(autouse=True)
def _fast_looks(bed: Bed) -> None:
    bed.config["check_every"] = "1s"


def is_ok(bed: Bed) -> bool:
    """Whether the one site's facts are all true."""
    return all(site["state"] == "ok" for site in bed.status()["sites"])


def test_what_others_break_is_put_right_by_the_next_look_without_an_order(bed: Bed) -> None:
    """An edited and a deleted record, and a container that was made anew. Files: faults/test_damage."""
    bed.ok("--once")
    leaf = bed.published()
    with bed.daemon() as daemon:
        record = bed.dns.records("devbox", "A")[0]
        bed.dns.update(record.record_id, value="10.0.0.1")
        wait_until(lambda: bed.a_values() == [LAN_ADDRESS], "the edited record is back")
        # A value is not written again before it was seen; the worker ends when it has seen it.
        wait_until(lambda: not daemon.children(), "the worker has ended")
        bed.dns.delete(record.record_id)
        wait_until(lambda: bed.a_values() == [LAN_ADDRESS], "the deleted record is back")
        bed.registry.recreate()
        wait_until(lambda: is_ok(bed), "all facts are true again")
    assert bed.served() == bed.published() == leaf
    assert bed.orders() == 1


@pytest.mark.row(6)
def test_a_second_daemon_exits_1_and_names_the_first(bed: Bed) -> None:
    with bed.daemon() as daemon:
        second = bed.run()
        assert second.returncode == 1
        assert f"another certbotless daemon is running with pid {daemon.process.pid}" in second.stderr


def test_looks_at_healthy_sites_call_nobody_write_nothing_and_log_nothing(bed: Bed) -> None:
    bed.ok("--once")
    bed.ok("--once")
    with bed.daemon() as daemon:
        wait_until((bed.state / "clients.json").exists, "the visit of this hour is over")
        wait_until(lambda: not daemon.children(), "and its process has ended")
        settled = files_below(bed.certs, bed.state)
        calls, requests, log = len(bed.dns.calls), len(bed.ca.requests()), daemon.log_text()
        asked = len(bed.dns.queries)
        wait_until(lambda: len(bed.dns.queries) >= asked + 6, "three more looks at two name servers")
        assert files_below(bed.certs, bed.state) == settled
        assert (len(bed.dns.calls), len(bed.ca.requests()), daemon.log_text()) == (calls, requests, log)


def test_a_worker_that_is_killed_is_followed_by_one_that_cleans_up_and_goes_on(bed: Bed) -> None:
    """kill -9 during propagation: no second order, no TXT left."""
    bed.dns.set_delay(1, 3600)
    bed.config["sites"] = [bed.site(address="none")]
    with bed.daemon() as daemon:
        wait_until(lambda: len(bed.dns.records(type="TXT")) == 1, "the challenge is presented")
        bed.dns.set_delay(1, 0)
        for pid in daemon.children():
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: is_ok(bed), "the next worker has finished the work")
        bed.assert_no_txt()
    assert bed.orders() == 1
