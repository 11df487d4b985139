"""Puts the root into the stores of this machine, and takes it out again: lines for each store."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...base.errors import CertbotlessError, StoreError, UsageError, printable
from ...base.words import Text, _
from ...config.settings import Config
from ...model.local_ca import RootCertificate
from . import folders, roots
from .nss import NssStore
from .places import places
from .stores import Outcome, Store

Say = Callable[[str], None]
STORES: tuple[Store, ...] = (*folders.STORES, NssStore())


def install(config: Config, args: Mapping[str, Any], say: Say) -> int:
    """Install the roots; an earlier one is removed at its end. Return 1 if a store failed."""
    named: str | None = args["to"]
    into, found = _chosen(named), roots.read(config)
    for root in found.all:
        say(f"{printable(root.name)}\n  SHA-256: {root.fingerprint}")
    at = places(config)
    return _each(into, lambda store: store.bring(found, at), _("is there already"), named, say)


def uninstall(config: Config, args: Mapping[str, Any], say: Say) -> int:
    """Remove what has a root of ours and nothing else. Return 1 if a store failed."""
    named: str | None = args["to"]
    from_, found = _chosen(named), roots.read(config).unwanted
    return _each(from_, lambda store: store.bring(found, ()), _("has no root of this CA"), named, say)


def installed(known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate]]:
    """Return each place of this machine that has one of these roots, with that root."""
    return [each for store in STORES for each in store.installed(known)]


def _chosen(named: str | None) -> list[Store]:
    """Return the stores with these names, separated by commas; without names, those found here.

    Raises:
        UsageError: there is no such store.
        CertbotlessError: one of them needs root.
    """
    names = [store.name for store in STORES]
    wanted = names if named is None else named.split(",")
    for name in wanted:
        if name not in names:
            raise UsageError(
                Text("there is no store {!r}; there is {}", printable(name, 80), ", ".join(names))
            )
    chosen = [store for store in STORES if store.name in wanted]
    if os.geteuid() != 0 and any(store.needs_root for store in chosen):
        raise CertbotlessError(Text("this needs root; use sudo"))
    return [store for store in chosen if named is not None or store.is_found]


def _each(
    chosen: Sequence[Store], act: Callable[[Store], Outcome], nothing: str, named: str | None, say: Say
) -> int:
    code = 0
    for store in chosen:
        done = Outcome()
        if store.lacks and named is None:
            done.nothing = _(store.lacks)
        elif store.lacks:
            done.failed.append(_(store.lacks))
        else:
            try:
                done = act(store)
            except StoreError as exc:
                done.failed.append(_(str(exc)))
        for line in [*(_lines(store, done) or [done.nothing or nothing]), *done.notes]:
            say(f"{store.name}: {line}")
        code |= bool(done.failed)
    return code


def _lines(store: Store, done: Outcome) -> list[str]:
    lines = [_("failed: {}").format(each) for each in done.failed]
    if done.written:
        lines.append(_("wrote {}").format(_places(done.written)))
    if done.removed:
        lines.append(_("removed {}").format(_places(done.removed)))
    if done.written or done.removed:
        lines.append(_("takes effect: {}").format(_(store.effect)))
    return lines


def _places(found: Sequence[str]) -> str:
    # A database may have two roots; names of folders may be anything.
    return ", ".join(map(printable, dict.fromkeys(found)))
