"""A status page of three made-up sites, one in each state, at the real server: for tests and pictures."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from certbotless.base import saved
from certbotless.config import load
from certbotless.config.secret import Secret
from certbotless.config.settings import Config, Dns, Http
from certbotless.model.certificate import LeafFacts, Origin, Published
from certbotless.model.decision import Step
from certbotless.model.view import ClientFacts, View, digest_of_visit
from certbotless.notify.alerts import Sent
from certbotless.notify.outbox import History
from certbotless.report.status_json import Seen
from certbotless.sandbox.process import free_port
from certbotless.service.http_paths import Web
from support.views import NOTHING, failure, said, site, view

PATH = "/etc/certbotless/config.yaml"
LAN = "10.79.40.213"
ISSUER = "CN=YE1,O=Let's Encrypt,C=US"
DAY = timedelta(days=1)
AGES = 36500 * DAY


def pair(domain: str, sha256: str, begin: datetime) -> Published:
    """Return what is published for a domain and its wildcard: a certificate of 90 days from this moment."""
    facts = LeafFacts((f"*.{domain}", domain), sha256, ISSUER, begin, begin + 90 * DAY)
    return Published(facts, Origin("https://ca.example.org/dir", "", "ec256", begin))


def views_at(now: datetime) -> list[View]:
    """Return a site that is well, one that waits for its record to spread, and one whose proxy is stuck."""
    well = site("registry.example.com", deploy="[{container: registry, port: 5000}]")
    young = site("git.example.com", deploy="[{container: gitea, port: 443}]")
    stuck = site("wiki.example.com", deploy="[{container: wiki, port: 8443}]")
    shas = [hashlib.sha256(each.domain.encode()).hexdigest() for each in (well, stuck, young)]
    answers = (frozenset({LAN}), frozenset({LAN}))
    refused = failure(
        f"{LAN}:8443 serves another certificate after the restart of 'wiki'",
        at=now - timedelta(minutes=4),
        hint="let it read /certs/wiki.example.com.pem and .key: docker inspect wiki",
        retry_at=now + timedelta(minutes=6),
        count=3,
    )
    return [
        view(
            of=well,
            at=now,
            published=pair(well.domain, shas[0], now - 21 * DAY),
            served={"registry": shas[0]},
            renewal=now + 38 * DAY,
        ),
        view(
            Step("order", said("there is no certificate yet")),
            of=young,
            at=now,
            published=NOTHING,
            served={},
            answers={(young.domain, "A"): (frozenset({LAN}), frozenset({"10.79.40.7"}))},
        ),
        view(
            Step("deploy", said("another certificate is served"), "wiki"),
            of=stuck,
            at=now,
            published=pair(stuck.domain, shas[1], now - DAY),
            served={"wiki": shas[2]},
            answers={(stuck.domain, "A"): answers},
            failures={"deploy:wiki": refused},
            renewal=now + 59 * DAY,
        ),
    ]


def config_of(views: list[View], state_dir: Path, propagation_timeout: timedelta = AGES) -> Config:
    """Return a configuration with the sites of these views, by which no view is too old."""
    text = "{aliyun: {access_key_id: a, access_key_secret: b}, sites: [{domain: a.example.com}]}"
    sites = tuple(view.site for view in views)
    dns = Dns(propagation_timeout=propagation_timeout)
    return replace(load.parse(text.encode(), PATH), sites=sites, state_dir=state_dir, dns=dns)


def remember_visit(state_dir: Path, view: View) -> ClientFacts:
    """Let a client have been well received, and return what it met."""
    at = view.seen.at - timedelta(minutes=12)
    met = ClientFacts(at, True, True, True, "HTTP 200 to GET /v2/", digest_of_visit(view))
    state_dir.mkdir(exist_ok=True)
    saved.save(state_dir / "clients.json", {view.site.domain: met})
    return met


def remember_messages(state_dir: Path, now: datetime) -> None:
    """Let a message have been sent, and another one not, which a receiver refused."""
    refused = failure(f"notify[0] (json) was refused: {'x' * 200}", at=now - timedelta(minutes=1))
    state_dir.mkdir(exist_ok=True)
    sent = Sent(last_at=now - timedelta(hours=3), failure=refused)
    saved.save(state_dir / "notify.json", History(receivers={"json-1": sent}))


@contextmanager
def showing(
    home: Path,
    views: list[View],
    refused: tuple[str, ...] = (),
    *,
    is_looking: bool = True,
    propagation_timeout: timedelta = AGES,
    notify: tuple[Secret, ...] = (),
) -> Iterator[str]:
    """Show these views, however old, for as long as the block runs, and give the URL of the page."""
    config = replace(config_of(views, home / "state", propagation_timeout), notify=notify)
    web = Web(Seen(config), PATH, lambda: refused, lambda: is_looking)
    http = Http(listen=f"127.0.0.1:{free_port()}")
    web.show(config, views, ())
    web.follow(http)
    try:
        yield f"http://{http.listen}/"
    finally:
        web.close()
