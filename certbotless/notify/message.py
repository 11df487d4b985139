"""Write the alerts of one check as one message in plain text. Pure and light.

What several sites have in common is said once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..base.checked import Model
from ..base.times import moment
from .alerts import Alert

# What WeCom takes of a message is 2,048 bytes, the least of all.
_MOST_BODY_BYTES = 1900
_MOST_SUBJECT_BYTES = 120
# Of each list of names, text and hint: those of one paragraph, with all around them, are less than a message.
_MOST_TEXT_BYTES = 400
_NAMES_IN_ONE = 10

Severity = Literal["failure", "warning", "success"]
# By the kind of an alert, the gravest first.
_SEVERITIES: dict[str, Severity] = {
    "begun": "failure",
    "lasting": "warning",
    "over": "success",
    "issued": "success",
    "renewed": "success",
}
_TITLES = {
    "config": "an edit of the configuration is refused",
    "deploy": "deploy failed",
    "rollback": "rolled back",
    "order": "no new certificate",
    "record": "its DNS record is not right",
    "files": "its files are not right",
    "sight": "cannot be seen",
    "expiry": "its certificate is near its end",
    "client": "a client is not served well",
}


@dataclass(frozen=True, slots=True)
class Message(Model):
    """One message in plain text."""

    severity: Severity
    subject: str
    body: str


def message_of(alerts: Sequence[Alert], host: str, now: datetime) -> Message:
    """Return one message with all alerts of a check; `host` is the name of this machine."""
    alerts = sorted(alerts, key=lambda alert: list(_SEVERITIES).index(alert.kind))
    first = alerts[0]
    alike = [alert for alert in alerts if (alert.kind, alert.fact) == (first.kind, first.fact)]
    about = f"{len(alike)} sites" if len(alike) > 1 else first.domain
    more = f" (and {len(alerts) - len(alike)} more)" if len(alerts) > len(alike) else ""
    subject = f"certbotless on {host}: {about}{': ' if about else ''}{_title(first)}{more}"
    return Message(_SEVERITIES[first.kind], _cut(subject, _MOST_SUBJECT_BYTES), _body(alerts, host, now))


def _title(alert: Alert) -> str:
    if alert.leaf is not None:
        return f"certificate {alert.kind}"
    before = {"lasting": "still: ", "over": "over: "}.get(alert.kind, "")
    return f"{before}{_TITLES[alert.fact]}"


def _lines(alert: Alert) -> Iterator[str]:
    """Yield the lines about one alert, but for when it is tried next."""
    if alert.leaf is not None:
        yield f"{_listed(alert.leaf.names)}; good until {moment(alert.leaf.not_after)}"
    if alert.problem is not None:
        yield _cut(alert.problem.what, _MOST_TEXT_BYTES)
        if alert.problem.hint:
            yield f"to do: {_cut(alert.problem.hint, _MOST_TEXT_BYTES)}"
    if alert.began_at is not None and alert.kind != "begun":
        yield f"{'since' if alert.kind == 'lasting' else 'it began at'} {moment(alert.began_at)}"


def _body(alerts: Sequence[Alert], host: str, now: datetime) -> str:
    foot = f"\n{host}, {moment(now)}; all of it: certbotless status"
    text, paragraphs = "", list(_paragraphs(alerts, now))
    for i, paragraph in enumerate(paragraphs):
        rest = f"and {len(paragraphs) - i} more\n"
        if len((text + paragraph + rest + foot).encode()) > _MOST_BODY_BYTES:
            return text + rest + foot
        text += paragraph
    return text + foot


def _paragraphs(alerts: Sequence[Alert], now: datetime) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Alert]] = {}
    for alert in alerts:
        alike.setdefault((_title(alert), *_lines(alert)), []).append(alert)
    for (title, *lines), those in alike.items():
        named = _listed([alert.domain for alert in those])
        head = f"{named}: {title}" if named else title
        tries = [alert.problem.retry_at for alert in those if alert.problem and alert.problem.retry_at]
        if (coming := min(tries, default=now)) > now:
            lines.append(f"next try: {moment(coming)}")
        yield "".join(f"{line}\n" for line in (head, *(f"  {line}" for line in lines)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_IN_ONE} more" if len(names) > _NAMES_IN_ONE else ""
    return _cut(", ".join(names[:_NAMES_IN_ONE]), _MOST_TEXT_BYTES) + more


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else f"{raw[: most_bytes - 3].decode(errors='ignore')}..."
