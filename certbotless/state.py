"""What a run leaves for the next one, in `state_dir`: site states, accounts, locks, ledger, events.

    daemon.lock, ledger.lock, ledger.jsonl, events.jsonl
    accounts/<ca>/   key.pem, account.json, lock
    sites/           <domain>.json, .lock; .order.key (order in flight); .pair (the pair last issued);
                     .log (the last attempt)

Everything here can be lost: the world and the generations in certs_dir say the rest again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from . import files
from .challenge import TxtValue
from .clock import Clock, Pace, is_believable
from .errors import AlreadyRunning, StoreError
from .leaf import parse_rfc3339, rfc3339
from .ledger import UNREADABLE, Entry, settled
from .store import generations

logger = logging.getLogger(__name__)

# To look at a lock: a pipe in its place must not keep us.
_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
# The longest wait is for our own limit on orders, 7 days.
_LONGEST_WAIT = timedelta(days=8)
# A ledger of 50,000 rows: a hundred times what 90 days of 500 sites leave.
_MAX_BYTES = 16 << 20
# About 5,000 events; then the file starts anew, with the old one beside it.
_EVENTS_MAX_BYTES = 1 << 20


class _Saved(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Failure(_Saved):
    """The last attempt at something did not succeed; times are aware UTC.

    `is_waiting`: no error, something else must come first. `limited_until`: the moment that a CA named which
    counts our requests; None where none did. Until then it is of no use to ask, whoever wants it.
    """

    at: AwareDatetime
    what: str
    hint: str
    retry_at: AwareDatetime
    count: int
    is_waiting: bool = False
    limited_until: AwareDatetime | None = None

    @field_validator("retry_at", "limited_until")
    @classmethod
    def _not_for_ever(cls, value: datetime | None, info: ValidationInfo) -> datetime | None:
        """A damaged file must not keep anything from being tried again."""
        if value is None:
            return None
        at: datetime = info.data.get("at", value)
        return at + _LONGEST_WAIT if value - at > _LONGEST_WAIT else value

    def blocks_at(self, now: datetime) -> bool:
        """Whether it is too early to try again. What failed in the future blocks nothing."""
        return now < self.retry_at and is_believable(self.at, now)


class WrittenRecord(_Saved):
    """The A record that we last wrote at a name, and whether the authoritative servers have shown it."""

    value: str
    ttl_s: int
    at: AwareDatetime
    is_seen: bool = False


class OrderInFlight(_Saved):
    """An order that may yet give its certificate."""

    url: str
    directory: str
    names: tuple[str, ...]
    key_type: str = "ec256"


class SavedPair(_Saved):
    """The pair last issued, PEM, and where it came from (store.Origin)."""

    chain: str
    key: str = Field(repr=False)
    directory: str
    account: str
    key_type: str
    issued_at: AwareDatetime


class RenewalInfo(_Saved):
    """What the CA suggests for the leaf with this SHA-256, the moment drawn in it, and the next look."""

    sha256: str
    next_look: AwareDatetime
    start: AwareDatetime | None = None
    end: AwareDatetime | None = None
    moment: AwareDatetime | None = None


class Txt(_Saved):
    """A TXT record of ours; the id is empty until the service told it."""

    fqdn: str
    value: str
    zone: str
    record_id: str = ""


class Restarting(_Saved):
    """A restart of ours that may be unfinished: of which container, and when it had started before."""

    id: str
    started_at: AwareDatetime


class Trial(_Saved):
    """A generation that no handshake has shown yet, the one before it, and since when it is on trial."""

    generation: str
    previous: str
    at: AwareDatetime


class Acted(_Saved):
    """How often a container, or a command, was acted upon for the leaf with this SHA-256."""

    sha256: str
    count: int


class SiteState(_Saved):
    """All that is remembered of one site.

    Attributes:
        records: what we last wrote, by name; `our_values` is all that we wrote there lately.
        alias_zones: the zone of each name that a challenge name is an alias of.
        ports: the port that each container publishes, where the file names none.
        matched: the names of the containers with each label.
        deploy_by: when the certificate that was replaced last must be out of use.
        restored: when what another program had written in place of our files was replaced, in the last day.
        is_lost: there is a file, but it makes no sense; all else is empty then.
    """

    zone: str = ""
    alias_zones: dict[str, str] = {}
    digest: str = ""
    records: dict[str, WrittenRecord] = {}
    our_values: dict[str, tuple[str, ...]] = {}
    order: OrderInFlight | None = None
    renewal: RenewalInfo | None = None
    txt: tuple[Txt, ...] = ()
    ports: dict[str, int] = {}
    matched: dict[str, tuple[str, ...]] = {}
    acted: dict[str, Acted] = {}
    deploy_by: AwareDatetime | None = None
    trial: Trial | None = None
    restarting: dict[str, Restarting] = {}
    failures: dict[str, Failure] = {}
    restored: tuple[AwareDatetime, ...] = ()
    is_lost: bool = Field(default=False, exclude=True)


class SiteFile:
    """The state of one site, and its lock. Only the holder of the lock may change it."""

    def __init__(self, state_dir: Path, domain: str) -> None:
        self._home = state_dir / "sites"
        self._path = self._home / f"{domain}.json"
        self._order_key = self._home / f"{domain}.order.key"
        self._pair = self._home / f"{domain}.pair"
        self._lock = self._home / f"{domain}.lock"
        # Where the last attempt is told (transcript).
        self.attempt_path = self._home / f"{domain}.log"

    def load(self) -> SiteState:
        """Return the state; one that makes no sense counts as empty, and is lost until `tidy` or a change.

        Raises:
            StoreError: it is there, but cannot be read.
        """
        raw = _read_if_there(self._path)
        try:
            return SiteState() if raw is None else SiteState.model_validate_json(raw)
        except (ValidationError, OverflowError) as exc:
            logger.warning("state.unreadable file=%s error=%s", self._path, type(exc).__name__)
            return SiteState(is_lost=True)

    def change(self, **fields: Any) -> SiteState:
        """Write these fields and return the new state; on disk when this returns."""
        before = self.load()
        after = before.model_copy(update={**fields, "is_lost": False})
        if after != before:
            if before.is_lost:
                with files.store_errors(self._path):
                    self._set_aside()
            self._write(self._path, after.model_dump_json(indent=1).encode())
        return after

    def _write(self, path: Path, data: bytes) -> None:
        with files.store_errors(path):
            files.make_dir(self._home, 0o700)
            files.replace(path, data, 0o600)

    def tidy(self) -> None:
        """Set aside a state that makes no sense, and remove what a run that was killed has left.

        What a newer version wrote is read as far as we know it, and kept as it is before we write over it.
        Hold the lock. What cannot be done now is left to the next time.
        """
        with suppress(OSError, StoreError):
            state, raw = self.load(), _read_if_there(self._path)
            if state.is_lost:
                self._set_aside()
            elif raw is not None and json.loads(raw).keys() - SiteState.model_fields.keys():
                kept = self._path.with_suffix(".json.newer")
                files.replace(kept, raw, 0o600)
                logger.warning("state.newer file=%s kept=%s", self._path, kept)
            if state.order is None and os.path.lexists(self._order_key):
                self._order_key.unlink()  # of an order that was dropped, or whose URL is lost

    def probe_writable(self) -> None:
        """Look whether an order can be kept, before one is placed.

        Raises:
            StoreError: there is no room, or no right.
        """
        with files.store_errors(self._path):
            files.make_dir(self._home, 0o700)
            files.probe(self._path)

    @property
    def is_locked(self) -> bool:
        """Whether a run is at work on the site."""
        try:
            fd = os.open(self._lock, _LOOK)
        except OSError:
            return False
        try:
            return not _try_flock(fd, fcntl.LOCK_SH)
        finally:
            os.close(fd)

    def locked(self, clock: Clock, timeout_s: float) -> _Lock:
        """Return the site's lock, to be entered."""
        return _Lock(self._lock, clock, timeout_s, guards=(self._path, self._order_key, self._pair))

    def _set_aside(self) -> None:
        kept = self._path.with_suffix(".json.unreadable")
        self._path.replace(kept)
        logger.warning("state.set_aside file=%s to=%s", self._path, kept)

    def last_attempt(self) -> list[str]:
        """Return the lines of the last attempt, none where none is kept. Raises StoreError."""
        return (_read_if_there(self.attempt_path) or b"").decode("utf-8", "replace").splitlines()

    # The journal of TXT records (challenge.Journal).

    def entries(self) -> list[tuple[TxtValue, str]]:
        return [(TxtValue(t.fqdn, t.value, t.zone), t.record_id) for t in self.load().txt]

    def note(self, txt: TxtValue, record_id: str) -> None:
        others = _without(self.load().txt, txt)
        entry = Txt(fqdn=txt.fqdn, value=txt.value, zone=txt.zone, record_id=record_id)
        self.change(txt=(*others, entry))

    def forget(self, txt: TxtValue) -> None:
        self.change(txt=_without(self.load().txt, txt))

    # The order in flight and the pair last issued.

    def order_key(self) -> bytes | None:
        """Return the certificate key of the order in flight, PEM; None where there is none yet."""
        return _read_if_there(self._order_key)

    def save_order_key(self, pem: bytes) -> None:
        """Keep the certificate key until the order has given its certificate."""
        self._write(self._order_key, pem)

    def drop_order(self) -> None:
        """Forget the order in flight and its key."""
        self.change(order=None)
        with files.store_errors(self._order_key):
            self._order_key.unlink(missing_ok=True)

    def save_pair(self, pair: SavedPair) -> None:
        """Keep a copy of what is about to be published, to restore it from; its digest is a second line."""
        data = pair.model_dump_json().encode()
        self._write(self._pair, data + b"\n" + _digest(data) + b"\n")

    def saved_pair(self) -> SavedPair:
        """Return the pair last issued.

        Raises:
            StoreError: it cannot be read; one that makes no sense is set aside.
        """
        raw = _read_if_there(self._pair)
        if raw is None:
            raise StoreError(f"the copy {str(self._pair)!r} is gone")
        data, _, told = raw.partition(b"\n")
        try:
            pair = SavedPair.model_validate_json(data)
        except (ValidationError, OverflowError):
            pair = None
        # A certificate with a flipped bit in its signature looks as good as ever.
        if pair is None or told.strip() not in (b"", _digest(data)):
            self.set_pair_aside()
            raise StoreError(f"the copy {str(self._pair)!r} makes no sense, and was set aside")
        return pair

    def set_pair_aside(self) -> None:
        """Keep a copy that cannot be used out of the way."""
        with files.store_errors(self._pair), suppress(FileNotFoundError):
            self._pair.replace(self._pair.with_suffix(".pair.unusable"))

    @property
    def has_pair(self) -> bool:
        """Whether there is a copy to restore from."""
        return self._pair.exists()


