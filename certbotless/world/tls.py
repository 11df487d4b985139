"""Which leaf does host:port serve?

A full TLS handshake, never a bare connect: servers log those as errors, and a port that is open proves
nothing. The certificate is compared, not trusted, so it is verified only where it is none of those known.
"""

import hashlib
import ssl
from collections.abc import Iterable
from functools import cache

from .resolve import connect

# How a server of TLS 1.2 refuses a client without a certificate: OpenSSL's and Java's words, and those of Go.
_WANTS_OURS = ("SSLV3_ALERT_HANDSHAKE_FAILURE", "SSLV3_ALERT_BAD_CERTIFICATE")
# The module's own name for it is private (_ssl.ENCODING_DER); Python 3.13 has a method for both.
_DER = 2
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
            with _context().wrap_socket(
                raw, server_hostname=server_name, do_handshake_on_connect=False
            ) as tls:
                leaf = shake_hands(tls)
    except (OSError, ValueError):
        return ""
    return hashlib.sha256(leaf).hexdigest()


def shake_hands(tls: ssl.SSLSocket) -> bytes:
    """Make the handshake, and return the leaf that the server shows, DER; it is verified as its context says.

    A server that wants a certificate of its clients has shown its own before. It says so after the handshake,
    but within it by TLS 1.2 (RFC 5246 section 7.4.6). Our part of the handshake ends after the server has
    signed its part: until then it may show a certificate without having its key.

    Raises:
        OSError: no TLS is possible with it, or what it shows is not trusted.
    """
    try:
        tls.do_handshake()
    except ssl.SSLError as exc:
        if exc.reason not in _WANTS_OURS or not _has_signed(tls):
            raise
        shown = tls._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        leaf: bytes = shown[0].public_bytes(_DER)
        return leaf
    return tls.getpeercert(binary_form=True) or b""  # no server of TLS is without one


def _has_signed(tls: ssl.SSLSocket) -> bool:
    """Whether the server of a handshake of TLS 1.2 that has failed has shown that it has its key."""
    # We have sent our Finished, which is the binding of a new session (RFC 5929 section 3.1). With a key
    # exchange by RSA alone the server signs nothing before that (RFC 5246 section 7.4.3).
    name, *_ = tls.cipher() or ("",)
    return "DHE-" in name and tls.get_channel_binding("tls-unique") is not None


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
            with context.wrap_socket(raw, server_hostname=server_name, do_handshake_on_connect=False) as tls:
                shake_hands(tls)
                return True
    except (OSError, ValueError):
        return False
