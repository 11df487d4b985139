"""The wall clock of some processes, moved under them by libfaketime as it is when somebody sets it."""

from datetime import timedelta
from pathlib import Path

from support.bed import renamed_over

# The dynamic linker puts the right folder in the place of $LIB.
FAKETIME = "/usr/$LIB/faketime/libfaketimeMT.so.1"


class WallClock:
    """The wall clock of the processes that run with `environment`.

    Args:
        file: what the clock is read from.
        place: its path as those processes see it, where that is another one.
    """

    def __init__(self, file: Path, place: str = "") -> None:
        self._file = file
        self.set("+0")
        self.environment = {
            "LD_PRELOAD": FAKETIME,
            "FAKETIME_TIMESTAMP_FILE": place or str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
            # Else a thread of Python that waits for its turn asks all the time, and so slows the others.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def set(self, what: str) -> None:
        """Move it: by an offset in seconds, or to ``@`` and a moment."""
        renamed_over(self._file, f"{what}\n")

    def move(self, by: timedelta) -> None:
        """Let it be so far ahead of the true time."""
        self.set(f"{by.total_seconds():+.0f}")
