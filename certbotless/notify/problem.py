"""What is wrong, as messages have it. Pure and light."""

from dataclasses import dataclass
from datetime import datetime, timedelta

# "DOMAIN FACT"; the domain is empty for the configuration file and for the local CA.
Key = str

# A certificate or a root is not new any more after this: its site may have waited a day for a window.
NEW = timedelta(days=2)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, what to do, and when it is tried again, if it is.

    `remind_at` are the moments of its reminders; None for one a day.
    """

    what: str
    hint: str = ""
    retry_at: datetime | None = None
    remind_at: tuple[datetime, ...] | None = None
