"""What another program keeps changing is set right three times a day at most.

Two programs that keep one thing would change it without end.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from ..base.errors import CertbotlessError
from ..base.words import Text
from .context import SiteContext

MOST = 3
_WITHIN = timedelta(days=1)


def set_right_lately(
    ctx: SiteContext, times: Iterable[datetime], error: type[CertbotlessError], what: str, hint: str
) -> tuple[datetime, ...]:
    """Return which of these times, at which it was set right, are of the last day.

    Raises:
        CertbotlessError: of the type `error`: it was done often enough, and no command asks for it now.
            `what` says what was done, before how often.
    """
    now = ctx.clock.now()
    lately = tuple(at for at in times if now - _WITHIN < at <= now)
    if len(lately) >= MOST and not ctx.intent.ignore_backoff:
        retry_after = lately[-MOST] + _WITHIN - now
        raise error(Text("{} {} times within a day", what, len(lately)), hint=hint, retry_after=retry_after)
    return lately
