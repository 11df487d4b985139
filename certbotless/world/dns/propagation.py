"""Wait until the authoritative servers of a zone show what was written."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ...base.clock import Clock, Pace
from ...base.errors import PropagationTimeout
from ...base.log_context import waits_for
from ...base.words import N_, Text
from .query import Server, ask_all, speaks

logger = logging.getLogger(__name__)

# Servers that never answered are left out after this, if another one answers.
SILENCE_S = 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that shall be seen at a name; `among`: or some of these values, and no other one."""

    fqdn: str
    type: str
    value: str
    among: frozenset[str] = frozenset()

    def is_in(self, values: Collection[str]) -> bool:
        """Whether an answer with these values shows it."""
        if self.among:
            return bool(values) and self.among.issuperset(values)
        return self.value in values


def wait_until_shown(
    servers: Sequence[Server],
    wanted: Collection[Wanted],
    clock: Clock,
    timeout_s: float,
    *,
    blind_s: float = SILENCE_S,
) -> bool:
    """Return True as soon as every server that answers shows every wanted value.

    An answer without authority comes from another server, whose values may be old, and does not count. But a
    txt value in it is ours, whichever server shows it. A silent address is left out if another one of the
    same server answers; a server that is silent at all of them is left out after 30 s, with a warning, if
    another one answers.

    Returns:
        False where for `blind_s` (`timeout_s` at most) no server has spoken for the zone: the CA may see it.

    Raises:
        PropagationTimeout: after `timeout_s` a server still answers without a value.
    """
    pace = Pace(clock, timeout_s, first_s=0.1, most_s=5)
    waiting, told = _Waiting(servers, wanted), ""
    while True:
        waiting.ask()
        waiting.leave_out_silent(is_late=pace.waited_s >= SILENCE_S or pace.expired)
        if servers and not waiting.missing:
            logger.debug("dns.shown names=%s after_s=%.1f", len(wanted), pace.waited_s)
            return True
        if not waiting.answered and (pace.waited_s >= blind_s or pace.expired):
            if waiting.seen == set(wanted):
                return True
            named = waiting.faults_of(servers) or "none"
            logger.warning("dns.all_silent servers=%s waited_s=%.0f", named, pace.waited_s)
            return False
        if pace.expired:
            fqdns = ", ".join(sorted({item.fqdn for _, item in waiting.missing}))
            raise PropagationTimeout(
                Text("after {:.0f} s {} does not show {}", timeout_s, waiting.late, fqdns),
                hint=Text("check the zone in the Alidns console; or raise dns.propagation_timeout"),
            )
        if waiting.late != told:
            told = waiting.late
            extra = waits_for(N_("the name servers to show it"), told)
            logger.debug("dns.waiting servers=%s", told, extra=extra)
        pace.wait()


class _Waiting:
    """What is still missing, and how each server has answered so far.

    Attributes:
        missing: each value with a server that does not show it yet.
        seen: the values that some server has shown.
        answered: the servers that speak for the zone.
    """

    def __init__(self, servers: Sequence[Server], wanted: Collection[Wanted]) -> None:
        self._servers, self._wanted = servers, wanted
        self.missing = {(server, item) for server in servers for item in wanted}
        self.seen: set[Wanted] = set()
        self.answered: set[Server] = set()
        self._asked: Counter[Server] = Counter()
        self._faults: dict[Server, str] = {}

    def ask(self) -> None:
        """Ask each server for the values that it does not show yet."""
        # Two values at one name, those of a name and its wildcard, are one question.
        for fqdn, rdtype in sorted({(item.fqdn, item.type) for _, item in self.missing}):
            late = sorted({s for s, item in self.missing if item.fqdn == fqdn}, key=self._servers.index)
            self._asked.update(late)
            for server, answer in zip(late, ask_all(late, fqdn, rdtype), strict=True):
                there = {i for i in self._wanted if i.fqdn == fqdn and i.is_in(answer.values or ())}
                # A txt value is new: a resolver that was given may say for minutes that it is not there.
                if speaks(server, answer) and not (rdtype == "TXT" and answer.may_be_old):
                    self.answered.add(server)
                else:
                    self._faults[server] = answer.fault or "no_authority"
                    there = {item for item in there if item.type == "TXT"}
                self.seen |= there
                self.missing -= {(server, item) for item in there}

    def leave_out_silent(self, *, is_late: bool) -> None:
        """Wait no longer for a silent address of a server that answers, nor for a silent server once late."""
        silent = {server for server, _ in self.missing} - self.answered
        names = {server.name for server in self.answered}
        # The first packet to an address may be lost.
        left_out = {s for s in silent if s.name in names and self._asked[s] > 1}
        if is_late and self.answered and silent != left_out:
            logger.warning("dns.server_silent servers=%s", self.faults_of(silent - left_out))
            left_out = silent
        self.missing = {(server, item) for server, item in self.missing if server not in left_out}

    @property
    def late(self) -> str:
        """The names of the servers that are waited for."""
        return ",".join(sorted({server.name for server, _ in self.missing}))

    def faults_of(self, servers: Collection[Server]) -> str:
        """Return the names of these servers, each with why its last answer did not count."""
        return ",".join(sorted({f"{server.name}({self._faults[server]})" for server in servers}))
