"""Mutants written by hand: mistakes that once went unnoticed; and those that no test can notice, with why."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Change:
    """One text of a module, which is there once, and what stands in its place in the mutant."""

    name: str
    module: str
    old: str
    new: str


HANDMADE: tuple[Change, ...] = ()

# By the name that the sweep prints.
SURVIVORS: dict[str, str] = {}
