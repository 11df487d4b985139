"""CAs and roots for tests of `certbotless trust`: as certbotless makes them, and as an intruder would."""

import hashlib
import shutil
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certbotless.model.local_ca import CaFiles, LocalCa
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca

PERMIT = ("lan", "home.arpa", "devbox", "10.0.0.0/8")
NO_NAME, NO_IPV4, NO_IPV6 = (
    x509.DNSName(""),
    x509.IPAddress(ip_network("0.0.0.0/0")),
    x509.IPAddress(ip_network("::/0")),
)
_SIGNS = x509.KeyUsage(*(i in (5, 6) for i in range(9)))


def make_ca(state: Path, permit: Sequence[str] = PERMIT) -> bytes:
    """Make a CA below `state`, and return its root."""
    made = local_ca.make("devbox", permit, datetime.now(UTC))
    state.mkdir(0o700, exist_ok=True)
    LocalCaFolder(state).make(made)
    return made.root_pem


def plant(state: Path, pem: bytes) -> None:
    """Put another root in the place of that of a CA, with facts that agree with it."""
    first = pem.decode().partition("-----END")[0] + "-----END CERTIFICATE-----"
    sha256 = hashlib.sha256(ssl.PEM_cert_to_DER_cert(first)).hexdigest()
    now = datetime.now(UTC)
    facts = LocalCa(root_sha256=sha256, permit=PERMIT, not_before=now, not_after=now + timedelta(days=3650))
    shutil.rmtree(state / "local-ca", ignore_errors=True)
    LocalCaFolder(state).make(CaFiles(facts, pem, b"", b""))


def constraints(
    permitted: Sequence[x509.GeneralName] | None, excluded: Sequence[x509.GeneralName] | None = None
) -> x509.NameConstraints:
    return x509.NameConstraints(permitted, excluded)


LAN = constraints([x509.DNSName("lan"), x509.IPAddress(ip_network("10.0.0.0/8"))], [NO_IPV6])


def made_root(
    limits: x509.NameConstraints | None = LAN,
    more: Sequence[x509.ExtensionType] = (),
    *,
    name: str = "certbotless devbox",
    **other: Any,
) -> bytes:
    """Return a self-signed CA certificate, PEM: without arguments one that may be installed."""
    return signed(builder(limits, name=name, **other), more)


def builder(
    limits: x509.NameConstraints | None,
    *,
    name: str = "certbotless devbox",
    is_critical: bool = True,
    path_length: int | None = 1,
    life: timedelta = timedelta(days=3652),
    uses: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH,),
) -> x509.CertificateBuilder:
    """Return such a certificate without its key."""
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC).replace(microsecond=0)
    made = (
        x509.CertificateBuilder(who, who, None, x509.random_serial_number(), start, start + life)
        .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_SIGNS, critical=True)
    )
    if uses:
        made = made.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
    return made if limits is None else made.add_extension(limits, critical=is_critical)


def signed(
    made: x509.CertificateBuilder,
    more: Sequence[x509.ExtensionType] = (),
    key: ec.EllipticCurvePrivateKey | None = None,
    public_key: ec.EllipticCurvePublicKey | None = None,
) -> bytes:
    """Return it with its key, signed by that key or by another one."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    public = public_key or key.public_key()
    ids = (
        x509.SubjectKeyIdentifier.from_public_key(public),
        x509.AuthorityKeyIdentifier.from_issuer_public_key(public),
    )
    made = made.public_key(public)
    for each in (*ids, *more):
        made = made.add_extension(each, critical=False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
