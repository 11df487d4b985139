"""The text of `status`: a table of all sites, or all that is known of one. Pure: facts -> text.

A row for each site and its certificate as a bar; below it, where something is not well, what, what to do, and
when it is tried again. A narrow terminal gets the same as a list. No state is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby

from .client import ClientFacts, facts_of
from .decide import Step
from .events import Event
from .leaf import LeafFacts
from .look import View
from .names import u_labels
from .report import Served, by_api, distance, served_of, span
from .state import Failure
from .terminal import Screen, Style, cells

_HEADS = ("SITE", "STATE", "ADDRESS", "ENDS", "LEFT", "RENEWAL")
# A domain that is longer stands on a line of its own; with less room for it the table becomes a list.
_LEAST_DOMAIN = 20
_GAP = "  "
_BAR_WIDTH = 30
_LABEL_WIDTH = 15

_TONES: dict[str, Style] = {"ok": "green", "pending": "yellow", "failing": "red"}
_MARKS = {"failing": "! ", "pending": "- ", "ok": "- "}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a person reads of one site; `notes` say what is not well, most important first."""

    domain: str
    state: str
    address: str
    facts: LeafFacts | None
    renewal: datetime | None
    served: tuple[str, ...]
    notes: tuple[str, ...]
    now: datetime


def status_text(views: Sequence[View], visits: Mapping[str, ClientFacts], screen: Screen) -> str:
    """Return the table of these sites, no line of it wider than the screen; `visits`: what clients met."""
    return _text([_entry(view, visits) for view in views], screen)


def known_text(known: Iterable[tuple[str, LeafFacts | None]], now: datetime, screen: Screen) -> str:
    """Return the table of sites of which only the certificate is known, as the file is broken."""
    note = ("the configuration is broken",)
    return _text([_Entry(name, "pending", "-", facts, None, (), note, now) for name, facts in known], screen)


def site_text(view: View, visits: Mapping[str, ClientFacts], events: Sequence[Event], screen: Screen) -> str:
    """Return all that is known of one site but its last attempt; `events` are the newest, in order."""
    entry, facts, met = _entry(view, visits), view.seen.published.facts, facts_of(view, visits)
    lines = _card(entry, screen)
    if (in_unicode := u_labels(entry.domain)) != entry.domain and screen.has(in_unicode):
        lines += _labelled("in Unicode", [in_unicode], screen)
    if facts is not None:
        for label, text in (
            ("names", ", ".join(facts.names)),
            ("issuer", facts.issuer),
            ("sha256", facts.sha256),
        ):
            lines += _labelled(label, [text], screen)
    if met is not None and met.is_well:
        lines += _labelled("client", [f"{met.text}, {distance(met.at - entry.now)}"], screen)
    steps = [_step_text(step, entry.now) for step in view.decision.steps]
    lines += _labelled("steps", [text for text in steps if text not in entry.notes], screen)
    lines += _labelled("events", [f"{_stamp(e.at)}  {e.event} {e.text}" for e in events], screen)
    return "\n".join(_with_legend(lines, [entry], screen))


# --- what is said -------------------------------------------------------------------------------------------


def _entry(view: View, visits: Mapping[str, ClientFacts]) -> _Entry:
    site, seen = view.site, view.seen
    rules = {site.address: seen.address, site.address6: seen.address6}
    found = [address or "not found" for rule, address in rules.items() if rule.kind != "none"]
    address = ", ".join(found) or "no record"
    notes = list(_notes(view))
    for type_, wanted, names in (
        ("A", seen.address, seen.answers),
        ("AAAA", seen.address6, seen.answers6),
    ):
        for fqdn in names or {}:
            shown = seen.shown(fqdn, type_)
            if wanted and shown and not seen.is_shown(fqdn, wanted):
                published = ", ".join(sorted(set().union(*shown))) or "nothing"
                notes.append(f"published for {fqdn}: {published}; wanted: {wanted}")
    if note := by_api(view):
        notes.append(note)
        notes += [f"to do: {seen.blind.hint}"] if seen.blind and seen.blind.hint else []
    met = facts_of(view, visits)
    if met is not None and not met.is_well:
        notes.append(f"as a client, {distance(met.at - seen.at)}: {met.text}; see certbotless doctor")
    return _Entry(
        view.site.domain,
        view.state,
        address,
        view.seen.published.facts,
        view.decision.next_renewal,
        tuple(_served_text(served, view) for served in served_of(view)),
        tuple(notes),
        view.seen.at,
    )


