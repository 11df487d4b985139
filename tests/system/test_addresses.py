"""A name with three addresses: the real daemon, both name servers, and clients that know all three.

Each machine is an address of the LAN interface with a TLS service, which serves what is published. One that
is off has no address: what is sent to it gets no answer.
"""

import random
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.query
import pytest
from support.bed import DOMAIN, ZONE, Bed, wait_until
from support.fakes import TlsServer

from certbotless.sandbox.host import LAN_ADDRESS, LAN_INTERFACE

SEED = 20261129
LISTED = (LAN_ADDRESS, "10.79.40.211", "10.79.40.212")
LAST = LISTED[2]
# It is missed at the next check; then come 3 minutes, a run, and the name servers.
LEAST_S, MOST_S = 180, 240


class Node(TlsServer):
    """A machine's service; each connection is served with the pair that is published then."""

    def __init__(self, host: str, port: int, certs: Path) -> None:
        super().__init__(host, port)
        self.host, self.is_on = host, True
        self._files = certs / f"{DOMAIN}.pem", certs / f"{DOMAIN}.key"

    def context(self) -> ssl.SSLContext | None:
        if self.is_on:
            with suppress(OSError):
                self.load(*self._files)
                return super().context()
        return None


@dataclass
class Fleet:
    """`before`: how many calls the API had when all was right."""

    bed: Bed
    nodes: list[Node]
    before: int

    def shown(self) -> list[set[str]]:
        """What each name server says."""
        found = []
        for place in self.bed.dns.nameservers:
            host, _, port = place.rpartition(":")
            reply = dns.query.udp(dns.message.make_query(DOMAIN, "A"), host, timeout=60, port=int(port))
            found.append({str(rdata) for rrset in reply.answer for rdata in rrset})
        return found

    def is_shown(self, *addresses: str) -> bool:
        return self.shown() == [{*addresses}] * len(self.bed.dns.nameservers)

    def changes(self) -> list[str]:
        """The calls of the API since then that change a record: of the A records, as no order is due."""
        verbs = ("AddDomainRecord", "UpdateDomainRecord", "DeleteDomainRecord")
        return [call.action for call in self.bed.dns.calls[self.before :] if call.action in verbs]

    def power(self, address: str, *, is_on: bool) -> None:
        verb = ["add" if is_on else "del", f"{address}/24", "dev", LAN_INTERFACE]
        subprocess.run(["ip", "address", *verb], check=True)


@pytest.fixture
def fleet(bare: Bed) -> Iterator[Fleet]:
    bare.config["check_every"] = "1s"
    for address in LISTED[1:]:
        subprocess.run(["ip", "address", "add", f"{address}/24", "dev", LAN_INTERFACE], check=True)
    with ExitStack() as running:
        nodes = [running.enter_context(Node(LISTED[0], 0, bare.certs))]
        port = nodes[0].port
        nodes += [running.enter_context(Node(address, port, bare.certs)) for address in LISTED[1:]]
        deploy = [{"command": ["true", address], "port": f"{address}:{port}"} for address in LISTED]
        bare.config["sites"] = [{"domain": DOMAIN, "zone": ZONE, "address": [*LISTED], "deploy": deploy}]
        bare.ok("--once")
        try:
            yield Fleet(bare, nodes, len(bare.dns.calls))
        finally:
            for address in LISTED[1:]:
                command = ["ip", "address", "del", f"{address}/24", "dev", LAN_INTERFACE]
                subprocess.run(command, check=False, stderr=subprocess.DEVNULL)


@dataclass
class Clients:
    """Clients that ask one after the other, and take the addresses in the order in which they get them."""

    asked: int = 0
    refused: int = 0
    resets: int = 0
    took_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        most_s = max(self.took_s)
        tried = f"{self.asked} asked, {self.refused} refused, {self.resets} resets"
        return f"clients: {tried}, {most_s:.2f} s at most"


@contextmanager
def clients(fleet: Fleet, every_s: float = 0.05) -> Iterator[Clients]:
    met, has_ended, dice = Clients(), threading.Event(), random.Random(SEED)  # noqa: S311
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask() -> None:
        order = dice.sample([node.host for node in fleet.nodes], len(fleet.nodes))
        began = time.monotonic()
        met.asked += 1
        for address in order:
            try:
                with socket.create_connection((address, fleet.nodes[0].port), timeout=3) as raw:
                    context.wrap_socket(raw, server_hostname=DOMAIN).close()
            except OSError:
                met.resets += 1
            else:
                met.took_s.append(time.monotonic() - began)
                return
        met.refused += 1

    def go_on() -> None:
        while not has_ended.wait(every_s):
            ask()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield met
    finally:
        has_ended.set()
        thread.join()


@pytest.mark.row(131)
@pytest.mark.parametrize("rolls", [4, pytest.param(100, marks=pytest.mark.soak)])
def test_rolls_change_no_record_and_no_client_is_refused(fleet: Fleet, rolls: int) -> None:
    """Each machine in turn is down for longer than from one check to the next."""
    assert fleet.is_shown(*LISTED)
    with fleet.bed.daemon(), clients(fleet) as met:
        for n in range(rolls):
            node = fleet.nodes[n % 3]
            node.is_on = False
            time.sleep(1.2)
            node.is_on = True
            time.sleep(0.3)
    assert met.refused == 0
    more = len(fleet.bed.dns.calls) - fleet.before
    print(f"\nrolls: {rolls}; calls of the API: {more}; {met}")
    assert more == 0


@pytest.mark.row(133)
def test_with_weights_the_site_is_ok_and_a_record_that_is_missing_is_found(fleet: Fleet) -> None:
    bed = fleet.bed
    bed.dns.set_weights(ZONE, "devbox", "A", {})
    calls = len(bed.dns.calls)
    assert all(len(values) == 1 for values in fleet.shown())
    bed.ok("--once")
    assert len(bed.dns.calls) == calls
    (found,) = [each for each in bed.checks() if each["check"] == "A record"]
    assert found["level"] == "warn"
    assert "weights" in found["cure"]
    bed.dns.set_weights(ZONE, "devbox", "A", None)


@pytest.mark.row(131)
@pytest.mark.soak
def test_a_machine_that_is_off_for_ten_minutes_has_no_record_after_three(fleet: Fleet) -> None:
    with fleet.bed.daemon(), clients(fleet, every_s=1) as met:
        began = time.monotonic()
        fleet.power(LAST, is_on=False)
        wait_until(lambda: fleet.is_shown(*LISTED[:2]), "both name servers leave it out", MOST_S)
        gone_s = time.monotonic() - began
        (site,) = fleet.bed.status()["sites"]
        assert site["address"]["wanted_all"] == [*LISTED[:2]]
        assert [each["address"] for each in site["address"]["withdrawn"]] == [LAST]
        time.sleep(600 - gone_s)
        assert fleet.is_shown(*LISTED[:2])
        assert fleet.changes() == ["DeleteDomainRecord"]
        back = time.monotonic()
        fleet.power(LAST, is_on=True)
        wait_until(lambda: fleet.is_shown(*LISTED), "both name servers have it again", MOST_S)
        back_s = time.monotonic() - back
    print(
        f"\na machine off for 10 min: gone from both name servers after {gone_s:.0f} s,"
        f" back after {back_s:.0f} s; 2 changes of records; {met}"
    )
    assert gone_s >= LEAST_S
    assert fleet.changes() == ["DeleteDomainRecord", "AddDomainRecord"]
    assert met.refused == 0
