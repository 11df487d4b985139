"""Get the certificate, and publish it: what the steps `order`, `collect` and `restore` do."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from . import pki
from .challenge import TxtValue
from .errors import AuthorizationFailed, IssueError, RateLimited, StoreError
from .issue import Ca, Issued, collect, issue
from .leaf import LeafFacts, rfc3339
from .ledger import Entry, Kind, limit_on_orders
from .names import rr_of
from .nameservers import Wanted, wait_until_shown
from .observe import Observation
from .records import Zone
from .state import Accounts, OrderInFlight, SavedPair, SiteFile
from .store import Origin
from .workbench import Workbench

logger = logging.getLogger(__name__)

_LEDGER_LOCK_TIMEOUT_S = 60


class Certifying:
    """The steps around the certificate of one site."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def order(self, seen: Observation) -> None:
        """Get a new certificate, check it and publish it; an order in flight is finished first."""
        self._check_before_order(seen)
        pending = self._pending()
        issued = self._issue(seen, pending)
        if self._is_published(issued, seen):
            # Left by a run that was killed after it had published this very certificate.
            pending.drop()
            issued = self._issue(seen, pending)
        self._publish(issued, pending)

    def _check_before_order(self, seen: Observation) -> None:
        """Free checks before an order is spent: the store takes it, the zone is ours, somebody serves."""
        self._bench.store.probe_writable()
        zone = self._bench.zone()
        for name in self._bench.site.all_names:
            rr_of(name.removeprefix("*."), zone.name)
        if seen.published.facts is None:
            for target in self._bench.site.deploy:
                self._bench.containers.find(target.container)
            if self._bench.file.load().record is None:
                zone.records(self._bench.site.domain)

    def _issue(self, seen: Observation, pending: _Pending) -> Issued:
        ca, books = self._ca(), self._books(seen)
        try:
            return issue(
                ca,
                Accounts(self._bench.config.state_dir, ca.directory),
                self._bench.site.all_names,
                dns=_SiteDns(self._bench),
                journal=self._bench.file,
                pending=pending,
                books=books,
                clock=self._bench.clock,
            )
        except AuthorizationFailed as exc:
            pending.drop()
            books.count("failure", exc.names)
            raise

    def collect(self, seen: Observation) -> None:
        """Publish what an order in flight has given; drop one that has given nothing."""
        ca, pending = self._ca(), self._pending()
        accounts = Accounts(self._bench.config.state_dir, ca.directory)
        issued = collect(ca, accounts, pending=pending, books=self._books(seen), clock=self._bench.clock)
        if issued is not None and self._is_published(issued, seen):
            pending.drop()
        elif issued is not None:
            self._publish(issued, pending)

    def _books(self, seen: Observation) -> _SiteBooks:
        facts = seen.published.facts
        return _SiteBooks(self._bench, facts.lifetime if facts else None)

    def _ca(self) -> Ca:
        acme = self._bench.config.acme
        return Ca(acme.url, acme.email, str(acme.ca_bundle) if acme.ca_bundle else None)

    def _pending(self) -> _Pending:
        return _Pending(self._bench.file, self._bench.config.acme.url, self._bench.site.all_names)

    def _is_published(self, issued: Issued, seen: Observation) -> bool:
        published = seen.published.facts
        try:
            return published is not None and pki.leaf_sha256(issued.chain_pem) == published.sha256
        except IssueError:
            return False  # publishing it will say what is wrong

    def _publish(self, issued: Issued, pending: _Pending) -> None:
        now = self._bench.clock.now()
        try:
            facts = pki.checked_facts(issued.chain_pem, issued.key, self._bench.site.all_names, now)
        except IssueError:
            pending.drop()
            raise
        pair = SavedPair(
            chain=issued.chain_pem.decode(),
            key=pki.key_to_pem(issued.key).decode(),
            directory=self._bench.config.acme.url,
            account=issued.account,
            key_type=self._bench.config.acme.key_type,
            issued_at=now,
        )
        self._bench.file.save_pair(pair)
        self._put_in_store(pair, facts, now)
        pending.drop()
        self._bench.tell(
            "certificate.published", f"sha256={facts.sha256} not_after={rfc3339(facts.not_after)}"
        )

    def _put_in_store(self, pair: SavedPair, facts: LeafFacts, now: datetime) -> None:
        origin = Origin(pair.directory, pair.account, pair.key_type, pair.issued_at)
        self._bench.store.publish(pair.chain.encode(), pair.key.encode(), facts, origin, now)

    def restore(self, seen: Observation) -> None:
        """Put the names back, or the whole pair from the copy of the one last issued."""
        now = self._bench.clock.now()
        if seen.published.facts is not None:
            self._bench.store.relink(now)
        else:
            pair = self._bench.file.saved_pair()
            try:
                facts = pki.matching_facts(pair.chain.encode(), pki.key_from_pem(pair.key.encode()))
            except (StoreError, IssueError):
                # Then there is no certificate, and the next look orders one.
                self._bench.file.set_pair_aside()
                raise
            self._put_in_store(pair, facts, now)
        self._bench.tell("files.restored", f"reason={seen.published.fault}")


