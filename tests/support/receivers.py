"""A receiver of messages, as the checks of a daemon would write to it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from certbotless.model.view import ClientFacts, View
from certbotless.notify import alerts, message
from certbotless.notify.alerts import Sent, Steady
from certbotless.notify.message import Message
from support.conditions import HOST
from support.views import NOW

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def at(shown: View, moment: datetime) -> View:
    """Return the same view, seen at another moment."""
    return replace(shown, seen=replace(shown.seen, at=moment))


@dataclass
class Reader:
    """A receiver of all messages: each look is a minute after the one before."""

    sent: Sent = field(default_factory=Sent)
    steady: Steady = field(default_factory=Steady)
    now: datetime = NOW
    at: list[datetime] = field(default_factory=list)
    messages: list[Message] = field(default_factory=list)

    def look(
        self,
        *views: View,
        looks: int = 1,
        every: timedelta = MINUTE,
        refused: Sequence[str] = (),
        visits: dict[str, ClientFacts] | None = None,
        domains: frozenset[str] | None = None,
        patience: timedelta | None = None,
    ) -> list[str]:
        """Look so often at the same, and return the subjects of what was sent."""
        subjects = []
        wait = alerts.patience(MINUTE) if patience is None else patience
        for _ in range(looks):
            shown = [at(each, self.now) for each in views]
            known = domains if domains is not None else {each.site.domain for each in views}
            found = alerts.conditions(self.now, known, shown, visits or {}, refused)
            ripe = self.steady.follow(found, self.sent.problems, wait)
            then, due = alerts.due(self.sent, found, ripe)
            if due and not alerts.has_enough(self.sent, self.now):
                self.sent = then
                assert alerts.due(self.sent, found, ripe)[1] == []
                text = message.message_of(due, HOST, self.now)
                self.at.append(self.now)
                self.messages.append(text)
                subjects.append(text.subject.removeprefix(f"certbotless on {HOST}: "))
            self.now += every
        return subjects

    def most_of_a_day(self) -> int:
        """Return the largest number of messages within 24 hours."""
        return max((sum(timedelta() <= b - a < DAY for b in self.at) for a in self.at), default=0)
