"""Whether the user that we have become can read the program, and the Python that runs it. Light.

What is imported later, and what children run, is read by that user. Where it cannot be, a run fails in ways
that say nothing of the cause.

Source: access(2), which asks for the real user, as all of ours are after setuid(2).
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .errors import ProgramUnreadable


def files_of_program() -> list[Path]:
    """Return what a run needs to read: our own files first, what is loaded by now, and the Python itself.

    Call it before the user changes: the new user may not see them.
    """
    loaded = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    places = [*sorted(Path(__file__).parent.rglob("*.py")), *(Path(file) for file in loaded if file)]
    return [path for path in [*places, Path(sys.executable)] if path.exists()]


def refuse_unless_readable(paths: Iterable[Path], user: str) -> None:
    """See that all of these can be read now.

    Raises:
        ProgramUnreadable: the first one that cannot be, and the folder that keeps us from it.
    """
    for path in paths:
        if not os.access(path, os.R_OK):
            closed = _closed_on_the_way_to(path)
            mode = ""
            with suppress(OSError):
                mode = f": {str(closed)!r} has mode {stat.S_IMODE(closed.stat().st_mode):04o}"
            raise ProgramUnreadable(
                f"{user} cannot read {str(path)!r}, a file of this program{mode}",
                hint="install it where every user can read it: by `make install`, or by pipx with"
                " PIPX_HOME=/opt/pipx PIPX_BIN_DIR=/usr/local/bin",
            )


def _closed_on_the_way_to(path: Path) -> Path:
    """Return the first folder that we may not enter, also where a link leads; else the file itself."""
    for way in (path, Path(os.path.realpath(path))):
        for folder in reversed(way.parents):
            if not os.access(folder, os.X_OK):
                return folder
    return path
