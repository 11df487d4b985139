"""`certbotless trust install --to nss`: the databases of the browsers of one person, by the real certutil."""

import http.server
import os
import re
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from support.browser import FLAGS
from support.children import DONE, run_in_child
from support.commands import completed
from support.listeners import Served
from support.roots import made_root, make_ca

from certbotless.base.clock import SystemClock
from certbotless.cli.main import main
from certbotless.cli.trust import run  # noqa: F401  (the child may not read this checkout)
from certbotless.sandbox.host import LAN_ADDRESS, require_private_host
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca
from certbotless.world.acme import keys

# Workers of pytest may share a private host: each has a person of its own.
_UID = 4713 + os.getpid() % 1000
_NAME = f"alice{_UID}"
_PLACES = (
    ".local/share/pki/nssdb",
    ".mozilla/firefox/a1b2c3d4.default-release",
    ".pki/nssdb",
    "snap/chromium/current/.local/share/pki/nssdb",
    ".var/app/org.chromium.Chromium/.pki/nssdb",
    ".var/app/com.google.Chrome/data/pki/nssdb",
    ".config/mozilla/firefox/e5f6a7b8.default",
    "snap/firefox/common/.mozilla/firefox/11112222.default",
    ".var/app/org.mozilla.firefox/.mozilla/firefox/33334444.default",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox/work",
)
_OTHER = "certbotless of another machine"
FIREFOX = Path(__file__).parents[1] / "support/firefox.py"
_HIDE = 'mount --bind /dev/null /usr/bin/certutil; exec "$@"'
_WITHOUT_CERTUTIL = ("unshare", "--mount", "sh", "-c", _HIDE, "sh")


def as_alice(*command: str | Path, given: bytes = b"") -> bytes:
    done = subprocess.run(
        [*command],
        check=True,
        capture_output=True,
        input=given,
        user=_UID,
        group=_UID,
        extra_groups=[],
        cwd="/",
    )
    return done.stdout


def listed(database: Path) -> dict[str, str]:
    """Return what a database has: names, and what each is trusted for."""
    said = as_alice("certutil", "-L", "-d", f"sql:{database}").decode()
    return dict(re.findall(r"^(.*?) +([a-zA-Z]*,[a-zA-Z]*,[a-zA-Z]*) *$", said, re.MULTILINE))


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A person with two browsers, which trust the root of another machine."""
    require_private_host()
    home = Path(os.environ["TMPDIR"], _NAME)
    options = ("--uid", str(_UID), "--home-dir", home, "--create-home", "--key", "HOME_MODE=0700")
    subprocess.run(["useradd", *options, _NAME], check=True, capture_output=True)
    try:
        first, second = (home / place for place in _PLACES[:2])
        as_alice("mkdir", "-p", first, second.parent)
        as_alice("certutil", "-N", "--empty-password", "-d", f"sql:{first}")
        as_alice("certutil", "-A", "-a", "-t", "C,,", "-n", _OTHER, "-d", f"sql:{first}", given=made_root())
        as_alice("cp", "-r", first, second)
        yield home
    finally:
        subprocess.run(["userdel", "--remove", _NAME], check=True, capture_output=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with a CA, in a folder that only root may enter."""
    make_ca(tmp_path / "state", ("lan", "devbox", "10.0.0.0/8"))
    file = tmp_path / "config.yaml"
    file.write_text(
        f"state_dir: {tmp_path / 'state'}\ncerts_dir: {tmp_path / 'certs'}\n"
        "sites: [{domain: devbox, ca: local, deploy: [{container: registry, port: 5000}]}]\n"
    )
    return file


def trust(file: Path, *arguments: str, code: int = 0, sudo: bool = True, first: Sequence[str] = ()) -> str:
    environment = os.environ | ({"SUDO_USER": _NAME} if sudo else {})
    command: list[str | Path] = [*first, sys.executable, "-m", "certbotless", "-c", file, "trust", *arguments]
    done = completed(command, env=environment)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def roots_files(home: Path) -> list[str]:
    return [str(path) for path in home.rglob("*") if path.lstat().st_uid != _UID]


