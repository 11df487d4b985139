"""What each step does to the world: record, certificate, files, container. One class, one method a step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from . import pki
from .challenge import TxtValue, sweep
from .clock import Clock, Pace
from .config import Config, Site, Target
from .decide import Intent, Step
from .deploy import Container, Containers, check_may_act, published_port
from .errors import AuthorizationFailed, DeployError, IssueError, RateLimited, StoreError
from .issue import Ca, Issued, collect, issue
from .leaf import LeafFacts, rfc3339
from .ledger import Entry, Kind, limit_on_orders
from .nameservers import NameServers, Wanted, wait_until_shown
from .observe import Observation, endpoint_of
from .probe import served_leaf
from .records import Add, Delete, Record, Update, Zone, apply_changes, plan_changes
from .state import Accounts, Events, LedgerFile, OrderInFlight, SavedPair, SiteFile, WrittenRecord
from .store import Origin, Store

logger = logging.getLogger(__name__)

# A registry restarts in half a second; one that drains its uploads takes its drain time more.
PROOF_TIMEOUT_S = 30
# A lost SYN is sent again only after a second, so give up on it sooner and try anew.
_PROBE_TIMEOUT_S = 0.5
_LEDGER_LOCK_TIMEOUT_S = 60
# Values that we once wrote, to know our own records again.
_MOST_OUR_VALUES = 20


class Zones(Protocol):
    """The DNS account."""

    def find(self, fqdn: str) -> str:
        """Return the name of the zone that holds the name. Raises `DnsError`."""

    def open(self, name: str) -> Zone:
        """Return the zone; makes no call."""


@dataclass(frozen=True, slots=True)
class Edges:
    """The outside world, built in one place and passed in; `zones` makes one for each site's thread."""

    clock: Clock
    servers: NameServers
    zones: Callable[[Clock], Zones]
    containers: Containers


