"""The Debian package of `make release` on a bare Debian 13 with systemd, by apt, without network.

What it needs of Debian lies in apt's cache there (tools/root); anything else would not be found.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, Bed, wait_until
from support.machine import Machine
from support.pages import Reading
from support.release import MACHINE, architecture, built, older
from support.services import DAEMON, FOLDERS, SOCKET, Services

from certbotless import __version__
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry

_OLD = "0.9.9"
_APT = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", "--no-install-recommends")

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory, engine: Engine, certs: Path) -> Iterator[Machine]:
    """A bare machine beside the engine, whose /certs is its /srv/certs; the packages are in /new and /old.

    Each test leaves it without the package, but with what that needs of Debian.
    """
    engine.socket.parent.chmod(0o711)
    folders = {
        **FOLDERS,
        built(): "/new",
        older(_OLD): "/old",
        engine.socket.parent: str(Path(SOCKET).parent),
        certs: "/srv/certs",
    }
    with Machine(tmp_path_factory.mktemp("debian"), folders, MACHINE) as machine:
        # As docker.io makes it, so that it has the number of this machine's.
        machine.ok("groupadd", "--gid", str(engine.socket.stat().st_gid), "docker")
        yield machine


@pytest.fixture
def bed(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine, certs: Path) -> Iterator[Bed]:
    registry = Registry(engine, DOMAIN, certs=certs)
    registry.write_self_signed()
    registry.create()
    engine.trust(registry.where, ca.root_pem())
    try:
        yield Bed(tmp_path, dns, ca, engine, registry)
    finally:
        engine.distrust(registry.where)
        registry.remove()


def package(version: str) -> str:
    """Return where the package of a version is on the machine."""
    folder = "/old" if version == _OLD else "/new"
    return f"{folder}/certbotless_{version}_{architecture()}.deb"


def traces(machine: Machine) -> list[str]:
    """Return every path with our name, and what else could tell of us, but for apt's notes of what it did."""
    found = machine.ok("find", "/", "-xdev", "-name", "*certbotless*", "-not", "-path", "/var/log/*")
    mentions = machine.run(
        "grep", "-rl", "certbotless", "/etc", "/var/lib/systemd", "/var/lib/dpkg/status"
    ).stdout
    # What ends so is the copy that useradd and the like make before they change a file.
    return sorted(path for path in {*found.splitlines(), *mentions.splitlines()} if not path.endswith("-"))


