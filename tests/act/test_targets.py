"""Several containers, targets and sites: what is due for each, and what one of them says of another."""

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from support.fakes import EPOCH, FakeClock, FakeContainers, TlsServer
from support.scenes import (
    ADDRESS,
    DAY,
    DOMAIN,
    HOUR,
    ID,
    LONG_AGO,
    MINUTE,
    MIRROR_ID,
    NOTHING_ASKED,
    OTHER_DOMAIN,
    SECOND,
    ZONE,
    Scene,
    failed_with,
)

from certbotless.act import run
from certbotless.base.locks import ActionLock
from certbotless.base.times import rfc3339
from certbotless.model.deployed import Acted
from certbotless.world.containers import Container

LABEL = "tls=x"
RESTART, RELOAD = "restart", {"signal": "HUP"}


def put_labelled(scene: Scene, *containers: Container) -> None:
    """Let the engine hold these containers alone, each with the label."""
    labels = {container.name: [LABEL] for container in containers}
    scene.engine = scene.containers = FakeContainers(*containers, labels=labels, clock=scene.clock)
    scene.engine.on_restart = lambda _: scene.start()
    names = tuple(container.name for container in containers)
    ports = {container.name: container.ports[0] for container in containers}
    scene.remember(matched={LABEL: names}, ports=ports)


def closed_window() -> str:
    """A window, in this machine's time, that is closed now."""
    start = EPOCH.astimezone() + 10 * HOUR
    return f"{start:%H:%M}-{start + HOUR:%H:%M}"


@pytest.fixture
def renewed(scene: Scene) -> Scene:
    """A new certificate is published; the service has the one before."""
    scene.publish(age=HOUR)
    scene.start()
    scene.publish(age=timedelta())
    scene.point()
    return scene


# --- the window -------------------------------------------------------------------------------------------


def test_a_window_holds_for_a_container_that_answers_whatever_another_one_does(renewed: Scene) -> None:
    """web2, of the same label, is stopped: web1, which answers, is left alone until the window opens."""
    scene = renewed
    scene.keys["deploy"] = [{"label": LABEL, "when": closed_window()}]
    web1 = Container(ID, "web1", "running", (scene.tls.port,), LONG_AGO)
    put_labelled(scene, web1, Container(MIRROR_ID, "web2", "exited", (1,), LONG_AGO))
    scene.remember(deploy_by=EPOCH + 30 * DAY)
    outcome = scene.run()
    assert (outcome.state, scene.engine.restarts) == ("pending", [])
    assert scene.state.trial is None

    scene.clock.advance(10 * 3600)
    scene.run()
    assert [id_ for id_, _ in scene.engine.restarts] == [ID]


def test_what_does_not_answer_waits_for_no_window_though_another_one_does(renewed: Scene) -> None:
    scene = renewed
    scene.keys["deploy"] = [{"label": LABEL, "when": closed_window()}]
    with TlsServer() as down:
        web1 = Container(ID, "web1", "running", (scene.tls.port,), LONG_AGO)
        put_labelled(scene, web1, Container(MIRROR_ID, "web2", "running", (down.port,), LONG_AGO))
        scene.remember(deploy_by=EPOCH + 30 * DAY)
        scene.engine.on_restart = lambda _: down.load(*pair_of(scene))
        assert scene.run().state == "pending"
    assert [id_ for id_, _ in scene.engine.restarts] == [MIRROR_ID]


def test_a_service_that_was_silent_for_a_moment_keeps_its_window(renewed: Scene) -> None:
    """On a busy machine the handshake of the look took too long; the next one is answered."""
    scene = renewed
    scene.keys["deploy"][0]["when"] = closed_window()
    scene.remember(deploy_by=EPOCH + 30 * DAY)
    context = scene.tls._context
    scene.tls.unload()
    is_asked: list[bool] = []
    scene.server.on_query = lambda: is_asked.append(True)

    def answer_again() -> None:
        if is_asked and scene.tls._context is None:
            scene.tls._context = context

    scene.clock.on_sleep = answer_again
    outcome = scene.run()
    assert (outcome.state, scene.engine.restarts) == ("pending", [])
    assert "its window" in outcome.reason


def pair_of(scene: Scene) -> Any:
    return scene.certs_dir / f"{DOMAIN}.pem", scene.certs_dir / f"{DOMAIN}.key"


# --- files that were gone ---------------------------------------------------------------------------------


