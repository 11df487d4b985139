"""The machine's clock is moved, or the machine sleeps, while the daemon runs.

Within a minute it has acted on the new time, or has said why it does not. Only the wall clock is moved, by
libfaketime, as it is when somebody sets it; CA and DNS API stay in real time unless a test moves them too.
"""

import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from support.bed import DOMAIN, ZONE, Bed, Daemon, wait_until
from support.daemons import Machine, publish
from support.fakes import Reply
from support.fault_proxy import FaultProxy, rewritten
from support.invariants import assert_invariants
from support.wall_clock import WallClock

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WITHIN_S = 60


@pytest.fixture
def wall(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path / "faketime")


@pytest.fixture(autouse=True)
def _looks(request: pytest.FixtureRequest) -> None:
    if "bare" in request.fixturenames:
        bare: Bed = request.getfixturevalue("bare")
        bare.config["check_every"] = "2s"
        # Where the clock is wrong the API takes no call, so no fact here is to need one.
        bare.config["sites"] = [bare.site(deploy=[], address="none")]


def seconds_until(holds: Callable[[], bool], what: str) -> float:
    """Wait until `holds`, at most a minute, and return how long that was."""
    began = time.monotonic()
    wait_until(holds, what, WITHIN_S)
    return time.monotonic() - began


def restored_within(bed: Bed, daemon: Daemon) -> float:
    """Delete a published name, and return how long it took until the daemon has put it back."""
    (bed.certs / f"{DOMAIN}.pem").unlink()
    took_s = seconds_until((bed.certs / f"{DOMAIN}.pem").exists, "the deleted name is back")
    wait_until(lambda: not daemon.children(), "the child has ended")
    return took_s


# --- the clock is moved -------------------------------------------------------------------------------------


@pytest.mark.row(55)
@pytest.mark.parametrize("by", [-2 * HOUR, HOUR], ids=["-2 h", "+1 h"])
def test_a_clock_that_is_moved_by_hours_stops_no_look_and_orders_nothing(
    by: timedelta, bare: Bed, wall: WallClock
) -> None:
    """Nor does it when it is put right again."""
    bare.ok("--once")
    requests = len(bare.ca.requests())
    with bare.daemon(**wall.environment) as daemon:
        for where in (by, timedelta()):
            wall.move(where)
            wait_until(lambda: "clock.jumped" in daemon.log_text(), "the jump is seen")
            took_s = restored_within(bare, daemon)
            print(f"\nclock {where / HOUR:+.0f} h: a deleted name is back after {took_s:.1f} s")
        assert daemon.log_text().count("clock.jumped") == 2
    assert (bare.orders(), len(bare.ca.requests())) == (1, requests)
    assert_invariants(bare)


@pytest.mark.row(55)
@pytest.mark.parametrize("ca", [{"certificate_validity_s": 400 * 86400}], indirect=True, ids=["400 days"])
def test_a_renewal_that_comes_due_by_a_jump_is_made_at_once(
    bare: Bed, wall: WallClock, ca_proxy: FaultProxy
) -> None:
    """60 days ahead, and the CA and the API say so too: the machine has slept."""
    publish(bare.certs, bare.state, DOMAIN, datetime.now(UTC) - 10 * DAY, bare.config["acme"]["directory"])

    def dated(true: Reply) -> Reply:
        moved = format_datetime(datetime.now(UTC) + 60 * DAY, usegmt=True)
        return replace(true, headers={**true.headers, "Date": moved})

    bare.config["check_every"] = "1d"
    with bare.daemon(**wall.environment) as daemon:
        wait_until((bare.state / "daemon.json").exists, "it has begun")
        for method in ("GET", "HEAD", "POST"):
            ca_proxy.at(method, "/", rewritten(dated), times=1000)
        bare.dns.set_clock(60 * DAY)
        wall.move(60 * DAY)
        took_s = seconds_until(lambda: "certificate.published" in daemon.log_text(), "it is renewed")
        print(f"\nclock +60 d, the world's too: renewed after {took_s:.1f} s")
    assert bare.orders() == 1
    bare.dns.set_clock(timedelta())
    assert_invariants(bare)


