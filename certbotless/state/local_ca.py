"""`<state_dir>/local-ca`: the local CA. It is there as a whole or not at all, whenever its writer is killed.

A new folder is made beside it, complete and on disk, and then renamed into its place. Where the power fails
between two renames, the whole folder beside it counts. `ca.json` is written last, and has the digests of the
other files: a folder without it, or with other bytes, is none.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..base import files, saved
from ..base.checked import Model, dump
from ..base.clock import Clock
from ..base.errors import StoreError
from ..base.locks import Lock
from ..base.words import Text
from ..model.local_ca import LocalCa

ROOT, ISSUING, KEY, FACTS = "root.pem", "issuing.pem", "issuing.key", "ca.json"
NEXT, OLD = "next", "old"
_LOCK_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class _Noted(Model):
    """`ca.json`: the facts of the CA, and the SHA-256 of each file beside it."""

    ca: LocalCa
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class CaFiles:
    """A CA as it is kept: its facts, and the bytes of `root.pem`, `issuing.pem` and `issuing.key`."""

    facts: LocalCa
    root_pem: bytes
    issuing_pem: bytes
    issuing_key: bytes

    @property
    def by_name(self) -> dict[str, bytes]:
        return {ROOT: self.root_pem, ISSUING: self.issuing_pem, KEY: self.issuing_key}


class LocalCaFolder:
    """The folder of the local CA, and of the CA that is next."""

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "local-ca"
        self._beside = state_dir / ".local-ca.new"
        self._was = state_dir / ".local-ca.was"
        self._lock = state_dir / "local-ca.lock"

    def seen(self) -> LocalCa | None:
        """Return the facts of the CA, None where there is none. Reads one small file.

        Raises:
            StoreError: it is damaged, or cannot be read.
        """
        noted = self._noted(self._whole)
        return noted.ca if noted else None

    def next(self) -> LocalCa | None:
        """Return the facts of the CA that takes its place, None without a rotation. Raises `StoreError`."""
        noted = self._noted(self._whole / NEXT)
        return noted.ca if noted else None

    def load(self) -> CaFiles | None:
        """Return the CA with its files, None where there is none. Raises `StoreError` like `seen`."""
        return self._load(self._whole)

    @contextmanager
    def locked(self, clock: Clock) -> Iterator[None]:
        """Hold the lock of those who change the CA; what a killed one left is put in order on entering."""
        with Lock(self._lock, clock, _LOCK_TIMEOUT_S):
            self._tidy()
            yield

    def make(self, ca: CaFiles) -> None:
        """Put a new CA in its place, which is free; on disk when this returns. Hold the lock."""
        self._prepare(ca)
        self._put_in_place()

    @property
    def _whole(self) -> Path:
        """The folder that counts: where a switch was cut off, the new one is still beside its place."""
        if not self.path.is_dir() and self._is_whole(self._beside):
            return self._beside
        return self.path

    def _prepare(self, ca: CaFiles) -> None:
        with files.store_errors(self._beside):
            files.make_dir(self._beside, 0o700)
            _write(self._beside, ca)

    def _put_in_place(self) -> None:
        with files.store_errors(self.path):
            if self.path.is_dir():
                self.path.rename(self._was)
            self._beside.rename(self.path)
            files.sync_dir(self.path.parent)
            shutil.rmtree(self._was, ignore_errors=True)

    def _tidy(self) -> None:
        with files.store_errors(self.path):
            if self.path.is_dir():
                shutil.rmtree(self._beside, ignore_errors=True)
            elif self._is_whole(self._beside):
                self._put_in_place()
            else:
                shutil.rmtree(self._beside, ignore_errors=True)
                if self._is_whole(self._was):
                    self._was.rename(self.path)
            shutil.rmtree(self._was, ignore_errors=True)

    def _is_whole(self, folder: Path) -> bool:
        try:
            return self._load(folder) is not None
        except StoreError:
            return False

    def _load(self, folder: Path) -> CaFiles | None:
        noted = self._noted(folder)
        if noted is None:
            return None
        held = {name: files.read(folder / name) for name in (ROOT, ISSUING, KEY)}
        if _digests(held) != noted.files:
            raise _damaged(folder)
        return CaFiles(noted.ca, held[ROOT], held[ISSUING], held[KEY])

    def _noted(self, folder: Path) -> _Noted | None:
        try:
            noted = saved.load(folder / FACTS, _Noted)
        except ValueError as exc:
            raise _damaged(folder) from exc
        if noted is None and folder.is_dir() and folder != self._beside:
            raise _damaged(folder)
        return noted


def _write(folder: Path, ca: CaFiles) -> None:
    held = ca.by_name
    for name, data in held.items():
        files.write_new(folder / name, data, 0o600)
    files.write_new(folder / FACTS, dump(_Noted(ca.facts, _digests(held)), indent=1), 0o600)
    files.sync_dir(folder)


def _digests(held: Mapping[str, bytes]) -> dict[str, str]:
    return {name: hashlib.sha256(data).hexdigest() for name, data in held.items()}


def _damaged(folder: Path) -> StoreError:
    return StoreError(
        Text("the local CA in {!r} is damaged", os.fspath(folder)),
        hint=Text("put your copy of the folder back, or make a new CA: certbotless trust rotate --now"),
    )
