"""The bed of a system test: stand-ins of the three outside things, and the real program as a process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from certbotless.cli.status import find
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry, served_sha256
from support import forks
from support.commands import completed

ZONE = "sweetlove.test"
# A name that only the LAN knows.
LAN_NAME = "devbox"
DOMAIN = f"devbox.{ZONE}"
# The shared CA asks here, whichever emulator it is just now.
NAME_SERVER_PORT = 5300
# After so long something hangs. No test asks for speed: the machine may have much else to do.
PATIENCE_S, LONGEST_RUN_S = 120, 300
KEY_ID, KEY_SECRET = "LTAI5tSandbox", "made-up-secret-of-the-sandbox"


@dataclass
class Bed:
    """Everything one test needs; made and ended by the fixture `bed`."""

    home: Path
    dns: AlidnsEmulator
    ca: Pebble
    engine: Engine
    registry: Registry
    config: dict[str, Any] = field(default_factory=dict)
    # What runs the program, and what its environment has beside ours.
    python: Path = Path(sys.executable)
    environment: dict[str, str] = field(default_factory=dict)
    # Everything that runs to their end have printed and logged.
    said: list[str] = field(default_factory=list)
    # Of the configuration, in which secrets are written.
    file_mode: int = 0o600

    def __post_init__(self) -> None:
        self.config = {
            "acme": {"directory": self.ca.directory_url, "ca_bundle": str(self.ca.ca_bundle)},
            "aliyun": {
                "access_key_id": KEY_ID,
                "access_key_secret": KEY_SECRET,
                "endpoint": self.dns.endpoint,
            },
            "dns": {"nameservers": list(self.dns.nameservers)},
            "docker": {"host": self.engine.docker_host},
            "certs_dir": str(self.certs),
            "state_dir": str(self.state),
            "sites": [self.site()],
        }

    @property
    def certs(self) -> Path:
        """The folder of the published pairs."""
        return self.registry.certs

    @property
    def state(self) -> Path:
        """The program's state_dir."""
        return self.home / "state"

    @property
    def file(self) -> Path:
        """The configuration file."""
        return self.home / "config.yaml"

    def site(self, domain: str = DOMAIN, **keys: Any) -> dict[str, Any]:
        """Return a site whose container is the registry."""
        deploy = [{"container": "registry", "port": self.registry.port}]
        return {"domain": domain, "zone": ZONE, "deploy": deploy, **keys}

    def write(self) -> None:
        """Save `config` as the file."""
        renamed_over(self.file, yaml.safe_dump(self.config), self.file_mode)

    def command(self, *args: str) -> list[str]:
        """Return the argument list of a run of the program."""
        return [str(self.python), "-m", "certbotless", "--config", str(self.file), *args]

    def run(self, *args: str) -> subprocess.CompletedProcess[str]:
        """Save the configuration and run the program to its end."""
        self.write()
        environment = os.environ | self.environment
        if self.python == Path(sys.executable):
            done = forks.run(["--config", str(self.file), *args], environment, LONGEST_RUN_S)
        else:
            done = completed(self.command(*args), timeout_s=LONGEST_RUN_S, env=environment)
        self.said += [done.stdout, done.stderr]
        return done

    def ok(self, *args: str) -> str:
        """Run the program, which must exit 0, and return its standard output."""
        done = self.run(*args)
        assert done.returncode == 0, f"{args} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def docker_shell(self, command: str, *, typed: str = "", code: int = 0) -> str:
        """Run a line of a shell with the client of Docker at the engine; return what it said."""
        where = {"DOCKER_HOST": self.engine.docker_host, "DOCKER_CONFIG": str(self.home / "docker")}
        done = completed(["sh", "-euc", command], input=typed, env=os.environ | where, timeout_s=120)
        assert done.returncode == code, f"{command}:\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def refused(self, *args: str) -> str:
        """Run the program, which must exit 1 with one line and no trace, and return that line."""
        done = self.run(*args)
        assert done.returncode == 1, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        [line] = done.stdout.splitlines()
        return line

    def once_until_ok(self) -> None:
        """Run `--once` until all is well, as the daemon's looks would."""
        said: list[str] = []

        def is_ok() -> bool:
            done = self.run("--once")
            said[:] = [done.stdout]
            return done.returncode == 0

        try:
            wait_until(is_ok, "all facts are true")
        except AssertionError as exc:
            exc.add_note(f"the last run: {said[0]}")
            raise

    def state_of(self, domain: str = DOMAIN) -> dict[str, Any]:
        """Return what the program remembers of a site; nothing before its first run."""
        path = self.state / "sites" / f"{domain}.json"
        found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        return found

    def rows(self, kind: str = "") -> list[dict[str, Any]]:
        """Return the ledger's rows of this kind, or all."""
        path = self.state / "ledger.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [row for row in map(json.loads, lines) if kind in ("", row["kind"])]

    def status(self) -> dict[str, Any]:
        """Return the object of `status --json`; the program is not started, since many wait for a change."""
        self.write()
        found: dict[str, Any] = json.loads(find(self.file).to_json())
        return found

    @contextmanager
    def daemon(self, *through: str, **environment: str) -> Iterator[Daemon]:
        """Run the daemon for as long as the block runs; it must end well at SIGTERM.

        Args:
            through: a command before its own.
            environment: what it has beside ours.
        """
        self.write()
        log = self.home / "daemon.log"
        with log.open("ab") as stderr:
            command = [*through, *self.command()]
            process = subprocess.Popen(
                command, stderr=stderr, env=os.environ | self.environment | environment
            )
            daemon = Daemon(process, log)
            try:
                wait_until(lambda: "daemon.started" in daemon.log_text(), "the daemon has started")
                yield daemon
                process.send_signal(signal.SIGTERM)
                assert process.wait(60) == 0, daemon.log_text()
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def served(self, domain: str = DOMAIN) -> str:
        """Return the fingerprint of the leaf that the registry serves."""
        return served_sha256(self.registry.publish or LAN_ADDRESS, self.registry.port, domain)

    def published(self, domain: str = DOMAIN) -> str:
        """Return the fingerprint of the leaf in `<domain>.pem`."""
        return sha256_of(self.certs / f"{domain}.pem")

    def forget_account(self) -> None:
        """Let the next run make another account, so that the CA validates all names of its order.

        Pebble uses one valid authorization in a hundred again for the same account, even where it shall use
        none (wfe.go: not if ``rand.Intn(100) > authzReusePercent``).
        """
        shutil.rmtree(self.state / "accounts", ignore_errors=True)

    def orders(self) -> int:
        """Return how many orders the CA has made; one that it refused is none.

        This CA answers 500 to one in 256 that names its predecessor: it does not find a serial number
        that begins with a zero byte. The order is then placed without it, and our ledger counts the two once.
        """
        return self.ca.orders_made()

    def checks(self) -> list[dict[str, Any]]:
        """Return what `doctor --json` has found."""
        found: list[dict[str, Any]] = json.loads(self.run("doctor", "--json").stdout)["checks"]
        return found

    def started_at(self, name: str = "registry") -> str:
        """Return when a container was last started, in the engine's words."""
        return str(self.engine.client().containers.get(name).attrs["State"]["StartedAt"])

    def a_values(self, rr: str = "devbox") -> list[str]:
        """Return the A values at the service."""
        return [record.value for record in self.dns.records(rr, "A")]

    def assert_no_txt(self) -> None:
        """Nothing of a challenge is left in DNS."""
        assert self.dns.records(type="TXT") == []


