"""`certbotless trust install` on the stores of a private host, beside files of others."""

import hashlib
import os
import re
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.commands import completed
from support.private_host import trust_stores, written_over
from support.roots import made_root, make_ca

from certbotless.sandbox.host import require_private_host

_TREES = (Path("/etc"), Path("/usr/local/share/ca-certificates"))
_CERTS = Path("/etc/ssl/certs")
_BUNDLE = _CERTS / "ca-certificates.crt"
# What others in a private host may change begins so, with what useradd(8) has beside it for a moment.
_OF_OTHER_TESTS = (
    "passwd",
    "group",
    "shadow",
    "gshadow",
    "subuid",
    "subgid",
    ".pwd.lock",
    "hosts",
    "resolv.conf",
)
_STORES = "system,docker,podman,containerd"
_LONG_AGO = (1_600_000_000, 1_600_000_000)


def contents() -> dict[str, tuple[object, ...]]:
    """Return what the folders of the system have: kind, mode, owner and content of each file, and its time.

    The system makes its bundle and the links to each certificate again, so they have no time.
    """
    found = dict[str, tuple[object, ...]]()
    for path in (path for tree in _TREES for path in [tree, *sorted(tree.rglob("*"))]):
        if path.parent == Path("/etc") and path.name.startswith(_OF_OTHER_TESTS):
            continue
        stat = path.lstat()
        facts = (stat.st_mode, stat.st_uid, stat.st_gid)
        if path.is_symlink():
            when = 0 if path.parent == _CERTS else stat.st_mtime_ns
            found[str(path)] = (*facts, str(path.readlink()), when)
        elif path.is_file():
            when = 0 if path == _BUNDLE else stat.st_mtime_ns
            found[str(path)] = (*facts, hashlib.sha256(path.read_bytes()).hexdigest(), when)
        else:
            found[str(path)] = facts
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
    make_ca(tmp_path / "state", ("lan", "devbox", "10.0.0.0/8"))
    file = tmp_path / "config.yaml"
    file.write_text(
        f"state_dir: {tmp_path / 'state'}\ncerts_dir: {tmp_path / 'certs'}\n"
        "sites: [{domain: devbox, ca: local, names: [10.79.40.213],"
        " deploy: [{container: registry, port: 5000}]}]\n"
    )
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