def gone_while_it_started(scene: Scene) -> None:
    """The files were gone when the container was started; there is a copy."""
    pair = scene.publish(age=20 * DAY)
    scene.point()
    scene.remember()
    scene.file.save_pair(pair)
    for path in pair_of(scene):
        path.unlink()
    scene.put_container(started_at=EPOCH - 10 * MINUTE)


@pytest.mark.parametrize("was_acted_upon", [False, True], ids=["never", "restarted for it before"])
def test_a_service_that_came_up_without_its_files_is_restarted_when_they_are_back(
    scene: Scene, was_acted_upon: bool
) -> None:
    gone_while_it_started(scene)
    facts = scene.published.facts
    assert facts is not None
    if was_acted_upon:
        acted = Acted(sha256=facts.sha256, count=1, files_at=EPOCH - 20 * DAY)
        scene.remember(acted={"registry": acted})
    assert scene.run().state == "ok"
    assert len(scene.engine.restarts) == 1


def test_one_that_does_not_come_up_with_them_is_not_restarted_for_ever(scene: Scene) -> None:
    gone_while_it_started(scene)
    scene.engine.on_restart = lambda _: None
    for _ in range(4):
        assert "no TLS answer" in failed_with(scene.run())
        scene.wait_for_retry("deploy:registry")
    assert len(scene.engine.restarts) == 1


def test_one_that_was_started_at_a_time_to_come_is_restarted_once(scene: Scene) -> None:
    """The machine's clock was ahead when it was started; nobody knows what it has read."""
    scene.publish()
    scene.point()
    scene.put_container(started_at=EPOCH + DAY)
    scene.engine.on_restart = lambda _: scene.put_container(started_at=EPOCH + DAY)
    for _ in range(3):
        assert "no TLS answer" in failed_with(scene.run())
        scene.wait_for_retry("deploy:registry")
    assert len(scene.engine.restarts) == 1


# --- a service that sites share ---------------------------------------------------------------------------


def share(scene: Scene, *targets: dict[str, Any]) -> None:
    """Let each site have its own way to make the one service read its files, which cannot be proved."""
    scene.domains = [DOMAIN, OTHER_DOMAIN]
    for domain, target in zip(scene.domains, targets, strict=True):
        scene.keys_of[domain] = {"deploy": [{"port": "none", **target}]}
        scene.point(domain)
        scene.publish(domain=domain)
    scene.clock.on_sleep = lambda: time.sleep(0.002)  # so that both sites get to it, in real time


@pytest.mark.process
@pytest.mark.parametrize(
    "target",
    [
        {"container": "registry", "action": {"exec": ["false"]}},
        {"command": ["false"]},
        {"container": "registry", "action": RELOAD},
    ],
    ids=["program", "command", "signal"],
)
def test_an_action_that_failed_for_one_site_counts_for_no_other(scene: Scene, target: dict[str, Any]) -> None:
    share(scene, target, target)
    scene.engine.exit_code = 1
    scene.put_container(status="restarting")  # it takes no signal then
    assert [outcome.state for outcome in scene.run_all()] == ["failing", "failing"]


def test_an_action_that_succeeded_for_one_site_counts_for_another_one(scene: Scene) -> None:
    share(scene, {"container": "registry"}, {"container": "registry"})
    assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]
    assert len(scene.engine.restarts) == 1


