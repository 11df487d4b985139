"""The command: what each of its actions prints and does."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...base import files
from ...base.errors import UsageError, printable
from ...base.words import Text, _
from ...config import load
from ...config.settings import Config
from ...model.local_ca import RootCertificate
from ...report import root_files
from . import commands, install, roots, rotation
from .places import places

Say = Callable[[str], None]


def run(source: Path | None, args: Mapping[str, Any], say: Say) -> int:
    """Do what the command line asks for and return the exit code. Raises `CertbotlessError`."""
    config = load.load(source)
    return _ACTIONS[args["trust_action"] or "show"](config, args, say)


def _show(config: Config, _args: Mapping[str, Any], say: Say) -> int:
    found = roots.read(config)
    here = install.installed(found.known)
    _say_of(found.current, here, say)
    if found.next:
        say(_("The next root; after a switch it is the root:"))
        _say_of(found.next, here, say)
        rotation.say_switch(found.next, say)
    if url := config.local_ca.shared_at:
        say(_("Clients get it at {}").format(f"{url}/"))
    if earlier := _places_of(found.old, here):
        form = _("Earlier roots here: {}; certbotless trust install removes those that no client needs")
        say(form.format(earlier))
    say(_("Backup: copy the folder {!r}; nothing else can bring this CA back").format(str(found.folder)))
    return 0


def _say_of(root: RootCertificate, here: Sequence[tuple[str, RootCertificate]], say: Say) -> None:
    say(_("Root: {}").format(printable(root.name)))
    rotation.say_of(root, say)
    places_ = _places_of([root], here)
    say(_("Installed here: {}").format(places_ or _("no; certbotless trust install does it")))


def _places_of(wanted: Sequence[RootCertificate], here: Sequence[tuple[str, RootCertificate]]) -> str:
    """Return the places that have one of these roots, as a person reads them."""
    return ", ".join(dict.fromkeys(printable(place) for place, root in here if root in wanted))


def _export(config: Config, args: Mapping[str, Any], say: Say) -> int:
    found, form = roots.read(config), args["format"]
    data = root_files.exported(found.all, form)
    if args["out"] is not None:
        path = Path(args["out"])
        with files.store_errors(path):
            files.replace(path, data, 0o644)
    elif form == "der" and sys.stdout.isatty():
        raise UsageError(Text("DER is not text: name a file with --out FILE"))
    else:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    # Standard output may have the data.
    for root in found.all if form != "der" else (found.current,):
        sys.stderr.write(f"{printable(root.name)}\n  SHA-256: {root.fingerprint}\n")
    return 0


def _commands(config: Config, args: Mapping[str, Any], say: Say) -> int:
    say(commands.text(roots.read(config), places(config), args["systems"], config.local_ca.shared_at))
    return 0


_ACTIONS: dict[str, Callable[[Config, Mapping[str, Any], Say], int]] = {
    "show": _show,
    "export": _export,
    "install": install.install,
    "uninstall": install.uninstall,
    "commands": _commands,
    "rotate": rotation.rotate,
    "switch": rotation.switch,
}
