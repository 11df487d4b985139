"""Wait until the authoritative servers of a zone show what was written."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...base.clock import Clock, Pace
from ...base.errors import PropagationTimeout
from ...base.log_context import waits_for
from .query import Server, ask_all, speaks

logger = logging.getLogger(__name__)

# Servers that never answered are left out after this, if another one answers.
SILENCE_S = 30


@dataclass(frozen=True, slots=True)
class Wanted:
    """A value that shall be seen at a name."""

    fqdn: str
    type: str
    value: str


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
    missing = {(server, item) for server in servers for item in wanted}
    seen: set[Wanted] = set()
    answered: set[Server] = set()
    asked: Counter[Server] = Counter()
    faults: dict[Server, str] = {}
    told = ""
    while True:
        # Two values at one name, those of a name and its wildcard, are one question.
        for fqdn, rdtype in sorted({(item.fqdn, item.type) for _, item in missing}):
            late = sorted({server for server, item in missing if item.fqdn == fqdn}, key=servers.index)
            asked.update(late)
            for server, answer in zip(late, ask_all(late, fqdn, rdtype), strict=True):
                there = {i for i in wanted if i.fqdn == fqdn and i.value in (answer.values or ())}
                # A txt value is new: a resolver that was given may say for minutes that it is not there.
                if speaks(server, answer) and not (rdtype == "TXT" and answer.may_be_old):
                    answered.add(server)
                else:
                    faults[server] = answer.fault or "no_authority"
                    there = {item for item in there if item.type == "TXT"}
                seen |= there
                missing -= {(server, item) for item in there}
        silent = {server for server, _ in missing} - answered
        names = {server.name for server in answered}
        # Nothing is lost with an address of a server that answers at another one; the first packet may be.
        missing = {(s, i) for s, i in missing if not (s in silent and s.name in names and asked[s] > 1)}
        silent = {server for server, _ in missing} - answered
        if silent and answered and (pace.waited_s >= SILENCE_S or pace.expired):
            logger.warning("dns.server_silent servers=%s", _named_faults(silent, faults))
            missing = {(server, item) for server, item in missing if server in answered}
        if servers and not missing:
            logger.debug("dns.shown names=%s after_s=%.1f", len(wanted), pace.waited_s)
            return True
        if not answered and (pace.waited_s >= blind_s or pace.expired):
            if seen == set(wanted):
                return True
            named = _named_faults(servers, faults) or "none"
            logger.warning("dns.all_silent servers=%s waited_s=%.0f", named, pace.waited_s)
            return False
        if pace.expired:
            break
        if (late_ones := _names({server for server, _ in missing})) != told:
            told = late_ones
            extra = waits_for("the name servers to show it", told)
            logger.debug("dns.waiting servers=%s", told, extra=extra)
        pace.wait()
    fqdns = ", ".join(sorted({item.fqdn for _, item in missing}))
    raise PropagationTimeout(
        f"after {timeout_s:.0f} s {_names({server for server, _ in missing})} does not show {fqdns}",
        hint="look at the zone in the Alidns console; dns.propagation_timeout may be raised",
    )


def _names(servers: Collection[Server]) -> str:
    return ",".join(sorted({server.name for server in servers}))


def _named_faults(servers: Collection[Server], faults: Mapping[Server, str]) -> str:
    return ",".join(sorted({f"{server.name}({faults[server]})" for server in servers}))
