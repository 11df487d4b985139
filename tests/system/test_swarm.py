"""A service of Docker Swarm on three real engines: rolls, bad certificates, and what its admin does."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, wait_until
from support.fleet import QUICK, SERVICE, Fleet, Program, fleet_of
from support.pages import Reading, exchanged
from support.swapped_secrets import SwappedSecrets
from support.swarm_bed import MIXED, REFUSED, Clients, Probers, look_at, roll_by_hand, spread

from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import self_signed
from certbotless.sandbox.swarm import PORT, Pace

pytestmark = pytest.mark.long
PAGE = "docs/swarm.md"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory, shared_ca: Pebble) -> Iterator[Fleet]:
    """The machines; each test heals what it needs of them first."""
    with fleet_of(tmp_path_factory.mktemp("fleet"), shared_ca) as fleet:
        yield fleet


# --- rolls --------------------------------------------------------------------------------------------------


@pytest.mark.row(134)
@pytest.mark.parametrize(
    ("rolls", "is_published"),
    [
        pytest.param(3, False, id="host network"),
        pytest.param(100, False, id="host network, many", marks=pytest.mark.soak),
        pytest.param(2, True, id="ports"),
        pytest.param(100, True, id="ports, many", marks=pytest.mark.soak),
    ],
)
def test_no_roll_shows_a_foreign_certificate_or_another_key(
    fleet: Fleet, rolls: int, is_published: bool, promised: Callable[[float, float], None]
) -> None:
    """Each machine is asked all the time, and clients come that know the three addresses."""
    fleet.heal(pace=QUICK, is_published=is_published)
    known, took_s, refused_s = [fleet.bed.published()], list[float](), list[float]()
    orders, records = fleet.bed.orders(), fleet.bed.dns.records(type="A")
    addresses, settings = [node.address for node in fleet.nodes], fleet.settings()
    with Probers(fleet.nodes, DOMAIN) as seen, Clients(addresses, DOMAIN) as clients:
        for _ in range(rolls):
            began_s = time.monotonic()
            fleet.bed.ok("--renew-now", "--force")
            known.append(fleet.bed.published())
            wait_until(fleet.serves, "each machine serves the new certificate")
            shown = [seen.first(node, known[-1], began_s) or 0 for node in fleet.nodes]
            took_s.append(max(shown) - min(shown))
            refused_s += [seen.refused_s(node, began_s) for node in fleet.nodes]
            assert len(fleet.secrets()) <= 4
    print(spread(f"{rolls} rolls, first machine to last", took_s))
    print(spread("refused, for each machine and roll", refused_s))
    print(f"{len(seen.all())} handshakes: {seen.mixed()} with another key, {seen.foreign(known)} foreign")
    print(
        f"clients of three addresses: {clients.served} served, {clients.refused} refused, {clients.cut} cut"
    )
    assert (seen.mixed(), seen.foreign(known)) == (0, 0)
    promised(clients.refused, 0)
    promised(sorted(refused_s)[int(0.95 * len(refused_s))], 1 if not is_published else 2)
    assert fleet.settings() == settings
    assert fleet.bed.orders() - orders == rolls
    assert fleet.bed.dns.records(type="A") == records
    fleet.bed.assert_no_txt()


# --- bad certificates ---------------------------------------------------------------------------------------

# The pause after a machine is longer than a new task is watched: the first machine is the canary.
CANARY = Pace(delay_s=10)


@pytest.mark.row(135)
@pytest.mark.parametrize("tries", [1, pytest.param(20, marks=pytest.mark.soak)])
def test_a_bad_certificate_is_replaced_by_the_one_before_and_not_ordered_again(
    fleet: Fleet, tries: int, tmp_path: Path, promised: Callable[[float, float], None]
) -> None:
    """The Swarm gets another key than it was given, which does not load, or a certificate of another name."""
    fleet.heal(pace=QUICK)
    old, bed = fleet.bed.published(), fleet.bed
    other = dict(zip([".pem", ".key"], self_signed("other.sweetlove.test"), strict=True))
    kinds = {"another key": [".key"], "wrong name": [".pem", ".key"]}
    back_s: dict[str, list[float]] = {kind: [] for kind in kinds}
    _set_pace(fleet, CANARY)
    with SwappedSecrets(tmp_path / "docker.sock", fleet.nodes[0].socket) as socket:
        bed.config["docker"]["host"] = f"unix://{socket.path}"
        for kind in [*kinds] * tries:
            socket.instead = {end: other[end] for end in kinds[kind]}
            with Probers(fleet.nodes, DOMAIN) as seen:
                done = bed.run("--renew-now", "--force")
                assert (done.returncode, _is_taken_back(done.stdout)) == (1, True), done.stdout
                wait_until(lambda: fleet.serves(old), "each machine serves the certificate before")
            bad = [[look.at_s for look in seen.looks[node.name] if look.found != old] for node in fleet.nodes]
            touched = [moments for moments in bad if moments]
            promised(len(touched), 1)
            back_s[kind].append(max(each[-1] for each in touched) - min(each[0] for each in touched))
            assert seen.mixed() == 0
            orders = bed.orders()
            assert bed.run("--once").returncode == 1
            assert (bed.orders(), bed.published()) == (orders, old)
        assert socket.count >= 3 * tries  # it is tried again after a minute
        socket.instead = {}
        _set_pace(fleet, QUICK)
        bed.ok("--renew-now", "--force")
    assert fleet.serves()
    assert len(fleet.secrets()) <= 4
    for kind, all_s in back_s.items():
        print(spread(f"{tries} bad certificates ({kind}), from the first bad answer to the last", all_s))
        promised(max(all_s), 15)


def _set_pace(fleet: Fleet, pace: Pace) -> None:
    """Let the service have other update settings, which restarts nothing."""
    settings = f"--update-delay {pace.delay_s}s --update-monitor {pace.monitor_s}s"
    fleet.bed.docker_shell(f"docker service update --detach {settings} {SERVICE}")


def _is_taken_back(said: str) -> bool:
    """Whether the program has said that the secrets before are in use, by the Swarm or by itself."""
    return "put the previous secrets back" in said or "the previous secrets are in use again" in said


# --- the admin ----------------------------------------------------------------------------------------------


@pytest.mark.row(138)
def test_what_the_admin_does_ends_in_one_line_and_never_in_an_order(fleet: Fleet) -> None:
    """A hand-made update to other secrets, a drained machine, and a service that is removed."""
    fleet.heal(pace=QUICK)
    bed, ours, orders = fleet.bed, fleet.bed.published(), fleet.bed.orders()

    roll_by_hand(fleet.swarm, fleet.services.get(SERVICE), *self_signed(DOMAIN), number=1)
    wait_until(lambda: not fleet.serves(ours), "the hand-made update has begun")
    bed.once_until_ok()
    assert fleet.serves(ours)

    _set_availability(fleet, "node3", "drain")
    wait_until(lambda: not fleet.serves(ours, fleet.nodes[2:]), "the drained machine serves nobody")
    bed.ok("--once")
    assert fleet.states() == {"node1": "serving", "node2": "serving", "node3": "pending"}
    _set_availability(fleet, "node3", "active")
    wait_until(lambda: fleet.serves(ours), "the machine serves again")
    bed.ok("--once")
    assert set(fleet.states().values()) == {"serving"}

    fleet.services.get(SERVICE).remove()
    wait_until(lambda: not fleet.serves(ours, fleet.nodes[:1]), "the service is gone")
    assert SERVICE in bed.refused("--once")
    assert (bed.orders(), bed.published()) == (orders, ours)


@pytest.mark.row(138)
@pytest.mark.soak
@pytest.mark.parametrize("availability", ["drain", "pause"])
def test_a_machine_that_its_admin_takes_away_in_an_update_holds_no_other_back(
    fleet: Fleet, availability: str, promised: Callable[[float, float], None]
) -> None:
    """Before it has the new certificate, and after; the two others serve it, and it does once it is back."""
    fleet.heal(pace=QUICK)
    bed, took_s = fleet.bed, list[float]()
    for number in range(6):
        known, orders = bed.published(), bed.orders()
        program = Program(bed, "--renew-now", "--force")
        program.wait_for("service.updated")
        time.sleep(number)
        began_s = time.monotonic()
        _set_availability(fleet, "node3", availability)
        program.wait()
        bed.run("--once")
        took_s.append(time.monotonic() - began_s)
        assert fleet.serves(nodes=fleet.nodes[:2])
        states = fleet.states()
        assert (states["node1"], states["node2"]) == ("serving", "serving")
        assert fleet.serves(nodes=fleet.nodes[2:]) == (states["node3"] == "serving")
        assert bed.published() != known
        _set_availability(fleet, "node3", "active")
        fleet.recover()
        assert bed.orders() == orders + 1
        assert len(fleet.secrets()) <= 4
    print(spread(f"{availability} in {len(took_s)} updates, until the program has seen the others", took_s))
    promised(max(took_s), 90)


@pytest.mark.row(138)
def test_a_service_that_is_scaled_to_0_is_not_started(fleet: Fleet) -> None:
    fleet.heal(pace=QUICK, replicas=3)
    ours, orders = fleet.bed.published(), fleet.bed.orders()
    service = fleet.services.get(SERVICE)
    service.scale(0)
    wait_until(lambda: not any(fleet.serves(ours, [node]) for node in fleet.nodes), "nobody serves")
    done = fleet.bed.run("--once")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    service.reload()
    assert service.attrs["Spec"]["Mode"]["Replicated"]["Replicas"] == 0
    service.scale(3)
    fleet.bed.once_until_ok()
    assert fleet.serves(ours)
    assert fleet.bed.orders() == orders


def _set_availability(fleet: Fleet, name: str, availability: str) -> None:
    """Let a machine have no tasks any more, or tasks again."""
    for node in fleet.swarm.manager().client().nodes.list():
        if node.attrs["Description"]["Hostname"] == name:
            node.update({**node.attrs["Spec"], "Availability": availability})


# --- the page -----------------------------------------------------------------------------------------------


@pytest.mark.row(138)
@pytest.mark.page("docs/swarm.md", "swarm", "first secrets", "stack", "deploy")
def test_the_stack_of_the_page_is_deployed_and_its_old_file_changes_nothing_for_long(
    fleet: Fleet, tmp_path: Path, paper: Reading
) -> None:
    """All but the storage, which is a folder here and not NFS, and the pauses; the Swarm is there."""
    fleet.heal(**fleet.how or {"pace": QUICK})
    fleet.swarm.clear()
    init, join = paper.commands(PAGE, "swarm")
    assert (init.split()[:3], join) == (["docker", "swarm", "init"], "docker swarm join-token manager")
    nfs = {"type: nfs": "type: none", "o: addr=10.79.40.5,rw,nfsvers=4": "o: bind"}
    pauses = {"delay: 10s": "delay: 1s", "monitor: 5s": "monitor: 1s"}
    instead = {**nfs, **pauses, '":/registry"': str(fleet.swarm.storage)}
    (tmp_path / "stack.yaml").write_text(exchanged(paper.text(PAGE, "stack"), instead))
    secrets = [line.replace("registry.example.com", DOMAIN) for line in paper.commands(PAGE, "first secrets")]
    deploy, there = paper.commands(PAGE, "deploy"), f"cd {tmp_path}"
    bed = fleet.bed
    bed.config["sites"][0]["deploy"] = [{"service": "registry_registry", "port": PORT}]

    bed.docker_shell("\n".join([there, join, *secrets, *deploy]))
    wait_until(lambda: _answer(fleet), "the registry serves")
    bed.once_until_ok()
    assert fleet.serves()

    orders = bed.orders()
    bed.docker_shell("\n".join([there, *deploy]))
    wait_until(lambda: not fleet.serves(), "the secrets of the file are back")
    bed.once_until_ok()
    assert fleet.serves()
    assert bed.orders() == orders
    fleet.swarm.clear()


def _answer(fleet: Fleet) -> bool:
    return all(look_at(node.address, DOMAIN).found not in (REFUSED, MIXED) for node in fleet.nodes)
