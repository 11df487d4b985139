"""What a client of this machine meets, tried by the daemon: told, and never acted on."""

import json
import socket
import ssl
import struct
from dataclasses import replace
from typing import Any

import pytest
from support.bed import DOMAIN, Bed, wait_until
from support.listeners import listening
from support.pages import exchanged
from support.private_host import HOSTS, written_over

from certbotless.base.times import parse_rfc3339
from certbotless.config import load
from certbotless.observe import client_visit
from certbotless.observe.views import look_at
from certbotless.sandbox.host import LAN_ADDRESS


@pytest.fixture
def trusted(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Bed:
    """A machine that is well, and trusts the CA as it does a public one."""
    root = bed.home / "root.pem"
    root.write_text(bed.ca.root_pem())
    monkeypatch.setenv("SSL_CERT_FILE", str(root))
    bed.config["check_every"] = "1s"
    bed.ok("--once")
    return bed


def client_of(bed: Bed) -> dict[str, Any] | None:
    found: dict[str, Any] | None = bed.status()["sites"][0]["client"]
    return found


def age_the_record(bed: Bed) -> None:
    """Let the record be older than its TTL: no resolver may remember what was before."""
    path = bed.state / "sites" / f"{DOMAIN}.json"
    state = json.loads(path.read_text())
    state["records"][DOMAIN]["at"] = "2026-01-01T00:00:00Z"
    path.write_text(json.dumps(state))


def visited(bed: Bed) -> dict[str, Any]:
    """Return what a daemon's first visit meets."""
    (bed.state / "clients.json").unlink(missing_ok=True)
    with bed.daemon() as daemon:
        wait_until(lambda: client_of(bed) is not None, "the name was visited")
        wait_until(lambda: not daemon.children(), "the helper has ended")
    found = client_of(bed)
    assert found is not None
    return found


def facts(found: dict[str, Any]) -> tuple[bool | None, ...]:
    return found["resolved"], found["trusted"], found["answered"]


def test_a_site_that_is_well_is_resolved_trusted_and_answered_once_for_each_certificate(trusted: Bed) -> None:
    """It stays in status when the daemon has ended, and is of the site as any later look sees it."""
    assert client_of(trusted) is None
    found = visited(trusted)
    assert facts(found) == (True, True, True)
    assert found["text"] == "HTTP 200 to GET /v2/"
    assert parse_rfc3339(found["at"])
    assert "as a client" not in trusted.ok("status")
    assert "  client       HTTP 200 to GET /v2/, " in trusted.ok("status", DOMAIN)

    config = load.load(trusted.file)
    [seen] = look_at(config, config.sites)
    assert not client_visit.is_due(seen, client_visit.remembered(trusted.state))
    trusted.registry.container.restart(timeout=1)
    trusted.registry.wait_serving()
    [seen] = look_at(config, config.sites)
    assert not client_visit.is_due(seen, client_visit.remembered(trusted.state))

    # A renewal makes what was met before say nothing.
    trusted.ok("--renew-now", "--force")
    assert client_of(trusted) is None


def test_a_name_that_leads_elsewhere_is_told_and_nothing_is_done(trusted: Bed) -> None:
    """The four facts are true, and so is `ok`."""
    age_the_record(trusted)
    orders, records = trusted.orders(), trusted.dns.records()
    hosts = exchanged(HOSTS.read_text(), {f"{LAN_ADDRESS} {DOMAIN}": f"10.79.40.7 {DOMAIN}"})
    with written_over(HOSTS, hosts):
        found = visited(trusted)
    assert facts(found) == (False, None, None)
    text = f"{DOMAIN}: this machine's resolver gives 10.79.40.7, not {LAN_ADDRESS}"
    assert found["text"] == text
    assert f"{text}; see certbotless doctor" in " ".join(trusted.ok("status").split())
    assert f'client.failed domain={DOMAIN} text="{text}' in (trusted.home / "daemon.log").read_text()
    assert (trusted.orders(), trusted.dns.records()) == (orders, records)


def test_a_ca_that_this_machine_does_not_trust_is_told(trusted: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    found = visited(trusted)
    assert facts(found) == (True, False, None)
    assert found["text"].startswith(f"{DOMAIN}:5000: not trusted: ")


def test_who_has_answered_once_is_expected_to_answer(trusted: Bed) -> None:
    """Silence is a fault of a registry, and none of a service that has never spoken HTTP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted.certs / f"{DOMAIN}.pem", trusted.certs / f"{DOMAIN}.key")

    def hang_up(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)
            tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with listening(hang_up) as port:
        deploy = [{"command": ["true"], "port": f"127.0.0.1:{port}"}]
        trusted.config["sites"] = [trusted.site(address="none", deploy=deploy)]
        trusted.write()
        config = load.load(trusted.file)
        [seen] = look_at(config, config.sites)
        silent = client_visit.visit(seen)
        assert (silent.trusted, silent.answered, silent.is_well) == (True, None, True)
        again = client_visit.visit(seen, replace(silent, answered=True))
    assert (again.trusted, again.answered, again.is_well) == (True, False, False)
    assert "no answer to GET /v2/ (" in again.text
