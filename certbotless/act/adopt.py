"""Take over a pair that another tool left under our names, where it is as good as one of ours."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

from ..base.errors import IssueError, StoreError
from ..base.times import rfc3339
from ..base.words import Text
from ..config.values import DIRECTORIES
from ..model.authority import names_of
from ..model.certificate import LeafFacts, Origin
from ..model.memory import Foreign, SavedPair
from ..model.observation import Observation
from ..model.renewal import is_due
from ..model.situation import Goal
from ..state.pair import Store
from ..state.site import SiteFile
from ..world import verify
from ..world.acme import keys
from .context import SiteContext

logger = logging.getLogger(__name__)

# No public CA gives a certificate for longer. Source: CA/Browser Forum, Baseline Requirements 6.3.2.
_LONGEST_PUBLIC = timedelta(days=398)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a pair of another tool is taken over, and why not.

    Attributes:
        pair: as it is to be taken over; None where it must not be, and `why` says the reason.
        facts: of its certificate, where that is valid for these names.
    """

    pair: SavedPair | None
    facts: LeafFacts | None
    why: str = ""

    @property
    def text(self) -> str:
        """What `plan` says of it."""
        if self.why:
            return Text("the certificate of another tool is not taken over: {}", self.why)
        return Text("the certificate of another tool can be taken over")


def adopt(ctx: SiteContext, seen: Observation) -> None:
    """Publish the plain files as a generation of ours, the same bytes, if they are usable (`judge`).

    Otherwise the verdict is kept; the files are set aside when the first certificate of our own is published.

    Raises:
        StoreError: they are usable, but could not be published.
    """
    verdict = judge(ctx.goal, seen, ctx.state.generations)
    pair, facts = verdict.pair, verdict.facts
    if pair is None or facts is None:
        issuer, until = (facts.issuer, rfc3339(facts.not_after)) if facts else ("unknown", "unknown")
        text = "certificate.not_adopted domain=%s issuer=%s not_after=%s reason=%s"
        logger.info(text, ctx.site.domain, issuer, until, verdict.why)
        valid_until = facts.not_after if facts else None
        ctx.file.change(foreign=Foreign(files=seen.published.plain, why=verdict.why, valid_until=valid_until))
        return
    ctx.file.save_pair(pair)
    ctx.publish(pair, facts)
    ctx.file.change(foreign=None)
    ctx.tell("certificate.adopted", sha256=facts.sha256, not_after=rfc3339(facts.not_after))


def judge(goal: Goal, seen: Observation, known: Mapping[str, str]) -> Verdict:
    """Return whether the plain files at the two names are usable; changes nothing.

    `known` are the generations that are ours (Store).

    1. They are valid: the key matches, the names are the site's, the chain holds, the validity covers now.
    2. The renewal moment has not come, and the CA that the file asks for may have signed them: at a public CA
       what this machine's trust store verifies, and lives no longer than what such a CA gives; at another one
       what has the issuer of the certificate before.
    """
    facts: LeafFacts | None = None
    site, url = goal.site, goal.authority(seen).id
    store = Store(goal.config.certs_dir_of(site), site.domain)
    try:
        chain, key_pem = store.plain_pair()
        key = keys.key_from_pem(key_pem)
        facts = keys.checked_facts(chain, key, names_of(site, seen.address), seen.at)  # 1
        if is_due(facts, seen.at):  # 2
            raise IssueError(Text("its renewal is due"))
        before = partial(_chain_before, goal, store, seen, known)
        _refuse_unless_of_this_ca(url, site.domain, before, chain, key_pem, facts)
    except (IssueError, StoreError) as exc:
        return Verdict(None, facts, str(exc))
    origin = Origin(url, "", keys.key_type_of(key), facts.not_before)
    return Verdict(SavedPair.of(chain, key_pem, origin, facts.not_after), facts)


def _refuse_unless_of_this_ca(
    directory: str, domain: str, before: Callable[[], bytes], chain: bytes, key: bytes, facts: LeafFacts
) -> None:
    """Raise IssueError, with the issuer in its text, for what the CA of the file cannot have signed."""
    if keys.is_self_signed(chain):
        raise IssueError(Text("it is self-signed"))
    if directory not in DIRECTORIES.values():
        # Another one of its own, or the local CA.
        if not keys.have_same_issuer(chain, before()):
            if "://" not in directory:
                raise IssueError(Text("its issuer {!r} is not the CA of this machine", facts.issuer))
            raise IssueError(Text("its issuer {!r} is not known to be the CA at {}", facts.issuer, directory))
    elif facts.lifetime > _LONGEST_PUBLIC:
        raise IssueError(
            Text(
                "its issuer {!r} is not a public CA: the certificate lasts {} days, and those of a public "
                "CA last {} at most",
                facts.issuer,
                facts.lifetime.days,
                _LONGEST_PUBLIC.days,
            )
        )
    elif why := verify.why_untrusted(chain, key, domain):
        raise IssueError(Text("this machine does not trust its issuer {!r}: {}", facts.issuer, why))


def _chain_before(goal: Goal, store: Store, seen: Observation, known: Mapping[str, str]) -> bytes:
    """Return the chain that the CA of the file gave last, empty where none is known."""
    copy = SiteFile(goal.config.state_dir, goal.site.domain).copy()
    if copy is not None:
        return copy.chain.encode() if copy.directory == goal.authority(seen).id else b""
    origin = seen.published.origin
    if origin is None or origin.directory != goal.authority(seen).id:
        return b""
    return store.pair(known)[0]
