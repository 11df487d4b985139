"""Sites that share a certificate: how one takes it, and how those of a run take turns."""

import logging
import math
from collections import deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from threading import Event, Lock

from ..base.clock import SlotClock
from ..base.errors import CertbotlessError, IssueError, StoreError
from ..base.log_context import waits_for
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..config.settings import Site
from ..decide.deploy import window_wait
from ..model.authority import names_of
from ..model.decision import WRITES, Step
from ..model.memory import Failure
from ..model.observation import Observation
from ..model.shared import Held, is_logged
from ..model.view import View
from ..state.pair import META
from ..state.shared import SharedCertificate, spares
from .context import SiteContext

logger = logging.getLogger(__name__)

# So soon a run that waits sees that it was asked to stop.
_PATIENCE_S = 0.2
# So long a first order waits for the record of a site, which another run may have locked.
_RECORD_WAIT_S = 10.0


def take(ctx: SiteContext, seen: Observation) -> None:
    """Publish the shared certificate as that of the site: a generation of its own, with its own way back.

    Raises:
        StoreError, IssueError: it cannot be read, or is not for the site any more.
    """
    from ..world.acme import keys  # noqa: PLC0415  (cryptography, which only this needs)

    pair, now = _certificate(ctx).pair(), ctx.clock.now()
    key = keys.key_from_pem(pair.key.encode())
    facts = keys.checked_facts(pair.chain.encode(), key, names_of(ctx.site, seen.address), now)
    _note_logged(ctx, seen)
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


def _note_logged(ctx: SiteContext, seen: Observation) -> None:
    """Remember which names are public by the certificates of the site's own, which are deleted in time."""
    since = dict(ctx.state.logged)
    for held in filter(None, (seen.published, seen.refused)):
        names = [name for name in (held.facts.names if held.facts else ()) if name[0] != "*"]
        if held.facts and held.origin and names and is_logged(held.origin.directory):
            at = held.facts.not_before
            since |= {name: min(at, since.get(name, at)) for name in names}
    ctx.file.change(logged=since)


def save_spare(ctx: SiteContext) -> None:
    """Make a copy of a shared certificate that is lost, from what a site has of it.

    Raises:
        StoreError, IssueError: no site has one that can be used.
    """
    from ..world.acme import keys  # noqa: PLC0415  (as above)

    failed: CertbotlessError = StoreError(Text("no site has a copy of {}", ctx.site.domain))
    for spare in spares(ctx.config, ctx.site.domain, ctx.clock.now()):
        try:
            pair = spare.pair()
            held = keys.matching_facts(pair.chain.encode(), keys.key_from_pem(pair.key.encode()))
            if held != spare.facts:
                raise StoreError(Text("{} of {} does not match its certificate", META, spare.generation))
        except (StoreError, IssueError) as exc:
            failed = exc
            continue
        ctx.file.save_pair(pair)
        return
    raise failed


def _certificate(ctx: SiteContext) -> SharedCertificate:
    return SharedCertificate(ctx.config, ctx.site.certificate or "")


@dataclass(slots=True)
class _Turn:
    """Sites that take a certificate together; `comes` is set when it is their turn, or was."""

    sites: set[str]
    comes: Event = field(default_factory=Event)


