"""What `status` finds in one look, and as JSON for a program. Reads only, and is light."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..base import locks
from ..base.errors import ConfigError, StoreError
from ..config import load
from ..config.settings import Config, Site
from ..model.certificate import LeafFacts
from ..observe import client_visit
from ..observe.views import look_at
from ..report.found import Found, Story
from ..state import site
from ..state.daemon_file import refusal
from ..state.history import Events
from ..state.pair import Store
from ..state.site import SiteFile

if TYPE_CHECKING:
    from ..notify.outbox import History

# As many as a person reads.
_EVENTS = 10


def find(source: Path | None, choose: Callable[[Config], Sequence[Site]], *, is_one: bool) -> Found:
    """Read the file and look at the sites that `choose` takes from it. Takes at most about 6 s.

    Args:
        is_one: whether it is one site, of which more is told.

    Raises:
        CertbotlessError: the state cannot be read, or what `choose` raises.
    """
    now, path = datetime.now(UTC), str(source or "-")
    raw = b""
    try:
        raw = load.read(source)
        checked = load.parse(raw, path)
    except ConfigError as exc:
        certs_dir, state_dir = (load.folder_of_broken(raw, key) for key in ("certs_dir", "state_dir"))
        known = [(domain, _facts_of(domain, certs_dir, state_dir)) for domain in site.known_sites(state_dir)]
        return Found(now, path, str(exc), locks.running_daemon(state_dir), known=known)
    sites, state_dir = choose(checked), checked.state_dir
    views = look_at(checked, sites)
    # What is good in itself may yet be refused: a secret that the daemon cannot read.
    error = "\n".join(refusal(state_dir, raw))
    story = _story(state_dir, sites[0].domain) if is_one else None
    visits = client_visit.remembered(state_dir)
    pid, kept = locks.running_daemon(state_dir), _history(checked)
    return Found(
        now,
        path,
        error,
        pid,
        views,
        visits,
        notify=kept.to_json() if kept else None,
        notify_failure=kept.last_failure if kept else None,
        story=story,
    )


def _history(checked: Config) -> History | None:
    if not checked.notify:
        return None
    from ..notify.outbox import history_of  # noqa: PLC0415  (only a file with receivers needs it)

    return history_of(checked)


def _facts_of(domain: str, certs_dir: Path, state_dir: Path) -> LeafFacts | None:
    """Return what is published of a site, where the configuration cannot be read."""
    try:
        known = SiteFile(state_dir, domain).load().generations
    except StoreError:
        known = {}
    return Store(certs_dir, domain).look(known).facts


def _story(state_dir: Path, domain: str) -> Story:
    file = SiteFile(state_dir, domain)
    return Story(Events(state_dir).last(domain, _EVENTS), *file.last_attempt(), file.holder is not None)
