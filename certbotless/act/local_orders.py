"""Make certificates by the local CA: the authority of a site without a public name.

The CA is made when it is first needed. It is never made again where it is missing: clients trust its root.
"""

from datetime import datetime, timedelta

from ..base.clock import is_believable
from ..base.errors import IssueError, RateLimited
from ..base.names import not_permitted
from ..base.times import rfc3339
from ..base.words import Text
from ..model.authority import Authority, names_of
from ..model.local_ca import CaFiles, LocalCa
from ..model.observation import Observation
from ..state.local_ca import LocalCaFolder
from ..world import local_ca
from ..world.acme import keys
from ..world.acme.order import Issued
from . import local_rotation
from .context import SiteContext

# An address that comes and goes would restart the service for ever.
_MOST, _WITHIN = 6, timedelta(hours=1)


class LocalOrders:
    """The orders of one site at the CA of this machine (orders.Orders). None is ever in flight."""

    def __init__(self, ctx: SiteContext) -> None:
        self._ctx = ctx
        self._folder = LocalCaFolder(ctx.config.state_dir)
        self._used: CaFiles | None = None

    def authority(self, seen: Observation) -> Authority:
        authority = self._ctx.goal.authority(seen)
        return Authority(self._used.facts.id, authority.key_type, is_acme=False) if self._used else authority

    def check(self, seen: Observation) -> None:
        """Check that the CA is there if it must be, may vouch for the names, and has not signed too often."""
        now, lately = self._ctx.clock.now(), self._signed_lately()
        if len(lately) >= _MOST and not self._ctx.intent.ignore_ledger:
            until = lately[-_MOST] + _WITHIN
            hint = Text("find out why the LAN address changes so often: see certbotless status")
            if self._ctx.intent.renew_since is not None:
                hint = Text("to order now: certbotless --renew-now --force")
            raise RateLimited(
                Text("{} certificates within an hour", len(lately)), hint=hint, retry_after=until - now
            )
        ca = self._folder.load()
        if ca is not None:
            self._refuse_forbidden(ca.facts, seen)
            return
        self._folder.refuse_if_lost(self._ctx.config.certs_dirs)
        permit = local_rotation.permit_of(self._ctx.config, self._ctx.address_of)
        for name in not_permitted(self._names(seen), permit):
            # A root that is made now would be of no use for it.
            raise IssueError(
                Text("{!r} is outside local_ca.permit: add it, or a domain or network around it", name)
            )

    def order(self, seen: Observation) -> Issued:
        """Sign a certificate; the CA is made if there is none yet."""
        with self._folder.locked(self._ctx.clock):
            ca = self._folder.load()
            if ca is None:
                self._folder.refuse_if_lost(self._ctx.config.certs_dirs)
                ca = local_rotation.made(self._ctx.config, self._ctx.clock.now(), self._ctx.address_of)
                self._folder.make(ca)
                self._ctx.tell(
                    "local_ca.made", root=ca.facts.root_sha256, not_after=rfc3339(ca.facts.not_after)
                )
        self._refuse_forbidden(ca.facts, seen)
        self._used = ca
        issued = self._sign(ca, seen)
        self._ctx.file.change(signed=(*self._signed_lately(), self._ctx.clock.now()))
        return issued

    def collect(self, seen: Observation) -> None:
        """Drop what another authority has in flight."""
        self._ctx.file.drop_order()

    def drop(self) -> None:
        self._ctx.file.drop_order()

    drop_all = drop

    def rehearse(self, seen: Observation) -> None:
        """Sign a certificate and forget it; a CA that is not there yet is made in memory alone."""
        ca = self._folder.load()
        if ca is None:
            ca = local_rotation.made(self._ctx.config, self._ctx.clock.now(), self._ctx.address_of)
        issued = self._sign(ca, seen)
        now = self._ctx.clock.now()
        facts = keys.checked_facts(issued.chain_pem, issued.key, self._names(seen), now)
        self._ctx.tell("dry_run.passed", directory="local", not_after=rfc3339(facts.not_after))

    def ask_when_to_renew(self, seen: Observation) -> None:
        """Nothing: it renews by lifetime."""

    def _refuse_forbidden(self, ca: LocalCa, seen: Observation) -> None:
        """Raise IssueError where a certificate of this CA would be refused by every client."""
        if forbidden := ca.forbids(self._names(seen)):
            raise IssueError(
                Text("the root may not vouch for {}", ", ".join(forbidden)),
                hint=Text(
                    "certbotless trust rotate makes one that may; "
                    "when every client has it: certbotless trust switch"
                ),
            )

    def _signed_lately(self) -> list[datetime]:
        now = self._ctx.clock.now()
        return [at for at in self._ctx.state.signed if at > now - _WITHIN and is_believable(at, now)]

    def _sign(self, ca: CaFiles, seen: Observation) -> Issued:
        key, settings = keys.new_key(self._ctx.config.local_ca.key_type), self._ctx.config.local_ca
        chain = local_ca.sign(ca, key, self._names(seen), self._ctx.clock.now(), settings.lifetime)
        return Issued(chain, key, "local")

    def _names(self, seen: Observation) -> tuple[str, ...]:
        return names_of(self._ctx.site, seen.address)
