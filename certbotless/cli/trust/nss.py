"""The databases in which Chromium and Firefox of one person keep roots (NSS).

certutil of NSS reads and writes them, with the rights of the person who runs the command: with sudo, of the
one who typed it. So root writes nothing into a home. A root is ours by its bytes, whatever its name is there.

Source: certutil(1); Chromium, docs/linux/cert_management.md (since version 146 the second place counts where
the first is absent); Firefox 147, release notes (.config); the homes that snap and flatpak give programs.
"""

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...base import files
from ...base.errors import StoreError, printable
from ...base.privileges import as_user
from ...base.words import N_, Text, _
from ...config.environment import sudo_user
from ...model.local_ca import RootCertificate
from .roots import Roots
from .stores import Outcome, still_wanted

_PROGRAM, _PATH = "certutil", "/usr/local/bin:/usr/bin:/bin"
_CHROMIUM = (".pki/nssdb", ".local/share/pki/nssdb")
# Who has one of these has started such a browser, which makes no database before it needs one.
_STARTED = ("chromium", "google-chrome", "microsoft-edge", "BraveSoftware", "vivaldi")
_FIREFOX = (".mozilla/firefox/*", ".config/mozilla/firefox/*")
_PLACES = (
    *_CHROMIUM,
    *(f"snap/chromium/current/{place}" for place in _CHROMIUM),
    *(f".var/app/*/{place}" for place in (*_CHROMIUM, "data/pki/nssdb")),
    *_FIREFOX,
    *(f"snap/firefox/common/{place}" for place in _FIREFOX),
    *(f".var/app/org.mozilla.firefox/{place}" for place in (_FIREFOX[0], "config/mozilla/firefox/*")),
)
# The file of a database. Older ones (cert8.db) are of browsers that nobody has.
_DATABASE = "cert9.db"
_TIMEOUT_S = 60
# What certutil lists: a name, and what the certificate is trusted for, first for TLS.
_LISTED = re.compile(r"(certbotless.*?) +([a-zA-Z]*),[a-zA-Z]*,[a-zA-Z]*")
_TRUSTED = "C"


@dataclass(frozen=True, slots=True)
class NssStore:
    """The databases of the person who runs this command."""

    name: str = "nss"
    effect: str = N_("once the browser is started again")
    needs_root: bool = False

    @property
    def is_found(self) -> bool:
        return any(_databases())

    @property
    def lacks(self) -> str:
        if shutil.which(_PROGRAM, path=_PATH):
            return ""
        return N_("needs certutil: apt-get install libnss3-tools; on Fedora and RHEL: dnf install nss-tools")

    def bring(self, roots: Roots, places: Sequence[str]) -> Outcome:
        done = Outcome()
        found, absent = _databases()
        if roots.live and not found and not absent:
            raise StoreError(Text("there is no database of a browser yet: start the browser once"))
        for database in [*absent, *found] if roots.live else found:
            try:
                if database in absent:
                    _make(database)
                _bring(database, roots, done)
            except StoreError as exc:
                done.failed.append(_(str(exc)))
        return done

    def installed(self, known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate]]:
        found = list[tuple[str, RootCertificate]]()
        for database in [] if self.lacks else _databases()[0]:
            with suppress(StoreError):
                found += [(str(database), root) for _name, root, _trusted in _ours(database, known)]
        return found


def _person() -> tuple[pwd.struct_passwd, Path] | None:
    """Return the account of the person whose browsers these are, and their home; None without one.

    With sudo it is who typed it. `su` may leave HOME as it was: then it is the owner of that folder.
    """
    name = sudo_user() if os.geteuid() == 0 else ""
    try:
        if name:
            account = pwd.getpwnam(name)
            return account, Path(account.pw_dir)
        home = Path.home()
        return pwd.getpwuid(home.stat().st_uid), home
    except (KeyError, OSError, RuntimeError):
        return None


