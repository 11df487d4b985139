"""Where a txt value goes when the challenge name is an alias: on the real name servers of the stand-in."""

import itertools
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.fakes import FakeClock
from support.resolvers import ScriptedResolver
from support.scenes import site_context

from certbotless.act.challenge_zones import ChallengeZones
from certbotless.act.context import SiteContext
from certbotless.base.clock import SystemClock
from certbotless.base.errors import DnsError, DnsUnavailable, PropagationTimeout, ZoneNotFound
from certbotless.model.memory import TxtValue
from certbotless.sandbox.alidns import AlidnsEmulator, Fault
from certbotless.world.credentials.access import ApiAccess, Key
from certbotless.world.credentials.errors import ApiRefusal
from certbotless.world.dns.alidns import AlidnsAccount
from certbotless.world.dns.nameservers import NameServers

ZONE, OTHER = "sweetlove.test", "throwaway.test"
NAME = f"_acme-challenge.devbox.{ZONE}"
VALUE = "v" * 43


@pytest.fixture
def dns() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE, OTHER], access_key_id="id", access_key_secret="secret") as dns:
        yield dns


@pytest.fixture
def ctx(dns: AlidnsEmulator, tmp_path: Path) -> SiteContext:
    access, settings = ApiAccess(dns.endpoint, Key("id", "secret")), {"nameservers": list(dns.nameservers)}
    return site_context(
        tmp_path,
        {},
        lambda site_clock: AlidnsAccount(access, site_clock),
        clock=SystemClock(),
        dns={"propagation_timeout": "2s", **settings},
    )


def chain(dns: AlidnsEmulator, *names: str) -> None:
    """Let each name be an alias of the next one."""
    for name, target in itertools.pairwise(names):
        alias(dns, name, target)


def alias(dns: AlidnsEmulator, name: str, target: str) -> None:
    """Make `name`, of either zone, an alias."""
    zone = ZONE if name.endswith(ZONE) else OTHER
    dns.add(name.removesuffix(f".{zone}"), "CNAME", f"{target}.", zone=zone)


def place(ctx: SiteContext) -> TxtValue:
    return ChallengeZones(ctx).locate(NAME, VALUE)


def test_a_name_that_is_no_alias_takes_its_value_itself_and_no_call_is_made(
    dns: AlidnsEmulator, ctx: SiteContext
) -> None:
    assert place(ctx) == TxtValue(NAME, VALUE, ZONE)
    assert dns.calls == []
    assert [(query.name, query.type) for query in dns.queries] == [(NAME, "CNAME")] * 2


def test_a_value_goes_to_the_zone_of_the_alias_which_is_looked_up_once(
    dns: AlidnsEmulator, ctx: SiteContext
) -> None:
    alias(dns, NAME, f"Devbox.{OTHER}")
    assert place(ctx) == TxtValue(f"devbox.{OTHER}", VALUE, OTHER)
    assert [call.parameters["DomainName"] for call in dns.calls] == [f"devbox.{OTHER}", OTHER]
    assert place(ctx) == TxtValue(f"devbox.{OTHER}", VALUE, OTHER)
    assert len(dns.calls) == 2


def test_a_name_is_asked_about_once_a_run(dns: AlidnsEmulator, ctx: SiteContext) -> None:
    """A name and its wildcard share one challenge name."""
    alias(dns, NAME, f"devbox.{OTHER}")
    placement = ChallengeZones(ctx)
    placement.locate(NAME, "a")
    before = len(dns.queries)
    assert placement.locate(NAME, "b") == TxtValue(f"devbox.{OTHER}", "b", OTHER)
    assert len(dns.queries) == before


@pytest.mark.parametrize("length", [1, 2, 8])
def test_a_chain_is_followed_to_its_end(dns: AlidnsEmulator, ctx: SiteContext, length: int) -> None:
    names = [NAME, *(f"hop{number}.{[ZONE, OTHER][number % 2]}" for number in range(length))]
    chain(dns, *names)
    assert place(ctx).fqdn == names[-1]


def test_a_chain_without_an_end_in_sight_is_told(dns: AlidnsEmulator, ctx: SiteContext) -> None:
    names = [NAME, *(f"hop{number}.{OTHER}" for number in range(9))]
    chain(dns, *names)
    with pytest.raises(DnsError, match=r"start of a long chain: _acme-challenge.* -> hop8\.throwaway"):
        place(ctx)


