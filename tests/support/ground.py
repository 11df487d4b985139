"""Where many faults are tried one after the other: whole runs in this process, at a small cost each.

A run is `act.run` on real files, against the real stand-ins behind the fault proxy. Only the clock is ours,
so that waits and deadlines cost no time.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from certbotless.act.context import Edges
from certbotless.act.run import Outcome, run
from certbotless.config import load
from certbotless.config.fingerprints import Fingerprints
from certbotless.config.settings import Config
from certbotless.model.decision import Intent
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble
from certbotless.world.credentials.access import ApiAccess, Key, KeySource
from certbotless.world.dns.alidns import AlidnsAccount
from certbotless.world.dns.nameservers import NameServers
from support.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE
from support.fakes import FakeClock, FakeContainers
from support.fault_proxy import FaultProxy
from support.invariants import FOREIGN


class Ground:
    """CA and DNS API behind their proxies, with a clock that nobody but us moves."""

    def __init__(self, ca: Pebble, ca_proxy: FaultProxy, dns: AlidnsEmulator, api_proxy: FaultProxy) -> None:
        self.ca, self.ca_proxy, self.dns, self.api_proxy = ca, ca_proxy, dns, api_proxy
        self.clock = FakeClock()
        self.source: KeySource = Key(KEY_ID, KEY_SECRET)

    def restart_clock(self) -> FakeClock:
        """Let the time be the present again."""
        self.clock = FakeClock(datetime.now(UTC))
        return self.clock

    def forget(self) -> None:
        """Do no more damage, and forget what was asked."""
        self.ca_proxy.forget()
        self.api_proxy.forget()

    def run(self, home: Path, *, asks_again: bool = False, intent: Intent | None = None) -> Outcome:
        """Make the facts of the site true; with `asks_again` whatever failed before, as with `--force`."""
        config = self._config(home)
        asked = intent or Intent(ignore_backoff=asks_again, ignore_ledger=asks_again)
        access = ApiAccess(self.api_proxy.url, self.source, ca_bundle=str(self.api_proxy.ca_bundle))
        edges = Edges(
            self.clock,
            NameServers(config.dns.nameservers, self.clock),
            lambda clock: AlidnsAccount(access, clock),
            FakeContainers(),
            Fingerprints.of(config),
        )
        [outcome] = run(config, config.sites, edges, asked)
        return outcome

    def assert_zone_is_as_left(self) -> None:
        """Nothing of ours is left in DNS, and what others have there is as it was."""
        assert {(record.rr, record.type, record.value) for record in self.dns.records()} == FOREIGN

    @property
    def acme(self) -> Any:
        """What the file has of the CA."""
        return {"directory": f"{self.ca_proxy.url}/dir", "ca_bundle": str(self.ca_proxy.ca_bundle)}

    def _config(self, home: Path) -> Config:
        fields = {
            "acme": self.acme,
            "aliyun": {"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET},
            "dns": {"nameservers": list(self.dns.nameservers)},
            "certs_dir": str(home / "certs"),
            "state_dir": str(home / "state"),
            "sites": [{"domain": DOMAIN, "zone": ZONE, "address": "none", "deploy": []}],
        }
        return load.parse(json.dumps(fields).encode(), "test.json")
