"""Machines that start together, as after a power cut: each asks its CA for what is due and nothing else."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.bed import ZONE, Bed, wait_until
from support.daemons import publish

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry

DAY = timedelta(days=1)
LOOKS = 2

Fleet = Callable[[int], list[Bed]]


def name(number: int) -> str:
    return f"box{number}.{ZONE}"


@pytest.fixture
def fleet(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine) -> Fleet:
    """Make machines, each with a site of its own, that use one CA."""

    def make(count: int) -> list[Bed]:
        machines = []
        for number in range(count):
            home = tmp_path / str(number)
            (home / "certs").mkdir(parents=True)
            bed = Bed(home, dns, ca, engine, Registry(engine, name(number), certs=home / "certs"))
            bed.config["sites"] = [bed.site(name(number), deploy=[])]
            bed.config["check_every"] = "1s"
            machines.append(bed)
        return machines

    return make


def start_together(stack: ExitStack, beds: Sequence[Bed]) -> None:
    """Start their daemons, and wait until each has looked more than once, as the name servers see it."""
    dns = beds[0].dns
    asked = len(dns.queries)
    for bed in beds:
        stack.enter_context(bed.daemon())
    for number in range(len(beds)):
        wait_until(
            lambda: (
                sum(query.name.startswith(f"box{number}.") for query in dns.queries[asked:])  # noqa: B023
                >= LOOKS * len(dns.nameservers)
            ),
            f"{name(number)} is looked at",
        )


@pytest.mark.row(12)
@pytest.mark.parametrize("machines", [3, pytest.param(20, marks=pytest.mark.soak)])
def test_machines_that_start_together_ask_the_ca_for_nothing_that_is_not_due(
    machines: int, fleet: Fleet
) -> None:
    """Each keeps the moment that it has drawn in the CA's window, and no two have the same."""
    beds = fleet(machines)
    for bed in beds:
        bed.ok("--once")
        bed.ok("--once")  # asks when to renew
    moments = [bed.status()["sites"][0]["next_renewal"] for bed in beds]
    assert len({*moments}) == machines
    requests = len(beds[0].ca.requests())
    with ExitStack() as stack:
        start_together(stack, beds)
        assert [bed.status()["sites"][0]["state"] for bed in beds] == ["ok"] * machines
    assert len(beds[0].ca.requests()) == requests
    assert [bed.status()["sites"][0]["next_renewal"] for bed in beds] == moments


@pytest.mark.row(12)
def test_a_renewal_that_was_overdue_at_the_start_is_made_at_once(fleet: Fleet) -> None:
    """Where the machine was off for long; the others are left as they are."""
    overdue, fine = fleet(2)
    for number, (bed, age) in enumerate([(overdue, 70 * DAY), (fine, 10 * DAY)]):
        bed.ok("--once")
        publish(bed.certs, bed.state, name(number), datetime.now(UTC) - age, bed.ca.directory_url)
    orders = overdue.orders()
    with ExitStack() as stack:
        start_together(stack, [overdue, fine])
        wait_until(lambda: overdue.status()["sites"][0]["state"] == "ok", "it is renewed")
    assert overdue.orders() == orders + 1
