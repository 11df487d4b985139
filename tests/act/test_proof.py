"""A certificate that the service does not come up with: back to the one before, and what becomes of it."""

import shutil
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from support.fakes import EPOCH, TlsServer
from support.scenes import (
    DAY,
    DOMAIN,
    HOUR,
    ID,
    LONG_AGO,
    MINUTE,
    MIRROR_ID,
    OTHER_DOMAIN,
    SECOND,
    Scene,
    failed_with,
)

from certbotless.model.deployed import Trial
from certbotless.world.containers import Container


@pytest.fixture
def refusing(scene: Scene) -> Scene:
    """All was well, until a new pair was published that the service does not come up with."""
    scene.make_well()
    scene.publish()
    scene.refuse(scene.published)
    return scene


def test_where_the_service_comes_down_with_a_new_pair_the_one_before_serves_again(refusing: Scene) -> None:
    """At once, for the container has ended; and what was refused is kept, so that none is ordered for it."""
    refused = refusing.published
    began = refusing.clock.now()
    outcome = refusing.run()
    assert outcome.state == "failing"
    text = failed_with(outcome)
    assert "'registry' has ended; the previous certificate is in use again" in text
    assert refusing.published.generation == refused.previous
    assert refusing.published.is_intact
    assert len(refusing.engine.restarts) == 2
    assert refusing.clock.now() - began < 5 * SECOND
    assert not refusing.asked_the_ca
    assert refusing.state.failures["redeploy"].retry_at >= began + MINUTE


def test_a_refused_pair_is_tried_again_as_the_ca_would_have_it_and_never_in_a_loop(refusing: Scene) -> None:
    """Each try is a moment without service."""
    refusing.run()
    for least, most in (
        (MINUTE, 5 * MINUTE),
        (10 * MINUTE, 20 * MINUTE),
        (100 * MINUTE, 3 * HOUR),
        (DAY, 2 * DAY),
    ):
        restarts = len(refusing.engine.restarts)
        assert refusing.run().state == "failing"
        assert len(refusing.engine.restarts) == restarts
        failure = refusing.state.failures["redeploy"]
        assert least <= failure.retry_at - failure.at <= most
        refusing.wait_for_retry("redeploy")
        assert refusing.run().state == "failing"
        assert len(refusing.engine.restarts) == restarts + 2
    assert not refusing.asked_the_ca


def test_a_refused_pair_that_is_taken_at_last_ends_the_trial(refusing: Scene) -> None:
    refused = refusing.published
    refusing.run()
    refusing.engine.on_restart = lambda _: refusing.start()
    refusing.wait_for_retry("redeploy")
    assert refusing.run().state == "ok"
    assert refusing.published.generation == refused.generation
    assert (refusing.state.trial, refusing.state.failures) == (None, {})
    assert not refusing.asked_the_ca


@pytest.mark.parametrize(
    ("is_started_since", "later", "is_ours"),
    [(True, SECOND, True), (False, SECOND, False), (True, DAY, False)],
    ids=["killed while it was down", "stopped by its admin", "stopped by its admin, days later"],
)
def test_a_container_that_ended_during_a_trial_is_ours_only_where_the_trial_can_have_ended_it(
    refusing: Scene, is_started_since: bool, later: timedelta, is_ours: bool
) -> None:
    """The run was killed: nobody answers, and only the trial on disk tells that somebody did before.

    A container that was started before the trial was not ended by the certificate; and a run that was killed
    before it could note the proof leaves a trial that means nothing after a while.
    """
    refused, now = refusing.published, refusing.clock.now()
    refusing.remember(trial=Trial(generation=refused.generation, previous=refused.previous, at=now))
    refusing.tls.unload()
    refusing.put_container(status="exited", started_at=now if is_started_since else LONG_AGO)
    refusing.clock.advance(later.total_seconds())
    outcome = refusing.run()
    if is_ours:
        assert "is in use again" in failed_with(outcome)
        assert refusing.published.generation == refused.previous
    else:
        assert (outcome.state, refusing.engine.restarts) == ("pending", [])
        assert refusing.published.generation == refused.generation


def test_a_pair_that_is_refused_though_others_took_the_action_is_on_trial_as_well(refusing: Scene) -> None:
    """Its container was started anew since the files were there: it goes back, and none is ordered for it."""
    refused = refusing.published
    refusing.put_container(started_at=refusing.clock.now() + SECOND)
    refusing.server.on_query = refusing.tls.unload
    refusing.remember(trial=Trial(generation=refused.generation, previous=refused.previous, at=EPOCH))
    assert "is in use again" in failed_with(refusing.run())
    assert refusing.state.trial is not None
    assert not refusing.asked_the_ca


@pytest.mark.parametrize("is_expired", [True, False], ids=["to an expired one", "where nobody answered"])
def test_nobody_goes_back(scene: Scene, is_expired: bool) -> None:
    scene.publish(left=SECOND if is_expired else 89 * DAY)
    scene.point()
    scene.start()
    scene.publish()
    scene.clock.advance(2)
    if not is_expired:
        scene.tls.unload()
    scene.refuse(scene.published)
    refused = scene.published
    assert "'registry' has ended" in failed_with(scene.run())
    assert scene.published.generation == refused.generation
    assert len(scene.engine.restarts) == 1


