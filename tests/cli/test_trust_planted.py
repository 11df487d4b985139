"""`certbotless trust` for root, while an intruder has the account of the service: what is planted is refused.

The intruder writes below state_dir: roots, what is noted of them, and the states of sites. Root must not
install a root that may vouch for the Internet, follow a link, wait, or write outside its places.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ObjectIdentifier
from support.children import at_each_step
from support.roots import (
    LAN,
    NO_IPV4,
    NO_IPV6,
    NO_NAME,
    builder,
    constraints,
    made_root,
    make_ca,
    plant,
    signed,
)

from certbotless.base.errors import StoreError
from certbotless.cli.main import main
from certbotless.cli.trust.folders import ContainerdStore, FolderStore
from certbotless.cli.trust.places import places
from certbotless.cli.trust.roots import Roots
from certbotless.config import load
from certbotless.state.site import SiteFile
from certbotless.world.local_root import read_root

Told = Callable[..., tuple[int, str, str]]
_SERVICE = 65534
_NET = x509.IPAddress(ip_network("10.0.0.0/8"))


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"state_dir: {tmp_path / 'state'}\ncerts_dir: {tmp_path / 'certs'}\n"
        "sites: [{domain: devbox, ca: local, deploy: [{container: registry}]}]\n"
    )
    make_ca(tmp_path / "state")
    return path


@pytest.fixture
def told(file: Path, capfd: pytest.CaptureFixture[str]) -> Told:
    """What each command that hands the root on says; none may hand on what another one refuses."""

    def said(*arguments: str) -> tuple[int, str, str]:
        return main(["--config", str(file), "trust", *(arguments or ("export",))]), *capfd.readouterr()

    return said


@pytest.fixture
def service(file: Path) -> Iterator[Path]:
    """The folder of the CA, which belongs to another user than root."""
    for folder in (file.parent, *file.parents[1:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    give(file.parent / "state")
    yield file.parent / "state/local-ca"
    assert os.geteuid() == 0


def give(top: Path) -> None:
    for path in (top, *top.rglob("*")):
        os.chown(path, _SERVICE, _SERVICE, follow_symlinks=False)


# --- roots --------------------------------------------------------------------------------------------------


def twice() -> bytes:
    """Return a root with two name constraints, of which a program may read either."""
    key = ec.generate_private_key(ec.SECP256R1())
    more = x509.UnrecognizedExtension(ObjectIdentifier("2.5.29.99"), LAN.public_bytes())
    made = x509.load_pem_x509_certificate(signed(builder(LAN), [more], key))
    tbs = made.tbs_certificate_bytes.replace(b"\x55\x1d\x63", b"\x55\x1d\x1e")
    while len(signature := key.sign(tbs, ec.ECDSA(hashes.SHA256()))) != len(made.signature):
        pass
    der = made.public_bytes(serialization.Encoding.DER)
    der = der.replace(made.tbs_certificate_bytes, tbs).replace(made.signature, signature)
    return x509.load_der_x509_certificate(der).public_bytes(serialization.Encoding.PEM)


def of_another_key() -> bytes:
    """Return a root that its own key has not signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    return signed(builder(LAN), (), key, public_key=ec.generate_private_key(ec.SECP256R1()).public_key())


