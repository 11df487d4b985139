"""Puts the root into the stores of this machine, and takes it out again: a line for each store."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from ...base.errors import CertbotlessError, StoreError, UsageError, printable
from ...base.words import Text, _
from ...config.settings import Config
from . import roots, stores
from .places import places
from .stores import STORES, Store

Say = Callable[[str], None]


def chosen(named: str | None) -> list[Store]:
    """Return the stores with these names, separated by commas; without names, those found here.

    Raises:
        UsageError: there is no such store.
        CertbotlessError: this is not root.
    """
    if os.geteuid() != 0:
        raise CertbotlessError(Text("this needs root; use sudo"))
    if named is None:
        return [store for store in STORES if store.is_found]
    wanted = named.split(",")
    for name in wanted:
        if name not in stores.NAMES:
            known = ", ".join(stores.NAMES)
            raise UsageError(Text("there is no store {!r}; there is {}", printable(name, 80), known))
    return [store for store in STORES if store.name in wanted]


def install(config: Config, named: str | None, say: Say) -> int:
    """Install the roots; a root that has ended is removed. Return 1 if a store failed."""
    into, found = chosen(named), roots.read(config)
    for root in found.all:
        say(f"{printable(root.name)}\n  SHA-256: {root.fingerprint}")
    now = datetime.now(UTC)
    live = {root.short: root.pem for root in found.all if root.not_after > now}
    at = places(config)
    stay = {root.short: root.pem for root in found.kept}
    return _each(into, say, lambda store: _install(store, live, (found.known, stay), at))


def uninstall(config: Config, named: str | None, say: Say) -> int:
    """Remove the files that have a root of ours and nothing else. Return 1 if a store failed."""
    from_, found = chosen(named), roots.read(config)
    return _each(from_, say, lambda store: _uninstall(store, found.known))


def _each(chosen_: Sequence[Store], say: Say, act: Callable[[Store], list[str]]) -> int:
    code = 0
    for store in chosen_:
        try:
            lines = act(store)
        except CertbotlessError as exc:
            lines, code = [_("failed: {}").format(_(str(exc)))], 1
        for line in lines:
            say(f"{store.name}: {line}")
    return code


def _install(
    store: Store,
    live: dict[str, bytes],
    earlier: tuple[Sequence[bytes], dict[str, bytes]],
    at: Sequence[str],
) -> list[str]:
    known, stay = earlier
    wanted = store.wanted(live, at)
    if not wanted:
        return [_("nothing to do: the port of no service is known yet")]
    written, foreign, closed = list[str](), list[str](), set[object]()
    for path, data in wanted.items():
        try:
            # What leads to a root is of no use beside a root of others.
            if path.parent in closed and store.name == "containerd":
                continue
            if stores.write(path, data, known):
                written.append(str(path))
        except StoreError as exc:
            closed.add(path.parent)
            foreign.append(f"{_(str(exc))}\n{data.decode()}")
    if store.name == "system":
        wanted |= store.wanted(stay, at)
        gone = [path for path in store.ours(known) if path not in wanted]
        for path in gone:
            stores.remove(store, path)
        if written or gone or not all(map(stores.is_in_bundle, live.values())):
            stores.refresh(fresh=bool(gone))
    if foreign:
        raise StoreError("\n".join(foreign))
    if not written:
        return [_("is there already")]
    return [_("wrote {}").format(", ".join(written)), _("takes effect: {}").format(_(store.effect))]


def _uninstall(store: Store, known: Sequence[bytes]) -> list[str]:
    removed = list(store.ours(known))
    for path in removed:
        stores.remove(store, path)
    if store.name == "system" and (removed or any(map(stores.is_in_bundle, known))):
        stores.refresh(fresh=True)
    if not removed:
        return [_("has no root of this CA")]
    return [
        _("removed {}").format(", ".join(map(str, removed))),
        _("takes effect: {}").format(_(store.effect)),
    ]
