"""The program where every user can read it, wherever the checkout and its environment lie, as below /root."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import certbotless


@contextmanager
def readable_program(home: Path) -> Iterator[list[str]]:
    """Give the command of a copy of the program, whose libraries are those of this environment."""
    copy, libraries = home / "program", home / "libraries"
    shutil.copytree(
        Path(certbotless.__file__).parent, copy / "certbotless", ignore=shutil.ignore_patterns("__pycache__")
    )
    libraries.mkdir()
    subprocess.run(["mount", "--bind", sysconfig.get_path("purelib"), libraries], check=True)
    python = Path(sys.executable).resolve()
    try:
        with passable(python):
            yield ["env", f"PYTHONPATH={copy}:{libraries}", str(python), "-P", "-m", "certbotless"]
    finally:
        subprocess.run(["umount", libraries], check=True)


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
