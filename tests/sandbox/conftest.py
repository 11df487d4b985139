"""The stand-in of the DNS service, and a client of it."""

from collections.abc import Iterator

import pytest
from support.alidns_caller import Client, emulator

from certbotless.sandbox.alidns import AlidnsEmulator


@pytest.fixture
def alidns() -> Iterator[AlidnsEmulator]:
    with emulator() as running:
        yield running


@pytest.fixture
def client(alidns: AlidnsEmulator) -> Iterator[Client]:
    with Client(alidns.endpoint) as made:
        yield made
