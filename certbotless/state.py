"""What a run leaves for the next one, in `state_dir`: the state of each site, and the accounts.

    daemon.lock, daemon.json, ledger.lock, ledger.jsonl, events.jsonl, notify.lock, notify.json
    accounts/<ca>/   key.pem, account.json, lock
    sites/           <domain>.json, .lock; .order.key (order in flight); .pair (the pair last issued);
                     .log (the last attempt)

Everything here can be lost: the world and the generations in certs_dir say the rest again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from . import files, saved
from .clock import Clock, is_believable
from .errors import StoreError
from .leaf import LeafFacts
from .locks import Holder, Lock, SiteLock, holder
from .model import Model, after
from .store import Origin
from .times import BoundedMoment, rfc3339

logger = logging.getLogger(__name__)

# In a file: a damaged one must not lead a sum or a power out of what a machine can count.
Count = Annotated[int, after(lambda count: min(max(count, 0), 1_000_000))]
# The longest wait is for our own limit on orders, 7 days.
_LONGEST_WAIT = timedelta(days=8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure(Model):
    """The last attempt at something did not succeed; times are aware UTC.

    `is_waiting`: no error, something else must come first. `limited_until`: the moment that a CA named which
    counts our requests; None where none did. Until then it is of no use to ask, whoever wants it.
    `is_of_secret`: another secret may cure it. `address`: the one that could not be written, which keeps no
    other one from being written; empty for another failure.
    """

    at: BoundedMoment
    what: str
    hint: str
    retry_at: BoundedMoment
    count: Count
    is_waiting: bool = False
    limited_until: BoundedMoment | None = None
    is_of_secret: bool = False
    address: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the object that `status --json` has of it."""
        at, retry_at = rfc3339(self.at), rfc3339(self.retry_at)
        return {"at": at, "what": self.what, "hint": self.hint, "retry_at": retry_at}

    @property
    def advice(self) -> str:
        """What happened, and what to do now."""
        return f"{self.what}; {self.hint}" if self.hint else self.what

    def __post_init__(self) -> None:
        # A damaged file must not keep anything from being tried again.
        last = self.at + _LONGEST_WAIT
        object.__setattr__(self, "retry_at", min(self.retry_at, last))
        if self.limited_until is not None:
            object.__setattr__(self, "limited_until", min(self.limited_until, last))

    def blocks_at(self, now: datetime) -> bool:
        """Whether it is too early to try again. What failed in the future blocks nothing."""
        return now < self.retry_at and is_believable(self.at, now)


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenRecord(Model):
    """The record that we last wrote at a name, and whether the authoritative servers have shown it."""

    value: str
    ttl_s: Count
    at: BoundedMoment
    is_seen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten(Model):
    """When a value that the name servers had shown was written again after a change that we did not make."""

    value: str
    at: tuple[BoundedMoment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed(Model):
    """What the API listed of one name, by type (A, AAAA): enabled, of the default line; and when."""

    at: BoundedMoment
    values: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderInFlight(Model):
    """An order that may yet give its certificate."""

    url: str
    directory: str
    names: tuple[str, ...]
    key_type: str = "ec256"


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedPair(Model):
    """The pair last issued, PEM, where it came from (store.Origin), and when its certificate ends."""

    chain: str
    key: str = field(repr=False)
    directory: str
    account: str
    key_type: str
    issued_at: BoundedMoment
    not_after: BoundedMoment | None = None

    @classmethod
    def of(cls, chain: bytes, key: bytes, origin: Origin, not_after: datetime | None = None) -> SavedPair:
        """Return the copy of this pair, PEM."""
        return cls(chain=chain.decode(), key=key.decode(), not_after=not_after, **asdict(origin))

    @property
    def origin(self) -> Origin:
        """Where it came from."""
        return Origin(self.directory, self.account, self.key_type, self.issued_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Model):
    """The pair of another tool at our names that was not taken over, and why.

    `files` tells it from any other (store.Published.plain); `valid_until` is None for what is no pair for our
    names that is valid.
    """

    files: str
    why: str
    valid_until: BoundedMoment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalInfo(Model):
    """What the CA suggests for the leaf with this SHA-256, the moment drawn in it, and the next look."""

    sha256: str
    next_look: BoundedMoment
    start: BoundedMoment | None = None
    end: BoundedMoment | None = None
    moment: BoundedMoment | None = None

    def suggests(self, sha256: str, now: datetime) -> bool:
        """Whether the CA suggests to renew the leaf with this SHA-256 just now."""
        return self.sha256 == sha256 and bool(self.start and self.end and self.start <= now < self.end)


@dataclass(frozen=True, slots=True)
class TxtValue(Model):
    """A txt value (43 characters), the challenge name where the CA looks for it, and the zone of that.

    `record_id` is the DNS service's id of its record, empty until the service told it.
    """

    fqdn: str
    value: str
    zone: str
    record_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarting(Model):
    """A restart of ours that may be unfinished: of which container, and when it had started before."""

    id: str
    # Only compared; the engine's is in the year 1 for one that was never started.
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Model):
    """A generation that no handshake has shown yet, the one before it, and since when it is on trial."""

    generation: str
    previous: str
    at: BoundedMoment


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted(Model):
    """How often a container, or a command, was acted upon for the leaf with this SHA-256.

    `files_at` is when its files had been put where they were, None where an older version has not noted it.
    """

    sha256: str
    count: Count
    files_at: BoundedMoment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteState(Model):
    """All that is remembered of one site.

    Attributes:
        digest, file_digest: of the configuration that failures are of; the latter without its secrets.
        records: the A record that we last wrote, by name; `our_values` is all that we wrote there lately.
        records6, our_values6: the same of the AAAA record.
        rewritten: by type and name (``A devbox.example.com``), for the value that is wanted now.
        listed: what the API last listed of a name, for as long as no name server speaks for the zone.
        unseen_failures: how many validations have failed in a row whose value no name server had shown.
        alias_zones: the zone of each name that a challenge name is an alias of.
        ports: the port that each container publishes, where the file names none.
        bound: of each container that publishes a port at some addresses alone, these by port.
        matched: the names of the containers with each label.
        deploy_by: when the certificate that was replaced last must be out of use.
        foreign: what another tool has at our names, as it was judged when it was looked into last.
        restored: when what another program had written in place of our files was replaced, in the last day.
        generations: SHA-256 of the meta.json of each generation that may be the published one, by its name.
        unkept_mode: what was wrong with the mode of the key where the file system keeps none.
        is_lost: there is a file, but it makes no sense; all else is empty then.
    """

    zone: str = ""
    alias_zones: dict[str, str] = field(default_factory=dict)
    digest: str = ""
    file_digest: str = ""
    records: dict[str, WrittenRecord] = field(default_factory=dict)
    our_values: dict[str, tuple[str, ...]] = field(default_factory=dict)
    records6: dict[str, WrittenRecord] = field(default_factory=dict)
    our_values6: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rewritten: dict[str, Rewritten] = field(default_factory=dict)
    listed: dict[str, Listed] = field(default_factory=dict)
    unseen_failures: Count = 0
    order: OrderInFlight | None = None
    renewal: RenewalInfo | None = None
    txt: tuple[TxtValue, ...] = ()
    ports: dict[str, int] = field(default_factory=dict)
    bound: dict[str, dict[int, tuple[str, ...]]] = field(default_factory=dict)
    matched: dict[str, tuple[str, ...]] = field(default_factory=dict)
    acted: dict[str, Acted] = field(default_factory=dict)
    deploy_by: BoundedMoment | None = None
    trial: Trial | None = None
    restarting: dict[str, Restarting] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    restored: tuple[BoundedMoment, ...] = ()
    foreign: Foreign | None = None
    generations: dict[str, str] = field(default_factory=dict)
    unkept_mode: str = ""
    is_lost: bool = False

    @property
    def written(self) -> dict[str, dict[str, WrittenRecord]]:
        """The records that we last wrote, by type and name."""
        return {"A": self.records, "AAAA": self.records6}

    def suggests_renewal(self, facts: LeafFacts | None, now: datetime) -> bool:
        """Whether the CA suggests to renew this certificate just now."""
        return facts is not None and self.renewal is not None and self.renewal.suggests(facts.sha256, now)

    def under(self, digest: str, file_digest: str) -> SiteState:
        """Return what counts under a configuration with these digests; what failed under another does not.

        Where only a secret is another one, only that is forgotten which a secret can cure: a temporary key
        changes each hour, and cures neither a container nor the limit of a CA.
        """
        if self.digest == digest:
            return replace(self, file_digest=file_digest)
        if self.file_digest == file_digest:
            failures = {key: failure for key, failure in self.failures.items() if not failure.is_of_secret}
            return replace(self, digest=digest, failures=failures)
        # What actions could not cure under the old one may be cured under this one.
        acted = {name: replace(done, count=0) for name, done in self.acted.items()}
        return replace(
            self,
            digest=digest,
            file_digest=file_digest,
            acted=acted,
            failures={},
            restored=(),
            rewritten={},
            foreign=None,
            unkept_mode="",
        )


