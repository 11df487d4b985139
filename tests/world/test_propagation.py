"""Waiting until the zone's own servers show a value: which of them are waited for, and for how long."""

import logging
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from support.alidns import FQDN, NAME, ZONE, servers_of
from support.fakes import FakeClock, FakeZone, ZoneServer

from certbotless.base.clock import SystemClock
from certbotless.base.errors import Interrupted, PropagationTimeout
from certbotless.model.records import Record
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.world.dns.propagation import SILENCE_S, Wanted, wait_until_shown
from certbotless.world.dns.query import Server

WANTED = Wanted(FQDN, "TXT", "gfj9Xq")


@pytest.mark.parametrize("values", [["one"], ["one", "two"]], ids=str)
def test_what_every_server_shows_is_one_question_and_not_waited_for(
    emulator: AlidnsEmulator, values: list[str]
) -> None:
    for value in values:
        emulator.add("_acme-challenge.devbox", "TXT", value)
    clock = FakeClock()
    wait_until_shown(servers_of(emulator), [Wanted(FQDN, "TXT", value) for value in values], clock, 600)
    assert clock.sleeps == []
    assert len(emulator.queries) == 2


def test_each_value_is_waited_for(emulator: AlidnsEmulator) -> None:
    emulator.add("_acme-challenge.devbox", "TXT", "one")
    clock = FakeClock()
    clock.on_sleep = lambda: (
        emulator.records(type="TXT")[1:] or emulator.add("_acme-challenge.devbox", "TXT", "two")
    )
    wanted = [Wanted(FQDN, "TXT", "one"), Wanted(FQDN, "TXT", "two")]
    wait_until_shown(servers_of(emulator), wanted, clock, 600)
    assert len(clock.sleeps) == 1


@pytest.mark.row(39)
def test_the_slower_server_is_waited_for_and_no_longer(emulator: AlidnsEmulator) -> None:
    emulator.set_delay(1, 0.4)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    clock = SystemClock()
    began_s = clock.monotonic()
    wait_until_shown(servers_of(emulator), [WANTED], clock, 60)
    assert 0.3 < clock.monotonic() - began_s < 2
    # The one that had shown it was not asked again.
    assert [query.server for query in emulator.queries].count(0) == 1


def test_a_server_that_answers_without_the_value_is_waited_for_to_the_end(emulator: AlidnsEmulator) -> None:
    emulator.set_delay(1, 3600)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    clock = FakeClock(least_sleep_s=20)
    with pytest.raises(PropagationTimeout) as late:
        wait_until_shown(servers_of(emulator), [WANTED], clock, 600)
    assert clock.monotonic() >= 600
    assert emulator.nameservers[1] in late.value.message
    assert emulator.nameservers[0] not in late.value.message
    assert FQDN in late.value.message
    assert "dns.propagation_timeout" in late.value.hint
    assert late.value.retryable


def test_another_value_at_the_name_is_not_the_wanted_one(emulator: AlidnsEmulator) -> None:
    emulator.add("_acme-challenge.devbox", "TXT", "left from yesterday")
    with pytest.raises(PropagationTimeout):
        wait_until_shown(servers_of(emulator), [WANTED], FakeClock(least_sleep_s=20), 60)


@pytest.mark.row(39)
@pytest.mark.parametrize("timeout_s", [600, 10])
def test_a_server_that_never_answers_is_left_out_if_another_one_does(
    emulator: AlidnsEmulator, caplog: pytest.LogCaptureFixture, timeout_s: int
) -> None:
    """After a while, or at the end of a short wait."""
    emulator.set_rcode(1, dns.rcode.SERVFAIL)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    clock = FakeClock()
    with caplog.at_level(logging.WARNING):
        assert wait_until_shown(servers_of(emulator), [WANTED], clock, timeout_s)
    least_s = min(timeout_s, SILENCE_S)
    assert least_s <= clock.monotonic() < least_s * 1.2
    assert f"dns.server_silent servers={emulator.nameservers[1]}" in caplog.text


