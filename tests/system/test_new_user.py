"""A new user's first ten minutes: a machine with a registry that nobody trusts, and what README.md says."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, Bed
from support.machine import Machine
from support.pages import block
from support.services import SOCKET, Services, debian_12_beside, fetched, machine_beside, make
from support.terminals import ENTER, Terminal, answer, lead_to_stand_ins

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import RefusedByEngine, Registry

CONFIG = "/etc/certbotless/config.yaml"
# The engine of this test has this folder of the machine from elsewhere.
CERTS = "/certs"


@pytest.fixture(params=["Debian 13", pytest.param("Debian 12", marks=pytest.mark.soak)])
def empty_machine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, engine: Engine, certs: Path
) -> Iterator[Machine]:
    """A machine with README's packages; the bare Debian 12 fetches them first."""
    beside = debian_12_beside if request.param == "Debian 12" else machine_beside
    with beside(engine, tmp_path_factory.mktemp("machine"), certs) as machine:
        if request.param == "Debian 12":
            fetched(machine, block("README.md", "install").commands[0])
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
    """`make install`, then `init`, which tries and starts it; of the stand-ins it is told in between."""
    machine = empty_machine
    with pytest.raises(RefusedByEngine, match="certificate signed by unknown authority"):
        bed.registry.push("hello:1")

    said = make(machine, "install")
    (chown,) = re.findall(r"the daemon may not write there: (chown .*)", said)
    machine.ok("sh", "-euc", chown)

    places = (f"--endpoint={bed.dns.endpoint}", f"--directory={bed.ca.directory_url}")
    init = machine.command("env", f"DOCKER_HOST=unix://{SOCKET}", "certbotless", "init", *places)
    with Terminal(init, width=200, height=60) as terminal:
        answer(
            terminal,
            ("Domain of the service at Aliyun DNS, like registry.example.com", ENTER),
            ("every name below it", ENTER),
            ("AccessKey ID", KEY_ID),
            ("AccessKey secret", KEY_SECRET),
            ("Container that uses the certificate: its number, another name, or none [registry]", ENTER),
            ("reads its certificate", CERTS),
            ("LAN address", ENTER),
            ("terms of service", "y"),
        )
        terminal.wait_until(lambda: "test server" in terminal.text(), "the files are written")
        modes = machine.ok("sh", "-euc", f"stat -c '%U:%G %a' {CONFIG} /etc/certbotless/access_key_*")
        assert set(modes.splitlines()) == {"root:certbotless 640"}
        machine.path("/etc/certbotless/ca.pem").write_bytes(bed.ca.ca_bundle.read_bytes())
        lead_to_stand_ins(bed, machine.path(CONFIG), "/etc/certbotless/ca.pem")
        answer(terminal, ("test server", "y"), ("Start the service now? [y/N]", "y"))
        assert terminal.wait() == 0
        text = terminal.text()
    # All that is still to be done is on one screen.
    assert len(text.partition("\nNext:\n")[2].splitlines()) <= 3
    assert bed.orders() >= 1  # that of the dry run

    Services(machine, bed).wait_ok()
    assert bed.a_values() == [LAN_ADDRESS]
    pushed = bed.registry.push("hello:1")
    assert bed.registry.pull("hello:1") == pushed