@pytest.mark.row(55)
def test_a_renewal_that_comes_due_by_a_wrong_clock_is_refused_with_its_reason(
    bare: Bed, wall: WallClock
) -> None:
    """60 days ahead of a CA that knows better; afterwards nothing is held back."""
    publish(bare.certs, bare.state, DOMAIN, datetime.now(UTC) - 10 * DAY, bare.config["acme"]["directory"])
    with bare.daemon(**wall.environment) as daemon:
        wall.move(60 * DAY)
        told = re.compile(r"order.failed .*clock")
        took_s = seconds_until(lambda: told.search(daemon.log_text()) is not None, "it is refused")
        print(f"\nclock +60 d, the world's not: refused after {took_s:.1f} s")
        # A worker may be faster than the daemon, which looks at the clock each second or two.
        wait_until(lambda: "clock.jumped" in daemon.log_text(), "the jump is seen")
        wall.move(timedelta())
        wait_until(lambda: daemon.log_text().count("clock.jumped") == 2, "the clock is right again")
        restored_within(bare, daemon)
        assert bare.status()["sites"][0]["state"] == "ok"
    assert bare.orders() == 0
    bare.ok("--renew-now")
    assert_invariants(bare)


@pytest.mark.row(55)
def test_a_clock_that_falls_back_to_1970_orders_nothing_and_stops_nothing(bare: Bed, wall: WallClock) -> None:
    bare.ok("--once")
    requests = len(bare.ca.requests())
    with bare.daemon(**wall.environment) as daemon:
        wall.set("@1970-01-01 00:00:10")
        wait_until(lambda: "clock.jumped" in daemon.log_text(), "the jump is seen")
        took_s = restored_within(bare, daemon)
        print(f"\nclock to 1970: a deleted name is back after {took_s:.1f} s")
        bare.config["sites"].append(bare.site(f"second.{ZONE}", deploy=[], address="none"))
        bare.write()
        wait_until(lambda: "config.accepted" in daemon.log_text(), "the edit is taken")
        time.sleep(3)
        assert len(bare.ca.requests()) == requests
        wall.move(timedelta())
        took_s = seconds_until(lambda: "certificate.published" in daemon.log_text(), "it is ordered")
        print(f"clock to now: the new site's certificate after {took_s:.1f} s")
    assert bare.orders() == 2
    assert_invariants(bare)


# --- the machine sleeps -------------------------------------------------------------------------------------


@contextmanager
def asleep(daemon: Daemon) -> Iterator[None]:
    """Let the daemon stand still for as long as the block runs."""
    daemon.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        daemon.process.send_signal(signal.SIGCONT)


@pytest.mark.row(56)
@pytest.mark.parametrize("hours", [0, 20])
def test_what_has_changed_in_its_sleep_is_put_right_when_the_machine_wakes(
    hours: int, bare: Bed, wall: WallClock
) -> None:
    """After seconds, in which no clock stands still; after 20 hours that the monotonic one has not seen."""
    bare.ok("--once")
    bare.config["check_every"] = "5s"
    with bare.daemon(**wall.environment) as daemon:
        time.sleep(1)
        with asleep(daemon):
            time.sleep(2)
            wall.move(hours * HOUR)
            (bare.certs / f"{DOMAIN}.pem").unlink()
            assert not (bare.certs / f"{DOMAIN}.pem").exists()
        took_s = seconds_until((bare.certs / f"{DOMAIN}.pem").exists, "it is put right")
        print(f"\nasleep for {hours} h: put right {took_s:.1f} s after waking")
        wait_until(lambda: not daemon.children(), "the child has ended")
    assert bare.orders() == 1
    assert_invariants(bare)


# --- local time, and the end of 32 bits ---------------------------------------------------------------------


@pytest.mark.row(56)
@pytest.mark.parametrize(
    ("zone", "moment"),
    [
        ("America/New_York", datetime(2027, 3, 14, 6, 59, 57, tzinfo=UTC)),
        ("America/New_York", datetime(2027, 11, 7, 5, 59, 57, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2027, 4, 3, 14, 59, 57, tzinfo=UTC)),
        ("UTC", datetime(2038, 1, 19, 3, 14, 5, tzinfo=UTC)),
    ],
    ids=["an hour skipped", "an hour twice", "half an hour twice", "2^31 seconds"],
)
def test_no_look_is_skipped_or_doubled_where_local_time_or_the_count_of_seconds_turns(
    zone: str, moment: datetime, machine: Machine, wall: WallClock
) -> None:
    machine.publish(moment)
    wall.move(moment - datetime.now(UTC))
    with machine.daemon(TZ=zone, **wall.environment):
        seen, began = len(machine.dns.queries), time.monotonic()

        def looks() -> float:
            return (len(machine.dns.queries) - seen) / len(machine.dns.nameservers)

        wait_until(lambda: looks() >= 5, "five looks")
        took_s, found = time.monotonic() - began, looks()
    print(f"\n{found:.1f} looks in {took_s:.1f} s")
    assert found <= took_s + 2
    assert "clock.jumped" not in machine.log.read_text()
