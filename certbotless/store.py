"""The published pair of one site: generations, and the links that servers read.

    <certs_dir>/<domain>.pem  -> .certbotless/<domain>/current/fullchain.pem
    <certs_dir>/<domain>.key  -> .certbotless/<domain>/current/privkey.pem
    <certs_dir>/.certbotless/<domain>/current -> <generation>/

One rename of `current` swaps both files. Links are relative, so they hold inside a container that mounts
certs_dir. Nothing that we did not write is ever deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import re
import secrets
import shutil
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from . import files
from .errors import StoreError
from .leaf import LeafFacts, parse_rfc3339

logger = logging.getLogger(__name__)

FULLCHAIN, PRIVKEY, META = "fullchain.pem", "privkey.pem", "meta.json"
_SUFFIXES = {FULLCHAIN: ".pem", PRIVKEY: ".key"}
_STAMP = "%Y%m%dT%H%M%SZ"
_GENERATION = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}")
# A server that opened the directory before the swap may still read from it.
_KEEP = timedelta(days=1)
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a certificate came from: directory URL, our account's URL there, kind of its key, and when."""

    directory: str
    account: str
    key_type: str
    issued_at: datetime


@dataclass(frozen=True, slots=True)
class Published:
    """What stands in the store.

    `facts` and `origin` are None where nothing was published, or the generation itself is damaged; `fault`
    says in words what is not as it should be, empty if all is well. `generation` is the folder's name, and
    `previous` that of the one which it took the place of; empty where there is none.
    """

    facts: LeafFacts | None
    origin: Origin | None
    fault: str = ""
    has_plain: bool = False
    generation: str = ""
    previous: str = ""

    @property
    def is_intact(self) -> bool:
        """Whether both names lead to a pair that is as it was published."""
        return self.facts is not None and not self.fault