def test_a_server_that_answered_once_is_not_left_out(
    emulator: AlidnsEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    emulator.set_delay(1, 3600)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    clock = FakeClock(least_sleep_s=10)
    clock.on_sleep = lambda: emulator.set_rcode(1, dns.rcode.SERVFAIL)
    with pytest.raises(PropagationTimeout):
        wait_until_shown(servers_of(emulator), [WANTED], clock, 120)
    assert "dns.server_silent" not in caplog.text


@pytest.mark.row(41)
def test_when_all_are_silent_the_ca_may_still_see_it(
    emulator: AlidnsEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    for server in (0, 1):
        emulator.set_rcode(server, dns.rcode.SERVFAIL)
    clock = FakeClock(least_sleep_s=20)
    with caplog.at_level(logging.WARNING):
        assert not wait_until_shown(servers_of(emulator), [WANTED], clock, 600)
    assert SILENCE_S <= clock.monotonic() <= SILENCE_S + 20
    assert "dns.all_silent" in caplog.text


@pytest.mark.row(41)
def test_an_answer_without_authority_is_none_unless_the_server_was_given(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Who names a server may mean one that passes answers on; nobody else's memory counts."""
    shown = Record(NAME, "A", "10.79.40.213", 600)
    with ZoneServer(FakeZone(ZONE, [shown])) as passing_on:
        host, port = passing_on.place.split(":")
        clock = FakeClock(least_sleep_s=20)
        wanted = Wanted(NAME, "A", "10.79.40.213")
        assert wait_until_shown([Server("ns1", host, int(port), is_given=True)], [wanted], clock, 600)
        assert clock.monotonic() == 0
        assert not wait_until_shown([Server("ns1", host, int(port))], [wanted], clock, 600)
        assert SILENCE_S <= clock.monotonic() <= SILENCE_S + 20
    assert "dns.all_silent servers=ns1(no_authority)" in caplog.text


@pytest.mark.parametrize("is_resolver", [True, False], ids=["a resolver", "no resolver"])
@pytest.mark.row(88)
def test_what_a_given_resolver_remembers_is_not_waited_for(is_resolver: bool) -> None:
    """It was asked before the value was there, and may say for ten minutes that there is none."""
    with ZoneServer(FakeZone(ZONE)) as server:
        server.offers_recursion = is_resolver
        host, port = server.place.split(":")
        given, clock = Server("ns1", host, int(port), is_given=True), FakeClock(least_sleep_s=20)
        if is_resolver:
            assert not wait_until_shown([given], [WANTED], clock, 600)
            assert SILENCE_S <= clock.monotonic() <= SILENCE_S + 20
        else:
            with pytest.raises(PropagationTimeout):
                wait_until_shown([given], [WANTED], clock, 600)
        # Of a record it is believed: it shows what clients see.
        with pytest.raises(PropagationTimeout):
            wait_until_shown([given], [Wanted(NAME, "A", "10.79.40.213")], clock, 600)


def siblings(emulator: AlidnsEmulator) -> tuple[Server, ...]:
    """The two servers of the stand-in, as two addresses of one."""
    found = servers_of(emulator)
    return tuple(replace(server, name="dns25.hichina.test", is_given=False) for server in found)


@pytest.mark.row(84)
def test_an_address_that_is_dead_is_not_waited_for_where_another_one_answers(
    emulator: AlidnsEmulator, caplog: pytest.LogCaptureFixture
) -> None:
    """The server is not silent: nothing is lost, and nothing is told."""
    emulator.set_rcode(1, dns.rcode.SERVFAIL)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    clock = FakeClock()
    assert wait_until_shown(siblings(emulator), [WANTED], clock, 600)
    assert clock.monotonic() < 1
    assert caplog.records == []


@pytest.mark.row(84)
def test_an_address_that_is_late_is_waited_for(emulator: AlidnsEmulator) -> None:
    """The CA may ask there."""
    emulator.set_delay(1, 3600)
    emulator.add("_acme-challenge.devbox", "TXT", WANTED.value)
    with pytest.raises(PropagationTimeout, match=r"dns25\.hichina\.test does not show"):
        wait_until_shown(siblings(emulator), [WANTED], FakeClock(least_sleep_s=20), 120)


@pytest.mark.row(41)
def test_a_txt_value_counts_whichever_server_shows_it() -> None:
    shown = Record(FQDN, "TXT", WANTED.value, 600)
    with ZoneServer(FakeZone(ZONE, [shown])) as passing_on:
        host, port = passing_on.place.split(":")
        clock = FakeClock()
        assert wait_until_shown([Server("ns1", host, int(port))], [WANTED], clock, 600)
        assert clock.monotonic() == 0
        other = Wanted(FQDN, "TXT", "not yet")
        assert not wait_until_shown([Server("ns1", host, int(port))], [WANTED, other], clock, 600)


def test_a_zone_without_a_known_server_is_waited_for_in_vain() -> None:
    clock = FakeClock()
    assert not wait_until_shown([], [WANTED], clock, 600)
    assert SILENCE_S <= clock.monotonic() < SILENCE_S + 6


def test_a_stop_ends_the_wait(emulator: AlidnsEmulator) -> None:
    clock = FakeClock()
    clock.on_sleep = clock.stop
    with pytest.raises(Interrupted):
        wait_until_shown(servers_of(emulator), [WANTED], clock, 600)
    assert len(clock.sleeps) == 1
