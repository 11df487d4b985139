"""The Docker engine as an edge: what it tells, and every way in which it fails, over a real socket.

A real engine is driven in the system tests; here a small HTTP server gives the answers that one seldom gives.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from children import DONE, run_in_child
from fakes import FakeContainers, HttpServer, Reply, Request

from certbotless.deploy import Container, Containers, DockerContainers, check_may_act, published_port
from certbotless.errors import DeployError, DeployWaits

ID = "0123456789abcdef" * 4
STARTED = datetime(2026, 11, 24, 5, 30, 0, 123456, tzinfo=UTC)
REGISTRY = Container(ID, "registry", "running", (5443,), STARTED)
VERSION = {"ApiVersion": "1.41", "MinAPIVersion": "1.24", "Version": "26.1"}
PORTS = {
    "5000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "5443"}, {"HostIp": "::", "HostPort": "5443"}],  # noqa: S104
    "5001/tcp": None,
    "53/udp": [{"HostIp": "127.0.0.1", "HostPort": "53"}],
}


def inspected(name: str = "registry", status: str = "running", ports: Any = PORTS) -> dict[str, Any]:
    """What the engine says of a container."""
    return {
        "Id": ID,
        "Name": f"/{name}",
        "State": {"Status": status, "StartedAt": "2026-11-24T05:30:00.123456789Z"},
        "NetworkSettings": {"Ports": ports},
    }


class Engine:
    """An engine with one container, on a unix socket.

    `instead` replaces its answer to anything but /version.
    """

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.container = inspected()
        self.instead: Reply | None = None
        self.server = HttpServer(self._respond, unix_socket=path)

    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request but the one for the version, without the version in the path."""
        requests = [(r.method, r.path.removeprefix("/v1.41")) for r in self.server.requests]
        return [(method, path) for method, path in requests if path != "/version"]

    def _respond(self, request: Request) -> Reply:
        if request.path == "/version":
            return _json(VERSION)
        if self.instead is not None:
            return self.instead
        return Reply(204, b"") if request.method == "POST" else _json(self.container)


def _json(body: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "docker.sock")
    with engine.server:
        yield engine


# --- what the engine tells --------------------------------------------------------------------------------


def test_a_container_that_never_ran_was_started_long_ago(engine: Engine) -> None:
    engine.container["State"] = {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}
    container = DockerContainers(engine.host).find("registry")
    assert (container.status, container.started_at.year) == ("created", 1)


def test_a_container_is_told_by_id_name_status_ports_and_start(engine: Engine) -> None:
    container = DockerContainers(engine.host).find("registry")
    assert container == REGISTRY


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        (None, ()),
        ({}, ()),
        ({"5000/tcp": None}, ()),
        ({"5000/tcp": []}, ()),
        (
            {"443/tcp": [{"HostIp": "", "HostPort": "8443"}], "80/tcp": [{"HostIp": "", "HostPort": "8080"}]},
            (8080, 8443),
        ),
    ],
)
def test_ports_are_those_that_the_host_publishes(
    engine: Engine, ports: Any, expected: tuple[int, ...]
) -> None:
    engine.container = inspected(ports=ports)
    assert DockerContainers(engine.host).find("registry").ports == expected


def test_a_restart_names_the_container_and_how_long_it_may_take_to_stop(engine: Engine) -> None:
    DockerContainers(engine.host).restart(ID, 7)
    assert ("POST", f"/containers/{ID}/restart?t=7") in engine.asked()


def test_a_container_is_resolved_anew_each_time(engine: Engine) -> None:
    containers = DockerContainers(engine.host)
    containers.find("registry")
    engine.container = inspected(status="exited")
    assert containers.find("registry").status == "exited"


def test_the_start_of_an_id_is_no_name(engine: Engine) -> None:
    with pytest.raises(DeployError, match="there is no container '0123456789ab'"):
        DockerContainers(engine.host).find("0123456789ab")


# --- how it fails -----------------------------------------------------------------------------------------


def find(engine: Engine) -> DeployError:
    """Return what looking for the container raises."""
    with pytest.raises(DeployError) as failed:
        DockerContainers(engine.host).find("registry")
    assert not isinstance(failed.value, DeployWaits)
    assert failed.value.retryable
    return failed.value


def restart(engine: Engine) -> DeployError:
    with pytest.raises(DeployError) as failed:
        DockerContainers(engine.host).restart(ID, 10)
    return failed.value


