"""Which leaf is served, seen in real TLS handshakes on loopback."""

import hashlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from support.listeners import context_of, listening, speak_tls

from certbotless.world.tls import served_leaf, serves_valid

NAME, OTHER_NAME = "devbox.sweetlove.test", "other.sweetlove.test"
CA = trustme.CA()


def leaf_of(certificate: trustme.LeafCert) -> str:
    pem = certificate.cert_chain_pems[0].bytes()
    return hashlib.sha256(x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)).hexdigest()


@pytest.mark.parametrize(
    "certificate",
    [CA.issue_cert(NAME), CA.issue_cert("elsewhere.test", not_after=datetime(2020, 1, 1, tzinfo=UTC))],
    ids=["good", "of another name, expired"],
)
def test_the_leaf_that_is_served_is_told_by_its_digest(certificate: trustme.LeafCert) -> None:
    """Whoever made it, for whom and when."""
    with listening(speak_tls(context_of(certificate))) as port:
        assert served_leaf("127.0.0.1", port, NAME) == leaf_of(certificate)


def test_each_name_is_asked_for_by_sni() -> None:
    default, named = CA.issue_cert(OTHER_NAME), CA.issue_cert(NAME)
    context = context_of(default)

    def choose(tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        if name == NAME:
            tls.context = context_of(named)

    context.sni_callback = choose
    with listening(speak_tls(context)) as port:
        assert served_leaf("127.0.0.1", port, NAME) == leaf_of(named)
        assert served_leaf("127.0.0.1", port, OTHER_NAME) == leaf_of(default)


def test_a_new_leaf_is_seen_at_once() -> None:
    old, new = CA.issue_cert(NAME), CA.issue_cert(NAME)
    context = context_of(old)
    with listening(speak_tls(context)) as port:
        before = served_leaf("127.0.0.1", port, NAME)
        new.configure_cert(context)
        assert (before, served_leaf("127.0.0.1", port, NAME)) == (leaf_of(old), leaf_of(new))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_wants_a_certificate_of_the_client_serves_one_all_the_same(version: ssl.TLSVersion) -> None:
    """By TLS 1.2 the handshake ends with an alert, but the server has shown its own by then."""
    certificate = CA.issue_cert(NAME)
    context = context_of(certificate)
    CA.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    root = CA.cert_pem.bytes()
    with listening(speak_tls(context)) as port:
        assert served_leaf("127.0.0.1", port, NAME) == leaf_of(certificate)
        assert serves_valid("127.0.0.1", port, NAME, [root])
        assert not serves_valid("127.0.0.1", port, OTHER_NAME, [root])
        assert not serves_valid("127.0.0.1", port, NAME, [])


@pytest.mark.parametrize("signs", [True, False], ids=["ECDHE", "RSA"])
def test_a_certificate_without_its_key_is_served_by_nobody(*, signs: bool) -> None:
    """Anybody can send the certificate of another server, and end the handshake before its key is needed."""
    kind = trustme.KeyType.ECDSA if signs else trustme.KeyType.RSA
    certificate, root = CA.issue_cert(NAME, key_type=kind), CA.cert_pem.bytes()
    der = x509.load_pem_x509_certificate(certificate.cert_chain_pems[0].bytes()).public_bytes(Encoding.DER)

    def sized(data: bytes, digits: int = 3) -> bytes:
        return len(data).to_bytes(digits, "big") + data

    def send(connection: socket.socket, kind: int, body: bytes) -> None:
        connection.sendall(b"\x16\x03\x03" + sized(bytes([kind]) + sized(body), 2))

    def replay(connection: socket.socket) -> None:
        connection.recv(4096)
        # TLS 1.2, with AES128-GCM-SHA256; the extensions renegotiation_info, ec_point_formats.
        cipher = b"\xc0\x2b" if signs else b"\x00\x9c"
        extensions = sized(bytes.fromhex("ff01000100 000b00020100"), 2)
        send(connection, 2, b"\x03\x03" + bytes(33) + cipher + b"\x00" + extensions)
        send(connection, 11, sized(sized(der)))
        if not signs:
            send(connection, 14, b"")
            connection.recv(4096)
        connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28")

    with listening(replay) as port:
        assert served_leaf("127.0.0.1", port, NAME) == ""
        assert not serves_valid("127.0.0.1", port, NAME, [root])


def test_a_closed_port_serves_none() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert served_leaf("127.0.0.1", port, NAME) == ""


TALKS: dict[str, Callable[[socket.socket], object]] = {
    "plain text": lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "nothing, and hangs up": lambda connection: None,
    "a TLS alert": lambda connection: connection.sendall(b"\x15\x03\x03\x00\x02\x02\x28"),
}


@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
def test_what_is_no_tls_serves_none(talk: Callable[[socket.socket], object]) -> None:
    def read_and_talk(connection: socket.socket) -> None:
        connection.recv(4096)
        talk(connection)

    with listening(read_and_talk) as port:
        assert served_leaf("127.0.0.1", port, NAME) == ""


def test_a_server_that_never_ends_its_handshake_is_given_up_in_time() -> None:
    is_over = threading.Event()

    def say_nothing(connection: socket.socket) -> None:
        while connection.recv(4096):
            pass

    def dribble(connection: socket.socket) -> None:
        connection.sendall(b"\x16\x03\x03\x40\x00")
        while not is_over.wait(0.05):
            connection.sendall(b"\0")

    def seconds_until_given_up(port: int) -> float:
        began_s = time.monotonic()
        assert served_leaf("127.0.0.1", port, NAME) == ""
        return time.monotonic() - began_s

    with listening(say_nothing) as silent, listening(dribble) as slow, ThreadPoolExecutor() as pool:
        took_s = list(pool.map(seconds_until_given_up, [silent, slow]))
        is_over.set()
    assert max(took_s) < 30


def test_a_handshake_is_whole_so_that_no_server_logs_an_error() -> None:
    certificate = CA.issue_cert(NAME)
    finished: list[str | None] = []
    context = context_of(certificate)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            finished.append(tls.version())

    with listening(talk) as port:
        served_leaf("127.0.0.1", port, NAME)
    assert finished == ["TLSv1.3"]
