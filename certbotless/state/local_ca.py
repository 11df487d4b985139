"""`<state_dir>/local-ca`: the local CA. It is there as a whole or not at all, whenever its writer is killed.

A new folder is made beside it, complete and on disk, and then renamed into its place. Where the power fails
between two renames, the whole folder beside it counts. `ca.json` is written last, and has the digests of the
other files: a folder without it, or with other bytes, is none.

During a rotation it has the CA that is next, in `next`. Of those before it has the roots alone, in `old`:
the issuing key of a CA goes when another one takes its place.
"""

import hashlib
import os
import shutil
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

from ..base import files, saved
from ..base.checked import Model, dump
from ..base.clock import Clock
from ..base.errors import StoreError
from ..base.locks import Lock
from ..base.words import Text
from ..model.local_ca import PREFIX, CaFiles, LocalCa, OldRoot
from .pair import generations

T = TypeVar("T")
ROOT, ISSUING, KEY, FACTS = "root.pem", "issuing.pem", "issuing.key", "ca.json"
NEXT, OLD = "next", "old"
_LOCK_TIMEOUT_S = 60
# In 80 years there are 10, and one more for each that was stolen or lost. What is beyond that is a fault.
_MOST_OLD = 50


@dataclass(frozen=True, slots=True)
class _Noted(Model):
    """`ca.json`: the facts of the CA, the SHA-256 of each file beside it, and the roots before it."""

    ca: LocalCa
    files: dict[str, str]
    old: tuple[OldRoot, ...] = ()


@dataclass(frozen=True, slots=True)
class Root:
    """A root that clients may have: the one that signs, the one that is next, or one that has signed.

    Attributes:
        remove_from: when clients are to remove an old one; None for the others.
    """

    role: Literal["current", "next", "old"]
    facts: LocalCa
    pem: bytes
    remove_from: datetime | None = None


class LocalCaFolder:
    """The folder of the local CA, of the CA that is next, and of the roots before."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "local-ca"
        self._beside = state_dir / ".local-ca.new"
        self._was = state_dir / ".local-ca.was"
        # Below the CA, so that it goes with it: it never takes the place of one that is gone.
        self._next_beside = self.path / ".next.new"
        self._lock = state_dir / "local-ca.lock"

    def seen(self) -> LocalCa | None:
        """Return the facts of the CA, None where there is none. Reads one small file.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        noted = _settled(lambda: self._noted(self._whole))
        return noted.ca if noted else None

    def next(self) -> LocalCa | None:
        """Return the facts of the CA that takes its place, None without a rotation. Raises `StoreError`."""
        noted = _settled(lambda: self._noted(self._whole / NEXT))
        return noted.ca if noted else None

    def load_next(self) -> CaFiles | None:
        """Return the CA that takes its place with its files, None without a rotation. Raises `StoreError`."""
        return _settled(lambda: self._load(self._whole / NEXT))

    def load(self) -> CaFiles | None:
        """Return the CA with its files, None where there is none. Raises `StoreError` like `seen`."""
        return _settled(lambda: self._load(self._whole))

    def needed(self) -> tuple[Root, ...]:
        """Return the roots that clients need: the current one and, during a rotation, the next.

        Raises:
            StoreError: one of them is damaged, or cannot be read.
        """
        return _settled(lambda: self._roots(old_too=False)) or ()

    def roots(self) -> tuple[Root, ...]:
        """Return each root that a client may have: the current one, the next, those before.

        Raises:
            StoreError: one of them is damaged, or cannot be read.
        """
        return _settled(lambda: self._roots(old_too=True)) or ()

    def refuse_if_lost(self, certs_dirs: Iterable[Path]) -> None:
        """Raise StoreError where there was a CA: below these folders are certificates that it gave."""
        held = (told.origin for *_, told in generations(certs_dirs))
        if any(origin is not None and origin.directory.startswith(PREFIX) for origin in held):
            raise StoreError(
                Text("the local CA in {!r} is gone", os.fspath(self.path)),
                hint=Text("put your copy of it back, or make a new CA: certbotless trust rotate --now"),
            )

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:
        """Hold the lock of those who change the CA; what a killed one left is put in order on entering."""
        with Lock(self._lock, clock, _LOCK_TIMEOUT_S):
            self._tidy()
            yield

    def make(self, ca: CaFiles) -> None:
        """Put a new CA in its place, which is free; on disk when this returns. Hold the lock."""
        self._put(ca, {})

    def make_next(self, ca: CaFiles) -> None:
        """Put a CA beside the one that signs, as the next one. Hold the lock.

        Another next one goes, and its root is old from now on: clients may have taken it.

        Raises:
            StoreError: it cannot be written; or another one has to go, and the CA that signs is damaged.
        """
        if os.path.lexists(self.path / NEXT) and (now := self._load(self.path)):
            self._put(now, self._old_roots(ca.facts.made_at, self.path / NEXT))
        with files.store_errors(self.path):
            _write(self._next_beside, ca, {})
            self._next_beside.rename(self.path / NEXT)
            files.sync_dir(self.path)

    def switch(self) -> LocalCa:
        """Let the next CA take the place of the one that signs, whose root is old from now on. Hold the lock.

        Raises:
            StoreError: there is no next one, or one of the two is damaged.
        """
        ca, now = self._load(self.path / NEXT), self._load(self.path)
        if ca is None or now is None:
            raise StoreError(
                Text("there is no next root"), hint=Text("make one first: certbotless trust rotate")
            )
        self._put(ca, self._old_roots(now.facts.not_after, self.path))
        return ca.facts

    def replace(self, ca: CaFiles, at: datetime) -> None:
        """Let a new CA take the place of the one that signs, whose root clients remove now. Hold the lock.

        What is there may be damaged, or absent. A next CA goes too.
        """
        self._put(ca, self._old_roots(at, self.path, self.path / NEXT))

    def _old_roots(self, remove_from: datetime, *ended: Path) -> dict[OldRoot, bytes]:
        """Return the roots that are old once these CAs are, with PEM; those that can be read."""
        found = dict[OldRoot, Path]()
        for folder in ended:
            with suppress(StoreError):
                if noted := self._noted(folder):
                    found[OldRoot(noted.ca, remove_from)] = folder / ROOT
        with suppress(StoreError):
            before = noted.old if (noted := self._noted(self.path)) else ()
            found |= {each: self.path / OLD / _old_name(each.ca) for each in before}
        held = {}
        for each, path in found.items():
            with suppress(StoreError):
                held[each] = _root_pem(path, each.ca)
        return held

    def _roots(self, *, old_too: bool) -> tuple[Root, ...]:
        folder = self._whole
        noted = self._noted(folder)
        if noted is None:
            return ()
        found = [Root("current", noted.ca, _root_pem(folder / ROOT, noted.ca))]
        if next_ := self._noted(folder / NEXT):
            found.append(Root("next", next_.ca, _root_pem(folder / NEXT / ROOT, next_.ca)))
        for each in noted.old if old_too else ():
            pem = _root_pem(folder / OLD / _old_name(each.ca), each.ca)
            found.append(Root("old", each.ca, pem, each.remove_from))
        return tuple(found)

    @property
    def _whole(self) -> Path:
        """The folder that counts: where a switch was cut off, the new one is still beside its place."""
        if not self.path.is_dir() and self._is_whole(self._beside):
            return self._beside
        return self.path

    def _put(self, ca: CaFiles, old: Mapping[OldRoot, bytes]) -> None:
        with files.store_errors(self.path):
            _write(self._beside, ca, old)
            if self.path.is_dir():
                self.path.rename(self._was)
            self._beside.rename(self.path)
            files.sync_dir(self.path.parent)
            shutil.rmtree(self._was, ignore_errors=True)

    def _tidy(self) -> None:
        with files.store_errors(self.path):
            for whole in (self._beside, self._was):
                if not self.path.is_dir() and self._is_whole(whole):
                    whole.rename(self.path)
                    files.sync_dir(self.path.parent)
            for left in (self._beside, self._was, self._next_beside):
                shutil.rmtree(left, ignore_errors=True)

    def _is_whole(self, folder: Path) -> bool:
        try:
            return self._load(folder) is not None
        except StoreError:
            return False

    def _load(self, folder: Path) -> CaFiles | None:
        noted = self._noted(folder)
        if noted is None:
            return None
        with files.store_errors(folder, "read"):
            held = {
                name: files.read(folder / name) for name in (ROOT, ISSUING, KEY) if (folder / name).exists()
            }
        if _digests(held) != noted.files or not _is_root(held[ROOT], noted.ca):
            raise _damaged(folder)
        return CaFiles(noted.ca, held[ROOT], held[ISSUING], held[KEY])

    def _noted(self, folder: Path) -> _Noted | None:
        try:
            noted = saved.load(folder / FACTS, _Noted)
        except ValueError as exc:
            raise _damaged(folder) from exc
        if noted is None and folder.is_dir() and folder != self._beside:
            raise _damaged(folder)
        return noted and replace(noted, old=noted.old[:_MOST_OLD])


