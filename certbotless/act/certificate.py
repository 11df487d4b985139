"""Get the certificate, and publish it: what the steps `order`, `collect` and `restore` do."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from ..base.errors import AuthorizationFailed, DnsRefused, IssueError, StoreError, ZoneNotFound
from ..base.names import challenge_name, rr_of
from ..base.times import rfc3339
from ..config.settings import Acme
from ..model.certificate import LeafFacts, Origin, Published
from ..model.limits import staging_of
from ..model.memory import OrderInFlight, RenewalInfo, SavedPair
from ..model.observation import Observation
from ..model.renewal import next_look
from ..state.order_guard import OrderGuard
from ..state.site import Accounts
from ..world import verify
from ..world.acme import keys
from ..world.acme.issue import Issuance
from ..world.acme.order import Issued, PendingOrder
from ..world.acme.renewal_info import suggested_renewal
from .challenge_zones import ChallengeZones
from .contest import set_right_lately
from .context import SiteContext

logger = logging.getLogger(__name__)


class CertificateSteps:
    """The steps around the certificate of one site."""

    def __init__(self, ctx: SiteContext) -> None:
        self._ctx = ctx
        self._dns = ChallengeZones(ctx)

    def order(self, seen: Observation) -> None:
        """Get a new certificate, check it and publish it; an order in flight is finished first."""
        self._check_before_order(seen)
        pending = _Pending(self._ctx)
        issued = self._issue(self._acme(), seen, pending, seen.in_hand)
        if self._is_published(issued, seen):
            # Left by a run that was killed after it had published this very certificate.
            pending.drop()
            issued = self._issue(self._acme(), seen, pending, seen.in_hand)
        self._publish(issued, pending)

    def rehearse(self, seen: Observation) -> None:
        """Do all that `order` does up to the checks of a new certificate, which is then forgotten.

        At the CA's staging directory; where it has none, only until all authorizations are valid: no
        certificate is issued. What the site has in flight stays as it is.
        """
        self._check_before_order(seen)
        acme, order = self._acme(), _Rehearsed(keys.new_key(self._ctx.config.acme.key_type))
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

    def _check_before_order(self, seen: Observation) -> None:
        """Check what costs nothing before an order is spent: files, zones and containers."""
        self._ctx.store.probe_writable()
        self._ctx.file.probe_writable()
        zone = self._ctx.zone()
        places: dict[str, str] = {}
        for name in self._ctx.site.all_names:
            rr_of(name.removeprefix("*."), zone.name)
            txt = self._dns.locate(challenge_name(name), "")
            places[txt.zone] = txt.fqdn
        if seen.published.facts is None:
            for target in self._ctx.site.deploy:
                if target.container is not None:
                    self._ctx.containers.find(target.container)
            if self._ctx.site.domain not in self._ctx.state.records.get("A", {}):
                # No step before this one has shown that the key may use the zones of the challenges.
                for name, fqdn in places.items():
                    self._ctx.zones.open(name).records(fqdn)

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
        except AuthorizationFailed:
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
        facts, now = seen.in_hand.facts, self._ctx.clock.now()
        if facts is None:
            return
        known = self._ctx.state.renewal
        if known is None or not known.is_of(facts):
            known = RenewalInfo(sha256=facts.sha256, next_look=now)
        try:
            told = suggested_renewal(self._acme(), facts.ari_id, self._ctx.clock)
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

    def collect(self, seen: Observation) -> None:
        """Publish what an order in flight has given; drop one that has given nothing."""
        pending = _Pending(self._ctx)
        issued = self._issuance(self._acme(), seen, pending).collect()
        if issued is not None and self._is_published(issued, seen):
            pending.drop()
        elif issued is not None:
            self._publish(issued, pending)

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
        return Issuance(acme, names, accounts, dns=self._dns, pending=pending, guard=guard, clock=ctx.clock)

    def _acme(self) -> Acme:
        """Return the CA of the file. Raises `SecretUnreadable` before the CA is asked for anything."""
        acme = self._ctx.config.acme
        if acme.eab is not None:
            acme.eab.hmac_key.read()
        return acme

    def _is_published(self, issued: Issued, seen: Observation) -> bool:
        published = seen.published.facts
        try:
            return published is not None and keys.leaf_sha256(issued.chain_pem) == published.sha256
        except IssueError:
            return False  # publishing it will say what is wrong

    def _publish(self, issued: Issued, pending: _Pending) -> None:
        now = self._ctx.clock.now()
        try:
            facts = keys.checked_facts(issued.chain_pem, issued.key, self._ctx.site.all_names, now)
        except IssueError:
            pending.drop()
            raise
        acme = self._ctx.config.acme
        chain, key = keys.as_parsed(issued.chain_pem), keys.key_to_pem(issued.key)
        origin = Origin(acme.url, issued.account, acme.key_type, now)
        pair = SavedPair.of(chain, key, origin, facts.not_after)
        self._ctx.file.save_pair(pair)
        self._ctx.publish(pair, facts)
        pending.drop()
        self._ctx.tell("certificate.published", sha256=facts.sha256, not_after=rfc3339(facts.not_after))
        if why := verify.doubt(acme.url, chain, key, self._ctx.site.domain):
            # Clients may know the CA all the same: a trust store here may be old, or absent.
            text = "certificate.not_trusted_here domain=%s issuer=%s reason=%s hint=%s"
            hint = "bring ca-certificates up to date; if it is, look who answers at acme.directory"
            logger.warning(text, self._ctx.site.domain, facts.issuer, why, hint)

    def restore(self, seen: Observation) -> None:
        """Put the names and the key's mode back, or the whole pair from the copy of the one last issued.

        Where the file system keeps no modes, that of the key is warned of once, and is no failure.

        Raises:
            StoreError: it could not be done; or another program has written over it too often to go on.
        """
        now, lately = self._ctx.clock.now(), None
        if seen.published.is_contested:
            # What is merely gone is put back each time.
            what = f"{seen.published.fault}, again: it was put right"
            hint = "find the program that writes there, and stop it or give it another folder"
            lately = set_right_lately(self._ctx, self._ctx.state.restored, StoreError, what, hint)
        if seen.published.facts is not None:
            self._ctx.store.relink(now)
            if seen.published.wrong_mode and not self._has_set_mode(seen.published.wrong_mode):
                return
        else:
            self._ctx.publish(*self._copy())
        modes = " -> ".join(seen.published.wrong_mode)
        self._ctx.tell("files.restored", reason=seen.published.fault, key_mode=modes)
        if lately is not None:
            self._ctx.file.change(restored=(*lately, now))

    def _has_set_mode(self, wrong_mode: tuple[str, ...]) -> bool:
        """Give the key its mode; where that cannot be, warn and remember it. Raises `StoreError`."""
        if self._ctx.store.set_key_mode():
            return True
        domain, hint = self._ctx.site.domain, "the options of the mount say who may read it"
        why = "the key has mode {}, not {}, and the file system keeps no modes".format(*wrong_mode)
        logger.warning("key.mode_not_kept domain=%s reason=%s hint=%s", domain, why, hint)
        self._ctx.file.change(unkept_modes=wrong_mode)
        return False

    def _copy(self) -> tuple[SavedPair, LeafFacts]:
        """Return the copy of the pair last issued, and its facts; one that cannot be used is set aside.

        Raises:
            StoreError, IssueError: there is none; the next check orders a certificate.
        """
        pair = self._ctx.file.saved_pair()
        try:
            return pair, keys.matching_facts(pair.chain.encode(), keys.key_from_pem(pair.key.encode()))
        except (StoreError, IssueError):
            self._ctx.file.set_pair_aside()
            raise

    def rebuild(self, seen: Observation) -> None:
        """Restore what state_dir has lost: the copy of the published pair, and the list of our pairs.

        Where nothing says which pairs are ours, as after an upgrade, the published one counts as ours, if its
        facts are those of its certificate. Where nothing is published, only the end of the copy is added: an
        older version did not save it.

        Raises:
            StoreError, IssueError: the pair cannot be read, or something not be written.
        """
        file, store, known = self._ctx.file, self._ctx.store, self._ctx.state.generations
        facts, origin = seen.published.facts, seen.published.origin
        if not known and facts is not None and not self._is_true(facts):
            # One that has no digest is never taken for ours.
            file.change(generations={seen.published.generation: ""})
            return
        if facts is None and file.has_pair:
            pair, copied = self._copy()
            file.save_pair(replace(pair, not_after=copied.not_after))
            return
        if facts is not None and origin is not None and seen.published.is_intact and not file.has_pair:
            file.save_pair(SavedPair.of(*store.pair(known), origin, facts.not_after))
            self._ctx.tell("copy.saved", sha256=facts.sha256)
        found = {name: store.look_at(name, known).digest for name in seen.generations}
        file.change(generations={name: digest for name, digest in found.items() if digest})

    def _is_true(self, facts: LeafFacts) -> bool:
        """Whether these are the facts of the published certificate. Raises `StoreError`."""
        chain, key = self._ctx.store.pair()
        try:
            return keys.matching_facts(chain, keys.key_from_pem(key)) == facts
        except (IssueError, StoreError):
            return False


class _Pending:
    """The order in flight of one site (issue.PendingOrder), kept in its state."""

    def __init__(self, ctx: SiteContext) -> None:
        self._file = ctx.file
        self._acme = ctx.config.acme
        self._names = ctx.site.all_names

    @property
    def url(self) -> str:
        order = self._file.state.order
        # Names, CA or kind of key may have changed in the configuration since.
        return order.url if order is not None and order == self._as_placed(order.url) else ""

    def begin(self, url: str) -> None:
        self._file.drop_order()
        self._file.change(order=self._as_placed(url))

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
        self._file.drop_order()


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
