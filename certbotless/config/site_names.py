"""Which names a site may have, for a public CA and for the local one, and what a root may vouch for."""

import ipaddress
import re
from collections.abc import Iterable

from ..base.errors import ValueFault
from ..base.names import NameFault, certified_name, is_address, is_network, normalise, not_permitted
from ..base.words import Text

# A file name has 255 bytes at most, and `.DOMAIN.json.trial.` with 16 digits is the longest that we write.
_LONGEST_DOMAIN = 226
# Domains that nobody can own. Source: RFC 6761, RFC 6762 (local, and appendix G), RFC 8375 (home.arpa), ICANN
# (internal).
_PRIVATE = [
    "corp",
    "home",
    "home.arpa",
    "internal",
    "intranet",
    "lan",
    "local",
    "localdomain",
    "localhost",
    "private",
]
# Top-level domains that many clients visit: a root that may vouch for one of them could pose as anybody.
# Those of two letters are countries'. Source: IANA, Root Zone Database.
_TOP_LEVEL = re.compile(
    "com|net|org|info|biz|edu|gov|mil|int|arpa|app|dev|xyz|top|cloud|online|shop|site|store|tech|vip|club|asia"
    "|name|pro|mobi|[a-z]{2}"
)
# Names of one label that the root of a local CA may vouch for, and networks that nobody else has: RFC 1918,
# RFC 6598, RFC 4193.
_ONE_LABEL = ("lan", "internal", "local", "test", "corp", "home")
_OWN_NETWORKS = [
    ipaddress.ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]


def public_name(text: str, *, wildcard: bool = False) -> str:
    """Return a name for which a public CA may give a certificate. Raises `ValueFault`."""
    name = normalise(text, wildcard=wildcard)
    if found := next((end for end in _PRIVATE if f".{name}".endswith(f".{end}")), ""):
        raise ValueFault(
            Text("no public CA gives a certificate for a name in .{}", found),
            hint=Text("use a name in a domain that you own at Aliyun DNS, or write ca: local"),
        )
    return name


def site_domain(text: str) -> str:
    """Return a name that a site may have: it names files. Raises `ValueFault`."""
    domain = certified_name(text)
    if domain.startswith("*."):
        normalise(text)
    if ":" in domain:
        raise ValueFault(
            Text("{!r} cannot name files", domain), hint=Text("write a name here, and the address in names")
        )
    if len(domain) > _LONGEST_DOMAIN:
        raise ValueFault(
            Text("has {} characters; it names files, so {} are the most", len(domain), _LONGEST_DOMAIN),
            hint=Text("put a long name into names"),
        )
    return domain


def shared_name(text: str) -> str:
    """Return a wildcard that several sites may share as their certificate. Raises `ValueFault`."""
    try:
        name = certified_name(text)
    except NameFault as exc:
        raise ValueFault(exc.message, hint=Text("write it like *.lan.example.com")) from exc
    if not name.startswith("*."):
        raise ValueFault(
            Text("{!r} is not a wildcard", text), hint=Text("write one that covers the site: *.{}", name)
        )
    if "." not in name.removeprefix("*."):
        # OpenSSL and browsers match no host with it (RFC 6125 section 7.2).
        raise ValueFault(
            Text("clients do not accept {!r}", name), hint=Text("put a domain of two labels behind the *")
        )
    return name


def local_name(name: str) -> str:
    """Return a name or an address, in its final form, for which the local CA may give a certificate.

    The root may vouch for each name of a site, and for all below it.

    Raises:
        ValueFault: it is not one of the LAN.
    """
    host = name.removeprefix("*.")
    if is_address(name) and not _is_own(ipaddress.ip_network(name)):
        raise ValueFault(
            Text("{!r} is not an address of a LAN", name),
            hint=Text("the local CA certifies private addresses, as in 192.168.0.0/16"),
        )
    if _TOP_LEVEL.fullmatch(host):
        raise ValueFault(
            Text("{!r} is too much to vouch for", host), hint=Text("write a domain of two labels or more")
        )
    return name


def permit_entry(text: str) -> str:
    """Return a domain or a private network that the root of the local CA may vouch for.

    A name of one label must also be that of a site: `too_much`.
    """
    if "/" not in text and not _is_address(text):
        name = normalise(text, local=True)
        if _TOP_LEVEL.fullmatch(name):
            raise too_much(text)
        return name
    network = ipaddress.ip_network(text)
    if not _is_own(network):
        raise ValueError(text)
    return str(network)


def may_be_permitted(entry: str) -> bool:
    """Whether a root may vouch for an entry of `permit`, whatever the names of the sites are."""
    return "." in entry or ":" in entry or entry in _ONE_LABEL


def too_much(entry: str) -> ValueFault:
    """Return the fault of an entry of `permit` for which no root may vouch."""
    known = ", ".join(_ONE_LABEL)
    return ValueFault(
        Text("{!r} is too much to vouch for", entry),
        hint=Text("write a domain of two labels or more, the name of a site, or one of {}", known),
    )


def _is_own(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return any(network.version == own.version and network.subnet_of(own) for own in _OWN_NETWORKS)  # type: ignore[arg-type]


def is_of_a_lan(address: str) -> bool:
    """Whether an IP address is private, or leads to this machine or its link alone; `0.0.0.0` counts too."""
    found = ipaddress.ip_address(address)
    is_narrow = found.is_loopback or found.is_link_local or found.is_unspecified
    return is_narrow or _is_own(ipaddress.ip_network(found))


def beyond_the_lan(permit: Iterable[str], allowed: Iterable[str]) -> list[str]:
    """Return the entries of a root's `permit` that neither a LAN has nor one of `allowed` covers.

    Args:
        permit: as the root has it; it may be another program's work.
        allowed: names, addresses, domains and networks that the configuration file has.
    """
    entries = [*_ONE_LABEL, "home.arpa", *(name.removeprefix("*.") for name in allowed)]
    own = [*_OWN_NETWORKS, *(ipaddress.ip_network(e) for e in entries if is_network(e) or is_address(e))]
    domains = [entry for entry in entries if not is_network(entry) and not is_address(entry)]

    def is_covered(entry: str) -> bool:
        if not is_network(entry):
            # An empty one permits every name; one with a dot in front, all below it.
            return bool(entry.strip(".")) and not not_permitted([entry.removeprefix(".")], domains)
        network = ipaddress.ip_network(entry)
        return any(network.version == each.version and network.subnet_of(each) for each in own)  # type: ignore[arg-type]

    return [entry for entry in permit if not is_covered(entry)]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
