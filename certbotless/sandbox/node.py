"""Machines of a fleet on a private host, each with a Docker engine, and the LAN that they are on.

Owns their networks, their processes and their power. A machine is a network, a host name, processes and
mounts of its own; its files are those of the private host. It has no default route, so that no engine waits
for an image from the Internet. Nothing outlives the context: no process, interface, mount or control group.

Sources: unshare(1); ip-link(8), veth and netns.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import TracebackType

import docker

from .engine import Engine
from .host import SandboxError, require_private_host

# The LAN of the machines; that of the private host is another one.
_NETWORK = "10.79.41"
HOST_ADDRESS = f"{_NETWORK}.1"
_LINK = "fleet0"
# A manager that has lost the others may keep a question for 20 s and more.
_QUESTION_S = 5

_HUB = "ip link set lo up; ip link add lan type bridge; ip link set lan up; echo ready; exec cat"
# The address of the interface stays the same when the machine returns, as a real one does. All processes end
# with the first, which takes leave of those that lose their parent. /run has nothing but the engine's folder,
# which all see: containerd has its sockets at one place on every machine.
_MACHINE = """
hub=$1 name=$2 address=$3 hardware=$4 run=$5
shift 5
echo "$name" >/proc/sys/kernel/hostname
ip link set lo up
ip link add eth0 address "$hardware" type veth peer name "$name" netns "$hub"
nsenter "--net=/proc/$hub/ns/net" ip link set "$name" master lan up
ip address add "$address/24" dev eth0
ip link set eth0 up
export DOCKER_SERVICE_PREFER_OFFLINE_IMAGE=1
exec unshare --mount --pid --fork --kill-child --mount-proc sh -euc '
    run=$1
    shift
    cd "$run"
    mount -n -t tmpfs machine /run
    mkdir "$run"
    mount -n --no-canonicalize --bind . "$run"
    cd /
    "$@" &
    wait $!
' sh "$run" "$@"
"""


class Hub:
    """The LAN of the machines, alive within the context; the private host is on it as HOST_ADDRESS."""

    def __init__(self) -> None:
        require_private_host()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        """The process that keeps the hub's network."""
        if self._process is None:
            raise SandboxError("the LAN of the machines is not there")
        return self._process.pid

    def ip(self, *arguments: str) -> None:
        """Run a command of iproute2 in the hub's network.

        Raises:
            SandboxError: it failed, in its own words.
        """
        _run("nsenter", f"--net=/proc/{self.pid}/ns/net", "ip", *arguments)

    def __enter__(self) -> Hub:
        self._process = subprocess.Popen(
            ["unshare", "--net", "sh", "-euc", _HUB], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        try:
            if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
                raise SandboxError("the LAN of the machines cannot be made")
            _run("ip", "link", "add", _LINK, "type", "veth", "peer", "name", "host", "netns", str(self.pid))
            self.ip("link", "set", "host", "master", "lan", "up")
            _run("ip", "address", "add", f"{HOST_ADDRESS}/24", "dev", _LINK)
            _run("ip", "link", "set", _LINK, "up")
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with suppress(SandboxError):  # it was never made
            _run("ip", "link", "delete", _LINK)
        if self._process is not None:
            with self._process:
                self._process.kill()


class Node(Engine):
    """A machine with an engine.

    Args:
        workdir: an existing, empty folder for its data, which stays while its power is off.
        hub: its LAN.
        number: 1 to 99, which names it and gives it an address.
    """

    def __init__(self, workdir: Path, hub: Hub, number: int) -> None:
        self.name = f"node{number}"
        self.address = f"{_NETWORK}.{10 + number}"
        self._hub = hub
        hardware = f"02:00:0a:4f:29:{number:02d}"
        self._groups = f"{require_private_host()}/{self.name}"
        super().__init__(workdir, [f"--cgroup-parent=/{self._groups}"])
        place = [str(hub.pid), self.name, self.address, hardware, str(self._run)]
        self._through = ["unshare", "--net", "--uts", "--ipc", "sh", "-euc", _MACHINE, "machine", *place]

    @property
    def is_on(self) -> bool:
        """Whether it has power."""
        return self._process is not None and self._process.alive()

    @contextmanager
    def asked(self, timeout_s: float = _QUESTION_S) -> Iterator[docker.DockerClient]:
        """Give a client of its engine that waits no longer than this for an answer."""
        with closing(docker.DockerClient(self.docker_host, timeout=int(timeout_s))) as client:
            yield client

    def kill(self) -> None:
        """Cut its power: nobody on the LAN gets a goodbye, and no process lives on."""
        if self._process is None:
            return
        with suppress(SandboxError):  # it never had a cable
            self._hub.ip("link", "set", self.name, "down")
        unshare = self._process.process
        if self._process.alive():
            # All processes of the machine end with its first one, before unshare does.
            for pid in Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split():
                os.kill(int(pid), signal.SIGKILL)
            self._process.end()
        with suppress(SandboxError):
            self._hub.ip("link", "delete", self.name)
        for path in self.socket.parent.iterdir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def close(self) -> None:
        """End it, and remove all that it was, but for its log."""
        self.kill()
        if self._client is not None:
            self._client.close()
        for folder in (self._data, self._run):
            shutil.rmtree(folder, ignore_errors=not folder.exists())
        for groups in Path("/sys/fs/cgroup").rglob(self._groups):
            for folder in sorted(groups.rglob("*/"), reverse=True):
                folder.rmdir()
            groups.rmdir()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SandboxError(f"{' '.join(command)} ended with code {done.returncode}: {done.stderr.strip()}")