@pytest.mark.row(142)
def test_a_site_that_has_no_thread_yet_is_not_waited_for(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a thousand with one service 800 begin when others have ended: each 200 waited two minutes."""
    share(scene, {"container": "registry"}, {"container": "registry"})
    monkeypatch.setattr(run, "_MOST_THREADS", 1)
    assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]
    assert sum(scene.clock.sleeps) < 1


def test_an_action_counts_for_no_site_that_asks_for_another_one(scene: Scene) -> None:
    """A program that reads some of its files at HUP and all of them at its start."""
    share(scene, {"container": "registry", "action": RELOAD}, {"container": "registry", "action": RESTART})
    assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]
    assert (len(scene.engine.restarts), len(scene.engine.reloads)) == (1, 1)


@pytest.mark.process
def test_a_command_learns_what_it_carries(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What stood in the environment before does not count."""
    monkeypatch.setenv("CERTBOTLESS_DOMAIN", "another.example")
    scene.publish()
    scene.point()
    scene.keys["deploy"] = [
        {"command": ["sh", "-c", f"env | grep ^CERTBOTLESS_ | sort >{tmp_path}/seen"], "port": "none"}
    ]
    assert scene.run().state == "ok"
    facts = scene.published.facts
    assert facts is not None
    assert (tmp_path / "seen").read_text().splitlines() == [
        f"CERTBOTLESS_CHAIN={scene.certs_dir}/{DOMAIN}.pem",
        f"CERTBOTLESS_DOMAIN={DOMAIN}",
        f"CERTBOTLESS_KEY={scene.certs_dir}/{DOMAIN}.key",
        f"CERTBOTLESS_NAMES={' '.join(facts.names)}",
        f"CERTBOTLESS_NOT_AFTER={rfc3339(facts.not_after)}",
        f"CERTBOTLESS_SHA256={facts.sha256}",
    ]


@pytest.mark.process
def test_a_command_that_takes_a_certificate_back_learns_of_the_one_before(
    renewed: Scene, tmp_path: Path
) -> None:
    """The service comes down with the new one: the same command brings the one before."""
    scene, log = renewed, tmp_path / "log"
    new = scene.published.facts
    script = f'echo "$CERTBOTLESS_SHA256" >>{log}'
    scene.keys["deploy"] = [{"command": ["sh", "-c", script], "port": f"{ADDRESS}:{scene.tls.port}"}]

    def come_down_and_up() -> None:
        runs = log.read_text().split() if log.exists() else []
        if len(runs) == 1:
            scene.tls.unload()
        elif runs:
            scene.start()

    scene.clock.on_sleep = come_down_and_up
    outcome = scene.run()
    assert "is in use again" in failed_with(outcome)
    before = scene.published.facts
    assert new is not None
    assert before is not None
    assert log.read_text().split() == [new.sha256, before.sha256]


@pytest.mark.process
@pytest.mark.parametrize("words", [["{domain}"], []], ids=["by an argument", "by a variable"])
def test_a_command_is_run_for_each_site_that_has_it(scene: Scene, tmp_path: Path, words: list[str]) -> None:
    """It may carry the certificate of one alone, and here no handshake shows which."""
    script = f'echo "${{1:-$CERTBOTLESS_DOMAIN}}" >>{tmp_path}/seen'
    target = {"command": ["sh", "-c", script, "carry", *words]}
    share(scene, target, target)
    assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]
    assert sorted((tmp_path / "seen").read_text().split()) == sorted([DOMAIN, OTHER_DOMAIN])
    scene.run_all()
    assert len((tmp_path / "seen").read_text().split()) == 2


@pytest.mark.row(142)
@pytest.mark.process
def test_each_of_the_sites_with_one_command_waits_for_all_others(scene: Scene) -> None:
    """Each may take 90 s. Of 200 with a command of 0.5 s the last ones gave up."""
    share(scene, {"command": ["true"]}, {"command": ["true"]})
    lock = ActionLock(scene.state_dir, hashlib.sha256(b"true").hexdigest(), FakeClock(), 1)
    with ExitStack() as held:
        held.enter_context(lock)

        def release() -> None:
            if scene.clock.monotonic() > 120:
                held.close()
                time.sleep(0.005)  # the command of the other site is real

        scene.clock.on_sleep = release
        assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]


def test_a_run_with_the_lock_that_hangs_holds_up_no_site_for_hours(scene: Scene) -> None:
    scene.keys["deploy"] = [{"command": ["true"], "port": "none"}]
    scene.domains = [DOMAIN, *(f"box{number}.{ZONE}" for number in range(60))]
    scene.point()
    scene.publish()
    scene.clock.least_sleep_s = 5
    config = scene.config
    with ActionLock(scene.state_dir, hashlib.sha256(b"true").hexdigest(), FakeClock(), 1):
        (outcome,) = run.run(config, config.kept[:1], scene.edges(), NOTHING_ASKED)
    assert "still locked" in failed_with(outcome)
    assert 1800 <= scene.clock.monotonic() < 2000


# --- other machines ---------------------------------------------------------------------------------------


