"""The sandbox's story of a fleet: a service of Docker Swarm on three machines, and one that loses its power.

Owns which machines there are, what is done to them, and what must be so after it. All of it happens on a
private host, which ends with it.
"""

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .alidns import AlidnsEmulator
from .clients import Clients, gap_s
from .node import Node
from .pebble import Pebble
from .process import wait_until
from .registry import self_signed, served_sha256
from .story import DOMAIN, KEY_ID, KEY_SECRET, ZONE, write_config
from .swarm import PORT, Pace, Swarm
from .teller import CONFIG, Teller, certbotless, file_sha256, story_of

SERVICE = "registry"


@dataclass(frozen=True, slots=True)
class Parts:
    """The stand-ins and the machines, all alive."""

    aliyun: AlidnsEmulator
    ca: Pebble
    swarm: Swarm


def main() -> int:
    """Tell the story; return 0 if every fact held, else 1."""
    return story_of(live, "Next: docs/swarm.md, for a stack file and your own machines.")


def live(tell: Teller, workdir: Path, alive: ExitStack) -> None:
    """Go through all steps; the machines end with `alive`."""
    parts = start(tell, workdir, alive)
    configure(tell, parts)
    first_run(tell, parts)
    roll(tell, parts)
    lose(tell, parts)
    repair(tell, parts)


def start(tell: Teller, workdir: Path, alive: ExitStack) -> Parts:
    """Start the stand-ins and the machines, which end with `alive`."""
    tell.step("The parts, and where they are")
    aliyun = alive.enter_context(
        AlidnsEmulator(
            [ZONE],
            access_key_id=KEY_ID,
            access_key_secret=KEY_SECRET,
            dns_addresses=["127.0.0.1", "127.0.0.2"],
            dns_ports=[53, 53],
        )
    )
    ca = alive.enter_context(Pebble(workdir, aliyun.nameservers[0]))
    tell.say(
        f"Aliyun DNS (stand-in), zone {ZONE}, and a real ACME server, Pebble, which validates through it"
    )
    swarm = alive.enter_context(Swarm(workdir))
    version = swarm.nodes[0].client().version()["Version"]
    tell.say(
        f"Three machines, each with a network and a real Docker engine {version}, all managers of a Swarm:"
    )
    tell.quote("\n".join(f"{node.name} {node.address}" for node in swarm.nodes))
    chain, key = self_signed(DOMAIN)
    swarm.serve(chain, key, Pace(monitor_s=1), name=SERVICE)
    tell.say(
        f"A global service {SERVICE!r}: a registry on each, at port {PORT}, on the network of the machine;"
    )
    tell.say(
        "    its certificate, self-signed, and its key are two secrets of the Swarm, tls.pem and tls.key"
    )
    return Parts(aliyun, ca, swarm)


def configure(tell: Teller, parts: Parts) -> None:
    """Write the program's configuration, and let the program say what it thinks of it."""
    first, *_ = nodes = parts.swarm.nodes
    tell.step(f"One file on {first.name}, {CONFIG}")
    address = f"[{', '.join(node.address for node in nodes)}]"
    write_config(tell, parts.aliyun, parts.ca, first, address, "service")


def first_run(tell: Teller, parts: Parts) -> None:
    """Make all of it true, on each machine."""
    tell.step("The first run: records, certificate, two secrets, one update, and the proof of each machine")
    certbotless(tell, "--once")
    all_serve(tell, parts.swarm.nodes)
    values = {record.value for record in parts.aliyun.records("devbox", "A")}
    wanted = {node.address for node in parts.swarm.nodes}
    tell.fact(f"records: {DOMAIN} leads to all machines", values == wanted)
    certbotless(tell, "status")


def roll(tell: Teller, parts: Parts) -> None:
    """Renew while clients come to each machine."""
    tell.step("A renewal, while a new client connects to each machine every 10 ms")
    old = file_sha256(DOMAIN)
    begun_s = time.monotonic()
    with ExitStack() as coming:
        clients = {
            node.name: coming.enter_context(Clients(DOMAIN, node.address, PORT, parts.ca.root_pem()))
            for node in parts.swarm.nodes
        }
        certbotless(tell, "--renew-now")
    tell.say(f"{time.monotonic() - begun_s:.1f} s with order and proof")
    new = all_serve(tell, parts.swarm.nodes)
    tell.fact(f"another certificate: {old[:16]}... -> {new[:16]}...", old != new)
    for name, there in clients.items():
        visits = there.visits()
        tell.say(f"{name}: {len(visits)} clients; connections were refused for {1000 * gap_s(visits):.0f} ms")
        leaves = {visit.sha256 for visit in visits} - {None}
        tell.fact(f"{name}: each client saw the old certificate, the new one, or none", leaves == {old, new})


def lose(tell: Teller, parts: Parts) -> None:
    """Cut the power of a machine, and renew while it is off."""
    lost = parts.swarm.nodes[2]
    tell.step(f"{lost.name} loses its power, and the certificate is renewed while it is off")
    parts.swarm.power_off(lost)
    wait_until(lambda: parts.swarm.is_down(lost), 120, f"the Swarm misses {lost.name}")
    certbotless(tell, "--renew-now")
    all_serve(tell, parts.swarm.nodes[:2])
    said = certbotless(tell, "status")
    tell.fact(f"status: {lost.name} is not there, and the site is ok", lost.name in said)


def repair(tell: Teller, parts: Parts) -> None:
    """Give the machine its power back: the Swarm and the program make it serve."""
    back = parts.swarm.nodes[2]
    tell.step(f"{back.name} gets its power back")
    parts.swarm.power_on(back)
    wait_until(parts.swarm.is_whole, 120, f"{back.name} is in the Swarm again")
    wait_until(lambda: _serves(back), 120, f"{back.name} serves")
    certbotless(tell, "--once")
    all_serve(tell, parts.swarm.nodes)
    certbotless(tell, "status")


def all_serve(tell: Teller, nodes: tuple[Node, ...]) -> str:
    """Verify that each of these machines serves the certificate of the file; return its SHA-256."""
    in_file = file_sha256(DOMAIN)
    for node in nodes:
        served = served_sha256(node.address, PORT, DOMAIN)
        tell.quote(f"sha256 served by {node.name} {served}")
        tell.fact(f"service: {node.name} uses the certificate in the file", served == in_file)
    return in_file


def _serves(node: Node) -> bool:
    try:
        return served_sha256(node.address, PORT, DOMAIN, timeout_s=1) == file_sha256(DOMAIN)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