class Accounts:
    """The account at one CA: its key and URL."""

    def __init__(self, state_dir: Path, directory: str) -> None:
        host = re.sub(r"[^a-z0-9.-]", "_", urlsplit(directory).hostname or "ca")
        # One host may serve several directories, each with accounts of its own.
        self._home = state_dir / "accounts" / f"{host}-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
        self._key = self._home / "key.pem"
        self._url = self._home / "account.json"

    def locked(self, clock: Clock, timeout_s: float) -> _Lock:
        """Return the lock that keeps two runs from making two accounts."""
        return _Lock(self._home / "lock", clock, timeout_s, guards=(self._key, self._url))

    def load(self) -> tuple[bytes | None, str]:
        """Return the account key (PEM) and the account URL; None and empty where there is none yet."""
        key = _read_if_there(self._key)
        try:
            url = json.loads(files.read(self._url))["url"]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return key, ""
        return key, url if isinstance(url, str) else ""

    def save_key(self, pem: bytes) -> None:
        """Keep the account key, before the CA learns of it, and the one before beside it."""
        with files.store_errors(self._key):
            with suppress(FileNotFoundError):
                self._key.replace(self._key.with_suffix(".pem.old"))
            files.replace(self._key, pem, 0o600)

    def save_url(self, url: str) -> None:
        """Keep the account URL, or forget it when empty."""
        with files.store_errors(self._url):
            files.replace(self._url, json.dumps({"url": url}).encode(), 0o600)


