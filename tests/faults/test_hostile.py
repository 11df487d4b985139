"""A CA and a DNS API that are hostile: whatever they say, a run ends in time with one clear line.

The run is `act.run` in this process, on real files, against the real stand-ins behind the fault proxy; only
the clock is ours, so that waits and deadlines cost no time.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes import FakeClock, FakeContainers
from system.bed import DOMAIN, KEY_ID, KEY_SECRET, ZONE

from certbotless import configfile
from certbotless.act import Outcome, run
from certbotless.alidns import Account, AlidnsAccount
from certbotless.config import Config
from certbotless.decide import Intent
from certbotless.nameservers import NameServers
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble
from certbotless.workbench import Edges

from .hostile import Case, api_cases, ca_cases
from .invariants import FOREIGN, plant_foreign
from .proxy import FaultProxy

# What `issue` promises of the CA's own time, what the API has for each call, and some waiting in between.
MOST_S = 25 * 60
# An authorization that is polled for ten minutes is asked for 210 times.
MOST_REQUESTS = 300


class Ground:
    """CA and DNS API behind their proxies, for all cases, with a clock that nobody but us moves."""

    def __init__(self, ca: Pebble, ca_proxy: FaultProxy, dns: AlidnsEmulator, api_proxy: FaultProxy) -> None:
        self.ca, self.ca_proxy, self.dns, self.api_proxy = ca, ca_proxy, dns, api_proxy
        self.clock = FakeClock()

    def run(self, home: Path, *, asks_again: bool = False) -> Outcome:
        """Make the facts of the one site true; with `asks_again` whatever failed just before."""
        config = self._config(home)
        account = Account(self.api_proxy.url, KEY_ID, KEY_SECRET, ca_bundle=str(self.api_proxy.ca_bundle))
        edges = Edges(
            self.clock,
            NameServers(config.dns.nameservers, self.clock),
            lambda clock: AlidnsAccount(account, clock),
            FakeContainers(),
        )
        [outcome] = run(config, config.sites, edges, Intent(ignore_backoff=asks_again))
        return outcome

    def _config(self, home: Path) -> Config:
        fields = {
            "acme": {"directory": f"{self.ca_proxy.url}/dir", "ca_bundle": str(self.ca_proxy.ca_bundle)},
            "aliyun": {"access_key_id": KEY_ID, "access_key_secret": KEY_SECRET},
            "dns": {"nameservers": list(self.dns.nameservers)},
            "certs_dir": str(home / "certs"),
            "state_dir": str(home / "state"),
            "sites": [{"domain": DOMAIN, "zone": ZONE, "address": "none", "deploy": []}],
        }
        return configfile.parse(json.dumps(fields).encode(), "test.json")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folders = [tmp_path_factory.mktemp(name) for name in ("pebble", "ca", "api")]
    with AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns:
        plant_foreign(dns)
        with (
            Pebble(folders[0], dns.nameservers[0], retry_after_s=0) as ca,
            FaultProxy(ca.directory_url, folders[1], ca.ca_bundle) as ca_proxy,
            FaultProxy(dns.endpoint, folders[2]) as api_proxy,
        ):
            yield Ground(ca, ca_proxy, dns, api_proxy)


CLOCK: list[FakeClock] = []
CA_CASES = list(ca_cases(lambda: CLOCK[-1].advance(1)))
API_CASES = list(api_cases(lambda: CLOCK[-1].advance(1)))


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.row(31, 46, 54, 72, 73, 74, 75, 76)
@pytest.mark.parametrize("case", CA_CASES, ids=by_name)
def test_a_hostile_ca_is_told_in_one_line_and_harms_nothing(
    ground: Ground, case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harms_nothing(ground, ground.ca_proxy, case, tmp_path, caplog)


@pytest.mark.row(31, 72, 73, 74)
@pytest.mark.parametrize("case", API_CASES, ids=by_name)
def test_a_hostile_api_is_told_in_one_line_and_harms_nothing(
    ground: Ground, case: Case, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harms_nothing(ground, ground.api_proxy, case, tmp_path, caplog)


def test_there_are_enough_cases_and_none_twice() -> None:
    for cases in (CA_CASES, API_CASES):
        assert len({case.name for case in cases}) == len(cases)
    assert len(CA_CASES) + len(API_CASES) >= 60


def harms_nothing(
    ground: Ground, proxy: FaultProxy, case: Case, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Run while `proxy` is hostile, and once more when it is honest again."""
    caplog.set_level(logging.INFO)
    ground.clock = FakeClock(datetime.now(UTC))
    CLOCK.append(ground.clock)
    before = ground.ca.orders_made()
    proxy.at(case.method, case.path, case.fault, nth=case.nth, times=10_000)
    try:
        hostile = ground.run(home)
        assert ground.clock.monotonic() < MOST_S
        assert len(proxy.asked) < MOST_REQUESTS
        if case.says:
            assert hostile.failure is not None, "nothing failed"
            told = f"{hostile.failure.what}; {hostile.failure.hint}"
            assert re.search(case.says, told), told
            assert told.isprintable()
            assert len(told) < 1000
    finally:
        ground.ca_proxy.forget()
        ground.api_proxy.forget()

    again = ground.run(home, asks_again=True)
    assert again.state == "ok", again
    assert ground.ca.orders_made() - before == case.orders
    for record in caplog.records:
        if record.name.startswith("certbotless"):
            assert record.getMessage().isprintable()
    assert {(record.rr, record.type, record.value) for record in ground.dns.records()} == FOREIGN
    assert sorted(path.name for path in home.iterdir()) == ["certs", "state"]
