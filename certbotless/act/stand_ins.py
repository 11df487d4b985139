"""What is remembered of the CAs of a list, by their names: which of them failed, since when, and why."""

import logging
from dataclasses import replace
from datetime import datetime

from ..base.errors import CertbotlessError, Interrupted, IssueError, RateLimited
from ..decide.choice import LONG_WAIT
from ..model.memory import CaTrouble, SiteState
from ..state.order_guard import OrderGuard
from ..state.site import Accounts
from .context import SiteContext

logger = logging.getLogger(__name__)


def after_failure(
    state: SiteState, name: str, exc: CertbotlessError, now: datetime, *, is_order: bool = True
) -> dict[str, CaTrouble]:
    """Return what is to be remembered of the CAs after a try at one that failed.

    Args:
        is_order: whether an order was tried. Only then it counts as a fault of the CA.
    """
    known = state.troubles.get(name)
    faults = known.faults if known else 0
    if is_order:
        is_fault = isinstance(exc, IssueError) and exc.is_fault_of_ca
        faults = faults + 1 if is_fault or _is_limited_without_end(exc, known, now) else 0
    since = known.since if known else now
    failed = CaTrouble(at=now, what=exc.message, hint=exc.hint, kind=exc.kind, since=since, faults=faults)
    return state.troubles | {name: failed}


def _is_limited_without_end(exc: CertbotlessError, known: CaTrouble | None, now: datetime) -> bool:
    """Whether the CA has said for an hour that we ask too often, and does not say until when.

    Our own ledger always says it.
    """
    if not isinstance(exc, RateLimited) or exc.retry_after is not None or known is None:
        return False
    return known.kind == exc.kind and now - known.at > LONG_WAIT


def after_certificate(state: SiteState, name: str) -> dict[str, CaTrouble]:
    """Return what is remembered of the CAs after one has given a certificate: no fault counts any more."""
    return {other: replace(each, faults=0) for other, each in state.troubles.items() if other != name}


def make_account(ctx: SiteContext, name: str) -> None:
    """Make our account at a CA, before it is needed. A failure is logged, and is none of the site."""
    from ..world.acme.account import make_account as make  # noqa: PLC0415  (heavy)

    ca = next(each for each in ctx.config.cas if each.directory == name)
    guard = OrderGuard(ctx.ledger, ctx.clock, ctx.site, ca.url, None, is_forced=False)
    try:
        if ca.eab is not None:
            ca.eab.hmac_key.read()
        url = make(ca, Accounts(ctx.config.state_dir, ca.url), guard, ctx.clock)
    except Interrupted:
        raise
    except CertbotlessError as exc:
        ctx.file.change(troubles=after_failure(ctx.state, name, exc, ctx.clock.now(), is_order=False))
        logger.warning("account.not_made ca=%s error=%s", name, exc)
        return
    ctx.file.put("troubles", name, None)
    ctx.tell("account.ready", ca=name, url=url)
