"""A certificate on trial: published, not seen in service yet; and what to go back to if it is refused.

The trial is on disk before the service is acted upon, so a run that is killed in between is followed by one
that goes on with it. Which generation is published tells the rest: the one on trial, or, once it was refused,
the one before. Only that one is ever gone back to, and only while it is valid.
"""

from __future__ import annotations

from datetime import timedelta

from .observe import Observation
from .state import Trial
from .store import Published
from .workbench import Workbench

# An action and its proof are over by then; what is left of an older one says nothing of today's service.
_LASTS = timedelta(minutes=10)


def is_open(bench: Workbench, seen: Observation) -> bool:
    """Whether what is published was on trial already when it was looked at, a moment ago."""
    trial = bench.file.load().trial
    if trial is None or trial.generation != seen.published.generation:
        return False
    return bench.clock.now() - trial.at < _LASTS


def fallback(bench: Workbench, seen: Observation) -> Published | None:
    """Return the generation before the published one, None where it cannot be gone back to."""
    previous, known = seen.published.previous, bench.file.load().generations
    found = bench.store.look_at(previous, known) if previous else None
    if found is None or found.facts is None or found.facts.not_after <= bench.clock.now():
        return None
    return found


def begin(bench: Workbench, seen: Observation) -> None:
    """Put what is published on trial; it may be so already."""
    published = seen.published
    if not is_open(bench, seen):
        trial = Trial(generation=published.generation, previous=published.previous, at=bench.clock.now())
        bench.file.change(trial=trial)


def end(bench: Workbench) -> None:
    """Note that the service has shown it."""
    bench.file.change(trial=None)


def go_back(bench: Workbench, seen: Observation, why: str) -> None:
    """Publish the generation before the one on trial. Raises `StoreError`."""
    bench.store.select(seen.published.previous)
    facts = seen.published.facts
    bench.tell("certificate.rolled_back", f"refused={facts.sha256 if facts else ''} reason={why!r}")


def try_again(bench: Workbench) -> Published:
    """Publish the refused generation once more, and return it. Raises `StoreError`."""
    trial = bench.file.load().trial
    if trial is not None:
        bench.store.select(trial.generation)
    return bench.store.look(bench.file.load().generations)
