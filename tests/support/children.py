"""Code run in a child process, where it may be killed, or its file system may fail, at any step."""

import errno
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator

from certbotless.base.errors import StoreError

# Exit codes of a child: done, refused with a StoreError, and anything else.
DONE, REFUSED, CRASHED = 0, 3, 70

# What the interpreter tells its audit hooks of, right before the system call (docs.python.org, audit events).
_FILE_EVENTS = frozenset({"open", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink"})


def run_in_child(action: Callable[[], object]) -> int:
    """Run `action` in a child, and return its exit code; minus the signal that killed it."""
    return wait_for(start_child(action))


def wait_for(pid: int) -> int:
    """Return a child's exit code, or minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def start_child(action: Callable[[], object]) -> int:
    """Fork, and return the pid of the child that runs `action` and nothing else."""
    pid = os.fork()
    if pid:
        return pid
    code = CRASHED
    try:
        action()
        code = DONE
    except StoreError:
        code = REFUSED
    except BaseException:  # noqa: BLE001  (whatever it is, the child must not go on as a second pytest)
        traceback.print_exc()
    finally:
        os._exit(code)


def at_each_step(
    prepare: Callable[[int], Callable[[], object]], fault: Callable[[], object]
) -> Iterator[int]:
    """Run the action that `prepare` gives in one child after another, with `fault` before its n-th step.

    Yields the exit code of each child, for n from 1 until an action needs fewer steps. A step is a system
    call that opens or changes something in the file system.
    """
    for step in range(1, 1000):
        action = prepare(step)
        reached_read, reached_write = os.pipe()

        def run(
            step: int = step, action: Callable[[], object] = action, reached: int = reached_write
        ) -> None:
            steps, is_over = 0, False

            def hook(event: str, _: tuple[object, ...]) -> None:
                nonlocal steps
                if event in _FILE_EVENTS and not is_over:
                    steps += 1
                    if steps == step:
                        os.write(reached, b"!")
                        fault()

            sys.addaudithook(hook)  # stays for the life of the child
            try:
                action()
            finally:
                is_over = True  # coverage writes files of its own when the child ends

        code = run_in_child(run)
        os.close(reached_write)
        is_reached = os.read(reached_read, 1) == b"!"
        os.close(reached_read)
        if not is_reached:
            assert code == DONE
            return
        yield code
    raise AssertionError("the action has no end")


def kill() -> None:
    """The fault of a power cut."""
    os.kill(os.getpid(), signal.SIGKILL)


def io_error() -> None:
    """The fault of a broken disk."""
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def limit_file_size(size: int) -> None:
    """Let no file of this process grow beyond `size` bytes: a write is short, the next one fails."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def die_at_first_byte() -> None:
    """Let the kernel kill this process when it writes to a file, which then stands as it was created."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
