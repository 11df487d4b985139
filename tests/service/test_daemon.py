"""The real process of a daemon: how it checks, follows edits and ends.

What it makes of a whole machine is in the system tests.
"""

import socket
from datetime import UTC, datetime, timedelta

import dns.rcode
import pytest
from support.daemons import DOMAIN, PATIENCE_S, Machine

from certbotless.config import load
from certbotless.config.fingerprints import Fingerprints
from certbotless.model.memory import Failure
from certbotless.sandbox.alidns import Fault
from certbotless.state.site import SiteFile

pytestmark = pytest.mark.process


def test_systemd_is_told_when_it_is_ready_how_all_stands_and_when_it_stops(machine: Machine) -> None:
    address = str(machine.home / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(PATIENCE_S)
        systemd.bind(address)
        with machine.daemon(NOTIFY_SOCKET=address):
            assert systemd.recv(100) == b"READY=1"
            assert systemd.recv(100).startswith(b"STATUS=sites: 1 ok; next renewal 20")
        assert systemd.recv(100) == b"STOPPING=1"


def test_an_edit_of_how_often_it_looks_is_taken(machine: Machine) -> None:
    machine.write(check_every="1d")
    with machine.daemon():
        machine.write(check_every="1s")
        machine.reload()
        machine.wait_for_log("config.accepted")
        # The edit itself brings one look, and perhaps a second one right after it.
        machine.wait_for_looks(3)


def test_what_cannot_be_seen_is_told_once_and_again_when_it_comes_back(machine: Machine) -> None:
    machine.dns.fail("DescribeSubDomainRecords", Fault("error", "Forbidden.RAM"), times=99)
    with machine.daemon():
        for times in (1, 2):
            for server in range(2):
                machine.dns.set_rcode(server, dns.rcode.SERVFAIL)
            machine.look(3)
            for server in range(2):
                machine.dns.set_rcode(server, None)
            machine.look(3)
            assert machine.log.read_text().count("check.incomplete") == times
    assert f'check.incomplete domain={DOMAIN} problem="no authoritative name server answers' in (
        machine.log.read_text()
    )


def test_a_ledger_that_cannot_be_read_stops_no_look(machine: Machine) -> None:
    ledger = machine.home / "state" / "ledger.jsonl"
    with machine.daemon():
        ledger.mkdir()
        machine.look(3)
        assert [site["state"] for site in machine.status()["sites"]] == ["ok"]
    assert "check.crashed" not in machine.log.read_text()


def test_a_healthy_site_needs_no_worker(machine: Machine) -> None:
    """A worker would have made the lock of its site."""
    with machine.daemon():
        machine.look(4)
    assert machine.dns.calls == []
    assert list((machine.home / "state" / "sites").glob("*.lock")) == []


@pytest.mark.row(81)
def test_what_the_api_tells_is_no_problem_where_no_name_server_answers(machine: Machine) -> None:
    """A worker asks once; then the site is ok, and `status` names the source."""
    with machine.daemon():
        for server in range(2):
            machine.dns.set_rcode(server, dns.rcode.REFUSED)
        machine.wait_until(lambda: machine.status()["sites"][0]["address"]["source"] == "api")
        machine.wait_until(lambda: machine.status()["sites"][0]["state"] == "ok")
        machine.look(3)
        assert machine.log.read_text().count("check.incomplete") == 1
    assert [call.action for call in machine.dns.calls] == ["DescribeSubDomainRecords"]


@pytest.mark.process
def test_what_failed_before_an_upgrade_stays_and_an_edit_after_it_forgets_it(machine: Machine) -> None:
    """The digest of an older version tells no configuration from another: the daemon writes its own."""
    file, now = SiteFile(machine.home / "state", DOMAIN), datetime.now(UTC)
    failure = Failure(at=now, what="full", hint="", retry_at=now + timedelta(days=1), count=3)
    file.change(digest="3ed6374263fe363d", failures={"order": failure})
    with machine.daemon():
        machine.wait_until(lambda: not file.load().has_old_digest)
    kept = file.load()
    assert kept.failures == {"order": failure}
    machine.write(acme={"directory": "https://127.0.0.1:2/dir"})
    edited = load.load(machine.file)
    assert kept.under(*Fingerprints.of(edited).digests(edited, edited.sites[0])).failures == {}
