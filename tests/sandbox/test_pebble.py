"""The ACME server is ours, verified, and as strict as it was told to be."""

import json
import socket
import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from certbotless.sandbox.host import SandboxError
from certbotless.sandbox.pebble import Pebble

pytestmark = pytest.mark.process

NO_DNS = "127.0.0.1:9"


def directory(pebble: Pebble) -> dict[str, Any]:
    """Return the ACME directory, fetched as a client that trusts the bundle does."""
    tls = ssl.create_default_context(cafile=str(pebble.ca_bundle))
    with urllib.request.urlopen(pebble.directory_url, timeout=30, context=tls) as answer:  # noqa: S310 - https
        found: dict[str, Any] = json.load(answer)
        return found


def test_it_serves_a_directory_and_counts_what_clients_ask(tmp_path: Path) -> None:
    """Looks whether it has started are not counted."""
    with Pebble(tmp_path, NO_DNS) as pebble:
        assert pebble.requests() == []
        assert "newOrder" in directory(pebble)
        assert pebble.requests() == ["GET /dir"]
        pebble.forget_requests()
        assert pebble.requests() == []
        directory(pebble)
        assert pebble.requests() == ["GET /dir"]


def test_each_start_has_a_root_of_its_own(tmp_path: Path) -> None:
    """So trust in an earlier one proves nothing."""
    with Pebble(tmp_path, NO_DNS) as pebble:
        first = pebble.root_pem()
        pebble.stop()
        pebble.start()
        second = pebble.root_pem()
    root = x509.load_pem_x509_certificate(first.encode())
    assert root.issuer == root.subject
    assert first != second


def test_account_binding_is_asked_for_only_when_there_are_keys(tmp_path: Path) -> None:
    """As ZeroSSL and Google do."""
    with Pebble(tmp_path, NO_DNS) as pebble:
        assert not directory(pebble)["meta"]["externalAccountRequired"]
    with Pebble(tmp_path, NO_DNS, eab_keys={"kid-1": "c2VjcmV0" * 5}) as pebble:
        assert directory(pebble)["meta"]["externalAccountRequired"]


def test_a_port_that_somebody_else_has_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """And not a quiet talk with the other server."""
    pebble = Pebble(tmp_path, NO_DNS)
    with socket.create_server(("127.0.0.1", pebble.port)), pytest.raises(SandboxError) as caught:
        pebble.start()
    assert "address already in use" in str(caught.value)


def test_a_missing_program_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without the package."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"'pebble' is missing; run: make setup"):
        Pebble(tmp_path, NO_DNS).start()
