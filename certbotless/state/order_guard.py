"""The ledger for one site at one CA: past requests are counted and a new one is written down in one step."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..base.clock import Clock
from ..base.errors import RateLimited
from ..base.times import rfc3339
from ..base.words import Text
from ..config.settings import Site
from ..model.certificate import LeafFacts
from ..model.ledger import Entry, Kind, limit_on, purpose_of, with_certificate, with_failure, without_failure
from ..model.memory import RenewalInfo
from .ledger_file import LedgerFile

_LOCK_TIMEOUT_S = 60


@dataclass
class OrderGuard:
    """What one run of one site may request from a CA, and has requested. Every moment is the CA's time.

    Attributes:
        directory: the URL of the CA, which counts too.
        in_hand: the certificate of this CA for exactly these names, if there is one.
        is_forced: whether the limits are ignored; the rows are written all the same.
        adopted: without `in_hand`, the adopted certificate for these names: its lifetime and end count.
        renewal: what the CA suggests for the certificate in hand.
        is_rehearsal: whether this is a dry run.
    """

    rows: LedgerFile
    clock: Clock
    site: Site
    directory: str
    in_hand: LeafFacts | None
    _: KW_ONLY
    is_forced: bool
    adopted: LeafFacts | None = None
    renewal: RenewalInfo | None = None
    is_rehearsal: bool = False
    _order: Entry | None = field(default=None, init=False)
    _failed_ahead: Entry | None = field(default=None, init=False)

    def reserve_order(self, at: datetime, *, replaces: bool) -> None:
        """Write down an order that is about to be placed; `replaces` says whether it names a predecessor.

        Raises:
            RateLimited: it must not be placed now.
            Interrupted, StoreError: it was not written down.
        """
        self.clock.sleep(0)  # nothing new begins once we are asked to stop
        # The CA exempts an order with `replaces` only while it suggests a renewal: Let's Encrypt's server
        # Boulder, wfe2/wfe.go, `SuggestedWindow.IsWithin`.
        is_suggested = self.renewal is not None and self.renewal.suggests(self.in_hand, at)
        purpose = purpose_of(self.in_hand, is_exempt=replaces and is_suggested)
        order = self._entry(at, "order", self.site.all_names, purpose=purpose)
        self._reserve(order, Text("no order for {}", self.site.domain))
        self._order = order

    def withdraw_order(self) -> None:
        """Remove the row of the order that was reserved last: the CA has refused it."""
        if self._order is not None:
            with self.rows.locked(self.clock, _LOCK_TIMEOUT_S):
                self.rows.remove(self._order)
            self._order = None

    def reserve_account(self, at: datetime) -> None:
        """Write down an account that is about to be made. Raises like `reserve_order`."""
        self._reserve(Entry(at, "account", self.directory, ()), Text("no new account at {}", self.directory))

    def begin_validation(self, at: datetime, names: Sequence[str]) -> None:
        """For a dry run, count the validation of these names as failed until its outcome is known.

        A dry run that is killed is not resumed. A real order is, and its failures are counted then.
        """
        if self.is_rehearsal:
            failure = self._entry(at, "failure", names, outcome="failed")
            self._change(at, lambda rows: with_failure(rows, failure, self.site.all_names))
            self._failed_ahead = failure

    def note_validation(self, at: datetime) -> None:
        """Remove what `begin_validation` has written: no validation has failed."""
        if self._failed_ahead is not None:
            self._change(at, self._without_failure_ahead)
            self._failed_ahead = None

    def count_failure(self, at: datetime, names: Sequence[str]) -> None:
        """Write down that in the newest order the validation of exactly these names has failed."""
        failure, order_names = self._entry(at, "failure", names, outcome="failed"), self.site.all_names
        self._change(at, lambda rows: with_failure(self._without_failure_ahead(rows), failure, order_names))
        self._failed_ahead = None

    def _without_failure_ahead(self, rows: Sequence[Entry]) -> list[Entry]:
        if self._failed_ahead is None:
            return list(rows)
        return without_failure(rows, self._failed_ahead, self.site.all_names)

    def note_certificate(self, at: datetime, lifetime: timedelta) -> None:
        """Write down that the newest order gave a certificate with this lifetime, 0 if not known."""
        order = self._entry(at, "order", self.site.all_names, lifetime_s=int(lifetime.total_seconds()))
        self._change(at, lambda rows: with_certificate(rows, order))

    def _entry(self, at: datetime, kind: Kind, names: Sequence[str], **facts: Any) -> Entry:
        """Return a row of this CA; of a dry run if this is one."""
        return Entry(at, kind, self.directory, tuple(names), rehearsal=self.is_rehearsal, **facts)

    def _change(self, at: datetime, how: Callable[[Sequence[Entry]], list[Entry]]) -> None:
        with self.rows.locked(self.clock, _LOCK_TIMEOUT_S):
            self.rows.settle(at, how)

    def _reserve(self, planned: Entry, refusal: str) -> None:
        with self.rows.locked(self.clock, _LOCK_TIMEOUT_S):
            limit = limit_on(self.rows.settle(planned.at), planned, self.in_hand or self.adopted)
            if limit is not None and not self.is_forced:
                now = (
                    Text("for a dry run now: certbotless --renew-now --dry-run --force")
                    if self.is_rehearsal
                    else Text("to order now: certbotless --renew-now --force")
                )
                raise RateLimited(
                    Text("{}: already {}", refusal, limit.reason),
                    hint=Text("it may be tried again at {}; {}", rfc3339(limit.until), now),
                    retry_after=limit.until - planned.at,
                )
            self.rows.append(planned)
