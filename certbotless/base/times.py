"""Moments and durations as text: for files and the log, and for people.

Source: RFC 3339.
"""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from .checked import after
from .words import Text, _

# A clock without a battery starts at the first. No moment that we note and no certificate is beyond the last.
# So no sum of a moment and a wait leaves the calendar.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)


def bounded(moment: datetime) -> datetime:
    """Return the nearest moment within `EARLIEST` and `LATEST`."""
    return min(max(moment, EARLIEST), LATEST)


def within_bounds(moment: datetime) -> datetime:
    """Return an aware moment in UTC. Raises ValueError for one beyond `EARLIEST` or `LATEST`."""
    if not EARLIEST <= moment <= LATEST:
        raise ValueError("a time out of bounds")
    return moment.astimezone(UTC)


# In a file, a moment out of bounds is a fault; or, where one wrong date is no reason to drop all the rest, it
# is the nearest moment within them.
Moment = Annotated[datetime, after(within_bounds)]
BoundedMoment = Annotated[datetime, after(bounded)]


def rfc3339(moment: datetime) -> str:
    """Return an aware moment as RFC 3339 in UTC, whole seconds, with a ``Z``. Never raises."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = bounded(moment)  # its offset leads beyond the calendar
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime:
    """Return the aware UTC moment. Raises ValueError for one without an offset, or out of bounds."""
    # RFC 3339 section 5.6 lets "T" and "Z" be written small; Python does not.
    moment = datetime.fromisoformat(text.upper())
    if moment.tzinfo is None:
        raise ValueError("a time without its offset")
    return within_bounds(moment)


def moment(at: datetime, form: str = "%Y-%m-%d %H:%M") -> str:
    """Return a moment as people read it: in local time, with the offset from UTC."""
    local = at.astimezone()
    offset = f"{local:%z}"
    zone = f"{offset[:3]}:{offset[3:]}" if local.utcoffset() else "UTC"
    return f"{local.strftime(form)} {zone}"


def distance(duration: timedelta) -> str:
    """Return how far away something is: ``in 50 days``, ``3 min ago``."""
    form = _("in {}") if duration > timedelta() else _("{} ago")
    return form.format(span(abs(duration)))


def span(duration: timedelta) -> str:
    """Return a duration in its largest unit that says enough: ``2 days``, ``119 min``."""
    seconds = duration.total_seconds()
    for unit, size_s, least in ((_("{} days"), 86400, 2), (_("{} h"), 3600, 2), (_("{} min"), 60, 1)):
        if seconds >= least * size_s:
            return unit.format(f"{seconds // size_s:.0f}")
    return _("{} s").format(f"{seconds:.0f}")


def elapsed(seconds: float, digits: int = 1) -> str:
    """Return how long something took or takes: ``4.2 s``, ``1 min 15 s``."""
    if seconds < 60:
        return _("{} s").format(f"{seconds:.{digits}f}")
    minutes, rest = divmod(int(seconds), 60)
    return _("{} min {:02d} s").format(minutes, rest)


def in_words(window: timedelta) -> str:
    """Return the window of a limit as ``7 days`` or ``2.5 h``."""
    hours = window.total_seconds() / 3600
    return Text("{:.0f} days", hours / 24) if hours >= 48 else Text("{:.3g} h", hours)
