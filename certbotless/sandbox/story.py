"""The sandbox's story: the real program on the stand-ins, step by step, each fact verified.

Owns which stand-ins there are, what is done, and what must be so after it. All of it happens on a private
host, which ends with it.
"""

import json
import socket
import ssl
import stat
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import dns.message
import dns.query

from .alidns import AlidnsEmulator
from .clients import Clients
from .engine import Engine
from .host import HOST_NAME, LAN_ADDRESS, LAN_INTERFACE, hosts_entry
from .pebble import Pebble
from .registry import RefusedByEngine, Registry, served_sha256
from .teller import CERTS, CONFIG, IMAGE, PORT, Teller, all_saw, certbotless, served_is_file, story_of

ZONE = "sweetlove.test"
DOMAIN = f"devbox.{ZONE}"
# What a team without a public name calls its registry, in each machine's /etc/hosts.
HOSTS_NAME = "registry.lan"
KEY_ID, KEY_SECRET = "sandbox-key", "sandbox-secret"

CONFIG_TEXT = """\
acme:
  directory: {directory}
  ca_bundle: {ca_bundle}
aliyun:
  access_key_id: file:/etc/certbotless/access-key-id
  access_key_secret: file:/etc/certbotless/access-key-secret
  endpoint: {endpoint}
dns:
  nameservers: {nameservers}
docker:
  host: {docker_host}
sites:
  - domain: {domain}
    zone: {zone}
    address: {address}
    deploy:
      - {target}: registry
        port: {port}
"""


@dataclass(frozen=True, slots=True)
class Parts:
    """The stand-ins, all alive."""

    aliyun: AlidnsEmulator
    ca: Pebble
    engine: Engine
    registry: Registry


def main() -> int:
    """Tell the story; return 0 if every fact held, else 1."""
    next_ = "Next: README.md, for your own zone and registry; docs/architecture.md, for how it works."
    return story_of(live, next_)


def live(tell: Teller, workdir: Path, alive: ExitStack) -> None:
    """Go through all steps; the stand-ins end with `alive`."""
    parts = start(tell, workdir, alive)
    today(tell, parts)
    configure(tell, parts)
    first_run(tell, parts)
    look_around(tell, parts)
    push_and_pull(tell, parts)
    quiet(tell, parts)
    renew(tell, parts)


def start(tell: Teller, workdir: Path, alive: ExitStack) -> Parts:
    """Start the stand-ins, which end with `alive`."""
    tell.step("The parts, and where they are")
    tell.say(
        f"A private host, {HOST_NAME}: own network, mounts and processes; {LAN_ADDRESS} on {LAN_INTERFACE}"
    )
    alive.enter_context(hosts_entry(HOSTS_NAME, LAN_ADDRESS))
    aliyun = alive.enter_context(
        AlidnsEmulator(
            [ZONE],
            access_key_id=KEY_ID,
            access_key_secret=KEY_SECRET,
            # Port 53 of this host's resolver (/etc/resolv.conf): names are looked up as anywhere.
            dns_addresses=["127.0.0.1", "127.0.0.2"],
            dns_ports=[53, 53],
        )
    )
    aliyun.set_delay(1, 1.0)
    tell.say(
        f"Aliyun DNS (stand-in): zone {ZONE} on {' and '.join(aliyun.nameservers)}; API {aliyun.endpoint}"
    )
    tell.say("    the second name server shows each change 1 s late")
    ca = alive.enter_context(Pebble(workdir, aliyun.nameservers[0]))
    tell.say(f"A real ACME server, Pebble, which validates through that DNS: {ca.directory_url}")
    engine = alive.enter_context(Engine(workdir))
    registry = Registry(engine, DOMAIN, certs=CERTS, port=PORT)
    for name in (DOMAIN, HOSTS_NAME):
        engine.trust(f"{name}:{PORT}", ca.root_pem())
    version = engine.client().version()["Version"]
    tell.say(
        f"A real Docker engine {version}, which trusts Pebble's root as other machines trust a public CA"
    )
    registry.write_self_signed(HOSTS_NAME)
    registry.create()
    tell.say(
        f"A real registry in a container, -p {PORT}:5000 -v {CERTS}:/certs:ro, with a self-signed certificate"
    )
    return Parts(aliyun, ca, engine, registry)


def today(tell: Teller, parts: Parts) -> None:
    """Show that a push is refused before: for want of a certificate to trust, and of a public name."""
    tell.step("Today: a name in /etc/hosts and a self-signed certificate")
    for name, reason in {
        HOSTS_NAME: "x509: certificate signed by unknown authority",
        DOMAIN: "no such host",
    }.items():
        tell.say(f"$ docker push {name}:{PORT}/{IMAGE}")
        try:
            parts.registry.push(IMAGE, name=name)
        except RefusedByEngine as error:
            tell.quote(str(error))
            tell.fact(f"push refused: {reason}", reason in str(error))
        else:
            tell.fact(f"push to {name} is refused", False)


def configure(tell: Teller, parts: Parts) -> None:
    """Write the program's configuration, and let the program say what it thinks of it."""
    tell.step(f"One file, {CONFIG}")
    write_config(tell, parts.aliyun, parts.ca, parts.engine)


