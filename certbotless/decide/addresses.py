"""Which addresses of a list the A record carries: one at which no certificate is seen is withdrawn. Pure.

An address is withdrawn after 3 checks and 3 minutes without a valid certificate there, if one is seen at
another address. It comes back with the first certificate that is seen there. Where nothing can be seen it
stays.

Source: docs/decisions/decide.md, "A list of addresses".
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from ..base.clock import is_believable
from ..model.decision import Step
from ..model.memory import Silence
from ..model.observation import Observation
from ..model.reason import Why, because
from ..model.situation import Situation

# A registry restarts within seconds, a machine within 3 minutes at most.
CHECKS, LASTS = 3, timedelta(minutes=3)
# A run checks a site several times within a second: such checks count as one.
APART = timedelta(seconds=30)
# Without a check for so long nobody knows what was there in between: it begins again.
FORGOTTEN_AFTER = timedelta(minutes=10)


def wanted_of(
    listed: Sequence[str], proved: Mapping[str, bool], silences: Mapping[str, Silence]
) -> tuple[str, ...]:
    """Return the addresses that the A record shall carry: never none of them.

    Args:
        listed: those of the file, in its order.
        proved: `Observation.proved`.
        silences: `SiteState.silences`.
    """
    kept = tuple(each for each in listed if not _is_out(each, proved, silences))
    return kept or tuple(listed)


def _is_out(address: str, proved: Mapping[str, bool], silences: Mapping[str, Silence]) -> bool:
    silence = silences.get(address)
    return proved.get(address) is False and silence is not None and silence.is_withdrawn


def silences_after(situation: Situation) -> dict[str, Silence]:
    """Return what is to be remembered of the site's addresses after this check."""
    seen = situation.seen
    silent = [address for address in situation.goal.site.address.several if seen.proved.get(address) is False]
    forgotten_after = max(FORGOTTEN_AFTER, 3 * situation.goal.config.check_every)
    return {
        address: _after(situation.remembered.silences.get(address), seen, forgotten_after)
        for address in silent
    }


def _after(before: Silence | None, seen: Observation, forgotten_after: timedelta) -> Silence:
    now = seen.at
    if before is not None and before.is_withdrawn:
        return before
    if before is None or not is_believable(before.last, now) or now - before.last > forgotten_after:
        return Silence(since=now, checks=1, last=now)
    apart = APART if before.checks < CHECKS else forgotten_after / 2
    if now - before.last >= apart:
        before = replace(before, checks=before.checks + 1, last=now)
    is_over = before.checks >= CHECKS and now - before.since >= LASTS
    return replace(before, is_withdrawn=is_over and _serves(seen, now))


def _serves(seen: Observation, now: datetime) -> bool:
    """Whether a valid certificate is seen at some address: it is another one than any that is silent."""
    return any(seen.proved.values())


def watch_steps(situation: Situation) -> list[Step]:
    """Return the step that remembers at which addresses no certificate is seen, if that has changed."""
    remembered, after = situation.remembered.silences, silences_after(situation)
    if after == remembered:
        return []
    changed = sorted(a for a in {*remembered, *after} if remembered.get(a) != after.get(a))
    gone = tuple(address for address in changed if address in after)
    return [Step("watch", because(Why.SILENT, gone) if gone else because(Why.HEARD, tuple(changed)))]
