"""What a run leaves for the next one, in `state_dir`: the state of each site, and the accounts.

    daemon.lock, daemon.json, ledger.lock, ledger.jsonl, events.jsonl, notify.lock, notify.json
    accounts/<ca>/   key.pem, account.json, lock
    sites/           <domain>.json, .lock; .order.key (order in flight); .pair (the pair last issued);
                     .log (the last attempt), .log.unfinished (one that goes on, or was killed).
                     A certificate that sites share is called _.<domain>; shared/ has its pair

All of it can be lost: it is rebuilt from the world and the generations in certs_dir.
"""

import hashlib
import logging
import os
import re
from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..base import files, saved
from ..base.checked import dump, of_json
from ..base.clock import Clock
from ..base.errors import StoreError
from ..base.locks import Holder, Lock, SignedLock, holder
from ..base.names import domain_of, file_name
from ..base.words import Text
from ..model.memory import OrderInFlight, SavedPair, SiteState, TxtValue

logger = logging.getLogger(__name__)


class SiteFile:
    """The state of one site, and its lock. Only the holder of the lock may change it.

    A run that holds the lock reads the file once, and keeps the state in hand (`state`). A change counts once
    it is on disk. The next change overwrites whatever others write to the file meanwhile. Processes without
    the lock call `load`.
    """

    def __init__(self, state_dir: Path, domain: str) -> None:
        name = file_name(domain)
        self._home = state_dir / "sites"
        self._path = self._home / f"{name}.json"
        self._order_key = self._home / f"{name}.order.key"
        self._pair = self._home / f"{name}.pair"
        self._lock = self._home / f"{name}.lock"
        self._state: SiteState | None = None
        # The log of the last attempt; until the run has ended it has the second name.
        self.attempt_path = self._home / f"{name}.log"
        self.unfinished_path = self._home / f"{name}.log.unfinished"

    def load(self) -> SiteState:
        """Return the state. If the file makes no sense, the state is empty, with `is_lost`.

        Raises:
            StoreError: the file is there, but cannot be read.
        """
        return self._load()[0]

    def _load(self) -> tuple[SiteState, set[str]]:
        """Return the state and the names of the fields in its file."""
        try:
            fields = saved.load(self._path, dict[str, Any]) or {}
            return SiteState.of_saved(dict(fields)), set(fields)
        except ValueError as exc:
            logger.warning("state.unreadable file=%s error=%s", self._path, type(exc).__name__)
            return SiteState(is_lost=True), set()

    @property
    def state(self) -> SiteState:
        """The state in hand: as it was read first, or as we last wrote it. Raises like `load`."""
        if self._state is None:
            self._state = self.load()
        return self._state

    def change(self, **changed: Any) -> SiteState:
        """Write these fields, keep the new state in hand and return it; on disk when this returns.

        Raises:
            StoreError: it could not be written.
        """
        before = self.state
        after = replace(before, **{**changed, "is_lost": False})
        if after != before:
            if before.is_lost:
                self._set_aside()
            # If the write fails the disk has either state: the next use reads it again.
            self._state = None
            saved.write(self._path, dump(after.to_saved(), indent=1))
        self._state = after
        return after

    def put(self, field: str, name: str, value: object) -> SiteState:
        """Write one entry of a field that is a mapping, or remove it (None), and return the new state."""
        others = {each: kept for each, kept in getattr(self.state, field).items() if each != name}
        return self.change(**{field: others if value is None else others | {name: value}})

    def tidy(self) -> None:
        """Read the state, set a file aside that makes no sense, and remove what a killed run has left.

        Of a file of a newer version, the known fields are read, and a copy is kept. Hold the lock. What
        cannot be done now is left to the next time.
        """
        with suppress(OSError, StoreError):
            state, fields = self._load()
            self._state = state
            if state.is_lost:
                self._set_aside()
                self._state = SiteState()
            elif fields - state.to_saved().keys():
                kept = self._path.with_suffix(".json.newer")
                saved.write(kept, files.read_if_there(self._path) or b"")
                logger.warning("state.newer file=%s kept=%s", self._path, kept)
            if not state.in_flight and os.path.lexists(self._order_key):
                self._order_key.unlink()  # of an order that was dropped, or whose URL is lost

    def probe_writable(self) -> None:
        """Check that an order can be kept, before one is placed.

        Raises:
            StoreError: there is no room, or no right.
        """
        with files.store_errors(self._path):
            files.make_dir(self._home, 0o700)
            files.probe(self._path)

    @property
    def holder(self) -> Holder | None:
        """The process that works on the site and so holds its lock; None if there is none."""
        return holder(self._lock)

    def locked(self, clock: Clock, timeout_s: float) -> Lock:
        """Return the site's lock, to be entered. Raises StoreError for a link in place of its folder."""
        files.refuse_unless_directory(self._home)
        return SignedLock(self._lock, clock, timeout_s, guards=(self._path, self._order_key, self._pair))

    def _set_aside(self) -> None:
        kept = self._path.with_suffix(".json.unreadable")
        with files.store_errors(self._path), suppress(FileNotFoundError):
            self._path.replace(kept)
        logger.warning("state.set_aside file=%s to=%s", self._path, kept)

    def last_attempt(self) -> tuple[list[str], bool]:
        """Return the lines of the last attempt, none if none is kept, and whether it has ended.

        Raises:
            StoreError: it cannot be read.
        """
        unfinished = files.read_if_there(self.unfinished_path)
        raw = files.read_if_there(self.attempt_path) if unfinished is None else unfinished
        return (raw or b"").decode("utf-8", "replace").splitlines(), unfinished is None

    def note_generation(self, name: str, digest: str) -> None:
        """Keep the digest of a generation that is about to be published."""
        self.put("generations", name, digest)

    # The journal of TXT records: those that we have made, or are about to make.

    def note(self, txt: TxtValue) -> None:
        """Write an entry, or the id into one that is there; on disk when this returns."""
        self.change(txt=(*self._others(txt), txt))

    def forget(self, txt: TxtValue) -> None:
        """Remove an entry."""
        self.change(txt=self._others(txt))

    def _others(self, txt: TxtValue) -> tuple[TxtValue, ...]:
        return tuple(e for e in self.state.txt if (e.fqdn, e.value) != (txt.fqdn, txt.value))

    # The order in flight and the pair last issued.

    def order_key(self) -> bytes | None:
        """Return the certificate key of the orders in flight, PEM; None if there is none yet."""
        return files.read_if_there(self._order_key)

    def save_order_key(self, pem: bytes) -> None:
        """Keep the certificate key until an order has given its certificate."""
        saved.write(self._order_key, pem)

    def begin_order(self, order: OrderInFlight, beside: Collection[str] = ()) -> None:
        """Keep an order that was placed, and of those in flight only what is at the CAs `beside`."""
        self.drop_order(beside)
        if self.state.order is None:
            self.change(order=order)
        else:
            self.put("orders", order.directory, order)

    def drop_order(self, beside: Collection[str] = ()) -> None:
        """Forget the orders in flight, but for those at the CAs `beside`, and their key if none is left."""
        kept = [each for each in self.state.in_flight if each.directory in beside]
        others = {each.directory: each for each in kept[1:]}
        self.change(order=kept[0] if kept else None, orders=others)
        if not kept:
            with files.store_errors(self._order_key):
                self._order_key.unlink(missing_ok=True)

    def save_pair(self, pair: SavedPair) -> None:
        """Keep a copy of a pair that is about to be published. The second line of the file is its digest."""
        data = dump(pair)
        saved.write(self._pair, data + b"\n" + _digest(data) + b"\n")

    def saved_pair(self) -> SavedPair:
        """Return the pair last issued.

        Raises:
            StoreError: it cannot be read; one that makes no sense is set aside.
        """
        raw = files.read_if_there(self._pair)
        if raw is None:
            raise StoreError(Text("the copy {!r} is missing", str(self._pair)))
        data, _, told = raw.partition(b"\n")
        try:
            pair = of_json(SavedPair, data)
        except ValueError:
            pair = None
        # A certificate with a flipped bit in its signature looks as good as ever.
        if pair is None or told.strip() not in (b"", _digest(data)):
            self.set_pair_aside()
            raise StoreError(Text("the copy {!r} is damaged, and was moved aside", str(self._pair)))
        return pair

    def set_pair_aside(self) -> None:
        """Rename a copy that cannot be used."""
        with files.store_errors(self._pair), suppress(FileNotFoundError):
            self._pair.replace(self._pair.with_suffix(".pair.unusable"))

    @property
    def has_pair(self) -> bool:
        """Whether there is a copy to restore from; not where this user may not look."""
        return os.path.exists(self._pair)  # `Path.exists` raises where a folder is closed to us

    def copy(self) -> SavedPair | None:
        """Return the copy, None if there is none that makes sense; changes nothing."""
        with suppress(StoreError, ValueError):
            data = (files.read_if_there(self._pair) or b"").partition(b"\n")[0]
            return of_json(SavedPair, data)
        return None


