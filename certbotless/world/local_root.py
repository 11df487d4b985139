"""The root of the local CA as it is read back: what it is, and whether a machine may trust it.

The user of the service writes the file, and root installs it. So a certificate whose constraints a verifier
may ignore, or that may do more than sign certificates of TLS servers, is none.

Source: RFC 5280 sections 4.2.1.3, 4.2.1.9, 4.2.1.10 and 4.2.1.12.
"""

import ipaddress
import re
from collections.abc import Collection
from datetime import timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtensionOID, NameOID

from ..base.errors import StoreError
from ..base.words import N_, Text
from ..model.local_ca import RootCertificate
from .local_ca import FOR_SERVERS

_HAS = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.NAME_CONSTRAINTS,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
}
# What a permitted name may be: a network that is written as a name would pass for a limit of addresses, and
# verifiers may differ about other characters. An empty one excludes every name.
_DOMAIN = re.compile(r"(\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*)?")
# Longer than ours live (world.local_ca).
_LONGEST_LIFE = timedelta(days=3700)
# What cryptography raises for what is no such certificate.
_NOT_ONE = (
    ValueError,
    TypeError,
    InvalidSignature,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
# A kind of name of which none is permitted is excluded as a whole.
_EVERY_NAME, _EVERY_IPV4, _EVERY_IPV6 = "", "0.0.0.0/0", "::/0"


def read_root(data: bytes, where: str) -> RootCertificate:
    """Return the root that a file has.

    Args:
        where: the path of the file, for errors.

    Raises:
        StoreError: it is not one self-signed CA certificate with critical name constraints for DNS names and
            IP addresses, or may do more than sign certificates of TLS servers.
    """
    try:
        (certificate,) = x509.load_pem_x509_certificates(data)
        certificate.verify_directly_issued_by(certificate)
        permit = _permit_of(certificate)
        start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if end - start > _LONGEST_LIFE:
            raise ValueError("life")
        (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except _NOT_ONE as exc:
        raise _refused(where, N_("it is not one root with the limits of certbotless")) from exc
    return RootCertificate(
        certificate.fingerprint(hashes.SHA256()).hex(),
        permit,
        start,
        end,
        str(name.value),
        certificate.public_bytes(serialization.Encoding.PEM),
        certificate.public_bytes(serialization.Encoding.DER),
    )


def _refused(where: str, why: str) -> StoreError:
    hint = N_("put your copy of the folder back, or make a new CA: certbotless trust rotate --now")
    return StoreError(Text("{!r} is refused: {}", where, Text(why)), hint=Text(hint))


def _permit_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return what a root may vouch for. Raises ValueError where it may do anything else."""
    extensions = certificate.extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    limits = extensions.get_extension_for_class(x509.NameConstraints)
    if {extension.oid for extension in extensions} != _HAS:
        raise ValueError("other extensions")
    if not (basic.critical and basic.value.ca and basic.value.path_length == 1):
        raise ValueError("basic constraints")
    if not (usage.critical and usage.value.key_cert_sign) or usage.value.digital_signature:
        raise ValueError("key usage")
    permitted = [_text_of(each) for each in limits.value.permitted_subtrees or ()]
    excluded = {_text_of(each) for each in limits.value.excluded_subtrees or ()}
    if extensions.get_extension_for_class(x509.ExtendedKeyUsage).value != FOR_SERVERS:
        raise ValueError("extended key usage")
    if not limits.critical or not permitted or not _is_bounded(permitted, excluded):
        raise ValueError("name constraints")
    return tuple(permitted)


def _text_of(name: x509.GeneralName) -> str:
    if isinstance(name, x509.IPAddress):
        return str(ipaddress.ip_network(str(name.value)))
    if isinstance(name, x509.DNSName) and _DOMAIN.fullmatch(name.value):
        return name.value
    raise ValueError("a constraint of another kind")


def _is_bounded(permitted: Collection[str], excluded: Collection[str]) -> bool:
    """Whether names, IPv4 and IPv6 addresses are each either limited or excluded as a whole."""
    networks = [ipaddress.ip_network(each) for each in permitted if "/" in each]
    kinds = {
        _EVERY_NAME: len(networks) < len(permitted),
        _EVERY_IPV4: any(network.version == 4 for network in networks),
        _EVERY_IPV6: any(network.version == 6 for network in networks),
    }
    return all(is_limited or everything in excluded for everything, is_limited in kinds.items())
