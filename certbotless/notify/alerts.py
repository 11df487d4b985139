"""Decide which messages are due: what is wrong now, and what one receiver was sent before. Pure and light.

A problem is one fact of one site, of the configuration file or of the local CA that is wrong. A receiver gets
a message when it begins, one a day while it lasts, and one when it is over. What was not sent is decided
again at the next check, from what is true then: after a lost file or a killed process one message may come
twice, and none that still matters is lost.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from shlex import quote
from typing import Literal

from ..base.checked import Model
from ..base.clock import is_believable
from ..base.times import BoundedMoment, moment, span
from ..base.words import _
from ..model.certificate import LeafFacts
from ..model.decision import Fact, Step, failures_of
from ..model.memory import Failure
from ..model.reason import Why
from ..model.view import ClientFacts, View, Visits, facts_of
from .problem import NEW, Key, Problem
from .root import ROOT, ROTATION, Root, root_of

# How long the daemon waits before it reports a problem, or its end: two more checks, if they come soon.
_LOOKS, _PATIENCE = 2, timedelta(minutes=2)
_DAY = timedelta(days=1)
# About one problem (or the certificates of one site), and in all, to one receiver.
_MOST_A_DAY, _MOST_MESSAGES_A_DAY = 4, 24
# When one problem has its reminder, all others have theirs with it whose last message is that old: many sites
# that fail are few messages.
_NEARLY_A_DAY = timedelta(hours=18)
# A client visits each hour; an older visit, from before the daemon was stopped, says nothing of now.
_VISIT_COUNTS = timedelta(hours=2)
# The names of facts that `notify.json` has of its own.
_NAMES: Mapping[Fact, str] = {"certificate": "order", "served": "deploy", "look": "sight"}
# What may be wrong; `config` is the fact of the configuration file.
_ALL_FACTS = frozenset(
    ("config", "deploy", "rollback", "order", "record", "files", "sight", "expiry", "client")
)

Kind = Literal["begun", "lasting", "over", "issued", "renewed", "made"]


# --- what is wrong now --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Conditions:
    """How everything is at one moment. A fact that is neither a problem nor right could not be judged.

    Attributes:
        problems: what is wrong.
        right: what is known to be right.
        certificates: the new ones by domain, where the site is all right, each with whether it is a renewal,
            and what is to be said of the CA that gave it, if anything.
        root: how the root of the local CA is.
    """

    at: datetime
    domains: frozenset[str]
    problems: Mapping[Key, Problem]
    right: Collection[Key]
    certificates: Mapping[str, tuple[LeafFacts, bool, str]]
    root: Root

    def covers(self, key: Key) -> bool:
        """Whether it is about a site of the configuration, the file, or a root that is not given up."""
        domain, _, fact = key.partition(" ")
        is_given_up = (
            fact.startswith(ROTATION) and bool(self.root.rotations) and key not in self.root.rotations
        )
        return domain in self.domains if domain else not is_given_up


def conditions(
    now: datetime, domains: Iterable[str], views: Sequence[View], visits: Visits, refused: Sequence[str] = ()
) -> Conditions:
    """Return how everything is now.

    Args:
        domains: of all sites; a site without a view, as one that is worked on, cannot be judged.
        refused: what is wrong with an edit of the configuration file, a line each.
    """
    root = root_of(views, now)
    problems = {" config": Problem(_(refused[0]))} if refused else {}
    right = {" config", *root.right} - problems.keys()
    problems |= root.problems
    certificates = {}
    for view in views:
        domain, met = view.site.domain, _met(view, visits, now)
        found = problems_of(view, met)
        problems |= {f"{domain} {fact}": problem for fact, problem in found.items()}
        right |= {f"{domain} {fact}" for fact in _ALL_FACTS - found.keys() - _open(view, found, met)}
        facts, origin = view.seen.published.facts, view.seen.published.origin
        # A certificate that sites share is reported once, as what it is.
        if view.state != "ok" or facts is None or origin is None or view.site.certificate:
            continue
        if now - origin.issued_at < NEW and is_believable(origin.issued_at, now):
            note = view.stand_in.spoken if view.stand_in else ""
            certificates[domain] = facts, bool(view.seen.published.previous), note
    return Conditions(now, frozenset(domains), problems, right, certificates, root)


def problems_of(view: View, met: ClientFacts | None) -> dict[str, Problem]:
    """Return what is wrong with a site, by kind of problem; `met` is the result of the last client visit."""
    now, facts = view.seen.at, view.seen.published.facts
    found: dict[str, Problem] = {}
    for failure in view.decision.problems:
        found.setdefault("sight", Problem(_(failure.what), _(failure.hint), failure.retry_at))
    failures = failures_of(view.decision.steps, view.standing_failures)
    # What keeps a root from being replaced is said once for all sites.
    for step in (each for each in view.decision.steps if each.action != "rotate"):
        # A failure of a step that is not asked for, as of a forced renewal, is no problem of the site.
        standing = failures.get(step.key)
        if standing is not None and (not standing.is_waiting or _is_late(step, view)):
            # That the service refused the new certificate is a problem of its own.
            is_rollback = view.seen.refused and step.action == "redeploy"
            fact = "rollback" if is_rollback else _fact_of(step)
            found.setdefault(fact, Problem(_(standing.what), _(standing.hint), standing.retry_at))
        elif standing is None and step.action == "order" and facts is None and step.wait_until is not None:
            found.setdefault("order", Problem(step.spoken_wait_reason, retry_at=step.wait_until))
    if view.seen.refused is not None:
        found.setdefault("rollback", Problem(_("the service did not come up with the new certificate")))
    shared = view.seen.shared.facts if view.seen.shared else None
    if facts is not None and facts.ends_soon(now) and facts != shared:
        found["expiry"] = Problem(
            _end_of(facts, now), _("the reason: certbotless status {}").format(quote(view.site.domain))
        )
    if met is not None and not met.is_well:
        found["client"] = Problem(_(met.text), _("certbotless doctor says what to do"))
    return found


def _met(view: View, visits: Visits, now: datetime) -> ClientFacts | None:
    """Return the result of the last client visit; None where it is too old, or was too early."""
    met = facts_of(view, visits)
    if met is None or met.resolved is None or abs(now - met.at) >= _VISIT_COUNTS:
        return None
    return met


def _open(view: View, found: Collection[str], met: ClientFacts | None) -> frozenset[str]:
    """Return the facts that are not known to be right, although no problem with them is known.

    Where the site cannot be seen, that is all of them. A step that is still due may have failed before an
    edit made us forget the failure. A certificate that is not there is neither served nor old.
    """
    if "sight" in found:
        return _ALL_FACTS
    undone = {_fact_of(step) for step in view.decision.steps if step.action != "rotate"}
    if not view.seen.published.is_intact:
        undone |= {"deploy", "rollback", "expiry"}
    return frozenset(undone | ({"client"} if met is None else set()))


def _fact_of(step: Step) -> str:
    return _NAMES.get(step.fact, step.fact)


def _is_late(step: Step, view: View) -> bool:
    """Whether the certificate that was replaced is near its end, and may still be served."""
    deploy_by = view.remembered.deploy_by
    return deploy_by is not None and deploy_by <= view.seen.at and not step.has(Why.NO_ANSWER)


def _end_of(facts: LeafFacts, now: datetime) -> str:
    left = facts.not_after - now
    if left <= timedelta():
        return _("the certificate expired at {}").format(moment(facts.not_after))
    return _("the certificate will expire in {}, at {}").format(span(left), moment(facts.not_after))


def patience(check_every: timedelta) -> timedelta:
    """Return for how long the daemon must have seen a problem, or its end, before a message is due."""
    return min(_LOOKS * check_every, _PATIENCE)


class Steady:
    """Since when each problem has lasted, or been gone, as this process has seen it."""

    def __init__(self) -> None:
        self._since: dict[Key, tuple[bool, datetime]] = {}

    def follow(self, found: Conditions, sent: Iterable[Key], patience: timedelta) -> dict[Key, datetime]:
        """Take in one check, and return since when each problem has been as it is, if for long enough.

        Args:
            sent: the problems that any receiver was sent.
            patience: for how long a problem must have lasted, or been gone.
        """
        before, self._since = self._since, {}
        for key in before.keys() | found.problems.keys() | set(sent):
            is_on = key in found.problems
            if is_on or key in found.right:
                was_on, since = before.get(key, (is_on, found.at))
                # A moment that lies ahead was noted before the clock was put back.
                self._since[key] = is_on, min(since, found.at) if is_on == was_on else found.at
            elif key in before and found.covers(key):
                self._since[key] = before[key]
        return {key: since for key, (_, since) in self._since.items() if found.at - since >= patience}


# --- what one receiver was sent, and what is due to it ------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SentProblem(Model):
    """The messages about one problem.

    Attributes:
        began_at: when the problem began; `is_on`: the last message did not say that it is over.
        at: when messages were sent: those of the last day at least, and the last one.
    """

    began_at: BoundedMoment
    is_on: bool
    at: tuple[BoundedMoment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent(Model):
    """What one receiver was sent.

    Attributes:
        tries: when messages were sent to it, whatever became of them, in the last day.
        last_at: when it last took one.
        certificates: when messages about new ones were sent, by ``DOMAIN SHA256``; those about a root too, by
            its short digits, without a domain.
        failure: why the last try failed; None where it did not, and a day later if nothing is due. A problem
            that comes and goes must not restart the pauses.
    """

    tries: tuple[BoundedMoment, ...] = ()
    last_at: BoundedMoment | None = None
    problems: dict[Key, SentProblem] = field(default_factory=dict)
    certificates: dict[str, BoundedMoment] = field(default_factory=dict)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to report: a problem, a new certificate, or a new root, whose `problem` says what to do.

    Attributes:
        fact, began_at: of the problem; `problem` is None when it is over.
        leaf: the certificate; `note` is what is to be said of its CA.
    """

    kind: Kind
    domain: str
    fact: str = ""
    began_at: datetime | None = None
    problem: Problem | None = None
    leaf: LeafFacts | None = None
    note: str = ""


