"""When a site takes the certificate that it shares with others. Pure."""

from dataclasses import replace

from ..model.decision import Step
from ..model.reason import Reason, Why, because
from ..model.shared import Shared
from ..model.situation import Situation

# What another service has refused is taken all the same where so much of the life of the one in use is left.
_SHARE_AT_THE_END = 20


def take_steps(situation: Situation) -> list[Step]:
    """Return the step that makes the shared certificate that of the site, unless it is already."""
    site, seen = situation.goal.site, situation.seen
    if not site.certificate:
        return []
    shared = seen.shared or Shared(None)
    facts = shared.facts
    held, now = seen.in_hand.facts, seen.at
    if facts is None or facts.not_after <= now:
        if held is not None and held.not_after > now:
            return []  # what it has serves until the other one comes
        (why,) = because(Why.SHARED_COMES, site.certificate)
        return [Step("take", (why,), wait_until=now + situation.goal.config.check_every, wait_why=why)]
    if held is not None and held.sha256 == facts.sha256:
        return []
    step = Step("take", because(Why.SHARED, site.certificate))
    published, refused = seen.published.facts, shared.held
    if refused is None or published is None or not shared.is_held_for(site.domain, situation.goal.sharers):
        return [step]
    until = min(refused.until, published.not_after - published.lifetime / _SHARE_AT_THE_END)
    return [replace(step, wait_until=until, wait_why=Reason(Why.SHARED_REFUSED, (refused.by,)))]
