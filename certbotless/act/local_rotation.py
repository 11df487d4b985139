"""The rotation of the local CA, with overlap: clients have the next root before it signs.

1. `rotate` makes the next CA. The old one still signs; clients are given both roots.
2. 90 days later, or by `switch`, the next one takes its place. All local sites are due then.

It begins by itself at 4/5 of the root's life. Both steps are taken when they are due (`decide`), by the run
of any local site; the runs of the others find that nothing is due.
"""

from __future__ import annotations

import ipaddress
import os
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

from ..base.clock import Clock
from ..base.errors import AddressError, StoreError, ValueFault
from ..base.names import is_address, not_permitted
from ..base.times import rfc3339
from ..base.words import Text
from ..config.settings import Config, Site
from ..config.site_names import local_name
from ..model.authority import names_of
from ..model.local_ca import CaFiles, LocalCa
from ..state.local_ca import LocalCaFolder
from ..world import local_ca
from ..world.lan.address import AddressSource, address_now

if TYPE_CHECKING:
    from .context import SiteContext

# What a root may vouch for where the file says nothing.
_PERMIT = ("lan", "home.arpa", "internal", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def made(config: Config, now: datetime, address_of: AddressSource = address_now) -> CaFiles:
    """Return a new CA, which is in no folder yet, for what the file permits."""
    return local_ca.make(os.uname().nodename, permit_of(config, address_of), now)


def permit_of(config: Config, address_of: AddressSource) -> tuple[str, ...]:
    """Return what a root that is made now may vouch for."""
    return config.local_ca.permit or _default_permit(config, address_of)


def rotate(config: Config, clock: Clock) -> tuple[LocalCa, bool]:
    """Make the next CA, and return it, and whether it is new: one that is there already remains.

    But one that may not vouch for a site of the file, that is damaged, or is not valid now, is made again.

    Raises:
        StoreError: there is no CA yet; the CA is damaged or gone; the folder cannot be written.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        if folder.load() is None:
            folder.refuse_if_lost(config.certs_dirs)
            hint = Text("it is made with the first certificate of a site with `ca: local`")
            raise StoreError(Text("there is no local CA"), hint=hint)
        now = clock.now()
        found = _next(folder, now)
        if found and not _forbidden(found, config, address_now):
            return found, False
        return _make_next(folder, config, now, address_now), True


def rotate_now(config: Config, clock: Clock) -> LocalCa:
    """Make a CA that takes the place of the one that is there, damaged or gone, at once.

    All that clients have the old root for fails until they have the new one.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        ca = made(config, clock.now(), address_now)
        folder.replace(ca, clock.now())
    return ca.facts


def switch(config: Config, clock: Clock) -> LocalCa:
    """Let the next CA sign from now on, and return it.

    Raises:
        StoreError: there is none; it may not vouch for a site of the file; it is not valid now.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        return _switch(folder, config, clock.now(), address_now)


def go_on(ctx: SiteContext) -> None:
    """Take the step of a rotation that is due; none where another run has taken it.

    Raises:
        StoreError: it cannot be taken. The CA that is there signs on.
    """
    folder = LocalCaFolder(ctx.config.state_dir)
    with folder.locked(ctx.clock):
        ca, now = folder.seen(), ctx.clock.now()
        coming = _next(folder, now)
        due_at = ca.rotation_due_at(coming, now) if ca else None
        if due_at is None or now < due_at:
            folder.load_next()  # one that is due, and is damaged, is an error
            return
        if coming:
            _switch(folder, ctx.config, now, ctx.address_of)
            ctx.tell("local_ca.switched", root=coming.root_sha256)
        else:
            coming = _make_next(folder, ctx.config, now, ctx.address_of)
            ctx.tell(
                "local_ca.rotation_began",
                root=coming.root_sha256,
                switches_at=rfc3339(coming.switches_at),
            )


def _next(folder: LocalCaFolder, now: datetime) -> LocalCa | None:
    """Return the next CA that can be used. One that is damaged, or of a wrong clock, is none."""
    try:
        found = folder.load_next()
    except StoreError:
        return None
    return found.facts if found and found.facts.is_valid(now) else None


def _make_next(folder: LocalCaFolder, config: Config, now: datetime, address_of: AddressSource) -> LocalCa:
    ca = made(config, now, address_of)
    folder.make_next(ca)
    return ca.facts


def _switch(folder: LocalCaFolder, config: Config, now: datetime, address_of: AddressSource) -> LocalCa:
    found = folder.next()
    if found and (failing := _forbidden(found, config, address_of)):
        names = sorted({name for each in failing.values() for name in each})
        what = Text("{} would fail: the next root may not vouch for {}", ", ".join(failing), ", ".join(names))
        hint = Text("certbotless trust rotate makes another one; give it to every client")
        if config.local_ca.permit and not_permitted(names, config.local_ca.permit):
            hint = Text("add that to local_ca.permit; then: certbotless trust rotate")
        raise StoreError(what, hint=hint)
    if found and not found.is_valid(now):
        hint = Text("set this machine's clock; if it is right: certbotless trust rotate")
        raise StoreError(Text("the next root is not valid now"), hint=hint)
    return folder.switch()


def _forbidden(ca: LocalCa, config: Config, address_of: AddressSource) -> dict[str, list[str]]:
    """Return the names and addresses of each local site for which this CA may not vouch."""
    sites = (site for site in config.sites if site.is_local)
    found = {site.domain: ca.forbids(names_now(site, address_of)) for site in sites}
    return {domain: names for domain, names in found.items() if names}


def names_now(site: Site, address_of: AddressSource = address_now) -> tuple[str, ...]:
    """Return each name and address of a local site; without the LAN address where that is not known now."""
    address = ""
    if site.with_address:
        with suppress(AddressError):
            address = address_of(site.address)
    return names_of(site, address)


def _default_permit(config: Config, address_of: AddressSource) -> tuple[str, ...]:
    """Return what a new root may vouch for: the LAN, and each local name of the file that lies outside."""
    names = [name for site in config.sites if site.is_local for name in names_now(site, address_of)]
    own = {name.removeprefix("*.") for name in not_permitted(names, _PERMIT) if _is_of_a_lan(name)}
    return (*_PERMIT, *sorted(str(ipaddress.ip_network(name)) if is_address(name) else name for name in own))


def _is_of_a_lan(name: str) -> bool:
    """Whether a root may vouch for it. The file has no other name, but this machine may have an address."""
    try:
        local_name(name)
    except ValueFault:
        return False
    return True
