"""The units on a machine with a real systemd, as `make install` puts them there, beside the stand-ins."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from certbotless.sandbox.engine import Engine
from support import release
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, PATIENCE_S, Bed, wait_until, write_secret
from support.commands import completed
from support.machine import Machine

DAEMON, CHECK, ONCE = "certbotless.service", "certbotless-check.service", "certbotless-once.service"
UNITS = (DAEMON, CHECK, "certbotless-check.timer", ONCE, "certbotless-once.timer")
_ALL_OK = re.compile(r"sites: \d+ ok(?!,)")
# pip's own settings: it fetches from where `make setup` has put all that an installation needs.
WITHOUT_NETWORK = ("PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels")
FOLDERS = {release.PROJECT: "/src", Path(sys.prefix, "wheels"): "/wheels"}


def make(machine: Machine, target: str) -> str:
    """Run `make install` or `make uninstall`, and return what it said."""
    return machine.ok("env", *WITHOUT_NETWORK, "make", "-C", "/src", target, patience_s=300)


SOCKET = "/run/engine/docker.sock"


@contextmanager
def machine_beside(engine: Engine, workdir: Path, certs: Path) -> Iterator[Machine]:
    """Run a machine that sees the socket of this engine, which has its /certs from `certs`."""
    engine.socket.parent.chmod(0o711)
    seen = {**FOLDERS, engine.socket.parent: str(Path(SOCKET).parent), certs: "/srv/certs"}
    with Machine(workdir, seen) as machine:
        machine.ok("sh", "-euc", "mkdir -p /certs; mount --bind /srv/certs /certs")
        yield machine


@contextmanager
def debian_12_beside(engine: Engine, workdir: Path, certs: Path) -> Iterator[Machine]:
    """Run a bare Debian 12 that sees the socket of this engine and its /certs, with a checkout in /src."""
    engine.socket.parent.chmod(0o711)
    seen = {
        release.PROJECT: "/src",
        Path(sys.prefix, "wheels-3.11"): "/wheels",
        engine.socket.parent: str(Path(SOCKET).parent),
        certs: "/certs",
    }
    with Machine(workdir, seen, Path(sys.prefix, "debian-12")) as machine:
        machine.ok("groupadd", "--gid", str(engine.socket.stat().st_gid), "docker")
        yield machine


def fetched(machine: Machine, line: str) -> None:
    """Have apt of the machine do what a line of a page says, from its cache alone."""
    options = ("--yes", "--quiet", "--no-install-recommends", "ca-certificates")
    machine.ok("env", "DEBIAN_FRONTEND=noninteractive", *shlex.split(line), *options, patience_s=300)


@contextmanager
def installed_beside(engine: Engine, workdir: Path, certs: Path) -> Iterator[Machine]:
    """Run a machine with certbotless installed on it, which may reach this engine as one in group docker.

    The first one is installed from nothing. Later ones begin with its /usr/local: to compile all packages
    would take most of the time.
    """

    def install(target: Path) -> None:
        make(machine, "install")
        assert completed(["cp", "-a", machine.path("/usr/local"), target]).returncode == 0

    with machine_beside(engine, workdir, certs) as machine:
        installed = release.kept("installed", install)
        if not machine.path("/usr/local/bin/certbotless").is_symlink():
            assert completed(["cp", "-a", f"{installed}/.", machine.path("/usr/local")]).returncode == 0
            make(machine, "install")
        machine.ok("chown", "certbotless:certbotless", "/certs")
        yield machine


class Services:
    """The units on a machine.

    Args:
        bed: its registry serves what the machine has in /certs.
    """

    def __init__(self, machine: Machine, bed: Bed) -> None:
        self.machine, self.bed = machine, bed
        self._began = time.time()
        self.config: dict[str, Any] = {}

    @classmethod
    @contextmanager
    def beside(cls, bed: Bed, machine: Machine) -> Iterator[Services]:
        """Have the units configured for the stand-ins of a bed, whose registry is made for the context."""
        bed.registry.write_self_signed()
        bed.registry.create()
        services = cls(machine, bed)
        services.configure()
        try:
            yield services
        finally:
            services.reset()
            bed.registry.remove()

    def configure(self) -> None:
        """Write a configuration for the stand-ins of the bed; secrets come as credentials."""
        machine, bed = self.machine, self.bed
        bundle = "/etc/certbotless/ca.pem"
        machine.path(bundle).write_bytes(bed.ca.ca_bundle.read_bytes())
        for name, secret in {"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET}.items():
            write_secret(machine.path(f"/etc/credstore/certbotless.{name}"), f"{secret}\n")
        self.config = {
            **bed.config,
            "acme": {"directory": bed.ca.directory_url, "ca_bundle": bundle},
            "aliyun": {
                "access_key_id": "credential:certbotless.access_key_id",
                "access_key_secret": "credential:certbotless.access_key_secret",
                "endpoint": bed.dns.endpoint,
            },
            "docker": {"host": f"unix://{SOCKET}"},
            "check_every": "1s",
        }
        del self.config["certs_dir"], self.config["state_dir"]
        self.write()

    def write(self) -> None:
        """Save `config` as the file."""
        self.write_text(yaml.safe_dump(self.config))

    def write_text(self, text: str) -> None:
        """Save the file, with the mode and group that it has."""
        self.machine.path("/etc/certbotless/config.yaml").write_text(text)

    def add_to(self, unit: str, *lines: str) -> None:
        """Write a drop-in, as `systemctl edit` does."""
        folder = self.machine.path(f"/etc/systemd/system/{unit}.d")
        folder.mkdir(exist_ok=True)
        (folder / "override.conf").write_text("\n".join(lines) + "\n")
        self.machine.ok("systemctl", "daemon-reload")

    def systemctl(self, *args: str) -> str:
        """Run systemctl, which must exit 0."""
        return self.machine.ok("systemctl", *args)

    def start(self) -> None:
        """Start the daemon, and wait until all is well."""
        self.systemctl("start", DAEMON)
        self.wait_ok()

    def property(self, name: str, unit: str = DAEMON) -> str:
        """Return a property of a unit."""
        return self.systemctl("show", "--value", f"--property={name}", unit).strip()

    def journal(self, unit: str = DAEMON) -> str:
        """Return what a unit, and systemd about it, has said since the test began."""
        since = f"--since=@{self._began:.6f}"
        return self.machine.ok("journalctl", "--quiet", "--output=cat", since, f"--unit={unit}")

    def status(self) -> dict[str, Any]:
        """Return the object of `status --json`, whatever the exit code."""
        found: dict[str, Any] = json.loads(self.machine.run("certbotless", "status", "--json").stdout)
        return found

    def is_ok(self) -> bool:
        """Whether all facts of all sites are true."""
        return all(site["state"] == "ok" for site in self.status()["sites"])

    def wait_ok(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until all facts of all sites are true, and the daemon has seen it."""
        wait_until(
            lambda: _ALL_OK.match(self.property("StatusText")) is not None and self.is_ok(),
            "all facts are true",
            patience_s,
        )

    def pid(self) -> int:
        """Return the daemon's pid, on this side."""
        return self.machine.pid_here(int(self.property("MainPID")))

    def assert_served(self, domain: str = DOMAIN) -> None:
        """The registry serves what is published."""
        assert self.bed.served(domain) == self.bed.published(domain)

    def reset(self) -> None:
        """Leave nothing of a test but what is installed."""
        self.systemctl("stop", *UNITS)
        self.machine.run("systemctl", "reset-failed", *UNITS)
        self.machine.ok(
            "sh",
            "-euc",
            "rm -rf /etc/systemd/system/certbotless*.d; find /var/lib/certbotless /certs -mindepth 1 -delete",
        )
        self.systemctl("daemon-reload")
