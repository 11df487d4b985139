"""certbotless as a container, started by hand, with a file.

Its image is that of the release; `make soak` also builds one on the engine, as the page says.
"""

import os
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.models.containers import Container
from support import images
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, Bed, assert_mode, wait_until
from support.commands import completed
from support.pages import Reading, block, yaml_after
from support.private_host import mounted
from support.release import PROJECT

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS

_PAGE = images.PAGE
_ETC = Path("/etc/certbotless")
_STATE = Path("/var/lib/certbotless")
_CERTS = Path("/certs")
_SOCKET = Path("/var/run/docker.sock")
_MOUNTS = [f"{_ETC}:{_ETC}:ro", f"{_STATE}:{_STATE}", f"{_CERTS}:{_CERTS}", f"{_SOCKET}:{_SOCKET}"]


@pytest.fixture(
    scope="module",
    autouse=True,
    params=[images.load, pytest.param(images.build, marks=pytest.mark.soak)],
    ids=["of make release", "built by docker"],
)
def image(engine: Engine, request: pytest.FixtureRequest) -> None:
    request.param(engine)


@pytest.fixture
def host(bed: Bed) -> Iterator[Bed]:
    """A machine made ready as the page says; its registry is gone, for one that sees its /certs."""
    bed.registry.remove()
    bed.registry.certs = _CERTS
    with ExitStack() as undone:
        for folder in (_ETC, _STATE, _CERTS):
            undone.callback(empty, folder)
        _SOCKET.touch()
        undone.callback(_SOCKET.unlink)
        undone.enter_context(mounted(_SOCKET, "--bind", bed.engine.socket))
        undone.callback(remove_containers, bed)
        for command in block(_PAGE, "make ready").commands:
            shell(bed, command, typed=KEY_ID if "access-key-id" in command else KEY_SECRET)
        ca_bundle = _ETC / "ca.pem"
        ca_bundle.write_bytes(bed.ca.ca_bundle.read_bytes())
        bed.config["acme"]["ca_bundle"] = str(ca_bundle)
        bed.config["aliyun"] |= yaml_after(_PAGE, "make ready", {})["aliyun"]
        for key in ("certs_dir", "state_dir", "docker"):
            del bed.config[key]
        (_ETC / "config.yaml").write_text(yaml.safe_dump(bed.config))
        yield bed


def remove_containers(bed: Bed) -> None:
    """Leave no container, nor what it has written."""
    for container in bed.engine.client().containers.list(all=True):
        container.remove(force=True, v=True)


def empty(folder: Path) -> None:
    """Make a folder of the private host as it was."""
    subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True)
    os.chown(folder, 0, 0)
    folder.chmod(0o755)


def shell(bed: Bed, command: str, *, typed: str = "", folder: Path = PROJECT) -> str:
    """Run a line of the page beside this engine, and return what it said; it must exit 0."""
    beside = os.environ | {"DOCKER_HOST": bed.engine.docker_host}
    done = completed(["sh", "-euc", command], cwd=folder, input=typed, env=beside)
    bed.said += [done.stdout, done.stderr]
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run(bed: Bed, *arguments: str, **options: Any) -> Container:
    """Start the image to do something else than the daemon's work."""
    settings: dict[str, Any] = {
        "network_mode": "host",
        "group_add": [str(bed.engine.socket.stat().st_gid)],
        "volumes": _MOUNTS,
    }
    return bed.engine.client().containers.run(
        "certbotless", list(arguments), detach=True, **{**settings, **options}
    )


def is_well(daemon: Container) -> bool:
    """Ask as the image's own HEALTHCHECK does."""
    _, *command = daemon.attrs["Config"]["Healthcheck"]["Test"]
    return bool(daemon.exec_run(command).exit_code == 0)


def assert_has_no_rights(bed: Bed) -> None:
    """Nor can it get any, or write where nothing is mounted: in the kernel's words."""
    script = (
        "import os; print(open('/proc/1/status').read().expandtabs(1));"
        "print(f'ReadOnly: {os.statvfs(\"/\").f_flag & os.ST_RDONLY}')"
    )
    said = shell(
        bed, shlex.join(["docker", "exec", "certbotless", "/opt/certbotless/bin/python", "-c", script])
    )
    facts = dict(line.split(": ", 1) for line in said.splitlines() if ": " in line)
    seen = {name: int(facts[name], 16) for name in ("CapPrm", "CapBnd", "NoNewPrivs", "ReadOnly")}
    assert seen == {"CapPrm": 0, "CapBnd": 0, "NoNewPrivs": 1, "ReadOnly": 1}


def ended(bed: Bed, container: Container) -> tuple[int, str]:
    """Wait for the end of a container, and return its exit code and all that it said."""
    code: int = container.wait(timeout=120)["StatusCode"]
    said = container.logs().decode()
    bed.said.append(said)
    container.remove()
    return code, said


@pytest.mark.page("docs/docker.md", "build", "make ready", "run")
def test_the_image_runs_the_chain_and_ends_when_it_is_asked_to(host: Bed, paper: Reading) -> None:
    """As its own user, who is not root; also as the first process of its container."""
    assert paper.commands(_PAGE, "build") + paper.commands(_PAGE, "make ready")  # by the fixtures
    host.registry.write_self_signed()
    host.registry.create()

    code, said = ended(host, run(host, "--once"))
    assert code == 0, said
    assert host.a_values() == [LAN_ADDRESS]
    assert host.served() == host.published()
    pushed = host.registry.push("hello:1")
    assert host.registry.pull("hello:1") == pushed
    assert_mode(_CERTS / f"{DOMAIN}.key", 0o600)
    assert (_CERTS / f"{DOMAIN}.key").stat().st_uid == images.UID

    (line,) = paper.commands(_PAGE, "run")
    shell(host, line)
    daemon = host.engine.client().containers.get("certbotless")
    wait_until(lambda: b"daemon.started" in daemon.logs(), "the daemon has started")
    assert is_well(daemon)
    assert daemon.top()["Processes"][0][0] != "root"
    assert_has_no_rights(host)
    shell(host, "docker exec certbotless certbotless --renew-now")
    daemon.stop(timeout=30)
    assert ended(host, daemon)[0] == 0  # 137 where the engine had to kill it


def test_without_the_machines_network_an_address_must_be_written(host: Bed) -> None:
    code, said = ended(host, run(host, "plan", network_mode="bridge"))
    assert code == 1
    assert "give the container the host's network, or write the address" in said