def test_an_absent_container_is_told_by_name(engine: Engine) -> None:
    engine.instead = _json({"message": "No such container: registry"}, 404)
    assert find(engine).message == "there is no container 'registry'"
    assert "sites[].deploy[].container" in find(engine).hint
    assert restart(engine).message == "there is no container '0123456789ab'"


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_a_refusal_of_the_engine_is_told_in_its_words(engine: Engine, status: int) -> None:
    engine.instead = _json({"message": "cannot\nrestart \x1b[31mnow"}, status)
    text = r"the Docker engine refused for 'registry': cannot\nrestart \x1b[31mnow"
    assert find(engine).message == text
    assert r"refused for '0123456789ab'" in restart(engine).message


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, b"<html>not JSON</html>"),
        Reply(200, b"<html>not JSON</html>", {"Content-Type": "text/html"}),
        _json({"Id": ID, "Name": "/registry"}),
        _json(inspected(ports={"5000/tcp": [{"HostPort": "many"}]})),
        _json(inspected() | {"State": {"Status": "running", "StartedAt": "yesterday"}}),
    ],
    ids=["500, no JSON", "200, no JSON", "no state", "no port", "no moment"],
)
def test_what_is_no_answer_of_an_engine_is_told(engine: Engine, reply: Reply) -> None:
    engine.instead = reply
    assert find(engine).message.startswith(
        (
            f"no Docker engine at {engine.host!r}",
            f"what answers at {engine.host!r} is no",
            "the Docker engine refused",
        )
    )


def test_a_missing_socket_is_told_with_its_path_and_the_systems_words(tmp_path: Path) -> None:
    host = f"unix://{tmp_path}/none.sock"
    with pytest.raises(DeployError) as failed:
        DockerContainers(host).find("registry")
    assert failed.value.message == f"no Docker engine at {host!r}: No such file or directory"
    assert "group docker" in failed.value.hint


def test_a_socket_that_nobody_listens_on_is_told(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
    with pytest.raises(DeployError, match="Connection refused"):
        DockerContainers(f"unix://{path}").find("registry")


def test_a_socket_that_is_not_ours_to_use_is_told(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "docker.sock").chmod(0o600)
    # While this user may still read the library.
    DockerContainers(engine.host).find("registry")

    def find_as_nobody() -> None:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(DeployError, match="Permission denied") as failed:
            DockerContainers(engine.host).find("registry")
        assert "group docker" in failed.value.hint

    assert run_in_child(find_as_nobody) == DONE


def test_an_engine_that_hangs_up_is_told(tmp_path: Path) -> None:
    path = tmp_path / "docker.sock"
    with (
        HttpServer(lambda _: None, unix_socket=path),
        pytest.raises(DeployError, match="no Docker engine at"),
    ):
        DockerContainers(f"unix://{path}").find("registry")


def test_an_engine_that_comes_back_is_used_again(tmp_path: Path) -> None:
    containers = DockerContainers(f"unix://{tmp_path}/docker.sock")
    with pytest.raises(DeployError):
        containers.find("registry")
    engine = Engine(tmp_path / "docker.sock")
    with engine.server:
        assert containers.find("registry").name == "registry"


# --- the admin wins ---------------------------------------------------------------------------------------


def container(status: str, *ports: int) -> Container:
    return Container(ID, "registry", status, ports, STARTED)


@pytest.mark.parametrize("status", ["running", "restarting"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_container_that_is_up_may_be_acted_on(status: str, ours: bool) -> None:
    check_may_act(container(status), ours)


@pytest.mark.parametrize("status", ["created", "paused", "exited", "dead", "removing"])
def test_a_container_that_its_admin_stopped_is_never_started(status: str) -> None:
    with pytest.raises(DeployWaits, match=f"'registry' is {status}") as waits:
        check_may_act(container(status), is_our_unfinished_restart=False)
    assert f"docker {'unpause' if status == 'paused' else 'start'} registry" in waits.value.hint


def test_a_container_that_our_own_restart_left_stopped_is_started_again() -> None:
    check_may_act(container("exited"), is_our_unfinished_restart=True)


# --- the port ---------------------------------------------------------------------------------------------


def test_the_single_published_port_is_the_one() -> None:
    assert published_port(container("running", 5443)) == 5443


@pytest.mark.parametrize(("ports", "listed"), [((), "none"), ((443, 5000), "443, 5000")])
def test_none_or_several_ports_wait_for_a_person(ports: tuple[int, ...], listed: str) -> None:
    with pytest.raises(DeployWaits, match=f"{len(ports)} TCP ports .{listed}.") as waits:
        published_port(container("running", *ports))
    assert "set port" in waits.value.hint


# --- the contract, on both --------------------------------------------------------------------------------


@pytest.fixture(params=["in memory", "over a socket"])
def containers(request: pytest.FixtureRequest, engine: Engine) -> Containers:
    if request.param == "in memory":
        return FakeContainers(REGISTRY)
    return DockerContainers(engine.host)


def test_a_container_is_found_by_its_exact_name_alone(containers: Containers) -> None:
    assert containers.find("registry") == REGISTRY
    for other in ("registr", "registry2", ID[:12]):
        with pytest.raises(DeployError, match=f"there is no container '{other}'"):
            containers.find(other)


def test_a_restart_returns_when_the_container_was_started(containers: Containers) -> None:
    containers.restart(containers.find("registry").id, 10)
    assert containers.find("registry").is_up
