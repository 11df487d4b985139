"""The commands: each does what is asked for; an error becomes an exit code.

Exit codes: 0 as asked; 1 a fact is not true, or it cannot run; 2 bad usage or configuration; 3 `plan
--exit-code` found something to do. Heavy imports are made where they are needed, so that the commands that
only read answer at once.
"""

import argparse
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from ..base import words
from ..base.errors import CertbotlessError, ConfigError, UsageError
from ..base.words import Text, _
from . import arguments, log, output

# Before the heavy imports: of many commands given at once on a busy machine, some get that far only after the
# first one is done, and what that one issued counts as done since they were given.
_BEGAN = datetime.now(UTC)

# Twice as many as `--once` makes while it loads all that a run may need.
_OBJECTS_OF_A_START = 200_000
_OBJECTS_OF_A_DAEMON = gc.get_threshold()[0]


def start() -> int:
    """Run the command of this process and return its exit code.

    What is loaded stays to the end. To look for garbage in it, and to take it down, would take a quarter of
    the CPU of a command that only reads.
    """
    gc.set_threshold(_OBJECTS_OF_A_START)
    code = main()
    gc.freeze()
    if threading.active_count() == 1:
        # Python itself reports what cannot be written.
        with suppress(OSError):
            sys.stdout.flush()  # of a command that failed; others have done so
            sys.stderr.flush()
            logging.shutdown()
            os._exit(code)
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    # Every file is created with the mode that it shall have, whatever the caller's umask.
    os.umask(0o022)
    output.open_closed()
    if isinstance(sys.stdout, TextIOWrapper):
        # A text of a CA may have letters that this terminal lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    words.speak("auto")
    try:
        code = _dispatch(arguments.parse(sys.argv[1:] if argv is None else argv))
        print(end="", flush=True)
        return code
    except CertbotlessError as exc:
        text, code = _said_of(exc)
        print(text, file=sys.stderr)
        return code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except OSError as exc:
        return output.code_of(exc)


def _said_of(exc: CertbotlessError) -> tuple[str, int]:
    """Return what is said of an error, and the exit code."""
    said = _(str(exc))
    if isinstance(exc, ConfigError):
        return said, 2
    return f"certbotless: {said}", 2 if isinstance(exc, UsageError) else 1


def _dispatch(args: argparse.Namespace) -> int:
    if not args.renew_now:
        for option, value in {"force": args.force, "dry-run": args.dry_run, "ca": args.only_ca}.items():
            if value:
                if option == "dry-run":
                    raise UsageError(Text("--dry-run goes with --renew-now, or after add"))
                raise UsageError(Text("--{} goes with --renew-now", option))
    commands = {
        "check": _check,
        "plan": _plan,
        "status": _status,
        "doctor": _probe if args.command == "doctor" and args.probe else _doctor,
        "notify-test": _notify_test,
        "init": _init,
        "add": _add,
        "account": _account,
        "trust": _trust,
        "sandbox": _sandbox,
    }
    source = None if args.config == "-" else Path(args.config)
    if args.command is not None:
        return commands[args.command](source, args)
    if args.once or args.renew_now:
        return _act(source, args)
    log.set_up()
    if args.errand is not None:
        from .errand import run_errand

        return run_errand(source, args.errand)
    return _daemon(source)


# --- commands that read -----------------------------------------------------------------------------------


def _check(source: Path | None, args: argparse.Namespace) -> int:
    from ..config import checks, environment, load

    checked = load.load(source)
    warnings = checks.warnings(checked, source)
    _warn(warnings)
    count = len(checked.sites)
    sites = (_("{} site") if count == 1 else _("{} sites")).format(count)
    line = _("{}: ok ({})").format(environment.name_of(source), sites)
    if lacking := len(checks.unreadable(checked)):
        form = _("{}, but {} secret cannot be read: nothing can be issued yet")
        if lacking > 1:
            form = _("{}, but {} secrets cannot be read: nothing can be issued yet")
        line = form.format(line, lacking)
    print(line)
    return 1 if args.strict and warnings else 0