def _settled(read: Callable[[], T | None]) -> T | None:
    """Read, and once more where nothing or nonsense was found: it may have been between two renames."""
    with suppress(StoreError):
        if (found := read()) is not None:
            return found
    return read()


def _write(folder: Path, ca: CaFiles, old: Mapping[OldRoot, bytes]) -> None:
    held = {ROOT: ca.root_pem, ISSUING: ca.issuing_pem, KEY: ca.issuing_key}
    files.make_dir(folder, 0o700)
    for name, data in held.items():
        files.write_new(folder / name, data, 0o600)
    if old:
        files.make_dir(folder / OLD, 0o700)
        for each, pem in old.items():
            files.write_new(folder / OLD / _old_name(each.ca), pem, 0o600)
        files.sync_dir(folder / OLD)
    noted = _Noted(ca.facts, _digests(held), tuple(old))
    files.write_new(folder / FACTS, dump(noted, indent=1), 0o600)
    files.sync_dir(folder)


def _old_name(ca: LocalCa) -> str:
    return f"{ca.root_sha256}.pem"


def _root_pem(path: Path, ca: LocalCa) -> bytes:
    """Return the PEM of this root. Raises `StoreError` where the file is not that."""
    with files.store_errors(path, "read"):
        pem = files.read(path)
    if not _is_root(pem, ca):
        raise _damaged(path.parent)
    return pem


def _is_root(pem: bytes, ca: LocalCa) -> bool:
    with suppress(ValueError):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest() == ca.root_sha256
    return False


def _digests(held: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}


def _damaged(folder: Path) -> StoreError:
    if folder.name == NEXT:
        what = Text("the next local CA in {!r} is damaged", os.fspath(folder))
        return StoreError(what, hint=Text("make another one: certbotless trust rotate"))
    return StoreError(
        Text("the local CA in {!r} is damaged", os.fspath(folder)),
        hint=Text("put your copy of the folder back, or make a new CA: certbotless trust rotate --now"),
    )
