"""What `status` finds. Reads only, and is light."""

from datetime import UTC, datetime
from pathlib import Path

from ..base import locks
from ..base.errors import ConfigError, StoreError
from ..base.names import SHARED
from ..base.words import Text
from ..config import checks, load
from ..model.certificate import LeafFacts
from ..observe import client_visit
from ..observe.views import look_at
from ..report.found import Found, Story
from ..state import site
from ..state.daemon_file import refusal
from ..state.history import Events
from ..state.pair import Store
from ..state.site import SiteFile
from .chosen import sites_named, with_shared

# As many as a person reads.
_EVENTS = 10


def find(source: Path | None, domain: str | None = None, *, has_story: bool = True) -> Found:
    """Read the file and check the site `domain`, or all sites. Takes at most about 6 s.

    Args:
        has_story: whether the last events and the last attempt of that one site are read too.

    Raises:
        UsageError: no site has this domain.
        CertbotlessError: the state cannot be read.
    """
    now, path = datetime.now(UTC), str(source or "-")
    raw = b""
    try:
        raw = load.read(source)
        checked = load.spoken(raw, path)
    except ConfigError as exc:
        certs_dir, state_dir = (Path(load.value_of_broken(raw, key)) for key in ("certs_dir", "state_dir"))
        found = {domain: certs_dir for domain in site.known_sites(state_dir)}
        found |= {domain: state_dir / SHARED for domain in found if domain.startswith("*.")}
        known = [(domain, _facts_of(domain, folder, state_dir)) for domain, folder in found.items()]
        return Found(now, path, str(exc), locks.running_daemon(state_dir), known=known)
    state_dir = checked.state_dir
    pid = locks.running_daemon(state_dir)
    sites = sites_named(checked, [domain] if domain is not None else [])
    if domain is not None:
        sites = [*reversed(with_shared(checked, sites))]  # the site itself is first
    views = look_at(checked, sites)
    # The daemon may refuse a file that is good in itself: it cannot read a secret.
    error = Text.joined("\n", refusal(state_dir, raw))
    story = _story(state_dir, views[0].site.domain) if domain is not None and has_story else None
    kept = None
    if checked.notify:
        from ..notify.outbox import history_of  # noqa: PLC0415  (only a file with receivers needs it)

        kept = history_of(checked)
    return Found(
        now,
        path,
        error,
        pid,
        views,
        client_visit.remembered(state_dir),
        notify=kept.to_json() if kept else None,
        notify_failure=kept.last_failure if kept else None,
        # A daemon that runs has read them; it may have them from systemd.
        warnings=[] if pid is not None else checks.unreadable(checked),
        story=story,
        users=checked.users,
    )


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