class LedgerFile:
    """The rows of `ledger.jsonl`, and the lock around count-and-reserve.

    Args:
        certs_dirs: where the generations are that stand in for a ledger that is lost.
    """

    def __init__(self, state_dir: Path, certs_dirs: Iterable[Path] = ()) -> None:
        self._path = state_dir / "ledger.jsonl"
        self._lock = state_dir / "ledger.lock"
        self._certs_dirs = tuple(certs_dirs)

    def locked(self, clock: Clock, timeout_s: float) -> _Lock:
        """Return the lock, to be entered."""
        return _Lock(self._lock, clock, timeout_s, guards=(self._path,))

    def entries(self) -> list[Entry]:
        """Return every row, `UNREADABLE` for what is none; a lost ledger's as far as generations tell of it.

        Raises:
            StoreError: the file is there, but cannot be read.
        """
        return [Entry.from_line(line) for line in self._lines()] or _past_orders(self._certs_dirs)

    def settle(self, now: datetime) -> list[Entry]:
        """Settle the rows (ledger.settled), in the file too, and return them. Hold the lock.

        Lines that cannot be read are kept aside.
        """
        lines = self._lines()
        found = [Entry.from_line(line) for line in lines]
        rows = settled(found or _past_orders(self._certs_dirs), now)
        if rows == found:
            return rows
        with files.store_errors(self._path):
            files.make_dir(self._path.parent, 0o700)
            if unreadable := [line for line, row in zip(lines, found, strict=True) if row == UNREADABLE]:
                aside = self._path.with_suffix(".jsonl.unreadable")
                files.append(aside, b"\n".join(unreadable) + b"\n", 0o600)
                logger.warning("ledger.unreadable rows=%d kept_in=%s", len(unreadable), aside)
            if not found:
                logger.warning("ledger.rebuilt file=%s rows=%d", self._path, len(rows))
            self._write(rows)
        return rows

    def append(self, entry: Entry) -> None:
        """Write a row; on disk when this returns."""
        with files.store_errors(self._path):
            files.make_dir(self._path.parent, 0o700)
            # A line cut off by a full disk or a power cut must not swallow this one.
            start = b"" if _ends_in_newline(self._path) else b"\n"
            files.append(self._path, start + entry.to_line(), 0o600)

    def remove(self, entry: Entry) -> None:
        """Take out the newest row that says this, whatever time it has by now. Hold the lock."""
        rows = self.entries()
        like = [row for row in rows if replace(row, at=entry.at) == entry]
        if like:
            rows.remove(like[-1])
            with files.store_errors(self._path):
                self._write(rows)

    def _lines(self) -> list[bytes]:
        return [line for line in (_read_if_there(self._path) or b"").split(b"\n") if line]

    def _write(self, rows: Iterable[Entry]) -> None:
        files.replace(self._path, b"".join(entry.to_line() for entry in rows), 0o600)