class Accounts:
    """The account at one CA: its key and URL."""

    def __init__(self, state_dir: Path, directory: str) -> None:
        host = re.sub(r"[^a-z0-9.-]", "_", urlsplit(directory).hostname or "ca")
        # One host may serve several directories, each with accounts of its own.
        self._home = state_dir / "accounts" / f"{host}-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
        self._key = self._home / "key.pem"
        self._url = self._home / "account.json"

    @property
    def is_known(self) -> bool:
        """Whether there is an account, as far as this user may see."""
        with suppress(ValueError, StoreError):
            return bool((saved.load(self._url, dict[str, str]) or {}).get("url", ""))
        return os.path.lexists(self._url)

    def locked(self, clock: Clock, timeout_s: float) -> Lock:
        """Return the lock that keeps two runs from making two accounts. Raises StoreError for links."""
        for folder in (self._home.parent, self._home):
            files.refuse_unless_directory(folder)
        return Lock(self._home / "lock", clock, timeout_s, guards=(self._key, self._url))

    def load(self) -> tuple[bytes | None, str]:
        """Return the account key (PEM) and the account URL; None and empty if there is none yet."""
        key = files.read_if_there(self._key)
        with suppress(ValueError, StoreError):
            return key, (saved.load(self._url, dict[str, str]) or {}).get("url", "")
        return key, ""

    def save_key(self, pem: bytes) -> None:
        """Keep the account key before the CA gets to know it. The key before it is kept as `key.pem.old`.

        Killed in between, there is the one key or the other. To do it again changes nothing.
        """
        before = files.read_if_there(self._key)
        with files.store_errors(self._key):
            if before not in (None, pem):
                files.replace(self._key.with_suffix(".pem.old"), before, 0o600)
            files.replace(self._key, pem, 0o600)

    def save_url(self, url: str) -> None:
        """Keep the account URL; empty forgets it."""
        saved.save(self._url, {"url": url})


def known_sites(state_dir: Path) -> list[str]:
    """Return the domains that have a state, and the wildcards that sites share."""
    return sorted(domain_of(path.name.removesuffix(".json")) for path in (state_dir / "sites").glob("*.json"))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
