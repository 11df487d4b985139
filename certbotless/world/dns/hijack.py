"""Does a proxy answer in a name server's place, or make addresses up? Light.

The AA bit alone proves nothing where a proxy takes port 53 over: mihomo sets it on each answer that it
passes on, and on the addresses that it makes up. Such an answer also offers recursion (RA), which Aliyun's
name servers never do. A resolver that claims authority claims it for the root zone too, which no name
server of a zone does.

Clash, mihomo, sing-box and the like may answer with made-up addresses, which are in no record: programs of
the machine then connect to the proxy, which knows the name behind each of them.

Source: mihomo dns/middleware.go, `withResolver` and `withFakeIP` (both set Authoritative); RFC 1035, 4.1.1;
RFC 2544 section 6 (198.18.0.0/15); wiki.metacubex.one/config/dns, `fake-ip-range`, `fake-ip-filter`.
"""

from collections.abc import Callable, Iterable

import dns.exception
import dns.flags
import dns.message
import dns.rdatatype

from ...base.words import N_, Text

_FAKE_IPS = ("198.18.", "198.19.")
# `{}` is the zone.
CURE = N_("add `+.{}` to the fake-ip-filter of the proxy, or exclude port 53 from it")
MADE_UP = N_("a proxy (Clash, mihomo, sing-box) answers with made-up addresses (fake-ip, 198.18.0.0/15)")

# From a question to the reply of the server that is in doubt; DNSException, EOFError or OSError for none.
Exchange = Callable[[dns.message.Message], dns.message.Message]


def is_by_a_proxy(reply: dns.message.Message, fqdn: str, exchange: Exchange) -> bool:
    """Return whether a proxy gave this reply, which claims authority, in the server's place.

    Asks the server at most two more questions, and none where the reply offers no recursion. One that leaves
    them without an answer counts as a proxy.
    """
    if _has_made_up_address(reply):
        return True
    if not reply.flags & dns.flags.RA:
        return False
    try:
        root = exchange(dns.message.make_query(".", "NS"))
        if root.flags & dns.flags.AA and root.answer:
            return True
        return _has_made_up_address(exchange(dns.message.make_query(fqdn, "A")))
    except (dns.exception.DNSException, EOFError, OSError):
        return True


def _has_made_up_address(reply: dns.message.Message) -> bool:
    addresses = (str(rdata) for rrset in reply.answer if rrset.rdtype == dns.rdatatype.A for rdata in rrset)
    return is_made_up(addresses)


def is_made_up(values: Iterable[str], *, but: str = "") -> bool:
    """Whether one of these addresses, `but` aside, is a proxy's."""
    return any(value.startswith(_FAKE_IPS) for value in values if value != but)


def cure(zone: str) -> str:
    """Say what lets a zone through such a proxy."""
    return Text(CURE, zone)
