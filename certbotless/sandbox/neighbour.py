"""A second machine on the LAN of a private host: for what a client sees that is not the machine itself.

It has a network, a host name, a copy of /etc and a folder of trusted roots of its own. Its processes and its
other files are those of the private host. Nothing else is reached from it: there is no way to the Internet.

Sources: namespaces(7); ip-link(8): an interface is moved by ``netns``, and a pair of veth is a cable.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import TracebackType

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
[ ! -d "$roots" ] || mount -t tmpfs certbotless "$roots"
echo "$name" >/proc/sys/kernel/hostname
printf '127.0.0.1 localhost\\n127.0.1.1 %s\\n' "$name" >/etc/hosts
printf 'nameserver %s\\n' "$resolver" >/etc/resolv.conf
echo ready
exec cat
"""


class Neighbour:
    """A second machine, alive within the context; then the private host's LAN is as it was.

    Args:
        workdir: an existing, empty folder for its files; what is typed is run there.
        address: its address on the LAN, with the length of the network: ``10.79.40.20/24``.
        resolver: the address of the name server that it asks.

    Raises:
        SandboxError: not on a private host, or it cannot be made.
    """

    def __init__(self, workdir: Path, address: str, resolver: str, name: str = "laptop") -> None:
        require_private_host()
        self.name, self.address = name, address.partition("/")[0]
        self._with_length = address
        self._command = ["sh", "-euc", _SETUP, "setup", str(workdir), name, resolver]
        self.workdir = workdir
        self._process: subprocess.Popen[str] | None = None

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

    def __enter__(self) -> Neighbour:
        self._process = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", *self._command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout is None or self._process.stdout.readline() != "ready\n":
            self._end()
            raise SandboxError(f"the machine {self.name!r} cannot be made")
        _ip("link", "set", _LINK, "netns", str(self._process.pid))
        self.typed(
            f"ip link set lo up\nip link set {_LINK} name eth0\n"
            f"ip address add {self._with_length} dev eth0\nip link set eth0 up\n"
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A veth that is left in a network goes with it, and its peer too.
        self.typed(
            f"ip link set eth0 down\nip link set eth0 name {_LINK}\nip link set {_LINK} netns {os.getpid()}\n"
        )
        _ip("link", "set", _LINK, "up")
        self._end()

    def _end(self) -> None:
        if self._process is not None:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()
            self._process.wait()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
