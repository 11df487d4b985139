"""One question to the zone's own servers, over real DNS: what is an answer, and when none comes."""

import socket
import socketserver
import subprocess
import threading
import time
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
from support.alidns import FQDN, NAME, ZONE, servers_of

from certbotless.base.clock import SystemClock
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.world.dns.query import QUERY_TIMEOUT_S, Server, ask_all, speaks


def ask(servers: Sequence[Server], fqdn: str, rdtype: str) -> list[frozenset[str] | None]:
    return [answer.values for answer in ask_all(servers, fqdn, rdtype)]


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
