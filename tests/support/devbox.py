"""The first machine of a LAN: the private host, with an engine and a configuration that has local sites."""

import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from certbotless.sandbox.engine import Engine
from support import forks
from support.bed import LONGEST_RUN_S
from support.commands import completed

# As `strace -yy` shows where a call leads: by its argument, or behind the descriptor.
_PEER = re.compile(r'inet_addr\("([^"]+)"\)|inet_pton\(AF_INET6, "([^"]+)"|->\[?([0-9a-f.:]+?)\]?:\d+\]>')


class Devbox:
    """A folder with a configuration, its state and certificates, and an engine.

    Args:
        home: an existing, empty folder.
    """

    def __init__(self, home: Path, engine: Engine) -> None:
        self.home, self.engine = home, engine
        self.certs, self.state = home / "certs", home / "state"
        self.file, self.strace = home / "config.yaml", home / "strace.log"
        self.certs.mkdir()

    def write(self, config: dict[str, Any]) -> None:
        """Save a configuration, with the folders and the engine of this machine."""
        own = {"certs_dir": str(self.certs), "state_dir": str(self.state)}
        engine = {"docker": {"host": self.engine.docker_host}}
        self.file.write_text(yaml.safe_dump(own | engine | config))

    def ok(self, *arguments: str) -> str:
        """Run the program, which must exit 0, and return its standard output."""
        done = forks.run(["--config", str(self.file), *arguments], os.environ, LONGEST_RUN_S)
        assert done.returncode == 0, f"{arguments}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def types(self, line: str) -> str:
        """Type one line of a page, which must do; the program is watched by strace. Return what it said."""
        words = shlex.split(line)
        if words[0] == "certbotless":
            seen = ["-e", "trace=connect,sendto,sendmsg,sendmmsg", "-o", str(self.strace)]
            program = [sys.executable, "-m", "certbotless", "--config", str(self.file)]
            words = ["strace", "-f", "--seccomp-bpf", "-qq", "-yy", *seen, *program, *words[1:]]
        where = {"DOCKER_HOST": self.engine.docker_host, "DOCKER_CONFIG": str(self.home / "docker")}
        done = completed(words, env=os.environ | where, cwd=self.home)
        assert done.returncode == 0, f"{line}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def spoken_to(self) -> set[str]:
        """Return each address of IP that the program typed last has reached for.

        By TCP that is to connect; by UDP it is to send, since to connect only looks up the route.
        """
        found = set()
        for line in self.strace.read_text().splitlines():
            if re.search(r"\bconnect\(\d+<TCP|\bsend\w+\(\d+<(TCP|UDP)", line):
                found |= {address for each in _PEER.findall(line) for address in each if address}
        return found
