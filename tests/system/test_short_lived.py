"""Certificates that live for minutes: the daemon renews them all the time, and no client sees a bad one."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter

import pytest

from certbotless.sandbox.host import LAN_ADDRESS

from .bed import DOMAIN, Bed, wait_until

_EVERY_S = 0.2


class Client(threading.Thread):
    """A client that connects all the time, and verifies as any does; runs inside a ``with`` block.

    Attributes:
        seen: how many connections ended how: `ok`, `refused`, or the words of the verification that failed.
    """

    def __init__(self, port: int, root_pem: str) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._port = port
        self._context = ssl.create_default_context(cadata=root_pem)
        self._must_end = threading.Event()

    def run(self) -> None:
        while not self._must_end.wait(_EVERY_S):
            self.seen[self.connect()] += 1

    def connect(self) -> str:
        """Connect once, and return how it ended."""
        try:
            with (
                socket.create_connection((LAN_ADDRESS, self._port), timeout=1) as raw,
                self._context.wrap_socket(raw, server_hostname=DOMAIN),
            ):
                return "ok"
        except ssl.SSLCertVerificationError as exc:
            return exc.verify_message
        except OSError:
            return "refused"

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._must_end.set()
        self.join()


@pytest.mark.parametrize(
    ("ca", "lifetime_s", "watched_s"),
    [
        ({"certificate_validity_s": 90}, 90, 120),
        pytest.param({"certificate_validity_s": 120}, 120, 900, marks=pytest.mark.soak),
    ],
    indirect=["ca"],
    ids=["two minutes", "a quarter of an hour"],
)
def test_no_client_ever_sees_a_certificate_that_has_expired(
    bed: Bed, lifetime_s: int, watched_s: int
) -> None:
    client = Client(bed.registry.port, bed.ca.root_pem())
    with bed.daemon() as daemon:
        wait_until(lambda: client.connect() == "ok", "the first one is served")
        with client:
            time.sleep(watched_s)
        restarts = daemon.log_text().count("container.restarted")
    print(
        f"lifetime {lifetime_s} s, watched for {watched_s} s: {bed.orders()} orders, {restarts} restarts,"
        f" connections {dict(client.seen)}"
    )
    assert set(client.seen) <= {"ok", "refused"}
    assert client.seen["ok"] > watched_s
    # One at half of each lifetime, and no more than that.
    assert watched_s / lifetime_s <= restarts <= 2 * watched_s / lifetime_s + 2
    assert restarts - 1 <= bed.orders() <= restarts + 1
