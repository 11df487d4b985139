"""The command, in five steps.

1. Read the file. It must have no fault, but that it has no site yet.
2. Ask for what the command line does not say about the new site.
3. Insert the new lines into the text, and prove that the file says the same as before, and the new site.
4. Write it, or show the difference; where it cannot be edited, print what to add and where.
5. Print what comes next.
"""

import difflib
import os
import shlex
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base import files, words
from ...base.errors import CertbotlessError, ConfigError, StoreError, UsageError
from ...base.locks import running_daemon
from ...base.privileges import as_owner
from ...base.words import Text, _
from ...config import diff, environment, load, redact, yaml_document
from ...config.settings import Config
from ...state.local_ca import LocalCaFolder
from .. import found
from ..questions import Ask, Questions, Say
from . import place
from .site import OPERANDS, new_site

_BOM = "\ufeff"
# In place of sites in a file that has none yet, so that the rest of it can be checked; it needs nothing else.
_SITE_TO_BE = {"domain": "10.0.0.1", "ca": "local"}


@dataclass(frozen=True, slots=True)
class _File:
    """The file as it is.

    Attributes:
        data: its plain values.
        before: the configuration; None if the file has no site yet.
    """

    path: Path
    raw: bytes
    data: Mapping[str, Any]
    before: Config | None

    @property
    def sites(self) -> list[Any]:
        return self.data.get("sites") or []

    @property
    def text(self) -> str:
        """The text without its byte order mark."""
        return self.raw.decode("utf-8-sig")


def run(
    path: Path,
    options: Mapping[str, Any],
    ask: Ask | None,
    say: Say,
    engine_at: Callable[[str], found.Engine] = found.engine,
) -> None:
    """Add a site to the file. The steps have the numbers of the module.

    Args:
        options: those of the command line: domain, ca, names, with_address, container, no_container, port;
            `only_show` is the dry run.
        ask: asks a person; None if there is no terminal.
        engine_at: finds the containers of the engine at this address.

    Raises:
        ConfigError: the file has faults, or there is none.
        UsageError: an option is bad, or missing.
        CertbotlessError: the file cannot be edited, or not written; what to add has been printed.
    """
    # 1.
    file = _read(path)
    config = file.before or _with(file, {"local_ca": {}, "sites": [_SITE_TO_BE]})
    words.speak(config.language)

    # 2.
    others = file.before.sites if file.before else ()
    site = new_site(Questions(options, ask, say, OPERANDS), others, config, engine_at)
    wanted = _wanted(file, site)

    # 3. and 4.
    after = _edited(file, site, wanted, say)
    _note_on_root(wanted, say)
    shown = redact.Redactor.of(wanted)(_difference(file, after))
    if options.get("only_show"):
        say(shown)
        return
    try:
        with files.store_errors(path):
            files.rewrite(path, file.raw, after)
    except StoreError:
        say(_("Make this change to {}, then run certbotless check:").format(path) + "\n")
        say(shown)
        raise
    for line in diff.changes(file.before, wanted) if file.before else [_added(wanted)]:
        say(f"{path}: {line}")
    say("\n".join(["", *place.lines_of(site, place.Style()), ""]))

    # 5.
    _say_next(path, wanted, say)


def _edited(file: _File, site: Mapping[str, Any], wanted: Config, say: Say) -> bytes:
    """Return the file with the new site in it.

    Raises:
        CertbotlessError: it cannot be edited; what to add has been printed.
    """
    try:
        mark = _BOM if file.raw.startswith(_BOM.encode()) else ""
        after = (mark + place.with_site(file.text, site)).encode()
        _prove(file, after, site, wanted)
    except place.NoPlaceError as exc:
        say(_("Add this to the list `sites:` in {}, then run certbotless check:").format(file.path) + "\n")
        say("\n".join(place.lines_of(site, place.Style())))
        text = Text("{!r} is not changed: {}", str(file.path), str(exc))
        raise CertbotlessError(text, hint=Text("edit it by hand")) from exc
    return after


