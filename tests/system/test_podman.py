"""Podman in place of Docker: certbotless restarts its containers by a socket that is open to it."""

import os
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed
from support.machine import Machine
from support.pages import Reading

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.process import Background
from certbotless.sandbox.registry import Registry


class Podman(Engine):
    """Podman's service with the API of Docker, on storage of its own."""

    def start(self) -> None:
        """Start it, and wait until it answers; at most 60 s."""
        home, run = self.log.parent, self.socket.parent
        # crun, the default, refuses a machine that has both kinds of control groups.
        own = ["--runtime=/usr/sbin/runc", "--cgroup-manager=cgroupfs", f"--root={home}/docker"]
        own += [f"--runroot={run}/podman", f"--tmpdir={run}/scratch"]
        self._process = Background(
            ["podman", *own, "system", "service", "--time=0", self.docker_host],
            self.log,
            env={**os.environ, "container": "certbotless"},
        )
        self._process.wait_ready(self._answers, patience_s=60)


@pytest.fixture
def podman(bare: Bed, tmp_path: Path) -> Iterator[Bed]:
    """A bed whose registry runs in Podman."""
    (folder := tmp_path / "engine").mkdir()
    with Podman(folder) as engine:
        bare.registry = Registry(engine, DOMAIN, certs=bare.certs)
        bare.registry.write_self_signed()
        bare.registry.create()
        bare.config |= {"docker": {"host": engine.docker_host}, "sites": [bare.site()]}
        yield bare


def test_a_registry_in_podman_serves_what_is_renewed(podman: Bed) -> None:
    """The first certificate in place of the self-signed one, and a renewed one in place of that."""
    seen = [podman.served()]
    for command in ("--once", "--renew-now"):
        podman.ok(command)
        seen.append(podman.served())
        assert seen[-1] == podman.published()
    assert len(set(seen)) == 3
    assert "ok    container registry: runs" in podman.ok("doctor")


@pytest.mark.page("docs/registry.md", "podman socket", "podman")
def test_the_socket_of_the_page_is_open_to_certbotless(tmp_path: Path, paper: Reading) -> None:
    """Podman's own is in a folder of root's."""
    (folder := tmp_path / "machine").mkdir()
    with Machine(folder, {}) as machine:
        machine.ok("useradd", "--system", "--user-group", "certbotless")
        drop_ins = machine.path("/etc/systemd/system/podman.socket.d")
        drop_ins.mkdir()
        text = paper.text("docs/registry.md", "podman socket")
        (drop_ins / "override.conf").write_text(text)
        machine.ok("systemctl", "daemon-reload")
        for command in paper.commands("docs/registry.md", "podman"):
            machine.ok(*shlex.split(command))
        socket = text.split("ListenStream=")[-1].split()[0]
        assert machine.ok("stat", "-c", "%F %G %a", socket) == "socket certbotless 660\n"
        asked = ("curl", "--silent", "--unix-socket", socket, "http://podman/_ping")
        as_service = ("setpriv", "--reuid=certbotless", "--regid=certbotless", "--clear-groups")
        assert machine.ok(*as_service, *asked) == "OK"
