"""Certificates that live for minutes: the daemon renews them all the time, and no client sees a bad one."""

import socket
import ssl
import time
from collections import Counter

import pytest
from support.bed import DOMAIN, Bed, wait_until

from certbotless.sandbox.host import LAN_ADDRESS

_EVERY_S = 0.2


def connect(port: int, trusting: ssl.SSLContext) -> str:
    """Connect once, and return how it ended: `ok`, `refused`, or the words of a verification that failed."""
    try:
        with (
            socket.create_connection((LAN_ADDRESS, port), timeout=1) as raw,
            trusting.wrap_socket(raw, server_hostname=DOMAIN),
        ):
            return "ok"
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_message
    except OSError:
        return "refused"


@pytest.mark.parametrize(
    ("ca", "lifetime_s", "watched_s"),
    [
        ({"certificate_validity_s": 90}, 90, 120),
        pytest.param({"certificate_validity_s": 120}, 120, 900, marks=pytest.mark.soak),
    ],
    indirect=["ca"],
    ids=["two minutes", "a quarter of an hour"],
)
@pytest.mark.long
def test_no_client_ever_sees_a_certificate_that_has_expired(
    bed: Bed, lifetime_s: int, watched_s: int
) -> None:
    port, trusting = bed.registry.port, ssl.create_default_context(cadata=bed.ca.root_pem())
    seen: Counter[str] = Counter()
    with bed.daemon() as daemon:
        wait_until(lambda: connect(port, trusting) == "ok", "the first one is served")
        end = time.monotonic() + watched_s
        while time.monotonic() < end:
            time.sleep(_EVERY_S)
            seen[connect(port, trusting)] += 1
        restarts = daemon.log_text().count("container.restarted")
    print(
        f"lifetime {lifetime_s} s, watched for {watched_s} s: {bed.orders()} orders, {restarts} restarts,"
        f" connections {dict(seen)}"
    )
    assert set(seen) <= {"ok", "refused"}
    assert seen["ok"] > watched_s
    # One at half of each lifetime, and no more than that.
    assert watched_s / lifetime_s <= restarts <= 2 * watched_s / lifetime_s + 2
    assert restarts - 1 <= bed.orders() <= restarts + 1
