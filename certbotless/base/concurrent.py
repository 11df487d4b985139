"""Wait for several things at the same time."""

import resource
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
# 200 sites that are renewed at once have 800 open, and 64 that ask six name servers each 800 more. Most
# systems give a process 1,024 unless it asks for more. Programs that we start may not be made for very many.
_DESCRIPTORS = 4096


def have_descriptors() -> None:
    """Let this process have as many files and sockets open as many sites need, if the machine allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # what there is must do, then
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def together(function: Callable[[T], R], items: Sequence[T], most: int | None = None) -> list[R]:
    """Return `function(item)` for each item, in order. At most `most` run at a time.

    One of them runs in the thread of the caller. Log lines are about the site of the caller.

    Raises:
        Exception: one that a call has raised, after all have ended.
    """
    others = min(len(items), most or len(items)) - 1
    if others < 1:
        return list(map(function, items))
    with ThreadPoolExecutor(max_workers=others) as pool:
        waited = [pool.submit(copy_context().run, function, item) for item in items[:-1]]
        last = function(items[-1])
        return [*(future.result() for future in waited), last]


class Threads:
    """A number of threads for several callers; a caller waits until enough are free.

    It bounds what others decide, such as how many name servers a zone has: a process can start only so many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = threading.BoundedSemaphore(most)
        self._turn = threading.Lock()

    def together(self, function: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
        """Do what the function of this name does. `function` must not use the same threads."""
        others = range(min(len(items), most, self._most + 1) - 1)
        with self._turn:
            for _ in others:
                self._free.acquire()
        try:
            return together(function, items, len(others) + 1)
        finally:
            for _ in others:
                self._free.release()
