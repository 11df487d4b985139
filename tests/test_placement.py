"""Where a txt value goes when the challenge name is an alias: on the real name servers of the stand-in."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakeContainers

from certbotless import configfile
from certbotless.alidns import Account, AlidnsAccount
from certbotless.challenge import TxtValue
from certbotless.clock import SystemClock
from certbotless.decide import Intent
from certbotless.errors import DnsError, PropagationTimeout, ZoneNotFound
from certbotless.nameservers import NameServers
from certbotless.placement import Placement
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.workbench import Edges, Workbench

ZONE, OTHER = "sweetlove.test", "throwaway.test"
NAME = f"_acme-challenge.devbox.{ZONE}"
VALUE = "v" * 43

FILE = """
aliyun: {{access_key_id: id, access_key_secret: secret, endpoint: "{endpoint}"}}
dns: {{propagation_timeout: 2s, nameservers: [{servers}]}}
certs_dir: {home}/certs
state_dir: {home}/state
sites: [{{domain: devbox.sweetlove.test, zone: sweetlove.test}}]
"""


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE, OTHER], access_key_id="id", access_key_secret="secret") as dns:
        yield dns


@pytest.fixture
def bench(dns: AlidnsEmulator, tmp_path: Path) -> Workbench:
    servers = ", ".join(f'"{server}"' for server in dns.nameservers)
    text = FILE.format(endpoint=dns.endpoint, servers=servers, home=tmp_path)
    checked = configfile.parse(text.encode(), "config.yaml")
    account = Account(dns.endpoint, "id", "secret")
    clock = SystemClock()
    edges = Edges(
        clock=clock,
        servers=NameServers(checked.dns.nameservers, clock),
        zones=lambda site_clock: AlidnsAccount(account, site_clock),
        containers=FakeContainers(),
    )
    return Workbench(checked, checked.sites[0], edges, Intent())


def alias(dns: AlidnsEmulator, name: str, target: str) -> None:
    """Make `name`, of either zone, an alias."""
    zone = ZONE if name.endswith(ZONE) else OTHER
    dns.add(name.removesuffix(f".{zone}"), "CNAME", f"{target}.", zone=zone)


def place(bench: Workbench) -> TxtValue:
    return Placement(bench).locate(NAME, VALUE)


def test_a_name_that_is_no_alias_takes_its_value_itself_and_no_call_is_made(
    dns: AlidnsEmulator, bench: Workbench
) -> None:
    assert place(bench) == TxtValue(NAME, VALUE, ZONE)
    assert dns.calls == []
    assert [(query.name, query.type) for query in dns.queries] == [(NAME, "CNAME")]


def test_a_value_goes_to_the_zone_of_the_alias_which_is_looked_up_once(
    dns: AlidnsEmulator, bench: Workbench
) -> None:
    alias(dns, NAME, f"Devbox.{OTHER}")
    assert place(bench) == TxtValue(f"devbox.{OTHER}", VALUE, OTHER)
    assert [call.parameters["DomainName"] for call in dns.calls] == [f"devbox.{OTHER}", OTHER]
    assert place(bench) == TxtValue(f"devbox.{OTHER}", VALUE, OTHER)
    assert len(dns.calls) == 2


def test_a_name_is_asked_about_once_a_run(dns: AlidnsEmulator, bench: Workbench) -> None:
    """A name and its wildcard share one challenge name."""
    alias(dns, NAME, f"devbox.{OTHER}")
    placement = Placement(bench)
    placement.locate(NAME, "a")
    before = len(dns.queries)
    assert placement.locate(NAME, "b") == TxtValue(f"devbox.{OTHER}", "b", OTHER)
    assert len(dns.queries) == before


def test_an_alias_within_the_zone_is_followed_too(dns: AlidnsEmulator, bench: Workbench) -> None:
    alias(dns, NAME, f"_acme.{ZONE}")
    assert place(bench) == TxtValue(f"_acme.{ZONE}", VALUE, ZONE)


@pytest.mark.parametrize("length", [2, 8])
def test_a_chain_is_followed_to_its_end(dns: AlidnsEmulator, bench: Workbench, length: int) -> None:
    names = [NAME, *(f"hop{number}.{[OTHER, ZONE][number % 2]}" for number in range(length))]
    for name, target in itertools.pairwise(names):
        alias(dns, name, target)
    assert place(bench).fqdn == names[-1]


def test_a_chain_without_an_end_in_sight_is_told(dns: AlidnsEmulator, bench: Workbench) -> None:
    names = [NAME, *(f"hop{number}.{OTHER}" for number in range(9))]
    for name, target in itertools.pairwise(names):
        alias(dns, name, target)
    with pytest.raises(DnsError, match=r"start of a long chain: _acme-challenge.* -> hop8\.throwaway"):
        place(bench)


@pytest.mark.row(43)
@pytest.mark.parametrize("hops", [[], [f"a.{OTHER}"], [f"a.{OTHER}", f"b.{ZONE}"]], ids=["1", "2", "3"])
def test_a_loop_is_told_with_its_names(dns: AlidnsEmulator, bench: Workbench, hops: list[str]) -> None:
    names = [NAME, *hops, NAME]
    for name, target in itertools.pairwise(names):
        alias(dns, name, target)
    with pytest.raises(DnsError, match="leads back to itself") as loop:
        place(bench)
    assert " -> ".join(names) in loop.value.message
    assert not loop.value.retryable
    assert "CNAME" in loop.value.hint


def test_an_alias_into_a_zone_of_somebody_else_is_told(dns: AlidnsEmulator, bench: Workbench) -> None:
    alias(dns, NAME, "devbox.elsewhere.test")
    with pytest.raises(ZoneNotFound, match=r"alias of 'devbox\.elsewhere\.test'; no zone of this"):
        place(bench)
    assert bench.file.load().alias_zones == {}


@pytest.mark.parametrize("target", [f"box.{OTHER}", "cdn.elsewhere.test"])
def test_a_wildcard_is_no_delegation(dns: AlidnsEmulator, bench: Workbench, target: str) -> None:
    """It answers for every name, and for ours only until our record is there."""
    alias(dns, f"*.{ZONE}", target)
    assert place(bench) == TxtValue(NAME, VALUE, ZONE)
    assert dns.calls == []


def test_an_alias_beside_a_wildcard_is_followed(dns: AlidnsEmulator, bench: Workbench) -> None:
    alias(dns, f"*.devbox.{ZONE}", "cdn.elsewhere.test")
    alias(dns, NAME, f"devbox.{OTHER}")
    assert place(bench).zone == OTHER


def test_a_silent_server_is_waited_for_once_and_the_next_one_asked(
    dns: AlidnsEmulator, bench: Workbench
) -> None:
    alias(dns, NAME, f"devbox.{OTHER}")
    dns.set_silent(0, silent=True)
    placement = Placement(bench)
    placement.locate(NAME, VALUE)
    placement.locate(f"_acme-challenge.other.{ZONE}", VALUE)
    assert Counter(query.server for query in dns.queries)[0] == 1


def test_where_no_server_answers_the_value_goes_to_the_name_itself(
    dns: AlidnsEmulator, bench: Workbench
) -> None:
    """The service refuses a record beside a CNAME, so nothing wrong comes of it."""
    for server in (0, 1):
        dns.set_silent(server, silent=True)
    assert place(bench) == TxtValue(NAME, VALUE, ZONE)


def test_values_are_waited_for_in_every_zone_under_one_deadline(
    dns: AlidnsEmulator, bench: Workbench
) -> None:
    values = [TxtValue(f"devbox.{OTHER}", VALUE, OTHER), TxtValue(NAME, VALUE, ZONE)]
    dns.add("_acme-challenge.devbox", "TXT", VALUE)
    began = time.monotonic()
    with pytest.raises(PropagationTimeout, match=rf"devbox\.{OTHER}"):
        Placement(bench).wait_until_shown(list(reversed(values)))
    assert 1.5 < time.monotonic() - began < 4
    dns.add("devbox", "TXT", VALUE, zone=OTHER)
    Placement(bench).wait_until_shown(values)
