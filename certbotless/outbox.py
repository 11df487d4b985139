"""What people have been told, and what is on its way to them: one file, and who may send it. Light.

    <state_dir>/notify.json     the book (news), the messages that somebody lacks, the receivers that failed
    <state_dir>/notify.lock     held by who writes it, and for as long as he sends

A message is written down before it is sent, and crossed out for each receiver when that one has it. Who is
killed in between has told one of them twice. A receiver that fails is tried again after 1, 10, 100 minutes,
then daily; the others do not wait for it. Receivers are known by their scheme and a digest: their URLs are
secrets.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from . import files, news
from .clock import Clock, SystemClock
from .config import Config
from .errors import CertbotlessError, Interrupted, SecretUnreadable, StoreError, printable
from .leaf import parse_rfc3339, rfc3339
from .ledger import order_backoff
from .locks import Lock
from .news import Book, Facts, Known, Matter, Message
from .redact import Redactor
from .state import Failure
from .together import together

logger = logging.getLogger(__name__)

_NAME = "notify.json"
_KEPT = timedelta(days=7)
_MOST_UNSENT = 100
# After this no further message is begun; one that is under way has its own deadline.
_SENDING_S = 60.0
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
        waited_for = {name for unsent in self.unsent for name in unsent.to}
        blocked = {name for name, failure in self.failures.items() if failure.blocks_at(now)}
        return frozenset(waited_for - blocked)

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
        except SecretUnreadable as exc:
            logger.error("notify.lost key=%s error=%s", path, exc)
            continue
        scheme = _SCHEME.match(url)
        kind = scheme[0].lower() if scheme else "no URL"
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        found.append(Receiver(f"{kind}-{digest}", f"{path} ({kind})", url))
    return found


# --- the file -----------------------------------------------------------------------------------------------


def load(state_dir: Path, now: datetime) -> Outbox:
    """Return what is kept; of a file that is absent or makes no sense, a book that begins now."""
    try:
        raw = files.read_if_there(state_dir / _NAME)
        if raw is not None:
            return _from_json(json.loads(raw))
    except (StoreError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        logger.warning("notify.unreadable file=%s error=%s", state_dir / _NAME, type(exc).__name__)
    return Outbox(Book(now))


def _save(state_dir: Path, outbox: Outbox) -> None:
    path = state_dir / _NAME
    with files.store_errors(path):
        files.replace(path, json.dumps(_to_json(outbox), indent=1).encode(), 0o600)


def _locked(state_dir: Path, clock: Clock) -> Lock:
    return Lock(state_dir / "notify.lock", clock, 0, guards=(state_dir / _NAME,))


def _to_json(outbox: Outbox) -> dict[str, Any]:
    book = outbox.book
    return {
        "begun_at": rfc3339(book.begun_at),
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
    book = Book(parse_rfc3339(entry["begun_at"]), certificates, matters)
    return Outbox(book, unsent, failures, last_sent)


def _moments(texts: Iterable[str]) -> tuple[datetime, ...]:
    return tuple(map(parse_rfc3339, texts))


# --- what there is to tell ----------------------------------------------------------------------------------


def look(config: Config, facts: Facts, patience: timedelta) -> bool:
    """Write down what there is to tell, if anything, and return whether something may be sent now.

    Reads a file, and writes it where something has changed. Who finds it locked comes back at the next look:
    what stands then is told then. The arguments are those of `news.tell`.

    Raises:
        StoreError: it cannot be written; then nothing is sent either, for it would be sent again and again.
    """
    before = load(config.state_dir, facts.at)
    after = _told(before, config, facts, patience)
    if after != before or not (config.state_dir / _NAME).exists():
        with _locked(config.state_dir, SystemClock()):
            after = _told(load(config.state_dir, facts.at), config, facts, patience)
            _save(config.state_dir, after)
        for unsent in after.unsent:
            if unsent.message.at == facts.at:
                logger.info("notify.news subject=%s", unsent.message.subject)
    return bool(after.due(facts.at))


def _told(outbox: Outbox, config: Config, facts: Facts, patience: timedelta) -> Outbox:
    book, message = news.tell(outbox.book, facts, socket.gethostname(), patience)
    kept = [unsent for unsent in outbox.unsent if facts.at - unsent.message.at < _KEPT]
    if message is not None:
        redact = Redactor.of(config)
        message = replace(message, subject=redact(message.subject), body=redact(message.body))
        kept.append(Unsent(message, tuple(receiver.name for receiver in receivers(config))))
    return replace(outbox, book=book, unsent=tuple(kept[-_MOST_UNSENT:]))


# --- sending ------------------------------------------------------------------------------------------------


def deliver(
    config: Config, whom: Sequence[Receiver], send: Callable[[str, Message, Clock], None], clock: Clock
) -> None:
    """Send to each receiver what it lacks, the oldest first, until one message fails; 2 minutes at most.

    Args:
        whom: the receivers of the configuration.
        send: sends one message to one URL within 30 s, or raises a CertbotlessError; used by several threads.

    Raises:
        StoreError: somebody else sends, or it cannot be written what was sent.
    """
    with _locked(config.state_dir, clock):
        desk = _Desk(config.state_dir, load(config.state_dir, clock.now()), {each.name for each in whom})
        due = desk.outbox.due(clock.now())
        until_s = clock.monotonic() + _SENDING_S

        def serve(receiver: Receiver) -> None:
            for message in desk.lacking(receiver):
                if clock.monotonic() > until_s:
                    return
                desk.prove_writable()
                try:
                    send(receiver.url, message, clock)
                except Interrupted:
                    return  # whoever comes next sends it
                except CertbotlessError as exc:
                    desk.note_failure(receiver, exc, clock.now())
                    return
                desk.note_sent(receiver, message, clock.now())

        together(serve, [receiver for receiver in whom if receiver.name in due])


class _Desk:
    """The outbox while it is sent; on disk after every change. Hold the lock of the file."""

    def __init__(self, state_dir: Path, outbox: Outbox, known: set[str]) -> None:
        self._state_dir = state_dir
        self._guard = threading.Lock()
        unsent = (replace(u, to=tuple(name for name in u.to if name in known)) for u in outbox.unsent)
        failures = {name: failure for name, failure in outbox.failures.items() if name in known}
        # Whom the configuration names no more is forgotten.
        self.outbox = replace(outbox, unsent=tuple(u for u in unsent if u.to), failures=failures)
        if self.outbox != outbox:
            _save(state_dir, self.outbox)

    def lacking(self, receiver: Receiver) -> list[Message]:
        """Return what this receiver does not have yet, the oldest first."""
        return [unsent.message for unsent in self.outbox.unsent if receiver.name in unsent.to]

    def prove_writable(self) -> None:
        """Write it as it is: what could not be crossed out would be sent at every look. Raises StoreError."""
        with self._guard:
            _save(self._state_dir, self.outbox)

    def note_sent(self, receiver: Receiver, message: Message, now: datetime) -> None:
        """Cross the message out for this receiver, and it is well again."""
        with self._guard:
            outbox = self.outbox
            left = (
                replace(u, to=tuple(n for n in u.to if n != receiver.name)) if u.message == message else u
                for u in outbox.unsent
            )
            others = {n: f for n, f in outbox.failures.items() if n != receiver.name}
            self._change(unsent=tuple(u for u in left if u.to), failures=others, last_sent=now)
        logger.info("notify.sent to=%s subject=%s", receiver.label, message.subject)

    def note_failure(self, receiver: Receiver, error: CertbotlessError, now: datetime) -> None:
        """Keep the failure with the moment of the next try."""
        with self._guard:
            before = self.outbox.failures.get(receiver.name)
            count = before.count + 1 if before else 1
            failure = Failure(
                at=now,
                what=printable(f"{receiver.label}: {error.message}"),
                hint=error.hint,
                retry_at=now + order_backoff(count, None, now, 0),
                count=count,
            )
            self._change(failures={**self.outbox.failures, receiver.name: failure})
        logger.warning("notify.failed error=%s retry_at=%s", failure.advice, rfc3339(failure.retry_at))

    def _change(self, **fields: Any) -> None:
        self.outbox = replace(self.outbox, **fields)
        _save(self._state_dir, self.outbox)


def kept(config: Config) -> Outbox | None:
    """Return what is kept, for who only tells of it; None where nobody is to be told."""
    return load(config.state_dir, datetime.now(UTC)) if config.notify else None
