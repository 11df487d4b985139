"""A new user's first ten minutes: a machine with a registry that nobody trusts, and what README.md says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE, Bed
from support.machine import Machine
from support.services import SOCKET, Services, machine_beside, make
from support.terminals import ENTER, Terminal, answer, lead_to_stand_ins

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import RefusedByEngine, Registry

CONFIG = "/etc/certbotless/config.yaml"


@pytest.fixture
def empty_machine(tmp_path_factory: pytest.TempPathFactory, engine: Engine, certs: Path) -> Iterator[Machine]:
    with machine_beside(engine, tmp_path_factory.mktemp("machine"), certs) as machine:
        yield machine


@pytest.fixture
def bed(tmp_path: Path, dns: AlidnsEmulator, ca: Pebble, engine: Engine, certs: Path) -> Iterator[Bed]:
    registry = Registry(engine, DOMAIN, certs=certs)
    registry.write_self_signed()
    registry.create()
    # As all machines trust a public CA's root.
    engine.trust(registry.where, ca.root_pem())
    try:
        yield Bed(tmp_path, dns, ca, engine, registry)
    finally:
        engine.distrust(registry.where)
        registry.remove()


def test_from_an_empty_machine_to_a_push_that_every_client_trusts(empty_machine: Machine, bed: Bed) -> None:
    """`make install`, `init`, `systemctl enable --now`; of the stand-ins it is told in between."""
    machine = empty_machine
    with pytest.raises(RefusedByEngine, match="certificate signed by unknown authority"):
        bed.registry.push("hello:1")

    said = make(machine, "install")
    (chown,) = re.findall(r"the daemon may not write there: (chown .*)", said)
    machine.ok("sh", "-euc", chown)
    (start,) = re.findall(r"(systemctl enable --now [^;]*)", said)

    init = machine.command("env", f"DOCKER_HOST=unix://{SOCKET}", "certbotless", "init")
    with Terminal(init, width=200) as terminal:
        answer(
            terminal,
            ("Domain of the service, like registry.example.com", ENTER),
            ("zone", ZONE),
            ("AccessKey ID", KEY_ID),
            ("AccessKey secret", KEY_SECRET),
            ("Container that serves the certificate, or none [registry]", ENTER),
            ("[auto]", ENTER),
            ("CA", bed.ca.directory_url),
            ("E-mail", ENTER),
            ("looks for its certificate", ENTER),
            ("dry run now? [y/N]", ENTER),
        )
        assert terminal.wait() == 0
    modes = machine.ok("sh", "-euc", f"stat -c '%U:%G %a' {CONFIG} /etc/certbotless/access_key_*")
    assert set(modes.splitlines()) == {"root:certbotless 640"}

    machine.path("/etc/certbotless/ca.pem").write_bytes(bed.ca.ca_bundle.read_bytes())
    lead_to_stand_ins(bed, machine.path(CONFIG), "/etc/certbotless/ca.pem")
    # The engine of this test has the folder of the pairs from elsewhere than the machine.
    text = machine.path(CONFIG).read_text()
    machine.path(CONFIG).write_text(text.replace(f"certs_dir: {bed.certs}", "certs_dir: /certs"))

    machine.ok("sh", "-euc", start)
    Services(machine, bed).wait_ok()
    assert bed.a_values() == [LAN_ADDRESS]
    pushed = bed.registry.push("hello:1")
    assert bed.registry.pull("hello:1") == pushed