@pytest.mark.row(126)
@pytest.mark.process
@pytest.mark.parametrize("is_first", [True, False], ids=["the first", "a later one"])
def test_a_machine_that_is_off_holds_no_other_one_back(
    renewed: Scene, tmp_path: Path, is_first: bool
) -> None:
    """Its command fails, which says nothing of the certificate: the others get it, and it alone is told."""
    scene = renewed
    off = {"command": ["sh", "-c", "echo no route to host >&2; exit 255"], "port": "none"}
    on = {"command": ["sh", "-c", f"echo run >>{tmp_path}/on"], "port": "none"}
    scene.keys["deploy"] = [off, on] if is_first else [on, off]
    outcome = scene.run()
    assert outcome.state == "failing"
    assert "ended with 255: no route to host" in failed_with(outcome)
    assert (tmp_path / "on").read_text() == "run\n"
    assert len(scene.state.failures) == 1
    assert scene.state.trial is None


@pytest.mark.row(125)
def test_what_reads_its_files_by_itself_is_waited_for_without_a_run(renewed: Scene) -> None:
    """The site is pending, which needs nobody; the next look that shows the certificate ends it."""
    scene = renewed
    scene.keys["deploy"] = [{"container": "registry", "action": "none"}]
    scene.clock.least_sleep_s = 5
    outcome = scene.run()
    assert outcome.state == "pending"
    assert "it reads the files by itself" in outcome.reason
    view = scene.look()
    assert view.is_well
    assert not view.decision.due(view.seen.at)
    scene.start()
    assert scene.look().state == "ok"
    assert scene.engine.restarts == []


# --- a container in two targets ---------------------------------------------------------------------------


def test_two_ports_of_one_container_are_two_facts(scene: Scene) -> None:
    """By its name at a port where nobody answers, by its label at one where all is well."""
    scene.make_well()
    registry = Container(ID, "registry", "running", (scene.tls.port,), LONG_AGO)
    scene.keys["deploy"] = [
        {"container": "registry", "port": f"{ADDRESS}:1"},
        {"label": LABEL, "port": scene.tls.port},
    ]
    put_labelled(scene, registry)
    outcome = scene.run()
    assert outcome.state == "failing"
    assert f"no TLS answer at {ADDRESS}:1" in failed_with(outcome)


# --- the canary of a label --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["exited", "paused", "created"])
def test_where_the_first_of_a_label_is_stopped_the_next_one_is_the_canary(
    renewed: Scene, status: str
) -> None:
    """It comes down with the new certificate, gets the one before again, and the last one is not touched."""
    scene = renewed
    refused = scene.published
    scene.keys["deploy"] = [{"label": LABEL}]
    with TlsServer() as web3:
        previous = scene.certs_dir / ".certbotless" / DOMAIN / refused.previous
        web3.load(previous / "fullchain.pem", previous / "privkey.pem")
        put_labelled(
            scene,
            Container(ID, "web1", status, (1,), LONG_AGO),
            Container(MIRROR_ID, "web2", "running", (scene.tls.port,), LONG_AGO),
            Container("ab" * 32, "web3", "running", (web3.port,), LONG_AGO),
        )
        scene.engine.on_restart = come_up_but_with(scene, refused.generation, "web2")
        outcome = scene.run()
    assert outcome.state == "failing"
    assert "is in use again" in failed_with(outcome)
    assert scene.published.generation == refused.previous
    assert {id_ for id_, _ in scene.engine.restarts} == {MIRROR_ID}


def test_a_refused_pair_is_tried_again_at_the_canary_though_the_first_of_the_label_is_stopped(
    renewed: Scene,
) -> None:
    scene = renewed
    refused = scene.published
    scene.keys["deploy"] = [{"label": LABEL}]
    put_labelled(
        scene,
        Container(ID, "web1", "exited", (1,), LONG_AGO),
        Container(MIRROR_ID, "web2", "running", (scene.tls.port,), LONG_AGO),
    )
    scene.engine.on_restart = come_up_but_with(scene, refused.generation, "web2")
    scene.run()
    scene.engine.on_restart = lambda _: scene.start()
    scene.wait_for_retry("redeploy")
    scene.clock.advance(SECOND.total_seconds())
    assert scene.run().state == "pending"  # for the one that is stopped
    assert scene.published.generation == refused.generation
    assert scene.state.trial is None


def come_up_but_with(scene: Scene, generation: str, name: str) -> Callable[[Container], None]:
    """Let the container come up with every pair but this one, with which it ends."""

    def started(container: Container) -> None:
        if scene.published.generation == generation:
            scene.tls.unload()
            scene.engine.put(Container(container.id, name, "exited", container.ports, container.started_at))
        else:
            scene.start()

    return started
