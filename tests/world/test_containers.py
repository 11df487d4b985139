"""The Docker engine as an edge: what it tells, and every way in which it fails, over a real socket.

A real engine is driven in the system tests; here a small HTTP server gives the answers that one seldom gives.
"""

import base64
import gc
import io
import json
import os
import pwd
import random
import re
import signal
import socket
import tarfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from support.children import DONE, run_in_child
from support.fakes import FakeContainers, HttpServer, Reply, Request
from support.scripted_ca import json_reply

from certbotless.base.errors import DeployError, DeployWaits, NotActedUpon
from certbotless.config.values import Reload
from certbotless.world import containers as containers_module
from certbotless.world.containers import Container, Containers, DockerContainers, run_command
from certbotless.world.identity import RootHere, reads_all

ID = "0123456789abcdef" * 4
STARTED = datetime(2026, 11, 24, 5, 30, 0, 123456, tzinfo=UTC)
REGISTRY = Container(ID, "registry", "running", (5443,), STARTED)
RESTART, HANGUP = Reload("restart"), Reload("signal", "HUP")
PROGRAM = Reload("exec", argv=("nginx", "-s", "reload"))
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

    `labelled` are the containers by name that a list gives; `executed` is what it says of programs that are
    run; `info` is what it says of itself, None where a proxy refuses it; `instead` replaces
    its answer to anything but /version.
    """

    def __init__(self, path: Path) -> None:
        self.host = f"unix://{path}"
        self.container = inspected()
        self.instead: Reply | None = None
        self.labelled: dict[str, dict[str, Any]] = {}
        self.info: dict[str, Any] | None = {"SecurityOptions": ["name=seccomp,profile=builtin"]}
        self.archive = b""
        self.executed: dict[str, Any] = {"ExitCode": 0, "Running": False}
        self.server = HttpServer(self._respond, unix_socket=path)

    @property
    def listed(self) -> list[list[str]]:
        """The names of each container that a list gives."""
        return [[f"/{name}"] for name in self.labelled]

    def asked(self) -> list[tuple[str, str]]:
        """Method and path of each request but the one for the version, without the version in the path."""
        requests = [(r.method, r.path.removeprefix("/v1.41")) for r in self.server.requests]
        return [(method, path) for method, path in requests if path != "/version"]

    def _respond(self, request: Request) -> Reply:
        if request.path == "/version":
            return json_reply(VERSION)
        if self.instead is not None:
            return self.instead
        path = urlsplit(request.path.removeprefix("/v1.41")).path
        if path == "/info":
            return json_reply(self.info) if self.info is not None else json_reply({"message": "denied"}, 403)
        if path == "/containers/json":
            # A list holds less of each than what is asked for one by one.
            return json_reply([{"Id": ID, "Names": names} for names in self.listed])
        if path.startswith("/containers/") and path.endswith("/json"):
            name = path.split("/")[2]
            if self.listed and name not in self.labelled:
                return json_reply({"message": f"No such container: {name}"}, 404)
            return json_reply(self.labelled.get(name, self.container))
        if path.endswith("/archive"):
            return Reply(200, self.archive, {"Content-Type": "application/x-tar"})
        if path.endswith("/exec"):
            return json_reply({"Id": "exec1"}, 201)
        if path == "/exec/exec1/start":
            return Reply(200, b"")
        if path == "/exec/exec1/json":
            return json_reply(self.executed)
        return Reply(204, b"")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(tmp_path / "docker.sock")
    with engine.server:
        yield engine


# --- what the engine tells ------------------------------------------------------------------------------


def test_a_container_that_never_ran_was_started_long_ago(engine: Engine) -> None:
    engine.container["State"] = {"Status": "created", "StartedAt": "0001-01-01T00:00:00Z"}
    container = DockerContainers(engine.host).find("registry")
    assert (container.status, container.started_at.year) == ("created", 1)


@pytest.mark.parametrize(
    ("user", "dropped", "reads_all"),
    [
        (None, None, True),
        ("", [], True),
        ("0", None, True),
        ("root:4711", ["NET_RAW"], True),
        ("1000", None, False),
        ("nobody", None, False),
        ("1000:0", None, False),
        ("", ["ALL"], False),
        ("0:0", ["CAP_DAC_OVERRIDE"], False),
        ("root", ["net_raw", "all"], False),
    ],
)
def test_who_reads_every_file_is_root_with_the_right_to(
    engine: Engine, user: str | None, dropped: list[str] | None, reads_all: bool
) -> None:
    engine.container |= {"Config": {"User": user}, "HostConfig": {"CapDrop": dropped}}
    assert DockerContainers(engine.host).find("registry").reads_all is reads_all


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


@pytest.mark.row(86)
@pytest.mark.parametrize(
    ("addresses", "bound"),
    [
        (["127.0.0.1"], ("127.0.0.1",)),
        (["10.0.0.5"], ("10.0.0.5",)),
        (["::1"], ("::1",)),
        (["[::1]"], ("::1",)),
        (["::1", "127.0.0.1", "127.0.0.1"], ("127.0.0.1", "::1")),
        (["0.0.0.0"], None),  # noqa: S104
        (["::"], None),
        ([""], None),
        ([None], None),
        (["127.0.0.1", "0.0.0.0"], None),  # noqa: S104
        (["0.0.0.0", "::"], None),  # noqa: S104
    ],
)
def test_the_addresses_at_which_a_port_is_published_are_known_unless_it_is_all_of_them(
    engine: Engine, addresses: list[str | None], bound: tuple[str, ...] | None
) -> None:
    """As the engine tells them, or the ports that it is made with; several of one port count once."""
    bindings = {"5000/tcp": [{"HostIp": address, "HostPort": "5443"} for address in addresses]}
    for told in (
        inspected(ports=bindings),
        inspected(ports={}) | {"HostConfig": {"PortBindings": bindings}},
    ):
        engine.container = told
        found = DockerContainers(engine.host).find("registry")
        assert found.ports == (5443,)
        assert found.bound == ({} if bound is None else {5443: bound})


def test_a_restart_says_how_long_it_may_take_to_stop_and_a_signal_its_name(engine: Engine) -> None:
    containers = DockerContainers(engine.host)
    containers.act("registry", RESTART, 7)
    containers.act("registry", HANGUP, 7)
    assert engine.asked() == [
        ("POST", "/containers/registry/restart?t=7"),
        ("POST", "/containers/registry/kill?signal=HUP"),
    ]


def test_a_program_that_ends_well_is_no_failure(engine: Engine) -> None:
    DockerContainers(engine.host).act("registry", PROGRAM, 7)
    [sent] = [r.body for r in engine.server.requests if r.path.endswith("/containers/registry/exec")]
    assert json.loads(sent)["Cmd"] == ["nginx", "-s", "reload"]


@pytest.mark.parametrize(
    ("code", "is_running", "told"),
    [
        (126, False, "ended with 126"),
        (None, True, "did not end in 60 s"),
        (0, True, "did not end in 60 s"),  # Podman's answer of one that runs, as seen with 5.4.2
    ],
)
def test_a_program_that_fails_or_goes_on_when_its_output_ends_is_told(
    engine: Engine, code: int | None, is_running: bool, told: str
) -> None:
    engine.executed = {"ExitCode": code, "Running": is_running}
    with pytest.raises(DeployError, match=f"'nginx' in the container {told}") as failed:
        DockerContainers(engine.host).act("registry", PROGRAM, 7)
    assert "docker exec" in failed.value.hint


def test_containers_of_a_label_are_listed_by_name_also_stopped_ones(engine: Engine) -> None:
    engine.labelled = {"web2": inspected("web2", "exited"), "web1": inspected("web1")}
    found = DockerContainers(engine.host).matching("certbotless.reload=devbox")
    assert [(container.name, container.status) for container in found] == [
        ("web1", "running"),
        ("web2", "exited"),
    ]
    [path] = [path for _, path in engine.asked() if path.startswith("/containers/json")]
    query = parse_qs(urlsplit(path).query)
    assert query["all"] == ["1"]
    assert json.loads(query["filters"][0]) == {"label": ["certbotless.reload=devbox"]}


def test_what_runs_is_listed_by_name_and_nothing_else_is(engine: Engine) -> None:
    engine.labelled = {"web2": inspected("web2"), "web1": inspected("web1")}
    assert [container.name for container in DockerContainers(engine.host).running()] == ["web1", "web2"]
    [path] = [path for _, path in engine.asked() if path.startswith("/containers/json")]
    assert parse_qs(urlsplit(path).query)["all"] == ["0"]


def test_a_label_that_no_container_has_is_no_error_yet(engine: Engine) -> None:
    assert DockerContainers(engine.host).matching("certbotless.reload=devbox") == []


def test_one_that_is_gone_since_the_list_was_made_is_left_out_and_a_link_is_no_name(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.labelled = {"web1": inspected("web1")}
    names = [["/web2/db", "/web1"], ["/gone"], []]
    monkeypatch.setattr(Engine, "listed", names)
    assert [found.name for found in DockerContainers(engine.host).matching("x")] == ["web1"]


def test_a_container_is_spoken_to_by_its_name_alone(engine: Engine) -> None:
    """So that a proxy before the engine may hold us to it: an id is known to every user of the machine."""
    engine.labelled = {"registry": inspected()}
    containers = DockerContainers(engine.host)
    (found,) = containers.matching("x")
    containers.settings(found.name)
    for action in (RESTART, HANGUP, PROGRAM):
        containers.act(found.name, action, 7)
    assert [path for _, path in engine.asked() if ID[:12] in path] == []


def test_a_container_is_resolved_anew_each_time(engine: Engine) -> None:
    containers = DockerContainers(engine.host)
    containers.find("registry")
    engine.container = inspected(status="exited")
    assert containers.find("registry").status == "exited"


def test_the_start_of_an_id_is_no_name(engine: Engine) -> None:
    with pytest.raises(DeployError, match="there is no container '0123456789ab'"):
        DockerContainers(engine.host).find("0123456789ab")


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_sees_no_request_to_an_engine(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    """Not the first one either, which the library makes before anybody can tell it so."""
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with HttpServer(lambda _: Reply(502)) as proxy, HttpServer(lambda _: json_reply(VERSION)) as engine:
        monkeypatch.setenv(variable, proxy.url)
        DockerContainers(engine.url.replace("http://", "tcp://")).ping()
    assert [request.path for request in proxy.requests] == []
    assert [request.path for request in engine.requests] == ["/version", "/v1.41/_ping"]


# --- as whom it runs ------------------------------------------------------------------------------------

ROOTLESS = {"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"]}
REMAPPED = {
    "SecurityOptions": ["name=seccomp,profile=builtin", "name=userns"],
    "DockerRootDir": "/var/lib/docker/100000.200000",
}
NOBODY = 65534


@pytest.mark.process
@pytest.mark.row(85)
def test_the_root_of_a_rootless_engine_is_the_user_whose_socket_it_has(engine: Engine) -> None:
    engine.info = ROOTLESS
    os.chown(engine.host.removeprefix("unix://"), NOBODY, NOBODY)
    containers = DockerContainers(engine.host)
    found, settings = containers.find("registry"), containers.settings("registry")
    assert (found.reads_all, found.namespace) == (False, "rootless")
    assert (settings.uid, settings.gids) == (NOBODY, frozenset({pwd.getpwuid(NOBODY).pw_gid}))
    assert settings.namespace == "rootless"
    # The ids of others come from /etc/subuid.
    engine.container |= {"Config": {"User": "1000:1000"}}
    assert (containers.settings("registry").uid, containers.settings("registry").gids) == (None, frozenset())


@pytest.mark.row(85)
def test_the_root_of_a_rootless_engine_of_our_own_reads_what_is_ours() -> None:
    assert reads_all(RootHere("rootless", os.geteuid(), None))
    assert not reads_all(RootHere("rootless", os.geteuid() + 1, None))
    assert not reads_all(RootHere("rootless", None, None))


@pytest.mark.row(85)
def test_the_root_of_an_engine_that_remaps_users_is_what_its_folder_is_called_by(engine: Engine) -> None:
    engine.info = REMAPPED
    containers = DockerContainers(engine.host)
    found, settings = containers.find("registry"), containers.settings("registry")
    assert (found.reads_all, found.namespace) == (False, "userns")
    assert (settings.uid, settings.gids) == (100000, frozenset({200000}))
    engine.container |= {"Config": {"User": "1000:1001"}}
    settings = containers.settings("registry")
    assert (settings.uid, settings.gids) == (101000, frozenset({201001}))
    # A container may have the ids of the machine all the same.
    engine.container |= {"Config": {"User": ""}, "HostConfig": {"UsernsMode": "host"}}
    assert containers.find("registry").reads_all
    assert containers.settings("registry").gids == frozenset({0})


UNKNOWN: dict[str, tuple[dict[str, Any] | None, dict[str, str], bool, int | None]] = {
    "a proxy gives no /info": (None, {}, True, 0),
    "an engine of long ago": ({"SecurityOptions": None}, {}, True, 0),
    "rootless behind a socket of root's": (ROOTLESS, {}, False, None),
    "remapped, with a folder of another name": (REMAPPED | {"DockerRootDir": "/d"}, {}, False, None),
    "podman, with users of its own for this one": ({}, {"UsernsMode": "auto"}, False, None),
}


@pytest.mark.process
@pytest.mark.parametrize(("info", "host", "reads_all", "uid"), UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_an_engine_does_not_tell_is_not_made_up(
    engine: Engine, info: dict[str, Any] | None, host: dict[str, str], reads_all: bool, uid: int | None
) -> None:
    engine.info = info
    engine.container |= {"HostConfig": host}
    containers = DockerContainers(engine.host)
    assert containers.find("registry").reads_all is reads_all
    assert containers.settings("registry").uid == uid


PASSWD = b"root:x:0:0::/:/bin/sh\nregistry:x:4712:4713::/:/bin/sh\n"


def archive_of(*members: tuple[str, bytes, bytes]) -> bytes:
    """An archive of these members: name, kind and content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, content in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.size, entry.linkname = kind, len(content), "elsewhere"
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


