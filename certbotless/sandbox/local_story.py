"""The sandbox's story of the local CA: a machine signs for its own registry, and a second one trusts it.

Owns which machines there are, what is typed on each, and what must be so after it. There is no account, no
ACME server and no way to the Internet. All of it happens on a private host, which ends with it.
"""

import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography import x509

from .clients import Clients
from .dnsserver import NameServer
from .engine import Engine
from .host import HOST_NAME, LAN_ADDRESS, LAN_INTERFACE
from .neighbour import Neighbour
from .registry import RefusedByEngine, Registry, served_sha256
from .teller import CERTS, CONFIG, IMAGE, PORT, Teller, all_saw, certbotless, served_is_file, story_of
from .zonedata import Record, ZoneData

NAMES = (HOST_NAME, f"{HOST_NAME}.lan")
NEXT_ADDRESS = "10.79.40.77"
LAPTOP, RESOLVER = "10.79.40.20", "10.79.40.53"
ROOT = Path("/var/lib/certbotless/local-ca/root.pem")
# A second machine needs no network for containers.
# What `certbotless trust` prints of a certificate (RFC 7468); DER begins so.
_BASE64, _FIRST_BYTES = re.compile(r"[A-Za-z0-9+/=]+\n"), "MII"
_NO_NETWORK = ["--bridge=none", "--iptables=false", "--ip6tables=false"]

CONFIG_TEXT = """\
docker:
  host: {docker_host}
sites:
  - domain: {domain}
    ca: local
    names: [{names}]
    with_address: true
    deploy:
      - container: registry
        port: {port}
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """The machines, all alive.

    Attributes:
        engine: that of devbox.
        registry: its container.
        laptop: the second machine.
        client: what the engine of the laptop pushes to and pulls from.
        names: what the LAN's resolver answers.
    """

    engine: Engine
    registry: Registry
    laptop: Neighbour
    client: Registry
    names: ZoneData


def main() -> int:
    """Tell the story; return 0 if every fact held, else 1."""
    return story_of(live, "Next: docs/local-ca.md, for your own LAN.")


def live(tell: Teller, workdir: Path, alive: ExitStack) -> None:
    """Go through all steps; the machines end with `alive`."""
    parts = start(tell, workdir, alive)
    today(tell, parts)
    parts = configure(tell, parts)
    first_run(tell, parts)
    install_root(tell, parts)
    push_and_pull(tell, parts)
    move(tell, parts)
    rotate(tell, parts)
    quiet(tell)


def start(tell: Teller, workdir: Path, alive: ExitStack) -> Parts:
    """Start the machines, which end with `alive`."""
    tell.step("The parts, and where they are")
    tell.say(
        f"A private host, {HOST_NAME}: own network, mounts and processes; {LAN_ADDRESS} on {LAN_INTERFACE}"
    )
    names = ZoneData(NAMES, 1)
    point(names, LAN_ADDRESS)
    alive.enter_context(_resolver(names))
    tell.say(f"The LAN's resolver, as in a router, on {RESOLVER}: {' and '.join(NAMES)} are {LAN_ADDRESS}")
    folder = workdir / "laptop"
    folder.mkdir()
    laptop = alive.enter_context(Neighbour(folder, f"{LAPTOP}/24", RESOLVER))
    tell.say(f"A second machine, {laptop.name}: own network and /etc; {LAPTOP}, on the same LAN")
    tell.say("    no way to the Internet, no domain, no account, no ACME server")
    engine = alive.enter_context(Engine(workdir))
    remote = alive.enter_context(Engine(folder, _NO_NETWORK, laptop.through))
    version = engine.client().version()["Version"]
    tell.say(f"A real Docker engine {version} on each")
    registry = Registry(engine, HOST_NAME, certs=CERTS, port=PORT, is_plain=True)
    registry.create()
    tell.say(f"A real registry in a container on {HOST_NAME}, -p {PORT}:5000, without TLS")
    return Parts(engine, registry, laptop, Registry(remote, HOST_NAME, port=PORT), names)


@contextmanager
def _resolver(names: ZoneData) -> Iterator[None]:
    """Let the LAN have a resolver, at an address of its own."""
    subprocess.run(["ip", "address", "add", f"{RESOLVER}/32", "dev", "lo"], check=True)
    server = NameServer(0, names, [RESOLVER], 53, lambda _: None)
    server.start()
    try:
        yield
    finally:
        server.stop()
        subprocess.run(["ip", "address", "delete", f"{RESOLVER}/32", "dev", "lo"], check=True)


def point(names: ZoneData, address: str) -> None:
    """Let each name lead to this address, and to no other."""
    for name in NAMES:
        names.put(Record(name, name, "@", "A", address, ttl_s=0))


def today(tell: Teller, parts: Parts) -> None:
    """Show that a registry without TLS is for its own machine alone."""
    tell.step("Today: plain HTTP")
    tell.say(f"{HOST_NAME}$ docker push localhost:{PORT}/{IMAGE}")
    tell.quote(parts.registry.push(IMAGE, name="localhost"))
    tell.fact("push accepted, on localhost", True)
    refused(tell, parts, LAN_ADDRESS, "server gave HTTP response to HTTPS client")


def refused(tell: Teller, parts: Parts, name: str, reason: str) -> None:
    """Show that the second machine's engine does not push to this name."""
    tell.say(f"{parts.laptop.name}$ docker push {name}:{PORT}/{IMAGE}")
    try:
        parts.client.push(IMAGE, name=name)
    except RefusedByEngine as error:
        tell.quote(str(error))
        tell.fact(f"push refused: {reason}", reason in str(error))
    else:
        tell.fact(f"push to {name} is refused", False)


