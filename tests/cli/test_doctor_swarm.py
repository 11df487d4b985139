"""What the doctor makes of a service of a Swarm: what must be, and what makes an update unsafe."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.configs import parse, text_of
from support.fakes import FakeClock
from support.swarm_engine import SwarmEngine, swarm_of
from support.views import view

from certbotless.cli.doctor.finding import Case, Finding
from certbotless.cli.doctor.swarm import Swarm
from certbotless.world.swarm import DockerServices

SECOND_NS = 1_000_000_000
# What the page for a Swarm has.
SAFE = {
    "Parallelism": 1,
    "Order": "stop-first",
    "FailureAction": "rollback",
    "Delay": 10 * SECOND_NS,
    "Monitor": 5 * SECOND_NS,
}


@pytest.fixture
def swarm(tmp_path: Path) -> Iterator[SwarmEngine]:
    """A service on three nodes with all that makes an update safe."""
    with swarm_of(3, tmp_path / "swarm", FakeClock()) as swarm:
        made = trustme.CA().issue_cert("devbox.sweetlove.top")
        swarm.create(made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes())
        spec = swarm.service["Spec"]
        spec["UpdateConfig"] = dict(SAFE)
        spec["TaskTemplate"]["Networks"] = [{"Target": "host"}]
        spec["TaskTemplate"]["ContainerSpec"]["Env"] = ["REGISTRY_HTTP_SECRET=a"]
        yield swarm


def examined(swarm: SwarmEngine) -> list[Finding]:
    """All that is found of the service; none of its nodes serves the published certificate."""
    target = f"service: registry, port: {swarm.port}"
    config = parse(text_of().replace("deploy: []", f"deploy: [{{{target}}}]"))
    case = Case(config, FakeClock(), lambda _: None)
    (site,) = config.sites
    Swarm(case, DockerServices(swarm)).examine(view(of=site), site.deploy[0])
    return case.findings


def test_a_safe_service_has_three_nodes_to_be_asked(swarm: SwarmEngine) -> None:
    found = [(each.check, each.level) for each in examined(swarm)]
    assert found == [("swarm", "ok"), ("service", "ok"), *[("served", "fail")] * 3]
    assert [each.about.rpartition(" ")[2] for each in examined(swarm)[2:]] == [
        f"registry@node{n}" for n in (1, 2, 3)
    ]


def container(swarm: SwarmEngine) -> Any:
    return swarm.service["Spec"]["TaskTemplate"]["ContainerSpec"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.service["Spec"].update(Mode={"Replicated": {"Replicas": 3}}), "number of replicas"),
        (lambda s: s.service["Spec"]["TaskTemplate"].update(Networks=[]), "the host network"),
        (lambda s: s.service["Spec"]["UpdateConfig"].update(Order="start-first"), "start-first"),
        (lambda s: s.service["Spec"]["UpdateConfig"].update(Parallelism=0), "parallelism is 0"),
        (lambda s: s.service["Spec"]["UpdateConfig"].update(Parallelism=3), "parallelism is 3"),
        (
            lambda s: s.service["Spec"].update(EndpointSpec={"Ports": [{"PublishedPort": s.port}]}),
            "is in ingress mode",
        ),
        (lambda s: s.service["Spec"]["UpdateConfig"].pop("FailureAction"), "failure action is pause"),
        (lambda s: s.service["Spec"]["UpdateConfig"].pop("Delay"), "update delay (0 s) is not above"),
        (
            lambda s: container(s).update(Mounts=[{"Type": "volume", "Target": "/var/lib/registry"}]),
            "a volume of its own at /var/lib/registry",
        ),
        (lambda s: container(s).update(Env=[]), "no REGISTRY_HTTP_SECRET"),
        (lambda s: container(s).update(Image="devbox.sweetlove.top:5000/registry:2"), "in this registry"),
    ],
)
def test_each_setting_that_makes_an_update_unsafe_is_a_warning(
    swarm: SwarmEngine, change: Callable[[SwarmEngine], object], words: str
) -> None:
    change(swarm)
    (warning,) = [each for each in examined(swarm) if each.check == "service"]
    assert warning.level == "warn"
    assert words in warning.text
    assert warning.cure


def test_shared_storage_is_no_warning(swarm: SwarmEngine) -> None:
    nfs = {"DriverConfig": {"Name": "local", "Options": {"type": "nfs", "device": ":/registry"}}}
    container(swarm)["Mounts"] = [
        {"Type": "volume", "Target": "/var/lib/registry", "VolumeOptions": nfs},
        {"Type": "bind", "Target": "/data", "Source": "/mnt/nfs"},
    ]
    assert [each.level for each in examined(swarm) if each.check == "service"] == ["ok"]


def test_secrets_with_other_file_names_are_a_failure(swarm: SwarmEngine) -> None:
    container(swarm)["Secrets"].pop()
    (missing,) = [each for each in examined(swarm) if each.level == "fail"]
    assert "'tls.key'" in missing.text
    assert "--secret-add source=SECRET,target=tls.key registry" in missing.cure


def test_a_machine_that_is_no_manager_is_the_only_failure(swarm: SwarmEngine) -> None:
    swarm.is_manager = False
    (found,) = examined(swarm)
    assert (found.check, found.level) == ("swarm", "fail")


def test_a_node_that_is_down_is_a_warning(swarm: SwarmEngine) -> None:
    swarm.power_off(2)
    down = examined(swarm)[3]
    assert (down.level, down.text) == ("warn", "the node is down")


@pytest.mark.parametrize(
    ("hurt", "words"),
    [
        (lambda s: s.service.clear(), "there is no service 'registry'"),
        (lambda s: setattr(s, "says", "The swarm does not have a leader."), "no leader"),
    ],
)
def test_a_service_that_cannot_be_asked_for_is_a_failure(
    swarm: SwarmEngine, hurt: Callable[[SwarmEngine], object], words: str
) -> None:
    hurt(swarm)
    found = examined(swarm)[-1]
    assert found.level == "fail"
    assert words in found.text