# By type of record the fields of `SiteState` with what we last wrote, and with all that we wrote lately.
RECORD_FIELDS = {"A": ("records", "our_values"), "AAAA": ("records6", "our_values6")}


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
        try:
            return saved.load(self._path, SiteState) or SiteState()
        except ValueError as exc:
            logger.warning("state.unreadable file=%s error=%s", self._path, type(exc).__name__)
            return SiteState(is_lost=True)

    def change(self, **changed: Any) -> SiteState:
        """Write these fields and return the new state; on disk when this returns."""
        before = self.load()
        after = replace(before, **{**changed, "is_lost": False})
        if after != before:
            if before.is_lost:
                with files.store_errors(self._path):
                    self._set_aside()
            self._write(self._path, after.dump_json(indent=1, exclude={"is_lost"}))
        return after

    def put(self, field: str, name: str, value: object) -> SiteState:
        """Write one entry of a field that has them by name, None for none, and return the new state."""
        others = {each: kept for each, kept in getattr(self.load(), field).items() if each != name}
        return self.change(**{field: others if value is None else others | {name: value}})

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
            state, raw = self.load(), files.read_if_there(self._path)
            if state.is_lost:
                self._set_aside()
            elif raw is not None and json.loads(raw).keys() - state.to_dict().keys():
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
        return self.holder is not None

    @property
    def holder(self) -> Holder | None:
        """The process that holds the lock of the site, None for none."""
        return holder(self._lock)

    def locked(self, clock: Clock, timeout_s: float) -> Lock:
        """Return the site's lock, to be entered. Raises StoreError for a link in place of its folder."""
        files.refuse_link(self._home)
        return SiteLock(self._lock, clock, timeout_s, guards=(self._path, self._order_key, self._pair))

    def _set_aside(self) -> None:
        kept = self._path.with_suffix(".json.unreadable")
        self._path.replace(kept)
        logger.warning("state.set_aside file=%s to=%s", self._path, kept)

    def last_attempt(self) -> list[str]:
        """Return the lines of the last attempt, none where none is kept. Raises StoreError."""
        return (files.read_if_there(self.attempt_path) or b"").decode("utf-8", "replace").splitlines()

    def note_generation(self, name: str, digest: str) -> None:
        """Keep the digest of what is about to be published, beside those that are known."""
        self.put("generations", name, digest)

    # The journal of TXT records: what survives us of those that we are about to make, or have made.

    def note(self, txt: TxtValue) -> None:
        """Write an entry, or the id of one that is there; on disk when this returns."""
        self.change(txt=(*self._others(txt), txt))

    def forget(self, txt: TxtValue) -> None:
        """Remove an entry."""
        self.change(txt=self._others(txt))

    def _others(self, txt: TxtValue) -> tuple[TxtValue, ...]:
        return tuple(e for e in self.load().txt if (e.fqdn, e.value) != (txt.fqdn, txt.value))

    # The order in flight and the pair last issued.

    def order_key(self) -> bytes | None:
        """Return the certificate key of the order in flight, PEM; None where there is none yet."""
        return files.read_if_there(self._order_key)

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
        data = pair.dump_json()
        self._write(self._pair, data + b"\n" + _digest(data) + b"\n")

    def saved_pair(self) -> SavedPair:
        """Return the pair last issued.

        Raises:
            StoreError: it cannot be read; one that makes no sense is set aside.
        """
        raw = files.read_if_there(self._pair)
        if raw is None:
            raise StoreError(f"the copy {str(self._pair)!r} is gone")
        data, _, told = raw.partition(b"\n")
        try:
            pair = SavedPair.validate_json(data)
        except ValueError:
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

    def copy(self) -> SavedPair | None:
        """Return the copy, None where there is none that makes sense; changes nothing."""
        with suppress(StoreError, ValueError):
            data = (files.read_if_there(self._pair) or b"").partition(b"\n")[0]
            return SavedPair.validate_json(data)
        return None


