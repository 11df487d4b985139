"""Questions to the zone's own servers, over real DNS: the stand-in's name servers on loopback."""

import logging
import socket
import socketserver
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from support.fakes import FakeClock, FakeZone, ZoneServer
from support.resolvers import ScriptedResolver

from certbotless.base.clock import SystemClock
from certbotless.base.errors import DnsUnavailable, Interrupted, PropagationTimeout, ZoneOnHold
from certbotless.model.records import Record
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.world.dns.nameservers import PUBLIC_RESOLVERS, NameServers
from certbotless.world.dns.propagation import SILENCE_S, Wanted, wait_until_shown
from certbotless.world.dns.query import QUERY_TIMEOUT_S, Server, ask_all, speaks

ZONE = "sweetlove.test"
NAME = "devbox.sweetlove.test"
FQDN = f"_acme-challenge.{NAME}"
WANTED = Wanted(FQDN, "TXT", "gfj9Xq")


@pytest.fixture
def emulator() -> Iterator[AlidnsEmulator]:
    with AlidnsEmulator([ZONE], access_key_id="id", access_key_secret="secret") as emulator:
        yield emulator


def servers_of(emulator: AlidnsEmulator) -> tuple[Server, ...]:
    return NameServers(emulator.nameservers, FakeClock()).of(ZONE)


def ask(servers: Sequence[Server], fqdn: str, rdtype: str) -> list[frozenset[str] | None]:
    return [answer.values for answer in ask_all(servers, fqdn, rdtype)]


# --- one question -----------------------------------------------------------------------------------------


def test_each_server_answers_for_itself(emulator: AlidnsEmulator) -> None:
    emulator.set_delay(1, 3600)
    emulator.add("devbox", "A", "10.79.40.213")
    assert ask(servers_of(emulator), NAME, "A") == [frozenset({"10.79.40.213"}), frozenset()]


# What is there, as RR, type and value; what is asked for; and the values of the answer.
VALUES: dict[str, tuple[list[tuple[str, str, str]], tuple[str, str], set[str]]] = {
    "of no such name": ([("other", "A", "10.79.40.213")], (NAME, "A"), set()),
    "of an alias are not those of the name": (
        [("devbox", "CNAME", f"other.{ZONE}"), ("other", "A", "10.79.40.213")],
        (NAME, "A"),
        set(),
    ),
    # That of the file's addresses, whatever an owner has typed in the console.
    "of IPv6 have one spelling": (
        [("devbox", "AAAA", "FD00:0:0::0005"), ("devbox", "AAAA", "::5:6")],
        (NAME, "AAAA"),
        {"fd00::5", "::5:6"},
    ),
    "in another case": ([("devbox", "A", "10.79.40.213")], ("DevBox.SweetLove.test", "A"), {"10.79.40.213"}),
    "of several strings are one": (
        [("_acme-challenge.devbox", "TXT", "x" * 400)],
        (FQDN, "TXT"),
        {"x" * 400},
    ),
}


@pytest.mark.parametrize(("there", "asked", "values"), VALUES.values(), ids=VALUES.keys())
def test_the_values_of_an_answer_are_those_of_the_name(
    emulator: AlidnsEmulator, there: list[tuple[str, str, str]], asked: tuple[str, str], values: set[str]
) -> None:
    for rr, type_, value in there:
        emulator.add(rr, type_, value)
    assert ask(servers_of(emulator)[:1], *asked) == [frozenset(values)]


def test_an_answer_too_long_for_udp_comes_by_tcp(emulator: AlidnsEmulator) -> None:
    values = [f"{number:03}" + "x" * 200 for number in range(40)]
    for value in values:
        emulator.add("_acme-challenge.devbox", "TXT", value)
    assert ask(servers_of(emulator)[:1], FQDN, "TXT") == [frozenset(values)]
    assert [query.tcp for query in emulator.queries] == [False, True]


@pytest.mark.parametrize("rcode", [dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP])
def test_a_server_that_will_not_say_gives_no_answer(emulator: AlidnsEmulator, rcode: dns.rcode.Rcode) -> None:
    emulator.add("devbox", "A", "10.79.40.213")
    emulator.set_rcode(0, rcode)
    assert ask(servers_of(emulator), NAME, "A") == [None, frozenset({"10.79.40.213"})]


