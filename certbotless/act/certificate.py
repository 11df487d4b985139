"""Get the certificate, and publish it: what the steps `order`, `collect` and `restore` do."""

import logging
from dataclasses import replace

from ..base.errors import IssueError, StoreError
from ..base.times import rfc3339
from ..base.words import Text
from ..model.authority import names_of
from ..model.certificate import LeafFacts, Origin
from ..model.memory import SavedPair
from ..model.observation import Observation
from ..world import verify
from ..world.acme import keys
from ..world.acme.order import Issued
from .contest import set_right_lately
from .context import SiteContext
from .orders import Orders

logger = logging.getLogger(__name__)


def _orders_of(ctx: SiteContext, ca: str) -> Orders:
    """Return the orders of a site at its authority; nothing of the other kind is loaded."""
    if ctx.site.is_local:
        from .local_orders import LocalOrders  # noqa: PLC0415

        return LocalOrders(ctx)
    from .acme_orders import AcmeOrders  # noqa: PLC0415

    return AcmeOrders(ctx, ca)


class CertificateSteps:
    """The steps around the certificate of one site; `ca` is the name of one of several public CAs."""

    def __init__(self, ctx: SiteContext, ca: str = "") -> None:
        self._ctx = ctx
        self.orders = _orders_of(ctx, ca)

    def order(self, seen: Observation) -> None:
        """Get a new certificate, check it and publish it."""
        self._check_before_order(seen)
        issued = self.orders.order(seen)
        if self._is_published(issued, seen):
            # Left by a run that was killed after it had published this very certificate.
            self.orders.drop()
            issued = self.orders.order(seen)
        self._publish(issued, seen)

    def rehearse(self, seen: Observation) -> None:
        """Do all that `order` does, with a certificate that is then forgotten (orders.Orders)."""
        self._check_before_order(seen)
        self.orders.rehearse(seen)

    def _check_before_order(self, seen: Observation) -> None:
        """Check what costs nothing before an order is spent: files, what the authority needs, containers."""
        self._ctx.store.probe_writable()
        self._ctx.file.probe_writable()
        self.orders.check(seen)
        if seen.published.facts is None:
            for target in self._ctx.site.deploy:
                if target.container is not None:
                    self._ctx.containers.find(target.container)
        if any(target.service for target in self._ctx.site.deploy):
            from .service import check_before_order  # noqa: PLC0415  (nothing of it is loaded for others)

            check_before_order(self._ctx, seen)

    def collect(self, seen: Observation) -> None:
        """Publish what an order in flight has given; drop one that has given nothing."""
        issued = self.orders.collect(seen)
        if issued is not None and self._is_published(issued, seen):
            self.orders.drop_all()
        elif issued is not None:
            self._publish(issued, seen)

    def _is_published(self, issued: Issued, seen: Observation) -> bool:
        published = seen.published.facts
        try:
            return published is not None and keys.leaf_sha256(issued.chain_pem) == published.sha256
        except IssueError:
            return False  # publishing it will say what is wrong

    def _publish(self, issued: Issued, seen: Observation) -> None:
        now = self._ctx.clock.now()
        try:
            names = names_of(self._ctx.site, seen.address)
            facts = keys.checked_facts(issued.chain_pem, issued.key, names, now)
        except IssueError:
            self.orders.drop()
            raise
        authority = self.orders.authority(seen)
        chain, key = keys.as_parsed(issued.chain_pem), keys.key_to_pem(issued.key)
        origin = Origin(authority.id, issued.account, authority.key_type, now)
        pair = SavedPair.of(chain, key, origin, facts.not_after)
        self._ctx.file.save_pair(pair)
        self._ctx.publish(pair, facts)
        self.orders.drop_all()
        self._ctx.tell("certificate.published", sha256=facts.sha256, not_after=rfc3339(facts.not_after))
        if why := verify.doubt(authority.id, chain, key, self._ctx.site.domain.replace("*", "any")):
            # Clients may know the CA all the same: a trust store here may be old, or absent.
            text = "certificate.not_trusted_here domain=%s issuer=%s reason=%s hint=%s"
            hint = "update ca-certificates; if it is up to date, check which server acme.directory reaches"
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
            what = Text("{}, again: certbotless restored it", seen.published.fault)
            hint = Text("find the program that writes there, and stop it or give it another folder")
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
        domain, hint = self._ctx.site.domain, "the options of the mount decide which users can read it"
        why = "the key has mode {}, not {}, and the file system does not keep modes".format(*wrong_mode)
        logger.warning("key.mode_not_kept domain=%s reason=%s hint=%s", domain, why, hint)
        self._ctx.file.change(unkept_modes=wrong_mode)
        return False

    def _copy(self) -> tuple[SavedPair, LeafFacts]:
        """Return the copy of the pair last issued, and its facts; one that cannot be used is set aside.

        Raises:
            StoreError, IssueError: there is none; the next check orders a certificate.
        """
        if self._ctx.site.is_shared and not self._ctx.file.has_pair:
            from .shared import save_spare  # noqa: PLC0415  (nothing of it is loaded for other sites)

            save_spare(self._ctx)
        pair = self._ctx.file.saved_pair()
        try:
            return pair, keys.matching_facts(pair.chain.encode(), keys.key_from_pem(pair.key.encode()))
        except (StoreError, IssueError):
            self._ctx.file.set_pair_aside()
            raise

    def rebuild(self, seen: Observation) -> None:
        """Restore what state_dir has lost: the copy of the published pair, and the list of our pairs.

        Where nothing says which pairs are ours, as after an upgrade, those in place count as ours whose facts
        are those of their certificates. Where nothing is published, only the end of the copy is added: an
        older version did not save it.

        Raises:
            StoreError, IssueError: the pair cannot be read, or something not be written.
        """
        file, store, known = self._ctx.file, self._ctx.store, self._ctx.state.generations
        facts, origin = seen.published.facts, seen.published.origin
        if not known and facts is not None:
            file.change(generations={name: self._verified(name) for name in seen.generations})
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

    def _verified(self, name: str) -> str:
        """Return the digest of a generation whose facts are those of its certificate, else an empty one.

        A generation with an empty digest is never taken for ours. Raises `StoreError`.
        """
        told = self._ctx.store.look_at(name)
        if told.facts is None:
            return ""
        chain, key = self._ctx.store.pair({name: told.digest}, name)
        try:
            return told.digest if keys.matching_facts(chain, keys.key_from_pem(key)) == told.facts else ""
        except (IssueError, StoreError):
            return ""
