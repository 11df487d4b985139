"""What is lost, cut short or changed in the middle of the work is made good, and costs no order too many."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.registry import Registry, served_sha256

from .bed import DOMAIN, ZONE, Bed, wait_until

# The machine that runs this may be busy with other things.
PATIENCE_S = 60
HOUR_S = 3600
# A user and a group that nobody has.
USER, GROUP = 4712, 4713


def state_of(bed: Bed, domain: str = DOMAIN) -> dict[str, Any]:
    """Return what is remembered of a site."""
    path = bed.state / "sites" / f"{domain}.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return found


def remember(bed: Bed, **fields: Any) -> None:
    """Let an earlier run have left these fields in the state of the site."""
    path = bed.state / "sites" / f"{DOMAIN}.json"
    path.write_text(json.dumps(state_of(bed) | fields))


def account_file(bed: Bed, name: str) -> Path:
    """Return a file of the one account."""
    (path,) = (bed.state / "accounts").glob(f"*/{name}")
    return path


def accounts_made(bed: Bed) -> int:
    """Return how many accounts the ledger counts."""
    rows = (bed.state / "ledger.jsonl").read_text().splitlines()
    return sum(json.loads(row)["kind"] == "account" for row in rows)


def calls(bed: Bed) -> int:
    """Return how many calls CA and DNS service have got."""
    return len(bed.ca.requests()) + len(bed.dns.calls)


def is_challenged(bed: Bed) -> bool:
    """Whether a challenge stands in DNS."""
    return bool(bed.dns.records(type="TXT"))


@contextmanager
def once_at_work(bed: Bed, *args: str) -> Iterator[subprocess.Popen[str]]:
    """Run `--once` for as long as the block runs; it is gone afterwards."""
    bed.write()
    command = bed.command("--once", *args)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


# --- the daemon goes on with the rest -----------------------------------------------------------------------


def test_an_edit_is_in_the_record_while_dns_is_still_waited_for(bed: Bed) -> None:
    """The child waits for a name server that needs an hour; edits do not wait for the child."""
    bed.dns.set_delay(1, HOUR_S)
    bed.config["check_every"] = "1s"
    bed.config["sites"] = [bed.site(deploy=[])]
    with bed.daemon():
        wait_until(lambda: is_challenged(bed), "the challenge is presented", PATIENCE_S)
        assert bed.a_values() == [LAN_ADDRESS]
        bed.config["sites"] = [bed.site(address="10.79.40.99", deploy=[])]
        bed.write()
        wait_until(lambda: bed.a_values() == ["10.79.40.99"], "the record has the new address", 15)
        wait_until(lambda: is_challenged(bed), "the order is gone on with", PATIENCE_S)
        bed.config["sites"] = [bed.site(address="10.79.40.99", ttl=1200, deploy=[])]
        bed.write()
        wait_until(lambda: bed.dns.records("devbox", "A")[0].ttl_s == 1200, "it has the new TTL", 15)
        wait_until(lambda: is_challenged(bed), "the order is gone on with", PATIENCE_S)
    assert bed.orders() == 1
    bed.assert_no_txt()


def test_a_site_is_looked_after_while_another_one_waits_for_dns(bed: Bed) -> None:
    """Both were due, and went to one child; what breaks at the one that is done is put right at once."""
    bed.ok("--once")
    pem = bed.certs / f"{DOMAIN}.pem"
    pem.unlink()
    bed.dns.set_delay(1, HOUR_S)
    bed.config["check_every"] = "1s"
    bed.config["sites"] = [bed.site(), bed.site(f"slow.{ZONE}", address="none", deploy=[])]
    with bed.daemon() as daemon:
        wait_until(lambda: is_challenged(bed), "the other site waits for DNS", PATIENCE_S)
        wait_until(pem.exists, "the deleted name is back", PATIENCE_S)
        for _ in range(2):
            pem.unlink()
            wait_until(pem.exists, "it is back again", 15)
        wait_until(lambda: daemon.log_text().count("files.restored") >= 3, "each time is told of")
        assert daemon.log_text().count("files.restored") == 3
        assert is_challenged(bed)
        assert not (bed.certs / f"slow.{ZONE}.pem").exists()
    bed.assert_no_txt()


# --- what was lost ------------------------------------------------------------------------------------------


@pytest.mark.row(49)
def test_a_lost_account_key_costs_a_new_account_and_nothing_else(bed: Bed) -> None:
    bed.ok("--once")
    leaf, url = bed.published(), json.loads(account_file(bed, "account.json").read_text())["url"]
    account_file(bed, "key.pem").unlink()
    bed.ok("--renew-now")
    assert bed.served() == bed.published() != leaf
    assert json.loads(account_file(bed, "account.json").read_text())["url"] != url
    assert (accounts_made(bed), bed.orders()) == (2, 2)


@pytest.mark.row(49)
def test_a_lost_account_url_is_recovered_by_the_key(bed: Bed) -> None:
    bed.ok("--once")
    leaf, account = bed.published(), account_file(bed, "account.json")
    before = account.read_bytes()
    account.unlink()
    bed.ok("--renew-now")
    assert bed.served() == bed.published() != leaf
    assert account.read_bytes() == before
    assert (accounts_made(bed), bed.orders()) == (1, 2)


def test_an_order_in_flight_whose_certificate_is_published_already_is_no_renewal(bed: Bed) -> None:
    """As left by a run that was killed right after it had published: the next command orders anew."""
    bed.config["sites"] = [bed.site(address="none")]
    # Long enough to see the order on disk while its challenge is waited for.
    bed.dns.set_delay(1, 2)
    order_key = bed.state / "sites" / f"{DOMAIN}.order.key"
    with once_at_work(bed) as run:
        wait_until(lambda: is_challenged(bed) and order_key.exists(), "the order is in flight", PATIENCE_S)
        order, key = state_of(bed)["order"], order_key.read_bytes()
        assert run.wait(PATIENCE_S) == 0
    bed.dns.set_delay(1, 0)
    leaf, current = bed.published(), bed.certs / ".certbotless" / DOMAIN / "current"
    generation = current.readlink()
    for command, orders in (("--once", 1), ("--renew-now", 2)):
        remember(bed, order=order)
        order_key.write_bytes(key)
        bed.ok(command)
        assert (bed.orders(), state_of(bed)["order"], order_key.exists()) == (orders, None, False)
        was_left = (bed.published() == leaf, current.readlink() == generation)
        assert was_left == ((True, True) if command == "--once" else (False, False))
    assert bed.served() == bed.published()


def test_a_directory_where_a_name_should_be_costs_no_order_and_is_named(bed: Bed) -> None:
    domain = f"fresh.{ZONE}"
    bed.config["sites"] = [bed.site(domain, deploy=[])]
    path = bed.certs / f"{domain}.pem"
    path.mkdir()
    done = bed.run("--once")
    assert done.returncode == 1
    assert f"'{path}' is a directory; move it away" in done.stdout
    assert bed.orders() == 0
    path.rmdir()
    bed.ok("--renew-now")
    assert bed.orders() == 1
    # The same where the name was right before.
    path.unlink()
    path.mkdir()
    done = bed.run("--once")
    assert done.returncode == 1
    assert f"'{path}' is a directory; move it away" in done.stdout
    path.rmdir()
    bed.ok("--renew-now", domain)
    assert path.is_symlink()


# --- the container ------------------------------------------------------------------------------------------


@pytest.mark.row(58)
@pytest.mark.parametrize("is_ours", [True, False], ids=["ours, cut short", "of another start"])
def test_only_a_stop_that_is_our_own_is_undone(is_ours: bool, bed: Bed) -> None:
    """One that an engine did not live to finish; an old note does not start what its admin stopped."""
    bed.ok("--once")
    container = bed.registry.container
    container.stop(timeout=1)
    started_at = container.attrs["State"]["StartedAt"] if is_ours else "2026-01-01T00:00:00Z"
    remember(bed, restarting={"registry": {"id": container.id, "started_at": started_at}})
    done = bed.run("--once")
    if is_ours:
        assert done.returncode == 0, done.stdout
        assert bed.served() == bed.published()
        assert state_of(bed)["restarting"] == {}
    else:
        assert done.returncode == 1
        assert "the container 'registry' is exited; it is not ours to start" in done.stdout
        assert bed.registry.container.status == "exited"
    assert bed.orders() == 1


# What serves several names at one port; it reads its files when it starts, and leaves at SIGTERM.
_SNI_SERVER = """
import signal, socket, ssl, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit())
contexts = {name: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for name in sys.argv[1:]}
for name, context in contexts.items():
    context.load_cert_chain(f"/certs/{name}.pem", f"/certs/{name}.key")