def test_only_the_first_target_is_a_reason_to_go_back(scene: Scene) -> None:
    """The others come after it has taken the new pair: it is not the pair that is wrong."""
    scene.make_well()
    scene.engine.put(Container(MIRROR_ID, "mirror", "running", (scene.tls.port,), LONG_AGO))
    with TlsServer() as mirror:
        mirror.load(scene.certs_dir / f"{DOMAIN}.pem", scene.certs_dir / f"{DOMAIN}.key")
        scene.keys["deploy"].append({"container": "mirror", "port": mirror.port})
        scene.publish()
        published = scene.published

        def come_up(container: Container) -> None:
            if container.name == "mirror":
                mirror.unload()
            else:
                scene.start()

        scene.engine.on_restart = come_up
        assert "no TLS answer" in failed_with(scene.run())
    assert scene.published == published
    assert [container_id for container_id, _ in scene.engine.restarts] == [ID, MIRROR_ID]


def test_two_sites_that_share_a_container_both_go_back_though_one_sees_no_answer(
    scene: Scene,
) -> None:
    """By the turn of the second one the first has taken the container down, and it has no restart policy."""
    scene.domains = [DOMAIN, OTHER_DOMAIN]
    scene.point(OTHER_DOMAIN)
    scene.clock.on_sleep = lambda: time.sleep(0.01)  # they wait for each other
    with TlsServer() as other:
        servers = {DOMAIN: scene.tls, OTHER_DOMAIN: other}
        scene.keys_of = {
            domain: {"deploy": [{"container": "registry", "port": server.port}]}
            for domain, server in servers.items()
        }
        refused: set[str] = set()

        def come_up(_: Container) -> None:
            if any(scene.published_of(domain).generation in refused for domain in servers):
                for server in servers.values():
                    server.unload()
                scene.put_container(status="exited")
                return
            for domain, server in servers.items():
                server.load(scene.certs_dir / f"{domain}.pem", scene.certs_dir / f"{domain}.key")

        scene.point()
        for domain in servers:
            scene.publish(domain=domain)
        come_up(scene.engine.find("registry"))
        scene.engine.on_restart = come_up
        for domain in servers:
            scene.publish(domain=domain)
            refused.add(scene.published_of(domain).generation)
        assert [outcome.state for outcome in scene.run_all()] == ["failing", "failing"]
        assert scene.engine.find("registry").status == "running"
        for domain in servers:
            assert scene.published_of(domain).generation not in refused
    assert not scene.asked_the_ca


def test_a_container_that_its_admin_made_anew_is_waited_for(refusing: Scene) -> None:
    """It is another one, that says nothing of what became of ours."""
    other = Container(MIRROR_ID, "registry", "created", (refusing.tls.port,), LONG_AGO)
    refusing.engine.on_restart = lambda _: refusing.tls.unload()

    def make_anew() -> None:
        if refusing.engine.restarts:
            refusing.engine.put(other)

    refusing.clock.on_sleep = make_anew
    began = refusing.clock.now()
    assert "30 s after the action" in failed_with(refusing.run())
    assert refusing.clock.now() - began >= 30 * SECOND


AWAY: dict[str, Callable[[Scene], object]] = {
    "absent": lambda scene: scene.engine.remove("registry"),
    "paused": lambda scene: scene.put_container(status="paused"),
    "stopped": lambda scene: scene.put_container(status="exited"),
}


@pytest.mark.parametrize("go_away", AWAY.values(), ids=AWAY.keys())
def test_a_refused_pair_is_not_published_again_while_its_container_is_away(
    refusing: Scene, go_away: Callable[[Scene], object]
) -> None:
    refusing.run()
    before = refusing.published
    go_away(refusing)
    refusing.wait_for_retry("redeploy")
    refusing.run()
    assert refusing.published == before


def test_a_service_that_does_not_come_up_with_the_pair_before_either_is_told(refusing: Scene) -> None:
    refused = refusing.published
    refusing.engine.on_restart = lambda _: refusing.tls.unload()
    assert "it does not start with the previous certificate either" in failed_with(refusing.run())
    assert refusing.published.generation == refused.previous


def test_another_pair_in_the_place_of_the_refused_one_ends_its_trial(refusing: Scene) -> None:
    refusing.run()
    refusing.publish()
    refusing.engine.on_restart = lambda _: refusing.start()
    assert refusing.run().state == "ok"
    assert (refusing.state.trial, refusing.state.failures) == (None, {})


def test_the_pair_before_it_served_again_at_last_does_not_end_the_trial(refusing: Scene) -> None:
    """The service did not come up with that one at once either; the refused one is not ordered again."""
    refused = refusing.published.generation
    refusing.run()
    refusing.tls.unload()
    assert refusing.run().state == "failing"
    assert refusing.published.is_intact
    assert refusing.published.generation != refused
    assert refusing.state.trial is not None
    assert refusing.look().seen.in_hand.generation == refused


def test_a_refused_pair_that_is_lost_ends_its_trial(refusing: Scene) -> None:
    refused = refusing.published
    refusing.run()
    shutil.rmtree(refusing.certs_dir / ".certbotless" / DOMAIN / refused.generation)
    assert refusing.run().state == "ok"
    assert refusing.state.trial is None


def test_an_edit_that_is_taken_back_ends_the_trial_of_what_it_has_ordered(scene: Scene) -> None:
    """Nothing is ordered or restarted: what serves again is what the file asks for."""
    scene.make_well()
    scene.settings = {"acme": {"directory": "https://127.0.0.1:1/other"}}
    scene.publish()
    scene.refuse(scene.published)
    assert scene.run().state == "failing"
    restarts = len(scene.engine.restarts)
    assert scene.state.trial is not None
    scene.settings = {}
    assert scene.run().state == "ok"
    after = scene.state
    assert (after.trial, after.failures, scene.asked_the_ca) == (None, {}, False)
    assert len(scene.engine.restarts) == restarts
