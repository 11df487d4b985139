"""The rotation of the local CA, with overlap: clients have the next root before it signs.

1. `rotate` makes the next CA. The old one still signs; clients are given both roots.
2. 90 days later, or by `switch`, the next one takes its place. All local sites are due then.

It begins by itself at 4/5 of the root's life. Both steps are taken with the next certificate that a site
needs: a site renews at least every 265 days, and a fifth of the root's life is two years.
"""

import ipaddress
import logging
import os
from datetime import datetime
from typing import Literal

from ..base.clock import Clock
from ..base.errors import StoreError
from ..base.names import is_address, not_permitted
from ..base.times import rfc3339
from ..base.words import Text
from ..config.settings import Config
from ..model.local_ca import LocalCa
from ..state.local_ca import CaFiles, LocalCaFolder
from ..world import local_ca

logger = logging.getLogger(__name__)

# What a root may vouch for where the file says nothing.
_PERMIT = ("lan", "home.arpa", "internal", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")


def made(config: Config, now: datetime) -> CaFiles:
    """Return a new CA, which is in no folder yet, for what the file permits."""
    permit = config.local_ca.permit or _default_permit(config)
    ca = local_ca.make(os.uname().nodename, permit, now)
    return CaFiles(ca.facts, ca.root_pem, ca.issuing_pem, ca.issuing_key)


def rotate(config: Config, clock: Clock) -> tuple[LocalCa, bool]:
    """Make the next CA, and return it, and whether it is new: one that is there already remains.

    Raises:
        StoreError: there is no CA yet; the CA is damaged or gone; the folder cannot be written.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        if folder.load() is None:
            raise _none_yet()
        now = clock.now()
        if found := _next(folder, now):
            return found, False
        return _make_next(folder, config, now), True


def rotate_now(config: Config, clock: Clock) -> LocalCa:
    """Make a CA that takes the place of the one that is there, damaged or gone, at once.

    All that clients have the old root for fails until they have the new one.

    Raises:
        StoreError: the folder cannot be written.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        ca = made(config, clock.now())
        folder.replace(ca, clock.now())
    return ca.facts


def switch(config: Config, clock: Clock) -> LocalCa:
    """Let the next CA sign from now on, and return it.

    Raises:
        StoreError: there is none; it may not vouch for a site of the file; it is not valid now.
    """
    folder = LocalCaFolder(config.state_dir)
    with folder.locked(clock):
        return _switch(folder, config, clock.now())


def go_on(
    folder: LocalCaFolder, ca: LocalCa, config: Config, now: datetime
) -> Literal["began", "switched"] | None:
    """Take the step of a rotation that is due, if any, and return which one it was. Hold the lock.

    What fails is warned of: the CA that is there signs on.
    """
    try:
        found = _next(folder, now)
        if found and now >= found.switches_at:
            _switch(folder, config, now)
            logger.info("local_ca.switched root=%s", found.root_sha256)
            return "switched"
        if found is None and now >= ca.rotates_at:
            found = _make_next(folder, config, now)
            text = "local_ca.rotation_began root=%s switches_at=%s"
            logger.info(text, found.root_sha256, rfc3339(found.switches_at))
            return "began"
    except StoreError as exc:
        logger.warning("local_ca.not_rotated error=%s hint=%s", exc, exc.hint)
    return None


def _next(folder: LocalCaFolder, now: datetime) -> LocalCa | None:
    """Return the next CA that can be used. One that is damaged, or of a wrong clock, is none."""
    try:
        found = folder.next()
    except StoreError:
        return None
    return found if found and found.is_valid(now) else None


def _make_next(folder: LocalCaFolder, config: Config, now: datetime) -> LocalCa:
    ca = made(config, now)
    folder.make_next(ca)
    return ca.facts


def _switch(folder: LocalCaFolder, config: Config, now: datetime) -> LocalCa:
    if (found := folder.next()) is None:
        hint = Text("make one first: certbotless trust rotate")
        raise StoreError(Text("there is no next root"), hint=hint)
    names = [name for site in config.sites if site.is_local for name in site.all_names]
    if forbidden := found.forbids(names):
        what = Text("the next root may not vouch for {}", ", ".join(forbidden))
        raise StoreError(what, hint=Text("make another one, without overlap: certbotless trust rotate --now"))
    if not found.is_valid(now):
        hint = Text("set this machine's clock; if it is right: certbotless trust rotate")
        raise StoreError(Text("the next root is not valid now"), hint=hint)
    return folder.switch()


def _none_yet() -> StoreError:
    hint = Text("it is made with the first certificate of a site with `ca: local`")
    return StoreError(Text("there is no local CA"), hint=hint)


def _default_permit(config: Config) -> tuple[str, ...]:
    """Return what a new root may vouch for: the LAN, and each local name of the file that lies outside."""
    names = [name for site in config.sites if site.is_local for name in site.all_names]
    own = {name.removeprefix("*.") for name in not_permitted(names, _PERMIT)}
    return (*_PERMIT, *sorted(str(ipaddress.ip_network(name)) if is_address(name) else name for name in own))
