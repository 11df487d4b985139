"""Wait for several things at the same time."""

import threading
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


class Threads:
    """So many threads for several callers; a caller that needs some waits until they are free.

    For what others have a say in, such as how many servers they name: a process may start only so many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.BoundedSemaphore(most)
        self._turn = threading.Lock()

    def together(self, function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
        """Do as the function of this name. What `function` calls must not share the same threads."""
        wanted = min(len(items), most, self._most + 1) - 1
        if wanted < 1:
            return list(map(function, items))
        with self._turn:
            for _ in range(wanted):
                self._free.acquire()
        try:
            return together(function, items, wanted + 1)
        finally:
            self._free.release(wanted)