def write_config(
    tell: Teller,
    aliyun: AlidnsEmulator,
    ca: Pebble,
    engine: Engine,
    address: str = "auto",
    target: str = "container",
) -> None:
    """Write a configuration with these stand-ins, and let the program say what it thinks of it.

    Args:
        address: of the one site, as the file has it.
        target: what `registry` is to the engine: a ``container``, or a ``service``.
    """
    for name, secret in {"access-key-id": KEY_ID, "access-key-secret": KEY_SECRET}.items():
        file = CONFIG.with_name(name)
        file.touch(0o600)
        file.write_text(f"{secret}\n")
    CONFIG.write_text(
        CONFIG_TEXT.format(
            directory=ca.directory_url,
            ca_bundle=ca.ca_bundle,
            endpoint=aliyun.endpoint,
            nameservers=json.dumps(aliyun.nameservers),
            docker_host=engine.docker_host,
            domain=DOMAIN,
            zone=ZONE,
            address=address,
            target=target,
            port=PORT,
        )
    )
    tell.quote(CONFIG.read_text())
    certbotless(tell, "check")
    certbotless(tell, "plan")


def first_run(tell: Teller, parts: Parts) -> None:
    """Make the four facts true."""
    tell.step("The first run: record, certificate, files, restart, proof")
    begun_s = time.monotonic()
    certbotless(tell, "--once")
    took_s = time.monotonic() - begun_s
    calls = parts.aliyun.calls
    tell.say(
        f"{took_s:.1f} s, {len(parts.ca.requests())} ACME requests, {len(calls)} calls of the Aliyun API:"
    )
    for call in calls:
        telling = [call.parameters.get(name, "") for name in ("SubDomain", "RR", "Type", "Value", "RecordId")]
        tell.quote(" ".join([call.action, *filter(None, telling)]))
    tell.fact(
        "DNS-01: Pebble read the TXT record through that DNS, and has validated the name",
        "set VALID by completed challenge" in parts.ca.log.read_text(),
    )


def look_around(tell: Teller, parts: Parts) -> None:
    """Verify the four facts, from outside the program."""
    tell.step("The four results, checked from outside")
    question = dns.message.make_query(DOMAIN, "A")
    for server in parts.aliyun.nameservers:
        address, _, port = server.partition(":")
        rrsets = dns.query.udp(question, address, port=int(port), timeout=5).answer
        values = [record.to_text() for rrset in rrsets for record in rrset]
        tell.fact(f"record: {DOMAIN} is {LAN_ADDRESS}, says name server {server}", values == [LAN_ADDRESS])
    found = socket.gethostbyname(DOMAIN)
    tell.fact(f"record: {DOMAIN} is {LAN_ADDRESS}, as any client resolves it", found == LAN_ADDRESS)
    only_record(tell, parts)
    for name in (f"{DOMAIN}.pem", f"{DOMAIN}.key"):
        file = CERTS / name
        tell.quote(f"{stat.filemode(file.stat().st_mode)} {file} -> {file.readlink()}")
    mode = stat.S_IMODE((CERTS / f"{DOMAIN}.key").stat().st_mode)
    tell.fact("files: only the owner can read the key", mode == 0o600)
    root = ssl.create_default_context(cadata=parts.ca.root_pem())
    with (
        socket.create_connection((DOMAIN, PORT), timeout=5) as connection,
        root.wrap_socket(connection, server_hostname=DOMAIN) as session,
    ):
        tell.fact(
            f"certificate: a client that trusts the CA's root verifies {DOMAIN}", bool(session.version())
        )
    served_is_file(tell, DOMAIN, LAN_ADDRESS)


def only_record(tell: Teller, parts: Parts) -> None:
    """Verify that the zone holds the A record and nothing else: no TXT record is left."""
    held = [(record.rr, record.type, record.value) for record in parts.aliyun.records()]
    tell.quote("\n".join(" ".join(record) for record in held))
    tell.fact("the zone has only that record: no TXT record is left", held == [("devbox", "A", LAN_ADDRESS)])


def push_and_pull(tell: Teller, parts: Parts) -> None:
    """Push an image by name, and pull it back."""
    tell.step("Push and pull by name, with nothing set up on the client")
    tell.say(f"$ docker push {DOMAIN}:{PORT}/{IMAGE}")
    pushed = parts.registry.push(IMAGE)
    tell.quote(pushed)
    tell.fact("push accepted", True)
    tell.say(f"$ docker rmi {DOMAIN}:{PORT}/{IMAGE}; docker pull {DOMAIN}:{PORT}/{IMAGE}")
    pulled = parts.registry.pull(IMAGE)
    tell.quote(pulled)
    tell.fact("pulled back, the same image", pulled == pushed)


def quiet(tell: Teller, parts: Parts) -> None:
    """Show that the program sees the facts, and then has nothing to do."""
    tell.step("Everything is ok, so a run changes nothing")
    certbotless(tell, "status")
    asked = len(parts.ca.requests()), len(parts.aliyun.calls)
    certbotless(tell, "--once")
    tell.fact(
        "a second run: 0 ACME requests, 0 calls of the Aliyun API",
        (len(parts.ca.requests()), len(parts.aliyun.calls)) == asked,
    )


def renew(tell: Teller, parts: Parts) -> None:
    """Renew while clients come, and show what they saw."""
    tell.step("A renewal, while a new client connects every 10 ms")
    old = served_sha256(LAN_ADDRESS, PORT, DOMAIN)
    with Clients(DOMAIN, LAN_ADDRESS, PORT, parts.ca.root_pem()) as clients:
        certbotless(tell, "--renew-now")
    new = served_is_file(tell, DOMAIN, LAN_ADDRESS)
    tell.fact(f"another certificate: {old[:16]}... -> {new[:16]}...", new != old)
    all_saw(tell, clients.visits(), old, new)
    only_record(tell, parts)


if __name__ == "__main__":
    sys.exit(main())
