"""What the tests of several edges need."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.alidns import KEY_ID, SECRET, ZONE
from support.scripted_ca import Bench, opened_bench

from certbotless.sandbox.alidns import AlidnsEmulator, HttpsListener


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A CA that says what a test wants, and all that an issuance there touches."""
    with opened_bench(tmp_path) as bench:
        yield bench


@pytest.fixture
def emulator() -> Iterator[AlidnsEmulator]:
    """The stand-in of the DNS API, and of the name servers of its zone."""
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=SECRET) as server:
        yield server


@pytest.fixture
def https(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The stand-in of the DNS API over HTTPS: its endpoint, and the root that its certificate comes from."""
    ca = trustme.CA()
    root, chain = tmp_path / "root.pem", tmp_path / "chain.pem"
    ca.cert_pem.write_to_path(root)
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    listener = HttpsListener(0, chain, chain)
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=SECRET, https=listener) as server:
        yield server.https_endpoint, root