@pytest.mark.parametrize("is_given", [False, True], ids=["found", "given"])
@pytest.mark.row(88)
def test_only_a_server_that_was_given_is_asked_to_ask_others(is_given: bool) -> None:
    """It may be a resolver, which refuses what does not ask for recursion, and answers without authority."""
    asked: list[dns.message.Message] = []

    def resolver(query: dns.message.Message) -> dns.message.Message:
        asked.append(query)
        reply = dns.message.make_response(query)
        if query.flags & dns.flags.RD:
            reply.answer.append(dns.rrset.from_text(f"{NAME}.", 600, "IN", "A", "10.79.40.213"))
        else:
            reply.set_rcode(dns.rcode.REFUSED)
        return reply

    with peer(lambda wire: [resolver(dns.message.from_wire(wire)).to_wire()]) as server:
        asker = replace(server, is_given=is_given)
        [answer] = ask_all([asker], NAME, "A")
    assert answer.values == (frozenset({"10.79.40.213"}) if is_given else None)
    assert speaks(asker, answer) is is_given
    assert bool(asked[0].flags & dns.flags.RD) is is_given


# What comes back before the true answer, made of the question's wire form.
BEFORE: dict[str, Callable[[bytes], bytes]] = {
    "an answer to an older question": lambda wire: bytes([wire[0] ^ 1]) + answer_to(wire, "10.0.0.1")[1:],
    "an answer to another name": lambda wire: renamed(answer_to(wire, "10.0.0.1")),
    "the question itself": lambda wire: wire,
    "half an answer": lambda wire: answer_to(wire, "10.0.0.1")[:30],
}


def answer_to(wire: bytes, address: str) -> bytes:
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.answer.append(dns.rrset.from_text(f"{NAME}.", 600, "IN", "A", address))
    return reply.to_wire()


def renamed(wire: bytes) -> bytes:
    return wire.replace(b"\x06devbox", b"\x06devbux")


