"""Sites that share a certificate: how one takes it, and how those of a run take turns."""

import logging
import threading
from collections.abc import Sequence

from ..base.clock import Clock
from ..base.log_context import waits_for
from ..base.times import rfc3339
from ..base.words import N_
from ..config.settings import Site
from ..model.authority import names_of
from ..model.memory import Failure
from ..model.observation import Observation
from ..model.shared import Held
from ..model.situation import Goal
from ..state.shared import SharedCertificate
from .context import SiteContext

logger = logging.getLogger(__name__)

# So soon a run that waits sees that it was asked to stop.
_PATIENCE_S = 0.2


def take(ctx: SiteContext, seen: Observation) -> None:
    """Publish the shared certificate as that of the site: a generation of its own, with its own way back.

    Raises:
        StoreError, IssueError: it cannot be read, or is not for the site any more.
    """
    from ..world.acme import keys  # noqa: PLC0415  (cryptography, which only this needs)

    pair, now = _certificate(ctx).pair(), ctx.clock.now()
    key = keys.key_from_pem(pair.key.encode())
    facts = keys.checked_facts(pair.chain.encode(), key, names_of(ctx.site, seen.address), now)
    ctx.file.save_pair(pair)
    ctx.publish(pair, facts)
    if ctx.state.in_flight:
        ctx.file.drop_order()  # of the time before the site shared it
    ctx.tell(
        "certificate.taken",
        name=ctx.site.certificate,
        sha256=facts.sha256,
        not_after=rfc3339(facts.not_after),
    )


def hold_others(ctx: SiteContext, seen: Observation, failure: Failure) -> None:
    """Keep the sites after this one from what its service has refused, until it tries again."""
    if seen.shared is not None and seen.shared.facts is not None:
        held = Held(seen.shared.facts.sha256, ctx.site.domain, failure.retry_at)
        _certificate(ctx).hold(held)


def release_others(ctx: SiteContext) -> None:
    """Let the sites after this one have what its service has taken."""
    _certificate(ctx).release(ctx.site.domain)


def _certificate(ctx: SiteContext) -> SharedCertificate:
    return SharedCertificate(ctx.config, ctx.site.certificate or "")


class Turns:
    """Lets the sites of a run take a shared certificate one after the other, in the order of the file.

    So the first service that does not come up with it is the only one. Records and all else go on meanwhile.
    """

    def __init__(self, goals: Sequence[Goal]) -> None:
        self._sharers: dict[str, list[str]] = {}
        for site in (goal.site for goal in goals):
            if site.certificate:
                self._sharers.setdefault(site.certificate, []).append(site.domain)
        self._running = {goal.site.domain for goal in goals}
        self._waiting = set(self._running)
        self._changed = threading.Condition()

    def leave(self, domain: str) -> None:
        """Note that the run of a site has ended."""
        with self._changed:
            self._running.discard(domain)
            self._waiting.discard(domain)
            self._changed.notify_all()

    def give_way(self, site: Site) -> None:
        """Note that a site is done with its certificate; not while that is still to come."""
        with self._changed:
            if site.certificate not in self._running:
                self._waiting.discard(site.domain)
                self._changed.notify_all()

    def await_certificate(self, site: Site, clock: Clock) -> bool:
        """Wait for the run of the shared certificate; return whether there was one to wait for."""
        return self._wait([site.certificate or ""], self._running, clock)

    def await_turn(self, site: Site, clock: Clock) -> bool:
        """Wait for the sites before this one; return whether there was one to wait for."""
        sharers = self._sharers.get(site.certificate or "", [site.domain])
        return self._wait(sharers[: sharers.index(site.domain)], self._waiting, clock)

    def _wait(self, domains: Sequence[str], busy: set[str], clock: Clock) -> bool:
        has_waited = False
        while True:
            clock.sleep(0)  # the run may have been asked to stop
            with self._changed:
                if not (others := busy.intersection(domains)):
                    return has_waited
                if not has_waited:
                    named = ",".join(sorted(others))
                    extra = waits_for(N_("the other sites of this certificate"), named)
                    logger.debug("certificate.shared with=%s", named, extra=extra)
                has_waited = True
                self._changed.wait(_PATIENCE_S)
