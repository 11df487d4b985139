"""What a second machine of the LAN meets: its Docker, and each other client, by the commands of the page."""

import re
import shlex
import shutil
import socket
import socketserver
import ssl
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support import tls_clients
from support.bed import LAN_NAME, wait_until
from support.commands import completed
from support.devbox import Devbox
from support.listeners import Served
from support.neighbour import FIRST6, Neighbour
from support.pages import Reading, block, exchanged, prose, yaml_after
from support.private_host import HOOKS, ROOTS, ip
from support.tls_clients import LIGHT, Kind, Place

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE
from certbotless.sandbox.registry import IMAGE, Registry
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca
from certbotless.world.acme import keys

PAGE = "docs/local-ca-clients.md"
# As the page has it, and of the registry that serves all names.
THEIRS, PORT = f"{LAN_NAME}:5000", 5001
LAN = tuple(Place(host, PORT) for host in (LAN_NAME, "devbox.lan", "git.registry.lan", LAN_ADDRESS, FIRST6))
# What a thief of our issuing key would like to be, and where all of them are.
FOREIGN = ("www.example.com", "8.8.8.8", "2001:db8::1")
ADDRESSES = {"8.8.8.8/32": "lo", "2001:db8::1/128": "lo", f"{FIRST6}/64": LAN_INTERFACE}
HOSTS = (f"{LAN_ADDRESS} devbox devbox.lan git.registry.lan www.example.com",)
ROOT = "certbotless.crt"


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, engine: Engine) -> Iterator[Devbox]:
    """A machine whose registry serves all names of `LAN` by its local CA."""
    first = Devbox(tmp_path_factory.mktemp("first"), engine)
    registry = Registry(engine, LAN_NAME, certs=first.certs, port=PORT, name="lan")
    registry.write_self_signed()
    with ExitStack() as stack:
        for address, interface in ADDRESSES.items():
            ip("address", "add", address, "dev", interface, *(["nodad"] if ":" in address else []))
            stack.callback(ip, "address", "delete", address, "dev", interface)
        registry.create()
        stack.callback(registry.remove)
        names = ["devbox.lan", "*.registry.lan", FIRST6]
        deploy = [{"container": "lan", "port": PORT}]
        site = {"domain": LAN_NAME, "ca": "local", "names": names, "with_address": True, "deploy": deploy}
        first.write({"sites": [site]})
        first.ok("--once")
        yield first


@pytest.fixture(scope="module")
def neighbour(first: Devbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Neighbour]:
    """Another machine, which knows the names; it trusts nothing yet."""
    routes = [address for address, interface in ADDRESSES.items() if interface == "lo"]
    with Neighbour(tmp_path_factory.mktemp("neighbour"), HOSTS, routes) as neighbour:
        for engine in (first.engine, neighbour.engine):
            engine.client().api.import_image_from_data(b"\0" * 1024, repository="busybox")
        yield neighbour


# --- the newcomer's path ------------------------------------------------------------------------------------


@pytest.mark.page("docs/local-ca-clients.md", "plain", "refused", "words", "certificate", "push")
def test_from_plain_http_to_a_push_from_another_machine(
    first: Devbox, neighbour: Neighbour, tmp_path: Path, paper: Reading
) -> None:
    """Nothing is restarted there, and certbotless reaches for nothing beyond this machine."""
    mine = Devbox(tmp_path, first.engine)
    # The image is made of Debian's package, which has other paths than the one on the hub.
    image = {
        "docker run ": "docker run --entrypoint=/bin/registry -e OTEL_TRACES_EXPORTER=none ",
        f" {IMAGE}": f" {IMAGE} serve /etc/docker-registry/config.yml",
    }
    try:
        run, *pushes = paper.commands(PAGE, "plain")
        mine.types(exchanged(run, image))
        wait_until(
            lambda: completed(["curl", "-fsS", "http://localhost:5000/v2/"]).returncode == 0, "it runs"
        )
        for line in pushes:
            mine.types(line)
        tag, push = paper.commands(PAGE, "refused")
        neighbour.types(tag)
        done = neighbour.run("sh", "-euc", push)
        assert done.returncode != 0
        assert paper.text(PAGE, "words").strip() in done.stderr

        pid = neighbour.engine_pid
        mine.write(yaml_after(PAGE, "words", {}))
        remove, run, once, ask = paper.commands(PAGE, "certificate")
        mine.types(remove)
        mine.types(exchanged(run, image | {"-v /certs:": f"-v {mine.certs}:"}))
        mine.types(once)
        assert {LAN_ADDRESS} <= mine.spoken_to() <= {LAN_ADDRESS, "127.0.0.1"}
        assert f"{ROOT}: OK" in neighbour.types(mine.types(ask))
        pushed = paper.commands(PAGE, "push")
        for line in pushed:
            neighbour.types(line)
        images = neighbour.engine.client().images
        digests = set()
        for name in re.findall(r"docker push (\S+)", "\n".join(pushed)):
            images.remove(name)
            neighbour.ok("docker", "pull", name)
            digests |= {found.partition("@")[2] for found in images.get(name).attrs["RepoDigests"]}
        assert len(digests) == 1
        assert neighbour.engine_pid == pid
    finally:
        mine.types("docker rm --force --volumes registry")
        mine.types("docker volume rm --force registry-data")


