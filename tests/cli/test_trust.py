"""`certbotless trust`: what it prints, and what it refuses to hand on."""

import hashlib
import os
import plistlib
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from support.pages import block

from certbotless.cli.main import main
from certbotless.cli.trust import roots
from certbotless.config import load
from certbotless.model.local_ca import CaFiles
from certbotless.report.trust_steps import SYSTEMS
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca

Told = Callable[..., tuple[int, str, str]]
PERMIT = ("lan", "home.arpa", "devbox", "10.0.0.0/8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A configuration with one local site."""
    path = tmp_path / "config.yaml"
    path.write_text(
        f"state_dir: {tmp_path / 'state'}\ncerts_dir: {tmp_path / 'certs'}\n"
        "sites: [{domain: devbox, ca: local, names: [devbox.lan, 10.79.40.213]}]\n"
    )
    return path


@pytest.fixture
def told(file: Path, capfd: pytest.CaptureFixture[str]) -> Told:
    return lambda *arguments: (main(["--config", str(file), "trust", *arguments]), *capfd.readouterr())


def new_ca(permit: tuple[str, ...] = PERMIT) -> CaFiles:
    return local_ca.make("devbox", permit, datetime.now(UTC))


def make(file: Path, permit: tuple[str, ...] = PERMIT) -> bytes:
    """Make a CA with this permit, and return its root."""
    (file.parent / "state").mkdir(mode=0o700)
    LocalCaFolder(file.parent / "state").make(ca := new_ca(permit))
    return ca.root_pem


def fingerprint(pem: bytes) -> str:
    """Return it as other programs print it."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).digest().hex(":").upper()


def test_without_a_ca_there_is_nothing_to_show(told: Told) -> None:
    code, out, err = told()
    assert (code, out) == (1, "")
    assert err.endswith("there is no local CA yet; the first certificate makes it: certbotless --once\n")


def test_show_says_what_the_root_is_and_what_to_copy(file: Path, told: Told) -> None:
    pem = make(file)
    code, out, _ = told("show")
    assert code == 0
    for said in (fingerprint(pem), "lan, home.arpa, devbox, 10.0.0.0/8", f"{file.parent}/state/local-ca"):
        assert said in out
    assert told() == (0, out, "")


def test_export_gives_the_root_in_each_form(file: Path, told: Told) -> None:
    pem = make(file)
    der = ssl.PEM_cert_to_DER_cert(pem.decode())
    out = file.parent / "out"
    code, printed, err = told("export")
    assert (code, printed.encode()) == (0, pem)
    assert fingerprint(pem) in err
    for form in ("der", "mobileconfig"):
        assert told("export", "--format", form, "--out", str(out))[0] == 0
        assert out.stat().st_mode & 0o777 == 0o644
        if form == "der":
            assert out.read_bytes() == der
    profile = plistlib.loads(out.read_bytes())
    (payload,) = profile["PayloadContent"]
    assert (payload["PayloadType"], payload["PayloadContent"]) == ("com.apple.security.root", der)


def test_what_is_typed_elsewhere_has_the_root_in_it(file: Path, told: Told) -> None:
    """And its places: of the sites that have a port."""
    pem = make(file)
    code, out, _ = told("commands", "debian", "docker", "ios")
    assert code == 0
    assert pem.decode() in out
    assert f"echo '{hashlib.sha256(pem).hexdigest()}  certbotless.crt' | sha256sum -c" in out
    assert "cp certbotless.crt /usr/local/share/ca-certificates/certbotless-" in out
    assert "install -D -m 0644 certbotless.crt '/etc/docker/certs.d/HOST:PORT/ca.crt'" in out
    assert "Open the file of certbotless trust export --format mobileconfig" in out
    assert "k3s" not in out
    assert "# These lines are for Linux." in out
    assert "for Linux" not in told("commands", "debian", "docker")[1]
    assert "there is no system 'beos'" in told("commands", "beos")[2]


def test_where_the_daemon_hands_the_root_out_it_is_got_from_there(file: Path, told: Told) -> None:
    """The digest is in the line, so no way to the client can cheat."""
    pem = make(file)
    file.write_text(file.read_text() + "local_ca: {share: '10.79.40.213:9110'}\n")
    code, out, _ = told("commands")
    digest = hashlib.sha256(pem).hexdigest()
    line = f'curl -fsSO http://10.79.40.213:9110/root.crt && echo "{digest}  root.crt" | '
    assert code == 0
    assert line + "sha256sum -c || { rm -f root.crt; false; }\n" in out
    assert line + "shasum -a 256 -c || { rm -f root.crt; false; }\nsudo security add-trusted-cert" in out
    assert 'curl.exe -fsSo root.cer "http://10.79.40.213:9110/root.cer"\ncertutil -hashfile' in out
    assert "Open http://10.79.40.213:9110/root.mobileconfig" in out
    assert "BEGIN CERTIFICATE" not in out
    assert "curl -" not in told("commands", "windows")[1]
    assert "Clients get it at http://10.79.40.213:9110/\n" in told()[1]
    file.write_text(file.read_text().replace("10.79.40.213:9110", "127.0.0.1:9110"))
    assert "curl" not in told("commands")[1]


def test_a_link_at_the_place_of_the_export_is_replaced(file: Path, told: Told) -> None:
    make(file)
    other, out = file.parent / "other", file.parent / "out"
    other.write_text("kept")
    out.symlink_to(other)
    assert told("export", "--out", str(out))[0] == 0
    assert other.read_text() == "kept"
    assert not out.is_symlink()


@pytest.mark.parametrize(
    "permit", [("com",), ("lan", "example.com"), ("8.8.8.0/24",), ("0.0.0.0/0",), ("lan", "git")]
)
def test_a_root_that_may_vouch_for_more_than_the_file_says_is_refused(
    file: Path, told: Told, permit: tuple[str, ...]
) -> None:
    """Who takes over the service must not make root install it."""
    make(file, permit)
    code, out, err = told("export")
    assert (code, out) == (1, "")
    assert f"may vouch for {permit[-1]!r}" in err


def test_what_the_file_permits_is_handed_on(file: Path, told: Told) -> None:
    make(file, ("example.com", "git.lan"))
    text = file.read_text().replace("domain: devbox", "domain: devbox.lan")
    file.write_text(f"{text}local_ca: {{permit: [example.com, lan, 10.0.0.0/8]}}\n")
    assert told("export")[0] == 0


def test_other_certificates_are_refused(file: Path, told: Told) -> None:
    """The issuing certificate, two roots in one file, half a root, and a link to a good one."""
    pem = make(file)
    place = file.parent / "state/local-ca/root.pem"
    issuing = place.with_name("issuing.pem").read_bytes()
    for data in (issuing, pem * 2, pem[:-60], b""):
        place.write_bytes(data)
        assert told("export")[:2] == (1, "")
    place.with_name("good").write_bytes(pem)
    place.unlink()
    place.symlink_to("good")
    assert "symbolic link" in told("export")[2]


def test_root_reads_with_the_rights_of_the_owner(file: Path, told: Told) -> None:
    """A folder above that only root may enter is closed to it; then root has its rights again."""
    make(file)
    for folder in (file.parent, *file.parents[1:-2]):
        folder.chmod(0o755)
    state = file.parent / "state"
    for path in (state, *state.rglob("*")):
        os.chown(path, 65534, 65534)
    closed = file.parent / "closed"
    closed.mkdir(0o700)
    root = state / "local-ca/root.pem"
    secret = closed / "root.pem"
    secret.write_bytes(root.read_bytes())
    root.unlink()
    assert told("export")[0] == 1
    root.hardlink_to(secret)
    secret.chmod(0o600)
    assert "Permission denied" in told("export")[2]
    assert os.geteuid() == 0
    assert secret.read_bytes()


@pytest.fixture
def served(file: Path) -> None:
    """There is a CA, and the site has a service with a port."""
    make(file)
    file.write_text(file.read_text().replace("}]", ", deploy: [{container: registry, port: 5000}]}]"))


@pytest.mark.parametrize("system", ["docker", "podman", "containerd"])
def test_what_is_to_be_typed_is_what_the_page_has(system: str, served: None, told: Told) -> None:
    """A test of the page types it on real clients (tests/system/test_lan_clients.py)."""
    page = block("docs/local-ca-clients.md", system).text
    printed = told("commands", system)[1].replace("'", "")
    for part in page.replace("'", "").partition("\n")[::2]:
        assert part in printed


def test_what_is_to_be_typed_for_k3s_is_one_file(served: None, told: Told) -> None:
    """Each service is in both of its parts."""
    lines = told("commands", "k3s")[1].splitlines()
    text = lines[lines.index("mirrors:") : lines.index("systemctl restart k3s")]
    found = yaml.safe_load("\n".join(text))
    places = {"devbox:5000", "devbox.lan:5000", "10.79.40.213:5000"}
    assert found["mirrors"] == {place: {"endpoint": [f"https://{place}"]} for place in places}
    ca = {"tls": {"ca_file": "/etc/rancher/k3s/certbotless.crt"}}
    assert found["configs"] == dict.fromkeys(places, ca)


def test_a_system_that_takes_one_root_of_a_file_gets_a_file_for_each(file: Path, told: Told) -> None:
    """During a rotation. The others get one with both."""
    pems = [make(file), (ca := new_ca()).root_pem]
    alone = told("commands", "debian", "macos", "docker")[1]
    assert [alone.count(word) for word in ("BEGIN", "update-ca-certificates", "add-trusted-cert")] == [
        1,
        1,
        1,
    ]
    LocalCaFolder(file.parent / "state").make_next(ca)
    both = told("commands", "debian", "macos", "docker")[1]
    for pem in pems:
        assert both.count(pem.decode()) == 2
        name = f"certbotless-{hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()[:8]}.crt"
        assert f"cp {name} /usr/local/share/ca-certificates/{name} && update-ca-certificates" in both
        assert f"System.keychain {name}" in both
    assert both.count("install -D -m 0644 certbotless.crt") == 1


def test_the_help_names_the_systems_that_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["trust", "commands", "--help"])
    assert f"{', '.join(SYSTEMS)} (default: all)" in " ".join(capfd.readouterr().out.split())


def test_a_next_root_that_another_one_replaced_is_known_as_an_earlier_one(file: Path) -> None:
    """It signs nothing, so `install` removes it as `uninstall` does."""
    make(file)
    folder, dropped, coming = LocalCaFolder(file.parent / "state"), new_ca(), new_ca()
    folder.make_next(dropped)
    folder.make_next(coming)
    found = roots.read(load.load(file))
    assert [root.pem for root in found.known[1:]] == [coming.root_pem, dropped.root_pem]
    assert ([root.pem for root in found.old], found.kept) == ([dropped.root_pem], ())