@pytest.mark.row(43)
@pytest.mark.parametrize("hops", [[], [f"a.{OTHER}"], [f"a.{OTHER}", f"b.{ZONE}"]], ids=["1", "2", "3"])
def test_a_loop_is_told_with_its_names(dns: AlidnsEmulator, ctx: SiteContext, hops: list[str]) -> None:
    names = [NAME, *hops, NAME]
    chain(dns, *names)
    with pytest.raises(DnsError, match="leads back to itself") as loop:
        place(ctx)
    assert " -> ".join(names) in loop.value.message
    assert not loop.value.retryable
    assert "CNAME" in loop.value.hint


def test_an_alias_into_a_zone_of_somebody_else_is_told(dns: AlidnsEmulator, ctx: SiteContext) -> None:
    alias(dns, NAME, "devbox.elsewhere.test")
    with pytest.raises(ZoneNotFound, match=r"alias of 'devbox\.elsewhere\.test'; no zone of this"):
        place(ctx)
    assert ctx.file.load().alias_zones == {}


@pytest.mark.parametrize("target", [f"box.{OTHER}", "cdn.elsewhere.test"])
def test_a_wildcard_is_no_delegation(dns: AlidnsEmulator, ctx: SiteContext, target: str) -> None:
    """It answers for every name, and for ours only until our record is there."""
    alias(dns, f"*.{ZONE}", target)
    assert place(ctx) == TxtValue(NAME, VALUE, ZONE)
    assert dns.calls == []


def test_an_alias_beside_a_wildcard_is_followed(dns: AlidnsEmulator, ctx: SiteContext) -> None:
    alias(dns, f"*.devbox.{ZONE}", "cdn.elsewhere.test")
    alias(dns, NAME, f"devbox.{OTHER}")
    assert place(ctx).zone == OTHER


def test_a_silent_server_is_waited_for_once_and_the_next_one_asked(
    dns: AlidnsEmulator, ctx: SiteContext
) -> None:
    alias(dns, NAME, f"devbox.{OTHER}")
    dns.set_silent(0, silent=True)
    placement = ChallengeZones(ctx)
    placement.locate(NAME, VALUE)
    placement.locate(f"_acme-challenge.other.{ZONE}", VALUE)
    assert Counter(query.server for query in dns.queries)[0] == 1


def lies(name: str, kind: str) -> list[str]:
    """Be the resolver and the name server of every zone, where each name is an alias into the other zone."""
    return {"NS": ["ns1.x."], "A": ["127.0.0.53"], "CNAME": [f"db.{OTHER}."]}.get(kind, [])


@pytest.fixture
def found_ctx(ctx: SiteContext) -> SiteContext:
    """The ctx of a site whose servers are found, not given."""
    ctx.servers = NameServers([], SystemClock(), is_brief=True)
    return ctx


@pytest.mark.process
@pytest.mark.row(80)
def test_a_forged_alias_is_not_followed(dns: AlidnsEmulator, found_ctx: SiteContext) -> None:
    """Who takes port 53 over would choose where in the account's zones a record is made."""
    with ScriptedResolver(lies) as resolver:
        assert place(found_ctx) == TxtValue(NAME, VALUE, ZONE)
        assert f"{NAME} CNAME without recursion" in resolver.asked
    assert [call.action for call in dns.calls] == ["DescribeSubDomainRecords"]
    assert found_ctx.file.load().alias_zones == {}


@pytest.mark.process
@pytest.mark.row(81)
def test_where_port_53_is_not_ours_the_alias_that_the_api_lists_is_followed(
    dns: AlidnsEmulator, found_ctx: SiteContext
) -> None:
    alias(dns, NAME, f"devbox.{OTHER}")
    with ScriptedResolver(lies):
        assert place(found_ctx) == TxtValue(f"devbox.{OTHER}", VALUE, OTHER)


@pytest.mark.process
@pytest.mark.row(81)
def test_where_an_alias_cannot_be_seen_the_conflict_says_that_it_may_be_there(
    dns: AlidnsEmulator, found_ctx: SiteContext
) -> None:
    """A key for the zone of the alias alone may not list the site's."""
    alias(dns, NAME, f"devbox.{OTHER}")
    dns.fail("DescribeSubDomainRecords", Fault("error", "Forbidden.RAM"))
    conflict = ApiRefusal("refused", code="DomainRecordConflict", hint="delete the conflicting record")
    placement = ChallengeZones(found_ctx)
    assert placement.explained(conflict) is conflict
    with ScriptedResolver(lies):
        assert placement.locate(NAME, VALUE) == TxtValue(NAME, VALUE, ZONE)
    explained = placement.explained(conflict)
    assert explained.message == "refused"
    assert "the challenge name may be an alias (CNAME)" in explained.hint
    assert "port 53 is blocked" in explained.hint