@pytest.mark.page("docs/upgrade.md", "debian package")
def test_from_an_older_version_on_a_bare_machine_to_its_end(
    debian: Machine, bed: Bed, paper: Reading
) -> None:
    """Installed, started, upgraded while it runs, and purged: certificates and state stay, and their user."""
    services = Services(debian, bed)
    assert traces(debian) == []
    debian.ok("sh", "-euc", "mkdir /certs; mount --bind /srv/certs /certs")
    said = debian.ok(*_APT, "install", package(_OLD), patience_s=300)
    assert "certbotless: next: certbotless init; systemctl enable --now certbotless.service" in said
    debian.ok("chown", "certbotless:certbotless", "/certs")
    assert debian.ok("certbotless", "--version") == f"certbotless {_OLD}\n"
    assert debian.run("systemctl", "is-enabled", DAEMON).stdout == "disabled\n"
    assert debian.run("systemctl", "is-active", DAEMON).stdout == "inactive\n"

    debian.ok("install", "-m", "0640", "-g", "certbotless", "/dev/null", "/etc/certbotless/config.yaml")
    services.configure()
    services.systemctl("enable", "--now", DAEMON, "certbotless-check.timer")
    services.wait_ok()
    services.assert_served()
    pushed = bed.registry.push("hello:1")
    assert bed.registry.pull("hello:1") == pushed
    pid, before = services.pid(), debian.ok("cat", "/etc/certbotless/config.yaml")

    (upgrade,) = paper.commands("docs/upgrade.md", "debian package")
    debian.ok("sh", "-euc", f"cd /new; {upgrade} --yes --no-install-recommends", patience_s=300)
    assert debian.ok("certbotless", "--version") == f"certbotless {__version__}\n"
    wait_until(lambda: services.property("ActiveState") == "active", "the daemon runs again")
    assert services.pid() != pid
    services.wait_ok()
    assert bed.orders() == 1
    assert debian.ok("cat", "/etc/certbotless/config.yaml") == before
    assert debian.ok("systemctl", "is-enabled", DAEMON, "certbotless-check.timer") == "enabled\nenabled\n"

    debian.ok(*_APT, "install", "make", "python3-venv", patience_s=300)
    refused = debian.run("make", "-C", "/src", "install")
    assert "install: this machine has the Debian package certbotless: " in refused.stderr

    services.add_to(DAEMON, "[Service]", "Environment=X=y")
    debian.ok(*_APT, "purge", "certbotless", patience_s=300)
    assert debian.run("systemctl", "is-active", DAEMON).stdout == "inactive\n"
    left = [path for path in traces(debian) if not path.startswith(("/certs/", "/var/lib/certbotless"))]
    # The user, since its files stay.
    assert left == ["/etc/group", "/etc/gshadow", "/etc/passwd", "/etc/shadow"]
    assert debian.ok("id", "-un", "certbotless") == "certbotless\n"
    services.assert_served()
    gone = "umount /certs; rmdir /certs; rm -r /var/lib/certbotless; userdel certbotless"
    debian.ok("sh", "-euc", gone)


def test_where_nothing_was_kept_a_purge_leaves_nothing(debian: Machine) -> None:
    debian.ok(*_APT, "install", package(__version__), patience_s=300)
    modes = debian.ok("stat", "-c", "%U:%G %a %n", "/etc/certbotless", "/var/lib/certbotless", "/certs")
    assert modes.splitlines() == [
        "root:certbotless 750 /etc/certbotless",
        "certbotless:certbotless 700 /var/lib/certbotless",
        "certbotless:certbotless 755 /certs",
    ]
    debian.ok("systemd-analyze", "verify", "--recursive-errors=no", f"/usr/lib/systemd/system/{DAEMON}")
    debian.ok(*_APT, "purge", "certbotless", patience_s=300)
    assert traces(debian) == []


_AS_DEBIAN_12 = (
    "cp /etc/os-release /root; sed -i"
    """ 's/^VERSION_ID=.*/VERSION_ID="12"/; s/^PRETTY_NAME=.*/PRETTY_NAME="Debian 12"/' /etc/os-release""",
    "mv /root/os-release /etc",
    "this package is for Debian 13, and this is Debian 12: use make install .*",
)
_UNIT = "/usr/local/lib/systemd/system/certbotless.service"
_AS_INSTALLED_BY_MAKE = (
    f"install -D /dev/null {_UNIT}",
    f"rm {_UNIT}",
    "make install has put certbotless on this machine .*: first make uninstall",
)


@pytest.mark.parametrize(
    ("prepare", "undo", "line"), [_AS_DEBIAN_12, _AS_INSTALLED_BY_MAKE], ids=["Debian 12", "make install"]
)
def test_another_machine_is_refused_with_one_line(
    debian: Machine, prepare: str, undo: str, line: str
) -> None:
    debian.ok("sh", "-euc", prepare)
    debian.ok("cp", "/var/lib/dpkg/status", "/root")
    done = debian.run("dpkg", "--install", package(__version__))
    debian.ok("sh", "-euc", undo)
    # Where dpkg notes that it was asked for.
    debian.ok("mv", "/root/status", "/var/lib/dpkg")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    ours = [each for each in said.splitlines() if each.startswith("certbotless: ")]
    assert len(ours) == 1, said
    assert re.fullmatch(f"certbotless: {line}", ours[0])
    assert not debian.path("/usr/lib/certbotless").exists()
    assert traces(debian) == []
