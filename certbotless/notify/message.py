"""Write the alerts of one check as one message in plain text. Pure and light.

What several sites have in common is said once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..base.checked import Model
from ..base.times import moment
from ..base.words import N_, _
from .alerts import Alert
from .root import ROTATION

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
    "made": "warning",
    "issued": "success",
    "renewed": "success",
}
_TITLES_OF_NEWS = {
    "made": N_("the local CA has a new root"),
    "issued": N_("new certificate"),
    "renewed": N_("certificate renewed"),
}
_TITLES_OF_A_ROTATION = {
    "begun": N_("the root of the local CA will be replaced"),
    "lasting": N_("the next root of the local CA signs soon"),
    "over": N_("the next root of the local CA signs now"),
}
_STANDINGS = {"lasting": N_("still: {}"), "over": N_("solved: {}")}
_TITLES = {
    "config": N_("an edit of the configuration is refused"),
    "deploy": N_("deploy failed"),
    "rollback": N_("rolled back"),
    "order": N_("no new certificate"),
    "record": N_("its DNS record is wrong"),
    "files": N_("its certificate files are wrong"),
    "sight": N_("the check could not run"),
    "expiry": N_("its certificate ends soon"),
    "client": N_("the check as a client failed"),
    "root": N_("the root of the local CA must be replaced"),
}


@dataclass(frozen=True, slots=True)
class Message(Model):
    """One message in plain text."""

    severity: Severity
    subject: str
    body: str


def message_of(alerts: Sequence[Alert], host: str, now: datetime) -> Message:
    """Return one message with all alerts of a check; `host` is the name of this machine."""
    alerts = sorted(alerts, key=lambda each: (_is_rotation(each), list(_SEVERITIES).index(each.kind)))
    first = alerts[0]
    severity = _SEVERITIES["lasting" if _is_rotation(first) and first.kind == "begun" else first.kind]
    alike = [alert for alert in alerts if (alert.kind, alert.fact) == (first.kind, first.fact)]
    about = _("{} sites").format(len(alike)) if len(alike) > 1 else first.domain
    more = _(" (and {} more)").format(len(alerts) - len(alike)) if len(alerts) > len(alike) else ""
    subject = _("certbotless on {}: ").format(host) + f"{about}{': ' if about else ''}{_title(first)}{more}"
    return Message(severity, _cut(subject, _MOST_SUBJECT_BYTES), _body(alerts, host, now))


def _is_rotation(alert: Alert) -> bool:
    return alert.fact.startswith(ROTATION)


def _title(alert: Alert) -> str:
    titles = _TITLES_OF_A_ROTATION if _is_rotation(alert) else _TITLES_OF_NEWS
    if alert.kind in titles:
        return _(titles[alert.kind])
    return _(_STANDINGS.get(alert.kind, "{}")).format(_(_TITLES[alert.fact]))


def _lines(alert: Alert) -> Iterator[str]:
    """Yield the lines about one alert, but for when it is tried next."""
    if alert.leaf is not None:
        yield _("{}; valid until {}").format(_listed(alert.leaf.names), moment(alert.leaf.not_after))
    if alert.note:
        yield _cut(alert.note, _MOST_TEXT_BYTES)
    if alert.problem is not None:
        yield _cut(alert.problem.what, _MOST_TEXT_BYTES)
        if alert.problem.hint:
            form = _("to do: {}") if _is_rotation(alert) or alert.kind == "made" else _("fix: {}")
            yield form.format(_cut(alert.problem.hint, _MOST_TEXT_BYTES))
    if alert.began_at is not None and alert.kind != "begun":
        since = _("since {}") if alert.kind == "lasting" else _("it began at {}")
        yield since.format(moment(alert.began_at))


def _body(alerts: Sequence[Alert], host: str, now: datetime) -> str:
    foot = _("\n{}, {}; for details: certbotless status").format(host, moment(now))
    text, paragraphs = "", list(_paragraphs(alerts, now))
    for i, paragraph in enumerate(paragraphs):
        rest = _("and {} more\n").format(len(paragraphs) - i)
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
            lines.append(_("next try: {}").format(moment(coming)))
        yield "".join(f"{line}\n" for line in (head, *(f"  {line}" for line in lines)))


def _listed(names: Sequence[str]) -> str:
    more = _(" and {} more").format(len(names) - _NAMES_IN_ONE) if len(names) > _NAMES_IN_ONE else ""
    return _cut(", ".join(names[:_NAMES_IN_ONE]), _MOST_TEXT_BYTES) + more


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else f"{raw[: most_bytes - 3].decode(errors='ignore')}..."
