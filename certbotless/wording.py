"""Pure: news -> one message for people, in plain text. Light.

All that one look has found is one message, and what is the same for several sites stands in it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from .news import Item, Kind, Message, moment

# What WeCom takes of a message is 2,048 bytes, the least of all.
_MOST_BODY_BYTES = 1900
_MOST_SUBJECT_BYTES = 120
# Of each list of names, text and hint: those of one paragraph, with all around them, are less than a message.
_MOST_TEXT_BYTES = 400
_NAMES_IN_ONE = 10

# The gravest first.
_KINDS: dict[str, Kind] = {
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


def message_of(items: Sequence[Item], host: str, now: datetime) -> Message:
    """Return all that one look has found; `host` is the name of this machine."""
    items = sorted(items, key=lambda item: list(_KINDS).index(item.kind))
    first = items[0]
    alike = [item for item in items if _title(item) == _title(first)]
    about = f"{len(alike)} sites" if len(alike) > 1 else first.domain
    more = f" (and {len(items) - len(alike)} more)" if len(items) > len(alike) else ""
    subject = f"certbotless on {host}: {about}{': ' if about else ''}{_title(first)}{more}"
    return Message(now, _KINDS[first.kind], _cut(subject, _MOST_SUBJECT_BYTES), _body(items, host, now))


def _title(item: Item) -> str:
    if item.leaf is not None:
        return f"certificate {item.kind}"
    before = {"lasting": "still: ", "over": "over: "}.get(item.kind, "")
    return f"{before}{_TITLES[item.fact]}"


def _lines(item: Item) -> Iterator[str]:
    """Yield what is said of it, but for when it is tried next."""
    matter, trouble, leaf = item.matter, item.trouble, item.leaf
    if leaf is not None:
        yield f"{_listed(leaf.names)}; good until {moment(leaf.not_after)}"
    if trouble is not None:
        yield _cut(trouble.what, _MOST_TEXT_BYTES)
        if trouble.hint:
            yield f"to do: {_cut(trouble.hint, _MOST_TEXT_BYTES)}"
    if matter is not None and item.kind != "begun":
        again = f", and came {matter.count} times" if matter.count > 1 else ""
        yield f"{'since' if item.kind == 'lasting' else 'it began at'} {moment(matter.begun_at)}{again}"


def _body(items: Sequence[Item], host: str, now: datetime) -> str:
    foot = f"\n{host}, {moment(now)}; all of it: certbotless status"
    text, paragraphs = "", list(_paragraphs(items, now))
    for i, paragraph in enumerate(paragraphs):
        rest = f"and {len(paragraphs) - i} more\n"
        if len((text + paragraph + rest + foot).encode()) > _MOST_BODY_BYTES:
            return text + rest + foot
        text += paragraph
    return text + foot


def _paragraphs(items: Sequence[Item], now: datetime) -> Iterator[str]:
    alike: dict[tuple[str, ...], list[Item]] = {}
    for item in items:
        alike.setdefault((_title(item), *_lines(item)), []).append(item)
    for (title, *lines), those in alike.items():
        named = _listed([item.domain for item in those])
        head = f"{named}: {title}" if named else title
        tries = [item.trouble.retry_at for item in those if item.trouble and item.trouble.retry_at]
        if (coming := min(tries, default=now)) > now:
            lines.append(f"next try: {moment(coming)}")
        yield "".join(f"{line}\n" for line in (head, *(f"  {line}" for line in lines)))


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_IN_ONE} more" if len(names) > _NAMES_IN_ONE else ""
    return _cut(", ".join(names[:_NAMES_IN_ONE]), _MOST_TEXT_BYTES) + more


def _cut(text: str, most_bytes: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most_bytes else f"{raw[: most_bytes - 3].decode(errors='ignore')}..."
