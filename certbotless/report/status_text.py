"""What `status` shows a person: a table of all sites, or all that is known of one. Pure: facts -> drawing.

Each site has a row, and its certificate as a bar. Below it is what is not well, what to do, and when it is
tried again. A narrow terminal gets the same as a list. No state is shown by colour alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby

from rich.cells import cell_len
from rich.columns import Columns
from rich.console import Group
from rich.segment import SegmentLines
from rich.styled import Styled
from rich.table import Column, Table
from rich.text import Text

from ..base.names import u_labels
from ..base.times import distance, moment, span
from ..base.words import N_, _
from ..config.settings import Site
from ..model.certificate import LeafFacts
from ..model.decision import Step
from ..model.memory import Failure
from ..model.reason import Why
from ..model.view import View, Visits, facts_of
from .found import Found, Story
from .status_json import Served, by_api, failure_text, served_of, withdrawn_of
from .terminal import Drawing, Terminal

_HEADS = (N_("SITE"), N_("STATE"), N_("ADDRESS"), N_("ENDS"), N_("LEFT"), N_("RENEWAL"))
# A longer domain has a line of its own; with less room for it the table becomes a list.
_LEAST_DOMAIN = 20
_GAP = "  "
_TO_THE_SECOND = "%Y-%m-%d %H:%M:%S"
_BAR_WIDTH = 30
_LABEL_WIDTH = 15

_NO_DAEMON = N_("daemon: not running: only a timer would try again; start it: systemctl start certbotless")
_TONES = {"ok": "green", "pending": "yellow", "failing": "red"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """What a person reads of one site; `notes` say what is not well, most important first.

    `is_warned`: whether the first note counts although the site is ok. `every_address`: those of a list.

    `domain` may be put into a `Text`: it is legible.
    """

    domain: str
    state: str
    address: str
    facts: LeafFacts | None
    renewal: datetime | None
    served: tuple[str, ...]
    notes: tuple[str, ...]
    now: datetime
    shared: str | None = None
    is_warned: bool = False
    every_address: tuple[str, ...] = ()


def draw(found: Found, screen: Terminal, *, is_watched: bool = False) -> Drawing:
    """Return the table of the sites, or all of one; nothing where nothing is known.

    Args:
        is_watched: whether a person sees nothing else. Then it begins with the faults of the file, and has as
            many of the last lines of an attempt as there is room for, each cut at the end of the screen.
            Else the lines are whole, so that they can be copied.
    """
    pid, error = found.daemon_pid, _(found.error).splitlines() if is_watched else []
    above: list[Drawing] = [*error]
    daemon = [_("daemon: running, pid {}").format(pid)]
    if pid is None:
        above, daemon = [screen.one_line(_(_NO_DAEMON), style="red", is_cut=is_watched), *error, ""], []
    if found.story is None:
        views = sorted(found.views, key=lambda view: view.site.is_shared)
        entries = [_entry(view, found) for view in views]
        entries += [
            _Entry(screen.legible(name), "pending", "-", facts, None, (), (_(found.why_unseen),), found.at)
            for name, facts in sorted(found.known, key=lambda each: each[0].startswith("*."))
        ]
        failure = found.notify_failure
        unsent = (
            [_("notify: {}").format(_(failure_text(failure) if pid else failure.advice))] if failure else []
        )
        return (
            Group(*above, *_sites(entries, screen), *daemon, *_root(found), *unsent)
            if entries
            else Group(*error)
        )
    view, *shared = found.views
    site = _one_site(view, found, found.story, screen)
    below = [drawing for each in shared for drawing in ("", *_card(_entry(each, found), screen))]
    head = Group(*above, *site, *below, *daemon, *_root(found), "", Styled(_("The last attempt"), "bold"))
    attempt = _attempt_lines(found.story)
    if is_watched:
        room = screen.height - len(screen.render_lines(head))
        attempt = attempt[max(len(attempt) - room, 0) :] if room > 0 else []
    return Group(head, *(screen.one_line(line, is_cut=is_watched) for line in attempt))


# --- what is said -------------------------------------------------------------------------------------------


def _root(found: Found) -> list[str]:
    """Return the lines about the root of the local CA and the next one; none where there is no local CA."""
    ca, coming = found.local_ca, found.next_ca
    lines = [_("local CA: root {}, ends {:%Y-%m-%d}").format(ca.short, ca.not_after)] if ca else []
    if coming:
        form = _(
            "local CA: the next root {} signs from {:%Y-%m-%d} on; clients need it: certbotless trust export"
        )
        lines.append(form.format(coming.short, coming.switches_at))
    return lines


def _entry(view: View, found: Found) -> _Entry:
    site, seen = view.site, view.seen
    rules = site.rules.items()
    addresses = [_short(seen.wanted(type_)) for type_, rule in rules if rule.kind != "none"]
    return _Entry(
        site.domain,
        view.state,
        ", ".join(addresses) or (_sharers(site, found) if site.is_shared else _("no record")),
        seen.published.facts,
        view.decision.next_renewal,
        tuple(_served_text(served, view) for served in served_of(view)),
        tuple(_notes(view, found.visits, is_tried_again=found.daemon_pid is not None)),
        seen.at,
        site.certificate,
        is_warned=view.state == "ok" and (_has_stand_in(view) or bool(withdrawn_of(view))),
        every_address=seen.several,
    )


def _short(addresses: tuple[str, ...]) -> str:
    """Return an address, and how many others there are."""
    first, *others = addresses or (_("not found"),)
    return _("{} + {}").format(first, len(others)) if others else first


def _sharers(site: Site, found: Found) -> str:
    count = len(found.users.get(site.domain, ()))
    return (_("{} site") if count == 1 else _("{} sites")).format(count)


def _has_stand_in(view: View) -> bool:
    """Whether what is published is of a CA that stands in for another one."""
    return view.stand_in is not None and view.stand_in.kind is not Why.BACK


def _notes(view: View, visits: Visits, *, is_tried_again: bool) -> Iterator[str]:
    seen, now, cause, failure = view.seen, view.seen.at, view.cause, view.last_failure
    if isinstance(cause, Step):
        yield _step_text(cause, now)
    elif cause is not None and (failure is None or failure.what != cause.what):
        yield _(cause.what)
    if view.stand_in is not None and _has_stand_in(view):
        yield view.stand_in.spoken
    if failure is not None:
        yield from _failure_notes(failure, now, is_tried_again=is_tried_again)
    for step in view.decision.steps:
        if step.waits_for_window and step is not cause:
            yield _step_text(step, now)
    for address, since in withdrawn_of(view).items():
        form = _("{} is withdrawn: no valid certificate there, {}")
        yield form.format(address, distance(since - now))
    yield from _published_notes(view)
    if note := by_api(view):
        yield note
        if seen.unreachable and seen.unreachable.hint:
            yield _("to do: {}").format(_(seen.unreachable.hint))
    met = facts_of(view, visits)
    if met is not None and not met.is_well:
        yield _("as a client, {}: {}; see certbotless doctor").format(distance(met.at - now), _(met.text))


def _published_notes(view: View) -> Iterator[str]:
    seen = view.seen
    for type_ in seen.addresses:
        wanted = seen.wanted(type_)
        for fqdn in view.site.names_with(type_) if wanted else ():
            shown = seen.shown(fqdn, type_)
            if shown and not seen.is_shown(fqdn, *wanted):
                published = ", ".join(sorted(set().union(*shown))) or _("nothing")
                yield _("published for {}: {}; wanted: {}").format(fqdn, published, ", ".join(wanted))


def _failure_notes(failure: Failure, now: datetime, *, is_tried_again: bool) -> Iterator[str]:
    yield _(failure.what)
    if failure.hint:
        yield _("to do: {}").format(_(failure.hint))
    if is_tried_again:
        is_later = failure.retry_at > now
        yield _("next try {}").format(_moment(failure.retry_at, now)) if is_later else _("next try: due")


def _step_text(step: Step, now: datetime) -> str:
    if step.wait_until is None or step.waits_for_another:
        return _("{}: {}").format(step.spoken_key, step.spoken_reason)
    until, why = _moment(step.wait_until, now), step.spoken_wait_reason
    return _("{}: {}; waits until {}: {}").format(step.spoken_key, step.spoken_reason, until, why)


def _served_text(served: Served, view: View) -> str:
    text, facts, address = f"{served.name} {_(served.state)}", view.seen.published.facts, view.seen.address
    if served.where and address and served.where[0] not in (address, *view.site.address.several):
        text += _(" at {}").format(served.at)
    if facts is None or served.state in ("serving", "unproved"):
        return text
    what = {None: _("not checked"), "": _("no TLS answer")}.get(served.sha256, _("another certificate"))
    return _("{}: {}").format(text, what)


def _attempt_lines(story: Story) -> list[str]:
    if not story.attempt:
        return [_("no attempt yet")]
    end = [] if story.has_ended else [_("(it is running)") if story.is_running else _("(it was killed)")]
    return [*story.attempt, *end]


def _moment(at: datetime, now: datetime) -> str:
    return _("{}, {}").format(moment(at), distance(at - now))


def _left(entry: _Entry) -> str:
    if entry.facts is None:
        return "-"
    left = entry.facts.not_after - entry.now
    return span(left) if left > timedelta() else _("expired")


def _renewal(entry: _Entry) -> str:
    if entry.shared:
        return _("of {}").format(entry.shared)
    if entry.renewal is None:
        return "-"
    return _day(entry.renewal) if entry.renewal > entry.now else _("due")


def _day(at: datetime) -> str:
    """Return the day of a moment, by local time."""
    return f"{at.astimezone():%Y-%m-%d}"


# --- how it looks -------------------------------------------------------------------------------------------


def _sites(entries: Sequence[_Entry], screen: Terminal) -> Iterator[Drawing]:
    """Yield the table, with what stands below each row; or a list, where there is no room for a table."""
    rows = [(e.domain, _(e.state), e.address, _end(e), _left(e), _renewal(e)) for e in entries]
    heads = [*map(_, _HEADS)]
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    room = screen.width - sum(widths[1:]) - len(_GAP) * (len(widths) - 1)
    if room < min(_LEAST_DOMAIN, widths[0]):
        for i, entry in enumerate(entries):
            if i:
                yield ""
            yield from _card(entry, screen)
    else:
        widths[0] = min(widths[0], room)
        columns = [
            Column(head, width=width, no_wrap=True, overflow=screen.cut)
            for head, width in zip(heads, widths, strict=True)
        ]
        table = Table(*columns, box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, header_style="dim")
        for entry, (domain, state, *rest) in zip(entries, rows, strict=True):
            name = Styled(domain if cell_len(domain) <= room else "", "bold")
            table.add_row(name, Styled(state, _TONES[entry.state]), *rest)
        # rich knows no cell of several columns, so what is between the rows is put there.
        head, *lines = screen.render_lines(table, pad=False)
        yield SegmentLines([head], new_lines=True)
        for entry, line in zip(entries, lines, strict=True):
            if cell_len(entry.domain) > room:
                yield Styled(entry.domain, "bold")
            yield SegmentLines([line], new_lines=True)
            yield from _below(entry, screen)
    yield from _legend(entries, screen)


def _one_site(view: View, found: Found, story: Story, screen: Terminal) -> Iterator[Drawing]:
    entry, facts, met = _entry(view, found), view.seen.published.facts, facts_of(view, found.visits)
    yield from _card(entry, screen)
    more = _grid(_LABEL_WIDTH)
    in_unicode = u_labels(entry.domain)
    if entry.domain != in_unicode == screen.legible(in_unicode):
        _add(more, _("in Unicode"), [in_unicode])
    if facts is not None:
        _add(more, _("names"), [", ".join(facts.names)])
        _add(more, _("issuer"), [facts.issuer])
        _add(more, "sha256", [facts.sha256])
    if met is not None and met.is_well:
        _add(more, _("client"), [_("{}, {}").format(_(met.text), distance(met.at - entry.now))])
    steps = [_step_text(step, entry.now) for step in view.decision.steps]
    _add(more, _("steps"), [text for text in steps if text not in entry.notes])
    _add(more, _("events"), [f"{moment(e.at, _TO_THE_SECOND)} {e.words}" for e in story.events])
    yield more
    yield from _legend([entry], screen)


def _below(entry: _Entry, screen: Terminal) -> Iterator[Drawing]:
    """Yield what stands below a row: the bar with the targets beside it, then the problems."""
    bar = _bar(entry.facts, entry, _BAR_WIDTH, screen) if entry.facts else Text(_("no certificate"))
    indent = len(_GAP) + _BAR_WIDTH + len(_GAP)
    if entry.facts and entry.shared:
        bar, indent = Text(), len(_GAP)
    together = _(", ").join(entry.served)
    below = _grid(indent)
    rows = entry.served if cell_len(together) > screen.width - indent else [together]
    for i, served in enumerate(rows if bar or together else ()):
        below.add_row(Text.assemble(_GAP, bar) if i == 0 else "", served)
    yield below
    yield _notes_of(entry)


def _notes_of(entry: _Entry) -> Table:
    notes = _grid(len(_GAP) + 2)
    for i, note in enumerate(entry.notes):
        mark = "" if i else "! " if entry.state == "failing" or entry.is_warned else "- "
        notes.add_row(
            _GAP + mark, note, style=None if i else _TONES["pending" if entry.is_warned else entry.state]
        )
    return notes


def _card(entry: _Entry, screen: Terminal) -> Iterator[Drawing]:
    """Yield a site as a list of lines, each fact with its label."""
    yield Text.assemble((entry.domain, "bold"), " ", (_(entry.state), _TONES[entry.state]))
    card = _grid(_LABEL_WIDTH)
    _add(card, _("address"), entry.every_address or [entry.address])
    if entry.facts is not None:
        is_over, left = entry.facts.not_after <= entry.now, _left(entry)
        dates = _("{} to {}, {}").format(
            _day(entry.facts.not_before), _end(entry), left if is_over else _("{} left").format(left)
        )
        _add(card, _("certificate"), [dates])
        width = max(min(_BAR_WIDTH, screen.width - _LABEL_WIDTH), 1)
        card.add_row("", _bar(entry.facts, entry, width, screen))
    else:
        _add(card, _("certificate"), [_("none")])
    if entry.shared:
        _add(card, _("renewal"), [_renewal(entry)])
    elif entry.renewal is not None:
        form = _("due since {}") if entry.renewal <= entry.now else "{}"
        _add(card, _("renewal"), [form.format(_moment(entry.renewal, entry.now))])
    _add(card, _("served by"), entry.served)
    yield card
    yield _notes_of(entry)


def _grid(width: int) -> Table:
    """Return an empty grid of a column so wide, and one for text that is broken at its end."""
    return Table.grid(Column(width=width, no_wrap=True), Column(overflow="fold"))


def _add(grid: Table, label: str, texts: Sequence[str]) -> None:
    """Add texts behind one label; nothing without a text."""
    for i, text in enumerate(texts):
        grid.add_row(Styled(f"{_GAP}{label}" if i == 0 else "", "dim"), text)


def _end(entry: _Entry) -> str:
    return _day(entry.facts.not_after) if entry.facts else "-"


def _letters(screen: Terminal) -> str:
    """Return the letters of a bar: the past, now, what comes, renewal, and what is after it."""
    letters = "█◆░│▒"
    return letters if screen.legible(letters) == letters else "#*-|."


def _bar(facts: LeafFacts, entry: _Entry, width: int, screen: Terminal) -> Text:
    """Return the life of a certificate in `width` cells, from its issue to its end."""
    renewal = entry.renewal
    past, here, ahead, due, late = tuple(_letters(screen))
    lifetime = max(facts.lifetime, timedelta(seconds=1))

    def place(moment: datetime) -> int:
        return min(max(int((moment - facts.not_before) / lifetime * width), 0), width - 1)

    now_at, renewal_at = place(entry.now), width if renewal is None else place(renewal)
    bar = [past if i < now_at else ahead if i < renewal_at else late for i in range(width)]
    if renewal is not None:
        bar[renewal_at] = due
    bar[now_at] = here
    styles = {here: "bold", ahead: "dim", late: "yellow"}
    return Text.assemble(*(("".join(run), styles.get(letter, "")) for letter, run in groupby(bar)))


def _legend(entries: Sequence[_Entry], screen: Terminal) -> Iterator[Drawing]:
    if any(entry.facts is not None for entry in entries):
        meanings = (_("past"), _("now"), _("ahead"), _("renewal"), _("to the end"))
        words = zip(_letters(screen), meanings, strict=True)
        yield ""
        yield Styled(Columns([f"{letter} {word}" for letter, word in words], (0, len(_GAP))), "dim")
