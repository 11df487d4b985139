"""Run a Swarm, and print what was seen as one JSON object; for `test_swarm.py`.

A script of its own, for a private host of its own: what is left after the end is told by comparing all of it.
"""

import hashlib
import json
import socket
import ssl
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.swarm_bed import every, look_at, roll_by_hand

from certbotless.sandbox.host import SandboxError, require_private_host
from certbotless.sandbox.process import wait_until
from certbotless.sandbox.registry import self_signed
from certbotless.sandbox.swarm import Swarm

NAME = "devbox.sweetlove.test"


class Broken(Swarm):
    """Machines that make no Swarm."""

    def _join(self) -> None:
        raise SandboxError("it cannot be made")


def surroundings() -> set[str]:
    """Return what a Swarm could leave here: programs, mounts, interfaces, control groups, files."""
    found = {f"interface {name}" for _, name in socket.if_nameindex()}
    found |= {f"mount {line}" for line in Path("/proc/self/mounts").read_text().splitlines()}
    found |= {f"file {path}" for path in [*Path("/run").rglob("*"), *Path(tempfile.gettempdir()).rglob("*")]}
    found |= {f"group {path}" for path in Path("/sys/fs/cgroup").rglob(f"{require_private_host()}/*/")}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            found.add(f"program {process.name} {(process / 'comm').read_text().strip()}")
    return {line for line in found if "dockerd.log" not in line}


def sha256(chain: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(chain.decode())).hexdigest()


def seen(swarm: Swarm) -> list[str]:
    return [look_at(node.address, NAME).found for node in swarm.nodes]


def lives(facts: dict[str, object], swarm: Swarm) -> None:
    """Go through all that a Swarm must do here."""
    first, second = self_signed(NAME), self_signed(NAME)
    facts["first"], facts["second"] = sha256(first[0]), sha256(second[0])
    service = swarm.serve(*first)
    facts["served"] = seen(swarm)
    roll_by_hand(swarm, service, *second, 1)
    wait_until(every(swarm.nodes, NAME, sha256(second[0])), 120, "all machines have the second certificate")
    facts["after a roll"] = seen(swarm)
    node = swarm.nodes[0]
    swarm.power_off(node)
    facts["while one is off"] = seen(swarm)
    wait_until(lambda: swarm.leader() not in (None, node), 120, "another machine leads")
    leader = swarm.leader()
    facts["leader while one is off"] = leader and leader.name
    swarm.power_on(node)
    wait_until(swarm.is_whole, 120, "the machine is back in the Swarm")
    wait_until(every(swarm.nodes, NAME, sha256(second[0])), 120, "it serves")
    facts["back"] = seen(swarm)


def main() -> None:
    """Print the facts."""
    workdir = Path(tempfile.mkdtemp())
    for name in ("good", "bad"):
        (workdir / name).mkdir()
    facts: dict[str, object] = {"name": require_private_host()}
    before = surroundings()
    with Swarm(workdir / "good") as swarm:
        lives(facts, swarm)
    folders = {f"file {workdir}/{name}/node{number}" for name in ("good", "bad") for number in (1, 2, 3)}
    facts["left"] = sorted(surroundings() - before - folders)
    with suppress(SandboxError), Broken(workdir / "bad"):
        facts["left after a failure"] = "it has not failed"
    facts["left after a failure"] = sorted(surroundings() - before - folders)
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