@contextmanager
def peer(
    talk: Callable[[bytes], list[bytes]], tcp: Callable[[socket.socket], object] | None = None
) -> Iterator[Server]:
    """A server that sends for each datagram what `talk` makes of it; `tcp` has each connection."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
        socket.create_server(("127.0.0.1", 0)) as listener,
    ):
        udp.bind(listener.getsockname())

        def answer() -> None:
            wire, client = udp.recvfrom(65535)
            for part in talk(wire):
                udp.sendto(part, client)
            if tcp is not None:
                connection, _ = listener.accept()
                with connection, suppress(OSError):  # the client gave up
                    tcp(connection)

        thread = threading.Thread(target=answer)
        thread.start()
        host, port = listener.getsockname()
        yield Server("peer", host, port, timeout_s=1)
        thread.join()


@pytest.mark.parametrize("before", BEFORE.values(), ids=BEFORE.keys())
def test_what_answers_another_question_is_passed_over(before: Callable[[bytes], bytes]) -> None:
    with peer(lambda wire: [before(wire), answer_to(wire, "10.79.40.213")]) as server:
        assert ask([server], NAME, "A") == [frozenset({"10.79.40.213"})]


def cut_off(wire: bytes) -> list[bytes]:
    """The answer does not fit."""
    reply = dns.message.make_response(dns.message.from_wire(wire))
    reply.flags |= dns.flags.TC
    return [reply.to_wire()]


def drip(connection: socket.socket) -> None:
    connection.sendall(b"\xff\xff")
    for _ in range(100):
        connection.sendall(b"\0")
        time.sleep(0.05)


def other_answer(connection: socket.socket) -> None:
    wire = connection.recv(65535)[2:]
    reply = renamed(answer_to(wire, "10.0.0.1"))
    connection.sendall(len(reply).to_bytes(2) + reply)


# What it sends for each datagram, and what it does with the connection.
NO_ANSWERS: dict[str, tuple[Callable[[bytes], list[bytes]], Callable[[socket.socket], object] | None]] = {
    "garbage": (lambda wire: [b"nonsense"], None),
    "over TCP, hangs up": (cut_off, lambda connection: None),
    "over TCP, drips": (cut_off, drip),
    "over TCP, garbage": (cut_off, lambda connection: connection.sendall(b"\0\x04abcd")),
    "over TCP, answers another question": (cut_off, other_answer),
}


@pytest.mark.parametrize(("udp", "tcp"), NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
def test_what_is_no_answer_is_none_and_ends_in_time(
    udp: Callable[[bytes], list[bytes]], tcp: Callable[[socket.socket], object] | None
) -> None:
    began_s = time.monotonic()
    with peer(udp, tcp) as server:
        assert ask([server], NAME, "A") == [None]
        assert time.monotonic() - began_s < 10


def test_a_flood_of_wrong_answers_is_given_up_in_time() -> None:
    """While there is always one more to read; each is large, so that reading it takes longer than sending."""
    over = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))

        def flood() -> None:
            wire, client = udp.recvfrom(65535)
            reply = dns.message.make_response(dns.message.from_wire(wire))
            reply.id ^= 1
            values = [f"10.0.{number // 250}.{number % 250}" for number in range(1000)]
            reply.answer.append(dns.rrset.from_text(f"{NAME}.", 600, "IN", "A", *values))
            wrong = reply.to_wire(max_size=65535)
            while not over.wait(0):
                with suppress(ConnectionRefusedError):  # the asker has gone
                    udp.sendto(wrong, client)

        with ThreadPoolExecutor() as pool:
            flooding = pool.submit(flood)
            try:
                server = Server("flood", "127.0.0.1", udp.getsockname()[1], timeout_s=1)
                answering = pool.submit(ask, [server], NAME, "A")
                assert answering.result(timeout=60) == [None]
                assert not flooding.done()
            finally:
                over.set()


@contextmanager
def late_server(delay_s: float) -> Iterator[tuple[Server, list[str]]]:
    """A server that answers each question so late, and claims authority as a proxy does; over UDP cut off.

    Gives the questions, too, each noted when it comes.
    """
    asked: list[str] = []

    def answer(wire: bytes, flags: int) -> bytes:
        query = dns.message.from_wire(wire)
        asked.append(query.question[0].to_text())
        time.sleep(delay_s)
        reply = dns.message.make_response(query)
        reply.flags |= flags | dns.flags.AA | dns.flags.RA
        return reply.to_wire()

    class OverUdp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire, udp = self.request
            udp.sendto(answer(wire, dns.flags.TC), self.client_address)

    class OverTcp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            wire = answer(self.request.recv(65535)[2:], 0)
            with suppress(OSError):  # the asker has gone
                self.request.sendall(len(wire).to_bytes(2) + wire)

    with (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), OverTcp) as tcp,
        socketserver.ThreadingUDPServer(tcp.server_address, OverUdp) as udp,
        ThreadPoolExecutor() as pool,
    ):
        for listener in (tcp, udp):
            pool.submit(listener.serve_forever, 0.01)
        host, port = tcp.server_address[:2]
        yield Server("late", str(host), port, timeout_s=1), asked
        for listener in (tcp, udp):
            listener.shutdown()


@pytest.mark.row(80)
def test_all_that_one_answer_takes_has_one_time() -> None:
    """Over UDP, over TCP for what is cut off, with what shows a proxy, and all of it once more over TCP.

    Each exchange takes 0.3 s: 4 fit into a second, and 2 into the half that the second try has. What was not
    shown in time is not believed.
    """
    with late_server(0.3) as (server, asked):
        [answer] = ask_all([server], NAME, "TXT")
    assert not speaks(server, answer)
    assert 2 <= len(asked) <= 4 + 2


def test_a_closed_port_is_told_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        host, port = closed.getsockname()
        server = Server("closed", host, port, timeout_s=3600)
    assert ask([server], NAME, "A") == [None]


def test_silent_servers_are_given_up_together(emulator: AlidnsEmulator) -> None:
    emulator.set_silent(0, silent=True)
    emulator.set_silent(1, silent=True)
    clock = SystemClock()
    began_s = clock.monotonic()
    assert ask(servers_of(emulator), NAME, "A") == [None, None]
    assert QUERY_TIMEOUT_S - 0.1 < clock.monotonic() - began_s < 1.8 * QUERY_TIMEOUT_S


@pytest.mark.row(80)
@pytest.mark.parametrize("is_refusal", [False, True], ids=["answers", "refuses"])
@pytest.mark.parametrize("has_authority", [True, False])
def test_a_proxy_that_takes_udp_over_is_bypassed_over_tcp(is_refusal: bool, has_authority: bool) -> None:
    """Where none speaks for the zone over UDP all are asked once more: the true server may answer there.

    Any answer is more than none: it may show a TXT value of ours.
    """

    def over_tcp(connection: socket.socket) -> None:
        reply = dns.message.from_wire(answer_to(connection.recv(65535)[2:], "10.79.40.213"))
        reply.flags |= dns.flags.AA if has_authority else 0
        wire = reply.to_wire()
        connection.sendall(len(wire).to_bytes(2) + wire)

    def over_udp(wire: bytes) -> list[bytes]:
        return [wire[:2] + b"\x81\x05" + wire[4:] if is_refusal else answer_to(wire, "198.18.0.7")]

    with peer(over_udp, over_tcp) as server:
        [answer] = ask_all([server], NAME, "A")
    told = "10.79.40.213" if has_authority or is_refusal else "198.18.0.7"
    assert (answer.values, answer.has_authority) == (frozenset({told}), has_authority)


@pytest.mark.process
@pytest.mark.row(91)
def test_an_address_of_a_link_is_asked_at_its_interface() -> None:
    """`nameserver fe80::1%eth0`, as routers announce it; without the interface the kernel refuses it."""
    [lo] = [index for index, name in socket.if_nameindex() if name == "lo"]
    subprocess.run(["ip", "address", "add", "fe80::1/64", "dev", "lo", "nodad"], check=True)
    try:
        # The kernel routes to the address a moment after it has it; until then it drops what is sent there.
        while not subprocess.check_output(["ip", "-6", "route", "show", "table", "local", "fe80::1"]):
            time.sleep(0.01)
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp:
            udp.bind(("fe80::1", 0, 0, lo))

            def answer() -> None:
                wire, client = udp.recvfrom(65535)
                udp.sendto(answer_to(wire, "10.79.40.213"), client)

            thread = threading.Thread(target=answer)
            thread.start()
            server = Server("link", "fe80::1%lo", udp.getsockname()[1], is_resolver=True, timeout_s=30)
            assert ask([server], NAME, "A") == [frozenset({"10.79.40.213"})]
            thread.join()
    finally:
        subprocess.run(["ip", "address", "delete", "fe80::1/64", "dev", "lo"], check=True)
    assert ask([Server("link", "fe80::1%nowhere", is_resolver=True)], NAME, "A") == [None]


# --- waiting ----------------------------------------------------------------------------------------------


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


# --- which servers ----------------------------------------------------------------------------------------


def test_servers_that_are_configured_are_those_of_every_zone() -> None:
    servers = NameServers(["127.0.0.1:5353", "[::1]:53", "localhost:8053"], FakeClock())
    assert not servers.need_zone
    assert servers.of(ZONE) == servers.of("other.test")
    first, second, third = servers.of(ZONE)
    assert first == Server("127.0.0.1:5353", "127.0.0.1", 5353, True)
    assert second == Server("[::1]:53", "::1", 53, True)
    # A server that listens on IPv4 alone may have a name that also leads to IPv6.
    assert third == Server("localhost:8053", "127.0.0.1", 8053, True)


@pytest.mark.parametrize("entry", ["[fe80::1%no-such-interface]:53", f"{'a' * 70}.test:53", "a..b:53"])
def test_a_configured_server_without_an_address_is_told(entry: str) -> None:
    with pytest.raises(DnsUnavailable, match=r"dns\.nameservers entry") as unknown:
        NameServers([entry], FakeClock()).of(ZONE)
    assert entry in unknown.value.message
    assert "address instead of a name" in unknown.value.hint


def of_two_servers(name: str, kind: str) -> list[str]:
    return ["NS2.x.", "ns1.x."] if kind == "NS" else [f"192.0.2.{name[2]}"]


TWO_SERVERS = (Server("ns1.x", "192.0.2.1"), Server("ns2.x", "192.0.2.2"))


def test_how_long_no_server_has_spoken_for_a_zone_is_known_until_one_does() -> None:
    clock = FakeClock()
    clock.advance(1000)
    servers = NameServers(["127.0.0.1:5353"], clock)
    assert servers.blind_s(ZONE) is None
    for _ in range(2):
        servers.note(ZONE, is_blind=True)
        clock.advance(20)
    assert servers.blind_s(ZONE) == 40
    servers.note(ZONE, is_blind=False)
    assert servers.blind_s(ZONE) is None


@pytest.mark.process
@pytest.mark.row(40)
def test_the_system_resolver_names_the_servers_and_is_asked_for_nothing_else() -> None:
    """What is no address in its file is passed over, as by libc."""
    resolv_conf = "nameserver\nnameserver localhost\nnameserver 127.0.0.53\n"
    servers = NameServers([], FakeClock())
    with ScriptedResolver(of_two_servers, resolv_conf=resolv_conf) as resolver:
        assert servers.need_zone
        assert servers.of(ZONE) == TWO_SERVERS
    assert sorted(resolver.asked) == ["ns1.x A", "ns2.x A", f"{ZONE} NS"]


@pytest.mark.process
@pytest.mark.parametrize("at", PUBLIC_RESOLVERS)
def test_a_public_resolver_names_the_servers_where_the_system_has_none(at: str) -> None:
    """Each on its own; at this machine's own address nobody answers."""
    subprocess.run(["ip", "address", "add", f"{at}/32", "dev", "lo"], check=True)
    try:
        with ScriptedResolver(of_two_servers, at=at, resolv_conf=""):
            assert NameServers([], FakeClock(), is_brief=True).of(ZONE) == TWO_SERVERS
    finally:
        subprocess.run(["ip", "address", "delete", f"{at}/32", "dev", "lo"], check=True)


