"""The steps of a decision, each carried out by the module that owns its fact."""

from __future__ import annotations

import logging

from .adopt import adopt
from .certify import Certifying
from .challenge import sweep
from .config import Target
from .decide import Step
from .errors import ZoneNotFound
from .observe import Observation
from .point import Pointing
from .serve import Serving
from .workbench import Workbench

logger = logging.getLogger(__name__)


def announce(step: Step, seen: Observation, bench: Workbench) -> None:
    """Note what a deploy is about to do, before sites that share its container wait for each other.

    Raises:
        StoreError: it could not be noted.
    """
    Serving(bench).announce(_target_of(step, bench), seen)


def take(step: Step, seen: Observation, bench: Workbench) -> None:
    """Carry out one step that was decided for what was just seen; the site's lock is held.

    Raises:
        CertbotlessError: any; what was reached until then stands, and the next look sees it.
    """
    level = logging.DEBUG if step.action in ("list", "renewal-info", "note") else logging.INFO
    logger.log(level, "%s.due domain=%s reason=%s", step.key, bench.site.domain, step.reason)
    try:
        _carry_out(step, seen, bench)
    except BaseException as exc:
        if isinstance(exc, ZoneNotFound):
            # It may have become a part of its parent since it was found, or have moved elsewhere.
            bench.forget_zones()
        logger.debug("%s.not_done domain=%s error=%s", step.key, bench.site.domain, exc)
        raise
    logger.debug("%s.done domain=%s", step.key, bench.site.domain)


def _carry_out(step: Step, seen: Observation, bench: Workbench) -> None:
    match step.action:
        case "clean-up":
            sweep(bench.zones.open, bench.file)
        case "list" | "record" | "record6" | "confirm" | "confirm6":
            _point(step, seen, bench)
        case "restore":
            Certifying(bench).restore(seen)
        case "adopt":
            adopt(bench, seen)
        case "order":
            Certifying(bench).order(seen)
        case "collect":
            Certifying(bench).collect(seen)
        case "renewal-info":
            Certifying(bench).ask_when_to_renew(seen)
        case "rebuild" | "note":
            Certifying(bench).rebuild(seen)
        case "rehearse":
            Certifying(bench).rehearse(seen)
        case "redeploy":
            Serving(bench).redeploy(seen)
        case "deploy":
            Serving(bench).deploy(_target_of(step, bench), seen)


def _point(step: Step, seen: Observation, bench: Workbench) -> None:
    pointing, fqdn = Pointing(bench), step.target or bench.site.domain
    if step.action == "list":
        pointing.list(fqdn)
    elif step.action in ("record", "record6"):
        pointing.write(fqdn, _address_for(step, seen))
    else:
        pointing.confirm(fqdn, _address_for(step, seen))


def _address_for(step: Step, seen: Observation) -> str:
    return seen.address6 if step.action in ("record6", "confirm6") else seen.address


def _target_of(step: Step, bench: Workbench) -> Target:
    return next(target for target in bench.site.deploy if target.name == step.target)