def test_the_browsers_of_who_typed_sudo_trust_the_root_and_root_writes_no_file_there(
    file: Path, home: Path
) -> None:
    """In each place of Chromium and Firefox, once; what is not ours stays; then all is as before."""
    before = listed(home / _PLACES[0])
    assert before == {_OTHER: "C,,"}
    more = [home / place for place in _PLACES[2:]]
    as_alice("mkdir", "-p", *(path.parent for path in more))
    for path in more:
        as_alice("cp", "-r", home / _PLACES[0], path)
    said = trust(file, "install", "--to", "nss")
    for place in _PLACES:
        assert str(home / place) in said
        (ours,) = listed(home / place).items() - before.items()
        assert ours[0].startswith("certbotless-")
        assert ours[1] == "C,,"
    assert "is there already" in trust(file, "install", "--to", "nss")
    assert str(home / _PLACES[-1]) in trust(file, "show")
    assert str(home) not in trust(file, "show", sudo=False)
    assert "removed" in trust(file, "uninstall", "--to", "nss")
    assert all(listed(home / place) == before for place in _PLACES)
    assert "has no root of this CA" in trust(file, "uninstall", "--to", "nss")
    assert roots_files(home) == []
    for path in more:
        shutil.rmtree(path)


def test_a_root_is_ours_by_its_bytes_under_any_name(file: Path, home: Path) -> None:
    """One that a person imported, without trust, is trusted; both roots of a rotation are there, then one."""
    database, before = home / _PLACES[0], listed(home / _PLACES[0])
    old = (file.parent / "state/local-ca/root.pem").read_bytes()
    name = "certbotless devbox by hand"
    as_alice("certutil", "-A", "-a", "-t", ",,", "-n", name, "-d", f"sql:{database}", given=old)
    trust(file, "rotate")
    trust(file, "install", "--to", "nss")
    assert listed(database)[name] == "C,,"
    assert len(listed(database)) == len(before) + 2
    trust(file, "rotate", "--now")
    trust(file, "install", "--to", "nss")
    assert len(listed(database)) == len(before) + 1
    assert name not in listed(database)
    trust(file, "uninstall", "--to", "nss")
    assert listed(database) == before


def test_what_keeps_it_from_that_is_said(file: Path, home: Path) -> None:
    """A database with a password, as Firefox may have; no certutil; a person without browsers."""
    database = home / ".mozilla/firefox/locked.default"
    as_alice("mkdir", database)
    (home / "password").write_text("a password\n")
    as_alice("certutil", "-N", "-f", home / "password", "-d", f"sql:{database}")
    before = as_alice("certutil", "-L", "-d", f"sql:{database}")
    said = trust(file, "install", "--to", "nss", code=1)
    assert f"failed: {database}" in said
    assert str(home / _PLACES[0]) in said
    assert as_alice("certutil", "-L", "-d", f"sql:{database}") == before
    trust(file, "uninstall", "--to", "nss")
    shutil.rmtree(database)
    (home / "password").unlink()
    assert "libnss3-tools" in trust(file, "install", "--to", "nss", code=1, first=_WITHOUT_CERTUTIL)
    assert "start the browser once" in trust(file, "install", "--to", "nss", sudo=False, code=1)


def test_a_link_in_a_home_leads_root_nowhere(file: Path, home: Path) -> None:
    """Neither to a database that the person may not write, nor away from the others; and nobody is nobody."""
    theirs = file.parent / "theirs"
    shutil.copytree(home / _PLACES[0], theirs)
    theirs.chmod(0o700)
    before = {path.name: path.read_bytes() for path in theirs.iterdir()}
    link = home / ".mozilla/firefox/00000000.default"
    as_alice("ln", "-s", theirs, link)
    said = trust(file, "install", "--to", "nss")
    assert str(link) not in said
    assert str(home / _PLACES[0]) in said
    trust(file, "uninstall", "--to", "nss")
    link.unlink()
    assert {path.name: path.read_bytes() for path in theirs.iterdir()} == before
    said = trust(file, "install", "--to", "nss", code=1, first=("env", "SUDO_USER=nobody-at-all"))
    assert "start the browser once" in said


