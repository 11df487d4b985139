"""How the daemon talks with the processes that it starts. Both sides take the format from here. Light.

A worker makes the facts of some sites true:

    arguments          --config - --once --settled=DOMAIN=IPV4,IPV6 ... DOMAIN ...
    standard input     the configuration as last accepted
    standard output    a line `DOMAIN: ...` for each site that is done

A helper does what changes none of the four facts:

    arguments          --config - --errand=NAME
    standard input     `visit`: the configuration; `notify`: the messages (`notify.outbox.Post`)

A daemon may start the program of the next version, so an older format must be understood.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config.addresses import AddressRule
    from ..config.settings import Site

SETTLED, ERRAND = "--settled", "--errand"
HELPERS = ("visit", "notify")

# The LAN addresses of a site, by the type of their records; empty for none.
Addresses = Mapping[str, str]


def worker_arguments(addresses: Mapping[str, Addresses]) -> list[str]:
    """Return the arguments of a worker for these sites, each with the addresses that it may publish."""
    settled = [f"{SETTLED}={domain}={','.join(each.values())}" for domain, each in addresses.items()]
    return ["--once", *settled, *addresses]


def settled_addresses(words: Iterable[str], sites: Sequence[Site]) -> dict[AddressRule, str]:
    """Return what the values of --settled say: the address that each rule of a site had settled on."""
    values = dict(word.partition("=")[::2] for word in words)
    return {
        rule: address
        for site in sites
        if site.domain in values
        for rule, address in zip(site.rules.values(), values[site.domain].split(","), strict=False)
    }


def report(domain: str, text: str) -> str:
    """Return the line with which a run reports that a site is done."""
    return f"{domain}: {text}"


def domain_of(report: bytes) -> str:
    """Return the domain of a line that a worker wrote; it may be no report."""
    return report.decode("ascii", "replace").partition(":")[0]
