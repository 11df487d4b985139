"""Keys, signing requests, and the checks that a chain must pass before it is published.

Source: RFC 2986 (CSR), RFC 5280, RFC 8555 sections 7.4.2 and 11.4.
"""

import base64
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ...base.clock import START_SLACK
from ...base.errors import IssueError, StoreError, printable
from ...base.times import bounded
from ...base.words import Text
from ...model.certificate import MOST_ISSUER, LeafFacts

CertificateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

# Leaf and intermediates; the longest public chains have four certificates.
_MAX_CHAIN = 10


@contextmanager
def _chain_errors() -> Iterator[None]:
    """Map what cryptography raises for a chain that no CA should have made."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    ) as exc:
        raise IssueError(
            Text("the CA's answer is not a chain of certificates ({})", type(exc).__name__)
        ) from exc


def new_key(key_type: str = "ec256") -> CertificateKey:
    """Return a fresh key: ec256, ec384, rsa2048 or rsa4096. A large RSA key takes seconds."""
    if key_type.startswith("rsa"):
        return rsa.generate_private_key(public_exponent=65537, key_size=int(key_type.removeprefix("rsa")))
    return ec.generate_private_key(ec.SECP384R1() if key_type == "ec384" else ec.SECP256R1())


def key_type_of(key: CertificateKey) -> str:
    """Return what the configuration calls such a key, by its kind and size."""
    return f"{'rsa' if isinstance(key, rsa.RSAPrivateKey) else 'ec'}{key.key_size}"


@_chain_errors()
def is_self_signed(chain_pem: bytes) -> bool:
    """Tell whether the leaf of `chain_pem` names itself as its issuer.

    Raises:
        IssueError: it is no chain of certificates.
    """
    leaf = _load_chain(chain_pem)[0]
    return leaf.issuer == leaf.subject and bool(leaf.subject.rdns)


@_chain_errors()
def have_same_issuer(chain_pem: bytes, other_pem: bytes) -> bool:
    """Tell whether a certificate of these chains has signed the leaves of both; an empty one has none.

    Raises:
        IssueError: one of them is no chain of certificates.
    """
    if not other_pem:
        return False
    leaf, *issuers = _load_chain(chain_pem)
    other, *others = _load_chain(other_pem)
    return any(_signs(issuer, leaf) and _signs(issuer, other) for issuer in (*issuers, *others))


def key_to_pem(key: CertificateKey) -> bytes:
    """Return the key as unencrypted PKCS #8 PEM."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def key_from_pem(pem: bytes) -> CertificateKey:
    """Return the key that `pem` holds.

    Raises:
        StoreError: it holds none that can sign.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise StoreError(Text("a stored certificate key cannot be read")) from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise StoreError(Text("a stored certificate key is of the kind {}", type(key).__name__))
    return key


def new_csr(key: CertificateKey, names: Sequence[str]) -> x509.CertificateSigningRequest:
    """Return a signing request for `names`. The subject stays empty: names live in the SAN."""
    sans = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    request = x509.CertificateSigningRequestBuilder(x509.Name([]), [x509.Extension(sans.oid, False, sans)])
    return request.sign(key, hashes.SHA256())


@_chain_errors()
def leaf_sha256(chain_pem: bytes) -> str:
    """Return the SHA-256 of the DER leaf of `chain_pem`, lower-case hex.

    Raises:
        IssueError: it is no chain of certificates.
    """
    return _load_chain(chain_pem)[0].fingerprint(hashes.SHA256()).hex()


@_chain_errors()
def as_parsed(chain_pem: bytes) -> bytes:
    """Return the certificates of a chain and nothing else: a CA may write any text around them.

    Raises:
        IssueError: it is no chain of certificates.
    """
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in _load_chain(chain_pem))


def lifetime(chain_pem: bytes) -> timedelta:
    """Return how long the first certificate of `chain_pem` lives, 0 if it is no chain of certificates."""
    try:
        with _chain_errors():
            leaf = _load_chain(chain_pem)[0]
            return bounded(leaf.not_valid_after_utc) - leaf.not_valid_before_utc
    except IssueError:
        return timedelta()


@_chain_errors()
def matching_facts(chain_pem: bytes, key: CertificateKey) -> LeafFacts:
    """Return the facts of the first certificate of `chain_pem`, whose key is `key`.

    Raises:
        IssueError: it is no chain of certificates, or the key is another one.
    """
    leaf = _load_chain(chain_pem)[0]
    if leaf.public_key() != key.public_key():
        raise IssueError(Text("the certificate is for another key"))
    return _facts(leaf)


@_chain_errors()
def checked_facts(chain_pem: bytes, key: CertificateKey, names: Sequence[str], now: datetime) -> LeafFacts:
    """Return the leaf's facts if the chain may be published with this key for these names.

    The key matches the leaf, the names are exactly these, each certificate signs the one before, nothing but
    certificates is in it, and the validity covers `now`.

    Raises:
        IssueError: one of these does not hold.
    """
    chain = _load_chain(chain_pem)
    facts = matching_facts(chain_pem, key)
    if facts.names != tuple(sorted(names)):
        raise IssueError(
            Text(
                "the certificate is for {}, not for {}",
                printable(", ".join(facts.names)),
                ", ".join(sorted(names)),
            )
        )
    for i, (cert, issuer) in enumerate(itertools.pairwise(chain)):
        if not _signs(issuer, cert):
            raise IssueError(Text("certificate {} of the CA's chain is not signed by the next one", i + 1))
    constraints = _extension(chain[0], x509.BasicConstraints)
    if constraints is not None and constraints.ca:
        raise IssueError(Text("the CA issued a CA certificate for the site"))
    if not facts.not_before - START_SLACK <= now < facts.not_after:
        raise IssueError(
            Text(
                "the CA's certificate is valid from {} to {}, and now is {}",
                facts.not_before,
                facts.not_after,
                now,
            ),
            hint=Text("set this machine's clock"),
        )
    return facts


def logged_names(chain_pem: bytes) -> tuple[tuple[str, ...], datetime]:
    """Return the names of a certificate that public logs hold, and from when on it is valid.

    It says so itself, by the promises of logs that a public CA writes into it (RFC 6962 section 3.3); without
    these, or where it is no certificate, there are no names.
    """
    try:
        with _chain_errors():
            leaf = _load_chain(chain_pem)[0]
            is_logged = _extension(leaf, x509.PrecertificateSignedCertificateTimestamps) is not None
            return _facts(leaf).names if is_logged else (), leaf.not_valid_before_utc
    except IssueError:
        return (), datetime.max.replace(tzinfo=UTC)


def _load_chain(chain_pem: bytes) -> list[x509.Certificate]:
    text = chain_pem.decode("ascii")
    chain = x509.load_pem_x509_certificates(chain_pem)
    # A hostile CA could plant a private key (RFC 8555 section 11.4).
    if not text.count("-----BEGIN") == text.count("-----BEGIN CERTIFICATE-----") == len(chain):
        raise IssueError(Text("the CA's chain holds more than certificates"))
    if len(chain) > _MAX_CHAIN:
        raise IssueError(Text("the CA's chain has {} certificates", len(chain)))
    return chain


def _signs(issuer: x509.Certificate, cert: x509.Certificate) -> bool:
    try:
        cert.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True


def _facts(cert: x509.Certificate) -> LeafFacts:
    sans = _extension(cert, x509.SubjectAlternativeName)
    if sans is None:
        raise IssueError(Text("the CA's certificate has no names"))
    names = {name.lower() for name in sans.get_values_for_type(x509.DNSName)}
    names |= {str(address) for address in sans.get_values_for_type(x509.IPAddress)}
    facts = LeafFacts(
        names=tuple(sorted(names)),
        sha256=cert.fingerprint(hashes.SHA256()).hex(),
        issuer=printable(cert.issuer.rfc4514_string(), MOST_ISSUER),
        not_before=cert.not_valid_before_utc,
        # A CA of one's own may sign without an end (RFC 5280 section 4.1.2.5: the year 9999).
        not_after=bounded(cert.not_valid_after_utc),
        ari_id=_ari_id(cert),
    )
    try:
        # What could not be read again would be damage once it is published.
        return facts.checked()
    except ValueError as exc:
        raise IssueError(Text("the CA's certificate cannot be used: {}", str(exc))) from exc


def _ari_id(cert: x509.Certificate) -> str:
    """Return the identifier of RFC 9773 section 4.1, empty without an authority key identifier."""
    issuer, serial = _extension(cert, x509.AuthorityKeyIdentifier), cert.serial_number
    if issuer is None or not issuer.key_identifier:
        return ""
    # DER of an INTEGER: one zero byte more where the first bit of a positive one is set.
    der = serial.to_bytes(serial.bit_length() // 8 + 1, "big", signed=True)
    return f"{_base64url(issuer.key_identifier)}.{_base64url(der)}"


def _extension(cert: x509.Certificate, kind: type[x509.ExtensionType]) -> Any:
    """Return the value of an extension, None where the certificate has none."""
    try:
        return cert.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
