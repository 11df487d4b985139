"""A site that the CA of this machine certifies: from a file of one line to a registry that it serves."""

import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from support.bed import LAN_NAME, Bed, Daemon, wait_until
from support.commands import completed
from support.private_host import ip, trust_stores

from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE


def leaf_of(bed: Bed) -> x509.Certificate:
    return x509.load_pem_x509_certificates((bed.certs / f"{LAN_NAME}.pem").read_bytes())[0]


def verified(bed: Bed, name: str, roots: str = "", address: str = LAN_ADDRESS) -> str:
    """Return the issuer that a client which trusts the root, or these, meets, by name or address."""
    roots = roots or (bed.state / "local-ca/root.pem").read_text()
    context = ssl.create_default_context(cadata=roots)
    where = (address, bed.registry.port)
    with (
        socket.create_connection(where, 10) as raw,
        context.wrap_socket(raw, server_hostname=name) as tls,
    ):
        return str(tls.getpeercert())


def test_a_file_without_an_account_makes_a_ca_and_its_service_is_trusted(local: Bed) -> None:
    """By name, and with `with_address` by the LAN address."""
    local.ok("--once")
    for name in (LAN_NAME, LAN_ADDRESS):
        assert "certbotless" in verified(local, name)
    assert local.dns.calls == []
    before = leaf_of(local)
    local.ok("--once")
    assert leaf_of(local) == before
    local.ok("--renew-now")
    assert leaf_of(local) != before
    assert "certbotless" in verified(local, LAN_NAME)
    (site,) = local.status()["sites"]
    assert site["state"] == "ok"
    assert site["certificate"]["names"] == [LAN_ADDRESS, LAN_NAME]


def test_a_ca_that_is_gone_is_never_made_again_in_silence(local: Bed) -> None:
    local.ok("--once")
    folder = Path(local.state / "local-ca")
    folder.rename(local.home / "copy")
    assert "is gone" in local.refused("--once")
    for action in ("show", "export", "uninstall", "rotate"):
        assert "is gone; put your copy of it back, or make a new CA" in local.run("trust", action).stderr
    assert not folder.exists()
    (local.home / "copy").rename(folder)
    assert "is gone" not in local.ok("status")
    local.ok("--once")


def test_the_keys_of_the_ca_have_their_effect(local: Bed) -> None:
    local.config["local_ca"] = {"permit": [LAN_NAME + ".lan", "10.79.40.0/24"], "lifetime": "30d"}
    local.config["sites"][0]["names"] = [f"{LAN_NAME}.lan"]
    assert "is outside local_ca.permit" in local.run("check").stderr
    local.config["sites"][0] |= {"domain": f"{LAN_NAME}.lan", "deploy": []}
    local.ok("--once")
    chain = x509.load_pem_x509_certificates((local.certs / f"{LAN_NAME}.lan.pem").read_bytes())
    leaf = chain[0]
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).days == 30
    local.config["local_ca"]["key_type"] = "rsa2048"
    local.ok("--once")
    leaf = x509.load_pem_x509_certificates((local.certs / f"{LAN_NAME}.lan.pem").read_bytes())[0]
    assert leaf.public_key().key_size == 2048  # type: ignore[union-attr]
    local.config["local_ca"] = {}
    local.config["sites"][0]["names"] = ["elsewhere"]
    assert "the root may not vouch for elsewhere" in local.refused("--once")


def test_a_ca_that_is_gone_is_made_again_when_that_is_asked_for(local: Bed) -> None:
    local.ok("--once")
    (local.state / "local-ca").rename(local.home / "copy")
    assert "trust rotate --now" in local.refused("--once")
    assert "Remove the root before" in local.ok("trust", "rotate", "--now")
    local.ok("--once")
    assert "certbotless" in verified(local, LAN_NAME)


def test_clients_of_this_machine_trust_it_once_the_root_is_installed(local: Bed) -> None:
    """By its address, without an option: curl and Python, and an engine that runs already."""
    local.ok("--once")
    where = f"{LAN_ADDRESS}:{local.registry.port}"
    script = f"import urllib.request as r; r.urlopen('https://{where}/v2/')"
    pull = ["docker", "-H", local.engine.docker_host, "pull", f"{where}/nothing"]
    clients = (["curl", "-fsS", f"https://{where}/v2/"], ["/usr/bin/python3", "-c", script])

    def of_docker() -> list[tuple[str, str]]:
        found = [check for check in local.checks() if (check["check"], check["about"]) == ("root", "docker")]
        return [(check["level"], check["text"].partition(" since ")[0]) for check in found]

    with trust_stores():
        assert "certificate" in completed(pull).stderr
        assert all(completed(client).returncode != 0 for client in clients)
        assert of_docker() == []
        local.ok("trust", "install", "--to", "system")
        assert of_docker() == [("warn", "dockerd has been running")]
        assert f"/etc/docker/certs.d/{where}/ca.crt" in local.ok("trust", "install", "--to", "system,docker")
        try:
            found = [completed(client) for client in clients]
            assert [each.stderr for each in found if each.returncode != 0] == []
            assert "x509" not in (said := completed(pull).stderr)
            assert "manifest unknown" in said or "not found" in said
            assert of_docker() == [("ok", "has it for each name and address of the local sites")]
        finally:
            local.ok("trust", "uninstall")
        assert all(completed(client).returncode != 0 for client in clients)


@contextmanager
def moving() -> Iterator[Callable[[str], None]]:
    """Let this machine have another LAN address, as a DHCP client gives it one; the first one at the end."""
    has = [LAN_ADDRESS]

    def move(address: str) -> None:
        ip("address", "delete", f"{has[-1]}/24", "dev", LAN_INTERFACE)
        has.append(address)
        ip("address", "add", f"{address}/24", "dev", LAN_INTERFACE)
        ip("route", "replace", "default", "via", "10.79.40.1", "dev", LAN_INTERFACE)

    try:
        yield move
    finally:
        if has[-1] != LAN_ADDRESS:
            move(LAN_ADDRESS)


def wait_for(daemon: Daemon, event: str, times: int) -> None:
    """Wait until the daemon has logged this so often."""
    wait_until(lambda: daemon.log_text().count(event) >= times, f"{event} is logged")


@pytest.mark.parametrize("moves", [1, pytest.param(5, marks=pytest.mark.soak)])
def test_the_daemon_follows_the_lan_address_with_one_certificate_and_one_restart_for_each(
    local: Bed, moves: int, promised: Callable[[float, float], None]
) -> None:
    """It does not wait for its next check, which comes each minute."""

    def is_trusted(address: str) -> bool:
        try:
            return "certbotless" in verified(local, address, address=address)
        except OSError:
            return False

    local.ok("--once")
    with local.daemon() as daemon, moving() as move:
        for number in range(moves):
            address, signed = f"10.79.40.{77 + number}", daemon.log_text().count("certificate.published")
            move(address)
            began = time.monotonic()
            wait_for(daemon, "certificate.published", signed + 1)
            signed_s = time.monotonic() - began
            wait_until(partial(is_trusted, address), "clients of the new address trust it")
            served_s = time.monotonic() - began
            wait_until(lambda: local.status()["sites"][0]["state"] == "ok", "all is true")
            wait_for(daemon, "certificate.served", number + 1)
            print(f"\nanother LAN address: signed after {signed_s:.1f} s, served after {served_s:.1f} s")
            promised(signed_s, 5)
        log = daemon.log_text()
    events = ("certificate.published", "container.restarted", "certificate.served")
    assert [log.count(event) for event in events] == [moves] * 3