def _databases() -> tuple[list[Path], list[Path]]:
    """Return the folder of each database of this person, and that of one which Chromium has not made yet."""
    if (person := _person()) is None:
        return [], []
    account, home = person
    with as_user(account.pw_uid, account.pw_gid), suppress(OSError):
        found = [path for place in _PLACES for path in sorted(home.glob(place))]
        # Not `Path.is_file`, which fails at a link to what the person may not read.
        found = [path for path in found if os.path.isfile(path / _DATABASE)]
        old, new = (home / place for place in _CHROMIUM)
        has_started = any(os.path.isdir(home / ".config" / each) for each in _STARTED)
        is_absent = has_started and old not in found and new not in found
        return found, [old if os.path.isdir(old) else new] if is_absent else []
    return [], []


def _make(database: Path) -> None:
    """Make a database without a password, as the browser does. Raises `StoreError`."""
    if person := _person():
        with as_user(person[0].pw_uid, person[0].pw_gid), files.store_errors(database):
            database.mkdir(0o700, parents=True, exist_ok=True)
    _ask(database, "-N", "--empty-password")


def _bring(database: Path, roots: Roots, done: Outcome) -> None:
    """Bring a database up to date. Raises `StoreError`."""
    has = _ours(database, roots.known)
    there = [root for _name, root, _is_trusted in has]
    stay = still_wanted(roots, there)
    trusted = [root for _name, root, is_trusted in has if is_trusted]
    for root in roots.live:
        if root not in trusted:
            _add(database, root, is_there=root in there)
            done.written.append(str(database))
    for name, root, _is_trusted in has:
        if root not in stay:
            _ask(database, "-D", "-n", name)
            done.removed.append(str(database))


def _add(database: Path, root: RootCertificate, *, is_there: bool) -> None:
    """Trust a root, which may be there without trust. Raises `StoreError`."""
    name = f"certbotless-{root.short}"
    try:
        _ask(database, "-A", "-a", "-t", f"{_TRUSTED},,", "-n", name, given=root.pem)
    except StoreError:
        # It may have been put there before the database asked for its password.
        if not is_there:
            with suppress(StoreError):
                for added, _root, _is_trusted in _ours(database, [root]):
                    _ask(database, "-D", "-n", added)
        raise


def _ours(database: Path, known: Sequence[RootCertificate]) -> list[tuple[str, RootCertificate, bool]]:
    """Return the name of each root of ours, and whether it is trusted. Raises `StoreError`."""
    found = []
    for line in _ask(database, "-L").decode(errors="replace").splitlines():
        if listed := _LISTED.fullmatch(line.strip()):
            der = _ask(database, "-L", "-r", "-n", listed[1])
            is_trusted = _TRUSTED in listed[2]
            found += [(listed[1], root, is_trusted) for root in dict.fromkeys(known) if root.der == der]
    return found


def _ask(database: Path, *arguments: str, given: bytes = b"") -> bytes:
    """Return what certutil prints.

    Raises:
        StoreError: it failed: the database is damaged, or has a password.
    """
    rights: dict[str, Any] = {}
    if os.geteuid() == 0 and (person := _person()):
        uid, gid = person[0].pw_uid, person[0].pw_gid
        rights = {"user": uid, "group": gid, "extra_groups": os.getgrouplist(person[0].pw_name, gid)}
    try:
        # In a session of its own it cannot ask the terminal for a password.
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [_PROGRAM, "-d", f"sql:{database}", *arguments],
            input=given,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_S,
            cwd="/",
            env={"PATH": _PATH},
            start_new_session=True,
            **rights,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise StoreError(Text("{}: {} failed: {}", printable(database), _PROGRAM, printable(exc))) from exc
    if done.returncode != 0:
        said = printable(done.stderr.decode(errors="replace").strip() or done.returncode)
        raise StoreError(Text("{}: {} failed: {}", printable(database), _PROGRAM, said))
    return done.stdout
