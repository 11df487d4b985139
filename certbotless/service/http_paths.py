"""The results of the daemon's last checks, over HTTP. Light, and loaded only where `http` is set.

    /             the status page                  /status.json   the object of `status --json`
    /metrics      the same for Prometheus          /healthz       200 where `status` would exit 0, else 503

A request costs no look: it asks no name server and no service, and writes nothing, so nobody can put anybody
under load. What is shown is as old as the last look, which leaves out a site while a run is at work on it.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import InitVar, dataclass
from datetime import UTC, datetime
from typing import Any

from ..base.errors import printable
from ..base.times import distance
from ..config.settings import NEEDS_PROMETHEUS, Config, Http
from ..model.ledger import Ledger
from ..model.view import View
from ..notify import outbox
from ..observe import client_visit
from ..report import status_json, status_page
from ..report.status_json import Seen
from .http_server import Reply, Server

logger = logging.getLogger(__name__)

# What is asked for more often is answered with the same text: after a second, or, where many sites make it
# long, so much later that no more than a twentieth of the time goes into making it.
_FRESH_S, _FRESH_SHARE = 1.0, 20
# What to do where nothing can be opened.
_CURES: dict[int | None, str] = {
    errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE: take a higher one in http.listen",
    errno.EADDRINUSE: "`ss -ltnp` says who listens there: end it, or take another port in http.listen",
    errno.EADDRNOTAVAIL: "this machine has no such address: `ip -brief address` shows those that it has",
}


@dataclass
class Web:
    """The status page and the metrics of one daemon.

    Attributes:
        config: in force at first.
        path: of its file.
        refused: what is wrong with the file as it is now, a line each.
        is_looking: whether the looks go on.
    """

    config: InitVar[Config]
    path: str
    refused: Callable[[], Sequence[str]]
    is_looking: Callable[[], bool]

    def __post_init__(self, config: Config) -> None:
        self._seen = Seen(config)
        self.server: Server | None = None
        self._listen = self._complaint = ""
        self._answers: dict[str, tuple[float, Reply]] = {}

    # The daemon's worker.

    def follow(self, http: Http | None) -> bool:
        """Be open where the file says, and nowhere else; return whether that is so.

        What cannot be opened is told once.
        """
        wanted = http.listen if http is not None else ""
        if self.server is not None and not (self._listen == wanted and self.server.is_alive):
            self.close()
        if http is None:
            self._complaint = ""
            return True
        if self.server is not None:
            return True
        try:
            self.server = Server(http.where, self._answer, self._names)
        except OSError as exc:
            complaint = f"{wanted}: {exc.strerror}"
            if complaint != self._complaint:
                self._complaint = complaint
                cure = _CURES.get(exc.errno, "correct http.listen")
                hint = f"{cure}; it is tried again each second"
                logger.warning("page.not_opened listen=%s error=%s hint=%s", wanted, exc.strerror, hint)
        else:
            self._listen, self._complaint = wanted, ""
            logger.info("page.opened listen=%s", wanted)
        return self.server is not None

    def close(self) -> None:
        """Show nothing any more."""
        if self.server is not None:
            self.server.close()
            self.server = None
            logger.info("page.closed listen=%s", self._listen)

    def show(self, config: Config, views: Iterable[View], ledger: Ledger) -> None:
        """Show these from now on; of a site that is not among them, as it is at work, what was seen last."""
        known = {**self._seen.views, **{view.site.domain: view for view in views}}
        shown = {site.domain: known[site.domain] for site in config.sites if site.domain in known}
        well_at = {
            domain: view.seen.at if view.is_well else self._seen.well_at.get(domain)
            for domain, view in shown.items()
        }
        self._seen = Seen(config, shown, ledger, {domain: at for domain, at in well_at.items() if at})

    # The server's threads; one at a time asks for an answer.

    def _names(self) -> set[str]:
        return {name for site in self._seen.config.sites for name in site.all_names}

    def _answer(self, path: str) -> Reply:
        make = {
            "/": self._page,
            "/status.json": self._status_json,
            "/metrics": self._metrics,
            "/healthz": self._healthz,
        }.get(path)
        if make is None:
            return Reply(404, b"there are /, /status.json, /metrics and /healthz\n")
        began_s = time.monotonic()
        fresh_until_s, reply = self._answers.get(path, (0.0, None))
        if reply is None or began_s >= fresh_until_s:
            reply, took_s = make(self._seen), time.monotonic() - began_s
            self._answers[path] = began_s + max(_FRESH_S, took_s * _FRESH_SHARE), reply
        return reply

    def _page(self, seen: Seen) -> Reply:
        text = status_page.page(self._status(seen), datetime.now(UTC), self._stale(seen))
        return Reply(200, text.encode(), "text/html; charset=utf-8", status_page.STYLE_SOURCE)

    def _status_json(self, seen: Seen) -> Reply:
        text = json.dumps(self._status(seen), indent=2)
        return Reply(200, f"{text}\n".encode(), "application/json")

    def _healthz(self, seen: Seen) -> Reply:
        amiss = self._not_well(seen)
        text = amiss or status_json.headline([*seen.views.values()], 0)
        return Reply(503 if amiss else 200, f"{printable(text)}\n".encode())

    def _metrics(self, seen: Seen) -> Reply:
        try:
            from ..report import metrics  # noqa: PLC0415  (of an extra, which may come while we run)
        except ModuleNotFoundError:
            return Reply(503, f"{NEEDS_PROMETHEUS}\n".encode())
        visits, is_looking, is_refused = (
            client_visit.remembered(seen.config.state_dir),
            self.is_looking(),
            bool(self.refused()),
        )
        text = metrics.text(seen, visits, datetime.now(UTC), is_looking=is_looking, is_refused=is_refused)
        return Reply(200, text.encode(), metrics.TYPE)

    def _status(self, seen: Seen) -> dict[str, Any]:
        history = outbox.history_of(seen.config)
        found = status_json.status_json(
            [*seen.views.values()],
            client_visit.remembered(seen.config.state_dir),
            history.to_json() if history else None,
            now=min((view.seen.at for view in seen.views.values()), default=datetime.now(UTC)),
            daemon_pid=os.getpid(),
            path=self.path,
            error="\n".join(self.refused()) or None,
        )
        found["sites"] += [status_json.unseen_site_json(domain, _UNSEEN) for domain in seen.unseen]
        return found

    def _not_well(self, seen: Seen) -> str:
        """Return in a line why `status` would not exit 0, or that nobody looks; empty where all is well."""
        if refused := self.refused():
            return f"an edit is refused: {refused[0]}"
        if not seen.views and self.is_looking():
            return "nothing is known yet: the first look goes on"
        amiss = self._stale(seen)
        amiss += [f"{v.site.domain} {v.state}: {v.reason}" for v in seen.views.values() if not v.is_well]
        amiss += [f"{domain} pending: {_UNSEEN}" for domain in seen.unseen]
        more = f" (and {len(amiss) - 1} more)" if len(amiss) > 1 else ""
        return f"{amiss[0]}{more}" if amiss else ""

    def _stale(self, seen: Seen) -> list[str]:
        """Return in a line each why what is shown may not be so any more; none while the looks go on."""
        if not self.is_looking():
            return ["the daemon has stopped looking"]
        now, longest = datetime.now(UTC), seen.config.longest_run + seen.config.check_every
        return [
            f"the last look at {domain} was {distance(view.seen.at - now)}: a run on it does not end"
            for domain, view in seen.views.items()
            if now - view.seen.at > longest
        ]


_UNSEEN = "it is not looked at yet, because a run is at work on it"
