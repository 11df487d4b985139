"""A second machine on the LAN of the private host, which is the first: what a colleague works at.

It has a network, a host name, /etc, the records of dpkg and a Docker engine of its own; all other files are
those of the private host. Its one cable is the other end of the private host's LAN interface: it
reaches the first machine and nothing else. It ends with the context.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE, require_private_host
from support.commands import completed
from support.private_host import HOOKS, ROOTS, ip

ADDRESS, ADDRESS6 = "10.79.40.7", "fd12::7"
# Of the first machine, beside its LAN address.
FIRST6 = "fd12::5"
_CABLE = f"{LAN_INTERFACE}-peer"

_START = """
folder=$1 roots=$2 hooks=$3
mount --make-rprivate /
mkdir "$folder/etc" "$folder/work" "$folder/home"
mount -t overlay -o "lowerdir=/etc,upperdir=$folder/etc,workdir=$folder/work" neighbour /etc
mount -t tmpfs -o mode=0755 neighbour "$roots"
# By a hook dpkg keeps Java's list of roots, which takes seconds. A test may uncover it.
dpkg=/var/lib/dpkg
mkdir "$folder/dpkg" "$folder/dpkg-work"
mount -t overlay -o "lowerdir=$dpkg,upperdir=$folder/dpkg,workdir=$folder/dpkg-work" neighbour $dpkg
[ ! -d /var/lib/ca-certificates-java ] || mount -t tmpfs neighbour /var/lib/ca-certificates-java
mount -t tmpfs neighbour "$hooks"
hostname neighbour
ip link set lo up
printf '127.0.0.1 localhost\\n::1 localhost\\n' >/etc/hosts
echo up
exec cat >/dev/null
"""


class Neighbour:
    """A running machine, alive within the context.

    Args:
        workdir: an existing, empty folder.
        hosts: what its /etc/hosts has beside itself: lines `ADDRESS NAME ...`.
        routes: addresses beyond the LAN that it believes to be reached by the first machine.
    """

    def __init__(self, workdir: Path, hosts: Sequence[str], routes: Sequence[str] = ()) -> None:
        require_private_host()
        self._hosts, self._routes = hosts, routes
        self._folder = workdir / "machine"
        self._stack = ExitStack()
        self._first: subprocess.Popen[bytes] | None = None
        self.home = self._folder / "home"
        (engine := workdir / "engine").mkdir()
        # It runs no container, only pulls and pushes.
        options = ("--bridge=none", "--iptables=false", "--ip6tables=false")
        self._workdir, self._options = engine, options

    def __enter__(self) -> Neighbour:
        try:
            self._start()
            self.engine = self._stack.enter_context(Engine(self._workdir, self._options, self.through))
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def through(self) -> list[str]:
        """The command before one that is to run there."""
        assert self._first is not None
        return ["nsenter", f"--target={self._first.pid}", "--mount", "--net", "--uts", "--"]

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

    def _start(self) -> None:
        self._folder.mkdir()
        self._first = first = subprocess.Popen(
            ["unshare", "--mount", "--net", "--uts", "sh", "-euc", _START, "sh", self._folder, ROOTS, HOOKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._stack.callback(self._end)
        assert first.stdout is not None
        assert first.stdout.readline() == b"up\n"
        ip("link", "set", _CABLE, "netns", str(first.pid))
        # With a network its interfaces end, and with this one the private host's.
        self._stack.callback(self._unplug)
        there = [*self.through, "ip"]
        for arguments in (
            ["address", "add", f"{ADDRESS}/24", "dev", _CABLE],
            ["address", "add", f"{ADDRESS6}/64", "dev", _CABLE, "nodad"],
            ["link", "set", _CABLE, "up"],
            *(["route", "add", to, "via", FIRST6 if ":" in to else LAN_ADDRESS] for to in self._routes),
        ):
            subprocess.run([*there, *arguments], check=True)
        hosts = "".join(f"{line}\n" for line in self._hosts)
        subprocess.run(
            [*self.through, "tee", "-a", "/etc/hosts"],
            input=hosts.encode(),
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _unplug(self) -> None:
        back = [*self.through[:1], self.through[1], "--net", "--"]
        subprocess.run([*back, "ip", "link", "set", _CABLE, "netns", str(os.getpid())], check=True)
        ip("link", "set", _CABLE, "up")

    def _end(self) -> None:
        assert self._first is not None
        with self._first:
            self._first.kill()
