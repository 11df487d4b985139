"""Clients see what a service shows them, and how long it was away."""

import hashlib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trustme
from support.bed import wait_until
from support.listeners import context_of, listening

from certbotless.sandbox.clients import Clients, Visit, gap_s

NAME = "devbox.sweetlove.test"


@contextmanager
def tls_server(port: int, certificate: trustme.LeafCert) -> Iterator[int]:
    """Serve TLS handshakes on 127.0.0.1; yield the port. A client that does not trust us hangs up."""
    context = context_of(certificate)
    with listening(lambda raw: context.wrap_socket(raw, server_side=True).close(), port) as taken:
        yield taken


def sha256(certificate: trustme.LeafCert) -> str:
    """Return the fingerprint of a certificate's leaf."""
    pem = certificate.cert_chain_pems[0].bytes().decode()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


def test_clients_see_the_old_leaf_a_gap_and_the_new_leaf() -> None:
    """A service away for 300 ms leaves a gap of that length, and no client sees anything else."""
    authority = trustme.CA()
    old, new = authority.issue_cert(NAME), authority.issue_cert(NAME)
    root_pem = authority.cert_pem.bytes().decode()
    with tls_server(0, old) as port, Clients(NAME, "127.0.0.1", port, root_pem) as clients:
        wait_until(lambda: len(clients.visits()) >= 5, "five clients have come")
    first = clients.visits()
    with Clients(NAME, "127.0.0.1", port, root_pem) as away:
        wait_until(lambda: away.visits() != [], "a client was turned away")
        time.sleep(0.3)
        with tls_server(port, new):
            wait_until(lambda: away.visits()[-1].sha256 is not None, "a client sees the new leaf")
            then = away.visits()  # what comes after is reset as the new server ends
    assert {visit.sha256 for visit in first} == {sha256(old)}
    assert {visit.sha256 for visit in then} == {None, sha256(new)}
    assert {visit.error for visit in then if visit.sha256 is None} == {"ConnectionRefusedError"}
    turned_away = next(visit for visit in then if visit.sha256 is None)
    assert gap_s([*first, *then]) > 0
    # Whoever was served last came, or went on, when the new server was there.
    assert then[-1].came_s + then[-1].took_s - turned_away.came_s >= 0.3


def test_a_leaf_that_no_client_trusts_is_a_failed_visit() -> None:
    """Clients verify: a certificate of another authority is none to them."""
    certificate = trustme.CA().issue_cert(NAME)
    root_pem = trustme.CA().cert_pem.bytes().decode()
    with tls_server(0, certificate) as port, Clients(NAME, "127.0.0.1", port, root_pem) as clients:
        wait_until(lambda: clients.visits() != [], "a client has come")
    assert {(visit.sha256, visit.error) for visit in clients.visits()} == {(None, "SSLCertVerificationError")}


def test_the_gap_is_from_the_first_failure_to_the_next_success() -> None:
    """Of several stretches, from the first to the last; without a failure, none."""
    outcomes = ["a", None, "a", None, None, "b", "b"]
    visits = [Visit(float(came_s), 0.1, leaf, "") for came_s, leaf in enumerate(outcomes)]
    assert gap_s(visits) == 4.0
    assert gap_s(visits[5:]) == 0.0
    assert gap_s(visits[3:5]) == 1.0