class Turns:
    """Lets the sites of a run take a shared certificate one after the other, in the order of the file.

    So the first service that does not come up with it is the only one. Sites with the same service have one
    turn: it is acted upon once for all of them. Records and all else go on meanwhile.

    A site that waits holds its lock. Two runs never wait for each other, because their turns have the same
    order: that of all sites of the file, whatever sites a run is for.

    Args:
        sites: those of the run.
        sharers: for each certificate, the names of the services of all its sites of the file, by domain.
    """

    def __init__(self, sites: Sequence[Site], sharers: Mapping[str, Mapping[str, Set[str]]]) -> None:
        self._lock = Lock()
        # Set when the run of a shared certificate has ended; and when a site of it needs no record any more.
        self._ended = {site.domain: Event() for site in sites if site.is_shared}
        self._recorded = {site.certificate: Event() for site in sites if site.certificate}
        here = {site.domain for site in sites}
        # Those that are not over, by certificate; and by domain.
        self._turns = {
            name: deque(_Turn(turn & here) for turn in turns_of(those) if turn & here)
            for name, those in sharers.items()
        }
        self._turn_of = {
            domain: turn for turns in self._turns.values() for turn in turns for domain in turn.sites
        }
        for turns in self._turns.values():
            turns[0].comes.set()

    @property
    def order(self) -> list[str]:
        """The domains whose turn is not over, in the order of the turns."""
        return [domain for turns in self._turns.values() for turn in turns for domain in sorted(turn.sites)]

    def end(self, site: Site) -> None:
        """Note that the run of a site, or of a shared certificate, has ended."""
        if site.is_shared:
            self._ended[site.domain].set()
        elif site.certificate:
            self._recorded[site.certificate].set()
            self._give_way(site.domain, site.certificate)

    def is_behind(self, domain: str) -> bool:
        """Whether it is not the turn of the site yet."""
        return domain in self._turn_of and not self._turn_of[domain].comes.is_set()

    def must_wait(self, site: Site, view: View, due: Sequence[Step], clock: SlotClock) -> bool:
        """Wait where the certificate is to come, or is for others to take first; return whether so.

        Args:
            due: the steps that the run has not taken yet.
        """
        if site.certificate is None:
            return self._waits_for_record(site, view, due, clock)
        if not any(step.action in WRITES for step in due):
            self._recorded[site.certificate].set()
        ended, turn = self._ended.get(site.certificate), self._turn_of[site.domain]
        is_to_come = ended is not None and not ended.is_set()
        is_taking = any(step.action == "take" for step in view.decision.steps)
        # Where a service is about to try again what it has refused, later sites go by what comes of it.
        if is_taking and (not due or due[0].action == "take") and not turn.comes.is_set():
            with self._lock:
                others = ",".join(sorted(self._turns[site.certificate][0].sites))
            _wait(turn.comes, others, clock)
            return True
        if ended is not None and is_to_come and not due:
            _wait(ended, site.certificate, clock)
            return True
        if not (is_to_come or is_taking or any(step.action in ("deploy", "redeploy") for step in due)):
            self._give_way(site.domain, site.certificate)
        return False

    def _waits_for_record(self, site: Site, view: View, due: Sequence[Step], clock: SlotClock) -> bool:
        """Let a site write its record before the first order, as where it has a certificate of its own.

        So a key that may not use the zone costs no order, and no further call shows that it may.
        """
        recorded = self._recorded.get(site.domain)
        is_first = view.seen.published.facts is None and any(step.action == "order" for step in due[:1])
        if recorded is None or recorded.is_set() or not is_first:
            return False
        _wait(recorded, site.domain, clock, _RECORD_WAIT_S)
        recorded.set()
        return True

    def hold_others(self, ctx: SiteContext, seen: Observation, failure: Failure) -> None:
        """Keep the sites after this one from what its service has refused, until it has tried again."""
        if seen.shared is not None and seen.shared.facts is not None:
            canary = ctx.site.deploy[0]
            begins = window_wait(canary, ctx.state.deploy_by, failure.retry_at) or failure.retry_at
            # It is stopped for the try, and once more for the way back.
            until = begins + 2 * canary.stop_timeout
            _certificate(ctx).hold(Held(seen.shared.facts.sha256, ctx.site.domain, until))

    def release_others(self, ctx: SiteContext) -> None:
        """Let the sites after this one have what its service has just taken."""
        facts = ctx.store.look(ctx.state.generations).facts
        if facts is not None:
            _certificate(ctx).release(ctx.site.domain, facts.sha256)

    def _give_way(self, domain: str, certificate: str) -> None:
        left = self._turns[certificate]
        with self._lock:
            self._turn_of[domain].sites.discard(domain)
            while left and not left[0].sites:
                left.popleft()
            if left:
                left[0].comes.set()


def _wait(event: Event, others: str, clock: SlotClock, most_s: float = math.inf) -> None:
    extra = waits_for(N_("the other sites of this certificate"), others)
    logger.debug("certificate.shared with=%s", others, extra=extra)
    until = clock.monotonic() + most_s
    with clock.slot_for_others():
        while not event.wait(_PATIENCE_S) and clock.monotonic() < until:
            clock.sleep(0)  # the run may have been asked to stop


def turns_of(names: Mapping[str, Set[str]]) -> list[set[str]]:
    """Return the domains of each turn, in the order in which they are given.

    Args:
        names: by domain, those of its services; domains that have one in common are in one turn.
    """
    turns: list[tuple[set[str], set[str]]] = []
    for domain, own in names.items():
        alike = [turn for turn in turns if not own.isdisjoint(turn[1])]
        if not alike:
            turns.append(({domain}, {*own}))
            continue
        (domains, served), *others = alike
        for those, their in [*others, ({domain}, own)]:
            domains |= those
            served |= their
        turns = [turn for turn in turns if turn not in others]
    return [domains for domains, _ in turns]
