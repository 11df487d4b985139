"""Killed at any moment, the order and the takes of a shared certificate are ended by the next run."""

import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from support import strace
from support.bed import DOMAIN, ZONE, Bed, sha256_of
from support.invariants import is_pair
from support.kills import evenly, litter, make_due, txt_of_ours

WILDCARD, OTHER = f"*.{ZONE}", f"git.{ZONE}"
# Of each sweep; `make soak` kills at all of them.
SOME = [2, pytest.param(None, marks=pytest.mark.soak)]


@pytest.fixture
def shared(bed: Bed) -> Bed:
    """A bed with two sites that share a certificate; the first has the registry."""
    (site,) = bed.config["sites"]
    other = bed.site(OTHER, certificate=WILDCARD, deploy=[])
    bed.config["sites"] = [site | {"certificate": WILDCARD}, other]
    bed.ok("--once")
    return bed


def unit_of(bed: Bed) -> str:
    return sha256_of(bed.state / "shared" / f"_.{ZONE}.pem")


def is_whole(bed: Bed) -> bool:
    """Whether certificate and key are of each other, at the shared one and at each site."""
    places = ((bed.state / "shared", f"_.{ZONE}"), (bed.certs, DOMAIN), (bed.certs, OTHER))
    return all(is_pair(folder, name) for folder, name in places)


def sweep(bed: Bed, make_due: Callable[[Bed], object], count: int | None, *asked: str) -> None:
    """Kill runs for `asked`, each right before another call, and let the next run end what it began."""
    make_due(bed)
    run, calls = strace.watched(bed.command("--once", *asked), bed.home / "watched")
    assert run.code == 0, run.said
    assert len(calls) > 15
    bed.once_until_ok()
    killed = most_orders = mixed = 0
    for call in evenly(calls, count):
        code, nth = 0, call.nth
        while code == 0:
            make_due(bed)
            orders = bed.orders()
            # One that has fewer such calls comes to an earlier one.
            run = strace.killed(bed.command("--once", *asked), replace(call, nth=nth))
            code, nth = run.code, nth - 1
        where = f"killed at {call}"
        assert code == -signal.SIGKILL, f"{where}\n{run.said}"
        killed += 1
        mixed += not is_whole(bed)
        bed.once_until_ok()
        mixed += not is_whole(bed)
        assert {bed.published(name) for name in (DOMAIN, OTHER)} == {unit_of(bed)} == {bed.served()}, where
        assert (txt_of_ours(bed), litter(bed)) == ([], []), where
        most_orders = max(most_orders, bed.orders() - orders)
    print(f"\nkilled {killed}, survived {killed}, orders for each max {most_orders}, mixed pairs {mixed}")
    assert mixed == 0
    # One whose URL had not reached us yet cannot be gone on with.
    assert most_orders <= 2


@pytest.mark.row(121)
@pytest.mark.parametrize("count", SOME, ids=["some", "all"])
def test_an_order_that_is_killed_at_any_system_call_is_ended_by_the_next_run(
    shared: Bed, count: int | None
) -> None:
    sweep(shared, make_due, count, WILDCARD)


@pytest.mark.row(121)
@pytest.mark.parametrize("count", SOME, ids=["some", "all"])
def test_a_take_that_is_killed_at_any_system_call_is_ended_by_the_next_run(
    shared: Bed, count: int | None
) -> None:
    """The site alone is due: the shared certificate was renewed by itself."""

    def renew(bed: Bed) -> None:
        make_due(bed)
        bed.ok("--once", WILDCARD)

    sweep(shared, renew, count, DOMAIN)
