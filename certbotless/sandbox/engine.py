"""A Docker engine of its own on a private host.

Owns its start, end and trust. Never runs on an ordinary machine: an engine changes the firewall, the
interfaces and /etc/docker of where it runs.

Source: dockerd(8); docs.docker.com, "Verify repository client with certificates" (/etc/docker/certs.d).
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType

import docker

from .host import require_private_host
from .process import Background, wait_until


class Engine:
    """A Docker engine with no images, alive within the context; its containers and images go with it.

    Args:
        workdir: an existing folder for its data; not on an overlay file system, where it would be slow.
        options: further ones of dockerd.
        through: a command before its own.

    Raises:
        SandboxError: not on a private host, or the engine does not start (with its last words).
    """

    def __init__(self, workdir: Path, options: Sequence[str] = (), through: Sequence[str] = ()) -> None:
        self._options, self._through = options, through
        self._cgroup = require_private_host()
        self.log = workdir / "dockerd.log"
        self._data = workdir / "docker"
        # A socket's path is at most 107 bytes, too few for a folder of pytest plus what containerd adds.
        self._run = Path(tempfile.mkdtemp(prefix="engine-", dir="/run"))
        self.socket = self._run / "docker.sock"
        self._process: Background | None = None
        self._client: docker.DockerClient | None = None

    @property
    def docker_host(self) -> str:
        """The value of DOCKER_HOST that leads here."""
        return f"unix://{self.socket}"

    def client(self) -> docker.DockerClient:
        """Return a client of this engine, the same at each call; it works again after a restart."""
        if self._client is None:
            self._client = docker.DockerClient(self.docker_host, timeout=30)
        return self._client

    def start(self) -> None:
        """Start the engine on the data it has, and wait until it answers; at most 60 s."""
        self._process = Background(
            [
                *self._through,
                "dockerd",
                f"--data-root={self._data}",
                f"--exec-root={self._run}/exec",
                f"--pidfile={self._run}/docker.pid",
                f"--host={self.docker_host}",
                # Folders of our own name, which the private host removes; systemd's would outlive it.
                "--exec-opt=native.cgroupdriver=cgroupfs",
                f"--cgroup-parent=/{self._cgroup}",
                *self._options,
            ],
            self.log,
            # In a container an engine leaves AppArmor, which has no namespaces, alone.
            env={**os.environ, "container": "certbotless"},
        )
        self._process.wait_ready(self._answers, patience_s=60)

    def stop(self) -> None:
        """Let the engine end as at a shutdown; containers with `--restart=always` come back at `start`."""
        if self._process is not None:
            self._process.end(patience_s=30)

    def kill(self) -> None:
        """Kill the engine; its containers run on, unattended, until it is started again."""
        if self._process is not None:
            self._process.kill()

    def trust(self, registry: str, root_pem: str) -> None:
        """Let the engine verify `registry` (NAME:PORT) against this root; it is read at each request."""
        folder = Path("/etc/docker/certs.d", registry)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.crt").write_text(root_pem)

    def distrust(self, registry: str) -> None:
        """Take back what `trust` said."""
        shutil.rmtree(Path("/etc/docker/certs.d", registry))

    def _answers(self) -> bool:
        # By hand: the library leaves its socket open when the connection fails.
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.recv(100)
            except OSError:
                return False

    def _remove_containers(self) -> None:
        for container in self.client().containers.list(all=True):
            container.remove(force=True, v=True)

    def _unmount(self) -> None:
        """Unmount what an engine leaves: the host's network, if used; its data folder, if killed."""
        points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in reversed(points):
            if point.startswith((str(self._data), str(self._run))):
                subprocess.run(["umount", point], check=True)

    def __enter__(self) -> Engine:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and not self._process.alive():
            self.start()  # only a living engine can end what a killed one left
        self._remove_containers()
        if self._client is not None:
            self._client.close()
        self.stop()
        self._unmount()
        for folder in (self._data, self._run):
            # What an engine has started may still write there after its end, as Podman's conmon does.
            wait_until(partial(_is_removed, folder), 10, f"{folder} is removed")


def _is_removed(folder: Path) -> bool:
    with suppress(OSError):
        shutil.rmtree(folder)
    return not folder.exists()
