"""Wait for several things at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(function: Callable[[T], R], items: Sequence[T], most: int | None = None) -> list[R]:
    """Return `function(item)` of each, in order; at most `most` at a time, of which the caller does one.

    What is logged belongs to the site that the caller is about.

    Raises:
        Exception: one that one of them raised, once all have ended.
    """
    others = min(len(items), most or len(items)) - 1
    if others < 1:
        return list(map(function, items))
    with ThreadPoolExecutor(max_workers=others) as pool:
        waited = [pool.submit(copy_context().run, function, item) for item in items[:-1]]
        last = function(items[-1])
        return [*(future.result() for future in waited), last]
