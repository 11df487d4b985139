"""The receivers of messages: which there are, what each was sent, and the sending. Light.

    <state_dir>/notify.json     by receiver: what it was sent (alerts), and why the last try failed

A message is written down when it was sent; until then it is decided again at each check. So a process that is
killed in between sends one message twice, and none is lost. URLs are secrets: the file has a receiver by its
scheme and a digest, and no text of a message.
"""

import hashlib
import logging
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..base import saved
from ..base.checked import Model
from ..base.clock import Clock
from ..base.concurrent import together
from ..base.errors import CertbotlessError, Interrupted, SecretUnreadable, StoreError, printable
from ..base.times import rfc3339
from ..base.words import Text
from ..config.redact import Redactor
from ..config.settings import Config
from ..model.memory import Failure
from . import alerts
from .alerts import Conditions, Sent, Steady
from .message import Message, message_of

logger = logging.getLogger(__name__)

_NAME = "notify.json"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}(?=://)")
# After the first failure of a receiver, the second, and each further one.
_PAUSES = [timedelta(minutes=minutes) for minutes in (1, 10, 60)]


@dataclass(frozen=True, slots=True)
class Receiver(Model):
    """One URL of `notify`.

    Attributes:
        name: what the file has in place of the URL; `label` is how a person finds it in the configuration.
    """

    name: str
    label: str
    url: str = field(repr=False)


def receivers(config: Config) -> list[Receiver]:
    """Return the receivers of the configuration whose URL can be read now."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class History(Model):
    """What each receiver was sent, by its name."""

    receivers: dict[str, Sent] = field(default_factory=dict)

    @property
    def failures(self) -> dict[str, Failure]:
        """Why the last try failed, by receiver; without those that succeeded."""
        return {name: sent.failure for name, sent in self.receivers.items() if sent.failure}

    @property
    def last_failure(self) -> Failure | None:
        """The newest failure."""
        return max(self.failures.values(), key=lambda failure: failure.at, default=None)

    def to_json(self) -> dict[str, Any]:
        """Return the object under `notify` in `status --json`."""
        last = self.last_failure
        sent_at = max((sent.last_at for sent in self.receivers.values() if sent.last_at), default=None)
        return {
            "unsent": len(self.failures),
            "last_sent": rfc3339(sent_at) if sent_at else None,
            "last_error": last.to_json() if last else None,
        }


def _load(state_dir: Path) -> History | None:
    """Return what is kept; None for a file that makes no sense. Raises StoreError if it cannot be read."""
    try:
        return saved.load(state_dir / _NAME, History) or History()
    except ValueError:
        return None


def history_of(config: Config) -> History | None:
    """Return what is kept, to show it; None where there is no receiver, or nothing is known."""
    try:
        return _load(config.state_dir) if config.notify else None
    except StoreError:
        return None


# --- what is due --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter(Model):
    """One message to one receiver, and what that receiver was sent by then."""

    receiver: Receiver
    message: Message
    sent: Sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Post(Model):
    """The letters of one check. As JSON it is what another process needs to send them; it holds URLs."""

    state_dir: Path
    letters: tuple[Letter, ...]


def due(
    config: Config,
    found: Conditions,
    steady: Steady,
    patience: timedelta,
    to: Sequence[Receiver] | None = None,
    redact: Redactor | None = None,
) -> Post:
    """Return the letters that are to be sent now.

    Args:
        steady: what this process knows from earlier checks; `patience` is as `Steady.follow` takes it.
        to, redact: made by a caller while it could read the secrets; else they are made now.

    Raises:
        StoreError: the file cannot be read, or written.
    """
    to = receivers(config) if to is None else to
    kept = _load(config.state_dir)
    if kept is None:
        logger.warning("notify.unreadable file=%s", config.state_dir / _NAME)
    before = kept.receivers if kept else {}
    # A receiver whose URL cannot be read now may be any of those that are known.
    known = {each.name for each in to} if len(to) == len(config.notify) else before.keys()
    after = {name: sent for name, sent in before.items() if name in known}
    ripe = steady.follow(found, [key for sent in after.values() for key in sent.problems], patience)
    letters = []
    # A URL that the configuration names twice is one receiver.
    for receiver in {each.name: each for each in to}.values():
        sent = after.get(receiver.name, Sent())
        then, its_alerts = alerts.due(sent, found, ripe)
        if not its_alerts and then != sent:
            after[receiver.name] = then
        is_too_early = sent.failure is not None and sent.failure.blocks_at(found.at)
        if its_alerts and not is_too_early and not alerts.has_enough(sent, found.at):
            redact = redact or Redactor.of(config)
            message = message_of(its_alerts, socket.gethostname(), found.at)
            message = Message(message.severity, redact(message.subject), redact(message.body))
            letters.append(Letter(receiver=receiver, message=message, sent=then))
    if kept is None or after != before:
        saved.save(config.state_dir / _NAME, History(receivers=after))
    return Post(state_dir=config.state_dir, letters=tuple(letters))


# --- the sending --------------------------------------------------------------------------------------------


def deliver(post: Post, send: Callable[[str, Message, Clock], None], clock: Clock) -> None:
    """Send all letters at the same time, and write down what became of each.

    Args:
        send: sends one message to one URL within 30 s, or raises a CertbotlessError; used by several threads.

    Raises:
        StoreError: the file cannot be read or written. Nothing was sent, or it will be sent once more.
    """
    before = (_load(post.state_dir) or History()).receivers
    # Each try counts, also one after which we are killed; and what cannot be written down would be sent again
    # at each check.
    tried = {
        each.receiver.name: replace(before.get(each.receiver.name, Sent()), tries=each.sent.tries)
        for each in post.letters
    }
    saved.save(post.state_dir / _NAME, History(receivers=before | tried))

    def outcome(letter: Letter) -> Sent:
        label, sent = letter.receiver.label, tried[letter.receiver.name]
        try:
            send(letter.receiver.url, letter.message, clock)
        except Interrupted:
            return sent
        except CertbotlessError as exc:
            now, count = clock.now(), sent.failure.count + 1 if sent.failure else 1
            retry_at = now + _PAUSES[min(count, len(_PAUSES)) - 1]
            what = printable(Text("{}: {}", label, exc.message))
            failure = Failure(at=now, what=what, hint=exc.hint, retry_at=retry_at, count=count)
            logger.warning("notify.failed error=%s retry_at=%s", failure.advice, rfc3339(failure.retry_at))
            return replace(sent, failure=failure)
        logger.info("notify.sent to=%s subject=%s", label, letter.message.subject)
        return letter.sent

    after = dict(zip(tried, together(outcome, post.letters), strict=True))
    saved.save(post.state_dir / _NAME, History(receivers=before | after))