def _notes(view: View) -> Iterable[str]:
    now, failure = view.seen.at, view.last_failure
    waiting = {step.wait_text: step for step in view.decision.steps if step.wait_text}
    if view.reason and (failure is None or failure.what != view.reason):
        step = waiting.pop(view.reason, None)
        yield _step_text(step, now) if step else view.reason
    if failure is not None:
        yield from _failure_notes(failure, now)
    for step in waiting.values():
        if step.is_by_choice:
            yield _step_text(step, now)


def _failure_notes(failure: Failure, now: datetime) -> Iterable[str]:
    yield failure.what
    if failure.hint:
        yield f"to do: {failure.hint}"
    yield f"next try {_moment(failure.retry_at, now)}" if failure.retry_at > now else "next try: due"


def _step_text(step: Step, now: datetime) -> str:
    if step.wait_until is None:
        return f"{step.key}: {step.reason}"
    return f"{step.key}: {step.reason}; waits until {_moment(step.wait_until, now)}: {step.wait_reason}"


def _served_text(served: Served, view: View) -> str:
    text, facts, address = f"{served.name} {served.state}", view.seen.published.facts, view.seen.address
    if served.where and address and served.where[0] != address:
        text += f" at {served.at}"
    if facts is None or served.state in ("serving", "unproved"):
        return text
    what = {None: "not looked at", "": "no TLS answer"}.get(served.sha256, "another certificate")
    return f"{text}: {what}"


