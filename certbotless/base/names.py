"""DNS names as values: normalise, check, split into zone and rr.

A name inside the program is lower case, in A-labels, without the final dot. Nothing else may become part
of a path, a record or an order. Only the DNS API speaks U-labels: see `u_labels` and `a_labels`.

Source: RFC 1035 section 2.3.1 (letters, digits, hyphen), RFC 5890 (A-labels, U-labels), RFC 8555 section 8.4.
"""

import ipaddress
import re
from collections.abc import Sequence

from .errors import ValueFault, printable
from .words import N_, Text

_HOST_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
# A label of any record, not only of a host.
_RECORD_LABEL = re.compile(r"[a-z0-9_-]{1,63}|[*@]")
_ACE_PREFIX = "xn--"
# Characters that end a label in other scripts (UTS 46).
_FULL_STOPS = re.compile("[\u3002\uff0e\uff61]")
# Second labels below which a registry of a country gives names to everybody, as in example.com.cn.
_PUBLIC = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})


class NameFault(ValueFault):
    """The text is not a DNS name that can be used here."""


def normalise(text: str, *, wildcard: bool = False, local: bool = False) -> str:
    """Return `text` as a fully qualified name: lower case, A-labels, no final dot.

    Args:
        text: the name as a person writes it, also in its own script.
        wildcard: whether a first label ``*`` is allowed.
        local: whether one label is enough, as for a name that only the LAN knows.

    Raises:
        NameFault: not a host name with at least two labels.
    """
    is_wildcard = text.startswith("*.")
    if is_wildcard and not wildcard:
        hint = Text("write it in names or certificate")
        raise NameFault(Text("{!r} is a wildcard", printable(text)), hint=hint)
    host = _in_a_labels(text.removeprefix("*.").lower(), N_("{!r} is not a DNS name: {}")).removesuffix(".")
    labels = host.split(".")
    # No top-level domain is all digits (RFC 3696 section 2); an address is.
    is_number = labels[-1].isdigit()
    name = f"*.{host}" if is_wildcard else host
    if (
        len(labels) < (1 if local else 2)
        or is_number
        or len(name) > 253
        or not all(map(_HOST_LABEL.fullmatch, labels))
    ):
        raise NameFault(
            Text("{!r} is not a full DNS name", printable(text, 80)),
            hint=Text("write it like devbox.example.com"),
        )
    return name


def certified_name(text: str) -> str:
    """Return what a local certificate may be for: a name of one label or more, a wildcard, an IP address.

    Raises:
        ValueFault: it is none of these.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return normalise(text, wildcard=True, local=True)
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
        raise ValueFault(Text("{!r} leads to no machine by itself", text))
    return str(address)


# The folder below state_dir with the certificates that sites share.
SHARED = "shared"


def file_name(domain: str) -> str:
    """Return the name of a domain's files. No host name has `_`, which is there for the `*` of a wildcard."""
    return domain.replace("*", "_", 1)


def domain_of(name: str) -> str:
    """Return the domain whose files have this name."""
    return name.replace("_", "*", 1) if name.startswith("_.") else name


def is_address(name: str) -> bool:
    """Whether a name of a certificate is an IP address; it is one that `certified_name` returned."""
    return ":" in name or name.replace(".", "").isdigit()


def not_permitted(names: Sequence[str], permit: Sequence[str]) -> list[str]:
    """Return the names and addresses that no entry covers (RFC 5280 section 4.2.1.10).

    A name covers itself and all below it.
    """
    domains = [entry for entry in permit if not is_network(entry)]
    networks = [ipaddress.ip_network(entry) for entry in permit if is_network(entry)]

    def is_covered(name: str) -> bool:
        if is_address(name):
            address = ipaddress.ip_address(name)
            return any(address in network for network in networks)
        host = name.removeprefix("*.")
        return any(host == domain or host.endswith(f".{domain}") for domain in domains)

    return [name for name in names if not is_covered(name)]


def is_network(entry: str) -> bool:
    """Whether an entry of `permit` is a network, not a domain."""
    return "/" in entry


def _in_a_labels(text: str, fault: str) -> str:
    """Return a name or a label in A-labels (IDNA 2008 after the mapping of UTS 46); ASCII is not changed.

    Args:
        fault: the words of an error, with braces for the text and the reason.
    """
    if text.isascii():
        return text
    # Only names outside ASCII need this import.
    import dns.exception  # noqa: PLC0415
    import dns.name  # noqa: PLC0415

    codec, labels = dns.name.IDNA_2008_UTS_46, _FULL_STOPS.sub(".", text).split(".")
    try:
        return b".".join(map(codec.encode, labels)).decode("ascii").lower()
    except (dns.exception.DNSException, UnicodeError) as exc:
        raise NameFault(Text(fault, printable(text, 80), printable(exc, 80))) from exc


def u_labels(name: str) -> str:
    """Return a name or an rr with each A-label in its own script.

    Other labels are not changed, nor is an A-label without a meaning (``xn--zzz``).
    """
    return ".".join(map(_u_label, name.split(".")))


def _u_label(label: str) -> str:
    if not label.startswith(_ACE_PREFIX):
        return label
    try:
        text = label.removeprefix(_ACE_PREFIX).encode("ascii").decode("punycode")
        return text if a_labels(text) == label else label
    except (NameFault, UnicodeError):
        return label


def a_labels(text: str) -> str:
    """Return a foreign name or rr in lower case and A-labels; the reverse of `u_labels`.

    Raises:
        NameFault: it cannot be the name of a record.
    """
    name = ".".join(map(_a_label, text.lower().removesuffix(".").split(".")))
    if len(name) > 253:
        raise NameFault(Text("{!r} is too long for a DNS name", printable(text, 80)))
    return name


def _a_label(text: str) -> str:
    label = _in_a_labels(text, N_("{!r} is not a DNS label: {}"))
    if not _RECORD_LABEL.fullmatch(label):
        raise NameFault(Text("{!r} is not a DNS label", printable(text, 80)))
    return label


def rr_of(fqdn: str, zone: str) -> str:
    """Return the host label of `fqdn` relative to `zone`, ``@`` at the apex.

    Raises:
        NameFault: `fqdn` does not lie in `zone`.
    """
    if fqdn == zone:
        return "@"
    if not is_in_zone(fqdn, zone):
        raise NameFault(Text("{!r} is not in the zone {!r}", fqdn, zone))
    return fqdn.removesuffix(f".{zone}")


def fqdn_of(rr: str, zone: str) -> str:
    """Return the full name of a host label of `zone`; the reverse of `rr_of`."""
    return zone if rr == "@" else f"{rr}.{zone}"


def is_in_zone(fqdn: str, zone: str) -> bool:
    """Tell whether `fqdn` is `zone` or lies below it."""
    return fqdn == zone or fqdn.endswith(f".{zone}")


def candidate_zones(fqdn: str) -> list[str]:
    """Return every zone that could hold `fqdn`, the longest first; never a top-level domain."""
    labels = fqdn.removeprefix("*.").split(".")
    return [".".join(labels[i:]) for i in range(len(labels) - 1)]


def likely_zone(domain: str) -> str:
    """Return what is most likely the zone of a domain: its last two labels, or three as in example.com.cn."""
    labels = domain.split(".")
    is_public = len(labels[-1]) == 2 and labels[-2] in _PUBLIC
    return ".".join(labels[-3 if is_public else -2 :])


def challenge_name(name: str) -> str:
    """Return where the CA looks for the TXT value of `name`; a wildcard and its base share one.

    Source: RFC 8555 section 8.4.
    """
    return f"_acme-challenge.{name.removeprefix('*.')}"
