"""Certificates that live for minutes: the daemon renews them all the time, and no client sees a bad one."""

import socket
import ssl
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from pathlib import Path
from random import Random

import pytest
from support.bed import DOMAIN, Bed, wait_until
from support.fault_proxy import FaultProxy
from support.two_cas import EAB_KEY, EAB_KID

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble

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


def issued(bed: Bed) -> tuple[str, datetime]:
    """Return the directory of the CA that gave what is published, and when that ends."""
    found = bed.status()["sites"][0]["certificate"]
    return (found["ca"], datetime.fromisoformat(found["not_after"])) if found else ("", datetime.now(UTC))


@pytest.mark.soak
@pytest.mark.parametrize("ca", [{"certificate_validity_s": 360}], indirect=True, ids=["six minutes"])
def test_the_second_of_two_cas_covers_for_the_first(
    bed: Bed, ca: Pebble, dns: AlidnsEmulator, tmp_path: Path
) -> None:
    """The first is down for up to three of each six minutes, for two hours; no client sees a bad certificate.

    It goes down when a renewal is about to be due.

    The second one is never used before the last sixth of a life, and always before its end.
    """
    random, watched_s, lifetime = Random(1), 7200, timedelta(seconds=360)  # noqa: S311
    # Half of the life has passed soon after.
    due_s = lifetime.total_seconds() / 2 - 5
    seen: Counter[str] = Counter()
    # Who has issued, how much was left of the certificate before, for how many seconds the first one was up.
    changes: list[tuple[str, timedelta, float]] = []
    for name in ("proxy", "other"):
        (tmp_path / name).mkdir()
    with (
        FaultProxy(ca.directory_url, tmp_path / "proxy", ca.ca_bundle) as proxy,
        Pebble(
            tmp_path / "other",
            dns.nameservers[0],
            certificate_validity_s=360,
            retry_after_s=0,
            eab_keys={EAB_KID: EAB_KEY},
        ) as other,
    ):
        eab = {"kid": EAB_KID, "hmac_key": EAB_KEY}
        second = {"directory": other.directory_url, "ca_bundle": str(other.ca_bundle), "eab": eab}
        first = {"directory": f"{proxy.url}/dir", "ca_bundle": str(proxy.ca_bundle)}
        bed.config["acme"] = [first, second]
        trusting = ssl.create_default_context(cadata=ca.root_pem() + other.root_pem())
        with bed.daemon():
            wait_until(lambda: connect(bed.registry.port, trusting) == "ok", "the first one is served")
            until, (_, end) = time.monotonic() + watched_s, issued(bed)
            down_at, up_at, back_at = time.monotonic() + due_s, 0.0, -inf
            while (now := time.monotonic()) < until:
                time.sleep(_EVERY_S)
                seen[connect(bed.registry.port, trusting)] += 1
                if proxy.is_down and now > up_at:
                    proxy.come_back()
                    back_at = now
                elif not proxy.is_down and now > down_at:
                    proxy.go_down()
                    down_at, up_at = inf, now + random.uniform(0, lifetime.total_seconds() / 2)
                found, its_end = issued(bed)
                if its_end != end:
                    up_for = 0 if proxy.is_down else now - back_at
                    changes.append((found, end - datetime.now(UTC), up_for))
                    end, down_at = its_end, now + due_s
            if proxy.is_down:
                proxy.come_back()
    stand_ins = [left for by, left, _ in changes if by == other.directory_url]
    back = sum(by != other.directory_url == before for (before, _, _), (by, _, _) in pairwise(changes))
    print(
        f"{watched_s} s: {len(changes)} renewals, {len(stand_ins)} by the second CA, with at most "
        f"{max(stand_ins, default=timedelta())} left and at least {min(stand_ins, default=timedelta())}; "
        f"{back} times back to the first; connections {dict(seen)}; "
        f"orders {ca.orders_made()} and {other.orders_made()}"
    )
    assert set(seen) <= {"ok", "refused"}
    assert all(timedelta() < left <= lifetime / 6 for left in stand_ins)
    assert stand_ins and back
    # The first one was down when it was asked, which takes a moment to be seen here.
    assert all(up_for < 60 for by, _, up_for in changes if by == other.directory_url)
