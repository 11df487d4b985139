"""The ledger on disk: its rows, what replaces a lost one, and the lock around count-and-reserve."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from ..base import files, saved
from ..base.clock import Clock
from ..base.errors import StoreError
from ..base.locks import Lock
from ..model.ledger import UNREADABLE, Entry, Ledger, settled, with_old_failures
from .pair import generations

logger = logging.getLogger(__name__)


class LedgerFile:
    """The rows of `ledger.jsonl`, and the lock around count-and-reserve.

    Args:
        certs_dirs: the folders of the generations that replace a lost ledger.
    """

    def __init__(self, state_dir: Path, certs_dirs: Iterable[Path] = ()) -> None:
        self._path = state_dir / "ledger.jsonl"
        self._lock = state_dir / "ledger.lock"
        self._certs_dirs = tuple(certs_dirs)

    def locked(self, clock: Clock, timeout_s: float) -> Lock:
        """Return the lock, to be entered."""
        return Lock(self._lock, clock, timeout_s, guards=(self._path,))

    def entries(self) -> list[Entry]:
        """Return every row, `UNREADABLE` for a line that is none; without any row, the orders of generations.

        Raises:
            StoreError: the file is there, but cannot be read.
        """
        return self._whole(map(Entry.from_line, self._lines()))

    def seen(self) -> Ledger:
        """Return the `entries`, or the error if they cannot be read: then only orders must wait."""
        try:
            return self.entries()
        except StoreError as exc:
            return exc.with_traceback(None)

    def settle(self, now: datetime, how: Callable[[Sequence[Entry]], list[Entry]] = list) -> list[Entry]:
        """Settle the rows (ledger.settled), change them by `how`, and return what the file has then.

        All of it is one step. Lines that cannot be read are kept aside. Hold the lock.
        """
        lines = self._lines()
        found = [Entry.from_line(line) for line in lines]
        rows = settled(self._whole(found), now)
        changed = how(rows)
        if changed == found:
            return changed
        if unreadable := [line for line, row in zip(lines, found, strict=True) if row == UNREADABLE]:
            aside = self._path.with_suffix(".jsonl.unreadable")
            self._append(aside, b"\n".join(unreadable) + b"\n")
            logger.warning("ledger.unreadable rows=%d kept_in=%s", len(unreadable), aside)
        if rows and not found:
            logger.warning("ledger.rebuilt file=%s rows=%d", self._path, len(rows))
        self._write(changed)
        return changed

    def append(self, entry: Entry) -> None:
        """Write a row; on disk when this returns."""
        # A line that a full disk or a power cut has cut off must not swallow this one.
        is_cut_off = not (files.read_if_there(self._path) or b"\n").endswith(b"\n")
        self._append(self._path, b"\n" * is_cut_off + entry.to_line())

    def remove(self, entry: Entry) -> None:
        """Remove the newest row like this one, whatever time it has by now. Hold the lock."""
        rows = self.entries()
        like = [row for row in rows if replace(row, at=entry.at) == entry]
        if like:
            rows.remove(like[-1])
            self._write(rows)

    def _lines(self) -> list[bytes]:
        return [line for line in (files.read_if_there(self._path) or b"").split(b"\n") if line]

    def _whole(self, rows: Iterable[Entry]) -> list[Entry]:
        """Return the rows of the file, or what replaces them if they are lost."""
        return with_old_failures(rows) or _past_orders(self._certs_dirs)

    def _append(self, path: Path, lines: bytes) -> None:
        with files.store_errors(path):
            files.make_dir(path.parent, 0o700)
            files.append(path, lines, 0o600)

    def _write(self, rows: Iterable[Entry]) -> None:
        saved.write(self._path, b"".join(entry.to_line() for entry in rows))


def _past_orders(certs_dirs: Iterable[Path]) -> list[Entry]:
    """Return the orders of the generations: one for each certificate, which may have been published twice."""
    found = {}
    for made, name, told in generations(certs_dirs):
        facts, origin = told.facts, told.origin
        if facts is None or origin is None:
            found[name] = replace(UNREADABLE, at=made)
        else:
            found[facts.sha256] = Entry(
                origin.issued_at,
                "order",
                origin.directory,
                facts.names,
                outcome="issued",
                lifetime_s=int(facts.lifetime.total_seconds()),
            )
    return sorted(found.values(), key=lambda entry: entry.at)
