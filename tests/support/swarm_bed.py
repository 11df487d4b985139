"""What is seen of a Swarm while something happens to it: each machine is asked all the time; clients come.

One thread asks one machine: a machine without power keeps who asks it waiting, and the others are not to be
asked more rarely for it.
"""

from __future__ import annotations

import hashlib
import random
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType
from typing import Any, Self

from docker.models.services import Service

from certbotless.sandbox.node import Node
from certbotless.sandbox.swarm import PORT, Swarm

CONNECT_S = 0.5
PAUSE_S = 0.03
REFUSED, MIXED = "refused", "mixed"


@dataclass(frozen=True, slots=True)
class Look:
    """One handshake with a machine.

    Attributes:
        at_s: when it began, by the monotonic clock.
        found: the SHA-256 of the certificate, REFUSED, or MIXED: the key is another certificate's.
    """

    at_s: float
    found: str


def look_at(address: str, name: str, port: int = PORT) -> Look:
    """Make one handshake; it takes a second at most."""
    tls = ssl.create_default_context()
    tls.check_hostname = False
    tls.verify_mode = ssl.CERT_NONE
    at_s = time.monotonic()
    try:
        with (
            socket.create_connection((address, port), timeout=CONNECT_S) as connection,
            tls.wrap_socket(connection, server_hostname=name) as session,
        ):
            return Look(at_s, hashlib.sha256(session.getpeercert(binary_form=True) or b"").hexdigest())
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Look(at_s, REFUSED)  # it ended in the middle
    except ssl.SSLError:
        return Look(at_s, MIXED)
    except OSError:
        return Look(at_s, REFUSED)


@dataclass
class Probers:
    """Ask each machine all the time, within the context.

    Attributes:
        looks: by the name of a machine, what was found there so far.
    """

    nodes: Sequence[Node]
    name: str
    looks: dict[str, list[Look]] = field(default_factory=dict)

    def __enter__(self) -> Self:
        self._is_over = threading.Event()
        self.looks = {node.name: [] for node in self.nodes}
        self._threads = [threading.Thread(target=self._ask, args=(node,)) for node in self.nodes]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, node: Node) -> None:
        while not self._is_over.wait(PAUSE_S):
            self.looks[node.name].append(look_at(node.address, self.name))

    def all(self, since_s: float = 0) -> list[str]:
        """Return all that was found since a moment."""
        return [look.found for looks in self.looks.values() for look in looks if look.at_s >= since_s]

    def mixed(self) -> int:
        """Return how many handshakes showed a certificate with the key of another one."""
        return self.all().count(MIXED)

    def foreign(self, known: Iterable[str]) -> int:
        """Return how many handshakes showed a certificate that is none of these."""
        return len([found for found in self.all() if found not in {*known, REFUSED, MIXED}])

    def refused_s(self, node: Node, since_s: float = 0) -> float:
        """Return how long a machine has served nobody since a moment, all in all."""
        looks = [look for look in self.looks[node.name] if look.at_s >= since_s]
        pairs = pairwise(looks)
        return sum(after.at_s - look.at_s for look, after in pairs if look.found in (REFUSED, MIXED))

    def longest_s(self, node: Node, since_s: float = 0) -> float:
        """Return for how long at a stretch a machine has served nobody since a moment."""
        longest, began_s = 0.0, None
        for look in (look for look in self.looks[node.name] if look.at_s >= since_s):
            if look.found not in (REFUSED, MIXED):
                began_s = None
            else:
                began_s = look.at_s if began_s is None else began_s
                longest = max(longest, look.at_s - began_s)
        return longest

    def first(self, node: Node, sha256: str, since_s: float = 0) -> float | None:
        """Return how long after a moment a machine showed this certificate first; None: it has not."""
        shown = (look.at_s for look in self.looks[node.name] if look.at_s >= since_s and look.found == sha256)
        found = next(shown, None)
        return None if found is None else found - since_s


@dataclass
class Clients:
    """Clients that know a name's addresses and come one after the other, within the context.

    Each tries the addresses in an order of its own, as a resolver gives them, and asks for one page.

    Attributes:
        served, refused, cut: how many got it, found nobody at any address, lost the connection.
    """

    addresses: Sequence[str]
    name: str
    served: int = 0
    refused: int = 0
    cut: int = 0

    def __enter__(self) -> Self:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._come)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _come(self) -> None:
        order = random.Random(17)  # noqa: S311  (no secret)
        tls = ssl.create_default_context()
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
        while not self._is_over.wait(PAUSE_S):
            connection = _connected(order.sample(self.addresses, len(self.addresses)))
            if connection is None:
                self.refused += 1
                continue
            try:
                with connection, tls.wrap_socket(connection, server_hostname=self.name) as session:
                    session.sendall(f"GET /v2/ HTTP/1.0\r\nHost: {self.name}\r\n\r\n".encode())
                    is_served = session.recv(100).startswith(b"HTTP/1.0 200")
            except OSError:
                is_served = False
            self.served += is_served
            self.cut += not is_served


def _connected(addresses: Iterable[str]) -> socket.socket | None:
    for address in addresses:
        try:
            return socket.create_connection((address, PORT), timeout=5)
        except OSError:
            continue
    return None


def roll_by_hand(swarm: Swarm, service: Service, chain: bytes, key: bytes, number: int) -> None:
    """Let a service have another certificate and key, as an admin does."""
    made = [swarm.secret(f"hand-{number}.{end}", text) for end, text in (("pem", chain), ("key", key))]
    services: Any = swarm.manager().client().services
    services.get(service.id).update(secrets=made)


def spread(name: str, values_s: Sequence[float]) -> str:
    """Return a line of figures: how many, the median, the 95th percentile and the largest, in seconds."""
    ordered = sorted(values_s)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return (
        f"{name}: n={len(ordered)} median {statistics.median(ordered):.2f} s, p95 {p95:.2f} s,"
        f" max {ordered[-1]:.2f} s"
    )


def every(nodes: Iterable[Node], name: str, sha256: str) -> Callable[[], bool]:
    """Return whether all these machines serve this certificate, as a question."""
    nodes = tuple(nodes)
    return lambda: all(look_at(node.address, name).found == sha256 for node in nodes)
