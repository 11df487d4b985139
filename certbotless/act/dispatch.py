"""The steps of a decision, each carried out by the module that owns its fact.

A step loads what it needs when it is taken, so a run in which nothing is due loads none of it. What the
next steps need is loaded in the background, while the first one waits for the network.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ..base.errors import ZoneNotFound
from ..base.log_context import RunEvent
from ..config.settings import Target
from ..model.decision import Step
from ..model.observation import Observation
from ..world.acme.challenge import sweep
from .context import Workbench

if TYPE_CHECKING:
    from .certificate import Certifying
    from .deploy import Serving

logger = logging.getLogger(__name__)


def announce(step: Step, seen: Observation, bench: Workbench) -> None:
    """Note what a deploy is about to do, before sites that share its container wait for each other.

    Raises:
        StoreError: it could not be noted.
    """
    _serving(bench, seen).announce(_target_of(step, bench))


def take(step: Step, seen: Observation, bench: Workbench, later: Sequence[Step] = ()) -> None:
    """Carry out one step that was decided for what was just seen; the site's lock is held.

    Args:
        later: the other steps of the decision, which may come next.

    Raises:
        CertbotlessError: any; what was reached until then stands, and the next look sees it.
    """
    domain = bench.site.domain
    # Nobody waits for upkeep: it is logged as a detail, and neither the progress nor the attempt log has it.
    is_upkeep = step.action in ("list", "renewal-info", "note")
    level = logging.DEBUG if is_upkeep else logging.INFO
    extra = None if is_upkeep else RunEvent("begins", step.key, step.reason).extra
    logger.log(level, "%s.due domain=%s reason=%s", step.key, domain, step.reason, extra=extra)
    actions = [each.action for each in later]
    if step.action in ("order", "collect", "adopt", "restore") and bench.site.deploy:
        actions.append("deploy")
    load_ahead(step.action, actions)
    try:
        _carry_out(step, seen, bench)
    except BaseException as exc:
        if isinstance(exc, ZoneNotFound):
            # It may have become a part of its parent since it was found, or have moved elsewhere.
            bench.forget_zones()
        extra = RunEvent("not done", step.key).extra
        logger.debug("%s.not_done domain=%s error=%s", step.key, domain, exc, extra=extra)
        raise
    logger.debug("%s.done domain=%s", step.key, domain, extra=RunEvent("done", step.key).extra)


def _carry_out(step: Step, seen: Observation, bench: Workbench) -> None:
    match step.action:
        case "clean-up":
            sweep(bench.zones.open, bench.file)
        case "list" | "record" | "record6" | "confirm" | "confirm6":
            _point(step, seen, bench)
        case "adopt":
            from .adopt import adopt

            adopt(bench, seen)
        case "restore":
            _certifying(bench).restore(seen)
        case "order":
            _certifying(bench).order(seen)
        case "collect":
            _certifying(bench).collect(seen)
        case "renewal-info":
            _certifying(bench).ask_when_to_renew(seen)
        case "rebuild" | "note":
            _certifying(bench).rebuild(seen)
        case "rehearse":
            _certifying(bench).rehearse(seen)
        case "redeploy":
            _serving(bench, seen).redeploy()
        case "deploy":
            _serving(bench, seen).deploy(_target_of(step, bench))


def _point(step: Step, seen: Observation, bench: Workbench) -> None:
    from .record import Pointing

    address = seen.address6 if step.action in ("record6", "confirm6") else seen.address
    pointing = Pointing(bench, step.target or bench.site.domain, address)
    if step.action == "list":
        pointing.list()
    elif step.action in ("record", "record6"):
        pointing.write()
    else:
        pointing.confirm()


def _certifying(bench: Workbench) -> Certifying:
    from .certificate import Certifying

    return Certifying(bench)


def _serving(bench: Workbench, seen: Observation) -> Serving:
    from .deploy import Serving

    return Serving(bench, seen)


def _target_of(step: Step, bench: Workbench) -> Target:
    return next(target for target in bench.site.deploy if target.name == step.target)


# --- what is loaded ahead -----------------------------------------------------------------------------------


def _of_records() -> None:
    from ..world.dns import alidns  # noqa: F401
    from . import record  # noqa: F401


def _of_certificates() -> None:
    from ..world.dns import alidns  # noqa: F401
    from . import certificate  # noqa: F401


def _of_containers() -> None:
    from ..world import containers
    from . import deploy as serve  # noqa: F401

    containers.load()


_LOADS: dict[str, Callable[[], None]] = {
    "record": _of_records,
    "record6": _of_records,
    "order": _of_certificates,
    "deploy": _of_containers,
    "redeploy": _of_containers,
}
_loaded: set[Callable[[], None]] = set()


def load_ahead(action: str, later: Sequence[str]) -> None:
    """Begin to load what later actions need, if that was not begun; not what this one is about to load."""
    known = _loaded | {_LOADS.get(action)}
    ahead = [load for load in dict.fromkeys(map(_LOADS.get, later)) if load is not None and load not in known]
    if not ahead:
        return
    _loaded.update(ahead)

    def load_all() -> None:
        for load in ahead:
            # What cannot be loaded is told by the step that needs it.
            with suppress(ImportError, OSError):
                load()

    with suppress(RuntimeError):  # no more threads: then each step loads what it needs
        threading.Thread(target=load_all, name="load").start()