class _SiteDns:
    """Where the txt values of one site go (issue.TxtPlaces)."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def locate(self, name: str, value: str) -> TxtValue:
        return TxtValue(name, value, self._bench.zone().name)

    def open(self, zone: str) -> Zone:
        return self._bench.zones.open(zone)

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        wait_until_shown(
            self._bench.servers.of(self._bench.zone().name),
            [Wanted(txt.fqdn, "TXT", txt.value) for txt in values],
            self._bench.clock,
            self._bench.config.dns.propagation_timeout.total_seconds(),
        )


class _SiteBooks:
    """The ledger, for the orders of one site (issue.Books).

    Attributes:
        lifetime: that of the certificate in hand, None while there is none.
    """

    def __init__(self, bench: Workbench, lifetime: timedelta | None) -> None:
        self._bench = bench
        self._directory = bench.config.acme.url
        self._lifetime = lifetime

    def reserve_order(self) -> None:
        """Count the orders so far and write down the next one, as one step over all processes."""
        clock, ledger, names = self._bench.clock, self._bench.ledger, self._bench.site.all_names
        clock.sleep(0)  # nothing new begins once we are asked to stop
        now = clock.now()
        with ledger.locked(clock, _LEDGER_LOCK_TIMEOUT_S):
            limit = limit_on_orders(ledger.entries(), self._directory, names, self._lifetime, now)
            if limit is not None and not self._bench.intent.ignore_ledger:
                raise RateLimited(
                    f"no order for {self._bench.site.domain}: already {limit.reason}",
                    hint=f"it may be tried again at {rfc3339(limit.until)}; --renew-now --force orders now",
                    retry_after=limit.until - now,
                )
            ledger.drop_old(now)
            ledger.append(Entry(now, "order", self._directory, names))

    def count_account(self) -> None:
        self.count("account", ())

    def count(self, kind: Kind, names: Sequence[str]) -> None:
        """Write a row."""
        entry = Entry(self._bench.clock.now(), kind, self._directory, tuple(names))
        with self._bench.ledger.locked(self._bench.clock, _LEDGER_LOCK_TIMEOUT_S):
            self._bench.ledger.append(entry)


class _Pending:
    """The order in flight of one site (issue.PendingOrder), kept in its state."""

    def __init__(self, file: SiteFile, directory: str, names: tuple[str, ...]) -> None:
        self._file = file
        self._directory = directory
        self._names = names

    @property
    def url(self) -> str:
        order = self._file.load().order
        # Names or CA may have changed in the configuration since.
        is_ours = order is not None and (order.directory, order.names) == (self._directory, self._names)
        return order.url if order is not None and is_ours else ""

    def begin(self, url: str) -> None:
        self._file.drop_order()
        self._file.change(order=OrderInFlight(url=url, directory=self._directory, names=self._names))

    def key(self) -> pki.CertificateKey:
        pem = self._file.order_key()
        if pem is not None:
            try:
                return pki.key_from_pem(pem)
            except StoreError as exc:
                logger.warning("order.key_lost error=%s", exc)
        key = pki.new_key()
        self._file.save_order_key(pki.key_to_pem(key))
        return key

    def drop(self) -> None:
        self._file.drop_order()