def due(sent: Sent, found: Conditions, ripe: Mapping[Key, datetime]) -> tuple[Sent, list[Alert]]:
    """Return what one receiver is to be sent, in one message, and its `Sent` for when it has that message.

    Args:
        ripe: what `Steady.follow` returned.
    """
    now, alerts = found.at, list[Alert]()
    problems = {key: each for key, each in sent.problems.items() if found.covers(key)}
    daily = {key for key, problem in found.problems.items() if problem.remind_at is None}
    last = [each.at for key, each in problems.items() if each.is_on and key in daily]
    pause = _DAY if all(_lately(at, now) for at in last) else _NEARLY_A_DAY
    for key in sorted(problems.keys() | found.problems.keys()):
        before = problems.get(key)
        lately = _lately(before.at, now) if before else ()
        kind = _kind(key, before, found, ripe, pause) if len(lately) < _MOST_A_DAY else None
        if kind is not None:
            domain, fact = key.split(" ")
            began_at = before.began_at if before and before.is_on else ripe[key]
            alerts.append(Alert(kind, domain, fact, began_at, found.problems.get(key)))
            problems[key] = SentProblem(began_at=began_at, is_on=kind != "over", at=(*lately, now))
        elif before and not before.is_on and not lately:
            del problems[key]
    certificates = {name: at for name, at in sent.certificates.items() if now - at < NEW}
    # Messages about its rotation say that there is a root.
    certificates |= {
        f" {alert.fact.removeprefix(ROTATION)}": now for alert in alerts if alert.fact.startswith(ROTATION)
    }
    if (made := found.root.made) and f" {made[0]}" not in certificates:
        alerts.append(Alert("made", "", ROOT, problem=made[1]))
        certificates[f" {made[0]}"] = now
    for domain, (leaf, is_renewal, note) in found.certificates.items():
        lately = _lately((at for name, at in certificates.items() if name.startswith(f"{domain} ")), now)
        name = f"{domain} {leaf.sha256}"
        if name not in certificates and len(lately) < _MOST_A_DAY:
            alerts.append(Alert("renewed" if is_renewal else "issued", domain, leaf=leaf, note=note))
            certificates[name] = now
    if not alerts:
        is_past = sent.failure is not None and not _lately([sent.failure.at], now)
        return (replace(sent, failure=None) if is_past else sent), []
    tries = (*_lately(sent.tries, now), now)
    return Sent(tries=tries, last_at=now, problems=problems, certificates=certificates), alerts


