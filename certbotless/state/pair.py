"""The published pair of one site: generations, and the links that servers read.

    <certs_dir>/<domain>.pem  -> .certbotless/<domain>/current/fullchain.pem
    <certs_dir>/<domain>.key  -> .certbotless/<domain>/current/privkey.pem
    <certs_dir>/.certbotless/<domain>/current -> <generation>/

One rename of `current` swaps both files. The links are relative, so they hold inside a container that mounts
certs_dir. Nothing that we did not write is deleted, and only plain files are opened: other users may be able
to plant a link to one of our keys, or a pipe without a writer. A pair is not ours only because it lies there:
the caller knows the SHA-256 of each `meta.json` that we published.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ..base import files
from ..base.errors import StoreError, reason_of
from ..base.names import file_name
from ..base.words import Text
from ..model.certificate import LeafFacts, Origin, Published
from . import foreign_files

FULLCHAIN, PRIVKEY, META = "fullchain.pem", "privkey.pem", "meta.json"
_FILES = {FULLCHAIN, PRIVKEY, META}
_STAMP = "%Y%m%dT%H%M%SZ"
_GENERATION = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
# A server that opened the directory before the swap may still read from it.
_KEEP = timedelta(days=1)


class Store:
    """The files of one site below `certs_dir`.

    `known` is what was published lately: the SHA-256 of `meta.json` by the name of the generation. It is kept
    where nobody else can write. If it is empty or None, any pair whose `meta.json` fits is taken for ours.
    """

    def __init__(self, certs_dir: Path, domain: str, *, key_mode: int = 0o600) -> None:
        self._certs_dir = certs_dir
        self._name = name = file_name(domain)
        self._home = certs_dir / ".certbotless" / name
        self._current = self._home / "current"
        self._chain = foreign_files.OurName(certs_dir / f"{name}.pem", FULLCHAIN, 0o644)
        self._key = foreign_files.OurName(certs_dir / f"{name}.key", PRIVKEY, key_mode)
        self._places = (self._chain, self._key)

    def look(self, known: Mapping[str, str] | None = None) -> Published:
        """Return what is published now. Reads only, never waits, never raises."""
        found = self._look(known)
        return found if found.is_intact else replace(found, plain=self._plain())

    def _look(self, known: Mapping[str, str] | None) -> Published:
        try:
            published, _ = _load(self._generation(), known)
            fault, is_contested = self._link_fault()
        except FileNotFoundError:
            fault = Text("its files are missing") if self._current.is_symlink() else ""
            return Published(None, None, fault)
        except _Edited as exc:
            return Published(None, None, str(exc), is_contested=True)
        except OSError as exc:
            return Published(None, None, Text("its files cannot be read ({})", reason_of(exc)))
        wrong_mode = self._wrong_mode(published.generation)
        return replace(published, fault=fault, is_contested=is_contested, wrong_mode=wrong_mode)

    def _wrong_mode(self, generation: str) -> tuple[str, ...]:
        """Return the mode of the key and that of the configuration; empty where they are equal."""
        with contextlib.suppress(OSError):
            mode = stat.S_IMODE((self._home / generation / PRIVKEY).lstat().st_mode)
            if mode != self._key.mode:
                return f"{mode:04o}", f"{self._key.mode:04o}"
        return ()

    def _plain(self) -> str:
        """Return what tells the plain files at the two names from any others; empty if one is not plain."""
        with contextlib.suppress(OSError):
            found = [place.path.lstat() for place in self._places]
            if all(stat.S_ISREG(each.st_mode) for each in found):
                return " ".join(f"{each.st_ino}:{each.st_size}:{each.st_mtime_ns}" for each in found)
        return ""

    def look_at(self, generation: str, known: Mapping[str, str] | None = None) -> Published:
        """Return what a generation holds, current or not; reads only, and never raises."""
        try:
            return _load(self._home / generation, known)[0]
        except (OSError, _Edited) as exc:
            return Published(None, None, str(exc))

    def select(self, generation: str) -> None:
        """Make a generation the published one, by one rename. Raises StoreError."""
        with files.store_errors(self._certs_dir):
            files.link(self._current, generation)

    def publish(
        self,
        chain: bytes,
        key: bytes,
        facts: LeafFacts,
        origin: Origin,
        now: datetime,
        note: Callable[[str, str], object] = lambda generation, digest: None,
    ) -> None:
        """Make this pair the published one.

        1. Write the new generation completely, and sync it. `note` keeps its name and the SHA-256 of its
           `meta.json` before any link leads to it.
        2. Lead both names through `current`, which still leads to the old pair.
        3. Swap both files by one rename.
        4. Remove generations that nobody can be reading any more.

        Raises:
            StoreError: the whole old pair is in place; or the new one, if only its last sync has failed.
        """
        with files.store_errors(self._certs_dir):
            self._refuse_what_is_in_the_way()
            previous = self._current_name()
            name = f"{now:{_STAMP}}-{secrets.token_hex(4)}"
            generation = self._home / name
            files.make_dir(self._home, 0o755)
            try:
                generation.mkdir(0o755)  # 1
                files.write_new(generation / PRIVKEY, key, self._key.mode)
                files.write_new(generation / FULLCHAIN, chain, self._chain.mode)
                digests = {FULLCHAIN: _digest(chain), PRIVKEY: _digest(key)}
                meta = _meta(facts, origin, digests, previous)
                files.write_new(generation / META, meta, 0o644)
                files.sync_dir(generation)
                files.sync_dir(self._home)
                note(name, _digest(meta))
                foreign_files.take_over(self._places, self._home, f"{now:{_STAMP}}")  # 2
                self._link_names()
                files.link(self._current, name)  # 3
            except BaseException:
                if self._current_name() != name:
                    with contextlib.suppress(OSError):
                        files.remove_dir(generation, _FILES)
                raise
            # The new pair is in place: what cannot be removed now is left to the next time.
            with contextlib.suppress(OSError):
                self._prune({name, previous}, now)  # 4

    def relink(self, now: datetime) -> None:
        """Put the two names back; the pair itself is intact.

        Raises:
            StoreError: a name could not be replaced.
        """
        with files.store_errors(self._certs_dir):
            self._refuse_what_is_in_the_way()
            generation = self._current_name()
            foreign_files.take_over(self._places, self._home, f"{now:{_STAMP}}")
            self._link_names()
            if self._current_name() != generation:
                files.link(self._current, generation)

    def set_key_mode(self) -> bool:
        """Give the published key the mode of the configuration; False if the file system keeps no such mode.

        Raises:
            StoreError: it could not be done.
        """
        with files.store_errors(self._certs_dir):
            self._refuse_what_is_in_the_way()
            if is_kept := files.keeps_mode(self._home, self._key.mode):
                way = (".certbotless", self._name, self._current_name(), PRIVKEY)
                files.set_mode(self._certs_dir, way, self._key.mode)
            return is_kept

    def linked_at(self) -> datetime | None:
        """Return when the newest of the two names and `current` was made; None if one of them is gone."""
        links = (self._current, self._chain.path, self._key.path)
        with contextlib.suppress(OSError, OverflowError, ValueError):
            return datetime.fromtimestamp(max(link.lstat().st_mtime for link in links), UTC)
        return None

    def probe_writable(self) -> None:
        """Check that a pair can be published, before an order is spent on it.

        Raises:
            StoreError: there is no room, or no right, or a person must move something out of the way.
        """
        with files.store_errors(self._certs_dir):
            self._refuse_what_is_in_the_way()
            files.make_dir(self._home, 0o755)
            files.probe(self._current, links=True)

    def tidy(self) -> None:
        """Remove what killed runs have left. Hold the site's lock. What cannot be removed stays."""
        files.sweep(self._certs_dir, {place.path.name for place in self._places})
        files.sweep(self._home, {self._current.name, files.TRIAL})
        with contextlib.suppress(OSError):
            foreign_files.tidy(self._places, self._home)
            for path in list(self._home.iterdir()):
                if _is_generation(path) and path.name != self._current_name() and _is_half_written(path):
                    files.remove_dir(path, _FILES)

    def plain_pair(self) -> tuple[bytes, bytes]:
        """Return chain and key of the files of another tool at the two names.

        Raises:
            StoreError: one is absent, cannot be read, or may be changed by others.
        """
        with files.store_errors(self._certs_dir, "read"):
            for place in self._places:
                foreign_files.refuse_unless_ours(place.path, self._certs_dir)
            return files.read(self._chain.path), files.read(self._key.path)

    def pair(self, known: Mapping[str, str] | None = None, generation: str = "") -> tuple[bytes, bytes]:
        """Return chain and key as published; or those of another generation.

        Raises:
            StoreError: they cannot be read, or are not as they were published.
        """
        with files.store_errors(self._certs_dir, "read"):
            try:
                _, found = _load(self._home / generation if generation else self._generation(), known)
            except _Edited as exc:
                raise StoreError(Text("the published certificate or key has been changed")) from exc
            return found[FULLCHAIN], found[PRIVKEY]

    def _link_fault(self) -> tuple[str, bool]:
        """Return what is wrong with the two names, and whether another program has written there."""
        for place in self._places:
            path = place.path
            if not os.path.lexists(path):
                return Text("{!r} is missing", str(path)), False
            if not path.is_symlink():
                kind = Text("a file of another tool")
                what = kind if path.is_file() else files.kind_of(path.lstat().st_mode)
                return Text("{!r} is {}", str(path), what), True
            if str(path.readlink()) != self._target(place):
                return Text("{!r} links to another place", str(path)), True
        return "", False

    def _refuse_what_is_in_the_way(self) -> None:
        """Raise StoreError for what only a person may move, and for a folder that others may change."""
        for path in (self._chain.path, self._key.path, self._current):
            if path.is_dir() and not path.is_symlink():  # no rename takes it away
                raise StoreError(Text("{!r} is a directory", str(path)), hint=Text("move it away"))
        for folder in (self._home.parent, self._home):
            files.refuse_unless_directory(folder)
            foreign_files.refuse_unless_ours(folder, self._certs_dir)

    def _link_names(self) -> None:
        for place in self._places:
            if not place.path.is_symlink() or str(place.path.readlink()) != self._target(place):
                files.link(place.path, self._target(place))

    def _prune(self, keep: set[str], now: datetime) -> None:
        for path in list(self._home.iterdir()):
            made = _stamp_of(path.name)
            is_old = made is not None and made < now - _KEEP
            if path.name not in keep and _is_generation(path) and is_old:
                files.remove_dir(path, _FILES)

    def _current_name(self) -> str:
        """Return the generation that `current` leads to, empty if it leads to none in our folder."""
        target = str(self._current.readlink()) if self._current.is_symlink() else ""
        return "" if "/" in target or target in (".", "..") else target

    def _generation(self) -> Path:
        """Return the folder of the published pair. Read all its files there: `current` may change meanwhile.

        Raises:
            FileNotFoundError: there is none.
        """
        name = self._current_name()
        if not name:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._current))
        return self._home / name

    def _target(self, place: foreign_files.OurName) -> str:
        return f".certbotless/{self._name}/current/{place.name}"