def configure(tell: Teller, parts: Parts) -> Parts:
    """Write the program's configuration, and have a registry that serves what will be in its files."""
    tell.step(f"One file, {CONFIG}")
    text = CONFIG_TEXT.format(
        docker_host=parts.engine.docker_host, domain=HOST_NAME, names=NAMES[1], port=PORT
    )
    CONFIG.write_text(text)
    tell.quote(text)
    certbotless(tell, "check")
    tell.say(f"{HOST_NAME}$ docker rm -f registry; docker run -d --restart=always --name registry \\")
    tell.say(
        f"    -p {PORT}:5000 -v {CERTS}:/certs:ro -e REGISTRY_HTTP_TLS_CERTIFICATE=/certs/{HOST_NAME}.pem \\"
    )
    tell.say(f"    -e REGISTRY_HTTP_TLS_KEY=/certs/{HOST_NAME}.key registry:2")
    parts.registry.remove()
    registry = Registry(parts.engine, HOST_NAME, certs=CERTS, port=PORT)
    registry.create(waits=False)
    tell.say("it restarts until its certificate is there")
    certbotless(tell, "plan")
    return replace(parts, registry=registry)


def first_run(tell: Teller, parts: Parts) -> None:
    """Let the CA be made, and its first certificate."""
    tell.step("The first run: CA, certificate, files, restart, proof")
    certbotless(tell, "--once")
    served_is_file(tell, HOST_NAME, LAN_ADDRESS)
    covers(tell, LAN_ADDRESS)
    certbotless(tell, "trust")
    roots = x509.load_pem_x509_certificates(ROOT.read_bytes())
    limits = [root.extensions.get_extension_for_class(x509.NameConstraints) for root in roots]
    tell.fact(
        "the root can vouch for names and addresses of a LAN only", all(limit.critical for limit in limits)
    )
    refused(tell, parts, LAN_ADDRESS, "x509: certificate signed by unknown authority")


