"""When a site takes the certificate that it shares with others. Pure; loaded for sites that share one."""

from dataclasses import replace
from datetime import timedelta

from ..model.decision import Step
from ..model.reason import Reason, Why, because
from ..model.situation import Situation

# What another service has refused is taken all the same where so much of the life of the one in use is left.
_SHARE_AT_THE_END = 20
# A site that waits for the first certificate decides again at each check, and asks for none in between.
_CHECKS = 2
# So long the next try of that service may take before others take it: a start, its proof, and the way back.
# `Held.until` has the time that its container may need to stop.
_TRY_LASTS = timedelta(minutes=5)


def take_steps(situation: Situation, wildcard: str) -> list[Step]:
    """Return the step that makes the shared certificate that of the site, unless it is already."""
    site, seen, shared = situation.goal.site, situation.seen, situation.seen.shared
    facts, held, now = shared.facts if shared else None, seen.in_hand.facts, seen.at
    if shared is None or facts is None or facts.not_after <= now:
        if held is not None and held.not_after > now:
            return []  # what it has serves until the other one comes
        (why,) = because(Why.SHARED_COMES, wildcard)
        until = now + _CHECKS * situation.goal.config.check_every
        return [Step("take", (why,), wait_until=until, wait_why=why)]
    if held is not None and held.sha256 == facts.sha256:
        return []
    step = Step("take", because(Why.SHARED, wildcard))
    published = seen.published.facts
    refused = shared.held_for(site.domain, situation.goal.sharers) if shared.held else None
    if refused is None or published is None:
        return [step]
    until = min(refused.until + _TRY_LASTS, published.not_after - published.lifetime / _SHARE_AT_THE_END)
    return [replace(step, wait_until=until, wait_why=Reason(Why.SHARED_REFUSED, (refused.by,)))]