class _Edited(Exception):
    """A file of the published pair is not as it was published."""


# What reading a meta.json may raise that others have written.
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


def _load(generation: Path, known: Mapping[str, str] | None) -> tuple[Published, dict[str, bytes]]:
    """Return what a generation holds, and its two files.

    Raises:
        _Edited: they are not as they were published.
        OSError: one of them cannot be read.
    """
    raw = files.read(generation / META)
    digest = _digest(raw)
    if known and known.get(generation.name) != digest:
        raise _Edited(f"{META} is not the one that was published")
    try:
        meta = json.loads(raw)
        if meta.pop("digest", None) != _digest(_as_json(meta)):
            raise _Edited(f"{META} was edited by hand")
        found = {name: files.read(generation / name) for name in (FULLCHAIN, PRIVKEY)}
        for name, data in found.items():
            if _digest(data) != meta["files"][name]:
                raise _Edited(f"{name} was edited by hand")
        previous = _safe_name(meta.get("previous", ""))
        published = Published(*_facts_in(meta), generation=generation.name, previous=previous, digest=digest)
    except _NONSENSE as exc:
        raise _Edited(f"its files cannot be read ({type(exc).__name__})") from exc
    return published, found


def _facts_in(meta: dict[str, Any]) -> tuple[LeafFacts, Origin]:
    return LeafFacts.validate(meta).checked(), Origin.validate(meta)