def covers(tell: Teller, address: str) -> None:
    """Verify that the certificate in the file is for each name and this address, and nothing else."""
    leaf = x509.load_pem_x509_certificates((CERTS / f"{HOST_NAME}.pem").read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    tell.fact(
        f"certificate: it is for {', '.join(NAMES)} and {address}", sorted(found) == sorted([*NAMES, address])
    )


def install_root(tell: Teller, parts: Parts) -> None:
    """Type on the second machine what the first one prints."""
    tell.step(f"The root comes to {parts.laptop.name}")
    typed = certbotless(tell, "trust", "commands", "docker", shown=_without_bytes)
    tell.say(f"{parts.laptop.name}# these lines, pasted in {parts.laptop.workdir}")
    tell.quote(parts.laptop.typed(typed))
    held = parts.laptop.typed(f"cat /etc/docker/certs.d/{HOST_NAME}:{PORT}/ca.crt")
    tell.fact(f"{parts.laptop.name} has the root, byte for byte", held == ROOT.read_text())


def _without_bytes(line: str) -> str:
    """Return a line; of the bytes of a certificate only that they are there."""
    if not _BASE64.fullmatch(line):
        return line
    return "..." if line.startswith(_FIRST_BYTES) else ""


def push_and_pull(tell: Teller, parts: Parts) -> None:
    """Push to each name of the registry from the second machine, and pull from it."""
    tell.step(f"Push and pull from {parts.laptop.name}, whose engine was not restarted")
    for name in (LAN_ADDRESS, *NAMES):
        pushed_and_pulled(tell, parts, name)


def pushed_and_pulled(tell: Teller, parts: Parts, name: str) -> None:
    """Verify that a name of the registry takes and gives an image on the second machine."""
    where = f"{name}:{PORT}/{IMAGE}"
    tell.say(f"{parts.laptop.name}$ docker push {where}; docker rmi {where}; docker pull {where}")
    pushed = parts.client.push(IMAGE, name=name)
    tell.quote(pushed)
    tell.fact(f"pushed and pulled by {name}", parts.client.pull(IMAGE, name=name) == pushed)


def move(tell: Teller, parts: Parts) -> None:
    """Let the first machine have another address."""
    tell.step(f"The router gives {HOST_NAME} another address: {NEXT_ADDRESS}")
    old = served_sha256(LAN_ADDRESS, PORT, HOST_NAME)
    for command in (
        ["address", "delete", f"{LAN_ADDRESS}/24", "dev", LAN_INTERFACE],
        ["address", "add", f"{NEXT_ADDRESS}/24", "dev", LAN_INTERFACE],
        ["route", "replace", "default", "via", "10.79.40.1", "dev", LAN_INTERFACE],
    ):
        subprocess.run(["ip", *command], check=True)
    point(parts.names, NEXT_ADDRESS)
    certbotless(tell, "--once")
    new = served_is_file(tell, HOST_NAME, NEXT_ADDRESS)
    tell.fact(f"another certificate: {old[:16]}... -> {new[:16]}...", new != old)
    covers(tell, NEXT_ADDRESS)
    tell.say(f"on {parts.laptop.name} nothing was changed:")
    for name in NAMES:
        pushed_and_pulled(tell, parts, name)


def rotate(tell: Teller, parts: Parts) -> None:
    """Replace the root while clients come that are given both in time."""
    tell.step("A new root, with overlap, while a new client connects every 10 ms")
    first, old = ROOT.read_text(), served_sha256(NEXT_ADDRESS, PORT, HOST_NAME)
    certbotless(tell, "trust", "rotate")
    typed = certbotless(tell, "trust", "commands", "docker", shown=lambda _: "")
    parts.laptop.typed(typed)
    both = parts.laptop.typed(f"cat /etc/docker/certs.d/{HOST_NAME}:{PORT}/ca.crt")
    tell.fact(f"{parts.laptop.name} has both roots", both.startswith(first) and both.count("BEGIN") == 2)
    pushed_and_pulled(tell, parts, HOST_NAME)
    with Clients(HOST_NAME, NEXT_ADDRESS, PORT, both) as clients:
        certbotless(tell, "trust", "switch")
        certbotless(tell, "--once")
    new = served_is_file(tell, HOST_NAME, NEXT_ADDRESS)
    visits = clients.visits()
    all_saw(tell, visits, old, new)
    distrusting = [visit for visit in visits if visit.error == ssl.SSLCertVerificationError.__name__]
    tell.fact("no client that has both roots refused a certificate", not distrusting)
    tell.fact("a client that has the first root only refuses the new one", not trusts(first, NEXT_ADDRESS))
    pushed_and_pulled(tell, parts, HOST_NAME)


def trusts(root_pem: str, address: str) -> bool:
    """Whether a client with this root takes the certificate that the registry uses."""
    tls = ssl.create_default_context(cadata=root_pem)
    try:
        with (
            socket.create_connection((address, PORT), timeout=5) as connection,
            tls.wrap_socket(connection, server_hostname=HOST_NAME),
        ):
            return True
    except ssl.SSLCertVerificationError:
        return False


def quiet(tell: Teller) -> None:
    """Show that the program has nothing left to do."""
    tell.step("Everything is ok, so a run changes nothing")
    before = served_sha256(NEXT_ADDRESS, PORT, HOST_NAME)
    certbotless(tell, "status")
    certbotless(tell, "--once")
    tell.fact("the same certificate is used", served_sha256(NEXT_ADDRESS, PORT, HOST_NAME) == before)


if __name__ == "__main__":
    sys.exit(main())