PADDED = PASSWD + b"#" * ((1 << 20) - len(PASSWD))
ARCHIVES = {
    "a file": (archive_of(("passwd", tarfile.REGTYPE, PASSWD)), 4712),
    "as large as it may be": (archive_of(("passwd", tarfile.REGTYPE, PADDED)), 4712),
    "larger": (archive_of(("passwd", tarfile.REGTYPE, PADDED + b"#")), None),
    "a folder": (archive_of(("passwd", tarfile.DIRTYPE, b""), ("passwd/a", tarfile.REGTYPE, PASSWD)), None),
    "a link": (archive_of(("passwd", tarfile.SYMTYPE, b""), ("elsewhere", tarfile.REGTYPE, PASSWD)), None),
    "a pipe": (archive_of(("passwd", tarfile.FIFOTYPE, b"")), None),
    "cut off": (archive_of(("passwd", tarfile.REGTYPE, PADDED))[: -(1 << 19)], None),
    "no id": (archive_of(("passwd", tarfile.REGTYPE, PASSWD.replace(b"4712", b"9" * 5000))), None),
    "nothing": (b"", None),
    "no archive": (b"root" * 1000, None),
}


@pytest.mark.parametrize(("archive", "uid"), ARCHIVES.values(), ids=ARCHIVES.keys())
def test_the_users_of_an_image_are_read_of_one_plain_file(
    engine: Engine, archive: bytes, uid: int | None
) -> None:
    engine.container |= {"Config": {"User": "registry"}}
    engine.archive = archive
    assert DockerContainers(engine.host).settings("registry").uid == uid


