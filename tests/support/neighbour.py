"""What a colleague works at: a second machine on the LAN of the private host, with a Docker engine.

Beside what the sandbox's has, the records of dpkg, its hooks and a home are its own. Its one cable is the
other end of the private host's LAN interface: it reaches the first machine and nothing else.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from certbotless.sandbox import neighbour
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS
from support.commands import completed
from support.private_host import HOOKS

ADDRESS, ADDRESS6 = "10.79.40.7", "fd12::7"
# Of the first machine, beside its LAN address.
FIRST6 = "fd12::5"

# By a hook dpkg keeps Java's list of roots, which takes seconds. A test may uncover it.
_OWN = f"""
mkdir dpkg dpkg-work home
mount -t overlay -o "lowerdir=/var/lib/dpkg,upperdir=$PWD/dpkg,workdir=$PWD/dpkg-work" neighbour /var/lib/dpkg
[ ! -d /var/lib/ca-certificates-java ] || mount -t tmpfs neighbour /var/lib/ca-certificates-java
mount -t tmpfs neighbour {HOOKS}
ip address add {ADDRESS6}/64 dev eth0 nodad
"""


class Neighbour(neighbour.Neighbour):
    """A running machine, alive within the context.

    Args:
        workdir: an existing, empty folder.
        hosts: what its /etc/hosts has beside itself: lines `ADDRESS NAME ...`.
        routes: addresses beyond the LAN that it believes to be reached by the first machine.
    """

    def __init__(self, workdir: Path, hosts: Sequence[str], routes: Sequence[str] = ()) -> None:
        (folder := workdir / "machine").mkdir()
        super().__init__(folder, f"{ADDRESS}/24", "127.0.0.1", "neighbour")
        self.home = folder / "home"
        gateways = ((to, FIRST6 if ":" in to else LAN_ADDRESS) for to in routes)
        self._lines = [
            *(f"echo '{line}' >>/etc/hosts" for line in hosts),
            *(f"ip route add {to} via {gateway}" for to, gateway in gateways),
        ]
        (engine := workdir / "engine").mkdir()
        # It runs no container, only pulls and pushes.
        options = ("--bridge=none", "--iptables=false", "--ip6tables=false")
        self._engine, self._options = engine, options

    def start(self, alive: ExitStack) -> None:
        """Start the machine and its engine."""
        super().start(alive)
        self.typed("\n".join([_OWN, *self._lines]))
        self.engine = alive.enter_context(Engine(self._engine, self._options, self.through))

    @property
    def engine_pid(self) -> str:
        """The pid of its engine, which is another one after a restart."""
        return (self.engine.socket.parent / "docker.pid").read_text()

    def run(self, *command: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command of root's there, in root's home, and return what came of it.

        Args:
            settings: what its environment has beside root's own.
        """
        plain = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "HOME": str(self.home)}
        own = plain | {"DOCKER_HOST": self.engine.docker_host} | settings
        words = (f"{name}={value}" for name, value in own.items())
        there = [*self.through, "env", "--ignore-environment", f"--chdir={self.home}", *words, *command]
        return completed(there, timeout_s=120, stdin=subprocess.DEVNULL)

    def ok(self, *command: str | Path, **settings: str) -> str:
        """Run a command that must exit 0, and return its standard output."""
        done = self.run(*command, **settings)
        assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def types(self, text: str) -> str:
        """Type lines in a shell, all of which must do; return what they said."""
        return self.ok("sh", "-euc", text)
