"""Wait for several things at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def together(function: Callable[[T], R], items: Sequence[T], most: int | None = None) -> list[R]:
    """Return `function(item)` of each, in order; at most `most` at a time, each in a thread of its own.

    One item alone needs no thread. What is logged belongs to the site that the caller is about.

    Raises:
        Exception: the first that one of them raised, once all have ended.
    """
    if len(items) <= 1:
        return list(map(function, items))
    with ThreadPoolExecutor(max_workers=min(len(items), most or len(items))) as pool:
        waited = [pool.submit(copy_context().run, function, item) for item in items]
        return [future.result() for future in waited]
