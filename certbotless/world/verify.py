"""Would a client of this machine trust a service with this pair? OpenSSL says, by a handshake in memory.

The trust store is the one that programs here have by default: `SSL_CERT_FILE` and `SSL_CERT_DIR` count.
"""

import os
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ..base.words import Text
from ..config.values import DIRECTORIES
from ..model.limits import STAGING

# The client speaks, the server answers, and the client verifies.
_TURNS = 3


def why_untrusted(chain_pem: bytes, key_pem: bytes, name: str) -> str:
    """Return why such a client would not trust the pair for this name, empty where it would; never waits."""
    try:
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
        with ExitStack() as stack:
            chain, key = (stack.enter_context(_file(data)) for data in (chain_pem, key_pem))
            # Without a password OpenSSL would ask a terminal for that of an encrypted block.
            server.load_cert_chain(chain, key, password="")
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        ends = (
            client.wrap_bio(to_client, to_server, server_hostname=name),
            server.wrap_bio(to_server, to_client, server_side=True),
        )
        for turn in range(_TURNS):
            with suppress(ssl.SSLWantReadError):
                ends[turn % 2].do_handshake()
    except ssl.SSLCertVerificationError as exc:
        return Text(exc.verify_message)
    except (OSError, ValueError) as exc:
        return Text("no TLS is possible with it ({})", type(exc).__name__)
    return "" if ends[0].version() else Text("no TLS is possible with it")


def doubt(directory: str, chain_pem: bytes, key_pem: bytes, name: str) -> str:
    """Return why a client of this machine would not trust what a public CA has issued; empty where it would.

    Args:
        directory: of the CA; a staging directory or a private CA raises no doubt.
    """
    if directory in STAGING or directory not in DIRECTORIES.values():
        return ""
    return why_untrusted(chain_pem, key_pem, name)


@contextmanager
def _file(data: bytes) -> Iterator[str]:
    """Yield the name of a file in memory: OpenSSL reads chain and key from files alone."""
    with open(os.memfd_create("pem"), "w+b") as file:
        file.write(data)
        file.flush()
        yield f"/proc/self/fd/{file.fileno()}"
