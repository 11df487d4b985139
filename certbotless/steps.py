"""The steps of a decision, each carried out by the module that owns its fact."""

from __future__ import annotations

import logging

from .certify import Certifying
from .challenge import sweep
from .decide import Step
from .observe import Observation
from .point import Pointing
from .serve import Serving
from .workbench import Workbench

logger = logging.getLogger(__name__)


def take(step: Step, seen: Observation, bench: Workbench) -> None:
    """Carry out one step that was decided for what was just seen; the site's lock is held.

    Raises:
        CertbotlessError: any; what was reached until then stands, and the next look sees it.
    """
    logger.info("%s.due domain=%s reason=%s", step.key, bench.site.domain, step.reason)
    match step.action:
        case "clean-up":
            sweep(bench.zones.open, bench.file)
        case "record":
            Pointing(bench).write(seen.address)
        case "confirm":
            Pointing(bench).confirm(seen.address)
        case "restore":
            Certifying(bench).restore(seen)
        case "order":
            Certifying(bench).order(seen)
        case "collect":
            Certifying(bench).collect(seen)
        case "deploy":
            target = next(t for t in bench.site.deploy if t.container == step.target)
            Serving(bench).deploy(target, seen)
