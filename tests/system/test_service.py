"""A service of a Swarm on three real engines is updated, followed, proved; the DNS account is in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from support.fakes import FakeClock, FakeZone, TlsServer, ZoneServer
from support.scenes import ADDRESS, DOMAIN, SECOND, ZONE, Scene
from support.swarm_bed import every

from certbotless.base.clock import SystemClock
from certbotless.sandbox.registry import self_signed
from certbotless.sandbox.swarm import PORT, Swarm
from certbotless.world.engine import Engine
from certbotless.world.swarm import DockerServices

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with Swarm(tmp_path_factory.mktemp("swarm")) as swarm:
        yield swarm


@pytest.fixture
def scene(tmp_path: Path, swarm: Swarm) -> Iterator[Scene]:
    """The site of a registry on three nodes, whose first certificate is published and not yet served."""
    zone = FakeZone(ZONE)
    with ZoneServer(zone) as server, TlsServer() as tls:
        scene = Scene(tmp_path, zone, server, tls, cast(FakeClock, SystemClock()))
        scene.services = DockerServices(Engine(swarm.nodes[0].docker_host))
        scene.keys = {"deploy": [{"service": "registry", "port": PORT}]}
        scene.publish()
        scene.point()
        try:
            swarm.serve(*self_signed(DOMAIN))
            yield scene
        finally:
            swarm.clear()


def sha256_of(scene: Scene) -> str:
    facts = scene.published.facts
    assert facts is not None
    return facts.sha256


def test_secrets_by_hand_are_replaced_and_the_last_two_of_ours_kept(scene: Scene, swarm: Swarm) -> None:
    assert ADDRESS == "127.0.0.1"  # where the site's record leads is no matter for the nodes
    client: Any = swarm.nodes[0].client()
    before = client.api.inspect_service("registry")["Spec"]
    for count in (2, 4, 4):
        outcome = scene.run()
        assert outcome.state == "ok", outcome
        assert every(swarm.nodes, DOMAIN, sha256_of(scene))()
        ours = client.secrets.list(filters={"label": f"certbotless.domain={DOMAIN}"})
        assert len(ours) == count
        scene.publish(age=SECOND)
    places = {name: node.address for name, node in scene.state.nodes["registry"].items()}
    assert places == {node.name: node.address for node in swarm.nodes}
    after = client.api.inspect_service("registry")["Spec"]
    for spec in (before, after):
        del spec["TaskTemplate"]["ContainerSpec"]["Secrets"]
    assert after == before


def test_another_key_is_taken_back_by_the_swarm_and_refused(scene: Scene, swarm: Swarm) -> None:
    """The secrets of the certificate are there already, with a key that is not its own."""
    assert scene.run().state == "ok"
    old = sha256_of(scene)
    scene.publish(age=SECOND)
    new, services = sha256_of(scene), scene.services
    assert services is not None
    chain = (scene.certs_dir / f"{DOMAIN}.pem").read_bytes()
    for file, content in {"cert": chain, "key": self_signed(DOMAIN)[1]}.items():
        labels = {"certbotless.domain": DOMAIN, "certbotless.sha256": new, "certbotless.file": file}
        services.make_secret(f"bad.{file}", content, labels)
    outcome = scene.run()
    assert outcome.state == "failing", outcome
    assert every(swarm.nodes, DOMAIN, old)()
    assert sha256_of(scene) == old
    assert not scene.asked_the_ca
    scene.file.change(failures={})
    assert scene.run().state == "ok"  # with secrets that were made of the files
    assert every(swarm.nodes, DOMAIN, new)()
