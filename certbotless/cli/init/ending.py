"""After the files are written: a dry run and the start are offered, then comes what a person does by hand."""

import shlex
import sys
from contextlib import suppress
from pathlib import Path
from textwrap import indent

from ...base.errors import UsageError
from ...base.names import likely_zone
from ...base.words import _
from ...config import environment
from ..found import Running
from ..questions import Questions
from .key import policy_text
from .outside import SERVICE, TIMER, Outside
from .text import CERTS_DIR, Answers, run_text, sees_text

_START = ("systemctl", "enable", "--now", SERVICE, TIMER)


def finish(
    path: Path, answers: Answers, made: Running | None, questions: Questions, outside: Outside
) -> bool:
    """Offer what can be done now, and say what comes next; whether all that was wanted went well.

    Args:
        made: the container; None where there is none yet.
    """
    say = questions.say
    if not questions.are_asked and not answers.is_local:
        say(policy_text(answers.zone or likely_zone(answers.domain)))
        say(_("If the key lacks it, certbotless doctor prints it with the digits."))
    by_hand = _by_hand(answers, made)
    is_read = outside.service_file() == path
    question = _("Try it now with the CA's test server (it changes no file and restarts nothing)?")
    if answers.is_local:
        question = _("Try it now (it changes no file and restarts nothing)?")
    # A dry run wants the container, which a person creates by the command below.
    can_try, can_start = made is not None or not answers.container, is_read and not by_hand
    if questions.are_asked and (can_try or can_start):
        say("")
    tries = can_try and _agrees(questions, question)
    # As a command of its own it has its own log, and shows its progress.
    program = [sys.executable, "-P", "-m", "certbotless", "--config", str(path)]
    has_tried = tries and outside.call([*program, "--renew-now", "--dry-run"]) == 0
    if tries and not has_tried:
        say(_("The dry run has failed, see above."))
    starts = can_start and _agrees(questions, _("Start the service now?"))
    runs = starts and outside.call(_START) == 0
    if starts and not runs:
        say(_("The service has not started; see: {}").format(f"journalctl -u {SERVICE}"))

    say(_("\nNext:"))
    for text in by_hand:
        say(f"  - {text}")
    if made is None and answers.container:
        say(_("  - start the registry, with a password; it restarts until its first certificate exists:"))
        say(indent(run_text(answers), "    ").rstrip())
    for command, purpose in _commands(path, answers, made, is_read=is_read):
        is_done = has_tried or runs if "--dry-run" in command else runs and command.startswith("systemctl")
        if not is_done:
            say(f"  {command}    # {purpose}")
    return has_tried >= tries and runs >= starts


def _commands(path: Path, answers: Answers, made: Running | None, *, is_read: bool) -> list[tuple[str, str]]:
    """Return the next commands, and what each is for; `is_read`: the service reads the file."""
    config = "" if path == environment.FILE else f"--config {shlex.quote(str(path))} "
    own = f"certbotless {config}"
    tries = _("try it; no file changes") if answers.is_local else _("try it with the CA's test server")
    found = [(f"{own}--renew-now --dry-run", tries)]
    if config and not is_read:
        found.append((own.rstrip(), _("the daemon; the service reads {} only").format(environment.FILE)))
    else:
        found.append((" ".join(_START), _("start the service")))
    wait = _("the first certificate takes a few seconds; if not: doctor")
    if not answers.is_local:
        wait = _("the first certificate takes a minute or two; if not: doctor")
    found.append((f"{own}status", wait))
    if answers.is_local:
        found.append((f"{own}trust commands", _("what to type on each client")))
        found.append((f"{own}trust install", _("the same on this machine")))
    if answers.container and (made is None or made.settings.is_registry):
        port = answers.port or (made.container.ports[0] if made else None)
        where = _("from a client that has the root") if answers.is_local else _("from any machine of the LAN")
        found.append((f"docker login {answers.at(port)}", where))
    return [*found, (f"{own}add DOMAIN", _("another site"))]


def _agrees(questions: Questions, question: str) -> bool:
    """Whether a person wants it; the files are written, so an input that has ended is a no."""
    with suppress(UsageError):
        return questions.agree(question)
    return False


def _by_hand(answers: Answers, made: Running | None) -> list[str]:
    """Return what a person must do before the start, beside a container that is to be made."""
    certs_dir, name = answers.certs_dir, answers.container
    found = []
    if made is not None and made.settings.is_registry and not made.serves(answers.domain):
        options = " ".join(sees_text(answers))
        found.append(_("create {} again with these options (docs/registry.md): {}").format(name, options))
    if answers.key_mode == "0640" and made is not None:
        folder = shlex.quote(str(certs_dir))
        gid = max(made.settings.gids, default="GID")
        command = f"chgrp {gid} {folder} && chmod 2755 {folder}"
        found.append(_("{} reads the key through the group of the folder: {}").format(name, command))
        if gid == "GID":
            found.append(_("GID is a group of the container's user on this machine (docs/configuration.md)"))
    if certs_dir != CERTS_DIR:
        text = _('let the service write to {}: docs/systemd.md, "What the unit may do"')
        found.append(text.format(certs_dir))
    return found
