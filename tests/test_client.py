"""What a client meets, in real handshakes on loopback; and when it is tried again."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trustme
from listeners import context_of, listening
from views import FACTS, NOTHING, NOW, site, view

from certbotless import client, files
from certbotless.client import ClientFacts, Met, facts_of, is_due, knock
from certbotless.decide import Step
from certbotless.look import View

NAME = "devbox.sweetlove.test"
ASKED = f"GET /v2/ HTTP/1.1\r\nHost: {NAME}:%d\r\nConnection: close\r\n\r\n"

CA = trustme.CA()


@pytest.fixture(autouse=True)
def _trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine trusts the CA."""
    CA.cert_pem.write_to_path(tmp_path / "root.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))


@contextmanager
def service(say: bytes | Callable[[ssl.SSLSocket], object], name: str = NAME) -> Iterator[int]:
    """A service that says this to whoever asks."""
    context = context_of(CA.issue_cert(name))

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            asked = tls.recv(4096)
            assert asked == (ASKED % tls.getsockname()[1]).encode()
            if callable(say):
                say(tls)
            else:
                tls.sendall(say)

    with listening(talk) as port:
        yield port


# --- what is met --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 401, 404])
def test_an_answer_is_an_answer(code: int) -> None:
    """A registry wants a login, or is no registry."""
    with service(f"HTTP/1.1 {code} Fine\r\n\r\n".encode()) as port:
        assert knock("127.0.0.1", port, NAME) == Met(True, True, f"HTTP {code} to GET /v2/")


def test_an_error_of_the_server_is_none() -> None:
    with service(b"HTTP/1.1 502 Bad Gateway\r\n\r\n") as port:
        assert knock("127.0.0.1", port, NAME) == Met(True, False, "HTTP 502 to GET /v2/")


@pytest.mark.parametrize(
    "said", [b"", b"220 mail.test ESMTP\r\n", b"HTTP/1.1 2000 Fine\r\n", b"\0" * 10_000, b"HTTP/2"]
)
def test_what_speaks_no_http_is_trusted_all_the_same(said: bytes) -> None:
    with service(said) as port:
        assert knock("127.0.0.1", port, NAME) == Met(True, None, "it speaks no HTTP")


def test_who_says_a_byte_now_and_then_does_not_hold_us() -> None:
    """The time is that of all of it."""

    def drip(tls: ssl.SSLSocket) -> None:
        tls.settimeout(0.05)
        while True:
            tls.sendall(b"H")
            with suppress(TimeoutError):
                if not tls.recv(1):
                    return

    with service(drip) as port:
        assert knock("127.0.0.1", port, NAME, timeout_s=0.5).has_answered is False


def test_a_certificate_for_another_name_is_not_trusted() -> None:
    with service(b"", "other.sweetlove.test") as port:
        met = knock("127.0.0.1", port, NAME)
    assert (met.is_trusted, met.has_answered) == (False, None)
    assert met.text.startswith("not trusted: Hostname mismatch")


def test_a_root_that_this_machine_does_not_know_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with service(b"") as port:
        met = knock("127.0.0.1", port, NAME)
    assert (met.is_trusted, met.text) == (False, "not trusted: unable to get local issuer certificate")


def test_nobody_there_and_no_tls_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert knock("127.0.0.1", port, NAME).text == "no TLS answer (Connection refused)"
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert knock("127.0.0.1", port, NAME).text.startswith("no TLS answer (")
    assert knock("no-such-host.invalid", 443, NAME).text.startswith("no TLS answer (")


# --- when ---------------------------------------------------------------------------------------------------


def met(of: View, at: datetime = NOW, *, trusted: bool = True) -> dict[str, ClientFacts]:
    """Return what a visit has met at a site as it is now."""
    facts = ClientFacts(at, True, trusted, True, "HTTP 200 to GET /v2/", client._about(of))
    return {of.site.domain: facts}


def test_it_is_tried_once_an_hour() -> None:
    for minutes, due in ((0, False), (59, False), (60, True), (600, True)):
        assert is_due(view(), met(view(), NOW - timedelta(minutes=minutes))) is due


def test_what_is_not_well_is_tried_sooner() -> None:
    for minutes, due in ((9, False), (10, True)):
        assert is_due(view(), met(view(), NOW - timedelta(minutes=minutes), trusted=False)) is due


def test_a_time_to_come_counts_for_nothing() -> None:
    """The clock was wrong then."""
    assert is_due(view(), met(view(), NOW + timedelta(days=1)))


def test_what_has_changed_since_is_tried_anew_and_not_told() -> None:
    """Another certificate, another address, another port."""
    known = met(view())
    renewed = replace(FACTS, sha256="cd" * 32)
    for changed in (
        view(published=replace(view().seen.published, facts=renewed)),
        view(address="10.79.40.9"),
        view(of=site(deploy="[{container: registry, port: 5001}]")),
    ):
        assert is_due(changed, known)
        assert facts_of(changed, known) is None
    assert facts_of(view(), known) == known[view().site.domain]


def test_it_waits_for_what_is_due_and_needs_a_certificate() -> None:
    """What is met before is of the state that is being left."""
    assert not is_due(view(Step("deploy", "another certificate", target="registry")), {})
    assert not is_due(view(published=NOTHING), {})
    assert is_due(view(), {})


# --- what is remembered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"a": 1}', '{"a": {"at": "never"}}', "[" * 100_000, '{"a": {"resolved": 7}}'],
)
def test_a_file_that_makes_no_sense_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "clients.json").write_text(text)
    assert client.remembered(tmp_path) == {}


def test_what_was_met_is_read_as_it_was_written(tmp_path: Path) -> None:
    known = met(view())
    client._remember(tmp_path, known)
    assert client.remembered(tmp_path) == known
    assert files.read(tmp_path / "clients.json").endswith(b"}")
