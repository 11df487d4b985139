"""What `status` has found: the sites at one moment, and what is known beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..model.certificate import LeafFacts
from ..model.memory import Event, Failure
from ..model.view import View, Visits
from . import status_json

_BROKEN = "the configuration is broken"


@dataclass(frozen=True, slots=True)
class Story:
    """What more is told of one site: its last events, its last attempt, and whether that goes on."""

    events: Sequence[Event]
    attempt: Sequence[str]
    is_running: bool


@dataclass(frozen=True, slots=True)
class Found:
    """How the sites stand, or what is known of them while the file is broken.

    Attributes:
        path: of the file; ``-`` for standard input.
        error: what is wrong with the file, or why the daemon refuses it, one fault a line.
        known: domain and certificate of the sites that the state knows, where the file is broken.
        notify: the object of `status --json` about the receivers; None where there are none.
        notify_failure: the newest failure of a receiver.
        story: only where one site was asked for, and the file is good.
    """

    at: datetime
    path: str
    error: str
    daemon_pid: int | None
    views: Sequence[View] = ()
    visits: Visits = field(default_factory=dict)
    known: Sequence[tuple[str, LeafFacts | None]] = ()
    notify: Mapping[str, Any] | None = None
    notify_failure: Failure | None = None
    story: Story | None = None

    @property
    def code(self) -> int:
        """The exit code."""
        if self.error:
            return 2
        return 0 if all(view.is_well for view in self.views) else 1

    def to_json(self) -> str:
        """Return the object of `status --json`."""
        found = status_json.status_json(
            self.views,
            self.visits,
            self.notify,
            now=self.at,
            daemon_pid=self.daemon_pid,
            path=self.path,
            error=self.error or None,
        )
        found["sites"] += [
            status_json.unseen_site_json(domain, _BROKEN, facts) for domain, facts in self.known
        ]
        return json.dumps(found, indent=2)
