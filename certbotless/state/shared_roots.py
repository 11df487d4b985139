"""The roots of the local CA as clients get them, without the library that knows certificates. Light."""

import ssl
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..model.local_ca import RootCertificate
from .local_ca import LocalCaFolder, Root


def shared(state_dir: Path) -> tuple[RootCertificate, ...]:
    """Return the root that signs now and, during a rotation, the next one; nothing where there is no CA.

    Raises:
        StoreError: one of them is damaged, or cannot be read.
    """
    return tuple(map(_certificate_of, LocalCaFolder(state_dir).needed()))


def _certificate_of(root: Root) -> RootCertificate:
    ca, der = root.facts, ssl.PEM_cert_to_DER_cert(root.pem.decode("ascii"))
    name, pem = _name_of(der) or f"certbotless {ca.short}", ssl.DER_cert_to_PEM_cert(der).encode("ascii")
    return RootCertificate(ca.root_sha256, ca.permit, ca.not_before, ca.not_after, name, pem, der)


def _name_of(der: bytes) -> str:
    """Return the common name of a CA certificate, empty where it has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with suppress(ssl.SSLError):
        context.load_verify_locations(cadata=der)
    found: Sequence[Any] = context.get_ca_certs()
    pairs = [pair for each in found for part in each["subject"] for pair in part]
    return next((value for key, value in pairs if key == "commonName"), "")
