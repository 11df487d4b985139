"""The command, in four steps.

1. Find what is on this machine.
2. Ask for the rest.
3. Write the file, and typed secrets into files beside it: all of them, or none.
4. Offer a dry run and the start, and print what comes next.
"""

import grp
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...base import files, systemd
from ...base.errors import StoreError
from ...base.words import Text, _
from ...config import checks, load
from ...config.settings import DOCKER_SOCKET
from ..questions import Ask, Questions, Say
from . import dialogue, ending
from .outside import REAL, Outside
from .text import config_text

# As `make install` names it, beside the configuration.
_EXAMPLE = "config.example.yaml"


def run(path: Path, options: Mapping[str, Any], ask: Ask | None, say: Say, outside: Outside = REAL) -> bool:
    """Make the file; whether a dry run and a start that a person wants went well. The steps have numbers.

    Args:
        options, ask: as `Questions` has them.

    Raises:
        UsageError: an option is bad or missing, or a person does not answer.
        StoreError: something is there already, or cannot be written.
    """
    path = path.absolute()
    _check_place(path)
    questions = Questions(options, ask, say)
    if questions.are_asked:
        dialogue.greet(questions)

    # 1.
    lan, engine = outside.lan(), outside.engine()

    # 2.
    given = dialogue.hold(questions, path, lan, engine, outside.try_key)
    answers = given.answers
    if answers.container and engine.host != DOCKER_SOCKET:
        # The service does not have our environment, which names this engine.
        answers = replace(answers, docker_host=engine.host)
    text = config_text(answers)
    config = load.parse(text.encode(), str(path))

    # 3.
    say("")
    for written in _write({**given.secrets, path: text}):
        say(_("written: {}").format(written))
    for warning in checks.warnings(config):
        say(_("warning: {}").format(_(warning)))

    # 4.
    return ending.finish(path, answers, given.container, questions, outside)


def _check_place(path: Path) -> None:
    """Find out before the first question whether the file can be made. Raises `StoreError`."""
    if os.path.lexists(path) and not _is_untouched_example(path):
        raise StoreError(
            Text("{!r} is there already, and init overwrites nothing", str(path)),
            hint=Text("certbotless add DOMAIN adds a site; or name another file with --config FILE"),
        )
    folder = path.parent if path.parent.is_dir() else path.parent.parent
    if not os.access(folder, os.W_OK):
        raise StoreError(
            Text("nothing can be written to {!r} by this user", str(folder)),
            hint=Text("run it as root, or name another file with --config FILE"),
        )


def _is_untouched_example(path: Path) -> bool:
    """Whether it is the example as `make install` has copied it, not edited."""
    with suppress(OSError):
        return files.read(path) == files.read(path.with_name(_EXAMPLE).resolve())
    return False


# --- files --------------------------------------------------------------------------------------------------


def _write(texts: Mapping[Path, str]) -> list[str]:
    """Make these files, all or none; return a line for each, with its mode and owner.

    The group of the service's user may read them, where there is that group and we may give files to it.

    Raises:
        StoreError: one is there already, or cannot be made.
    """
    gid = None
    with suppress(KeyError):
        gid = grp.getgrnam(systemd.USER).gr_gid if os.geteuid() == 0 else None
    mode, owner = (0o600, "") if gid is None else (0o640, f" root:{systemd.USER}")
    made: list[Path] = []
    folder = next(iter(texts)).parent
    is_new_folder = not folder.is_dir()
    with files.store_errors(folder):
        try:
            folder.mkdir(0o755, exist_ok=True)
            for path, text in texts.items():
                if _is_untouched_example(path):
                    path.unlink()
                made.append(path)
                try:
                    files.write_new(path, text.encode(), mode, gid)
                except FileExistsError:
                    made.remove(path)
                    raise
            files.sync_dir(folder)
        except BaseException:
            # Also at Ctrl-C: half of it would only be in the way of the next try.
            for path in made:
                path.unlink(missing_ok=True)
            if is_new_folder:
                with suppress(OSError):
                    folder.rmdir()
            raise
    return [f"{path} ({mode:04o}{owner})" for path in made]