def _moment(at: datetime, now: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC, {distance(at - now)}"


def _stamp(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _left(entry: _Entry) -> str:
    if entry.facts is None:
        return "-"
    left = entry.facts.not_after - entry.now
    return span(left) if left > timedelta() else "expired"


def _renewal(entry: _Entry) -> str:
    if entry.renewal is None:
        return "-"
    return f"{entry.renewal:%Y-%m-%d}" if entry.renewal > entry.now else "due"


# --- how it looks -------------------------------------------------------------------------------------------


def _text(entries: Sequence[_Entry], screen: Screen) -> str:
    rows = [(e.domain, e.state, e.address, _end(e), _left(e), _renewal(e)) for e in entries]
    widths = [max(map(len, column)) for column in zip(_HEADS, *rows, strict=True)]
    room = screen.width - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
    if room < min(_LEAST_DOMAIN, widths[0]):
        lines = [line for entry in entries for line in ("", *_card(entry, screen))][1:]
        return "\n".join(_with_legend(lines, entries, screen))
    widths[0] = min(widths[0], room)
    lines = [screen.paint(_row(_HEADS, widths), "dim")] if rows else []
    for entry, (domain, *rest) in zip(entries, rows, strict=True):
        if len(domain) > room:
            lines += [screen.paint(line, "bold") for line in screen.wrap(domain, screen.width)]
            domain = ""  # noqa: PLW2901  (what is left of the row)
        row = _row((domain, *rest), widths)
        state_at = widths[0] + len(_GAP)
        after = state_at + len(entry.state)
        state = screen.paint(entry.state, _TONES[entry.state])
        lines.append(screen.paint(row[:state_at], "bold") + state + row[after:])
        lines += _below(entry, screen)
    return "\n".join(_with_legend(lines, entries, screen))


def _row(texts: Sequence[str], widths: Sequence[int]) -> str:
    return _GAP.join(f"{text:<{width}}" for text, width in zip(texts, widths, strict=True)).rstrip()


def _below(entry: _Entry, screen: Screen) -> list[str]:
    """Return what stands below a row: the bar with who serves it, then what is not well."""
    if entry.facts is not None:
        bar = _bar(entry.facts, entry.renewal, entry.now, _BAR_WIDTH, screen)
    else:
        bar = f"{'no certificate':<{_BAR_WIDTH}}"
    indent = len(_GAP) + _BAR_WIDTH + len(_GAP)
    room = screen.width - indent
    together = ", ".join(entry.served)
    texts = [together] if cells(together) <= room else entry.served
    served = [line for text in texts for line in screen.wrap(text, room)]
    lines = [f"{_GAP}{bar}{_GAP}{served[0]}".rstrip(), *(" " * indent + line for line in served[1:])]
    return lines + _note_lines(entry, _GAP, screen)


def _note_lines(entry: _Entry, indent: str, screen: Screen) -> list[str]:
    lines = []
    for i, note in enumerate(entry.notes):
        mark = _MARKS[entry.state] if i == 0 else "  "
        first, *rest = screen.wrap(note, screen.width - len(indent) - len(mark))
        lines.append(indent + screen.paint(mark + first, _TONES[entry.state] if i == 0 else ""))
        lines += [indent + " " * len(mark) + line for line in rest]
    return lines


def _card(entry: _Entry, screen: Screen) -> list[str]:
    """Return a site as a list of lines, each fact with its label."""
    *start, last = screen.wrap(f"{entry.domain} {entry.state}", screen.width)
    domain, _, state = last.rpartition(" ")
    lines = [screen.paint(line, "bold") for line in start]
    gap = " " if domain else ""
    lines.append(screen.paint(domain, "bold") + gap + screen.paint(state, _TONES[entry.state]))
    lines += _labelled("address", [entry.address], screen)
    if entry.facts is not None:
        dates = f"{entry.facts.not_before:%Y-%m-%d} to {_end(entry)}"
        lines += _labelled("certificate", [f"{dates}, {_left(entry)}{_left_word(entry)}"], screen)
        width = min(_BAR_WIDTH, screen.width - _LABEL_WIDTH)
        bar = _bar(entry.facts, entry.renewal, entry.now, width, screen)
        lines.append(" " * _LABEL_WIDTH + bar)
    else:
        lines += _labelled("certificate", ["none"], screen)
    if entry.renewal is not None:
        due = entry.renewal <= entry.now
        when = "due since " if due else ""
        lines += _labelled("renewal", [when + _moment(entry.renewal, entry.now)], screen)
    lines += _labelled("served by", entry.served, screen)
    return lines + _note_lines(entry, _GAP, screen)


def _labelled(label: str, texts: Sequence[str], screen: Screen) -> list[str]:
    """Return texts behind one label; none without a text."""
    lines = [line for text in texts for line in screen.wrap(text, screen.width - _LABEL_WIDTH)]
    heads = [f"{_GAP}{label}", *[""] * (len(lines) - 1)]
    return [
        screen.paint(f"{head:<{_LABEL_WIDTH}}", "dim") + line
        for head, line in zip(heads[: len(lines)], lines, strict=True)
    ]


def _end(entry: _Entry) -> str:
    return f"{entry.facts.not_after:%Y-%m-%d}" if entry.facts else "-"


def _left_word(entry: _Entry) -> str:
    return "" if _left(entry) == "expired" else " left"


def _letters(screen: Screen) -> list[str]:
    """Return the letters of a bar, one each: the past, now, what comes, renewal, and what is after it."""
    return list("█◆░│▒" if screen.has("█◆░│▒") else "#*-|.")


def _bar(facts: LeafFacts, renewal: datetime | None, now: datetime, width: int, screen: Screen) -> str:
    """Return the life of a certificate in `width` cells, from its issue to its end."""
    past, here, ahead, due, late = _letters(screen)
    lifetime = max(facts.lifetime, timedelta(seconds=1))

    def place(moment: datetime) -> int:
        return min(max(int((moment - facts.not_before) / lifetime * width), 0), width - 1)

    now_at, renewal_at = place(now), width if renewal is None else place(renewal)
    bar = [past if i < now_at else ahead if i < renewal_at else late for i in range(width)]
    if renewal is not None:
        bar[renewal_at] = due
    bar[now_at] = here
    styles: dict[str, Style] = {here: "bold", ahead: "dim", late: "yellow"}
    return "".join(screen.paint("".join(run), styles.get(letter, "")) for letter, run in groupby(bar))


def _with_legend(lines: list[str], entries: Sequence[_Entry], screen: Screen) -> list[str]:
    if all(entry.facts is None for entry in entries):
        return lines
    words = zip(_letters(screen), ("past", "now", "ahead", "renewal", "to the end"), strict=True)
    rows: list[str] = []
    for item in (f"{letter} {word}" for letter, word in words):
        if rows and cells(rows[-1] + _GAP + item) <= screen.width:
            rows[-1] += _GAP + item
        else:
            rows.append(item)
    return [*lines, "", *(screen.paint(row, "dim") for row in rows)]