@dataclass(frozen=True, slots=True)
class _Account(Model):
    """The URL of an account, empty where the CA has none of ours."""

    url: str


class Accounts:
    """The account at one CA: its key and URL."""

    def __init__(self, state_dir: Path, directory: str) -> None:
        host = re.sub(r"[^a-z0-9.-]", "_", urlsplit(directory).hostname or "ca")
        # One host may serve several directories, each with accounts of its own.
        self._home = state_dir / "accounts" / f"{host}-{hashlib.sha256(directory.encode()).hexdigest()[:8]}"
        self._key = self._home / "key.pem"
        self._url = self._home / "account.json"

    def locked(self, clock: Clock, timeout_s: float) -> Lock:
        """Return the lock that keeps two runs from making two accounts. Raises StoreError for links."""
        for folder in (self._home.parent, self._home):
            files.refuse_link(folder)
        return Lock(self._home / "lock", clock, timeout_s, guards=(self._key, self._url))

    def load(self) -> tuple[bytes | None, str]:
        """Return the account key (PEM) and the account URL; None and empty where there is none yet."""
        key = files.read_if_there(self._key)
        with suppress(ValueError, StoreError):
            if (account := saved.load(self._url, _Account)) is not None:
                return key, account.url
        return key, ""

    def save_key(self, pem: bytes) -> None:
        """Keep the account key, before the CA learns of it, and the one before beside it."""
        with files.store_errors(self._key):
            with suppress(FileNotFoundError):
                self._key.replace(self._key.with_suffix(".pem.old"))
            files.replace(self._key, pem, 0o600)

    def save_url(self, url: str) -> None:
        """Keep the account URL, or forget it when empty."""
        saved.save(self._url, _Account(url))


def known_sites(state_dir: Path) -> list[str]:
    """Return the domains that have a state."""
    return sorted(path.name.removesuffix(".json") for path in (state_dir / "sites").glob("*.json"))


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()
