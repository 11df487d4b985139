"""What do name servers show of a site's records, and does one speak for its zone? Light.

A router, a provider or a proxy may take port 53 over, or block it. Then no server speaks for the zone, and
what the API listed last counts (state.Listed, which a run writes).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..base.errors import CertbotlessError, DnsError
from ..base.words import Text
from ..model.memory import SiteState
from ..model.observation import Answers
from ..model.situation import Goal
from ..world.dns import hijack
from ..world.dns.nameservers import NameServers
from ..world.dns.query import Answer, Question, Server, ask_each, speaks


@dataclass(frozen=True, slots=True)
class SeenAnswers:
    """What was shown of one site at one moment.

    Attributes:
        at: when, aware UTC.
        answers: by name and type of record, for each record that the site wants; None where the zone is not
            known yet.
        fault: why none did; None where one spoke for every name.
    """

    at: datetime
    answers: Mapping[Question, Answers] | None
    fault: CertbotlessError | None = None

    @property
    def unanswered(self) -> frozenset[str]:
        """The names that no server spoke for."""
        return frozenset(fqdn for (fqdn, _), values in (self.answers or {}).items() if set(values) <= {None})


# From what the file asks, what is remembered of the site, and now to what is shown.
AnswerSource = Callable[[Goal, SiteState, datetime], SeenAnswers]


def ask_servers(servers: NameServers) -> AnswerSource:
    """Return the source that asks the name servers each time.

    Takes at most 3 s, and at first what `NameServers.of` takes as well.
    """

    def shown(goal: Goal, state: SiteState, now: datetime) -> SeenAnswers:
        questions, zone = goal.site.wanted_records, goal.site.zone or state.zone
        if not questions:
            return SeenAnswers(now, {})
        if servers.need_zone and not zone:
            return SeenAnswers(now, None)
        try:
            asked = servers.of(zone)
        except CertbotlessError as exc:
            servers.note(zone, is_blind=True)
            return SeenAnswers(now, {each: () for each in questions}, exc)
        found = ask_each(asked, questions)
        answers = {each: _that_count(asked, told) for each, told in zip(questions, found, strict=True)}
        seen = SeenAnswers(now, answers)
        servers.note(zone, is_blind=bool(seen.unanswered))
        told = [answer for each in found for answer in each]
        return replace(seen, fault=why_unreachable(asked, told, zone)) if seen.unanswered else seen

    return shown


def why_unreachable(servers: Sequence[Server], answers: Sequence[Answer], zone: str) -> DnsError:
    """Say why no server speaks for a zone."""
    values = [value for answer in answers for value in answer.values or ()]
    if hijack.is_made_up([*values, *(server.address for server in servers)]):
        return DnsError(Text("port 53 is intercepted: {}", Text(hijack.MADE_UP)), hint=hijack.cure(zone))
    if any(answer.values is not None for answer in answers):
        names = ", ".join(sorted({server.name for server in servers}))
        return DnsError(
            Text("port 53 is intercepted: another server answers instead of {}", names),
            hint=Text("configure the router, provider or proxy to pass port 53 unchanged"),
        )
    faults = ", ".join(sorted({answer.fault for answer in answers}))
    return DnsError(
        Text("no authoritative name server answers ({})", faults),
        hint=Text("check the network; allow this machine to reach port 53, by UDP and TCP"),
    )


def _that_count(servers: Sequence[Server], answers: Sequence[Answer]) -> Answers:
    heard = zip(servers, answers, strict=True)
    return tuple(answer.values if speaks(server, answer) else None for server, answer in heard)