@pytest.mark.process
@pytest.mark.row(97)
def test_a_zone_that_is_not_on_the_internet_is_told_with_the_usual_reason() -> None:
    """The resolver answers that there is no such name: no CA could validate it either."""
    with ScriptedResolver(lambda name, kind: None), pytest.raises(ZoneOnHold) as on_hold:
        NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert "no resolver names the authoritative servers" in on_hold.value.message
    assert "serverHold" in on_hold.value.hint
    assert "real name is not verified" in on_hold.value.hint


@pytest.mark.process
@pytest.mark.row(97)
def test_where_no_resolver_answers_the_hold_of_a_domain_is_named_beside_the_network() -> None:
    with ScriptedResolver(lambda name, kind: []), pytest.raises(DnsUnavailable) as unknown:
        NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert not isinstance(unknown.value, ZoneOnHold)
    assert f"no resolver names the authoritative servers of {ZONE!r}" in unknown.value.message
    assert "dns.nameservers" in unknown.value.hint
    assert "check the network" in unknown.value.hint
    assert "serverHold" in unknown.value.hint


@pytest.mark.process
def test_what_no_resolver_knows_is_asked_for_again_after_a_minute() -> None:
    """A run with several steps pays for it once."""
    clock = FakeClock()
    servers = NameServers([], clock, is_brief=True)
    with ScriptedResolver(lambda name, kind: []) as resolver:
        for wait_s, asked in ((0, 1), (60, 1), (1, 2)):
            clock.advance(wait_s)
            with pytest.raises(DnsUnavailable):
                servers.of(ZONE)
            assert len(resolver.asked) == asked


