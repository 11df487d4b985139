"""One run of `--once` or `--renew-now`, from a configuration that is good to an exit code.

The run becomes the owner of the state and reports how it ended for each site. Where no daemon runs, it also
sends the messages that are due.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from ..act import run as act
from ..act.run import Outcome
from ..base import privileges
from ..base.clock import Clock, SystemClock
from ..base.errors import NotifyError, StoreError
from ..base.locks import Lock, running_daemon
from ..base.log_context import Event
from ..base.words import Text, _
from ..config import as_yaml
from ..config.fingerprints import Fingerprints
from ..config.redact import Redactor
from ..config.settings import Config, Site
from ..model.decision import Intent
from ..observe import client_visit
from ..observe.views import look_at
from ..report import status_json
from ..world.lan.watch import settled_before
from . import wire, wiring
from .attempt_log import AttemptLogs

if TYPE_CHECKING:
    from ..notify.outbox import Receiver
    from ..world.credentials.access import Key

logger = logging.getLogger(__name__)

# Sending takes at most 30 s.
_SENDING_S = 60
# A run that is asked to stop has so long for its clean-up.
_LEAVE_S = 10.0


def run(
    config: Config,
    sites: Sequence[Site],
    intent: Intent,
    say: Callable[[str], None],
    settled: Sequence[str],
    *,
    tells: bool,
) -> int:
    """Do what `intent` asks for these sites, say in a line how each one ended, and return the exit code.

    Args:
        say: prints a line; called from several threads.
        settled: the LAN addresses that the daemon saw when it started this run, as in `wire`; else empty.
        tells: whether messages that are due are sent, unless a daemon runs.

    Raises:
        CertbotlessError: nothing could be done.
    """
    clock = SystemClock()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: clock.stop())

    def tell(outcome: Outcome) -> None:
        ended = _how_it_ended(outcome, intent)
        say(wire.report(outcome.domain, _(ended)))
        line = wire.report(outcome.domain, ended)
        logger.debug("run.ended result=%s", line, extra=Event("run ended").extra)

    known = wire.settled_addresses(settled, sites)
    redact = Redactor.of(config)

    def learn(key: Key) -> None:
        redact.learn([key.secret, key.token or ""], [key.id])

    outside = wiring.build(config, clock, settled_before(known), learn)
    to = _receivers(config) if tells and config.notify else []
    privileges.become_owner(config.state_dir, config.certs_dirs)
    by_domain = {site.domain: site for site in sites}
    _announce(config, by_domain, intent, say)
    with (
        _recorded(
            AttemptLogs(config.state_dir, lambda domain: _head(config, by_domain[domain], intent), redact)
        ),
        ends_in_time(config.longest_run, clock),
    ):
        outcomes = act.run(config, sites, outside, intent, tell)
    if to and not clock.is_stopped and running_daemon(config.state_dir) is None:
        send_messages(config, to, redact, clock, outside.fingerprints)
    return 0 if all(_is_well(outcome, intent) for outcome in outcomes) else 1


def _announce(config: Config, domains: Collection[str], intent: Intent, say: Callable[[str], None]) -> None:
    """Say which certificates that sites share are to be renewed."""
    is_renewal = intent.renew_since is not None and not intent.only_rehearse
    for wildcard, users in config.users.items():
        if is_renewal and wildcard in domains:
            form = _("renews {} for {} site") if len(users) == 1 else _("renews {} for {} sites")
            say(form.format(wildcard, len(users)))


@contextmanager
def ends_in_time(longest: timedelta, clock: SystemClock) -> Iterator[None]:
    """Ask the run to stop when it has taken so long, and end the process where it does not.

    As the daemon does with its workers. A command that was suspended at a terminal ends when it continues.
    """
    is_over = threading.Event()

    def watch() -> None:
        if is_over.wait(longest.total_seconds()):
            return
        logger.error("run.overdue after=%s hint=%s", longest, "run it again: it resumes what it began")
        clock.stop()
        if not is_over.wait(_LEAVE_S):
            os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        watcher.join()


def _is_well(outcome: Outcome, intent: Intent) -> bool:
    return outcome.state == "ok" if intent.renew_since is None else outcome.is_renewed


def _how_it_ended(outcome: Outcome, intent: Intent) -> str:
    if _is_well(outcome, intent):
        if intent.only_rehearse:
            return Text("dry run: {}", outcome.reason)
        return Text("ok") if intent.renew_since is None else Text("renewed and served")
    reason = outcome.reason or Text("not renewed")
    if outcome.failure is not None:
        reason = status_json.failure_text(outcome.failure)
    return Text("{}: {}", Text(outcome.state), reason)


# --- the messages -------------------------------------------------------------------------------------------


def _receivers(config: Config) -> list[Receiver]:
    """Return the receivers and load the library: the owner may be unable to read secrets or the library."""
    from ..notify import apprise_sender, outbox

    try:
        apprise_sender.load()
    except NotifyError as exc:
        logger.warning("notify.failed error=%s", exc)
        return []
    return outbox.receivers(config)


def send_messages(
    config: Config,
    to: Sequence[Receiver],
    redact: Redactor,
    clock: Clock,
    fingerprints: Fingerprints,
) -> None:
    """Send what is due at once: the next run may be hours away. This run does not depend on it."""
    from ..notify import alerts, apprise_sender, outbox

    views, visits = look_at(config, config.kept, fingerprints), client_visit.remembered(config.state_dir)
    found = alerts.conditions(clock.now(), (site.domain for site in config.kept), views, visits)
    try:
        # Another command may end just now.
        with Lock(config.state_dir / "notify.lock", clock, _SENDING_S):
            post = outbox.due(config, found, alerts.Steady(), timedelta(), to, redact)
            if post.letters:
                outbox.deliver(post, apprise_sender.send, clock)
    except StoreError as exc:
        logger.warning("notify.not_sent error=%s", exc)


# --- the attempt log ----------------------------------------------------------------------------------------


@contextmanager
def _recorded(logs: AttemptLogs) -> Iterator[None]:
    """Write all that we log to the attempt logs, with details that no other output shows."""
    ours = logging.getLogger("certbotless")
    level = ours.level
    ours.addHandler(logs)
    ours.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        ours.setLevel(level)
        ours.removeHandler(logs)
        logs.close()


def _head(config: Config, site: Site, intent: Intent) -> list[str]:
    """Return the command and the configuration of the site, with references in place of secrets."""
    asked = [
        "--once" if intent.renew_since is None else "--renew-now",
        *(["--ca", intent.ca] if intent.ca else []),
        *(["--force"] if intent.ignore_ledger else []),
        *(["--dry-run"] if intent.only_rehearse else []),
    ]
    return [
        f"asked for: {' '.join(asked)}",
        *as_yaml.lines(config, site),
    ]
