"""The steps of a decision, each carried out by the module that owns its fact.

A step loads what it needs when it is taken, so a run in which nothing is due loads none of it. What the
next steps need is loaded in the background, while the first one waits for the network.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from ..base.errors import ZoneNotFound
from ..base.log_context import Event
from ..config.targets import Target
from ..model.decision import Step
from ..model.observation import Observation
from ..world.acme.challenge import sweep
from .context import SiteContext

if TYPE_CHECKING:
    from .certificate import CertificateSteps
    from .deploy import DeploySteps

logger = logging.getLogger(__name__)


def announce(step: Step, seen: Observation, ctx: SiteContext) -> None:
    """Note what a deploy is about to do, before sites that share its container wait for each other.

    Raises:
        StoreError: it could not be noted.
    """
    _deploy(ctx, seen).announce(_target_of(step, ctx))


def take(step: Step, seen: Observation, ctx: SiteContext, later: Sequence[Step] = ()) -> None:
    """Carry out one step that was decided for what was just seen; the site's lock is held.

    Args:
        later: the other steps of the decision, which may come next.

    Raises:
        CertbotlessError: any; what was done until then remains, and the next check sees it.
    """
    domain = ctx.site.domain
    # An optional step is logged as a detail: neither the progress nor the attempt log has it.
    is_optional = step.action in ("list", "renewal-info", "note", "verify", "nodes", "watch")
    level = logging.DEBUG if is_optional else logging.INFO
    extra = None if is_optional else Event("begins", {"step": step.key, "reason": step.reason}).extra
    logger.log(level, "%s.due domain=%s reason=%s", step.key, domain, step.reason, extra=extra)
    actions = [each.action for each in later]
    if step.action in ("order", "collect", "take", "adopt", "restore") and ctx.site.deploy:
        actions.append("deploy")
    if not ctx.site.is_local:
        load_ahead(step.action, actions)
    try:
        _carry_out(step, seen, ctx)
    except BaseException as exc:
        if isinstance(exc, ZoneNotFound):
            # It may have become a part of its parent since it was found, or have moved elsewhere.
            ctx.file.change(zone="", alias_zones={})
        extra = Event("not done", {"step": step.key}).extra
        logger.debug("%s.not_done domain=%s error=%s", step.key, domain, exc, extra=extra)
        raise
    logger.debug("%s.done domain=%s", step.key, domain, extra=Event("done", {"step": step.key}).extra)


def _carry_out(step: Step, seen: Observation, ctx: SiteContext) -> None:
    match step.action:
        case "clean-up":
            sweep(ctx.zones.open, ctx.file)
        case "list" | "record" | "record6" | "confirm" | "confirm6" | "watch":
            _record(step, seen, ctx)
        case "rotate":
            from .local_rotation import go_on

            go_on(ctx)
        case "adopt" | "take":
            _take_over(step, seen, ctx)
        case "restore":
            _certificate(ctx).restore(seen)
        case "order":
            _certificate(ctx, step.target).order(seen)
        case "collect":
            _certificate(ctx).collect(seen)
        case "renewal-info":
            _certificate(ctx).orders.ask_when_to_renew(seen)
        case "rebuild" | "note" | "verify":
            _certificate(ctx).rebuild(seen)
        case "dry_run":
            _certificate(ctx, step.target).rehearse(seen)
        case "account":
            from .stand_ins import make_account

            make_account(ctx, step.target)
        case "redeploy" | "deploy" | "nodes":
            _serve(step, seen, ctx)


def _serve(step: Step, seen: Observation, ctx: SiteContext) -> None:
    if step.action == "nodes":
        from .service import look_for_nodes

        look_for_nodes(ctx, _target_of(step, ctx))
        return
    steps = _deploy(ctx, seen)
    if step.action == "redeploy":
        steps.redeploy()
    else:
        steps.deploy(_target_of(step, ctx))


def _take_over(step: Step, seen: Observation, ctx: SiteContext) -> None:
    """Publish what another tool has left here, or what sites share."""
    if step.action == "adopt":
        from .adopt import adopt

        adopt(ctx, seen)
    else:
        from .shared import take as take_shared

        take_shared(ctx, seen)


def _record(step: Step, seen: Observation, ctx: SiteContext) -> None:
    if step.action == "watch":
        from .addresses import watch

        watch(ctx, seen)
        return
    from .record import RecordSteps

    addresses = seen.wanted("AAAA" if step.action in ("record6", "confirm6") else "A")
    steps = RecordSteps(ctx, step.target or ctx.site.domain, *addresses)
    if step.action == "list":
        steps.list()
    elif step.action in ("record", "record6"):
        steps.write()
    else:
        steps.confirm()


def _certificate(ctx: SiteContext, ca: str = "") -> CertificateSteps:
    from .certificate import CertificateSteps

    return CertificateSteps(ctx, ca)


def _deploy(ctx: SiteContext, seen: Observation) -> DeploySteps:
    from .deploy import DeploySteps

    return DeploySteps(ctx, seen)


def _target_of(step: Step, ctx: SiteContext) -> Target:
    return next(target for target in ctx.site.deploy if target.name == step.target)


# --- what is loaded ahead -----------------------------------------------------------------------------------


# By action; docker is what the first call to the engine loads.
_LOADS = {
    "record": ("..world.dns.alidns", ".record"),
    "record6": ("..world.dns.alidns", ".record"),
    "order": ("..world.dns.alidns", ".acme_orders"),
    "deploy": (".deploy", "docker"),
    "redeploy": (".deploy", "docker"),
}
_loaded: set[str] = set()


def load_ahead(action: str, later: Sequence[str]) -> None:
    """Begin to load what later actions need, if that was not begun; not what this one is about to load."""
    known = _loaded.union(_LOADS.get(action, ()))
    ahead = [name for each in later for name in _LOADS.get(each, ()) if name not in known]
    if not ahead:
        return
    _loaded.update(ahead)

    def load_all() -> None:
        for name in ahead:
            # What cannot be loaded is reported by the step that needs it.
            with suppress(ImportError, OSError):
                import_module(name, __package__)

    with suppress(RuntimeError):  # no more threads: then each step loads what it needs
        threading.Thread(target=load_all, name="load").start()