def test_chromium_gets_a_database_once_it_has_been_started(file: Path, home: Path) -> None:
    """It makes none by itself. An old folder without one is where it looks first."""
    places = [home / _PLACES[0], home / ".pki/nssdb"]
    kept = home / "kept"
    as_alice("mv", places[0], kept)
    as_alice("mkdir", "-p", home / ".config/chromium")
    trust(file, "install", "--to", "nss")
    assert [*listed(places[0]).values()] == ["C,,"]
    assert places[0].stat().st_mode & 0o777 == 0o700
    trust(file, "uninstall", "--to", "nss")
    assert listed(places[0]) == {}
    shutil.rmtree(places[0])
    as_alice("mkdir", "-p", places[1])
    assert str(places[1]) in trust(file, "install", "--to", "nss")
    assert not places[0].exists()
    trust(file, "uninstall", "--to", "nss")
    shutil.rmtree(places[1])
    as_alice("rmdir", home / ".config/chromium")
    as_alice("mv", kept, places[0])
    assert roots_files(home) == []


def test_only_the_stores_of_the_machine_need_root(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who owns the state may bring the root to their own browsers without it."""
    folder = home / "certbotless"
    shutil.copytree(file.parent, folder)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, _UID, _UID)
    mine = folder / file.name
    mine.write_text(mine.read_text().replace(str(file.parent), str(folder)))
    monkeypatch.setenv("HOME", str(home))

    def act() -> None:
        os.setgroups([])
        os.setgid(_UID)
        os.setuid(_UID)
        assert main(["-c", str(mine), "trust", "install"]) == 1
        assert main(["-c", str(mine), "trust", "install", "--to", "nss"]) == 0

    assert run_in_child(act) == DONE
    assert len(listed(home / _PLACES[0])) == 2
    trust(mine, "uninstall", "--to", "nss")
    shutil.rmtree(folder)
    assert roots_files(home) == []


@contextmanager
def served(state: Path, address: str) -> Iterator[str]:
    """Let a page be served at an address, by a certificate that the CA in `state` signs; yield where."""
    ca = LocalCaFolder(state).load()
    assert ca is not None
    key, pair = keys.new_key(), state / "pair.pem"
    pem = local_ca.sign(ca, key, [address], SystemClock().now(), timedelta(days=9))
    pair.write_bytes(pem + keys.key_to_pem(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server = http.server.ThreadingHTTPServer((address, 0), http.server.SimpleHTTPRequestHandler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with Served(server):
        yield f"{address}:{server.server_port}"


@pytest.mark.soak
def test_real_browsers_trust_the_lan_and_nothing_else_until_it_is_taken_back(file: Path) -> None:
    """Each has been started once before; the address of the loopback is none of a LAN."""
    home = file.parent / "home"
    chromium, profile = home / ".config/chromium", home / ".config/mozilla/firefox/a1b2c3d4.default-release"
    profile.mkdir(parents=True)
    environment = os.environ | {"HOME": str(home)}

    def trusted(*places: str) -> list[bool]:
        """Whether Chromium trusts each place, and then Firefox."""
        flags = [*FLAGS, f"--user-data-dir={chromium}", "--dump-dom"]
        said = [completed(["chromium", *flags, f"https://{at}/"], env=environment).stdout for at in places]
        words = [word for at in places for word in at.split(":")]
        by_firefox = completed([sys.executable, FIREFOX, profile, *words], env=environment).stdout
        return ["Directory listing" in each for each in said] + [not line for line in by_firefox.splitlines()]

    state, first = file.parent / "state", ("env", f"HOME={home}")
    with served(state, LAN_ADDRESS) as lan, served(state, "127.0.0.1") as other:
        assert trusted(lan) == [False, False]
        said = trust(file, "install", "--to", "nss", sudo=False, first=first)
        assert str(home / ".local/share/pki/nssdb") in said
        assert str(profile) in said
        assert trusted(lan, other) == [True, False, True, False]
        trust(file, "uninstall", "--to", "nss", sudo=False, first=first)
        assert trusted(lan) == [False, False]
