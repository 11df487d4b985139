"""certbotless as a container of its own: the Dockerfile and the compose file of docker/, on a real engine."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.models.containers import Container

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS

from . import images
from .bed import DOMAIN, KEY_ID, KEY_SECRET, Bed, assert_mode, wait_until
from .services import PROJECT

_COMPOSE = "/usr/libexec/docker/cli-plugins/docker-compose"
_ETC = Path("/etc/certbotless")
_STATE = Path("/var/lib/certbotless")
_CERTS = Path("/certs")
_SOCKET = Path("/var/run/docker.sock")
# The options of the line of docs/docker.md that the compose file has too.
_MOUNTS = [f"{_ETC}:{_ETC}:ro", f"{_STATE}:{_STATE}", f"{_CERTS}:{_CERTS}", f"{_SOCKET}:{_SOCKET}"]


@pytest.fixture(scope="module", autouse=True)
def image(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> None:
    images.build(engine, tmp_path_factory.mktemp("image"))


@pytest.fixture
def host(bed: Bed) -> Iterator[Bed]:
    """A machine made ready as docs/docker.md says; its registry is gone, for one that sees its /certs."""
    bed.registry.remove()
    bed.registry.certs = _CERTS
    _SOCKET.symlink_to(bed.engine.socket)
    for folder in (_STATE, _CERTS):
        os.chown(folder, images.UID, images.UID)
    for name, text in {"access-key-id": KEY_ID, "access-key-secret": KEY_SECRET}.items():
        write(name, text)
    write("ca.pem", bed.ca.ca_bundle.read_text())
    bed.config["acme"]["ca_bundle"] = str(_ETC / "ca.pem")
    for key in ("access_key_id", "access_key_secret"):
        bed.config["aliyun"][key] = f"file:{_ETC}/{key.replace('_', '-')}"
    for key in ("certs_dir", "state_dir", "docker"):
        del bed.config[key]
    write("config.yaml", yaml.safe_dump(bed.config))
    yield bed
    for container in bed.engine.client().containers.list(all=True):
        container.remove(force=True, v=True)
    _SOCKET.unlink()
    for folder in (_ETC, _STATE, _CERTS):
        subprocess.run(["find", folder, "-mindepth", "1", "-delete"], check=True)
        os.chown(folder, 0, 0)


def write(name: str, text: str) -> None:
    """Write a file that the image's user may read, and others not."""
    path = _ETC / name
    path.touch(0o640)
    path.write_text(text)
    os.chown(path, 0, images.UID)


def run(bed: Bed, *arguments: str, **options: Any) -> Container:
    """Start the image as the line of docs/docker.md does."""
    settings: dict[str, Any] = {
        "network_mode": "host",
        "group_add": [str(bed.engine.socket.stat().st_gid)],
        "volumes": _MOUNTS,
    }
    return bed.engine.client().containers.run(
        images.IMAGE, list(arguments), detach=True, **{**settings, **options}
    )


def is_well(daemon: Container) -> bool:
    """Ask as the image's own HEALTHCHECK does."""
    _, *command = daemon.attrs["Config"]["Healthcheck"]["Test"]
    return bool(daemon.exec_run(command).exit_code == 0)


def ended(bed: Bed, container: Container) -> tuple[int, str]:
    """Wait for the end of a container, and return its exit code and all that it said."""
    code: int = container.wait(timeout=60)["StatusCode"]
    said = container.logs().decode()
    bed.said.append(said)
    container.remove()
    return code, said


def stop(bed: Bed, container: Container) -> tuple[int, float]:
    """Stop a container as `docker stop` does, and return its exit code and how long it took."""
    began = time.monotonic()
    container.stop(timeout=30)
    took = time.monotonic() - began
    return ended(bed, container)[0], took


def test_the_image_runs_the_chain_and_ends_when_it_is_asked_to(host: Bed) -> None:
    """As its own user, who is not root; also as the first process of its container."""
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

    daemon = run(host)
    wait_until(lambda: b"daemon.started" in daemon.logs(), "the daemon has started")
    assert is_well(daemon)
    assert daemon.top()["Processes"][0][0] != "root"
    code, took_s = stop(host, daemon)
    assert code == 0
    assert took_s < 15


def test_the_page_and_the_compose_file_start_it_alike() -> None:
    service = yaml.safe_load((PROJECT / "docker/compose.yaml").read_text())["services"]["certbotless"]
    page = (PROJECT / "docs/docker.md").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^docker run .*", page, re.MULTILINE)
    words = shlex.split(line)
    mounts = [words[at + 1] for at, word in enumerate(words) if word == "-v"]
    assert sorted(mounts) == sorted(service["volumes"]) == sorted(_MOUNTS)
    assert f"--network={service['network_mode']}" in words
    assert f"--restart={service['restart']}" in words
    assert ("--init" in words) == service["init"]
    assert words[-1] == service["image"] == service["container_name"] == images.IMAGE
    assert f"stat -c %g {_SOCKET}" in line


def test_without_the_machines_network_an_address_must_be_written(host: Bed) -> None:
    code, said = ended(host, run(host, "plan", network_mode="bridge"))
    assert code == 1
    assert "give the container the host's network, or write the address" in said


def test_the_compose_file_brings_both_up(host: Bed, tmp_path: Path) -> None:
    """From nothing: the registry has no certificate to start with, until certbotless has got one."""
    # The stand-in of the registry's image does not say what it runs.
    registry = {"entrypoint": ["/bin/registry"], "command": ["serve", "/etc/docker-registry/config.yml"]}
    override = tmp_path / "override.yaml"
    override.write_text(yaml.safe_dump({"services": {"registry": registry}}))
    environment = {"DOMAIN": DOMAIN, "DOCKER_GID": str(host.engine.socket.stat().st_gid)}

    def compose(*arguments: str) -> None:
        files = ["-f", str(PROJECT / "docker/compose.yaml"), "-f", str(override)]
        done = subprocess.run(
            [_COMPOSE, *files, *arguments],
            env=os.environ | environment | {"DOCKER_HOST": host.engine.docker_host},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    compose("up", "--detach", "--no-build")
    try:
        daemon = host.engine.client().containers.get("certbotless")
        wait_until(lambda: is_well(daemon), "all is well", 90)
        assert host.served() == host.published()
        pushed = host.registry.push("hello:1")
        assert host.registry.pull("hello:1") == pushed
        compose("stop", "certbotless")
        daemon.reload()
        assert daemon.attrs["State"]["ExitCode"] == 0
        host.said.append(daemon.logs().decode())
    finally:
        compose("down", "--volumes")