def _read(path: Path) -> _File:
    # Path.exists would raise where this user may not enter the folder.
    if not os.path.exists(path) and environment.is_set() and path == environment.FILE:
        text = Text("the one site is in environment variables, and there is no file {!r}", str(path))
        raise UsageError(text, hint=Text("write the file first (docs/docker.md)"))
    raw = load.read(path)
    document = yaml_document.Document(raw, str(path))
    data = document.data
    if isinstance(data, dict) and not document.faults and data.get("sites", []) in (None, []):
        return _File(path, raw, data, None)
    return _File(path, raw, data, load.parse(raw, str(path)))


def _with(file: _File, keys: Mapping[str, Any]) -> Config:
    """Return the configuration that the file is with these keys.

    Raises:
        ConfigError: the rest of it has faults; each begins with the file's name.
    """
    text = yaml_document.text_of({**file.data, **keys})
    try:
        return load.parse(text.encode(), "")
    except ConfigError as exc:
        # Their lines are those of a text that nobody has seen: the last value is the fault without its place.
        faults = [fault.values[-1] if isinstance(fault, Text) else fault for fault in exc.faults]
        raise ConfigError([Text("{}: {}", str(file.path), fault) for fault in faults]) from exc


def _wanted(file: _File, site: Mapping[str, Any]) -> Config:
    """Return the configuration that the file shall be. Raises `UsageError` for what does not go together."""
    try:
        return _with(file, {"sites": [*file.sites, site]})
    except ConfigError as exc:
        first = exc.faults[0]
        raise UsageError(
            Text("the new site: {}", first.values[-1] if isinstance(first, Text) else first)
        ) from exc


def _prove(file: _File, after: bytes, site: Mapping[str, Any], wanted: Config) -> None:
    """Raise `NoPlaceError` unless the edited file is the old one and the new site, to the last value."""
    try:
        data = yaml_document.Document(after, "").data
        edited = load.parse(after, "")
    except ConfigError as exc:
        raise place.NoPlaceError(Text("in its layout, the new lines would not be read as a site")) from exc
    is_same = data == {**file.data, "sites": [*file.sites, site]} and edited == wanted
    if not is_same or (file.before is not None and diff.changes(file.before, edited) != [_added(wanted)]):
        raise place.NoPlaceError(Text("in its layout, the new lines would change something else"))


def _note_on_root(wanted: Config, say: Say) -> None:
    """Say so if the root that is there may not vouch for the new site."""
    site, ca = wanted.sites[-1], None
    if site.is_local:
        with suppress(CertbotlessError), as_owner(wanted.state_dir):
            ca = LocalCaFolder(wanted.state_dir).seen()
    if forbidden := ca.forbids(site.certified_names) if ca else []:
        text = _("Note: the root may not vouch for {}: certbotless trust rotate makes one that may.")
        say(text.format(", ".join(forbidden)))


def _added(wanted: Config) -> str:
    """Return how `diff` names the change."""
    return f"site {wanted.sites[-1].domain} added"


def _difference(file: _File, after: bytes) -> str:
    """Return the difference as `diff -u` shows it."""
    old, new = file.text.splitlines(), after.decode("utf-8-sig").splitlines()
    name = str(file.path)
    return "\n".join(difflib.unified_diff(old, new, name, name, lineterm=""))


def _say_next(path: Path, wanted: Config, say: Say) -> None:
    option = "" if path == environment.FILE else f"--config {shlex.quote(str(path))} "
    domain = wanted.sites[-1].domain
    pid = running_daemon(wanted.state_dir)
    if pid is None:
        say(_("Next: no daemon runs. See what it would do:") + f" certbotless {option}plan {domain}")
    else:
        text = _("Next: the daemon (pid {}) reads the file by itself within a few seconds. Watch it:")
        say(text.format(pid or "?") + f" certbotless {option}status {domain}")
    if wanted.sites[-1].is_local:
        say(
            _("Then each client needs the root. What to type there:") + f" certbotless {option}trust commands"
        )
