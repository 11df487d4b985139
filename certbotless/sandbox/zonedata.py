"""The records of the emulated account, and what each name server shows of them at a moment.

Owns a log of changes; every view is a pure function of that log and the time. Speaks no protocol and
enforces no rule of the API: a hand edit in the console can make states that a client cannot.

Source: Alidns API 2015-01-09, as far as clients see it.
"""

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Status = Literal["ENABLE", "DISABLE"]

# The service's ids have 15 to 19 digits: too many for a float, so a client must treat them as text.
_FIRST_RECORD_ID = 1_000_000_000_000_000_001


@dataclass(frozen=True, slots=True)
class Record:
    """One record. `rr` is relative to `zone`, ``@`` at the apex; a TXT `value` stands without quotes."""

    record_id: str
    zone: str
    rr: str
    type: str
    value: str
    ttl_s: int = 600
    line: str = "default"
    status: Status = "ENABLE"
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """A record as it is from now on (`None`: deleted), and when each name server starts to show that.

    `visible_at_s` counts on the monotonic clock, one entry for each name server.
    """

    record_id: str
    record: Record | None
    visible_at_s: tuple[float, ...]


def visible(changes: Iterable[Change], server: int, now_s: float) -> list[Change]:
    """Return the changes that name server number `server` shows at `now_s`, in the order they were made."""
    return [change for change in changes if change.visible_at_s[server] <= now_s]


def replay(changes: Iterable[Change]) -> list[Record]:
    """Return the records that `changes` lead to, the oldest first."""
    records: dict[str, Record | None] = {}
    for change in changes:
        records[change.record_id] = change.record
    return [record for record in records.values() if record is not None]


class ZoneData:
    """The account's zones and their records; safe to use from many threads.

    Whoever reads and then writes holds `lock` meanwhile.
    """

    def __init__(
        self, zones: Sequence[str], name_servers: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.zones = tuple(zone.lower() for zone in zones)
        self.lock = threading.RLock()
        self._clock = clock
        self._changes: list[Change] = []
        self._delays_s = [0.0] * name_servers
        self._ids = map(str, itertools.count(_FIRST_RECORD_ID))
        # By zone, rr and type: the weight of each value, 1 for one that is not there.
        self._weights: dict[tuple[str, str, str], Mapping[str, int]] = {}

    def new_id(self) -> str:
        return next(self._ids)

    def set_delay(self, server: int, seconds: float) -> None:
        """Let a name server show each change made from now on only `seconds` after it was made."""
        with self.lock:
            self._delays_s[server] = seconds

    def put(self, record: Record) -> None:
        """Add the record, or replace the one with its id."""
        self._log(record.record_id, record)

    def remove(self, record_id: str) -> None:
        self._log(record_id, None)

    def records(self) -> list[Record]:
        """Return all records as the account has them, whether name servers show them yet or not."""
        with self.lock:
            return replay(self._changes)

    def seen_by(self, server: int) -> list[Change]:
        """Return the changes that a name server shows now."""
        with self.lock:
            return visible(self._changes, server, self._clock())

    def beside(self, record: Record) -> list[Record]:
        """Return the records of the same name, type and line."""
        place = (record.zone, record.rr, record.type, record.line)
        return [each for each in self.records() if (each.zone, each.rr, each.type, each.line) == place]

    def set_weights(self, zone: str, rr: str, type_: str, weights: Mapping[str, int] | None) -> None:
        """Let name servers answer with one of the records of a name, by these weights; None: with all."""
        with self.lock:
            self._weights.pop((zone, rr, type_), None)
            if weights is not None:
                self._weights[zone, rr, type_] = dict(weights)

    def weight_of(self, record: Record) -> dict[str, int]:
        """Return the weight of a record by its key; nothing where its name has none."""
        weights = self._weights.get((record.zone, record.rr, record.type))
        return {} if weights is None else {"Weight": weights.get(record.value, 1)}

    def by_weight(self, records: Sequence[Record]) -> list[Record]:
        """Return the records with which a name server answers now: of those with weights, one of a name.

        One of weight 0 is never answered.

        Source: help.aliyun.com/en/dns/pubz-weight-configuration.
        """
        left = list(records)
        for place in list(self._weights):
            among = [r for r in left if (r.zone, r.rr, r.type) == place and r.line == "default"]
            among = [record for record in among if record.status == "ENABLE"]
            weights = [self.weight_of(record)["Weight"] for record in among]
            if any(weights):
                chosen = random.choices(among, weights)  # noqa: S311  (no secret)
                left = [record for record in left if record not in among or record in chosen]
        return left

    def _log(self, record_id: str, record: Record | None) -> None:
        with self.lock:
            now_s = self._clock()
            self._changes.append(
                Change(record_id, record, tuple(now_s + delay_s for delay_s in self._delays_s))
            )
