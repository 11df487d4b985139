"""The ledger for one site at one CA: count what was, and write down what comes, as one step (issue.Books)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from .clock import Clock
from .config import Site
from .errors import RateLimited
from .leaf import LeafFacts, rfc3339
from .ledger import Entry, Purpose, limit_on

_LOCK_TIMEOUT_S = 60


class Rows(Protocol):
    """The rows of all sites, shared by all processes (state.LedgerFile)."""

    def locked(self, clock: Clock, timeout_s: float) -> AbstractContextManager[object]:
        """Keep others from counting meanwhile."""

    def settle(self, now: datetime) -> list[Entry]:
        """Return the rows as they count from now on, and keep them so."""

    def append(self, entry: Entry) -> None:
        """Write a row; on disk when this returns."""

    def remove(self, entry: Entry) -> None:
        """Take out the newest row that says this."""


class SiteBooks:
    """The books of one run for one site; every moment is the CA's time.

    Args:
        directory: of the CA that counts too.
        in_hand: the certificate of this CA for these very names, if there is one.
        is_forced: write down whatever the limits say.
    """

    def __init__(
        self,
        rows: Rows,
        clock: Clock,
        site: Site,
        directory: str,
        in_hand: LeafFacts | None,
        *,
        is_forced: bool,
    ) -> None:
        self._rows = rows
        self._clock = clock
        self._site = site
        self._directory = directory
        self._in_hand = in_hand
        self._is_forced = is_forced
        self._order: Entry | None = None

    def reserve_order(self, at: datetime, *, replaces: bool) -> None:
        """Write down an order that is about to be placed.

        Raises:
            RateLimited: it must not be placed now.
            Interrupted, StoreError: it was not written down.
        """
        self._clock.sleep(0)  # nothing new begins once we are asked to stop
        purpose: Purpose = "replacement" if replaces else "renewal" if self._in_hand else "new"
        order = Entry(at, "order", self._directory, self._site.all_names, purpose)
        self._reserve(order, f"no order for {self._site.domain}")
        self._order = order

    def withdraw_order(self) -> None:
        """Take back the order that was reserved last: the CA did not take it."""
        if self._order is not None:
            with self._rows.locked(self._clock, _LOCK_TIMEOUT_S):
                self._rows.remove(self._order)
            self._order = None

    def reserve_account(self, at: datetime) -> None:
        """Write down an account that is about to be made. Raises as `reserve_order`."""
        self._reserve(Entry(at, "account", self._directory, ()), f"no new account at {self._directory}")

    def count_failure(self, at: datetime, names: Sequence[str]) -> None:
        """Write down that the validation of these names failed."""
        with self._rows.locked(self._clock, _LOCK_TIMEOUT_S):
            self._rows.settle(at)
            self._rows.append(Entry(at, "failure", self._directory, tuple(names)))

    def _reserve(self, planned: Entry, refusal: str) -> None:
        with self._rows.locked(self._clock, _LOCK_TIMEOUT_S):
            limit = limit_on(self._rows.settle(planned.at), planned, self._in_hand)
            if limit is not None and not self._is_forced:
                raise RateLimited(
                    f"{refusal}: already {limit.reason}",
                    hint=f"it may be tried again at {rfc3339(limit.until)}; --renew-now --force orders now",
                    retry_after=limit.until - planned.at,
                )
            self._rows.append(planned)