# --- each kind of client ------------------------------------------------------------------------------------


class _Impostor(socketserver.ThreadingTCPServer):
    """A service with a certificate of ours that our CA would not sign; it answers any request."""

    address_family = socket.AF_INET6
    daemon_threads = True

    def __init__(self, first: Devbox, name: str) -> None:
        key, now = keys.new_key("ec256"), datetime.now(UTC)
        ca = LocalCaFolder(first.state).load()
        assert ca is not None
        chain = local_ca.sign(ca, key, (name,), now, timedelta(days=30))
        (pair := first.home / f"{name}.pem").write_bytes(chain + keys.key_to_pem(key))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(pair)
        super().__init__(("::", 0), socketserver.BaseRequestHandler)

    def finish_request(self, request: Any, client_address: object) -> None:
        with suppress(OSError), self._tls.wrap_socket(request, server_side=True) as tls:
            tls.recv(65536)
            tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")


@pytest.fixture(scope="module")
def foreign(first: Devbox) -> Iterator[list[Place]]:
    """Where impostors are."""
    with ExitStack() as stack:
        servers = [_Impostor(first, name) for name in FOREIGN]
        for server in servers:
            stack.enter_context(Served(server))
        yield [Place(name, server.server_address[1]) for name, server in zip(FOREIGN, servers, strict=True)]


@pytest.fixture(scope="module")
def places(foreign: list[Place]) -> list[Place]:
    """All places: first those that are to be trusted."""
    return [*LAN, *foreign]


_FORGET = f"""
rm -rf "$HOME"/* "$HOME"/.[a-z]* /etc/docker/certs.d /etc/containers/certs.d /etc/containerd/certs.d
! rm {ROOTS}/*.crt 2>/dev/null || update-ca-certificates --fresh
"""


@pytest.fixture
def rooted(first: Devbox, neighbour: Neighbour) -> Neighbour:
    """The other machine has the root as a file, and trusts nothing."""
    neighbour.types(_FORGET)
    first.ok("trust", "export", "--out", str(neighbour.home / ROOT))
    return neighbour


def typed(there: Neighbour, commands: str, places: Sequence[Place]) -> None:
    """Type commands of the page for each of these places."""
    for place in places:
        there.types(exchanged(commands, {THEIRS: place.where}))


def assert_bounded(kinds: dict[str, Kind], there: Neighbour, places: Sequence[Place]) -> None:
    """Each client trusts those of the LAN, and refuses the others for what they are."""
    wrong = []
    for name, kind in kinds.items():
        asked = [place for place in places if kind.takes_ipv6 or ":" not in place.host]
        for place, said in zip(asked, kind.client(there, asked), strict=True):
            if bool(said) == (place in LAN) or (said and not re.search(kind.refusal, said)):
                wrong.append(f"{name}, {place.where}: {said or 'trusted'}")
        print(f"{name}: asked {len(asked)} places, {sum(place in LAN for place in asked)} of the LAN")
    assert wrong == []


@pytest.mark.page("docs/local-ca-clients.md", "export", "fingerprint", "git", "debian", "docker")
def test_programs_of_the_machine_trust_the_lan_and_nothing_beyond_it(
    first: Devbox, neighbour: Neighbour, places: list[Place], paper: Reading
) -> None:
    neighbour.types(_FORGET)
    (export,) = paper.commands(PAGE, "export")
    first.types(export)
    shutil.copy(first.home / ROOT, neighbour.home)
    shown = neighbour.types(paper.text(PAGE, "fingerprint"))
    assert shown.strip().partition("=")[2] in first.ok("trust")

    git = LIGHT["git"].client
    assert all(git(neighbour, LAN))
    typed(neighbour, paper.text(PAGE, "git"), LAN[:1])
    assert [bool(said) for said in git(neighbour, LAN[:2])] == [False, True]

    neighbour.types(paper.text(PAGE, "debian"))
    typed(neighbour, paper.text(PAGE, "docker"), places)
    assert_bounded(LIGHT, neighbour, places)


# --- clients that take seconds ------------------------------------------------------------------------------


