"""Take over a pair that another tool left under our names, where it is as good as one of ours."""

from __future__ import annotations

import logging

from . import pki
from .errors import IssueError, StoreError
from .leaf import LeafFacts, rfc3339
from .observe import Observation
from .renewal import is_due
from .state import SavedPair
from .store import Origin
from .workbench import Workbench

logger = logging.getLogger(__name__)


def adopt(bench: Workbench, seen: Observation) -> None:
    """Publish the plain files as a generation of ours, the same bytes, if they are usable.

    Usable: the key matches, the names are the site's, the chain holds, the validity covers now, the renewal
    moment has not come, and somebody else has signed it. Otherwise nothing happens: they are set aside when
    the first certificate of our own is published.

    Raises:
        StoreError: they are usable, but could not be published.
    """
    try:
        chain, key = bench.store.plain_pair()
        facts, key_type = _checked(bench, chain, key, seen)
    except (IssueError, StoreError) as exc:
        logger.info("certificate.not_adopted domain=%s reason=%s", bench.site.domain, exc)
        return
    pair = SavedPair(
        chain=chain.decode(),
        key=key.decode(),
        directory=bench.config.acme.url,
        account="",
        key_type=key_type,
        issued_at=facts.not_before,
    )
    origin = Origin(pair.directory, pair.account, pair.key_type, pair.issued_at)
    bench.file.save_pair(pair)
    bench.store.publish(chain, key, facts, origin, bench.clock.now())
    bench.tell("certificate.adopted", f"sha256={facts.sha256} not_after={rfc3339(facts.not_after)}")


def _checked(bench: Workbench, chain: bytes, key_pem: bytes, seen: Observation) -> tuple[LeafFacts, str]:
    key = pki.key_from_pem(key_pem)
    facts = pki.checked_facts(chain, key, bench.site.all_names, seen.at)
    if pki.is_self_signed(chain):
        raise IssueError("it is self-signed")
    if is_due(facts, seen.at):
        raise IssueError("its renewal is due")
    return facts, pki.key_type_of(key)
