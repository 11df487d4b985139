"""Remember at which addresses of a list no valid certificate was seen, and withdraw or put back one.

The record itself is written by the step `record`.
"""

from ..base.times import rfc3339
from ..decide.addresses import silences_after
from ..model.observation import Observation
from ..model.situation import Situation
from .context import SiteContext


def watch(ctx: SiteContext, seen: Observation) -> None:
    """Take the step `watch`. Raises `StoreError`."""
    before, after = ctx.state.silences, silences_after(Situation(ctx.goal, seen, ctx.state))
    ctx.file.change(silences=after)
    for address in ctx.site.address.several:
        was_out, is_out = (address in each and each[address].is_withdrawn for each in (before, after))
        if is_out and not was_out:
            ctx.tell("address.withdrawn", address=address, since=rfc3339(after[address].since))
        elif was_out and not is_out:
            ctx.tell("address.back", address=address)