def has_enough(sent: Sent, now: datetime) -> bool:
    """Whether the receiver was sent so much in the last day that all else must wait."""
    return len(_lately(sent.tries, now)) >= _MOST_MESSAGES_A_DAY


def _kind(
    key: Key, before: SentProblem | None, found: Conditions, ripe: Mapping[Key, datetime], pause: timedelta
) -> Kind | None:
    """Return which message about the problem is due; None for none."""
    is_on, was_on = key in found.problems, before is not None and before.is_on
    if before is not None and is_on and was_on:
        return "lasting" if _is_reminder_due(before, found.problems[key], found.at, pause) else None
    if key not in ripe:
        return None
    if is_on:
        return "begun"
    return "over" if was_on and key in found.right else None


def _is_reminder_due(before: SentProblem, problem: Problem, now: datetime, pause: timedelta) -> bool:
    if problem.remind_at is None:
        return not _lately(before.at, now, pause)
    last = max((at for at in before.at if is_believable(at, now)), default=None)
    return any(at <= now and (last is None or last < at) for at in problem.remind_at)


def _lately(moments: Iterable[datetime], now: datetime, span: timedelta = _DAY) -> tuple[datetime, ...]:
    """Return the moments of the last day; one that lies ahead was noted by a clock that was wrong."""
    return tuple(at for at in moments if now - at < span and is_believable(at, now))