@pytest.mark.process
@pytest.mark.row(84)
def test_three_addresses_of_each_server_are_asked_by_turns_and_the_least_always() -> None:
    addresses = [f"106.11.141.{last}" for last in range(111, 119)]
    seen = set()
    with ScriptedResolver(lambda name, kind: ["ns1.x.", "ns2.x."] if kind == "NS" else addresses):
        for _ in range(40):
            found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
            assert [server.name for server in found] == ["ns1.x"] * 3 + ["ns2.x"] * 3
            for name in ("ns1.x", "ns2.x"):
                at = [server.address for server in found if server.name == name]
                assert len(set(at)) == 3
                assert at[0] == addresses[0]
            seen |= {server.address for server in found}
    assert seen == set(addresses)


@pytest.mark.process
def test_a_resolver_that_names_a_thousand_servers_is_believed_in_thirteen() -> None:
    """Each costs a thread: who stands in its place could stop the daemon."""

    def told(name: str, kind: str) -> list[str]:
        return [f"ns{number:04}.x." for number in range(1500)] if kind == "NS" else ["192.0.2.1"]

    with ScriptedResolver(told) as resolver:
        found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert len(found) == 13
    assert len(resolver.asked) <= 2 + 13


@pytest.mark.process
def test_many_servers_of_many_addresses_are_thirteen_to_ask() -> None:
    """Each question goes to all of them; and each has an address before any has three."""

    def told(name: str, kind: str) -> list[str]:
        if kind == "NS":
            return [f"ns{number}.x." for number in range(6)]
        return [f"192.0.2.{number}" for number in range(1, 6)]

    with ScriptedResolver(told):
        found = NameServers([], FakeClock(), is_brief=True).of(ZONE)
    assert Counter(server.name for server in found) == {
        "ns0.x": 3, "ns1.x": 2, "ns2.x": 2, "ns3.x": 2, "ns4.x": 2, "ns5.x": 2,
    }  # fmt: skip


def test_servers_are_remembered_for_an_hour() -> None:
    clock = FakeClock()
    servers = NameServers(["127.0.0.1:53"], clock)
    first = servers.of(ZONE)
    clock.advance(3600)
    assert servers.of(ZONE) is first
    clock.advance(1)
    again = servers.of(ZONE)
    assert again == first
    assert again is not first
