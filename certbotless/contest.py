"""Does another machine, or a DDNS client, keep the same record?

If the name servers had shown our value and show another one now, something has changed the record. It is
written again three times a day at most: two programs that keep one record would change it without end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from .errors import RecordConflict
from .records import Add, Change, Update, address_type
from .state import Rewritten
from .workbench import Workbench

# As often as a file that another program writes over.
MOST_REWRITTEN = 3
REWRITTEN_WITHIN = timedelta(days=1)


class Contest:
    """The count for the address record of one name; it starts at 0 where another address is wanted."""

    def __init__(self, bench: Workbench, fqdn: str, address: str) -> None:
        self._bench, self._fqdn, self._address = bench, fqdn, address
        self._type = address_type(address)
        self._key = f"{self._type} {fqdn}"
        kept = bench.file.load().rewritten.get(self._key)
        if kept is not None and kept.value != address:
            self._keep(())

    def is_entered_by(self, changes: Sequence[Change]) -> bool:
        """Whether these changes undo a change that we did not make.

        Raises:
            RecordConflict: that was done often enough, and no command asks for it now.
        """
        state = self._bench.file.load()
        written = state.written[self._type].get(self._fqdn)
        if written is None or not written.is_seen or written.value != self._address:
            return False
        # A change of the TTL alone is ours.
        if all(isinstance(change, Update) and change.old.value == self._address for change in changes):
            return False
        times = self._lately()
        if len(times) >= MOST_REWRITTEN and not self._bench.intent.ignore_backoff:
            raise RecordConflict(
                f"the {self._type} record of {self._fqdn!r} {_found(changes)} again: it was set back to"
                f" {self._address!r} {len(times)} times within a day",
                hint="find what else keeps this record, another machine or a DDNS client, and stop it",
                retry_after=times[-MOST_REWRITTEN] + REWRITTEN_WITHIN - self._bench.clock.now(),
            )
        return True

    def note(self) -> None:
        """Count one more time."""
        self._keep((*self._lately(), self._bench.clock.now()))

    def _lately(self) -> tuple[datetime, ...]:
        now, kept = self._bench.clock.now(), self._bench.file.load().rewritten.get(self._key)
        return tuple(at for at in kept.at if now - REWRITTEN_WITHIN < at <= now) if kept else ()

    def _keep(self, times: tuple[datetime, ...]) -> None:
        self._bench.file.put("rewritten", self._key, Rewritten(value=self._address, at=times))


def _found(changes: Sequence[Change]) -> str:
    if isinstance(changes[0], Add):
        return "is gone"
    values = [repr(c.old.value if isinstance(c, Update) else c.record.value) for c in changes]
    return f"is {', '.join(values)}"
