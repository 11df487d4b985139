"""What `status` has found: the sites at one moment, and what is known beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..base.times import rfc3339
from ..base.words import N_
from ..config.settings import Site
from ..model.certificate import LeafFacts
from ..model.memory import Failure, KeptEvent
from ..model.view import View, Visits, facts_of
from .status_json import local_ca_json, shared_json, site_json, unseen_site_json

if TYPE_CHECKING:
    from ..model.local_ca import LocalCa


@dataclass(frozen=True, slots=True)
class Story:
    """What `status DOMAIN` adds: the last events, the last attempt, its end, and whether a run is at work."""

    events: Sequence[KeptEvent]
    attempt: Sequence[str]
    has_ended: bool
    is_running: bool


@dataclass(frozen=True, slots=True)
class Found:
    """The sites at one moment, or what is known of them while the file is broken.

    Attributes:
        path: of the file; ``-`` for standard input.
        error: what is wrong with the file, or why the daemon refuses it, one fault a line.
        known: domain and certificate of the sites that were not checked, for the reason `why_unseen`.
        notify: the object of `status --json` about the receivers; None where there are none.
        notify_failure: the newest failure of a receiver.
        warnings: each secret that cannot be read, where no daemon runs that has read it.
        story: only where one site was asked for, and the file is good. Then `views` has this site, and after
            it the certificate that it shares, if it shares one.
        users: the sites that share each certificate, by its wildcard.
    """

    at: datetime
    path: str
    error: str
    daemon_pid: int | None
    views: Sequence[View] = ()
    visits: Visits = field(default_factory=dict)
    known: Sequence[tuple[str, LeafFacts | None]] = ()
    why_unseen: str = N_("the configuration is broken")
    notify: Mapping[str, Any] | None = None
    notify_failure: Failure | None = None
    warnings: Sequence[str] = ()
    story: Story | None = None
    users: Mapping[str, Sequence[Site]] = field(default_factory=dict)

    @property
    def local_ca(self) -> LocalCa | None:
        """The CA of this machine; None where there is none, or no site needs it."""
        return next((view.seen.local_ca for view in self.views if view.seen.local_ca), None)

    @property
    def next_ca(self) -> LocalCa | None:
        """The local CA that takes the place of the one that signs now; None without a rotation."""
        return next((view.seen.next_ca for view in self.views if view.seen.next_ca), None)

    @property
    def code(self) -> int:
        """The exit code."""
        if self.error:
            return 2
        return 0 if all(view.is_well for view in self.views) else 1

    def to_plain(self) -> dict[str, Any]:
        """Return the object of `status --json`; its keys are a contract (docs/files.md)."""
        known = [unseen_site_json(domain, self.why_unseen, facts) for domain, facts in self.known]
        shared = {view.site.domain: view for view in self.views if view.site.is_shared}
        certificates = [*(site_json(view, None) for view in shared.values()), *filter(_is_shared, known)]
        ca = self.local_ca
        return {
            "version": __version__,
            "observed_at": rfc3339(self.at),
            "daemon": {"running": self.daemon_pid is not None, "pid": self.daemon_pid},
            "config": {"path": self.path, "error": self.error or None},
            "notify": self.notify,
            "local_ca": local_ca_json(ca, self.next_ca) if ca else None,
            "certificates": [
                shared_json(each, [site.domain for site in self.users.get(each["domain"], ())])
                for each in certificates
            ],
            "sites": [
                *(
                    site_json(view, facts_of(view, self.visits), shared.get(view.site.certificate or ""))
                    for view in self.views
                    if not view.site.is_shared
                ),
                *(each for each in known if not _is_shared(each)),
            ],
        }

    def to_json(self) -> str:
        """Return the text of `status --json`."""
        return json.dumps(self.to_plain(), indent=2)


def _is_shared(entry: Mapping[str, Any]) -> bool:
    """Whether it is of a certificate that sites share, and of no site."""
    return str(entry["domain"]).startswith("*.")
