"""Threads of a process that stand still while the others go on: a call that never returns, wherever it is.

Source: ptrace(2): a traced thread that is stopped stays so, and a killed one is gone only when its tracer has
waited for it.
"""

import ctypes
import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_SEIZE, _INTERRUPT = 0x4206, 0x4207
_ALL_KINDS = 0x40000000  # __WALL: also threads


@contextmanager
def all_but_the_main_thread(pid: int) -> Iterator[Callable[[], None]]:
    """Freeze all other threads that a process has now; it must be killed within the block.

    Gives a function to be called until it is gone: it lets the threads that were killed go.

    Raises:
        OSError: they cannot be traced.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    threads = set()
    for thread in {int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()} - {pid}:
        if libc.ptrace(_SEIZE, thread, 0, 0) == 0:
            threads.add(thread)
            libc.ptrace(_INTERRUPT, thread, 0, 0)  # or it ends in this very moment
        elif ctypes.get_errno() != errno.ESRCH:  # it has ended
            raise OSError(ctypes.get_errno(), "ptrace")

    def let_go() -> None:
        for thread in threads:
            with suppress(ChildProcessError):  # it is gone
                os.waitpid(thread, os.WNOHANG | _ALL_KINDS)

    try:
        yield let_go
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            with suppress(ChildProcessError):
                while os.WIFSTOPPED(os.waitpid(thread, _ALL_KINDS)[1]):
                    pass
