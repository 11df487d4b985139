"""Order certificates from an ACME CA: the authority of a site with a public name."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from ..base.errors import (
    AccountRefused,
    AuthorizationFailed,
    DnsRefused,
    IssueError,
    SecretUnreadable,
    StoreError,
    ZoneNotFound,
)
from ..base.names import challenge_name, rr_of
from ..base.times import rfc3339
from ..config.settings import Acme
from ..model.authority import Authority
from ..model.certificate import Published
from ..model.limits import staging_of
from ..model.memory import OrderInFlight, RenewalInfo
from ..model.observation import Observation
from ..model.renewal import next_look
from ..state.order_guard import OrderGuard
from ..state.site import Accounts, SiteFile
from ..world.acme import keys
from ..world.acme.issue import Issuance
from ..world.acme.order import Issued, PendingOrder
from ..world.acme.renewal_info import suggested_renewal
from .challenge_zones import ChallengeZones
from .context import SiteContext

logger = logging.getLogger(__name__)

# Where another CA can give the certificate; together with the issuance 20 minutes (settings.LONGEST_ORDER).
_BRIEF_VALIDATION_S = 600


class AcmeOrders:
    """The orders of one site at a CA of the file (orders.Orders): the first, or the one with this name."""

    def __init__(self, ctx: SiteContext, name: str = "") -> None:
        self._ctx = ctx
        self._dns = ChallengeZones(ctx)
        cas = ctx.config.cas
        self._acme = next((ca for ca in cas if ca.directory == name), cas[0])

    @property
    def _pending(self) -> PendingOrder:
        return _Pending(self._ctx, self._acme)

    def authority(self, seen: Observation) -> Authority:
        return self._ctx.goal.authority(seen, self._acme.directory)

    def check(self, seen: Observation) -> None:
        """Check that the key may use the zones of the challenges, as far as nothing has shown it yet."""
        ctx, zone = self._ctx, self._ctx.zone()
        places: dict[str, str] = {}
        for name in ctx.site.all_names:
            rr_of(name.removeprefix("*."), zone.name)
            txt = self._dns.locate(challenge_name(name), "")
            places[txt.zone] = txt.fqdn
        ctx.zones.prove(places)
        if seen.published.facts is None and not self._has_record(zone.name):
            # No step before this one has used them.
            for name, fqdn in places.items():
                ctx.zones.open(name).records(fqdn)

    def _has_record(self, zone: str) -> bool:
        """Whether the site has written its record, or a site has that shares the certificate."""
        ctx = self._ctx
        if ctx.site.domain in ctx.state.records.get("A", {}):
            return True
        for site in ctx.config.users.get(ctx.site.domain, ()):
            with suppress(StoreError):  # its own check reports it
                state = SiteFile(ctx.config.state_dir, site.domain).load()
                if site.domain in state.records.get("A", {}) and zone in (site.zone, state.zone):
                    return True
        return False

    def order(self, seen: Observation) -> Issued:
        """Get a certificate by dns-01; an order in flight is finished first."""
        return self._issue(self._ready(), seen, self._pending, seen.in_hand)

    def collect(self, seen: Observation) -> Issued | None:
        """Return what an order in flight has given; the CA that gave what is in hand is asked first."""
        origin, orders = seen.in_hand.origin, self._ctx.state.in_flight
        for ca in sorted(self._ctx.config.cas, key=lambda ca: origin is None or ca.url != origin.directory):
            if len(self._ctx.config.cas) > 1 and not any(order.directory == ca.url for order in orders):
                continue
            self._acme = ca
            issued = self._issuance(self._ready(), seen, self._pending).collect()
            if issued is not None:
                return issued
        if self._ctx.state.in_flight:
            self.drop_all()  # at CAs that are not in the file any more
        return None

    def drop(self) -> None:
        self._pending.drop()

    def drop_all(self) -> None:
        self._ctx.file.drop_order()

    def rehearse(self, seen: Observation) -> None:
        """Get a certificate, check it and forget it.

        At the CA's staging directory; where it has none, only until all authorizations are valid: no
        certificate is issued. What the site has in flight stays as it is.
        """
        acme, order = self._ready(), _Rehearsed(keys.new_key(self._acme.key_type))
        staging = staging_of(acme.url)
        if not staging:
            with self._validation(order):
                self._issuance(acme, seen, order).authorize()
            self._ctx.tell("dry_run.passed", directory=acme.url, certificate="none")
            return
        acme = replace(acme, directory=staging)
        issued = self._issue(acme, seen, order)
        facts = keys.checked_facts(
            issued.chain_pem, issued.key, self._ctx.site.all_names, self._ctx.clock.now()
        )
        self._ctx.tell("dry_run.passed", directory=acme.url, not_after=rfc3339(facts.not_after))

    def _issue(
        self, acme: Acme, seen: Observation, pending: PendingOrder, predecessor: Published | None = None
    ) -> Issued:
        with self._validation(pending):
            return self._issuance(acme, seen, pending).issue(predecessor)

    @contextmanager
    def _validation(self, pending: PendingOrder) -> Iterator[None]:
        """Remember whether the validation inside succeeds."""
        try:
            yield
        except AuthorizationFailed as exc:
            # Its resolver got no answer where we got all of them.
            exc.is_fault_of_ca = exc.is_blind and self._dns.is_shown
            self._dns.note_validation(is_valid=False)
            pending.drop()
            raise
        except (DnsRefused, ZoneNotFound) as exc:
            # A zone that was found for an alias may have gone elsewhere since.
            self._ctx.file.change(alias_zones={})
            if (explained := self._dns.explained(exc)) is not exc:
                raise explained from exc
            raise
        self._dns.note_validation(is_valid=True)

    def ask_when_to_renew(self, seen: Observation) -> None:
        """Ask for the CA's window, and draw a moment in it if it is a new one; a failure does no harm."""
        facts, origin, now = seen.in_hand.facts, seen.in_hand.origin, self._ctx.clock.now()
        if facts is None or origin is None:
            return
        self._acme = next((ca for ca in self._ctx.config.cas if ca.url == origin.directory), self._acme)
        known = self._ctx.state.renewal
        if known is None or not known.is_of(facts):
            known = RenewalInfo(sha256=facts.sha256, next_look=now)
        try:
            told = suggested_renewal(self._ready(), facts.ari_id, self._ctx.clock)
        except IssueError as exc:
            logger.debug("renewal.window_unknown domain=%s error=%s", self._ctx.site.domain, exc)
            self._ctx.file.change(renewal=replace(known, next_look=next_look(now, exc.retry_after)))
            return
        window = told.window if told.window is not None and told.window.is_sound(facts) else None
        start, end = (window.start, window.end) if window else (None, None)
        moment = known.moment
        if (start, end) != (known.start, known.end):
            moment = window.moment(random.random()) if window else None  # noqa: S311  (it spreads a fleet)
        drawn = replace(known, start=start, end=end, moment=moment)
        self._ctx.file.change(renewal=replace(drawn, next_look=next_look(now, told.retry_after)))
        if window is not None and moment is not None and moment != known.moment:
            times = {"at": rfc3339(moment), "from": rfc3339(window.start), "to": rfc3339(window.end)}
            self._ctx.tell("renewal.drawn", **times, explained_at=told.explanation)

    def _issuance(self, acme: Acme, seen: Observation, pending: PendingOrder) -> Issuance:
        ctx, names = self._ctx, self._ctx.site.all_names
        guard = OrderGuard(
            ctx.ledger,
            ctx.clock,
            ctx.site,
            acme.url,
            seen.in_hand.facts_for(acme.url, names),
            is_forced=ctx.intent.ignore_ledger,
            adopted=seen.in_hand.facts_as_of(acme.url, names),
            renewal=ctx.state.renewal,
            is_rehearsal=ctx.intent.only_rehearse,
        )
        accounts = Accounts(ctx.config.state_dir, acme.url)
        return Issuance(
            acme,
            names,
            accounts,
            dns=self._dns,
            pending=pending,
            guard=guard,
            clock=ctx.clock,
            **({"patience_s": _BRIEF_VALIDATION_S} if ctx.config.has_stand_ins else {}),
        )

    def _ready(self) -> Acme:
        """Return the CA. Raises, before it is asked for anything, where the secret of a binding is missing.

        Raises:
            AccountRefused: another CA of the list may give the certificate without it.
            SecretUnreadable: no CA can.
        """
        config = self._ctx.config
        # In a list a binding is needed for a new account alone.
        is_bound = config.has_stand_ins and Accounts(config.state_dir, self._acme.url).is_known
        if self._acme.eab is not None and not is_bound:
            try:
                self._acme.eab.hmac_key.read()
            except SecretUnreadable as exc:
                if not config.has_stand_ins:
                    raise
                raise AccountRefused(exc.message, hint=exc.hint) from exc
        return self._acme