first = contexts[sys.argv[1]]
first.sni_callback = lambda tls, name, _: setattr(tls, "context", contexts.get(name, first))
with socket.create_server(("", 5000)) as server:
    while True:
        connection, _ = server.accept()
        connection.settimeout(2)
        try:
            first.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()
"""


def create_sni_server(bed: Bed, name: str, port: int, *domains: str) -> None:
    """Create and start a container that serves all these domains; it runs the machine's own Python."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for link in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{link}"
            archive.addfile(entry)
    docker = bed.engine.client()
    docker.api.import_image_from_data(buffer.getvalue(), repository="machine", tag="1")
    docker.containers.run(
        "machine:1",
        entrypoint=["/usr/bin/python3", "-c", _SNI_SERVER, *domains],
        name=name,
        detach=True,
        ports={"5000/tcp": port},
        volumes={
            "/usr": {"bind": "/usr", "mode": "ro"},
            str(bed.certs): {"bind": "/certs", "mode": "ro"},
        },
    )


def test_two_sites_that_share_a_container_are_both_served(bed: Bed) -> None:
    """Both are renewed in one run; a restart for the one must not be all that the other one gets."""
    domains, port = (DOMAIN, f"second.{ZONE}"), 5001
    for domain in domains:
        Registry(bed.engine, domain, certs=bed.certs).write_self_signed()
    create_sni_server(bed, "shared", port, *domains)
    bed.config["sites"] = [
        bed.site(domain, deploy=[{"container": "shared", "port": port}]) for domain in domains
    ]
    leaves = set()
    for command in ("--once", "--renew-now"):
        bed.ok(command)
        for domain in domains:
            assert served_sha256(LAN_ADDRESS, port, domain) == bed.published(domain)
            leaves.add(bed.published(domain))
    assert len(leaves) == 4
    assert bed.orders() == 4


