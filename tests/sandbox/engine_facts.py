"""Run an engine and a registry, and print what was seen as one JSON object; for `test_engine.py`.

A script of its own, for a private host of its own: two engines in one network would take each other's bridge.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import trustme

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS, hosts_entry, require_private_host
from certbotless.sandbox.registry import RefusedByEngine, Registry, served_sha256

PROGRAMS = ("dockerd", "containerd", "registry", "docker-proxy")
DOMAIN = "devbox.sweetlove.test"


def programs() -> list[str]:
    """Return the names of all programs that run on this private host."""
    names = []
    for process in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            names.append(process.read_text().strip())
    return names


def refusal(registry: Registry, image: str) -> str:
    """Return the engine's words on a push."""
    try:
        return f"accepted: {registry.push(image)}"
    except RefusedByEngine as error:
        return str(error)


def main() -> None:
    """Print the facts; with the argument `abrupt`, end without any clean-up while all is running."""
    workdir = Path(tempfile.mkdtemp())
    authority = trustme.CA()
    root_pem = authority.cert_pem.bytes().decode()
    certificate = authority.issue_cert(DOMAIN)
    facts: dict[str, object] = {"name": require_private_host()}
    with hosts_entry(DOMAIN, LAN_ADDRESS), Engine(workdir) as engine:
        registry = Registry(engine, DOMAIN)
        registry.write_self_signed()
        registry.create()
        facts["self-signed"] = served_sha256(LAN_ADDRESS, registry.port, DOMAIN)
        facts["push, self-signed"] = refusal(registry, "hello:1")
        certificate.cert_chain_pems[0].write_to_path(f"/certs/{DOMAIN}.pem")
        certificate.private_key_pem.write_to_path(f"/certs/{DOMAIN}.key")
        registry.recreate()
        facts["recreated"] = served_sha256(LAN_ADDRESS, registry.port, DOMAIN)
        facts["push, no trust"] = refusal(registry, "hello:1")
        engine.trust(registry.where, root_pem)
        facts["push"] = registry.push("hello:1")
        facts["pull"] = registry.pull("hello:1")
        try:
            registry.pull("never-pushed:1")
        except RefusedByEngine as error:
            facts["pull, unknown"] = str(error)
        engine.distrust(registry.where)
        facts["push, trust taken back"] = refusal(registry, "hello:2")
        if sys.argv[1:] == ["abrupt"]:
            sys.stdout.write(json.dumps(facts))
            sys.stdout.flush()
            os._exit(3)
        engine.kill()
        engine.start()
        registry.wait_serving()
        facts["after a kill"] = registry.container.status
    facts["left in the folder"] = sorted(path.name for path in workdir.iterdir())
    facts["left running"] = [name for name in programs() if name.startswith(PROGRAMS)]
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