@dataclass
class Daemon:
    """A running daemon."""

    process: subprocess.Popen[bytes]
    log: Path

    def log_text(self) -> str:
        """Return all that it has logged."""
        return self.log.read_text()

    def children(self) -> list[int]:
        """Return the pids of the children that it has now."""
        return children_of(self.process.pid)


def children_of(pid: int) -> list[int]:
    """Return the children of a process, be they ended, that it has not taken leave of."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has ended meanwhile
            found += map(int, (task / "children").read_text().split())
    return found


def wait_until(holds: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
    """Poll until `holds`; the test fails after `patience_s`.

    To ask may be to run programs, which take CPU from what is waited for: it is asked a quarter of the time.
    """
    asked = time.monotonic()
    deadline = asked + patience_s
    while not holds():
        now = time.monotonic()
        assert now < deadline, f"not within {patience_s} s: {what}"
        time.sleep(min(max(0.02, 3 * (now - asked)), 0.5))
        asked = time.monotonic()


def renamed_over(path: Path, text: str, mode: int = 0o644) -> None:
    """Save as an editor that renames a new file over the old one."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.chmod(mode)
    beside.replace(path)


def write_secret(path: Path, text: str) -> None:
    """Write a file that is for its owner alone."""
    path.touch(0o600)
    path.write_text(text)


def sha256_of(chain: Path) -> str:
    """Return the fingerprint of the leaf in a file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    return x509.load_pem_x509_certificates(chain.read_bytes())[0].fingerprint(hashes.SHA256()).hex()


def assert_mode(path: Path, mode: int) -> None:
    """The file that `path` leads to has exactly this mode."""
    assert f"{os.stat(path).st_mode & 0o7777:04o}" == f"{mode:04o}", str(path)


def files_below(*folders: Path) -> dict[str, tuple[int, int, int]]:
    """Return what changes with every write: inode, size and change time of every file and folder.

    But for locks, which say who holds them.
    """
    found = {}
    for folder in folders:
        for path in [folder, *folder.rglob("*")]:
            if path.suffix == ".lock":
                continue
            with suppress(FileNotFoundError):  # the daemon may take one away meanwhile
                seen = path.lstat()
                found[str(path)] = (seen.st_ino, seen.st_size, seen.st_ctime_ns)
    return found
