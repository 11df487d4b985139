"""What `status` finds in one look, as text for a person or JSON for a program. Reads only, and is light."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from . import configfile, report, state, table
from .config import Config, Site
from .errors import ConfigError
from .leaf import LeafFacts
from .look import View, look_at
from .store import Store
from .terminal import Screen


@dataclass(frozen=True, slots=True)
class Found:
    """How the sites stand, or what is known of them while the file is broken.

    Attributes:
        path: of the file; ``-`` for standard input.
        error: what is wrong with the file, one fault a line; empty for a good one.
        known: domain and certificate of the sites that the state knows, where the file is broken.
    """

    at: datetime
    path: str
    error: str
    daemon_pid: int | None
    views: Sequence[View] = ()
    known: Sequence[tuple[str, LeafFacts | None]] = ()

    @property
    def code(self) -> int:
        """The exit code."""
        if self.error:
            return 2
        return 0 if all(view.is_well for view in self.views) else 1

    def to_json(self) -> str:
        """Return the object of `status --json`."""
        found = report.status_json(
            self.views,
            now=self.at,
            daemon_pid=self.daemon_pid,
            path=self.path,
            error=self.error or None,
        )
        found["sites"] += [report.unconfigured_site_json(domain, facts) for domain, facts in self.known]
        return json.dumps(found, indent=2)

    def to_text(self, screen: Screen) -> str:
        """Return the table; empty where nothing is known."""
        if self.error and not self.known:
            return ""
        if self.error:
            text = table.known_text(self.known, self.at, screen)
        else:
            text = table.status_text(self.views, screen)
        pid = self.daemon_pid
        return f"{text}\n" + (f"daemon: running, pid {pid}" if pid is not None else "daemon: not running")


def find(source: Path | None, choose: Callable[[Config], Sequence[Site]]) -> Found:
    """Read the file and look at the sites that `choose` takes from it. Takes at most about 6 s.

    Raises:
        CertbotlessError: the state cannot be read, or what `choose` raises.
    """
    now, path = datetime.now(UTC), str(source or "-")
    raw = b""
    try:
        raw = configfile.read(source)
        checked = configfile.parse(raw, path)
    except ConfigError as exc:
        certs_dir, state_dir = configfile.folders_of_broken(raw)
        known = [(domain, Store(certs_dir, domain).look().facts) for domain in state.known_sites(state_dir)]
        return Found(now, path, str(exc), state.running_daemon(state_dir), known=known)
    views = look_at(checked, choose(checked))
    return Found(now, path, "", state.running_daemon(checked.state_dir), views)
