"""Which sites, and which CA of the file, a command is about."""

import argparse
from collections.abc import Sequence

from ..base.errors import UsageError, printable
from ..base.names import u_labels
from ..base.words import Text
from ..config.settings import Acme, Config, Site


def sites_named(config: Config, domains: Sequence[str]) -> list[Site]:
    """Return the sites with exactly these domains; all that is kept where no domain is given.

    Raises:
        UsageError: no site has one of these domains.
    """
    # A domain in Chinese may also be given in Chinese letters.
    by_name = {name: site for site in config.kept for name in (site.domain, u_labels(site.domain))}
    for domain in domains:
        if domain not in by_name:
            known = ", ".join(site.domain for site in config.sites)
            raise UsageError(Text("no site has the domain {!r}; there is {}", printable(domain, 80), known))
    chosen = {by_name[domain].domain: by_name[domain] for domain in domains}
    return list(chosen.values()) or list(config.kept)


def with_shared(config: Config, sites: Sequence[Site]) -> list[Site]:
    """Return what these sites share, then the sites; each once."""
    wildcards = {site.certificate for site in sites}
    return [
        *(site for site in config.shared if site.domain in wildcards),
        *(site for site in sites if not site.is_shared or site.domain not in wildcards),
    ]


def sites_to_run(config: Config, args: argparse.Namespace) -> list[Site]:
    """Return what a run is about: the sites that were named, and the certificates that they share.

    A renewal is about all sites that share a certificate. The daemon (`--settled`) names all that it wants.

    Raises:
        UsageError: no site has one of the domains.
    """
    sites = sites_named(config, args.domains)
    wildcards = {site.certificate or site.domain for site in sites}
    shared = [site for site in config.shared if site.domain in wildcards]
    if args.settled or not shared:
        return sites
    if args.dry_run:
        return [*shared, *(site for site in sites if not site.certificate and not site.is_shared)]
    domains = {site.domain for site in sites}
    others = wildcards if args.renew_now else set[str]()
    return [*shared, *(site for site in config.sites if site.domain in domains or site.certificate in others)]


def sites_at(config: Config, sites: Sequence[Site], ca: str) -> tuple[list[Site], str]:
    """Return those of the sites that a CA of the file can certify, and its name; empty for the only CA.

    Raises:
        UsageError: the file has no such CA, or it certifies none of the sites.
    """
    name = ca_named(config, ca).directory
    found = [site for site in sites if not site.is_local]
    if not found:
        raise UsageError(Text("--ca is for sites with a public name: the local CA certifies these"))
    return found, name if config.has_stand_ins else ""


def ca_named(config: Config, name: str) -> Acme:
    """Return the CA of the file with this name or URL. Raises `UsageError` where it has none."""
    for ca in config.cas:
        if name in (ca.directory, ca.url):
            return ca
    known = ", ".join(ca.directory for ca in config.cas)
    raise UsageError(Text("acme has no CA {!r}; there is {}", printable(name, 80), known))
