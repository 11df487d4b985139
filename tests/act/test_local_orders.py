"""Certificates of the local CA follow the LAN address, and never restart a service for ever."""

from datetime import timedelta

import pytest
from support.scenes import DAY, HOUR, MINUTE, Scene

from certbotless.act import local_rotation
from certbotless.model.decision import Intent

NAME = "devbox"


class Moving:
    """A machine whose local site has the LAN address in its certificate."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.address = scene, "10.0.0.1"
        scene.address_of = lambda rule: self.address
        deploy = [{"container": "registry", "port": f"127.0.0.1:{scene.tls.port}"}]
        site = {"domain": NAME, "ca": "local", "with_address": True, "address": "auto", "deploy": deploy}
        scene.settings = {"sites": [site]}
        scene.engine.on_restart = lambda _: self.start()

    def start(self) -> None:
        certs = self.scene.certs_dir
        self.scene.tls.load(certs / f"{NAME}.pem", certs / f"{NAME}.key")

    @property
    def names(self) -> tuple[str, ...]:
        """What the published certificate is for."""
        facts = self.scene.published_of(NAME).facts
        return facts.names if facts else ()

    @property
    def restarts(self) -> int:
        return len(self.scene.engine.restarts)

    def move(self, number: int) -> str:
        """Have another address, run as the daemon does, and return the state."""
        self.address = f"10.0.0.{number}"
        return self.scene.run().state

    def pass_(self, time: timedelta) -> None:
        self.scene.clock.advance(time.total_seconds())


@pytest.fixture
def moving(scene: Scene) -> Moving:
    moving = Moving(scene)
    assert moving.move(1) == "ok"
    assert moving.names == ("10.0.0.1", NAME)
    return moving


def test_another_address_is_another_certificate_and_one_restart(moving: Moving) -> None:
    before = moving.restarts
    assert moving.move(2) == "ok"
    assert (moving.names, moving.restarts) == (("10.0.0.2", NAME), before + 1)
    assert moving.scene.run().state == "ok"
    assert moving.restarts == before + 1


@pytest.mark.row(119)
def test_twenty_addresses_in_an_hour_are_six_restarts_and_then_a_failure_with_its_cause(
    moving: Moving,
) -> None:
    moving.pass_(HOUR)
    before, states = moving.restarts, []
    for number in range(2, 22):
        states.append(moving.move(number))
        moving.pass_(3 * MINUTE)
    assert states == ["ok"] * 6 + ["failing"] * 14
    assert (moving.restarts - before, moving.names) == (6, ("10.0.0.7", NAME))
    failure = moving.scene.look().last_failure
    assert failure is not None
    assert failure.what == "6 certificates within an hour"
    assert "why the LAN address changes so often" in failure.hint
    # It is calm now: as soon as an hour has passed since the first of them.
    moving.pass_(3 * MINUTE)
    assert moving.scene.run().state == "ok"
    assert (moving.restarts - before, moving.names) == (7, ("10.0.0.21", NAME))


@pytest.mark.row(119)
def test_an_address_that_never_rests_costs_six_restarts_in_any_hour(moving: Moving) -> None:
    clock, times = moving.scene.clock, []
    for number in range(2, 250):
        before = moving.restarts
        moving.move(number)
        times += [clock.now()] * (moving.restarts - before)
        moving.pass_(MINUTE)
    assert len(times) >= 6 * 3
    assert all(later - first >= HOUR for first, later in zip(times, times[6:], strict=False))


def test_an_address_that_comes_back_needs_no_other_certificate(moving: Moving) -> None:
    """After the limit, too."""
    for number in range(2, 7):
        assert moving.move(number) == "ok"
    before = moving.restarts
    assert moving.move(9) == "failing"
    assert moving.move(6) == "ok"
    assert (moving.restarts, moving.names) == (before, ("10.0.0.6", NAME))
    assert moving.scene.look().decision.steps == ()


def test_what_a_person_asks_for_waits_for_the_limit_unless_it_is_forced(moving: Moving) -> None:
    def renew(*, is_forced: bool) -> str:
        moving.pass_(MINUTE)
        now = moving.scene.clock.now()
        return moving.scene.run(Intent(now, ignore_backoff=True, ignore_ledger=is_forced)).state

    assert [renew(is_forced=False) for _ in range(6)] == ["ok"] * 5 + ["failing"]
    failure = moving.scene.look().last_failure
    assert failure is not None
    assert "--force" in failure.hint
    assert renew(is_forced=True) == "ok"


@pytest.mark.parametrize("ahead", [8 * HOUR, 90 * DAY])
def test_a_certificate_that_was_signed_by_a_clock_ahead_is_replaced_once_the_clock_is_right(
    scene: Scene, ahead: timedelta
) -> None:
    """No client would take it until then."""
    moving = Moving(scene)
    assert moving.move(1) == "ok"
    moving.pass_(ahead)
    assert moving.move(2) == "ok"
    moving.pass_(-ahead)
    view = scene.look()
    assert [(step.action, step.reason.partition(" from")[0]) for step in view.decision.steps] == [
        ("order", "the certificate is valid")
    ]
    assert scene.run().state == "ok"
    facts = scene.published_of(NAME).facts
    assert facts is not None
    assert facts.not_before <= scene.clock.now()
    assert scene.look().decision.steps == ()


def test_no_root_is_made_that_may_not_vouch_for_the_lan_address(scene: Scene) -> None:
    """Every client would refuse what it signs."""
    moving = Moving(scene)
    scene.settings["local_ca"] = {"permit": [NAME, "192.168.0.0/16"]}
    assert moving.move(1) == "failing"
    failure = scene.look().last_failure
    assert failure is not None
    assert failure.what.startswith("'10.0.0.1' is outside local_ca.permit")
    assert not (scene.state_dir / "local-ca").exists()
    assert moving.names == ()


def test_an_address_that_the_root_may_not_vouch_for_leaves_the_certificate_as_it_is(scene: Scene) -> None:
    """Until the address is another one again, or a root may."""
    moving = Moving(scene)
    scene.settings["local_ca"] = {"permit": [NAME, "10.0.0.0/24"]}
    assert moving.move(1) == "ok"
    moving.address = "192.168.1.7"
    assert scene.run().state == "failing"
    failure = scene.look().last_failure
    assert failure is not None
    assert failure.what == "the root may not vouch for 192.168.1.7"
    assert moving.names == ("10.0.0.1", NAME)
    assert moving.move(1) == "ok"
    scene.settings["local_ca"] = {"permit": [NAME, "10.0.0.0/24", "192.168.0.0/16"]}
    local_rotation.rotate_now(scene.config, scene.clock)
    moving.pass_(MINUTE)
    moving.address = "192.168.1.7"
    assert scene.run().state == "ok"
    assert moving.names == ("192.168.1.7", NAME)