# --- how it fails ---------------------------------------------------------------------------------------


def failure(engine: Engine, *, of_a_restart: bool = False) -> DeployError:
    """Return what looking for the container, or its restart, raises."""
    containers = DockerContainers(engine.host)
    with pytest.raises(DeployError) as failed:
        containers.act("registry", RESTART, 10) if of_a_restart else containers.find("registry")
    assert not isinstance(failed.value, DeployWaits)
    assert failed.value.retryable
    return failed.value


def test_an_absent_container_is_told_by_name(engine: Engine) -> None:
    engine.instead = json_reply({"message": "No such container: registry"}, 404)
    assert failure(engine).message == "there is no container 'registry'"
    assert failure(engine).container == "registry"
    assert "sites[].deploy[].container" in failure(engine).hint
    assert failure(engine, of_a_restart=True).message == "there is no container 'registry'"


@pytest.mark.parametrize("status", [400, 409, 500, 503])
def test_a_refusal_of_the_engine_is_told_in_its_words(engine: Engine, status: int) -> None:
    engine.instead = json_reply({"message": "cannot\nrestart \x1b[31mnow"}, status)
    text = r"the Docker engine refused for 'registry': cannot\nrestart \x1b[31mnow"
    assert failure(engine).message == text
    assert r"refused for 'registry'" in failure(engine, of_a_restart=True).message


