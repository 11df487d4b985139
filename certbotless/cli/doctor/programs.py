"""Which programs here have the root of the local CA: each has a folder of its own, and may have an old list.

A program in Go, as dockerd and containerd are, reads the list of the system once, when it first needs it.

Source: Go, crypto/x509, root.go (systemRoots); docs.docker.com, "Verify repository client with certificates".
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from ...base.errors import StoreError
from ...base.times import moment
from ...base.words import _
from ..trust import containerd
from ..trust.folders import STORES, ContainerdStore, FolderStore, SystemStore
from .finding import Case

# Of the stores whose program runs all the time.
_RUNS = {"docker": "dockerd", "containerd": "containerd"}


def examine(case: Case, roots: Mapping[str, bytes], places: Sequence[str], *, is_in_system: bool) -> None:
    """Test each program that is found here, where the root was installed for any of them.

    Args:
        roots: those that clients need, PEM by the 8 digits of each.
        places: `host:port` of each service.
        is_in_system: whether the list of the system has the root.
    """
    if not places:
        return
    lacking = dict[FolderStore, list[str]]()
    for store in STORES:
        if isinstance(store, FolderStore) and store.is_found:
            try:
                lacking[store] = store.lacking(list(roots.values()), places)
            except StoreError as exc:
                case.warn("root", store.name, _(exc.message), _(exc.hint))
    if not is_in_system and all(len(at) == len(places) for at in lacking.values()):
        return
    for store, at in lacking.items():
        cure = f"certbotless trust install --to {store.name}"
        if not at:
            _in_folder(case, store)
        elif not is_in_system:
            case.warn("root", store.name, _("does not have it for {}").format(", ".join(at)), cure)
        elif text := _may_not_know(store, roots):
            case.warn("root", store.name, text, _("{}; or restart it").format(cure))
        else:
            case.ok("root", store.name, _("has it from the list of the system"))


def _in_folder(case: Case, store: FolderStore) -> None:
    """Report that a program has the root; containerd reads it only if its configuration says so."""
    to_do = containerd.setting(store.folder).to_do if isinstance(store, ContainerdStore) else ()
    if to_do:
        text = _("its configuration does not name the folder of the root")
        case.warn("root", store.name, text, " ".join(to_do))
    else:
        case.ok("root", store.name, _("has it for each name and address of the local sites"))


def _may_not_know(store: FolderStore, roots: Mapping[str, bytes]) -> str:
    """Return why the program may have read the list of the system too early; empty if it has not."""
    name = _RUNS.get(store.name, "")
    began, came = running_since(name), _came(roots)
    if began is None or came is None or came <= began:
        return ""
    text = _("{} has been running since {}; the root came into the list of the system at {}")
    return text.format(name, moment(began), moment(came))


def _came(roots: Mapping[str, bytes]) -> datetime | None:
    """Return when the last of these roots came into the folder of the system; None where it is not known."""
    times = []
    for short in roots:
        with suppress(OSError):
            times.append((SystemStore().folder / f"certbotless-{short}.crt").stat().st_mtime)
    return datetime.fromtimestamp(max(times), UTC) if times else None


def running_since(name: str) -> datetime | None:
    """Return when the oldest process with this name was started; None where there is none to be seen.

    Source: proc(5): `starttime` of /proc/PID/stat, `btime` of /proc/stat.
    """
    ticks = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
            if name and (process / "comm").read_text().strip() == name:
                ticks.append(int((process / "stat").read_text().rpartition(")")[2].split()[19]))
    if not ticks:
        return None
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    booted_s = next(int(words[1]) for words in lines if words[:1] == ["btime"])
    return datetime.fromtimestamp(booted_s + min(ticks) / os.sysconf("SC_CLK_TCK"), UTC)
