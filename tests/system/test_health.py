"""A renewal is no fault while the certificate in use is valid; what a person must know is."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import requests
from support.bed import DOMAIN, Bed, wait_until
from support.readers import GROUP, give_new_keys_to, serve_as_a_user

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.process import free_port

EVERY_S = 0.1
FAIL = {"exec": ["/bin/sh", "-c", "echo no; exit 3"]}


@contextmanager
def watched(url: str) -> Iterator[list[tuple[int, str]]]:
    """Yield what is answered there each 100 ms while the block runs, each status and text."""
    found: list[tuple[int, str]] = []
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(EVERY_S):
            found.append(health(url))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        is_over.set()
        thread.join()


def serves(bed: Bed) -> str:
    """Return the fingerprint of the certificate that is served; empty while the registry restarts."""
    with suppress(OSError):
        return bed.served()
    return ""


def health(url: str) -> tuple[int, str]:
    answer = requests.get(url, timeout=30)
    return answer.status_code, answer.text


def test_a_renewal_leaves_the_daemon_healthy_unless_the_service_refuses_the_new_certificate(bed: Bed) -> None:
    """With another type of key the certificate is to be renewed, and the one in use is as good as before."""
    listen = f"127.0.0.1:{free_port()}"
    bed.config |= {"http": {"listen": listen}, "check_every": "1s"}
    url = f"http://{listen}/healthz"

    bed.ok("--once")
    with bed.daemon():
        wait_until(lambda: health(url)[0] == 200, "all is right")
        before = bed.served()
        bed.config["acme"]["key_type"] = "ec384"
        with watched(url) as seen:
            bed.write()
            wait_until(lambda: bed.published() != before, "a new certificate is published")
            wait_until(lambda: serves(bed) == bed.published(), "it is served")
            wait_until(lambda: "1 ok" in health(url)[1], "the renewal is over")
            time.sleep(5 * EVERY_S)
        assert {status for status, _ in seen} == {200}
        assert any("1 renewing" in text for _, text in seen)
        assert bed.run("status").returncode == 0

        before = bed.served()
        bed.config["acme"]["key_type"] = "ec256"
        bed.config["sites"][0]["deploy"][0]["action"] = FAIL
        with watched(url) as seen:
            bed.write()
            wait_until(lambda: health(url)[0] == 503, "the service refuses the certificate")
        assert "failing" in health(url)[1]
        assert bed.run("status").returncode == 1
        assert bed.served() == before
        # It was a renewal like any other until then.
        assert any("1 renewing" in text for status, text in seen if status == 200)


def test_a_registry_that_refuses_the_new_certificate_makes_the_daemon_unhealthy(bed: Bed) -> None:
    """It may not read the new key and ends; the old certificate is served again, but a person is needed."""
    listen = f"127.0.0.1:{free_port()}"
    bed.config |= {"http": {"listen": listen}, "check_every": "1s"}
    url = f"http://{listen}/healthz"
    serve_as_a_user(bed)
    with bed.daemon():
        wait_until(lambda: health(url)[0] == 200, "all is right")
        before, log = bed.published(), bed.registry.container.logs
        give_new_keys_to(bed, 0)
        bed.config["acme"]["key_type"] = "ec384"
        with watched(url) as seen:
            bed.write()
            wait_until(lambda: health(url)[0] == 503, "the registry has refused the certificate")
            wait_until(lambda: serves(bed) == before, "the certificate before is served")
            time.sleep(5 * EVERY_S)
        assert b"permission denied" in log()
        # 200 for as long as it was a renewal like any other, and never again.
        statuses = [status for status, _ in seen]
        assert statuses == sorted(statuses)
        assert any("1 renewing" in text for status, text in seen if status == 200)
        told = f"{DOMAIN} failing: no TLS answer at {LAN_ADDRESS}:{bed.registry.port}; 'registry' has ended"
        assert health(url) == (503, f"{told}; the previous certificate is in use again\n")
        assert bed.run("status").returncode == 1
        (target,) = bed.status()["sites"][0]["deploy"]
        assert (target["state"], target["served_sha256"]) == ("serving", before)

        give_new_keys_to(bed, GROUP)
        bed.ok("--renew-now", "--force")
        wait_until(lambda: health(url)[0] == 200, "the next certificate is one that it can read")
        assert bed.run("status").returncode == 0
    assert bed.served() == bed.published() != before
