"""What is certified, and who certifies it: a site's names, and its certificate authority, as values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..config.settings import Config, Site

if TYPE_CHECKING:
    from .local_ca import LocalCa


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority, as far as a decision needs to know it.

    Attributes:
        id: what the certificates that it gave have as `Origin.directory`: the URL of an ACME directory, or
            ``local:`` and 16 digits of the root's SHA-256; empty for a local CA that is not there.
        key_type: the kind of key that a certificate shall have.
        is_acme: whether it counts orders, suggests when to renew, and validates by the DNS.
        name: what the file calls it, where the file has several; else empty.
    """

    id: str
    key_type: str
    is_acme: bool = True
    name: str = ""


def authorities_of(config: Config, site: Site, local_ca: LocalCa | None = None) -> tuple[Authority, ...]:
    """Return who may certify a site: the one that is wanted, then those that stand in for it.

    `local_ca` is the CA of this machine, if there is one.
    """
    if site.is_local:
        return (Authority(local_ca.id if local_ca else "", config.local_ca.key_type, is_acme=False),)
    return tuple(
        Authority(ca.url, ca.key_type, name=ca.directory if config.has_stand_ins else "") for ca in config.cas
    )


def names_of(site: Site, address: str) -> tuple[str, ...]:
    """Return every name of the certificate, sorted; with the LAN address if the site wants it.

    Of a list every address counts, also one that is withdrawn.
    """
    with_address = {*site.address.several} or ({address} - {""}) if site.with_address else set[str]()
    return tuple(sorted({*site.certified_names} | with_address))


def fits(site: Site, address: str, names: tuple[str, ...]) -> bool:
    """Whether a certificate for `names` is the one that the site wants.

    While the LAN address is not known, the last one counts.
    """
    if site.with_address and not address:
        return set(site.certified_names) <= set(names)
    return names == names_of(site, address)
