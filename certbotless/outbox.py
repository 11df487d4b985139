"""What people have been told, and what is on its way to them: one file, and its lock. Light.

    <state_dir>/notify.json     the book (news), the messages that somebody lacks, the receivers that failed
    <state_dir>/notify.lock     held by who writes it, and for as long as he sends

A message is written down before it is sent, and crossed out for each receiver when that one has it. Who is
killed in between has told one of them twice. Receivers are known by their scheme and a digest: their URLs are
secrets.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import files, news
from .clock import Clock, SystemClock, is_possible
from .config import Config
from .errors import SecretUnreadable, StoreError
from .leaf import parse_rfc3339, rfc3339
from .locks import Lock
from .news import Book, Facts, Known, Matter, Message
from .redact import Redactor
from .state import Failure
from .wording import message_of

logger = logging.getLogger(__name__)

_NAME = "notify.json"
_KEPT = timedelta(days=7)
_MOST_UNSENT = 100
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=://)")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Who is told: one URL of `notify`.

    Attributes:
        name: what the file has of the URL.
        label: how a person finds it in the configuration.
    """

    name: str
    label: str
    url: str

    def __repr__(self) -> str:
        return f"Receiver({self.label})"


@dataclass(frozen=True, slots=True)
class Unsent:
    """A message, and the names of the receivers that do not have it yet."""

    message: Message
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outbox:
    """What the file holds.

    Attributes:
        failures: the last failure of each receiver that has failed since it was told something.
    """

    book: Book
    unsent: tuple[Unsent, ...] = ()
    failures: Mapping[str, Failure] = field(default_factory=dict)
    last_sent: datetime | None = None

    def due(self, now: datetime) -> frozenset[str]:
        """Return the names of the receivers to which something may be sent now."""
        newest = {name: unsent.message.at for unsent in self.unsent for name in unsent.to}
        return frozenset(name for name, at in newest.items() if not self._is_blocked(name, at, now))

    def _is_blocked(self, name: str, newest: datetime, now: datetime) -> bool:
        """Whether it is too early to try again: not where a message has come since the last try."""
        failure = self.failures.get(name)
        return failure is not None and failure.blocks_at(now) and not failure.at < newest <= now

    @property
    def last_failure(self) -> Failure | None:
        """The newest failure of a receiver that has not been told anything since."""
        return max(self.failures.values(), key=lambda failure: failure.at, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the object that stands under `notify` in `status --json`."""
        last = self.last_failure
        return {
            "unsent": len(self.unsent),
            "last_sent": rfc3339(self.last_sent) if self.last_sent else None,
            "last_error": None
            if last is None
            else {
                "at": rfc3339(last.at),
                "what": last.what,
                "hint": last.hint,
                "retry_at": rfc3339(last.retry_at),
            },
        }


def receivers(config: Config) -> list[Receiver]:
    """Return whom the configuration names; whose URL cannot be read now is left out."""
    found = []
    for path, secret in config.receivers().items():
        try:
            url = secret.read()
        except SecretUnreadable:
            continue
        scheme = _SCHEME.match(url)
        kind = scheme[0].lower() if scheme else "no URL"
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        found.append(Receiver(f"{kind}-{digest}", f"{path} ({kind})", url))
    return found


# --- the file -----------------------------------------------------------------------------------------------


# What may come of a file that was edited or damaged; a number in it may be 1e999.
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, ArithmeticError)


def load(state_dir: Path, now: datetime) -> Outbox:
    """Return what is kept; of a file that is absent or makes no sense, a book that begins now.

    Raises:
        StoreError: it cannot be read, so nobody knows what it holds.
    """
    try:
        return _read(state_dir, now)
    except _NONSENSE as exc:
        logger.warning("notify.unreadable file=%s error=%s", state_dir / _NAME, type(exc).__name__)
    return Outbox(Book(now))


def _read(state_dir: Path, now: datetime) -> Outbox:
    raw = files.read_if_there(state_dir / _NAME)
    return _from_json(json.loads(raw)) if raw is not None else Outbox(Book(now))


def save(state_dir: Path, outbox: Outbox) -> None:
    path = state_dir / _NAME
    with files.store_errors(path):
        files.replace(path, json.dumps(_to_json(outbox), indent=1).encode(), 0o600)


def locked(state_dir: Path, clock: Clock) -> Lock:
    return Lock(state_dir / "notify.lock", clock, 0, guards=(state_dir / _NAME,))


def _to_json(outbox: Outbox) -> dict[str, Any]:
    book = outbox.book
    return {
        "begun_at": rfc3339(book.begun_at),
        "sent": list(map(rfc3339, book.sent)),
        "certificates": {
            domain: {"sha256": known.sha256, "told": list(map(rfc3339, known.told))}
            for domain, known in book.certificates.items()
        },
        "matters": [
            {
                "domain": domain,
                "fact": fact,
                "is_on": matter.is_on,
                "since": rfc3339(matter.since),
                "begun_at": rfc3339(matter.begun_at),
                "count": matter.count,
                "is_told": matter.is_told,
                "told": list(map(rfc3339, matter.told)),
            }
            for (domain, fact), matter in book.matters.items()
        ],
        "unsent": [
            {
                "at": rfc3339(unsent.message.at),
                "kind": unsent.message.kind,
                "subject": unsent.message.subject,
                "body": unsent.message.body,
                "to": list(unsent.to),
            }
            for unsent in outbox.unsent
        ],
        "failures": {name: failure.model_dump(mode="json") for name, failure in outbox.failures.items()},
        "last_sent": rfc3339(outbox.last_sent) if outbox.last_sent else None,
    }


def _from_json(entry: Mapping[str, Any]) -> Outbox:
    certificates = {
        str(domain): Known(str(known["sha256"]), _moments(known["told"]))
        for domain, known in entry["certificates"].items()
    }
    matters = {
        (str(row["domain"]), news.known_fact(row["fact"])): Matter(
            is_on=bool(row["is_on"]),
            since=parse_rfc3339(row["since"]),
            begun_at=parse_rfc3339(row["begun_at"]),
            count=int(row["count"]),
            is_told=bool(row["is_told"]),
            told=_moments(row["told"]),
        )
        for row in entry["matters"]
    }
    unsent = tuple(
        Unsent(
            Message(
                parse_rfc3339(row["at"]), news.known_kind(row["kind"]), str(row["subject"]), str(row["body"])
            ),
            tuple(map(str, row["to"])),
        )
        for row in entry["unsent"]
    )
    failures = {str(name): Failure.model_validate(each) for name, each in entry["failures"].items()}
    last_sent = parse_rfc3339(entry["last_sent"]) if entry["last_sent"] else None
    book = Book(parse_rfc3339(entry["begun_at"]), certificates, matters, _moments(entry["sent"]))
    return Outbox(book, unsent, failures, last_sent)


def _moments(texts: Iterable[str]) -> tuple[datetime, ...]:
    return tuple(map(parse_rfc3339, texts))


# --- what there is to tell ----------------------------------------------------------------------------------


def look(
    config: Config,
    facts: Facts,
    patience: timedelta,
    whom: Sequence[Receiver] | None = None,
    redact: Redactor | None = None,
) -> bool:
    """Write down what there is to tell, if anything, and return whether something may be sent now.

    Reads a file, and writes it where something has changed. Who finds it locked comes back at the next look:
    what stands then is told then. Where nobody can be told, all stays as it was, to be told later.

    Args:
        facts, patience: as `news.tell` takes them.
        whom, redact: made by a caller while it could read the secrets; else they are made now.

    Raises:
        StoreError: it cannot be read or written; then nothing is sent either, for it would be sent again and
            again.
    """
    whom = receivers(config) if whom is None else whom
    is_there = (config.state_dir / _NAME).exists()
    # By a clock that is wrong, all that was issued would be news since the book began.
    if not whom or not (is_there or is_possible(facts.at)):
        return False

    def is_due(outbox: Outbox) -> bool:
        return not outbox.due(facts.at).isdisjoint(receiver.name for receiver in whom)

    before = load(config.state_dir, facts.at)
    after = _told(before, config, facts, patience, whom, redact)
    # Who is started to send could not cross out on a full disk what he has sent: it is tried here.
    if after != before or is_due(after) or not is_there:
        with locked(config.state_dir, SystemClock()):
            after = _told(load(config.state_dir, facts.at), config, facts, patience, whom, redact)
            save(config.state_dir, after)
        for unsent in after.unsent:
            if unsent.message.at == facts.at:
                logger.info("notify.news subject=%s", unsent.message.subject)
    return is_due(after)


def _told(
    outbox: Outbox,
    config: Config,
    facts: Facts,
    patience: timedelta,
    whom: Sequence[Receiver],
    redact: Redactor | None,
) -> Outbox:
    book, items = news.tell(outbox.book, facts, patience)
    names = tuple(receiver.name for receiver in whom)
    kept = [unsent for unsent in outbox.unsent if facts.at - unsent.message.at < _KEPT]
    failures = outbox.failures
    if len(names) == len(config.notify):
        # Whom the file names no more is forgotten; a URL that cannot be read now may be any of these.
        kept = [replace(unsent, to=tuple(name for name in unsent.to if name in names)) for unsent in kept]
        failures = {name: failure for name, failure in failures.items() if name in names}
    if items:
        message, redact = message_of(items, socket.gethostname(), facts.at), redact or Redactor.of(config)
        message = replace(message, subject=redact(message.subject), body=redact(message.body))
        kept.append(Unsent(message, names))
    unsent = tuple(unsent for unsent in kept if unsent.to)[-_MOST_UNSENT:]
    return replace(outbox, book=book, unsent=unsent, failures=failures)


def kept(config: Config) -> Outbox | None:
    """Return what is kept, for who only tells of it; None where nobody is to be told, or nothing is known."""
    try:
        return _read(config.state_dir, datetime.now(UTC)) if config.notify else None
    except (StoreError, *_NONSENSE):
        return None