@pytest.mark.soak
@pytest.mark.page("docs/local-ca-clients.md", "python", "node")
def test_programs_with_lists_of_their_own_trust_what_a_variable_adds(
    rooted: Neighbour, places: list[Place], paper: Reading
) -> None:
    python, node = (paper.text(PAGE, name) for name in ("python", "node"))
    assert all(tls_clients.requests("")(rooted, LAN))
    assert all(tls_clients.node("")(rooted, LAN))
    rooted.types(block(PAGE, "debian").text)
    kinds = {
        "requests": Kind(tls_clients.requests(python), "permitted subtree violation"),
        "Node": Kind(tls_clients.node(node), "permitted subtree violation"),
        "Go": Kind(tls_clients.go, "is not permitted by any constraint"),
    }
    assert_bounded(kinds, rooted, places)


@pytest.mark.soak
@pytest.mark.page("docs/local-ca-clients.md", "java")
def test_java_trusts_what_is_in_its_own_list_or_in_that_of_debian(
    rooted: Neighbour, places: list[Place], paper: Reading
) -> None:
    kinds = {"Java": Kind(tls_clients.java, "name constraints check failed")}
    assert all(tls_clients.java(rooted, LAN))
    rooted.types(paper.text(PAGE, "java"))
    assert_bounded(kinds, rooted, places)
    remove = re.findall(r"`(keytool -delete [^`]*)`", prose(PAGE))[0]
    rooted.types(remove)
    assert all(tls_clients.java(rooted, LAN))
    rooted.types(f"umount {HOOKS}")
    rooted.types(block(PAGE, "debian").text)
    assert_bounded(kinds, rooted, places)
    rooted.types(f"mount -t tmpfs neighbour {HOOKS}")


@pytest.mark.soak
@pytest.mark.parametrize("has_old_folder", [False, True])
@pytest.mark.page("docs/local-ca-clients.md", "chromium")
def test_chromium_and_nss_trust_what_is_in_the_database_of_the_user(
    rooted: Neighbour, places: list[Place], paper: Reading, has_old_folder: bool
) -> None:
    new, old = (rooted.home / folder for folder in (".local/share/pki/nssdb", ".pki/nssdb"))
    if has_old_folder:
        old.mkdir(parents=True)
    rooted.types(paper.text(PAGE, "chromium"))
    database = old if has_old_folder else new
    assert (database / "cert9.db").exists()
    kinds = {
        "Chromium": Kind(tls_clients.chromium(rooted.home / "profile"), "ERR_CERT_INVALID"),
        # It has no other words for it; the same issuer is known for the LAN.
        "NSS": Kind(tls_clients.nss(database), "SEC_ERROR_UNKNOWN_ISSUER"),
    }
    assert_bounded(kinds, rooted, places)


@pytest.mark.soak
@pytest.mark.page("docs/local-ca-clients.md", "firefox")
def test_firefox_trusts_what_its_policy_installs(
    rooted: Neighbour, places: list[Place], paper: Reading
) -> None:
    rooted.types(f"cp {ROOT} {ROOTS}; mkdir -p /etc/firefox/policies")
    with (rooted.home / "policies.json").open("w") as file:
        file.write(paper.text(PAGE, "firefox"))
    assert all(tls_clients.firefox(rooted.home / "before")(rooted, LAN))
    rooted.types("cp policies.json /etc/firefox/policies")
    kinds = {"Firefox": Kind(tls_clients.firefox(rooted.home / "profile"), "^insecure certificate$")}
    assert_bounded(kinds, rooted, places)


@pytest.mark.soak
@pytest.mark.page("docs/local-ca-clients.md", "podman", "containerd", "ctr")
def test_engines_trust_what_is_in_the_folder_of_a_place(
    rooted: Neighbour, places: list[Place], paper: Reading, tmp_path: Path
) -> None:
    socket = rooted.engine.socket.parent / "exec/containerd/containerd.sock"
    (line,) = paper.commands(PAGE, "ctr")
    containerd = tls_clients.containerd(socket, line, f"{THEIRS}/busybox:latest")
    kinds = {
        "Podman": Kind(tls_clients.podman(tmp_path), "is not permitted by any constraint", takes_ipv6=False),
        "Skopeo": Kind(tls_clients.skopeo, "is not permitted by any constraint", takes_ipv6=False),
        "containerd": Kind(containerd, "is not permitted by any constraint", takes_ipv6=False),
    }
    assert all(said for kind in kinds.values() for said in kind.client(rooted, LAN[:1]))
    for name in ("podman", "containerd"):
        typed(rooted, paper.text(PAGE, name), places)
    assert_bounded(kinds, rooted, places)
    typed(rooted, block(PAGE, "docker").text, LAN[:1])
    image = f"{LAN[0].where}/busybox"
    rooted.types(f"docker tag busybox {image}; docker push {image}")
    pull = exchanged(line, {THEIRS: LAN[0].where})
    assert "done" in rooted.ok("env", f"CONTAINERD_ADDRESS={socket}", *shlex.split(pull))