@pytest.mark.parametrize(
    "reply",
    [
        Reply(500, b"<html>not JSON</html>"),
        Reply(200, b"<html>not JSON</html>", {"Content-Type": "text/html"}),
        json_reply({"Id": ID, "Name": "/registry"}),
        json_reply(inspected(ports={"5000/tcp": [{"HostPort": "many"}]})),
        json_reply(inspected() | {"State": {"Status": "running", "StartedAt": "yesterday"}}),
    ],
    ids=["500, no JSON", "200, no JSON", "no state", "no port", "no moment"],
)
def test_what_is_no_answer_of_an_engine_is_told(engine: Engine, reply: Reply) -> None:
    engine.instead = reply
    assert failure(engine).message.startswith(
        (
            f"no Docker engine at {engine.host!r}",
            f"the server at {engine.host!r} is not",
            "the Docker engine refused",
        )
    )


@pytest.mark.parametrize(
    ("is_bound", "reason"), [(False, "No such file or directory"), (True, "Connection refused")]
)
def test_a_socket_where_nobody_listens_is_told_with_its_path_and_the_systems_words(
    tmp_path: Path, is_bound: bool, reason: str
) -> None:
    host = f"unix://{tmp_path}/docker.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        if is_bound:
            listener.bind(f"{tmp_path}/docker.sock")
        with pytest.raises(DeployError) as failed:
            DockerContainers(host).find("registry")
    assert failed.value.message == f"no Docker engine at {host!r}: {reason}"
    assert "group docker" in failed.value.hint


