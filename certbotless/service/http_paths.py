"""The results of the daemon's last checks, over HTTP. Light, and loaded only where `http` is set.

    /             the status page                  /status.json   the object of `status --json`
    /metrics      the same for Prometheus          /healthz       200 where `status` would exit 0, else 503

A request starts no check: it asks no name server and no service, and writes nothing. So no client can cause
load. The answer is as old as the last check. A check leaves out a site while a run is at work on it.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ..base.errors import printable
from ..base.times import moment, rfc3339
from ..base.words import N_, Text, _
from ..config.settings import NEEDS_PROMETHEUS, Config, Http
from ..model.ledger import Ledger
from ..model.view import View
from ..notify import outbox
from ..observe import client_visit
from ..report import html, status_json, status_page
from ..report.found import Found
from ..report.status_json import Seen
from .http_server import Reply
from .listening import Listening

# An answer is sent again for a second. Where many sites make it slow, it is sent again for 20 times the time
# that it took to make, so at most a twentieth of the time goes into making it.
_FRESH_S, _FRESH_SHARE = 1.0, 20


@dataclass
class Web:
    """The status page and the metrics of one daemon.

    Attributes:
        seen: what is shown.
        path: of the configuration file.
        refused: returns the faults of the file as it is now, a line each.
        is_looking: returns whether the checks go on.
    """

    seen: Seen
    path: str
    refused: Callable[[], Sequence[str]]
    is_looking: Callable[[], bool]
    listening: Listening = field(init=False)
    _answers: dict[str, tuple[float, Reply]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.listening = Listening("http.listen", lambda request: self.answer(request.path), self._is_named)

    # The job thread of the daemon.

    def follow(self, http: Http | None) -> bool:
        """Listen where the file says, and nowhere else. Return whether it listens; a fault is logged once."""
        return self.listening.follow(http.listen if http is not None else None)

    def close(self) -> None:
        """Stop listening."""
        self.listening.close()

    def show(self, config: Config, views: Iterable[View], ledger: Ledger) -> None:
        """Show these views from now on. A site that is not among them keeps its last view."""
        known = {**self.seen.views, **{view.site.domain: view for view in views}}
        shown = {site.domain: known[site.domain] for site in config.kept if site.domain in known}
        well_at = {
            domain: view.seen.at for domain, view in shown.items() if view.is_well and not view.is_renewing
        }
        self.seen = Seen(config, shown, ledger, {**self.seen.well_at, **well_at})

    # The server's thread that makes answers.

    def _is_named(self, host: str) -> bool:
        return any(host in site.all_names for site in self.seen.config.sites)

    def answer(self, path: str) -> Reply:
        """Return the answer to a path. Calls must not overlap."""
        make = {
            "/": self._page,
            "/status.json": self._status_json,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
        }.get(path)
        if make is None:
            return Reply(404, b"there are /, /status.json, /metrics and /healthz\n")
        began_s = time.monotonic()
        if path not in self._answers or began_s >= self._answers[path][0]:
            reply, took_s = make(self.seen), time.monotonic() - began_s
            self._answers[path] = began_s + max(_FRESH_S, took_s * _FRESH_SHARE), reply
        return self._answers[path][1]

    def _page(self, seen: Seen) -> Reply:
        found, stale = self._status(seen), self._stale(seen, _, moment)
        reasons = {view.site.domain: view.spoken_reason for view in found.views}
        share = seen.config.local_ca.shared_at
        text = status_page.page(found.to_plain(), datetime.now(UTC), stale, reasons, share)
        return Reply(200, text.encode(), "text/html; charset=utf-8", html.STYLE_SOURCE)

    def _status_json(self, seen: Seen) -> Reply:
        return Reply(200, f"{self._status(seen).to_json()}\n".encode(), "application/json")

    def _healthz(self, seen: Seen) -> Reply:
        faults = self._not_well(seen)
        text = faults or status_json.headline([*seen.views.values()], 0)
        return Reply(503 if faults else 200, f"{printable(text)}\n".encode())

    def _metrics(self, seen: Seen) -> Reply:
        try:
            from ..report import metrics  # noqa: PLC0415  (of an extra, which may come while we run)
        except ModuleNotFoundError:
            return Reply(503, f"{NEEDS_PROMETHEUS}\n".encode())
        text = metrics.text(
            seen,
            client_visit.remembered(seen.config.state_dir),
            datetime.now(UTC),
            is_looking=self.is_looking(),
            is_refused=bool(self.refused()),
        )
        return Reply(200, text.encode(), metrics.TYPE)

    def _status(self, seen: Seen) -> Found:
        history = outbox.history_of(seen.config)
        return Found(
            at=min((view.seen.at for view in seen.views.values()), default=datetime.now(UTC)),
            path=self.path,
            error=Text.joined("\n", self.refused()),
            daemon_pid=os.getpid(),
            views=[*seen.views.values()],
            visits=client_visit.remembered(seen.config.state_dir),
            known=[(domain, None) for domain in seen.unseen],
            why_unseen=_UNSEEN,
            notify=history.to_json() if history else None,
            users=seen.config.users,
        )

    def _not_well(self, seen: Seen) -> str:
        """Return in a line why `status` would not exit 0, or that the checks have stopped; else empty."""
        if refused := self.refused():
            return f"an edit is refused: {refused[0]}"
        if not seen.views and self.is_looking():
            return "nothing is known yet: the first check is running"
        faults = self._stale(seen, str, rfc3339)
        faults += [f"{v.site.domain} {v.state}: {v.reason}" for v in seen.views.values() if not v.is_well]
        faults += [f"{domain} pending: {_UNSEEN}" for domain in seen.unseen]
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        return f"{faults[0]}{more}" if faults else ""

    def _stale(self, seen: Seen, say: Callable[[str], str], show: Callable[[datetime], str]) -> list[str]:
        """Return in a line each why a view may be out of date; none while the checks go on."""
        if not self.is_looking():
            return [say(N_("the daemon has stopped checking"))]
        now, longest = datetime.now(UTC), seen.config.longest_run + seen.config.check_every
        return [
            say(N_("the last check of {} was at {}: a run on it does not end")).format(
                domain, show(view.seen.at)
            )
            for domain, view in seen.views.items()
            if now - view.seen.at > longest
        ]


_UNSEEN = N_("the first check is pending: a run on this site has not ended")