EVIL: dict[str, Callable[[], bytes]] = {
    "not critical": lambda: made_root(is_critical=False),
    "no limits": lambda: made_root(None),
    "every name": lambda: made_root(constraints([*dns(""), _NET], [NO_IPV6])),
    "a dot": lambda: made_root(constraints([*dns("."), _NET], [NO_IPV6])),
    "a top-level domain": lambda: made_root(constraints([*dns("com"), _NET], [NO_IPV6])),
    "a public domain beside one of the LAN": lambda: made_root(
        constraints([*dns("lan", "example.com"), _NET], [NO_IPV6])
    ),
    "a public network": lambda: made_root(
        constraints([*dns("lan"), x509.IPAddress(ip_network("8.0.0.0/8"))], [NO_IPV6])
    ),
    "every address": lambda: made_root(constraints([*dns("lan"), NO_IPV4], [NO_IPV6])),
    "every IPv6 address": lambda: made_root(constraints([*dns("lan"), _NET, NO_IPV6])),
    "no word of IPv4": lambda: made_root(constraints(dns("lan"), [NO_IPV6])),
    "no word of IPv6": lambda: made_root(constraints([*dns("lan"), _NET])),
    "no word of names": lambda: made_root(constraints([_NET], [NO_IPV6])),
    # What limits names only would pass for a limit of addresses.
    "a network as a name": lambda: made_root(constraints(dns("lan", "10.0.0.0/8"), [NO_IPV6])),
    "no IPv4, as a name": lambda: made_root(constraints(dns("lan"), [*dns("0.0.0.0/0"), NO_IPV6])),
    "no IPv6, as a name": lambda: made_root(constraints([*dns("lan"), _NET], dns("::/0"))),
    "a name that ends in C": lambda: made_root(constraints([*dns("com\0.lan"), _NET], [NO_IPV6])),
    "a network that is none": lambda: made_root(constraints([*dns("com/"), _NET], [NO_IPV6])),
    "capitals": lambda: made_root(constraints([*dns("LAN"), _NET], [NO_IPV6])),
    "a line end": lambda: made_root(constraints([*dns("com\n.lan"), _NET], [NO_IPV6])),
    "a limit of e-mail": lambda: made_root(
        constraints([*dns("lan"), _NET, x509.RFC822Name("lan")], [NO_IPV6])
    ),
    "two limits": twice,
    "a longer chain": lambda: made_root(path_length=2),
    "any chain": lambda: made_root(path_length=None),
    "any use": lambda: made_root(uses=()),
    "another use": lambda: made_root(uses=[ExtendedKeyUsageOID.EMAIL_PROTECTION]),
    "more uses": lambda: made_root(uses=[ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CODE_SIGNING]),
    "names of its own": lambda: made_root(more=[x509.SubjectAlternativeName(dns("www.example.com"))]),
    "a life of ages": lambda: made_root(life=timedelta(days=365 * 7900)),
    "another signer": of_another_key,
    "two roots": lambda: made_root() + made_root(),
    "none": lambda: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
}


def test_a_root_within_the_rules_is_handed_on(file: Path, told: Told) -> None:
    """The roots below are refused for one reason each."""
    names_only = constraints(dns("lan"), [NO_IPV4, NO_IPV6])
    addresses_only = constraints([_NET], [NO_NAME, NO_IPV6])
    for limits in (LAN, names_only, addresses_only, constraints([*dns(".lan"), _NET], [NO_IPV6])):
        pem = made_root(limits)
        plant(file.parent / "state", pem)
        assert told()[:2] == (0, pem.decode())


@pytest.mark.parametrize("kind", EVIL)
def test_a_root_beyond_the_rules_is_handed_on_by_no_command(file: Path, told: Told, kind: str) -> None:
    plant(file.parent / "state", EVIL[kind]())
    for command in ("export", "show", "commands", "install", "uninstall"):
        code, out, err = told(command)
        assert (code, out) == (1, ""), (command, out)
        assert "refused" in err or "damaged" in err


@pytest.mark.process
def test_a_root_that_is_handed_on_vouches_for_servers_alone(tmp_path: Path) -> None:
    """An intruder who makes it has its key: no mail, program or person is trusted by it on any machine."""
    key, who = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    for uses, is_trusted in (((ExtendedKeyUsageOID.SERVER_AUTH,), False), ((), True)):
        pem = signed(builder(LAN, uses=uses), (), key)
        root = x509.load_pem_x509_certificate(pem)
        mail = x509.SubjectAlternativeName([x509.RFC822Name("someone@example.com")])
        times = (root.not_valid_before_utc, root.not_valid_after_utc)
        leaf = x509.CertificateBuilder(root.subject, who, key.public_key(), 1, *times)
        leaf = leaf.add_extension(mail, critical=True)
        (tmp_path / "root").write_bytes(pem)
        (tmp_path / "leaf").write_bytes(
            leaf.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )
        verify = ("openssl", "verify", "-purpose", "smimesign", "-CAfile", "root", "leaf")
        done = subprocess.run(verify, cwd=tmp_path, check=False, capture_output=True)
        assert (done.returncode == 0) is is_trusted


def test_the_name_of_a_root_is_printed_as_one_line(file: Path, told: Told) -> None:
    """It is foreign text, for a terminal and for a shell."""
    pem = made_root(name="certbotless \x1b[2J\nrm -rf x")
    plant(file.parent / "state", pem)
    for arguments in (("show",), ("commands",), ("export", "--format", "mobileconfig")):
        code, out, err = told(*arguments)
        assert code == 0
        assert "\x1b" not in out + err
        assert "\nrm" not in out + err


# --- files --------------------------------------------------------------------------------------------------


def fifo(path: Path) -> None:
    os.mkfifo(path)