@pytest.mark.process
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


# --- a command of this machine --------------------------------------------------------------------------

ENVIRONMENT = {"PATH": os.defpath}


@pytest.mark.process
def test_a_command_that_ends_well_is_no_failure_and_goes_through_no_shell(tmp_path: Path) -> None:
    run_command(["touch", str(tmp_path / "a; touch b $(id)")], ENVIRONMENT)
    assert [path.name for path in tmp_path.iterdir()] == ["a; touch b $(id)"]


@pytest.mark.process
@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("printf 'no\nservice\n' >&2; exit 3", r"ended with 3: no\\nservice"),
        ("seq 1 10000; echo why >&2; exit 1", r"ended with 1: .*\\n10000\\nwhy"),
        ("exit 1", "ended with 1"),
    ],
    ids=["its words", "its last words", "no words"],
)
def test_a_command_that_ends_badly_is_told_with_its_last_words_on_one_line(script: str, told: str) -> None:
    with pytest.raises(DeployError) as failed:
        run_command(["sh", "-c", script], ENVIRONMENT)
    assert re.fullmatch(f"the command 'sh' {told}", failed.value.message)
    assert (failed.value.message.isprintable(), failed.value.retryable) == (True, True)
    assert len(failed.value.message) < 600
    assert failed.value.hint


@pytest.mark.process
@pytest.mark.parametrize("size", [138, 1218], ids=["EC", "RSA"])
def test_its_last_words_have_nothing_of_the_private_key_but_the_fingerprint_of_a_host(
    tmp_path: Path, size: int
) -> None:
    """As of a script with `set -x`; only the end of a long key is among them, without its first line."""
    lines = textwrap.wrap(base64.b64encode(random.Random(7).randbytes(size)).decode(), 64)  # noqa: S311
    key = "\n".join(["-----BEGIN PRIVATE KEY-----", *lines, "-----END PRIVATE KEY-----", ""])
    (tmp_path / "key").write_text(key)
    fingerprint = "SHA256:" + "aB3+" * 10 + "xY9"
    script = f'set -x; k=$(cat {tmp_path}/key); : "$k"; echo {fingerprint} >&2; exit 1'
    with pytest.raises(DeployError) as failed:
        run_command(["sh", "-c", script], ENVIRONMENT)
    assert not [line for line in lines if line[-20:] in failed.value.message]
    assert fingerprint in failed.value.message


