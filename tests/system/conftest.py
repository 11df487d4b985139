"""A machine with a real systemd, on which the program is installed; one for all tests of a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import DOMAIN, LAN_NAME, Bed
from support.machine import Machine
from support.services import Services, installed_beside

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.engine import Engine
from certbotless.sandbox.pebble import Pebble
from certbotless.sandbox.registry import Registry


@pytest.fixture
def local(bare: Bed, engine: Engine) -> Iterator[Bed]:
    """A bed without an account at Aliyun DNS, whose registry serves a name of the LAN."""
    bare.registry = registry = Registry(engine, LAN_NAME, certs=bare.certs)
    registry.write_self_signed()
    registry.create()
    del bare.config["aliyun"], bare.config["acme"]
    deploy = [{"container": "registry", "port": registry.port}]
    bare.config["sites"] = [{"domain": LAN_NAME, "ca": "local", "with_address": True, "deploy": deploy}]
    try:
        yield bare
    finally:
        registry.remove()


@pytest.fixture(scope="module")
def certs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pairs, as the engine sees it."""
    return tmp_path_factory.mktemp("certs")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory, engine: Engine, certs: Path) -> Iterator[Machine]:
    with installed_beside(engine, tmp_path_factory.mktemp("machine"), certs) as machine:
        yield machine


@pytest.fixture
def services(
    tmp_path: Path, machine: Machine, dns: AlidnsEmulator, ca: Pebble, engine: Engine, certs: Path
) -> Iterator[Services]:
    with Services.beside(
        Bed(tmp_path, dns, ca, engine, Registry(engine, DOMAIN, certs=certs)), machine
    ) as it:
        yield it
