"""Machines that come back together, as after a power cut, do not ask their CA together."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from machines import publish
from system.bed import ZONE, Bed, Daemon, wait_until

from certbotless.leaf import parse_rfc3339
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry

DAY = timedelta(days=1)
SPREAD_S = 480


def overdue(bed: Bed, domain: str, left: timedelta) -> None:
    """Let a certificate of 90 days be published that has so much of its life left."""
    publish(bed.certs, bed.state, domain, datetime.now(UTC) + left - 90 * DAY, bed.ca.directory_url)


Fleet = Callable[[int, timedelta], list[tuple[str, Bed]]]


@pytest.fixture
def fleet(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine) -> Fleet:
    """Make machines, each with a site of its own whose certificate has so much of its life left."""

    def make(count: int, left: timedelta) -> list[tuple[str, Bed]]:
        machines = []
        for number in range(count):
            domain, home = f"box{number}.{ZONE}", tmp_path / str(number)
            (home / "certs").mkdir(parents=True)
            bed = Bed(home, dns, ca, engine, Registry(engine, domain, certs=home / "certs"))
            bed.config["sites"] = [bed.site(domain, deploy=[], address="none")]
            overdue(bed, domain, left)
            machines.append((domain, bed))
        return machines

    return make


def waits_until(bed: Bed) -> datetime:
    """Return until when this machine's overdue renewal waits, as its daemon has drawn it."""
    told = json.loads((bed.state / "daemon.json").read_text())
    return parse_rfc3339(told["overdue_waits_until"])


def published_at(daemon: Daemon) -> datetime | None:
    """Return when it has published a certificate, by its log."""
    found = re.search(r"(\S+Z) INFO certificate.published", daemon.log_text())
    return parse_rfc3339(found[1]) if found else None


@pytest.mark.row(12)
@pytest.mark.parametrize("machines", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_overdue_renewals_of_machines_that_start_together_are_spread(machines: int, fleet: Fleet) -> None:
    """None orders before the moment that it has drawn; `status` and `plan` say so. In soak, all do then."""
    with ExitStack() as stack:
        began = datetime.now(UTC)
        beds = fleet(machines, 20 * DAY)
        daemons = [stack.enter_context(bed.daemon()) for _, bed in beds]
        if machines > 3:
            deadline = time.monotonic() + SPREAD_S + 60
            while time.monotonic() < deadline and None in map(published_at, daemons):
                time.sleep(1)
        else:
            time.sleep(3)
        for _, bed in beds:
            wait_until((bed.state / "daemon.json").exists, "it has drawn its moment")
        moments = [waits_until(bed) for _, bed in beds]
        latest = datetime.now(UTC) + timedelta(seconds=SPREAD_S)
        assert all(began <= moment <= latest for moment in moments)
        assert len(set(moments)) > machines / 2
        for (_, bed), daemon, moment in zip(beds, daemons, moments, strict=True):
            published = published_at(daemon)
            assert published is None or published >= moment
            if published is None and moment > datetime.now(UTC) + timedelta(seconds=5):
                (site,) = bed.status()["sites"]
                assert site["state"] == "pending"
                assert site["reason"].startswith(
                    f"order not before {moment:%Y-%m-%dT%H:%M:%SZ}: overdue when"
                )
                assert "overdue when the daemon started" in bed.run("plan").stdout
        if machines > 3:
            seconds = Counter(map(published_at, daemons))
            orders, peak = beds[0][1].orders(), max(seconds.values())
            print(f"\n{machines} daemons: {orders} orders, at most {peak} in a second")
            assert None not in seconds
            assert orders == machines
            assert peak <= 3


@pytest.mark.row(12)
def test_a_command_a_first_certificate_and_one_with_little_life_left_do_not_wait(fleet: Fleet) -> None:
    [(_, asked), (_, first), (_, late)] = fleet(3, 20 * DAY)
    overdue(late, f"box2.{ZONE}", 2 * DAY)
    first.config["sites"] = [first.site(f"new.{ZONE}", deploy=[], address="none")]
    with asked.daemon(), first.daemon() as one, late.daemon() as other:
        asked.ok("--once")
        wait_until(lambda: published_at(one) is not None, "the first certificate is there")
        wait_until(lambda: published_at(other) is not None, "the late one is renewed")