# --- a run that is cut short --------------------------------------------------------------------------------


@pytest.mark.row(61)
def test_a_registry_that_cannot_read_its_new_key_has_the_old_pair_again_until_it_can(bed: Bed) -> None:
    """The registry is not in the group of the new files: that pair is refused, and none is ordered for it."""
    bed.registry.remove()
    bed.certs.chmod(0o2755)
    os.chown(bed.certs, -1, GROUP)
    registry = Registry(bed.engine, DOMAIN, certs=bed.certs, user=f"{USER}:{GROUP}")
    bed.config["key_mode"] = "0640"
    bed.config["sites"] = [bed.site(deploy=[])]
    bed.ok("--once")
    registry.create()
    bed.config["sites"] = [bed.site()]
    bed.ok("--once")
    before = bed.published()

    os.chown(bed.certs / ".certbotless" / DOMAIN, -1, 0)
    done = bed.run("--renew-now")
    assert done.returncode == 1
    assert "'registry' has ended; the certificate before serves again" in done.stdout
    assert 'set key_mode "0640"' in done.stdout
    assert bed.published() == before
    assert bed.served() == before
    site = bed.status()["sites"][0]
    assert (site["state"], site["last_error"]["what"]) == ("failing", site["reason"])
    assert [entry["state"] for entry in site["deploy"]] == ["serving"]
    assert bed.run("--once").returncode == 1
    assert bed.orders() == 2

    # The refused pair stays as it was made; a new one is readable again.
    os.chown(bed.certs / ".certbotless" / DOMAIN, -1, GROUP)
    bed.ok("--renew-now")
    assert bed.served() == bed.published() != before
    bed.assert_no_txt()
