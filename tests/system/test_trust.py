"""`certbotless trust install` on the stores of a private host, beside files of others."""

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import completed
from support.private_host import trust_stores

from certbotless.base.clock import SystemClock
from certbotless.sandbox.host import require_private_host
from certbotless.state.local_ca import CaFiles, LocalCaFolder
from certbotless.world import local_ca

_TREES = [
    Path(folder)
    for folder in (
        "/etc/ssl",
        "/etc/docker",
        "/etc/containers",
        "/etc/containerd",
        "/usr/local/share/ca-certificates",
    )
]
_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
# It has the moment of its making in it.
_JAVA = Path("/etc/ssl/certs/java/cacerts")
_STORES = "system,docker,podman,containerd"


def contents() -> dict[str, str]:
    """Return what the folders of the system have: links by where they lead, files by their bytes."""
    found = {}
    for tree in _TREES:
        for path in sorted(tree.rglob("*")):
            if path.is_symlink():
                found[str(path)] = f"-> {path.readlink()}"
            elif path.is_file() and path != _JAVA:
                found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
            else:
                found[str(path)] = "folder"
    return found


@pytest.fixture
def stores() -> Iterator[None]:
    """The stores of the private host, for one test at a time: its workers may share them."""
    require_private_host()
    with trust_stores():
        yield


@pytest.fixture
def file(tmp_path: Path, stores: None) -> Path:
    """A configuration whose service has a port, and a CA."""
    (tmp_path / "state").mkdir(0o700)
    made = local_ca.make("devbox", ("lan", "devbox", "10.0.0.0/8"), SystemClock().now())
    LocalCaFolder(tmp_path / "state").make(
        CaFiles(made.facts, made.root_pem, made.issuing_pem, made.issuing_key)
    )
    file = tmp_path / "config.yaml"
    file.write_text(
        f"state_dir: {tmp_path / 'state'}\ncerts_dir: {tmp_path / 'certs'}\n"
        "sites: [{domain: devbox, ca: local, names: [10.79.40.213],"
        " deploy: [{container: registry, port: 5000}]}]\n"
    )
    # From what an earlier package has left, the bundle is made first.
    subprocess.run(["update-ca-certificates", "--fresh"], check=True, capture_output=True)
    return file


def short(root: str) -> str:
    """Return the digits of a root that its file has in its name."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(root)).hexdigest()[:8]


def trust(file: Path, *arguments: str, code: int = 0) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "certbotless", "-c", file, "trust", *arguments],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == code, ended.stderr + ended.stdout
    return ended.stdout


def test_install_and_uninstall_leave_the_system_as_it_was(file: Path) -> None:
    before = contents()
    said = trust(file, "install", "--to", _STORES)
    root = (file.parent / "state/local-ca/root.pem").read_text()
    assert hashlib.sha256(ssl.PEM_cert_to_DER_cert(root)).digest().hex(":").upper() in said
    assert root in _BUNDLE.read_text()
    for folder in ("docker", "containers", "containerd"):
        for place in ("devbox:5000", "10.79.40.213:5000"):
            path = Path("/etc", folder, "certs.d", place, "ca.crt")
            assert path.read_text() == root
            assert (path.stat().st_mode & 0o777, path.stat().st_uid, path.stat().st_gid) == (0o644, 0, 0)
    assert said.count("takes effect") == 4
    again = trust(file, "install", "--to", _STORES)
    assert again.count("is there already") == 4
    assert "/etc/docker/certs.d/devbox:5000/ca.crt" in trust(file, "show")
    trust(file, "uninstall", "--to", _STORES)
    assert contents() == before
    assert "has no root of this CA" in trust(file, "uninstall")


def test_during_a_rotation_both_roots_are_installed(file: Path) -> None:
    """After the switch the root before it stays until its time; no other place gets it."""
    before, store = contents(), Path("/usr/local/share/ca-certificates")
    ca = Path("/etc/docker/certs.d/devbox:5000/ca.crt")
    trust(file, "install", "--to", "system,docker")
    trust(file, "rotate")
    trust(file, "install", "--to", "system,docker")
    old = (file.parent / "state/local-ca/root.pem").read_text()
    new = (file.parent / "state/local-ca/next/root.pem").read_text()
    assert ca.read_text() == old + new
    files = sorted(f"certbotless-{short(root)}.crt" for root in (old, new))
    assert sorted(path.name for path in store.glob("certbotless-*")) == files
    trust(file, "switch")
    trust(file, "install", "--to", "system,docker")
    assert ca.read_text() == new
    assert sorted(path.name for path in store.glob("certbotless-*")) == files
    trust(file, "uninstall", "--to", "system,docker")
    assert contents() == before


def test_an_update_that_was_cut_off_is_made_up_for(file: Path) -> None:
    """The file is there and the bundle lacks the root; then the file is gone and the bundle has it."""
    root = (file.parent / "state/local-ca/root.pem").read_text()
    place = Path("/usr/local/share/ca-certificates") / f"certbotless-{short(root)}.crt"
    place.write_text(root)
    trust(file, "install", "--to", "system")
    assert root in _BUNDLE.read_text()
    place.unlink()
    trust(file, "uninstall", "--to", "system")
    assert root not in _BUNDLE.read_text()


def test_files_of_others_are_not_touched(file: Path) -> None:
    """Their lines are printed, and the other places are written."""
    mine = file.parent / "mine"
    mine.write_text("mine\n")
    docker, hosts = (
        Path("/etc/docker/certs.d/devbox:5000/ca.crt"),
        Path("/etc/containerd/certs.d/devbox:5000/hosts.toml"),
    )
    link = Path("/etc/containers/certs.d/devbox:5000/ca.crt")
    for path in (docker, hosts, link):
        path.parent.mkdir(parents=True)
    docker.write_text("of another program\n")
    hosts.write_text('server = "https://elsewhere"\n')
    link.symlink_to(mine)
    before = contents()
    try:
        said = trust(file, "install", "--to", _STORES, code=1)
        assert said.count("belongs to another program") == 3
        assert '  ca = "/etc/containerd/certs.d/devbox:5000/ca.crt"' in said
        assert Path("/etc/docker/certs.d/10.79.40.213:5000/ca.crt").exists()
        trust(file, "uninstall", "--to", _STORES)
        assert contents() == before
        assert mine.read_text() == "mine\n"
    finally:
        for path in (docker, hosts, link):
            path.unlink()
            path.parent.rmdir()
            path.parent.parent.rmdir()


def test_programs_of_the_system_trust_what_the_root_has_signed(file: Path) -> None:
    trust(file, "install", "--to", "system")
    try:
        issuing = file.parent / "state/local-ca/issuing.pem"
        assert "OK" in completed(["openssl", "verify", "-CApath", "/etc/ssl/certs", issuing]).stdout
    finally:
        trust(file, "uninstall", "--to", "system")


def test_commands_are_for_each_place_and_a_store_must_be_known(file: Path) -> None:
    assert trust(file, "commands", "docker").count("certs.d") == 2
    assert (
        "no store"
        in subprocess.run(
            [sys.executable, "-m", "certbotless", "-c", file, "trust", "install", "--to", "java"],
            check=False,
            capture_output=True,
            text=True,
        ).stderr
    )
