"""A machine with sites that a run may find in any state, for the tests of acting.

The DNS account and the containers are stand-ins in memory; name server, TLS, files and state are real. Nobody
listens where the CA should be, so an order that is tried fails, and says so.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import trustme

from certbotless.act.context import Edges, SiteContext, Zones
from certbotless.act.run import Outcome, run
from certbotless.base.clock import Clock
from certbotless.base.names import file_name
from certbotless.config import load
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.settings import Config
from certbotless.model.certificate import Origin, Published
from certbotless.model.decision import Intent
from certbotless.model.memory import Failure, SavedPair, SiteState
from certbotless.model.records import Record
from certbotless.model.situation import Goal
from certbotless.model.view import View
from certbotless.observe.record_answers import ask_servers
from certbotless.observe.views import Looking, look
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from certbotless.world.acme import keys
from certbotless.world.containers import Container, Containers
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.lan.address import AddressSource, address_now
from certbotless.world.swarm import Services
from support.fakes import EPOCH, FakeClock, FakeContainers, FakeZone, FakeZones, TlsServer, ZoneServer

ZONE = "sweetlove.test"
DOMAIN, OTHER_DOMAIN = f"devbox.{ZONE}", f"other.{ZONE}"
# The record leads to loopback, where the container's port is.
ADDRESS = "127.0.0.1"
DIRECTORY = "https://127.0.0.1:1/dir"
ID, MIRROR_ID = "0123456789abcdef" * 4, "fedcba9876543210" * 4
SECOND, MINUTE, HOUR, DAY = (timedelta(**{unit: 1}) for unit in ("seconds", "minutes", "hours", "days"))
LONG_AGO = EPOCH - 9 * DAY
NOTHING_ASKED = Intent()
RENEW_NOW = Intent(renew_since=EPOCH - MINUTE)


class Scene:
    """A machine with one site, `devbox`, whose container `registry` serves what it reads when it starts.

    All is well with it after `make_well`.

    Attributes:
        engine: the containers in memory; `containers` is what the run gets for an engine.
        services: what the run gets for a Swarm.
        zones: what the run gets for a DNS account.
        address_of: finds the LAN address, where a site has no address of its own.
        domains: the sites of the configuration; `keys` are those of each, but for those in `keys_of`.
        settings: further keys of the configuration.
    """

    def __init__(
        self, home: Path, zone: FakeZone, server: ZoneServer, tls: TlsServer, clock: FakeClock
    ) -> None:
        self.zone, self.server, self.tls, self.clock = zone, server, tls, clock
        self.certs_dir, self.state_dir = home / "certs", home / "state"
        registry = Container(ID, "registry", "running", (tls.port,), LONG_AGO)
        self.engine = FakeContainers(registry, clock=self.clock)
        self.engine.on_restart = lambda _: self.start()
        self.containers: Containers = self.engine
        self.services: Services | None = None
        self.zones: Callable[[Clock], Zones] = lambda _: FakeZones(self.zone)
        self.address_of: AddressSource = address_now
        self.domains = [DOMAIN]
        self.settings: dict[str, Any] = {}
        self.keys_of: dict[str, dict[str, Any]] = {}
        self.keys: dict[str, Any] = {"deploy": [{"container": "registry", "port": tls.port}]}

    @property
    def config(self) -> Config:
        """The configuration as it is now."""
        return load.parse(json.dumps(self.fields).encode(), "test.json")

    @property
    def fields(self) -> dict[str, Any]:
        """What stands in the file."""
        return {
            "acme": {"directory": DIRECTORY},
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
            "dns": {"nameservers": [self.server.place]},
            "certs_dir": str(self.certs_dir),
            "state_dir": str(self.state_dir),
            "sites": [
                {"domain": domain, "zone": ZONE, "address": ADDRESS, **self.keys_of.get(domain, self.keys)}
                for domain in self.domains
            ],
            **self.settings,
        }

    @property
    def file(self) -> SiteFile:
        """Where what is remembered of the site is kept."""
        return SiteFile(self.state_dir, DOMAIN)

    @property
    def state(self) -> SiteState:
        """What is remembered of the site now."""
        return self.file.load()

    @property
    def asked_the_ca(self) -> bool:
        """Whether an order came so far that the CA was talked to: the account key is made right before."""
        return (self.state_dir / "accounts").exists()

    @property
    def writes(self) -> list[str]:
        """What was changed at the DNS service, by method."""
        return [call.method for call in self.zone.calls if call.method != "records"]

    def remember(self, **fields: Any) -> None:
        """Let an earlier run, with this configuration, have left these fields."""
        config = self.config
        (site, *_) = config.sites
        digest, file_digest = Fingerprints.of(config).digests(config, site)
        self.file.change(digest=digest, file_digest=file_digest, **fields)

    def point(self, domain: str = DOMAIN) -> None:
        """Let the record be right, and never written by us."""
        self.zone.put(Record(domain, "A", ADDRESS, 600))

    def publish(self, age: timedelta = HOUR, left: timedelta = 89 * DAY, domain: str = DOMAIN) -> SavedPair:
        """Let a pair be published that was issued this long ago, and is valid for this long yet."""
        now = self.clock.now()
        made = trustme.CA().issue_cert(domain, not_before=now - DAY, not_after=now + left)
        chain, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
        return self.publish_pair(chain, key, age, domain)

    def publish_pair(
        self, chain: bytes, key: bytes, age: timedelta = HOUR, domain: str = DOMAIN
    ) -> SavedPair:
        """Let this pair be published, that was issued this long ago by the CA of the file."""
        now, directory = self.clock.now(), self.config.cas[0].url
        facts = keys.matching_facts(chain, keys.key_from_pem(key))
        origin = Origin(directory, f"{directory}/account/1", "ec256", now - age)
        note = SiteFile(self.state_dir, domain).note_generation
        self._store_of(domain).publish(chain, key, facts, origin, now, note)
        self.date_links(now - age, domain)
        return SavedPair.of(chain, key, origin, facts.not_after)

    def date_links(self, moment: datetime, domain: str = DOMAIN) -> None:
        """Let the links of the pair have been made at this moment of the scene's clock."""
        folder = self._folder_of(domain)
        name = file_name(domain)
        links = [folder / f"{name}.{end}" for end in ("pem", "key")]
        for link in (*links, folder / ".certbotless" / name / "current"):
            os.utime(link, (moment.timestamp(), moment.timestamp()), follow_symlinks=False)

    def damage(self) -> None:
        """Let the key of the published pair be lost."""
        (self.certs_dir / f"{DOMAIN}.key").resolve().unlink()

    def start(self) -> None:
        """Let the service read its files, as it does when its container starts."""
        self.tls.load(self.certs_dir / f"{DOMAIN}.pem", self.certs_dir / f"{DOMAIN}.key")

    @property
    def published(self) -> Published:
        """What the store holds."""
        return self.published_of(DOMAIN)

    def published_of(self, domain: str) -> Published:
        """What the store holds of this site."""
        return self._store_of(domain).look(SiteFile(self.state_dir, domain).load().generations)

    def _store_of(self, domain: str) -> Store:
        return Store(self._folder_of(domain), domain)

    def _folder_of(self, domain: str) -> Path:
        if domain.startswith("*."):
            return self.config.shared_dir
        return Path(self.keys_of.get(domain, {}).get("certs_dir", self.certs_dir))

    def refuse(self, published: Published) -> None:
        """Let the service come up with every pair but this one: with it, it ends as soon as it is started."""

        def come_up(_: Container) -> None:
            if self.published.generation == published.generation:
                self.tls.unload()
                self.put_container(status="exited")
            else:
                self.start()

        self.engine.on_restart = come_up

    def make_well(self, age: timedelta = HOUR) -> None:
        """Let all facts be true, with a certificate issued this long ago."""
        self.publish(age)
        self.point()
        self.start()

    def put_container(self, **fields: Any) -> None:
        """Change the container by hand."""
        self.engine.put(replace(self.engine.find("registry"), **fields))

    def edges(self) -> Edges:
        servers = NameServers([self.server.place], self.clock)
        prints = Fingerprints.of(self.config)
        edges = (self.clock, servers, self.zones, self.containers, prints, self.address_of)
        return Edges(*edges, self.services)

    def run(self, intent: Intent = NOTHING_ASKED) -> Outcome:
        """Run for the one site."""
        (outcome,) = self.run_all(intent)
        return outcome

    def run_all(self, intent: Intent = NOTHING_ASKED) -> list[Outcome]:
        """Run for every site, and what sites share before them."""
        config = self.config
        return run(config, config.kept, self.edges(), intent)

    def look(self, at: int = 0, **fields: Any) -> View:
        """What the daemon, `status` and `plan` see of the site number `at`; `fields` are of `Looking`."""
        given = {"ledger": LedgerFile(self.state_dir).entries(), "address_of": self.address_of, **fields}
        looking = Looking(ask_servers(self.edges().servers), **given)
        return look(Goal(self.config.sites[at], self.config), looking, self.clock.now())

    def wait_for_retry(self, key: str) -> Failure:
        """Let time pass until the step with this key may be tried again, and return its failure."""
        failure = self.state.failures[key]
        self.clock.advance((failure.retry_at - self.clock.now()).total_seconds())
        return failure


def site_context(
    home: Path,
    site: dict[str, Any],
    zones: Callable[[Clock], Zones],
    *,
    clock: Clock,
    containers: Containers | None = None,
    address_of: AddressSource = address_now,
    **settings: Any,
) -> SiteContext:
    """Return what the steps of a site with these keys work with, on a machine with nothing else."""
    fields = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "certs_dir": f"{home}/certs",
        "state_dir": f"{home}/state",
        "sites": [{"domain": DOMAIN, "zone": ZONE, **site}],
        **settings,
    }
    config = load.parse(json.dumps(fields).encode(), "test.json")
    servers = NameServers(config.dns.nameservers, clock)
    prints = Fingerprints.of(config)
    edges = Edges(clock, servers, zones, containers or FakeContainers(), prints, address_of)
    return SiteContext(Goal(config.sites[0], config), edges, Intent())


# Of a minute ago, to be tried again in an hour.
FAILURE = Failure(at=EPOCH - MINUTE, what="it failed", hint="", retry_at=EPOCH + HOUR, count=1)


def failed_with(outcome: Outcome) -> str:
    """What the failure of the outcome says."""
    assert outcome.failure is not None
    return outcome.failure.what