class Steps:
    """The steps of one site; its lock is held.

    `take` may raise any `CertbotlessError`; what was reached until then stands, and the next look sees it.
    """

    def __init__(self, config: Config, site: Site, edges: Edges, intent: Intent) -> None:
        self._config = config
        self._site = site
        self._edges = edges
        self._clock = edges.clock
        self._intent = intent
        self._zones = edges.zones(edges.clock)
        self._file = SiteFile(config.state_dir, site.domain)
        self._store = Store(config.certs_dir, site.domain)
        self._ledger = LedgerFile(config.state_dir)
        self._events = Events(config.state_dir)

    def take(self, step: Step, seen: Observation) -> None:
        """Carry out one step that was decided for what was just seen."""
        logger.info("%s.due domain=%s reason=%s", step.key, self._site.domain, step.reason)
        match step.action:
            case "clean-up":
                sweep(self._zone(), self._file)
            case "record":
                self._write_record(seen.address)
            case "confirm":
                self._confirm_record(seen.address)
            case "order":
                self._order(seen)
            case "collect":
                self._collect()
            case "restore":
                self._restore(seen)
            case "deploy":
                target = next(t for t in self._site.deploy if t.container == step.target)
                self._deploy(target, seen)

    def _tell(self, event: str, text: str) -> None:
        """Log a change of the world and keep it for `status`."""
        logger.info("%s domain=%s %s", event, self._site.domain, text)
        self._events.append(self._clock.now(), self._site.domain, event, text)

    # The A record.

    def _zone(self) -> Zone:
        name = self._site.zone or self._file.load().zone
        if not name:
            name = self._zones.find(self._site.domain)
            self._file.change(zone=name)
            self._tell("zone.found", f"zone={name}")
        return self._zones.open(name)

    def _write_record(self, address: str) -> None:
        zone, ours = self._zone(), self._file.load().our_values
        wanted = Record(self._site.domain, "A", address, self._site.ttl)
        changes = plan_changes(zone.records(wanted.fqdn), wanted, ours=ours)
        # Known as ours before it is there, should we be killed in between.
        self._file.change(our_values=(*(v for v in ours if v != address), address)[-_MOST_OUR_VALUES:])
        apply_changes(zone, changes)
        written = WrittenRecord(value=address, ttl_s=wanted.ttl_s, at=self._clock.now())
        self._file.change(record=written)
        for change in changes:
            match change:
                case Add(record):
                    self._tell("record.added", f"value={record.value} ttl_s={record.ttl_s}")
                case Update(record, old):
                    self._tell("record.updated", f"old={old.value} new={record.value} ttl_s={record.ttl_s}")
                case Delete(record):
                    self._tell("record.deleted", f"value={record.value}")

    def _confirm_record(self, address: str) -> None:
        self._wait_until_shown([Wanted(self._site.domain, "A", address)])
        record = self._file.load().record
        if record is not None:
            self._file.change(record=record.model_copy(update={"is_seen": True}))
        logger.info("record.shown domain=%s value=%s", self._site.domain, address)

    def _wait_until_shown(self, wanted: Sequence[Wanted]) -> None:
        servers = self._edges.servers.of(self._zone().name)
        timeout_s = self._config.dns.propagation_timeout.total_seconds()
        wait_until_shown(servers, wanted, self._clock, timeout_s)

    # The certificate.

    def _order(self, seen: Observation) -> None:
        # Free checks before an order is spent: the store takes it, somebody will serve it, the zone is ours.
        self._store.probe_writable()
        if seen.published.facts is None:
            for target in self._site.deploy:
                self._edges.containers.find(target.container)
            if self._file.load().record is None:
                self._zone().records(self._site.domain)
        ca, pending = self._ca(), _Pending(self._file, self._config.acme.url, self._site.all_names)
        accounts = Accounts(self._config.state_dir, ca.directory)
        account_before = accounts.load()[1]
        try:
            issued = issue(
                ca,
                accounts,
                self._site.all_names,
                zone=self._zone(),
                journal=self._file,
                wait_until_shown=self._wait_for_txt,
                pending=pending,
                reserve=lambda: self._reserve(seen),
                clock=self._clock,
            )
        except AuthorizationFailed as exc:
            pending.drop()
            self._count("failure", exc.names)
            raise
        finally:
            if accounts.load()[1] not in ("", account_before):
                self._count("account", ())
        self._publish(issued, pending)

    def _collect(self) -> None:
        ca, pending = self._ca(), _Pending(self._file, self._config.acme.url, self._site.all_names)
        issued = collect(
            ca, Accounts(self._config.state_dir, ca.directory), pending=pending, clock=self._clock
        )
        if issued is not None:
            self._publish(issued, pending)

    def _ca(self) -> Ca:
        acme = self._config.acme
        return Ca(acme.url, acme.email, str(acme.ca_bundle) if acme.ca_bundle else None)

    def _wait_for_txt(self, values: Sequence[TxtValue]) -> None:
        self._wait_until_shown([Wanted(txt.fqdn, "TXT", txt.value) for txt in values])

    def _reserve(self, seen: Observation) -> None:
        """Count the orders so far and write down the next one, as one step over all processes."""
        facts, now = seen.published.facts, self._clock.now()
        with self._ledger.locked(self._clock, _LEDGER_LOCK_TIMEOUT_S):
            limit = limit_on_orders(
                self._ledger.entries(),
                self._config.acme.url,
                self._site.all_names,
                facts.lifetime if facts else None,
                now,
            )
            if limit is not None and not self._intent.ignore_ledger:
                raise RateLimited(
                    f"no order for {self._site.domain}: already {limit.reason}",
                    hint=f"it may be tried again at {rfc3339(limit.until)}; --renew-now --force orders now",
                    retry_after=limit.until - now,
                )
            self._ledger.drop_old(now)
            self._ledger.append(Entry(now, "order", self._config.acme.url, self._site.all_names))

    def _count(self, kind: Kind, names: Sequence[str]) -> None:
        entry = Entry(self._clock.now(), kind, self._config.acme.url, tuple(names))
        with self._ledger.locked(self._clock, _LEDGER_LOCK_TIMEOUT_S):
            self._ledger.append(entry)

    def _publish(self, issued: Issued, pending: _Pending) -> None:
        now = self._clock.now()
        try:
            facts = pki.checked_facts(issued.chain_pem, issued.key, self._site.all_names, now)
        except IssueError:
            pending.drop()
            raise
        pair = SavedPair(
            chain=issued.chain_pem.decode(),
            key=pki.key_to_pem(issued.key).decode(),
            directory=self._config.acme.url,
            account=issued.account,
            key_type=self._config.acme.key_type,
            issued_at=now,
        )
        self._file.save_pair(pair)
        self._put_in_store(pair, facts, now)
        pending.drop()
        self._tell("certificate.published", f"sha256={facts.sha256} not_after={rfc3339(facts.not_after)}")

    def _put_in_store(self, pair: SavedPair, facts: LeafFacts, now: datetime) -> None:
        origin = Origin(pair.directory, pair.account, pair.key_type, pair.issued_at)
        self._store.publish(pair.chain.encode(), pair.key.encode(), facts, origin, now)

    def _restore(self, seen: Observation) -> None:
        now = self._clock.now()
        if seen.published.facts is not None:
            self._store.relink(now)
        else:
            try:
                pair = self._file.saved_pair()
                facts = pki.matching_facts(pair.chain.encode(), pki.key_from_pem(pair.key.encode()))
            except (StoreError, IssueError):
                # Then there is no certificate, and the next look orders one.
                self._file.drop_pair()
                raise
            self._put_in_store(pair, facts, now)
        self._tell("files.restored", f"reason={seen.published.fault}")

    # The container.

    def _deploy(self, target: Target, seen: Observation) -> None:
        """Make the target serve what is published, and see that it does.

        1. Resolve the container by its name, and leave it alone if its admin stopped it.
        2. Look at what it serves; it may be right by now, or a restart may be no cure.
        3. Restart it, with the intent on disk: a run killed in between finds its own work unfinished.
        4. Prove it by a handshake.
        """
        facts, origin = seen.published.facts, seen.published.origin
        if facts is None or origin is None:
            raise StoreError("nothing is published that could be served")
        container = self._edges.containers.find(target.container)
        check_may_act(container, self._file.load().restarting.get(target.container, ""))
        host, port = self._endpoint(target, container, seen.address)
        leaf = self._served(host, port)
        if leaf == facts.sha256:
            return
        if container.started_at > origin.issued_at and not self._is_worth_one_more(target, leaf):
            since = rfc3339(container.started_at)
            raise _not_served(
                host, port, leaf, f"{target.container!r} was started after the files, at {since}"
            )
        self._note_restarting(target, container.id)
        self._edges.containers.restart(container.id, int(target.stop_timeout.total_seconds()))
        self._note_restarting(target, "")
        self._tell("container.restarted", f"container={target.container}")
        waited_s = self._prove(host, port, facts.sha256)
        self._tell("certificate.served", f"at={host}:{port} sha256={facts.sha256} after_s={waited_s:.2f}")

    def _endpoint(self, target: Target, container: Container, address: str) -> tuple[str, int]:
        state = self._file.load()
        if target.port is None and state.ports.get(target.container) not in container.ports:
            ports = {**state.ports, target.container: published_port(container)}
            state = self._file.change(ports=ports)
        where = endpoint_of(self._site, target, state, address)
        if where is None:
            raise DeployError("without a LAN address nothing can be proved", hint="set sites[].address")
        return where

    def _note_restarting(self, target: Target, container_id: str) -> None:
        others = {k: v for k, v in self._file.load().restarting.items() if k != target.container}
        self._file.change(restarting=others | ({target.container: container_id} if container_id else {}))

    def _is_worth_one_more(self, target: Target, leaf: str) -> bool:
        """Whether a restart may help a container that was started after the files were there.

        One that serves another leaf may have read them a moment before; a second restart settles it. One that
        does not answer is starting still, or broken: neither is cured by restarting it for ever.
        """
        failure = self._file.load().failures.get(f"deploy:{target.container}")
        return bool(leaf) and (failure is None or failure.count < 2)

    def _served(self, host: str, port: int) -> str:
        """Return the leaf that is served now, empty for no TLS answer."""
        try:
            return served_leaf(host, port, self._site.domain, timeout_s=_PROBE_TIMEOUT_S)
        except DeployError:
            return ""

    def _prove(self, host: str, port: int, sha256: str) -> float:
        """Return the seconds until the leaf was served. Takes at most `PROOF_TIMEOUT_S`."""
        pace = Pace(self._clock, PROOF_TIMEOUT_S, first_s=0.05, most_s=1)
        while (leaf := self._served(host, port)) != sha256:
            if pace.expired:
                raise _not_served(host, port, leaf, f"{PROOF_TIMEOUT_S} s after the restart")
            pace.wait()
        return pace.waited_s


def _not_served(host: str, port: int, leaf: str, when: str) -> DeployError:
    if not leaf:
        hint = "look into its log: does it run, and is this its TLS port?"
        return DeployError(f"no TLS answer at {host}:{port}; {when}", hint=hint)
    return DeployError(
        f"{host}:{port} serves another certificate ({leaf[:16]}...); {when}",
        hint="does the container mount certs_dir as a folder, and read these two files?",
    )


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
        if pem is None:
            key = pki.new_key()
            self._file.save_order_key(pki.key_to_pem(key))
            return key
        return pki.key_from_pem(pem)

    def drop(self) -> None:
        self._file.drop_order()