def test_servers_that_do_not_agree_on_an_alias_are_waited_for(dns: AlidnsEmulator, ctx: SiteContext) -> None:
    dns.set_delay(1, 3600)
    alias(dns, NAME, f"devbox.{OTHER}")
    with pytest.raises(DnsUnavailable, match=rf"do not agree on .*'devbox\.{OTHER}'") as unclear:
        place(ctx)
    assert unclear.value.retryable


def test_where_no_server_answers_the_value_goes_to_the_name_itself(
    dns: AlidnsEmulator, ctx: SiteContext
) -> None:
    """The service refuses a record beside a CNAME, so nothing wrong comes of it."""
    for server in (0, 1):
        dns.set_silent(server, silent=True)
    assert place(ctx) == TxtValue(NAME, VALUE, ZONE)


def test_values_are_waited_for_in_every_zone_under_one_deadline(
    dns: AlidnsEmulator, ctx: SiteContext
) -> None:
    values = [TxtValue(f"devbox.{OTHER}", VALUE, OTHER), TxtValue(NAME, VALUE, ZONE)]
    dns.add("_acme-challenge.devbox", "TXT", VALUE)
    began = time.monotonic()
    with pytest.raises(PropagationTimeout, match=rf"devbox\.{OTHER}"):
        ChallengeZones(ctx).wait_until_shown(list(reversed(values)))
    assert 1.5 < time.monotonic() - began < 4
    dns.add("devbox", "TXT", VALUE, zone=OTHER)
    ChallengeZones(ctx).wait_until_shown(values)


def blind_wait(ctx: SiteContext, clock: FakeClock) -> float:
    """Wait for a value where no name server of the zone can be reached; return for how long."""
    ctx.clock = clock
    ctx.servers = NameServers([], clock, is_brief=True)
    placement = ChallengeZones(ctx)
    began = clock.monotonic()
    with ScriptedResolver(lambda name, kind: lies(name, kind) if kind in ("NS", "A") else []):
        placement.wait_until_shown([placement.locate(NAME, VALUE)])
    placement.note_validation(is_valid=False)
    return clock.monotonic() - began


@pytest.fixture
def patient(ctx: SiteContext) -> SiteContext:
    dns_config = replace(ctx.config.dns, propagation_timeout=timedelta(minutes=10))
    ctx.config = replace(ctx.config, dns=dns_config)
    return ctx


@pytest.mark.process
@pytest.mark.row(41)
def test_an_unseen_value_is_waited_for_45_s_and_each_failed_validation_doubles_it(
    dns: AlidnsEmulator, patient: SiteContext, caplog: pytest.LogCaptureFixture
) -> None:
    """Up to propagation_timeout; one that succeeds makes it 45 s again. It is said each time."""
    dns.add("_acme-challenge.devbox", "TXT", VALUE)
    clock = FakeClock()
    with caplog.at_level(logging.INFO):
        waits = [blind_wait(patient, clock) for _ in range(6)]
    assert waits == pytest.approx([45, 90, 180, 360, 600, 600], abs=6)
    assert caplog.text.count("challenge.unseen domain=devbox.sweetlove.test") == 6
    assert "no name server of the zone can be reached" in caplog.text
    ChallengeZones(patient).note_validation(is_valid=True)
    assert blind_wait(patient, clock) == pytest.approx(45, abs=6)


@pytest.mark.process
@pytest.mark.row(41)
def test_the_45_s_begin_when_the_api_lists_the_value(dns: AlidnsEmulator, patient: SiteContext) -> None:
    clock = FakeClock()
    clock.on_sleep = lambda: (
        None
        if clock.monotonic() < 100 or dns.records(type="TXT")
        else dns.add("_acme-challenge.devbox", "TXT", VALUE)
    )
    assert blind_wait(patient, clock) == pytest.approx(100 + 45, abs=22)


@pytest.mark.parametrize("is_valid", [True, False])
def test_what_the_servers_have_shown_makes_no_later_wait_longer(ctx: SiteContext, is_valid: bool) -> None:
    """Only a wait that nobody could see the end of may have been too short."""
    ChallengeZones(ctx).note_validation(is_valid=is_valid)
    assert ctx.file.load().unseen_failures == 0
