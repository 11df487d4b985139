"""A fleet that loses its power: one machine in the middle of a roll, or so many that nobody leads."""

import random
import time
from collections.abc import Callable, Iterator

import pytest
from support.bed import DOMAIN, wait_until
from support.fleet import QUICK, SERVICE, Fleet, Program, fleet_of
from support.swarm_bed import Probers, spread

from certbotless.sandbox.node import Node
from certbotless.sandbox.pebble import Pebble

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, shared_ca: Pebble) -> Iterator[Fleet]:
    """The machines; each test heals what it needs of them first."""
    with fleet_of(tmp_path_factory.mktemp("fleet"), shared_ca) as fleet:
        yield fleet


@pytest.mark.row(136)
@pytest.mark.parametrize(
    ("cuts", "is_published"),
    [
        pytest.param(2, False, id="host network"),
        pytest.param(20, False, id="host network, many", marks=pytest.mark.soak),
        pytest.param(6, True, id="ports", marks=pytest.mark.soak),
    ],
)
def test_a_power_cut_in_a_roll_leaves_no_machine_behind(
    fleet: Fleet, cuts: int, is_published: bool, promised: Callable[[float, float], None]
) -> None:
    """At a random moment; every other time it is the leader, and the program ends with it.

    A port of the returned machine may remain taken: then the program names the machine, and what to do.
    """
    chance = random.Random(17)  # noqa: S311
    how = {"is_published": True} if is_published else {}
    fleet.heal(**how)
    bed, orders = fleet.bed, fleet.bed.orders()
    known, named = [bed.published()], 0
    away_s, back_s = list[float](), list[float]()
    for number in range(cuts):
        lost = _leader(fleet) if number % 2 == 0 else chance.choice(_followers(fleet))
        live = [node for node in fleet.nodes if node is not lost]
        has_program = number % 2 == 0
        bed.config["docker"]["host"] = (lost if has_program else live[0]).docker_host
        with Probers(fleet.nodes, DOMAIN) as seen:
            program = Program(bed, "--renew-now", "--force")
            program.wait_for("service.updated")
            time.sleep(chance.uniform(0, 6))
            cut_s = time.monotonic()
            fleet.swarm.power_off(lost)
            if has_program:
                program.kill()
            program.wait()
            known.append(bed.published())
            wait_until(lambda: _serve(fleet, lost, known), "the live machines serve")  # noqa: B023
            assert fleet.states()[lost.name] != "serving"
            away_s += [seen.longest_s(node, cut_s) for node in live]
            fleet.swarm.power_on(lost)
            on_s = time.monotonic()
            is_named = is_published and _recovers_or_is_named(fleet, lost)
            if not is_published:
                fleet.recover()
            named += is_named
            back_s.append(time.monotonic() - on_s)
        known.append(bed.published())
        assert (seen.mixed(), seen.foreign(known)) == (0, 0)
        wait_until(fleet.swarm.is_whole, "all machines are in the Swarm")
        if is_named:
            fleet.how = {}
            fleet.heal(**how)
    print(spread(f"{cuts} power cuts, how long a live machine was away after it", away_s))
    print(spread("power back, until all machines serve the new certificate", back_s))
    print(f"{named} of {cuts} times the machine was named, as it served nothing")
    promised(max(away_s), 60)
    promised(max(back_s), 360 if is_published else 60)
    assert bed.orders() - orders == cuts
    bed.assert_no_txt()