class _Pending:
    """The order in flight of one site at one CA (issue.PendingOrder), kept in its state."""

    def __init__(self, ctx: SiteContext, acme: Acme) -> None:
        self._file = ctx.file
        self._acme = acme
        self._names = ctx.site.all_names
        self._others = {ca.url for ca in ctx.config.cas} - {acme.url}

    @property
    def url(self) -> str:
        order = self._file.state.order_at(self._acme.url)
        # Names or kind of key may have changed in the configuration since.
        return order.url if order is not None and order == self._as_placed(order.url) else ""

    def begin(self, url: str) -> None:
        self._file.begin_order(self._as_placed(url), self._others)

    def _as_placed(self, url: str) -> OrderInFlight:
        acme = self._acme
        return OrderInFlight(url=url, directory=acme.url, names=self._names, key_type=acme.key_type)

    def key(self) -> keys.CertificateKey:
        pem = self._file.order_key()
        if pem is not None:
            try:
                return keys.key_from_pem(pem)
            except StoreError as exc:
                logger.warning("order.key_lost error=%s", exc)
        key = keys.new_key(self._acme.key_type)
        self._file.save_order_key(keys.key_to_pem(key))
        return key

    def drop(self) -> None:
        self._file.drop_order(self._others)


@dataclass
class _Rehearsed:
    """The order of a rehearsal (issue.PendingOrder): it is never resumed."""

    made: keys.CertificateKey
    url: str = ""

    def begin(self, url: str) -> None:
        self.url = url

    def key(self) -> keys.CertificateKey:
        return self.made

    def drop(self) -> None:
        self.url = ""