def _past_orders(certs_dirs: Iterable[Path]) -> list[Entry]:
    """Return what the generations tell of past orders: one a certificate, which may have been restored."""
    found = {}
    for generation in generations(certs_dirs):
        facts, origin = generation.facts, generation.origin
        if facts is None or origin is None:
            found[generation.name] = replace(UNREADABLE, at=generation.made)
        else:
            found[facts.sha256] = Entry(origin.issued_at, "order", origin.directory, facts.names)
    return sorted(found.values(), key=lambda entry: entry.at)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that changed; `at` is aware UTC."""

    at: datetime
    event: str
    text: str


class Events:
    """The story of what changed, one JSON object a line."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "events.jsonl"
        self._old = self._path.with_suffix(".jsonl.old")

    def last(self, site: str, count: int) -> list[Event]:
        """Return the newest events of a site, oldest first. Raises StoreError where they cannot be read."""
        found: list[Event] = []
        for path in (self._old, self._path):
            for line in (_read_if_there(path) or b"").decode("utf-8", "replace").splitlines():
                try:
                    row = json.loads(line)
                    if row["site"] == site:
                        found.append(Event(parse_rfc3339(row["at"]), str(row["event"]), str(row["text"])))
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # cut off by a full disk: the story goes on
        return found[-count:]

    def append(self, at: datetime, site: str, event: str, text: str) -> None:
        """Write one event. The story is no fact: what keeps it from being told is only logged."""
        row = {"at": rfc3339(at), "site": site, "event": event, "text": text}
        try:
            files.make_dir(self._path.parent, 0o700)
            if self._path.exists() and self._path.stat().st_size > _EVENTS_MAX_BYTES:
                self._path.replace(self._old)
            files.append(self._path, json.dumps(row).encode() + b"\n", 0o600)
        except OSError as exc:
            logger.warning("events.not_written file=%s error=%s", self._path, exc.strerror)


