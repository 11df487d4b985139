"""`make install` on a bare Debian 12: its Python 3.11, its systemd 252, its pip; without network.

What it needs of Debian lies in apt's cache there, and its wheels are fetched by `make soak` (tools/setup).
"""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed
from support.machine import Machine
from support.pages import Reading
from support.services import DAEMON, UNITS, Services, debian_12_beside, fetched, make

from certbotless import __version__
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry

pytestmark = [pytest.mark.soak, pytest.mark.long]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, engine: Engine, certs: Path) -> Iterator[Machine]:
    """A bare Debian 12 beside the engine, with a checkout in /src."""
    with debian_12_beside(engine, tmp_path_factory.mktemp("debian-12"), certs) as machine:
        yield machine


@pytest.fixture
def bed(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine, certs: Path) -> Bed:
    return Bed(tmp_path, dns, ca, engine, Registry(engine, DOMAIN, certs=certs))


@pytest.mark.page("docs/systemd.md", "install", "on Debian 12")
def test_an_installation_keeps_a_certificate_served(machine: Machine, bed: Bed, paper: Reading) -> None:
    assert 'VERSION_ID="12"' in machine.path("/etc/os-release").read_text()
    fetch, install = paper.commands("docs/systemd.md", "install")
    fetched(machine, fetch)
    make(machine, *shlex.split(install)[1:])
    machine.ok("chown", "certbotless:certbotless", "/certs")
    assert machine.ok("certbotless", "--version") == f"certbotless {__version__}\n"
    which = "import sys; print(sys.version_info[:2])"
    assert machine.ok("/usr/local/lib/certbotless/bin/python", "-c", which) == "(3, 11)\n"
    assert machine.ok("systemctl", "--version").startswith("systemd 252 ")
    units = [f"/usr/local/lib/systemd/system/{unit}" for unit in UNITS]
    told = machine.run("systemd-analyze", "verify", "--recursive-errors=no", *units).stderr.splitlines()
    assert [line for line in told if "Unknown key 'ImportCredential' in section [Service]" not in line] == []

    with Services.beside(bed, machine) as services:
        assert machine.ok("certbotless", "check") == "/etc/certbotless/config.yaml: ok (1 site)\n"
        services.add_to(DAEMON, *paper.text("docs/systemd.md", "on Debian 12").splitlines())
        services.start()
        services.assert_served()
        assert f"{DOMAIN}  ok" in machine.ok("certbotless", "status")
        before = bed.published()
        machine.ok("certbotless", "--renew-now")
        assert bed.published() != before
        services.assert_served()
    make(machine, "uninstall")
    assert machine.ok("find", "/usr/local", "-name", "*certbotless*") == ""
