"""What clients of a TLS service see while it restarts.

A new client every 10 ms, each in a thread of its own: clients in a row would wait for the one that hangs, and
see no gap at all.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from types import TracebackType

INTERVAL_S = 0.01
# A lost SYN is sent again after 1 s, 3 s, 7 s.
PATIENCE_S = 5


@dataclass(frozen=True, slots=True)
class Visit:
    """One client: when it came, how long it took, and the leaf it was shown or what went wrong."""

    came_s: float
    took_s: float
    sha256: str | None
    error: str


class Clients:
    """Clients that come within the context, and verify what they are shown as any client does.

    Args:
        name, address, port: the service; the name is verified, the address is where they go.
        root_pem: the one root they trust.
    """

    def __init__(self, name: str, address: str, port: int, root_pem: str) -> None:
        self._name = name
        self._address = (address, port)
        self._tls = ssl.create_default_context(cadata=root_pem)
        self._visits: list[Visit] = []
        self._closing = threading.Event()
        self._door = threading.Thread(target=self._let_in)

    def visits(self) -> list[Visit]:
        """Return the visits that have ended, in the order they came."""
        return sorted(self._visits, key=lambda visit: visit.came_s)

    def _let_in(self) -> None:
        visitors = []
        while not self._closing.wait(INTERVAL_S):
            visitors.append(threading.Thread(target=self._visit))
            visitors[-1].start()
        for visitor in visitors:
            visitor.join()

    def _visit(self) -> None:
        came_s = time.monotonic()
        sha256, error = None, ""
        try:
            with (
                socket.create_connection(self._address, timeout=PATIENCE_S) as connection,
                self._tls.wrap_socket(connection, server_hostname=self._name) as session,
            ):
                sha256 = hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest()
        except OSError as failure:
            error = type(failure).__name__
        self._visits.append(Visit(came_s, time.monotonic() - came_s, sha256, error))

    def __enter__(self) -> Clients:
        self._door.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._door.join()


def gap_s(visits: list[Visit]) -> float:
    """Return how long the service was away: from the first client that failed to the next that did not.

    Args:
        visits: in the order they came. If several stretches failed, they count from first to last.
    """
    failed = [index for index, visit in enumerate(visits) if visit.sha256 is None]
    if not failed:
        return 0.0
    after = visits[failed[-1] + 1 :] or visits[-1:]
    return after[0].came_s - visits[failed[0]].came_s