def link(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"x")
    path.symlink_to("elsewhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.mkdir()


def listener(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound, chdir(path.parent):
        bound.bind(path.name)


def huge(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


def nested(path: Path) -> None:
    path.write_bytes(b"[" * 1_000_000)


def wrong(path: Path) -> None:
    path.write_bytes(b'{"ca": {"root_sha256": ["../../etc/shadow"], "permit": 1}, "files": [], "old": {}}')


@pytest.mark.parametrize("name", ["root.pem", "ca.json", "next/root.pem", "next/ca.json"])
@pytest.mark.parametrize("put", [fifo, link, endless, folder, listener, huge, nested, wrong])
def test_what_is_no_plain_file_of_a_sensible_size_is_refused_at_once(
    told: Told, service: Path, name: str, put: Callable[[Path], None]
) -> None:
    if name.startswith("next"):
        (service / "next").mkdir()
        for each in ("root.pem", "ca.json"):
            (service / "next" / each).write_bytes((service / each).read_bytes())
    (service / name).unlink()
    put(service / name)
    give(service)
    code, out, err = told()
    assert (code, out) == (1, "")
    assert "cannot read" in err or "damaged" in err


@pytest.mark.parametrize("name", ["", "next", "old"])
def test_a_link_in_place_of_a_folder_is_refused(told: Told, service: Path, name: str) -> None:
    """Even one that leads to a CA."""
    place, elsewhere = service / name, service.parent / "elsewhere"
    if name:
        place.mkdir()
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    assert "symbolic link" in told()[2]


@pytest.mark.process
def test_a_root_that_changes_meanwhile_is_a_good_one_or_refused(file: Path, told: Told) -> None:
    """What is checked is what is handed on: the two take each other's place a thousand times a second."""
    state = file.parent / "state"
    evil, good = (
        made_root(constraints([*dns("com"), _NET], [NO_IPV6])),
        (state / "local-ca/root.pem").read_bytes(),
    )
    (state / "local-ca").rename(state / "good")
    plant(state, evil)
    (state / "local-ca").rename(state / "evil")
    script = (
        "import os, itertools\n"
        "for n in itertools.count():\n"
        "    name = ('good', 'evil')[n % 2]\n"
        "    os.rename(name, 'local-ca'); os.rename('local-ca', name)\n"
        "    for each in ('root.pem', 'ca.json'):\n"
        "        os.rename(f'good/{each}', each); os.rename(f'evil/{each}', f'good/{each}')\n"
        "        os.rename(each, f'evil/{each}')\n"
    )
    seen = set()
    with swapping(script, state):
        for _ in range(150):
            code, out, err = told()
            assert (code, out) in ((0, good.decode()), (1, "")), err
            seen.add(code)
    assert 1 in seen


@contextmanager
def swapping(script: str, where: Path) -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", script], cwd=where) as other:
        try:
            yield
        finally:
            other.kill()


# --- what root writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("ports", [{"registry": 70000}, {"registry": -1}, {"registry": 0}])
def test_ports_of_a_planted_state_make_no_folder(file: Path, told: Told, ports: dict[str, int]) -> None:
    SiteFile(file.parent / "state", "devbox").change(ports=ports)
    code, out, _err = told("commands", "docker")
    assert "devbox:70000" not in out
    assert "devbox:-1" not in out
    assert code == (0 if ports == {"registry": 0} else 1)


def test_a_planted_state_does_not_fill_etc(file: Path) -> None:
    file.write_text(file.read_text().replace("container: registry", "label: certbotless.site=devbox"))
    config = load.load(file)
    (target,) = config.sites[0].deploy
    names = tuple(f"c{i}" for i in range(60000))
    ports = {name: number + 1 for number, name in enumerate(names)}
    SiteFile(file.parent / "state", "devbox").change(ports=ports, matched={target.label: names})
    with pytest.raises(StoreError, match="ports that no service has"):
        places(config)


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/cron.d/x", ".", "..", "a/b", "a\n", "a\0"])
def test_a_name_that_would_leave_the_folder_is_none(file: Path, name: str) -> None:
    """Names are the configuration's, which root writes; they are checked all the same."""
    file.write_text(file.read_text().replace("domain: devbox", f"domain: devbox, names: [{name!r}]"))
    assert main(["--config", str(file), "trust", "commands", "docker"]) == 2


def test_an_earlier_root_never_comes_in(tmp_path: Path) -> None:
    """It is only removed, so it may vouch for anything; who writes its list must gain nothing by it."""
    good = read_root(made_root(), "good")
    earlier = read_root(made_root(constraints([*dns("com"), _NET], [NO_IPV6])), "earlier")
    foreign = tmp_path / "certs.d/other:443/ca.crt"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(made_root())
    store = FolderStore("docker", (), tmp_path / "certs.d")
    done = store.bring(Roots(tmp_path, good, old=(earlier,), kept=(earlier,)), ["devbox:5000"])
    assert done.failed == []
    assert (tmp_path / "certs.d/devbox:5000/ca.crt").read_bytes() == good.pem
    assert foreign.read_bytes()
    # Where it is already, it may stay until its end, and no other root comes in.
    foreign.write_bytes(earlier.pem)
    store.bring(Roots(tmp_path, good, old=(earlier,), kept=(earlier,)), ["devbox:5000"])
    assert foreign.read_bytes() == earlier.pem
    store.bring(Roots(tmp_path, good, old=(earlier,)), ["devbox:5000"])
    assert not foreign.exists()
    with suppress(FileNotFoundError):
        foreign.parent.rmdir()


def test_a_root_that_has_ended_takes_no_file_of_others_away(tmp_path: Path) -> None:
    """There is nothing to write then; what is ours goes."""
    ended = replace(read_root(made_root(), "ended"), not_after=datetime(2020, 1, 1, tzinfo=UTC))
    foreign, ours = (tmp_path / "certs.d" / place / "ca.crt" for place in ("a:1", "b:1"))
    for path, data in ((foreign, made_root()), (ours, ended.pem)):
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    store = FolderStore("docker", (), tmp_path / "certs.d")
    done = store.bring(Roots(tmp_path, ended), ["a:1", "b:1", "c:1"])
    assert (done.written, done.removed, done.failed) == ([], [str(ours)], [])
    assert foreign.exists()


def test_a_link_in_the_way_of_a_store_is_not_followed(tmp_path: Path) -> None:
    """The folder of a service, or the file, may be a link of another program."""
    good, elsewhere = read_root(made_root(), "good"), tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "certs.d").mkdir()
    (tmp_path / "certs.d/a:1").symlink_to(elsewhere)
    (tmp_path / "certs.d/b:1").mkdir()
    (tmp_path / "certs.d/b:1/ca.crt").symlink_to(elsewhere / "ca.crt")
    (tmp_path / "certs.d/c:1").write_text("a file")
    store = FolderStore("docker", (), tmp_path / "certs.d")
    done = store.bring(Roots(tmp_path, good), ["a:1", "b:1", "c:1"])
    assert len(done.failed) == 3
    assert [*elsewhere.iterdir()] == []
    (elsewhere / "ca.crt").write_bytes(good.pem)
    assert store.bring(Roots(tmp_path, good).unwanted, []).removed == []
    assert len(store.bring(Roots(tmp_path, good), ["a:1", "b:1", "c:1"]).failed) == 3
    assert (elsewhere / "ca.crt").exists()


@pytest.mark.process
@pytest.mark.parametrize("store", [FolderStore, ContainerdStore], ids=["docker", "containerd"])
@pytest.mark.parametrize("verb", ["install", "uninstall"])
@pytest.mark.parametrize("what", ["place", "store"])
def test_a_link_that_is_put_in_the_way_meanwhile_is_not_followed(
    tmp_path: Path, store: type[FolderStore], verb: str, what: str
) -> None:
    """At whichever step, by one who may write to the folder of the store, or to that above it."""
    root, elsewhere, at = read_root(made_root(), "root"), tmp_path / "elsewhere", "devbox:5000"
    (elsewhere / at).mkdir(parents=True)
    theirs = {"ca.crt": b"of another program", "hosts.toml": b"too", ".made-by-certbotless": b""}
    for name, data in theirs.items():
        (elsewhere / at / name).write_bytes(data)
    names: list[Path] = []

    def act(step: int) -> Callable[[], object]:
        here = store("engine", (), tmp_path / str(step))
        names[:] = [here.folder / at if what == "place" else here.folder]
        if verb == "uninstall":
            here.bring(Roots(tmp_path, root), [at])
            return lambda: here.bring(Roots(tmp_path, root).unwanted, [])
        return lambda: here.bring(Roots(tmp_path, root), [at])

    def swap() -> None:
        if names[0].is_dir():
            names[0].rename(f"{names[0]}.away")
        names[0].parent.mkdir(exist_ok=True)
        names[0].symlink_to(elsewhere / at if what == "place" else elsewhere)

    assert sum(1 for _ in at_each_step(act, swap)) > 5
    assert {path.name: path.read_bytes() for path in (elsewhere / at).iterdir()} == theirs
    assert [path.name for path in elsewhere.iterdir()] == [at]
