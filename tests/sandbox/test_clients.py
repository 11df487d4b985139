"""Clients see what a service shows them, and how long it was away."""

import hashlib
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager

import trustme
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
        while len(clients.visits()) < 5:
            time.sleep(0.01)
    first = clients.visits()
    with Clients(NAME, "127.0.0.1", port, root_pem) as away:
        time.sleep(0.3)
        with tls_server(port, new):
            # What comes after the first answer is reset as the new server ends.
            while (then := away.visits())[-1].sha256 is None:
                time.sleep(0.01)
    assert {visit.sha256 for visit in first} == {sha256(old)}
    assert {visit.sha256 for visit in then} == {None, sha256(new)}
    assert {visit.error for visit in then if visit.sha256 is None} == {"ConnectionRefusedError"}
    assert gap_s([*first, *then]) > 0.25


def test_a_leaf_that_no_client_trusts_is_a_failed_visit() -> None:
    """Clients verify: a certificate of another authority is none to them."""
    certificate = trustme.CA().issue_cert(NAME)
    root_pem = trustme.CA().cert_pem.bytes().decode()
    with tls_server(0, certificate) as port, Clients(NAME, "127.0.0.1", port, root_pem) as clients:
        while not clients.visits():
            time.sleep(0.01)
    assert {(visit.sha256, visit.error) for visit in clients.visits()} == {(None, "SSLCertVerificationError")}


def test_the_gap_is_from_the_first_failure_to_the_next_success() -> None:
    """Of several stretches, from the first to the last; without a failure, none."""
    outcomes = ["a", None, "a", None, None, "b", "b"]
    visits = [Visit(float(came_s), 0.1, leaf, "") for came_s, leaf in enumerate(outcomes)]
    assert gap_s(visits) == 4.0
    assert gap_s(visits[5:]) == 0.0
    assert gap_s(visits[3:5]) == 1.0
