"""The command, in four steps.

1. Find what is on this machine.
2. Ask for the rest; what was found is the default.
3. Write the file, and typed secrets into files beside it: all of them, or none.
4. Print what to do outside of this machine, and what comes next.
"""

import grp
import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...base import files, systemd
from ...base.errors import StoreError
from ...config import checks, load
from ...config.settings import DOCKER_SOCKET
from ...world.dns import ram_policy
from . import found
from .found import Running, Say
from .questions import Ask, Questions, answer
from .text import CERTS_DIR, Answers, config_text, run_text, sees_text, terms_text

# As `make install` names it, beside the configuration.
_EXAMPLE = "config.example.yaml"


def run(path: Path, flags: Mapping[str, Any], ask: Ask | None, say: Say) -> bool:
    """Make the file; return whether a person wants the dry run now. The steps have the numbers of the module.

    Args:
        flags, ask: as `Questions` has them.

    Raises:
        UsageError: a flag is bad or missing.
        StoreError: something is there already, or cannot be written.
    """
    path = path.absolute()
    _check_place(path)
    questions = Questions(flags, ask, say)

    # 1.
    notes: list[str] = []
    address = found.address(notes.append)
    docker_host, running = found.containers(notes.append)

    # 2.
    if ask is not None:
        say("\n".join(notes))
    answers, secrets = answer(path, questions, address, running)
    if answers.container and docker_host != DOCKER_SOCKET:
        # The service does not have our environment, which names this engine.
        answers = replace(answers, docker_host=docker_host)
    text = config_text(answers)
    config = load.parse(text.encode(), str(path))

    # 3.
    if ask is None:
        # Not before: where a flag is bad, nothing else is printed.
        say("\n".join(notes))
    for written in _write({**secrets, path: text}):
        say(f"written: {written}")
    for warning in checks.warnings(config):
        say(f"warning: {warning}")

    # 4.
    _tell(path, answers, running.get(answers.container), say)
    return questions.agrees("Do the dry run now?")


def _check_place(path: Path) -> None:
    """Find out before the first question whether the file can be made. Raises `StoreError`."""
    if os.path.lexists(path) and not _is_untouched_example(path):
        raise StoreError(
            f"{str(path)!r} is there already, and init overwrites nothing",
            hint="edit it, move it away, or name another file with --config FILE",
        )
    folder = path.parent if path.parent.is_dir() else path.parent.parent
    if not os.access(folder, os.W_OK):
        raise StoreError(
            f"nothing can be written to {str(folder)!r} by this user",
            hint="run it as root, or name another file with --config FILE",
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


# --- what comes next ----------------------------------------------------------------------------------------


def _tell(path: Path, answers: Answers, chosen: Running | None, say: Say) -> None:
    put = "ACCOUNT" if answers.zone else "ACCOUNT and ZONE"
    say(f"\nThe RAM policy of the AccessKey, for exactly the calls that are made; put yours for {put}:\n")
    say(ram_policy.document(answers.zone or "ZONE"))
    say(terms_text(answers.directory))
    certs_dir, name = answers.certs_dir, answers.container
    if chosen is None and name:
        say(f"\nNo container {name!r} runs yet. A registry that serves TLS from {certs_dir}:\n")
        say(run_text(answers))
        say("It starts again and again until the first certificate is there.")
    elif chosen is not None and chosen.settings.is_registry and not chosen.serves(answers.domain):
        say(f"\n{name} does not look for its certificate where it will be: make it anew, but with")
        say(f"  {' '.join(sees_text(answers))}")
    if answers.key_mode == "0640" and chosen is not None:
        why = {
            "": "is no full root",
            "rootless": "runs in a rootless engine",
            "userns": "has a user namespace of its own",
        }[chosen.settings.namespace]
        folder = shlex.quote(str(certs_dir))
        gid = max(chosen.settings.gids, default="GID")
        say(f"\n{name} {why} and reads the key through the group of {certs_dir}:")
        say(f"  chgrp {gid} {folder} && chmod 2755 {folder}")
        if gid == "GID":
            say("Write a group of the container's user on this machine for GID (docs/configuration.md).")
    if certs_dir != CERTS_DIR:
        say(
            f'\nThe service must be allowed to write to {certs_dir}: docs/systemd.md, "What the unit may do".'
        )
    config = "" if str(path) == "/etc/certbotless/config.yaml" else f"--config {shlex.quote(str(path))} "
    say("\nNext:")
    say(f"  certbotless {config}--renew-now --dry-run")
    say("  systemctl enable --now certbotless.service certbotless-check.timer")
    say(f"  certbotless {config}doctor    # when the first certificate is there")
