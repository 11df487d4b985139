"""Pure: what stands now + what has been told -> what is to be told now. Light.

Level-triggered, as all else: a matter is one fact of one site (or the configuration file) that may be in
trouble, and the book has of each what people believe. They are told when that has been wrong for a while: it
began, or it is over; once a day, that it lasts. So a service that comes and goes is told of a few times a day
at most, and what is lost of the book costs a message, never a flood.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Literal

from .client import ClientFacts, facts_of
from .clock import is_believable
from .decide import NO_ANSWER, NOBODY_SPEAKS, Step
from .leaf import LeafFacts
from .look import View
from .state import Failure

# How long the daemon lets a trouble stand, and its end, before it is told: two more looks, if they come soon.
_LOOKS, _PATIENCE = 2, timedelta(minutes=2)
_DAY = timedelta(days=1)
# About one matter, and messages in all: after these it is told of when a day has gone by.
_MOST_A_DAY = 4
_MOST_MESSAGES_A_DAY = 24
# What lasts is told of with another matter that is due, if its own day is nearly over: many sites that fail
# do not remind of it one by one.
_NEARLY_A_DAY = timedelta(hours=18)
# A renewal that is on time comes with a third of the lifetime left, or with a half of a short one.
_SHARE_AT_THE_END = 6
# A client is there each hour; what it met before the daemon was stopped says nothing of now.
_VISIT_COUNTS = timedelta(hours=2)
# What was issued longer ago is no news: a window of a day may have been waited for.
_NEW = timedelta(days=2)
Kind = Literal["success", "warning", "failure"]
# Of which fact a step of a decision is; what is not listed is about the files.
_FILES = "files"
_FACTS = {
    "record": "record",
    "record6": "record",
    "confirm": "record",
    "confirm6": "record",
    "order": "order",
    "collect": "order",
    "adopt": "order",
    "deploy": "deploy",
    "redeploy": "deploy",
}
# What may be in trouble; `config` is the file's, and no site's.
_ALL_FACTS = frozenset(
    ("config", "deploy", "rollback", "order", "record", _FILES, "sight", "expiry", "client")
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong: what, what to do, and when it is tried again, if it is."""

    what: str
    hint: str = ""
    retry_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Matter:
    """What is known, and has been told, of one fact.

    Attributes:
        is_on: whether it was in trouble when it was last seen; `since` is when that began, or was over.
        begun_at: when the trouble began; `count` is how often it has come since, with less than a day between
            two messages.
        is_told: whether people believe that it is in trouble.
        told: when they were told, in the last day and at last.
    """

    is_on: bool
    since: datetime
    begun_at: datetime
    count: int = 1
    is_told: bool = False
    told: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Known:
    """The certificate of a site that people know of, and when they were told of one in the last day."""

    sha256: str
    told: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Book:
    """What people know.

    Attributes:
        begun_at: since when they are told; a certificate that was issued before is no news.
        certificates: by domain.
        matters: by domain and fact; those of the file have an empty domain.
        sent: when they were told anything, in the last day.
    """

    begun_at: datetime
    certificates: Mapping[str, Known] = field(default_factory=dict)
    matters: Mapping[tuple[str, str], Matter] = field(default_factory=dict)
    sent: tuple[datetime, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What stands at one moment.

    Attributes:
        domains: of all sites; what was not seen now stays as it was.
        views: what was seen; `visits` is what clients met.
        refused: what is wrong with an edit of the file, a line each.
    """

    at: datetime
    domains: frozenset[str]
    views: Sequence[View]
    visits: Mapping[str, ClientFacts]
    refused: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """What people are told: plain text, `kind` is how grave it is."""

    at: datetime
    kind: Kind
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to tell: of a matter what it is and, unless it is over, the trouble; or of a certificate.

    Attributes:
        fact: that the matter is about.
    """

    kind: Literal["begun", "lasting", "over", "issued", "renewed"]
    domain: str
    fact: str = ""
    matter: Matter | None = None
    trouble: Trouble | None = None
    leaf: LeafFacts | None = None


def patience(check_every: timedelta) -> timedelta:
    """Return how long the daemon lets a matter stand before it is told of."""
    return min(_LOOKS * check_every, _PATIENCE)


def tell(book: Book, facts: Facts, patience: timedelta) -> tuple[Book, list[Item]]:
    """Return the book as it is when the news are on their way, and the news, none in most looks.

    Args:
        patience: how long a trouble must have stood, or been over, to be told of.
    """
    now, items = facts.at, list[Item]()
    sent = _of_the_day(book.sent, now)
    may_tell = len(sent) < _MOST_MESSAGES_A_DAY
    matters, troubles = _matters(book, facts)
    dues = {key: _due(matter, now, patience, _DAY) for key, (matter, is_seen) in matters.items() if is_seen}
    if "lasting" in dues.values():
        dues = {key: _due(matters[key][0], now, patience, _NEARLY_A_DAY) for key in dues}
    after = {}
    for key, (matter, _) in matters.items():
        kind = dues.get(key) if may_tell else None
        if kind is not None:
            items.append(Item(kind, *key, matter, troubles.get(key)))
            after[key] = replace(matter, is_told=kind != "over", told=(*matter.told, now))
        elif matter.is_on or matter.is_told or matter.told:
            after[key] = matter
    certificates = {
        domain: known
        for domain, known in book.certificates.items()
        # A site that is taken out and put back, or is another file's, is not told of again.
        if domain in facts.domains or (known.told and now - known.told[-1] < _NEW)
    }
    for view in facts.views:
        known, item = _certificate(view, certificates.get(view.site.domain), book.begun_at, now)
        if item is None or may_tell:
            items += [item] if item else []
            certificates |= {view.site.domain: known} if known else {}
    sent = (*sent, now) if items else book.sent
    return replace(book, certificates=certificates, matters=after, sent=sent), items


_Key = tuple[str, str]


def _matters(book: Book, facts: Facts) -> tuple[dict[_Key, tuple[Matter, bool]], dict[_Key, Trouble]]:
    """Return each matter as it is after this look, and whether it was seen; and the troubles of now."""
    troubles = {("", "config"): Trouble(facts.refused[0])} if facts.refused else {}
    well = {("", "config")} - troubles.keys()
    for view in facts.views:
        domain, met = view.site.domain, _met(view, facts)
        found = troubles_of(view, met)
        troubles |= {(domain, fact): trouble for fact, trouble in found.items()}
        well |= {(domain, fact) for fact in _ALL_FACTS - found.keys() - _open(view, found, met)}
    matters = {}
    for key in sorted(book.matters.keys() | troubles.keys()):
        before, domain = book.matters.get(key), key[0]
        if domain and domain not in facts.domains:
            continue  # no site of ours any more
        if before is not None and key not in troubles and key not in well:
            matters[key] = before, False
        else:
            matters[key] = _seen(before, key in troubles, facts.at), True
    return matters, troubles


def _met(view: View, facts: Facts) -> ClientFacts | None:
    """Return what a client met, unless that says nothing: it is long ago, or was too early to say."""
    met = facts_of(view, facts.visits)
    if met is None or met.resolved is None or abs(facts.at - met.at) >= _VISIT_COUNTS:
        return None
    return met


def _open(view: View, found: Collection[str], met: ClientFacts | None) -> frozenset[str]:
    """Return the facts that are not well, even if nothing is known to be wrong: what was so counts as ever.

    Nobody knows what is behind a silence. What is to be done yet is not done: its failure may be forgotten by
    an edit, or it waits. And nothing can be served, nor grow old, that is not there.
    """
    if "sight" in found:
        return _ALL_FACTS
    undone = {_fact_of(step) for step in view.decision.steps}
    if not view.seen.published.is_intact:
        undone |= {"deploy", "rollback", "expiry"}
    return frozenset(undone | ({"client"} if met is None else set()))


def _fact_of(step: Step) -> str:
    # Where no name server speaks for the zone, and the API could not be asked, the record may be right.
    return "sight" if step.reason == NOBODY_SPEAKS else _FACTS.get(step.action, _FILES)


def known_fact(text: object) -> str:
    """Return the name of a fact as it was written down. Raises ValueError for what is none."""
    if text not in _ALL_FACTS:
        raise ValueError("no fact that is known")
    return str(text)


def known_kind(text: object) -> Kind:
    """Return the kind of a message as it was written down. Raises KeyError for what is none."""
    kinds: dict[object, Kind] = {"success": "success", "warning": "warning", "failure": "failure"}
    return kinds[text]


# --- what is in trouble -------------------------------------------------------------------------------------


def troubles_of(view: View, met: ClientFacts | None) -> dict[str, Trouble]:
    """Return what is wrong with a site, by the fact that it is about."""
    now, facts = view.seen.at, view.seen.published.facts
    found: dict[str, Trouble] = {}
    for problem in view.decision.problems:
        found.setdefault("sight", _of_failure(problem))
    for step in view.decision.steps:
        # A failure of what is not asked for, as of a renewal that was forced, leaves the site well.
        failure = view.standing_failures.get(step.key)
        if failure is not None and (not failure.is_waiting or _is_late(step, view)):
            # That the new certificate was refused is what has been told by then.
            is_rollback = view.seen.refused and step.action == "redeploy"
            fact = "rollback" if is_rollback else _fact_of(step)
            found.setdefault(fact, _of_failure(failure))
        elif failure is None and step.action == "order" and facts is None and step.wait_until is not None:
            found.setdefault("order", Trouble(step.wait_reason, retry_at=step.wait_until))
    if view.seen.refused is not None:
        found.setdefault("rollback", Trouble("the service did not come up with the new certificate"))
    if facts is not None and facts.not_after - now < facts.lifetime / _SHARE_AT_THE_END:
        found["expiry"] = Trouble(_end_of(facts, now), f"certbotless status {view.site.domain} says why")
    if met is not None and not met.is_well:
        found["client"] = Trouble(met.text, "certbotless doctor names the cure")
    return found


def _is_late(step: Step, view: View) -> bool:
    """Whether the certificate that was replaced is near its end, and may be served still."""
    deploy_by = view.remembered.deploy_by
    return deploy_by is not None and deploy_by <= view.seen.at and NO_ANSWER not in step.reason


def _of_failure(failure: Failure) -> Trouble:
    return Trouble(failure.what, failure.hint, failure.retry_at)


def _end_of(facts: LeafFacts, now: datetime) -> str:
    left = facts.not_after - now
    if left <= timedelta():
        return f"the certificate has expired at {moment(facts.not_after)}"
    span = f"{left.days} days" if left >= 2 * _DAY else f"{left / timedelta(hours=1):.0f} hours"
    return f"the certificate will expire in {span}, at {moment(facts.not_after)}"


# --- whether it is news -------------------------------------------------------------------------------------


def _seen(before: Matter | None, is_on: bool, now: datetime) -> Matter:
    """Return the matter as it is after a look."""
    if before is None:
        return Matter(is_on, now, now)
    told = _of_the_day(before.told, now)
    if before.is_told and not told:
        told = tuple(at for at in before.told[-1:] if is_believable(at, now))
    # What lies ahead was noted by a clock that was wrong.
    since = min(before.since, now)
    if is_on == before.is_on:
        return replace(before, since=since, told=told)
    if not is_on:
        return replace(before, is_on=False, since=now, told=told)
    if before.is_told or told:
        return replace(before, is_on=True, since=now, count=before.count + 1, told=told)
    return Matter(True, now, now, told=told)


def _due(
    matter: Matter, now: datetime, patience: timedelta, again_after: timedelta
) -> Literal["begun", "lasting", "over"] | None:
    """Return what is to be told of the matter now; None for nothing."""
    if len(_of_the_day(matter.told, now)) >= _MOST_A_DAY:
        return None
    if matter.is_on and matter.is_told:
        return None if matter.told and now - matter.told[-1] < again_after else "lasting"
    if matter.is_on == matter.is_told or now - matter.since < patience:
        return None
    return "begun" if matter.is_on else "over"


def _of_the_day(moments: Iterable[datetime], now: datetime) -> tuple[datetime, ...]:
    """Return the moments of the last day; what lies ahead was noted by a clock that was wrong."""
    return tuple(at for at in moments if now - at < _DAY and is_believable(at, now))


def _certificate(
    view: View, known: Known | None, begun_at: datetime, now: datetime
) -> tuple[Known | None, Item | None]:
    """Return the certificate that people know of after this look, and what they are told of it."""
    domain, facts, origin = view.site.domain, view.seen.published.facts, view.seen.published.origin
    if facts is None or origin is None or (known is not None and known.sha256 == facts.sha256):
        return known, None
    told = _of_the_day(known.told, now) if known else ()
    if origin.issued_at <= begun_at or now - origin.issued_at >= _NEW:
        return Known(facts.sha256, told), None
    if view.state != "ok" or len(told) >= _MOST_A_DAY:
        return known, None
    kind: Literal["issued", "renewed"] = "issued" if known is None else "renewed"
    return Known(facts.sha256, (*told, now)), Item(kind, domain, leaf=facts)


def moment(at: datetime) -> str:
    """Return a moment as people read it."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