@pytest.mark.row(136)
@pytest.mark.soak
def test_an_update_goes_on_without_a_machine_that_has_just_lost_its_power(
    fleet: Fleet, promised: Callable[[float, float], None]
) -> None:
    """The Swarm takes that machine for ready, and its update waits for it, as first, second or last one.

    The sandbox's story of a fleet, which `make test` plays, has this once.
    """
    updates = 10
    fleet.heal(pace=QUICK)
    bed, lost = fleet.bed, next(node for node in _followers(fleet) if node is not fleet.nodes[0])
    live = [node for node in fleet.nodes if node is not lost]
    took_s, back_s = list[float](), list[float]()
    for _ in range(updates):
        orders = bed.orders()
        fleet.swarm.power_off(lost)
        off_s = time.monotonic()
        done = bed.run("--renew-now", "--force")
        if done.returncode != 0:
            print(done.stdout)
            bed.once_until_ok()
        took_s.append(time.monotonic() - off_s)
        assert fleet.serves(nodes=live)
        assert fleet.states()[lost.name] == "pending"
        assert bed.orders() == orders + 1
        fleet.swarm.power_on(lost)
        on_s = time.monotonic()
        fleet.recover()
        back_s.append(time.monotonic() - on_s)
        wait_until(fleet.swarm.is_whole, "all machines are in the Swarm")
    print(spread(f"{updates} updates with a machine off, until the program has seen the others", took_s))
    print(spread("power back, until it serves the new certificate too", back_s))
    promised(max(took_s), 90)
    promised(max(back_s), 60)


def _recovers_or_is_named(fleet: Fleet, lost: Node) -> bool:
    """Run `--once` until all machines serve, or it names the one that does not; return whether it does."""
    said = ""

    def is_over() -> bool:
        nonlocal said
        done = fleet.bed.run("--once")
        said = done.stdout if f"bring node {lost.name} back" in done.stdout else ""
        return bool(said) or (done.returncode == 0 and fleet.serves())

    wait_until(is_over, "all machines serve, or one is named", 600)
    return bool(said)


def _leader(fleet: Fleet) -> Node:
    leader = fleet.swarm.leader()
    assert leader is not None
    return leader


def _followers(fleet: Fleet) -> list[Node]:
    leader = _leader(fleet)
    return [node for node in fleet.nodes if node is not leader]


def _serve(fleet: Fleet, lost: Node, known: list[str]) -> bool:
    """Whether each machine with power serves the certificate before, or the new one."""
    live = [node for node in fleet.nodes if node is not lost]
    return all(any(fleet.serves(each, [node]) for each in known[-2:]) for node in live)


@pytest.mark.row(137)
def test_without_a_quorum_nothing_is_ordered_and_all_is_as_before_when_it_is_back(
    fleet: Fleet, promised: Callable[[float, float], None]
) -> None:
    fleet.heal()
    bed, old, orders = fleet.bed, fleet.bed.published(), fleet.bed.orders()
    for node in fleet.nodes[1:]:
        fleet.swarm.power_off(node)
    wait_until(lambda: fleet.swarm.leader() is None, "nobody leads")
    done = bed.run("--renew-now", "--force")
    assert (done.returncode, bed.orders(), bed.published()) == (1, orders, old)
    assert fleet.serves(old, fleet.nodes[:1])
    assert "leader" in done.stdout
    states = fleet.states()
    assert states["node2"] != "serving" != states["node3"]
    for node in fleet.nodes[1:]:
        fleet.swarm.power_on(node)
    on_s = time.monotonic()
    bed.once_until_ok()
    healed_s = time.monotonic() - on_s
    print(f"no quorum: {SERVICE} is ok {healed_s:.1f} s after the power is back")
    promised(healed_s, 60)
    wait_until(fleet.serves, "all machines serve")
    assert bed.orders() == orders


@pytest.mark.row(131)
@pytest.mark.soak
def test_a_machine_that_is_off_leaves_the_name_and_has_its_record_again_once_it_serves(fleet: Fleet) -> None:
    fleet.heal()
    bed, lost = fleet.bed, fleet.nodes[2]
    bed.config["check_every"] = "10s"
    records = bed.dns.records(type="A")
    with bed.daemon():
        fleet.swarm.power_off(lost)
        off_s = time.monotonic()
        wait_until(lambda: lost.address not in bed.a_values(), "its record is gone", 600)
        gone_s = time.monotonic() - off_s
        assert {record.value for record in records} - {*bed.a_values()} == {lost.address}
        fleet.swarm.power_on(lost)
        on_s = time.monotonic()
        wait_until(lambda: lost.address in bed.a_values(), "its record is back", 600)
        back_s = time.monotonic() - on_s
    print(f"a machine is off: its record was gone after {gone_s:.0f} s, back {back_s:.0f} s after the power")
    assert gone_s >= 180
    del bed.config["check_every"]