def _warn(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(_("warning: {}").format(_(warning)), file=sys.stderr)


def _plan(source: Path | None, args: argparse.Namespace) -> int:
    from ..base.locks import running_daemon
    from ..config import checks, load
    from ..observe.views import look_at
    from ..report import plan_text
    from .chosen import sites_named, with_shared

    log.set_up(logging.WARNING)
    checked = load.load(source)
    views = look_at(checked, with_shared(checked, sites_named(checked, args.domains)))
    verdicts = {}
    if asked := [view for view in views if any(step.action == "adopt" for step in view.decision.steps)]:
        from ..act.adopt import judge
        from ..model.situation import Goal

        for view in asked:
            verdict = judge(Goal(view.site, checked), view.seen, view.remembered.generations)
            verdicts[view.site.domain] = verdict.text
    print(plan_text.text_of(views, verdicts))
    _warn(plan_text.warnings_of(views))
    # A daemon that runs has read them; it may have them from systemd.
    lacking = checks.unreadable(checked) if running_daemon(checked.state_dir) is None else []
    _warn(lacking)
    if lacking or any(view.decision.problems for view in views):
        return 1
    return 3 if args.exit_code and any(view.decision.steps for view in views) else 0


def _status(source: Path | None, args: argparse.Namespace) -> int:
    from . import status

    log.set_up(logging.ERROR)
    if args.watch:
        _watch(source, args)
    found = status.find(source, args.domain, has_story=not args.json)
    if args.json:
        print(found.to_json())
    else:
        from ..report import status_text
        from ..report.terminal import Terminal

        screen = Terminal(sys.stdout)
        screen.show(status_text.draw(found, screen))
    if found.error:
        print(_(found.error), file=sys.stderr)
    _warn(found.warnings)
    return found.code


def _watch(source: Path | None, args: argparse.Namespace) -> NoReturn:
    from ..report import status_text
    from ..report.terminal import Drawing, Terminal
    from . import status

    if args.json:
        raise UsageError(Text("--watch does not go with --json; use: watch certbotless status --json"))
    if source is None:
        raise UsageError(Text("--watch reads the file again and again, so it cannot be standard input"))
    screen = Terminal(sys.stdout)
    if not (screen.is_terminal and screen.is_interactive):
        raise UsageError(Text("--watch needs a terminal, and standard output is not one; leave it out"))

    def look() -> tuple[Drawing, int]:
        try:
            found = status.find(source, args.domain)
        except CertbotlessError as exc:
            return _said_of(exc)
        return status_text.draw(found, screen, is_watched=True), found.code

    screen.watch(look)


def _doctor(source: Path | None, args: argparse.Namespace) -> int:
    from ..config import load
    from .doctor import finding, run

    log.set_up(logging.CRITICAL)
    # Its record is deleted, and the program ended that gives a key, as at Ctrl-C; not if nohup is in effect.
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    raw = load.read(source)
    checked = load.spoken(raw, str(source or "-"))
    if args.json:
        words.speak("en")

    def say(found: finding.Finding) -> None:
        tell(found.line)

    tell: Callable[[str], object] = str if args.json else lambda line: print(line, flush=True)
    findings = run.examine(checked, raw, str(source or "-"), say, tell, asks_public=args.public)
    print(finding.as_json(findings) if args.json else finding.summary(findings))
    return 1 if any(found.level == "fail" for found in findings) else 0


def _probe(source: Path | None, args: argparse.Namespace) -> int:
    from ..base.clock import SystemClock
    from ..config import load
    from .doctor import probe

    if args.json:
        raise UsageError(Text("--probe prints one text; leave --json out"))
    log.set_up(logging.CRITICAL)
    clock = SystemClock()
    # A probe that is stopped deletes its record.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_args: clock.stop())
    warn = partial(print, "certbotless:", file=sys.stderr, flush=True)
    return 0 if probe.probe(load.load(source), clock, _say, warn) else 1


def _notify_test(source: Path | None, _args: argparse.Namespace) -> int:
    import socket

    from ..base import privileges
    from ..base.clock import SystemClock
    from ..base.concurrent import together
    from ..config import load
    from ..notify import apprise_sender, outbox
    from ..notify.message import Message

    log.set_up(logging.CRITICAL)
    checked = load.load(source)
    if not checked.notify:
        raise CertbotlessError(
            Text("notify is empty: there is no receiver"), hint=Text("see docs/notifications.md")
        )
    for secret in checked.receivers().values():
        secret.read()
    found = outbox.receivers(checked)
    apprise_sender.load()
    if os.path.isdir(checked.state_dir):
        privileges.become_owner(checked.state_dir, ())
    host = socket.gethostname()
    text = _("This is a test. You will receive the messages of certbotless about {} here.").format(host)
    message = Message("success", _("certbotless on {}: a test").format(host), text)

    def fault_of(receiver: outbox.Receiver) -> str:
        try:
            apprise_sender.send(receiver.url, message, SystemClock())
        except CertbotlessError as exc:
            return _("failed: {}").format(_(str(exc)))
        return ""

    faults = together(fault_of, found)
    for receiver, fault in zip(found, faults, strict=True):
        print(f"{receiver.label}: {fault or _('ok')}")
    return 1 if any(faults) else 0


def _init(source: Path | None, args: argparse.Namespace) -> int:
    from .init import run

    if source is None:
        raise UsageError(Text("init makes a file: give its name with --config FILE"))
    log.set_up(logging.CRITICAL)
    return 0 if run.run(source, vars(args), _asker(), _say) else 1


def _add(source: Path | None, args: argparse.Namespace) -> int:
    from .add import run

    if source is None:
        raise UsageError(Text("add edits a file: give its name with --config FILE"))
    log.set_up(logging.CRITICAL)
    run.run(source, vars(args), _asker(), _say)
    return 0


def _trust(source: Path | None, args: argparse.Namespace) -> int:
    from .trust import run

    log.set_up(logging.CRITICAL)
    return run.run(source, vars(args), _say)


def _account(source: Path | None, args: argparse.Namespace) -> int:
    from .account import run

    log.set_up(logging.ERROR)
    return run.run(source, vars(args), _say)


def _say(line: str) -> None:
    print(f"{line}\n", end="", flush=True)  # one text: the sites of a run end in threads


def _asker() -> Callable[[str, bool], str] | None:
    """Return what asks the person at this terminal; None where nobody is there."""
    # `sys.stdin` is None where standard input is closed.
    return _ask if sys.stdin is not None and sys.stdin.isatty() else None


def _ask(question: str, is_secret: bool) -> str:
    from getpass import getpass

    try:
        return getpass(question) if is_secret else input(question)
    except (EOFError, KeyboardInterrupt):
        print()  # what is said next has a line of its own
        raise


def _sandbox(_source: Path | None, args: argparse.Namespace) -> int:
    from ..sandbox import run

    return run.main(is_local=args.local, has_nodes=args.nodes is not None)


# --- commands that act ------------------------------------------------------------------------------------


def _act(source: Path | None, args: argparse.Namespace) -> int:
    # A worker of the daemon has its configuration on standard input, and writes to the daemon's log.
    if source is not None and sys.stderr.isatty():
        from ..report.progress import Progress

        progress = Progress(sys.stderr, log.Formatter(for_journal=False))
        log.log_through(progress, logging.INFO)
        with progress:
            return _run(source, args, progress.say)
    log.set_up()
    return _run(source, args, _say)


def _run(source: Path | None, args: argparse.Namespace, say: Callable[[str], None]) -> int:
    from ..config import checks, load
    from ..model.decision import Intent
    from ..service import oneshot
    from . import chosen

    checked = load.load(source)
    sites = chosen.sites_to_run(checked, args)
    checks.prove_readable(checked)
    if source is not None:
        checks.log(checked, source)
    intent = Intent()
    if args.renew_now:
        intent = Intent(_BEGAN, ignore_backoff=True, ignore_ledger=args.force, only_rehearse=args.dry_run)
        if args.only_ca is not None:
            sites, ca = chosen.sites_at(checked, sites, args.only_ca)
            intent = replace(intent, ca=ca)
    tells = source is not None and not args.dry_run
    return oneshot.run(checked, sites, intent, say, args.settled, tells=tells)


def _daemon(source: Path | None) -> int:
    from ..service import daemon

    gc.set_threshold(_OBJECTS_OF_A_DAEMON)
    code = daemon.Daemon(source).run()
    logging.shutdown()
    # A check may hang in a resolver: the exit does not wait for its thread.
    os._exit(code)