class _Lock:
    """An flock on a file; the kernel releases it when its holder ends, however it ends.

    Waiting polls, because flock(2) itself would not notice that we are asked to stop. Who has got it removes
    what writers of the files that it guards have left where they were killed.
    """

    def __init__(self, path: Path, clock: Clock, timeout_s: float, *, guards: Sequence[Path] = ()) -> None:
        self._path = path
        self._guards = guards
        self._clock = clock
        self._timeout_s = timeout_s
        self._fd = -1
        self.was_waited_for = False

    def __enter__(self) -> Self:
        with files.store_errors(self._path):
            files.make_dir(self._path.parent, 0o700)
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            pace = Pace(self._clock, self._timeout_s, first_s=0.02, most_s=1)
            while not _try_flock(self._fd, fcntl.LOCK_EX):
                if not self.was_waited_for:
                    logger.debug("lock.waiting file=%s", self._path)
                self.was_waited_for = True
                if pace.expired:
                    raise StoreError(
                        f"{str(self._path)!r} is still locked after {self._timeout_s:.0f} s",
                        hint="another certbotless is at work on it; try again later",
                    )
                pace.wait()
        except BaseException:
            os.close(self._fd)
            raise
        files.sweep(self._path.parent, {path.name for path in self._guards})
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)


class ActionLock(_Lock):
    """The lock around an action on one container or command, which several sites may share.

    Args:
        action_id: hexadecimal, such as the container's id.

    It remembers when the last action began, so that who waited for it knows what it was good for.
    """

    def __init__(self, state_dir: Path, action_id: str, clock: Clock, timeout_s: float) -> None:
        super().__init__(state_dir / "containers" / f"{action_id}.lock", clock, timeout_s)

    def last_action(self) -> datetime | None:
        """Return when the last action began; None if there was none. Hold the lock."""
        try:
            return parse_rfc3339(os.pread(self._fd, 40, 0).decode())
        except ValueError:
            return None

    def note_action(self) -> None:
        """Write down that an action begins now. Hold the lock."""
        with files.store_errors(self._path):
            os.pwrite(self._fd, self._clock.now().isoformat(timespec="microseconds").encode(), 0)


@contextmanager
def daemon_lock(state_dir: Path, clock: Clock) -> Iterator[None]:
    """Hold `daemon.lock`, with our pid in it, for the daemon's life.

    Raises:
        AlreadyRunning: another daemon has it; its pid is named.
    """
    path = state_dir / "daemon.lock"
    with files.store_errors(path):
        files.make_dir(state_dir, 0o700)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        # `running_daemon` holds the lock for an instant, so one refusal proves nothing.
        pace = Pace(clock, 1, first_s=0.05, most_s=0.2)
        while not _try_flock(fd, fcntl.LOCK_EX):
            if pace.expired:
                pid = _pid_in(fd)
                raise AlreadyRunning(
                    f"another certbotless daemon is running with pid {pid} on {str(state_dir)!r}",
                    hint="stop it first, or give this one a state_dir of its own",
                )
            pace.wait()
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(fd)


def running_daemon(state_dir: Path) -> int | None:
    """Return the pid of the daemon that runs on this state directory, or None."""
    try:
        fd = os.open(state_dir / "daemon.lock", _LOOK)
    except OSError:
        return None
    try:
        return None if _try_flock(fd, fcntl.LOCK_SH) else _pid_in(fd)
    finally:
        os.close(fd)


def known_sites(state_dir: Path) -> list[str]:
    """Return the domains that have a state."""
    return sorted(path.name.removesuffix(".json") for path in (state_dir / "sites").glob("*.json"))


def _try_flock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError as exc:
        if exc.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _pid_in(fd: int) -> int:
    text = os.pread(fd, 20, 0).strip()
    return int(text) if text.isdigit() else 0


def _read_if_there(path: Path) -> bytes | None:
    with files.store_errors(path, "read"), suppress(FileNotFoundError):
        return files.read(path, _MAX_BYTES)
    return None


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def _without(entries: tuple[Txt, ...], txt: TxtValue) -> tuple[Txt, ...]:
    return tuple(e for e in entries if (e.fqdn, e.value) != (txt.fqdn, txt.value))


def _ends_in_newline(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            if file.seek(0, os.SEEK_END) == 0:
                return True
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
    except FileNotFoundError:
        return True
