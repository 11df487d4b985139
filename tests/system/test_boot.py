"""A machine that starts: network, engine and clock come one after the other, later than the daemon."""

from collections.abc import Iterator

import pytest
from support.bed import wait_until
from support.private_host import ip
from support.services import DAEMON, Services
from support.wall_clock import WallClock

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE

_GATEWAY = f"{LAN_ADDRESS.rpartition('.')[0]}.1"
# What the daemon of the machine takes for the time; its processes alone.
_TIME = "/etc/certbotless/faketime"


class Boot:
    """What a machine lacks when it starts, and what brings it."""

    def __init__(self, clock: WallClock, engine: Engine) -> None:
        self._clock, self._engine = clock, engine
        self._lacks: set[str] = set()

    def lack_all(self) -> None:
        """Let there be no network, no engine and no right time."""
        self._clock.set("@1970-01-01 00:00:10")
        self._engine.stop()
        ip("route", "del", "default")
        ip("address", "flush", "dev", LAN_INTERFACE)
        ip("link", "set", "lo", "down")
        self._lacks = {"network", "engine", "clock"}

    def bring(self, what: str) -> None:
        """Bring the interfaces up, and with them all stand-ins; the engine; or the right time."""
        if what == "network":
            ip("link", "set", "lo", "up")
            ip("address", "add", f"{LAN_ADDRESS}/24", "dev", LAN_INTERFACE)
            ip("route", "add", "default", "via", _GATEWAY, "dev", LAN_INTERFACE)
        elif what == "engine":
            self._engine.start()
        else:
            self._clock.set("+0")
        self._lacks.discard(what)

    def bring_all(self) -> None:
        """Bring what is still lacking."""
        for what in sorted(self._lacks):
            self.bring(what)


@pytest.fixture
def boot(services: Services) -> Iterator[Boot]:
    """A machine whose daemon has a clock of its own."""
    clock = WallClock(services.machine.path(_TIME), _TIME)
    faked = (f"Environment={name}={value}" for name, value in clock.environment.items())
    services.add_to(DAEMON, "[Service]", *faked)
    boot = Boot(clock, services.bed.engine)
    try:
        yield boot
    finally:
        boot.bring_all()


def assert_waited(services: Services) -> None:
    """The daemon that was started at first is still there, and nothing is left of its attempts."""
    assert (services.property("ActiveState"), services.property("NRestarts")) == ("active", "0")
    services.bed.assert_no_txt()
    assert services.bed.a_values() == [LAN_ADDRESS]
    services.assert_served()


@pytest.mark.row(11)
@pytest.mark.parametrize(
    ("order", "last_words"),
    [
        (("network", "engine", "clock"), "this clock differs by -"),
        (("engine", "clock", "network"), "clock.jumped"),
        (("clock", "network", "engine"), "no Docker engine at "),
    ],
    ids=["clock last", "network last", "engine last"],
)
@pytest.mark.long
def test_a_machine_that_starts_with_nothing_ready_is_ready_when_all_of_it_is_there(
    services: Services, boot: Boot, order: tuple[str, ...], last_words: str
) -> None:
    """The unit is active from the start. Nothing is ordered until all is there; then all comes by itself."""
    boot.lack_all()
    services.systemctl("start", DAEMON)
    wait_until(lambda: "this machine has no default route" in services.journal(), "it has looked")
    for what in order[:-1]:
        boot.bring(what)
    wait_until(lambda: last_words in services.journal(), f"it lacks the {order[-1]}")
    assert services.bed.orders() == 0
    boot.bring(order[-1])
    services.wait_ok()
    assert services.bed.orders() == 1
    assert_waited(services)


@pytest.mark.row(11)
def test_a_certificate_from_before_the_start_is_kept_whatever_the_clock_says(
    services: Services, boot: Boot
) -> None:
    services.start()
    services.systemctl("stop", DAEMON)
    before = services.bed.published()
    boot.lack_all()
    services.systemctl("start", DAEMON)
    wait_until(lambda: "this machine has no default route" in services.journal(), "it has looked")
    for what in ("network", "engine", "clock"):
        boot.bring(what)
    services.wait_ok()
    assert (services.bed.orders(), services.bed.published()) == (1, before)
    assert_waited(services)
