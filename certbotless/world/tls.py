"""Which leaf does host:port serve?

A full TLS handshake, never a bare connect: servers log those as errors, and a port that is open proves
nothing. The certificate is compared, not trusted, so it is verified only where it is none of those known.
"""

import hashlib
import ssl
from collections.abc import Iterable
from functools import cache

from .resolve import connect

# A slow box needs a second for a handshake; together with the connection that stays below the 5 s of a check.
_HANDSHAKE_TIMEOUT_S = 2


@cache
def _context() -> ssl.SSLContext:
    """Return what all handshakes share; to make one takes longer than to use it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def served_leaf(host: str, port: int, server_name: str, *, connect_timeout_s: float = 2) -> str:
    """Return the SHA-256 of the DER leaf that is served for `server_name`, lower-case hex.

    Empty where nothing answers, or not in TLS. Takes at most `connect_timeout_s`, 2 s for the handshake, and
    2 s where `host` is a name.
    """
    try:
        with connect(host, port, connect_timeout_s) as raw:
            raw.settimeout(_HANDSHAKE_TIMEOUT_S)
            with _context().wrap_socket(raw, server_hostname=server_name) as tls:
                leaf = tls.getpeercert(binary_form=True) or b""  # no server of TLS is without one
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(leaf).hexdigest()


def serves_valid(host: str, port: int, server_name: str, issuers: Iterable[bytes]) -> bool:
    """Whether a certificate is served that is valid now, is for `server_name`, and has a known issuer.

    Args:
        issuers: chains, PEM; who issued one of them is known, beside whom this machine trusts.

    Takes at most 4 s, and 2 s where `host` is a name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # The chains have no root.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.load_default_certs()
    try:
        for chain in issuers:
            context.load_verify_locations(cadata=chain.decode())
        with connect(host, port, 2) as raw:
            raw.settimeout(_HANDSHAKE_TIMEOUT_S)
            with context.wrap_socket(raw, server_hostname=server_name):
                return True
    except (OSError, ValueError):
        return False