class Store:
    """The files of one site below `certs_dir`."""

    def __init__(self, certs_dir: Path, domain: str, *, key_mode: int = 0o600) -> None:
        self._certs_dir = certs_dir
        self._domain = domain
        self._key_mode = key_mode
        self._home = certs_dir / ".certbotless" / domain
        self._current = self._home / "current"

    def look(self) -> Published:
        """Return what is published now. Reads only; never raises for what it finds."""
        try:
            published = self._read(self._current)
            fault = published.fault or self._link_fault()
        except FileNotFoundError:
            fault = "its generation is gone" if self._current.is_symlink() else ""
            has_plain = all(self._public(name).is_file() for name in _SUFFIXES)
            return Published(None, None, fault, has_plain and not fault)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            return Published(None, None, f"its generation cannot be read ({type(exc).__name__})")
        return replace(published, fault=fault, generation=self._current_name())

    def look_at(self, generation: str) -> Published:
        """Return what a generation holds, current or not; reads only, and never raises."""
        try:
            return replace(self._read(self._home / generation), generation=generation)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as exc:
            return Published(None, None, f"its generation cannot be read ({type(exc).__name__})")

    def select(self, generation: str) -> None:
        """Make a generation the published one, by one rename. Raises StoreError."""
        with files.store_errors(self._certs_dir):
            files.link(self._current, generation)

    def publish(self, chain: bytes, key: bytes, facts: LeafFacts, origin: Origin, now: datetime) -> None:
        """Make this pair the published one.

        1. Write the new generation completely, and sync it.
        2. Lead both names through `current`, which still is the old pair, so that
        3. one rename swaps both files.
        4. Remove generations that nobody can be reading any more.

        Raises:
            StoreError: the pair in place is whole, and the old one; or the new one, should only its
                durability be in doubt.
        """
        with files.store_errors(self._certs_dir):
            previous = self._current_name()
            name = f"{now:{_STAMP}}-{secrets.token_hex(4)}"
            generation = self._home / name
            files.make_dir(self._home, 0o755)
            try:
                generation.mkdir(0o755)  # 1
                files.write_new(generation / PRIVKEY, key, self._key_mode)
                files.write_new(generation / FULLCHAIN, chain, 0o644)
                digests = {FULLCHAIN: _digest(chain), PRIVKEY: _digest(key)}
                files.write_new(generation / META, _meta(facts, origin, digests, previous), 0o644)
                files.sync_dir(generation)
                files.sync_dir(self._home)
                self._take_over(now)  # 2
                self._link_names()
                files.link(self._current, name)  # 3
            except BaseException:
                if self._current_name() != name:
                    shutil.rmtree(generation, ignore_errors=True)
                raise
            # The new pair is in place: what cannot be removed now is left to the next time.
            with contextlib.suppress(OSError):
                self._prune({name, previous}, now)  # 4

    def relink(self, now: datetime) -> None:
        """Put the two names back where they lead elsewhere or nowhere; the pair itself is intact.

        Raises:
            StoreError: a name could not be replaced.
        """
        with files.store_errors(self._certs_dir):
            generation = self._current_name()
            self._take_over(now)
            self._link_names()
            if self._current_name() != generation:
                files.link(self._current, generation)

    def probe_writable(self) -> None:
        """Write, sync and remove a file as large as a pair, before an order is spent on it.

        Raises:
            StoreError: there is no room, or no right.
        """
        with files.store_errors(self._certs_dir):
            for name in _SUFFIXES:
                _is_foreign(self._public(name))
            files.make_dir(self._home, 0o755)
            trial = self._home / f".trial.{secrets.token_hex(8)}"
            try:
                files.write_new(trial, bytes(64 * 1024), 0o600)
            finally:
                trial.unlink(missing_ok=True)

    def plain_pair(self) -> tuple[bytes, bytes]:
        """Return chain and key of files that are not ours under the two names.

        Raises:
            StoreError: they are not both there, or cannot be read.
        """
        with files.store_errors(self._certs_dir, "read"):
            return self._public(FULLCHAIN).read_bytes(), self._public(PRIVKEY).read_bytes()

    def pair(self) -> tuple[bytes, bytes]:
        """Return chain and key as published. Raises StoreError where they cannot be read."""
        with files.store_errors(self._certs_dir, "read"):
            return (self._current / FULLCHAIN).read_bytes(), (self._current / PRIVKEY).read_bytes()

    def _read(self, generation: Path) -> Published:
        meta = json.loads(_read(generation / META))
        facts = LeafFacts.from_json(meta)
        origin = Origin(
            directory=str(meta["directory"]),
            account=str(meta["account"]),
            key_type=str(meta["key_type"]),
            issued_at=parse_rfc3339(meta["issued_at"]),
        )
        for name in _SUFFIXES:
            if _digest(_read(generation / name)) != meta["files"][name]:
                return Published(None, None, f"{name} was edited by hand")
        return Published(facts, origin, previous=_safe_name(meta.get("previous", "")))

    def _link_fault(self) -> str:
        for name in _SUFFIXES:
            path = self._public(name)
            if not path.is_symlink():
                return f"{str(path)!r} is {'a file of another tool' if path.exists() else 'gone'}"
            if str(path.readlink()) != self._target(name):
                return f"{str(path)!r} leads elsewhere"
        return ""

    def _take_over(self, now: datetime) -> None:
        """Turn files of another tool at our names into links to the same bytes.

        What both names give now becomes a generation of its own, so that the swap is one rename here too.
        """
        foreign = [name for name in _SUFFIXES if _is_foreign(self._public(name))]
        if not foreign:
            return
        aside = self._home / f"aside-{now:{_STAMP}}-{secrets.token_hex(4)}"
        aside.mkdir(0o755)
        for name in _SUFFIXES:
            if self._public(name).exists():
                mode = self._key_mode if name == PRIVKEY else 0o644
                files.write_new(aside / name, self._public(name).read_bytes(), mode)
        files.sync_dir(aside)
        logger.warning("store.set_aside domain=%s files=%s to=%s", self._domain, ",".join(foreign), aside)
        files.link(self._current, aside.name)

    def _link_names(self) -> None:
        for name in _SUFFIXES:
            path = self._public(name)
            if not path.is_symlink() or str(path.readlink()) != self._target(name):
                files.link(path, self._target(name))

    def _prune(self, keep: set[str], now: datetime) -> None:
        for path in self._home.iterdir():
            made = _stamp_of(path.name)
            if made is not None and path.name not in keep and made < now - _KEEP:
                shutil.rmtree(path)

    def _current_name(self) -> str:
        return self._current.readlink().name if self._current.is_symlink() else ""

    def _public(self, name: str) -> Path:
        return self._certs_dir / f"{self._domain}{_SUFFIXES[name]}"

    def _target(self, name: str) -> str:
        return f".certbotless/{self._domain}/current/{name}"


def _is_foreign(path: Path) -> bool:
    if path.is_dir():
        raise StoreError(f"{str(path)!r} is a directory", hint="move it away")
    return path.is_file() and not (path.is_symlink() and ".certbotless/" in str(path.readlink()))


def _meta(facts: LeafFacts, origin: Origin, digests: dict[str, str], previous: str) -> bytes:
    meta = {
        **facts.to_json(),
        "directory": origin.directory,
        "account": origin.account,
        "key_type": origin.key_type,
        # To the microsecond: a waiting --renew-now asks whether it was issued since it began.
        "issued_at": origin.issued_at.isoformat(),
        "files": digests,
        # What another tool left has no meta.json, so nothing says whether it may be gone back to.
        "previous": previous if _stamp_of(previous) else "",
    }
    return json.dumps(meta, indent=1).encode() + b"\n"


def _stamp_of(name: str) -> datetime | None:
    try:
        return datetime.strptime(f"{name.partition('-')[0]}+0000", f"{_STAMP}%z")
    except ValueError:
        return None


def _safe_name(name: object) -> str:
    """Return the name of a generation, empty for anything else: it becomes part of a path."""
    return name if isinstance(name, str) and _GENERATION.fullmatch(name) else ""


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
