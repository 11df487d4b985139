"""A CA of one's own: its root, the certificate that signs for it, and the certificates of sites.

The root signs once, and its key is forgotten. Both CA certificates are limited to the LAN by critical name
constraints: of an intermediate each verifier must obey them, of a root it need not.

Source: RFC 5280 sections 4.2.1.10 (name constraints), 4.2.1.12 (usage) and 6.1; mitmproxy, whose root on all
kinds of clients has the same usage; CA/Browser Forum, Baseline Requirements 7.1.2.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ..base.errors import StoreError
from ..base.names import is_address, is_network
from ..base.words import Text
from ..model.local_ca import BACKDATED, CaFiles, LocalCa
from .acme import keys

_ROOT_LIFE = timedelta(days=3652)
# In the root too: name constraints limit no e-mail, program or user that a CA could vouch for besides.
FOR_SERVERS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])


def make(host: str, permit: Sequence[str], now: datetime) -> CaFiles:
    """Make a root that may vouch for these domains and networks, and the certificate that signs for it.

    Args:
        host: what this machine is called, for the name of the root.
    """
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    start, end = (now - BACKDATED).replace(microsecond=0), (now + _ROOT_LIFE).replace(microsecond=0)
    digits = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key()).digest.hex()[:8]
    name = _name(f"certbotless {host[:30]} {now:%Y-%m-%d} {digits}")
    constraints = _constraints(permit)
    root = (
        _builder(name, name, root_key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(FOR_SERVERS, critical=False)
        .add_extension(_issuer_id(root_key), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    issuing = (
        _builder(_name(f"certbotless {host[:30]} {digits} issuing"), name, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_SIGNS, critical=True)
        .add_extension(constraints, critical=True)
        .add_extension(FOR_SERVERS, critical=False)
        .add_extension(_issuer_id(root_key), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    facts = LocalCa(
        root.fingerprint(hashes.SHA256()).hex(),
        tuple(permit),
        root.not_valid_before_utc,
        root.not_valid_after_utc,
    )
    pem = serialization.Encoding.PEM
    return CaFiles(facts, root.public_bytes(pem), issuing.public_bytes(pem), keys.key_to_pem(key))


def sign(
    ca: CaFiles,
    key: keys.CertificateKey,
    names: Sequence[str],
    now: datetime,
    lifetime: timedelta,
) -> bytes:
    """Return the chain of a new certificate for these names and addresses: it, and the one that signed it.

    Args:
        key: of the certificate.
        lifetime: it never lives longer than the CA.

    Raises:
        IssueError: the CA is not valid now.
        StoreError: the CA's files make no sense.
    """
    try:
        issuer = x509.load_pem_x509_certificate(ca.issuing_pem)
    except ValueError as exc:
        raise StoreError(Text("the local CA's issuing certificate cannot be read")) from exc
    signer = keys.key_from_pem(ca.issuing_key)
    if issuer.public_key() != signer.public_key():
        raise StoreError(Text("the local CA's issuing key is not that of its certificate"))
    start = max((now - BACKDATED).replace(microsecond=0), issuer.not_valid_before_utc)
    end = min((now + lifetime).replace(microsecond=0), issuer.not_valid_after_utc)
    if not start <= now < end:
        raise ca.facts.not_valid_now()
    leaf = (
        _builder(x509.Name([]), issuer.subject, key, start, end)
        .add_extension(x509.SubjectAlternativeName([*map(_general, sorted(names))]), critical=True)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_IS_SIGNED_WITH, critical=True)
        .add_extension(FOR_SERVERS, critical=False)
        .add_extension(_issuer_id(signer), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return leaf.public_bytes(serialization.Encoding.PEM) + issuer.public_bytes(serialization.Encoding.PEM)


def _usage(**set_: bool) -> x509.KeyUsage:
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: set_.get(name, False) for name in names})


_SIGNS = _usage(key_cert_sign=True, crl_sign=True)
_IS_SIGNED_WITH = _usage(digital_signature=True)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: keys.CertificateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    public = key.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _issuer_id(key: keys.CertificateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ipaddress.ip_address(name)) if is_address(name) else x509.DNSName(name)


def _constraints(permit: Sequence[str]) -> x509.NameConstraints:
    """Permit these alone. A kind of name of which none is permitted is excluded as a whole."""
    permitted: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_network(entry)) if is_network(entry) else x509.DNSName(entry)
        for entry in permit
    ]
    excluded: list[x509.GeneralName] = []
    networks = [ipaddress.ip_network(entry) for entry in permit if is_network(entry)]
    for version, everything in {4: "0.0.0.0/0", 6: "::/0"}.items():
        if not any(network.version == version for network in networks):
            excluded.append(x509.IPAddress(ipaddress.ip_network(everything)))
    if len(networks) == len(permit):
        excluded.append(x509.DNSName(""))  # adding labels to the left of nothing makes every name
    return x509.NameConstraints(permitted, excluded or None)