@contextmanager
def beside(files: Mapping[str, bytes | str]) -> Iterator[dict[str, tuple[object, ...]]]:
    """Have files of others, with their content or where they lead; yield what the system has with them."""
    made = []
    for name, content in files.items():
        path = Path(name)
        made += [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.symlink_to(content)
        os.utime(path, _LONG_AGO, follow_symlinks=False)
    # From what an earlier package has left, the bundle is made first.
    subprocess.run(["update-ca-certificates", "--fresh"], check=True, capture_output=True)
    try:
        yield contents()
    finally:
        for name in files:
            Path(name).unlink()
        for folder in sorted(made, reverse=True):
            folder.rmdir()


@pytest.mark.row(120)
def test_install_and_uninstall_leave_every_file_as_it_was(file: Path) -> None:
    """Bytes, modes, owners, links and times of all of /etc, beside files of others of each kind."""
    other, elsewhere = made_root(), file.parent / "elsewhere.crt"
    elsewhere.write_bytes(made_root())
    files: dict[str, bytes | str] = {
        "/usr/local/share/ca-certificates/corporate.crt": other,
        "/usr/local/share/ca-certificates/certbotless-00000000.crt": other,
        "/usr/local/share/ca-certificates/linked.crt": str(elsewhere),
        "/etc/docker/certs.d/other.lan:5000/ca.crt": other,
        "/etc/docker/certs.d/devbox:5000/client.cert": b"of another program",
        "/etc/containers/certs.d/other.lan:5000/ca.crt": str(elsewhere),
        "/etc/containerd/certs.d/docker.io/hosts.toml": b'server = "https://docker.io"',
    }
    with beside(files) as before:
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
        while_there = contents()
        again = trust(file, "install", "--to", _STORES)
        assert again.count("is there already") == 4
        assert contents() == while_there
        assert "/etc/docker/certs.d/devbox:5000/ca.crt" in trust(file, "show")
        trust(file, "uninstall", "--to", _STORES)
        assert contents() == before
        assert "has no root of this CA" in trust(file, "uninstall", "--to", _STORES)
        assert contents() == before


def test_during_a_rotation_both_roots_are_installed(file: Path) -> None:
    """After the switch the root before it stays where it is until its end; no other place gets it."""
    store, ca = Path("/usr/local/share/ca-certificates"), Path("/etc/docker/certs.d/devbox:5000/ca.crt")
    with beside({}) as before:
        trust(file, "install", "--to", "system,docker")
        trust(file, "rotate")
        shown = trust(file, "show")
        assert "It signs from 20" in shown
        now, coming = [line for line in shown.splitlines() if line.startswith("Installed here: ")]
        assert str(ca) in now
        assert coming == "Installed here: no; certbotless trust install does it"
        trust(file, "install", "--to", "system,docker")
        old = (file.parent / "state/local-ca/root.pem").read_text()
        new = (file.parent / "state/local-ca/next/root.pem").read_text()
        assert ca.read_text() == old + new
        files = sorted(f"certbotless-{short(root)}.crt" for root in (old, new))
        assert sorted(path.name for path in store.glob("certbotless-*")) == files
        trust(file, "switch")
        assert f"Earlier roots here: {store}/certbotless-{short(old)}.crt, /etc/" in trust(file, "show")
        trust(file, "install", "--to", "system,docker")
        assert ca.read_text() == new + old
        assert sorted(path.name for path in store.glob("certbotless-*")) == files
        facts = file.parent / "state/local-ca/ca.json"
        ended = re.sub(r'("remove_from": *)"[^"]*"', r'\1"2020-01-01T00:00:00Z"', facts.read_text())
        facts.write_text(ended)
        said = trust(file, "install", "--to", "system,docker")
        assert f"removed {store}/certbotless-{short(old)}.crt" in said
        assert ca.read_text() == new
        assert [path.name for path in store.glob("certbotless-*")] == [f"certbotless-{short(new)}.crt"]
        assert old not in _BUNDLE.read_text()
        trust(file, "uninstall", "--to", "system,docker")
        assert contents() == before


def test_an_update_that_was_cut_off_is_made_up_for(file: Path) -> None:
    """The file is there and the bundle lacks the root; then the file is gone and the bundle has it."""
    root = (file.parent / "state/local-ca/root.pem").read_text()
    place = Path("/usr/local/share/ca-certificates") / f"certbotless-{short(root)}.crt"
    place.write_text(root)
    trust(file, "install", "--to", "system")
    assert root in _BUNDLE.read_text()
    issuing = file.parent / "state/local-ca/issuing.pem"
    assert "OK" in completed(["openssl", "verify", "-CApath", "/etc/ssl/certs", issuing]).stdout
    place.unlink()
    trust(file, "uninstall", "--to", "system")
    assert root not in _BUNDLE.read_text()


@pytest.mark.row(120)
def test_files_of_others_at_our_places_are_not_touched(file: Path) -> None:
    """Their lines are printed, and the other places are written."""
    mine = file.parent / "mine"
    mine.write_text("mine\n")
    root = (file.parent / "state/local-ca/root.pem").read_text()
    files: dict[str, bytes | str] = {
        f"/usr/local/share/ca-certificates/certbotless-{short(root)}.crt": made_root(),
        "/etc/docker/certs.d/devbox:5000/ca.crt": b"of another program\n",
        "/etc/containers/certs.d/devbox:5000/ca.crt": str(mine),
        "/etc/containerd/certs.d/devbox:5000/hosts.toml": (
            b'ca = "/etc/containerd/certs.d/devbox:5000/ca.crt"'
        ),
        "/etc/containerd/certs.d/10.79.40.213:5000/ca.crt": root.encode() + made_root(),
    }
    with beside(files) as before:
        said = trust(file, "install", "--to", _STORES, code=1)
        assert said.count("belongs to another program") == 5
        assert '  ca = "/etc/containerd/certs.d/devbox:5000/ca.crt"' in said
        assert not Path("/etc/containerd/certs.d/10.79.40.213:5000/hosts.toml").exists()
        assert Path("/etc/docker/certs.d/10.79.40.213:5000/ca.crt").exists()
        said = trust(file, "uninstall", "--to", _STORES)
        assert "hosts.toml still names /etc/containerd/certs.d/devbox:5000/ca.crt" in said
        assert contents() == before
        assert mine.read_text() == "mine\n"


def test_the_folder_that_containerd_is_set_to_is_used(file: Path) -> None:
    """And left as it was; without one the lines for its configuration are printed."""
    before = contents()
    config, place = Path("/etc/containerd/config.toml"), Path("/etc/containerd/registries/devbox:5000")
    said = trust(file, "install", "--to", "containerd")
    assert 'config_path = "/etc/containerd/certs.d"' in said
    table = '\n[plugins."io.containerd.grpc.v1.cri".registry]\nconfig_path = "/etc/containerd/registries"\n'
    with written_over(config, config.read_text() + table):
        assert "config_path" not in trust(file, "install", "--to", "containerd")
        assert f'ca = "{place}/ca.crt"' in (place / "hosts.toml").read_text()
        said = trust(file, "uninstall", "--to", "containerd")
        assert str(place) in said
    os.utime(config, ns=(0, before[str(config)][-1]))  # type: ignore[arg-type]
    assert contents() == before


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
