"""Sites that share a certificate: in which order they take it, and what comes of a refusal.

`make test` has five of them, `make soak` twenty.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta

import pytest
from support.fakes import EPOCH, FakeContainers, TlsServer
from support.scenes import HOUR, LONG_AGO, MINUTE, NOTHING_ASKED, ZONE, Scene

from certbotless.act.run import Outcome, run
from certbotless.act.shared import turns_of
from certbotless.act.sharing import SharedTargets
from certbotless.model.memory import OrderInFlight
from certbotless.model.situation import Goal
from certbotless.state.site import SiteFile
from certbotless.world.containers import Container
from certbotless.world.tls import served_leaf

WILDCARD = f"*.{ZONE}"
FEW, MANY = 5, pytest.param(20, marks=pytest.mark.soak)


class House:
    """Sites with one certificate, each with a container of its own that reads its files at a start.

    Attributes:
        names: the domains, in the order of the file.
        refusing: the domains whose container ends when it is started with the newest certificate.
    """

    def __init__(self, scene: Scene, servers: Sequence[TlsServer]) -> None:
        self.scene, self.refusing = scene, set[str]()
        self.names = [f"box{number}.{ZONE}" for number in range(1, len(servers) + 1)]
        self.servers = dict(zip(self.names, servers, strict=True))
        containers = [
            Container(f"{number:064x}", name, "running", (server.port,), LONG_AGO)
            for number, (name, server) in enumerate(self.servers.items())
        ]
        scene.engine = scene.containers = FakeContainers(*containers, clock=scene.clock)
        scene.engine.on_restart = self.come_up
        scene.domains = list(self.names)
        scene.keys_of = {name: self.keys(name) for name in self.names}
        for name in self.names:
            scene.point(name)
        scene.publish(domain=WILDCARD)
        self.run()
        self.old = self.unit
        scene.clock.advance(HOUR.total_seconds())

    def keys(self, name: str, *containers: str) -> dict[str, object]:
        """Return the keys of a site with these containers, by default its own."""
        targets = [{"container": each, "port": self.servers[each].port} for each in containers or [name]]
        return {"certificate": WILDCARD, "deploy": targets}

    def come_up(self, container: Container) -> None:
        """Start a container: it reads the files of its site."""
        name = container.name
        if name in self.refusing and self.leaf(name) == self.unit:
            self.servers[name].unload()
            self.scene.engine.put(replace(container, status="exited"))
        else:
            self.servers[name].load(*(self.scene.certs_dir / f"{name}.{end}" for end in ("pem", "key")))

    def renew(self) -> str:
        """Let a new certificate be issued, and return it."""
        self.scene.publish(domain=WILDCARD, age=timedelta())
        return self.unit

    def run(self, *domains: str) -> dict[str, Outcome]:
        """Run for these sites, or all."""
        config = self.scene.config
        sites = [site for site in config.kept if not domains or site.domain in domains]
        return {each.domain: each for each in run(config, sites, self.scene.edges(), NOTHING_ASKED)}

    def leaf(self, domain: str) -> str:
        """Return what is published of a site."""
        facts = self.scene.published_of(domain).facts
        return facts.sha256 if facts else ""

    @property
    def unit(self) -> str:
        """The shared certificate."""
        return self.leaf(WILDCARD)

    def served(self) -> list[str]:
        """Return what each service shows, in the order of the file."""
        return [served_leaf("127.0.0.1", self.servers[name].port, name) for name in self.names]

    def restarted(self) -> list[str]:
        """Return the containers in the order in which they were restarted so far."""
        return [self.names[int(id_, 16)] for id_, _ in self.scene.engine.restarts]


@pytest.fixture(params=[FEW, MANY])
def house(scene: Scene, request: pytest.FixtureRequest) -> Iterator[House]:
    with ExitStack() as stack:
        yield House(scene, [stack.enter_context(TlsServer()) for _ in range(request.param)])


def test_they_take_it_in_the_order_of_the_file(house: House) -> None:
    assert set(house.served()) == {house.old}
    before = len(house.restarted())
    new = house.renew()
    assert {each.state for each in house.run().values()} == {"ok"}
    assert set(house.served()) == {new}
    assert house.restarted()[before:] == house.names
    assert not house.scene.asked_the_ca


@pytest.mark.row(111)
@pytest.mark.parametrize(
    ("house", "number"),
    [(FEW, 3), *(pytest.param(20, number, marks=pytest.mark.soak) for number in (1, 7, 20))],
    indirect=["house"],
)
def test_a_service_that_refuses_it_is_the_only_one(house: House, number: int) -> None:
    """It has the old one again, those before it have the new one, those after it were not touched."""
    new, refusing = house.renew(), house.names[number - 1]
    house.refusing.add(refusing)
    before, later = len(house.restarted()), len(house.names) - number
    outcomes = house.run()
    states = [outcomes[name].state for name in house.names]
    assert states == [*["ok"] * (number - 1), "failing", *["pending"] * later]
    served = [*[new] * (number - 1), *[house.old] * (1 + later)]
    assert house.served() == served
    # The refusing one was restarted twice: with the new one, and with the old one again.
    assert house.restarted()[before:] == [*house.names[:number], refusing]
    assert not house.scene.asked_the_ca

    # Nothing changes until it tries again, nor by a try that fails.
    assert house.run()[house.names[-1]].state != "ok"
    house.scene.clock.advance(2 * MINUTE.total_seconds())
    house.run()
    assert house.served() == served
    # Healed by itself when the service is mended.
    house.refusing.clear()
    house.scene.clock.advance(timedelta(hours=2).total_seconds())
    assert {each.state for each in house.run().values()} == {"ok"}
    assert set(house.served()) == {new}


def test_later_sites_wait_longer_for_a_service_that_may_take_long_to_stop(house: House) -> None:
    """Its next try is a minute later; 10 minutes after that it may still be on the way back."""
    first, *others = house.names
    (target,) = house.scene.keys_of[first]["deploy"]
    house.scene.keys_of[first]["deploy"] = [target | {"stop_timeout": "5m"}]
    house.renew()
    house.refusing.add(first)
    house.run()
    house.scene.clock.advance(11 * MINUTE.total_seconds())
    house.run(*others)
    assert {house.leaf(name) for name in others} == {house.old}


def test_a_refusal_is_not_over_because_another_one_is(house: House) -> None:
    new = house.renew()
    first, unserved, second, *others = house.names
    house.scene.keys_of[unserved]["deploy"] = []
    house.refusing |= {first, second}
    # By themselves, as where a command names them: each of them refuses it.
    house.run(second)
    house.run(first)
    house.refusing.remove(first)
    house.scene.clock.advance(MINUTE.total_seconds() + 30)
    house.run(first)
    house.run(*others)
    assert house.leaf(first) == new
    assert {house.leaf(name) for name in others} == {house.old}


def test_to_serve_the_one_before_again_is_not_to_take_the_new_one(house: House) -> None:
    """The container is up again, after the rollback had failed to start it: the others still wait."""
    house.renew()
    house.refusing.add(house.names[0])
    house.run()
    house.servers[house.names[0]].unload()
    house.run(house.names[0])
    assert house.served()[0] == house.old
    house.run(*house.names[1:])
    assert {house.leaf(name) for name in house.names} == {house.old}


def test_a_site_that_has_lost_its_service_keeps_nobody_from_it(house: House) -> None:
    new = house.renew()
    house.refusing.add(house.names[0])
    house.run()
    house.scene.keys_of[house.names[0]]["deploy"] = []
    house.run(*house.names[1:])
    assert set(house.served()[1:]) == {new}


def test_a_window_holds_its_own_site_alone(house: House) -> None:
    opens = (EPOCH + 10 * HOUR).astimezone()
    (target,) = house.scene.keys_of[house.names[0]]["deploy"]
    house.scene.keys_of[house.names[0]]["deploy"] = [target | {"when": f"{opens:%H:%M}-{opens + HOUR:%H:%M}"}]
    new = house.renew()
    outcomes = house.run()
    assert [outcomes[name].state for name in house.names] == ["pending", *["ok"] * (len(house.names) - 1)]
    assert house.served() == [house.old, *[new] * (len(house.names) - 1)]


def test_later_sites_wait_for_the_window_of_the_service_that_has_refused_it(house: House) -> None:
    """Its next try is on the next day: 16 minutes later, after the window, they still have the one before."""
    first, now = house.names[0], house.scene.clock.now().astimezone()
    (target,) = house.scene.keys_of[first]["deploy"]
    window = f"{now - HOUR:%H:%M}-{now + 5 * MINUTE:%H:%M}"
    house.scene.keys_of[first]["deploy"] = [target | {"when": window}]
    new = house.renew()
    house.refusing.add(first)
    house.run()
    house.scene.clock.advance(2 * MINUTE.total_seconds())
    house.run()
    house.scene.clock.advance(16 * MINUTE.total_seconds())
    house.run()
    assert house.served() == [house.old] * len(house.names)
    house.refusing.clear()
    house.scene.clock.advance((now + timedelta(days=1) - house.scene.clock.now()).total_seconds())
    house.run()
    assert set(house.served()) == {new}


def test_a_service_of_several_sites_is_acted_upon_once(house: House) -> None:
    """box2, box4 and the last one have one container: they take it in one turn, that of box2."""
    shared = [house.names[1], house.names[3], house.names[-1]]
    for name in shared:
        house.scene.keys_of[name] = house.keys(name, house.names[1])
    # One of them waits for the container while another one acts on it: that takes time.
    house.scene.clock.on_sleep = lambda: time.sleep(0.05 if house.scene.clock.sleeps[-1] else 0)
    house.run()
    before = len(house.restarted())
    house.renew()
    assert {each.state for each in house.run().values()} == {"ok"}
    assert house.restarted()[before:] == [name for name in house.names if name not in shared[1:]]


def test_every_run_has_the_turns_of_the_file(house: House) -> None:
    """box1 and the last one have one container. Else two runs of other sites waited for each other, for ever.

    So did a run with more sites than threads, if the last one had no thread while all others waited for it.
    """
    first, second, *others, last = house.names
    house.scene.keys_of[last] = house.keys(last, first)
    config = house.scene.config

    def order(*domains: str) -> list[str]:
        goals = [Goal(site, config) for site in config.kept if site.domain in domains]
        return [goal.site.domain for goal in SharedTargets(goals, len(goals)).in_turn(goals)]

    assert order(WILDCARD, *house.names) == [WILDCARD, first, last, second, *others]
    assert order(second, last) == [last, second]


def test_an_order_of_the_time_before_is_not_collected(house: House) -> None:
    """Its certificate is not the one that the site uses now."""
    file = SiteFile(house.scene.state_dir, house.names[0])
    order = OrderInFlight(directory="https://127.0.0.1:1/dir", url="https://127.0.0.1:1/order/1", names=())
    file.change(order=order)
    assert house.run()[house.names[0]].state == "ok"
    house.renew()
    house.run()
    assert file.load().order is None


def test_domains_that_share_a_service_have_one_turn() -> None:
    turns = turns_of({"a": {"x"}, "b": {"y"}, "c": set(), "d": {"z", "y"}, "e": {"x", "z"}, "f": set()})
    assert turns == [{"a", "b", "d", "e"}, {"c"}, {"f"}]