@pytest.mark.process
def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! >{tmp_path}/pid; wait"
    with pytest.raises(DeployError, match="the command 'sh' did not end in 1 s"):
        run_command(["sh", "-c", script], ENVIRONMENT, timeout_s=1)
    process = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    deadline = time.monotonic() + 10
    # It is gone, or a zombie that nobody has taken leave of; it may go while we look.
    with suppress(FileNotFoundError, ProcessLookupError):
        while ") Z " not in process.read_text():
            assert time.monotonic() < deadline


def cannot(*_: int) -> None:
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.process
@pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")
@pytest.mark.parametrize("kill", [cannot, lambda *_: None], ids=["root's", "of a dead NFS server"])
def test_a_command_that_cannot_be_ended_keeps_nobody_waiting(
    kill: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers_module, "_KILLED_WITHIN_S", 0.1)
    with monkeypatch.context() as patched:
        patched.setattr(os, "killpg", kill)
        with pytest.raises(NotActedUpon, match=r"the command 'sh' did not end in 0\.5 s: it waits"):
            script = f"echo $$ >{tmp_path}/pid; echo it waits; exec sleep 60"
            run_command(["sh", "-c", script], ENVIRONMENT, timeout_s=0.5)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)  # it was there still
    gc.collect()  # the process that nobody has waited for


@pytest.mark.process
def test_a_service_that_a_command_starts_may_live_on() -> None:
    """Though it keeps the output open that it was given."""
    run_command(["sh", "-c", "sleep 3 &"], ENVIRONMENT, timeout_s=2)


@pytest.mark.process
@pytest.mark.parametrize(
    ("program", "reason"), [("/no/such/program", "No such file"), ("/etc", "Permission denied")]
)
def test_a_command_that_cannot_be_run_is_told(program: str, reason: str) -> None:
    with pytest.raises(DeployError, match=f"{program!r} cannot be run: {reason}") as failed:
        run_command([program], ENVIRONMENT)
    assert failed.value.hint


# --- the port -------------------------------------------------------------------------------------------


def test_a_container_between_two_tries_to_start_has_the_ports_that_it_is_made_with(engine: Engine) -> None:
    """The engine publishes none then; one that it chooses itself is not known before."""
    bindings = {
        "5000/tcp": [{"HostIp": "", "HostPort": "5443"}],
        "5001/tcp": [{"HostIp": "", "HostPort": ""}],
        "5002/tcp": [{"HostIp": "", "HostPort": "0"}],
        # `-p 5002-5010:5003` (github.com/docker/go-connections, nat.ParsePortSpec).
        "5003/tcp": [{"HostIp": "", "HostPort": "5002-5010"}],
    }
    engine.container = inspected(status="restarting", ports={}) | {"HostConfig": {"PortBindings": bindings}}
    assert DockerContainers(engine.host).find("registry").ports == (5443,)


# --- the contract, on both ------------------------------------------------------------------------------


@pytest.fixture(params=["in memory", "over a socket"])
def containers(request: pytest.FixtureRequest, engine: Engine) -> Containers:
    if request.param == "in memory":
        return FakeContainers(REGISTRY, labels={"registry": ["certbotless.reload=devbox"]})
    engine.labelled = {"registry": inspected()}
    return DockerContainers(engine.host)


def test_a_container_is_found_by_its_exact_name_alone_or_by_its_label(containers: Containers) -> None:
    assert containers.find("registry") == REGISTRY
    assert containers.matching("certbotless.reload=devbox") == [REGISTRY]
    for other in ("registr", "registry2", ID[:12]):
        with pytest.raises(DeployError, match=f"there is no container '{other}'") as absent:
            containers.find(other)
        assert absent.value.container == other


def test_a_restart_returns_when_the_container_was_started(containers: Containers) -> None:
    containers.act("registry", RESTART, 10)
    assert containers.find("registry").is_up


def test_a_running_container_takes_signals_and_programs(containers: Containers) -> None:
    containers.act("registry", HANGUP, 10)
    containers.act("registry", PROGRAM, 10)
