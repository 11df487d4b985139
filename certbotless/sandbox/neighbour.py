"""A second machine beside a private host: for what a client sees that is not the machine itself.

It has a network, a host name, a copy of /etc and a folder of trusted roots of its own. Its processes and its
other files are those of the private host. Nothing else is reached from it: there is no way to the Internet.

Sources: namespaces(7); ip-link(8): an interface is moved by ``netns``, and a pair of veth is a cable.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .host import LAN_INTERFACE, SandboxError, require_private_host

_LINK = f"{LAN_INTERFACE}-peer"
# The machine's own folders. The line at the end says that it is there; it ends when its input does.
_SETUP = """
folder=$1 name=$2 resolver=$3
mount --make-rprivate /
cp -a /etc "$folder/etc"
rm -rf "$folder/etc/docker" "$folder/etc/certbotless"
mount --bind "$folder/etc" /etc
roots=/usr/local/share/ca-certificates
[ ! -d "$roots" ] || mount -t tmpfs -o mode=0755 certbotless "$roots"
echo "$name" >/proc/sys/kernel/hostname
printf '127.0.0.1 localhost\\n::1 localhost\\n127.0.1.1 %s\\n' "$name" >/etc/hosts
printf 'nameserver %s\\n' "$resolver" >/etc/resolv.conf
echo ready
exec cat
"""


class Neighbour:
    """A second machine, alive within the context; then the private host's interfaces are as they were.

    Args:
        workdir: an existing, empty folder for its files; what is typed is run there.
        address: its address, with the length of the network: ``10.79.40.20/24``.
        resolver: the address of the name server that it asks.
        name: its host name.
        link: an interface of the private host, the end of a cable, which is its eth0; that of the LAN if
            nothing else is said.

    Raises:
        SandboxError: not on a private host, or it cannot be made.
    """

    def __init__(
        self, workdir: Path, address: str, resolver: str, name: str = "laptop", link: str = _LINK
    ) -> None:
        require_private_host()
        self.name, self.address = name, address.partition("/")[0]
        self.workdir = workdir
        self._with_length, self._link = address, link
        self._command = ["sh", "-euc", _SETUP, "setup", str(workdir), name, resolver]
        self._process: subprocess.Popen[str] | None = None
        self._alive = ExitStack()

    @property
    def through(self) -> list[str]:
        """What runs a command there: the beginning of its arguments."""
        pid = str(self._process.pid) if self._process else ""
        return ["nsenter", "--target", pid, "--mount", "--net", "--uts", f"--wd={self.workdir}", "--"]

    def typed(self, script: str) -> str:
        """Run lines of a shell there as root, and return what they print.

        Raises:
            SandboxError: one failed; the text holds all that was printed.
        """
        done = subprocess.run(
            [*self.through, "sh", "-eu"],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise SandboxError(f"{self.name} ended with code {done.returncode}: {done.stdout.strip()}")
        return done.stdout

    def start(self, alive: ExitStack) -> None:
        """Start it, and let it end with `alive`; a machine that has more starts that afterwards."""
        self._process = alive.enter_context(
            subprocess.Popen(
                ["unshare", "--mount", "--net", "--uts", *self._command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            raise SandboxError(f"the machine {self.name!r} cannot be made")
        _ip("link", "set", self._link, "netns", str(self._process.pid))
        self.typed(
            f"ip link set lo up\nip link set {self._link} name eth0\n"
            f"ip address add {self._with_length} dev eth0\nip link set eth0 up\n"
        )
        alive.callback(self._give_back)

    def _give_back(self) -> None:
        """Let the private host have the end of the cable, which would go with this network."""
        link = self._link
        self.typed(
            f"ip link set eth0 down\nip link set eth0 name {link}\nip link set {link} netns {os.getpid()}\n"
        )
        _ip("link", "set", link, "up")

    def __enter__(self) -> Self:
        with ExitStack() as alive:
            self.start(alive)
            self._alive = alive.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alive.close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
