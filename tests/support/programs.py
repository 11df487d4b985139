"""The program where every user can read it, wherever the checkout and its environment lie, as below /root."""

import shutil
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import certbotless
from certbotless.sandbox.process import Background
from support.bed import PATIENCE_S, Bed
from support.private_host import mounted


def without_error(action: Callable[[], object]) -> Callable[[], bool]:
    """Return whether an action raises no OSError, as a question."""

    def asked() -> bool:
        with suppress(OSError):
            action()
            return True
        return False

    return asked


@contextmanager
def running(command: Sequence[str], log: Path, answers: Callable[[], object]) -> Iterator[Background]:
    """Run a program for as long as the block runs, which is once `answers` raises no OSError."""
    program = Background(command, log)
    program.wait_ready(without_error(answers), PATIENCE_S)
    try:
        yield program
    finally:
        program.end()


@contextmanager
def readable_program(home: Path) -> Iterator[list[str]]:
    """Give the command of a copy of the program, whose libraries are those of this environment."""
    copy, libraries = home / "program", home / "libraries"
    shutil.copytree(
        Path(certbotless.__file__).parent, copy / "certbotless", ignore=shutil.ignore_patterns("__pycache__")
    )
    libraries.mkdir()
    python = Path(sys.executable).resolve()
    with mounted(libraries, "--bind", sysconfig.get_path("purelib")), passable(python):
        yield ["env", f"PYTHONPATH={copy}:{libraries}", str(python), "-P", "-m", "certbotless"]


@contextmanager
def passable(path: Path) -> Iterator[None]:
    """Let every user go through the folders that lead to a path: a Python may lie below /root, too.

    On a private host, whose folders are its own.
    """
    closed = [folder for folder in path.parents if not folder.stat().st_mode & stat.S_IXOTH]
    with ExitStack() as after:
        for folder in closed:
            mode = stat.S_IMODE(folder.stat().st_mode)
            after.callback(folder.chmod, mode)
            folder.chmod(mode | stat.S_IXOTH)
        yield


@contextmanager
def within_reach(bed: Bed) -> Iterator[None]:
    """Let another user in as far as the folders of the test, to the engine's socket, and to the program.

    That may lie where only root can read it, so its runs are those of the project as the user sees it.
    """
    for folder in [bed.home, *bed.home.parents, bed.ca.ca_bundle.parent]:
        folder.chmod(folder.stat().st_mode | 0o055)
    bed.file_mode = 0o644
    bed.engine.socket.parent.chmod(0o711)
    bed.ca.ca_bundle.chmod(0o644)
    project, seen = Path(__file__).parents[2], bed.home / "project"
    seen.mkdir()
    bed.python = seen / bed.python.relative_to(project)
    # Before what the environment was made for, the project at its own path; and that is no place to start in.
    bed.environment |= {"PYTHONPATH": str(seen), "PYTHONSAFEPATH": "1"}
    with mounted(seen, "--bind", project):
        yield
