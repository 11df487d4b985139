"""The LAN's resolver: it finds the zone's servers as on the Internet, or takes port 53 over in a usual way.

Sources: OpenWrt's dnsmasq (`rebind_protection`, `dns_redirect`), mihomo (`dns-hijack any:53`, `fake-ip`),
unbound (REFUSED without recursion desired).
"""

import ipaddress
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Literal

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from support.bed import ZONE, wait_until
from support.private_host import RESOLV_CONF, with_address, written_over
from support.resolvers import DnsServer, asked_for

# The name servers of the zone, where a host of our own alone can have them.
SERVERS = ["127.0.0.2", "127.0.0.3"]
HERE, NOWHERE, MADE_UP = "127.0.0.1", "127.0.0.9", "198.18.0.5"
PROVIDER = "127.0.0.4"

# honest: what a LAN's resolver should be. The others lead every question to port 53 of a name server
# stale: here, where every answer is remembered for ever;
# rebind: here, where private addresses are left out of answers;
# redir_host: here, where every answer claims authority, as mihomo's do;
# fake_ip: here, where every address is made up, with authority;
# refuse_without_rd: here, where nobody is answered who does not ask for recursion;
# silent: nowhere, where packets are dropped.
Way = Literal["honest", "stale", "rebind", "redir_host", "fake_ip", "refuse_without_rd", "silent"]


class Resolver(DnsServer):
    """The resolver, on 127.0.0.1; asks the first name server.

    Attributes:
        names: what it was asked for.
    """

    def __init__(self, way: Way = "honest", place: str = HERE) -> None:
        self.names: set[str] = set()
        self.way = way
        self.remembered: dict[tuple[str, str], dns.message.Message] = {}
        super().__init__(self.answer, (place, 53))

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        """Return what is answered to a question."""
        name, kind = asked_for(query)
        self.names.add(name)
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.way == "refuse_without_rd" and not query.flags & dns.flags.RD:
            reply.set_rcode(dns.rcode.REFUSED)
            return reply
        if self.way in ("redir_host", "fake_ip"):
            reply.flags |= dns.flags.AA
        if self.way == "redir_host" and (name, kind) == (".", "NS"):
            reply.answer = [dns.rrset.from_text(".", 600, "IN", "NS", "a.root-servers.net.")]
            return reply
        known = self._known(name, kind)
        reply.set_rcode(known.rcode())
        reply.answer = [_spoiled(rrset, self.way) for rrset in known.answer]
        if self.way == "rebind" and not name.startswith("ns"):
            reply.answer = [rrset for rrset in reply.answer if not _is_private(rrset)]
        return reply

    def _known(self, name: str, kind: str) -> dns.message.Message:
        if (name, kind) not in self.remembered or self.way not in ("honest", "stale", "redir_host"):
            asked = dns.message.make_query(name, kind)
            self.remembered[name, kind] = dns.query.udp(asked, SERVERS[0], timeout=5)
        return self.remembered[name, kind]


def _spoiled(rrset: dns.rrset.RRset, way: Way) -> dns.rrset.RRset:
    """Return the answer with the addresses of the name servers as this way leads to them."""
    led_to = {"honest": "", "silent": NOWHERE, "fake_ip": MADE_UP}.get(way, HERE)
    if rrset.rdtype != dns.rdatatype.A or not led_to:
        return rrset
    is_server = rrset.name.to_text().startswith("ns")
    if way == "fake_ip":
        address = MADE_UP if is_server else "198.18.0.77"
    elif is_server:
        address = led_to
    else:
        return rrset
    return dns.rrset.from_text(rrset.name, rrset.ttl, "IN", "A", address)


def _is_private(rrset: dns.rrset.RRset) -> bool:
    is_address = rrset.rdtype == dns.rdatatype.A
    return is_address and any(ipaddress.ip_address(str(rdata)).is_private for rdata in rrset)


@contextmanager
def resolving(way: Way = "honest") -> Iterator[Resolver]:
    """Have the resolver for as long as the block runs, named in /etc/resolv.conf."""
    with ExitStack() as running:
        running.enter_context(named_in_resolv_conf(HERE))
        running.enter_context(nobody_answers())
        resolver = Resolver(way)
        running.enter_context(resolver)
        if way == "fake_ip":
            running.enter_context(with_address(MADE_UP))
            taken = Resolver(way, MADE_UP)
            taken.names = resolver.names
            running.enter_context(taken)
        yield resolver


@contextmanager
def named_in_resolv_conf(*addresses: str) -> Iterator[None]:
    """Let these be the machine's resolvers."""
    with written_over(RESOLV_CONF, "".join(f"nameserver {address}\n" for address in addresses)):
        yield


@contextmanager
def nobody_answers() -> Iterator[None]:
    """Let packets to port 53 of NOWHERE be dropped: UDP is not read, and TCP connects to nobody."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server((NOWHERE, 53), backlog=0),
    ):
        udp.bind((NOWHERE, 53))
        yield


@contextmanager
def dnsmasq(address: str, upstream: str, *options: str) -> Iterator[None]:
    """Have the cache of most routers at an address, which asks `upstream` (ADDRESS#PORT)."""
    command = ["dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    command += ["--pid-file=", "--user=root", "--bind-interfaces", f"--listen-address={address}"]
    process = subprocess.Popen([*command, f"--server={upstream}", *options], stderr=subprocess.PIPE)

    def answers() -> bool:
        assert process.poll() is None, process.communicate()[1]
        with suppress(OSError, dns.exception.DNSException):
            dns.query.udp(dns.message.make_query(ZONE, "SOA"), address, timeout=1)
            return True
        return False

    try:
        wait_until(answers, "dnsmasq answers")
        yield
    finally:
        process.terminate()
        process.communicate()