def generations(certs_dirs: Iterable[Path]) -> Iterator[tuple[datetime, str, Published]]:
    """Yield the generations of all sites below these folders: moment, name, and the facts in `meta.json`.

    A damaged one has no facts. Reads only.
    """
    for certs_dir in certs_dirs:
        for path in certs_dir.glob(".certbotless/*/*"):
            made = _stamp_of(path.name)
            if made is None:
                continue
            try:
                yield made, path.name, Published(*_facts_in(json.loads(files.read(path / META))))
            except (OSError, *_NONSENSE):
                yield made, path.name, Published(None, None)


def set_aside(certs_dirs: Iterable[Path]) -> Iterator[bytes]:
    """Yield each chain of another tool that was set aside below these folders. Reads only."""
    for certs_dir in certs_dirs:
        for path in certs_dir.glob(f".certbotless/*/aside-*/{FULLCHAIN}"):
            with contextlib.suppress(OSError):
                yield files.read(path)


def _is_generation(path: Path) -> bool:
    return bool(_GENERATION.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()


def _is_half_written(generation: Path) -> bool:
    """Whether its writer was killed before it wrote `meta.json`, which comes last."""
    try:
        json.loads(files.read(generation / META))
    except (FileNotFoundError, ValueError, RecursionError):
        return True
    return False


def _meta(facts: LeafFacts, origin: Origin, digests: dict[str, str], previous: str) -> bytes:
    meta = {
        **facts.to_plain(),
        # To the microsecond: a waiting --renew-now asks whether it was issued since it began.
        **origin.to_plain(),
        "files": digests,
        # What another tool left has no meta.json, so nothing says whether it may be published again.
        "previous": _safe_name(previous),
    }
    return with_digest(meta)


def with_digest(meta: dict[str, Any]) -> bytes:
    """Return meta.json with its own digest: a changed date would keep the certificate from being renewed."""
    return _as_json(meta | {"digest": _digest(_as_json(meta))})


def _as_json(meta: dict[str, Any]) -> bytes:
    return json.dumps(meta, indent=1).encode() + b"\n"


def _stamp_of(name: str) -> datetime | None:
    with contextlib.suppress(ValueError):
        return datetime.strptime(f"{name.partition('-')[0]}+0000", f"{_STAMP}%z")
    return None


def _safe_name(name: object) -> str:
    """Return the name of a generation, empty for anything else: it becomes part of a path."""
    return name if isinstance(name, str) and _GENERATION.fullmatch(name) else ""


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
