"""The server of the status page: its answers, and that no client can keep it from others."""

import logging
import random
import re
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import pytest
from support.bed import wait_until

from certbotless.sandbox.process import free_port
from certbotless.service import http_server
from certbotless.service.http_server import Reply, Request, Server

PATIENCE_S = 120
NAMES = ("registry.example.com",)
HUGE = 16 * 1024 * 1024
HUGE_REPLY = Reply(200, b"x" * HUGE)


def answer(request: Request) -> Reply:
    """Answer with the path, with more than any socket holds, or not at all."""
    path = request.path
    if path == "/broken":
        1 / 0  # noqa: B018
    if path == "/absent":
        raise FileNotFoundError(2, "No such file or directory")
    return HUGE_REPLY if path == "/huge" else Reply(200, f"{path}\n".encode())


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Serve for as long as the block runs."""
    where = host, free_port()
    served = Server(where, answer, NAMES.__contains__)
    try:
        yield where
    finally:
        served.close()


@pytest.fixture
def where() -> Iterator[tuple[str, int]]:
    with serving() as where:
        yield where


def connected(where: tuple[str, int]) -> socket.socket:
    return socket.create_connection(where, timeout=PATIENCE_S)


def rest_of(sock: socket.socket) -> bytes:
    """Return all that comes until the server closes; nothing more where it lets go of us."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while chunk := sock.recv(65536):
            received += chunk
    return bytes(received)


def said(where: tuple[str, int], request: bytes) -> bytes:
    """Send this and return the whole answer."""
    with closing(connected(where)) as sock:
        sock.sendall(request)
        return rest_of(sock)


def status_of(reply: bytes) -> int:
    assert reply.startswith(b"HTTP/1.1 "), reply[:80]
    return int(reply[9:12])


def get(host: str, method: str = "GET", path: str = "/") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


# --- what is answered ---------------------------------------------------------------------------------------


def test_an_answer_says_what_it_is_and_what_may_be_done_with_it(where: tuple[str, int]) -> None:
    """Nothing is kept, guessed, framed or run; nobody learns which program of which version this is."""
    head, _, body = said(where, get("localhost")).partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert first == "HTTP/1.1 200 OK"
    assert body == b"/\n"
    assert fields.pop("Date").endswith(" GMT")
    assert fields == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": "2",
        "Connection": "close",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Content-Security-Policy": "default-src 'none'; style-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'",
    }


def test_a_request_is_known_by_its_path_query_host_and_language() -> None:
    """As they come: what they mean is for the page."""
    asked, where = list[Request](), ("127.0.0.1", free_port())

    def keep(request: Request) -> Reply:
        asked.append(request)
        return Reply(200, b"")

    with closing(Server(where, keep, NAMES.__contains__)):
        said(where, b"GET /a?b=c?d HTTP/1.1\r\nHost:  LOCALHOST:80 \r\naccept-language: zh, en;q=0.5\r\n\r\n")
        said(where, b"GET / HTTP/1.0\r\n\r\n")
    assert asked == [Request("/a", "b=c?d", "LOCALHOST:80", " zh, en;q=0.5"), Request("/")]


def test_head_is_get_without_its_body(where: tuple[str, int]) -> None:
    with_body, without = (said(where, get("localhost", method)) for method in ("GET", "HEAD"))
    assert without.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in without
    assert with_body.endswith(b"\r\n\r\n/\n")


def test_the_question_after_a_path_is_passed_over(where: tuple[str, int]) -> None:
    assert said(where, get("localhost", path="/metrics?name[]=x&y=%00")).endswith(b"\r\n\r\n/metrics\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"])
def test_every_other_method_is_refused_with_those_that_are_not(where: tuple[str, int], method: str) -> None:
    reply = said(where, get("localhost", method))
    assert status_of(reply) == 405
    assert b"\r\nAllow: GET, HEAD\r\n" in reply


def test_the_body_of_a_refused_request_does_not_cost_the_client_its_answer(where: tuple[str, int]) -> None:
    """To close with something unread would reset the connection."""
    body = b"x" * 100_000
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    assert status_of(said(where, head.encode() + body)) == 405


def test_it_speaks_ipv6() -> None:
    with serving("::1") as where:
        assert status_of(said(where, get(f"[::1]:{where[1]}"))) == 200


# --- by which name ------------------------------------------------------------------------------------------


NAMES_OF_US = ("localhost", "LOCALHOST:9109", *NAMES, "registry.example.com.:443", socket.gethostname())
ADDRESSES = ("127.0.0.1:9109", "10.0.0.5", "[::1]", "[fd00::5]:9109")
OTHER_NAMES = ("evil.example", "127.0.0.1.evil.example", "example.com", "xregistry.example.com", "1.2.3")
NO_NAMES = ("", "a b", "user@localhost", "[::1", "localhost:x", "localhost/", "lo\tcal")


@pytest.mark.parametrize("host", NAMES_OF_US + ADDRESSES + OTHER_NAMES + NO_NAMES)
def test_an_address_and_our_own_names_are_answered_and_others_misdirected(
    where: tuple[str, int], host: str
) -> None:
    """A site on the Internet may let its name lead to us, so that its scripts may read what we say."""
    assert status_of(said(where, get(host))) == (200 if host in NAMES_OF_US + ADDRESSES else 421)


def test_one_host_is_needed_and_not_two(where: tuple[str, int]) -> None:
    """Only HTTP/1.0, which no browser speaks, may do without."""
    assert status_of(said(where, b"GET / HTTP/1.1\r\n\r\n")) == 400
    assert status_of(said(where, b"GET / HTTP/1.0\r\n\r\n")) == 200
    for version in (b"1.0", b"1.1"):
        twice = b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nhost: localhost\r\n\r\n"
        assert status_of(said(where, twice)) == 400


# --- other protocols ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /\r\n",
        b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/2\r\nHost: localhost\r\n\r\n",
        b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\rHost: localhost\r\r\n\r\n",
        b"\r\n\r\n",
        b"\0" * 100,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" * 20,
    ],
)
def test_what_is_no_request_of_http_1_is_refused_at_once(where: tuple[str, int], request_: bytes) -> None:
    """Also what would never come to an end of its headers; and the next client is answered."""
    assert status_of(said(where, request_)) == 400
    assert status_of(said(where, get("localhost"))) == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nX:" + b" " * 8000 + b"\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nX:" + b" a" * 4000 + b"\0\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x" * 8000 + b"\r\n\r\n",
        b"GET /" + b"x" * 8000 + b"\0 HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"a." * 4000 + b"\xff\r\n\r\n",
        b"GET / HTTP/1.1" + b"\r\n\r" * 2000 + b"\n\n",
    ],
)
def test_no_request_takes_long_to_be_understood(where: tuple[str, int], head: bytes) -> None:
    """A pattern that goes back and forth over a line would stop the looks too, for as long as it takes."""
    assert status_of(said(where, head)) in (400, 421)


def test_blanks_around_a_header_are_no_part_of_it(where: tuple[str, int]) -> None:
    assert status_of(said(where, b"GET / HTTP/1.1\r\nHost:\t localhost \t\r\nX:\r\n\r\n")) == 200


def test_headers_without_an_end_are_refused(where: tuple[str, int]) -> None:
    line = b"X-Header: " + b"x" * 90 + b"\r\n"
    for request in (b"GET / HTTP/1.1\r\n" + line * 200, b"GET /" + b"x" * 20_000):
        assert status_of(said(where, request)) == 431


def test_what_comes_after_a_request_is_no_second_one(where: tuple[str, int]) -> None:
    """Also in the same packet; and nobody is asked for a body."""
    assert said(where, get("localhost", path="/a") + get("localhost", path="/b")).count(b"HTTP/1.1 ") == 1
    expecting = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    assert status_of(said(where, expecting)) == 200


def test_a_request_without_an_end_has_no_answer(where: tuple[str, int]) -> None:
    for request in (b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost\r\n"):
        with closing(connected(where)) as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            assert rest_of(sock) == b""


def test_a_client_that_goes_is_no_matter(where: tuple[str, int]) -> None:
    for request in (b"", b"GET", get("localhost"), get("localhost", path="/huge")):
        with connected(where) as sock:
            sock.sendall(request)
    assert status_of(said(where, get("localhost"))) == 200


# --- a hostile client ---------------------------------------------------------------------------------------

GOOD = (
    get("localhost"),
    get("127.0.0.1:9109", "HEAD", "/metrics?x=y"),
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*;q=0.8\r\nCookie: a=b\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello",
)
EVIL = (
    get("evil.example"),
    b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    b"GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"GET / HTTP/1.1\r\nX: y\r\n Host: localhost\r\nHost: evil.example\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\n" * 20,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
)
PIECES = (
    b"\0",
    b"\r",
    b"\n",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"%00",
    b"\x85",
    b"\xff",
    b"Host: ",
    b"x" * 9000,
)


def mutated(chance: random.Random) -> bytes:
    """Return a request that something has happened to, up to four times."""
    request = chance.choice(GOOD + EVIL)
    for _ in range(chance.randrange(5)):
        start, end = sorted(chance.randrange(len(request) + 1) for _ in range(2))
        piece = chance.choice((*PIECES, request[start:end], bytes([chance.randrange(256)])))
        request = request[:start] + piece + request[chance.choice((start, end)) :]
    return request


def names_another(request: bytes) -> bool:
    """Return whether a header line of a request, read as loosely as can be, names a host that is not ours."""
    head = re.split(rb"\r?\n\r?\n", request, maxsplit=1)[0]
    hosts = re.findall(rb"(?im)^[ \t]*host[ \t]*:[ \t]*([^\r\n]*)", head)
    ours = rb"[ \t]*(?:localhost|127\.0\.0\.1)\.?(?::[0-9]*)?[ \t]*"
    return any(not re.fullmatch(ours, host, re.I) for host in hosts)


@pytest.mark.long
def test_no_mutated_request_gets_more_than_one_answer(
    where: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is sent: one whole answer or none, never for another host, and the next client has its own."""
    chance, found = random.Random(12), set()  # noqa: S311
    for number in range(6000):
        request = mutated(chance)
        with closing(connected(where)) as sock:
            with suppress(ConnectionError):  # so much that it is not read to its end
                sock.sendall(request)
                sock.shutdown(socket.SHUT_WR)
            reply = rest_of(sock)
        if reply:
            found.add(status := status_of(reply))
            head, _, body = reply.partition(b"\r\n\r\n")
            told = re.search(rb"\r\nContent-Length: ([0-9]+)\r\n", head)
            assert told is not None, request
            assert len(body) == (0 if request.startswith(b"HEAD ") else int(told[1])), request
            assert not (status == 200 and names_another(request)), request
        if number % 100 == 0:
            assert status_of(said(where, get("localhost"))) == 200
    assert found == {200, 400, 405, 421, 431}
    assert caplog.messages == []


def handlers() -> int:
    """Return how many threads serve connections, also to servers of other tests."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def test_one_connection_too_many_makes_the_oldest_go(where: tuple[str, int]) -> None:
    """Idle clients, however many, cost 32 threads at most, and another client is answered."""
    others = handlers()
    with ExitStack() as kept:
        many = [kept.enter_context(connected(where)) for _ in range(150)]
        for sock in many[-http_server.MOST_CONNECTIONS + 1 :]:
            sock.sendall(b"GET / HTTP/1.1\r\n")
        assert status_of(said(where, get("localhost"))) == 200
        assert rest_of(many[0]) == b""
        many[-1].sendall(b"Host: localhost\r\n\r\n")
        assert status_of(rest_of(many[-1])) == 200
        assert handlers() - others <= http_server.MOST_CONNECTIONS + 1  # one may be about to end


def test_an_answer_that_takes_long_makes_no_second_one_and_no_more_threads() -> None:
    """However many ask for it meanwhile: it is made for one after the other, and the others wait outside."""
    go_on, at_work, most, others = threading.Event(), [0], [0], handlers()

    def slow(request: Request) -> Reply:
        at_work[0] += 1
        most[0] = max(most[0], at_work[0])
        go_on.wait(PATIENCE_S)
        at_work[0] -= 1
        return answer(request)

    where = "127.0.0.1", free_port()
    with closing(Server(where, slow, NAMES.__contains__)), ExitStack() as kept:
        for _ in range(100):
            kept.enter_context(connected(where)).sendall(get("localhost"))
        wait_until(lambda: handlers() - others >= http_server.MOST_CONNECTIONS, "all threads are at work")
        time.sleep(0.2)  # in which one more would begin
        assert handlers() - others <= http_server.MOST_CONNECTIONS + 1
        go_on.set()
        assert status_of(said(where, get("localhost"))) == 200
    assert most == [1]


@pytest.mark.parametrize("request_", [b"GET / HTTP/1.1\r\nX: ", b"POST / HTTP/1.1\r\n\r\n"])
def test_a_byte_at_a_time_does_not_put_the_end_off(
    where: tuple[str, int], monkeypatch: pytest.MonkeyPatch, request_: bytes
) -> None:
    """Neither in a request nor after its answer, in what is thrown away."""
    monkeypatch.setattr(http_server, "DEADLINE_S", 0.5)
    with closing(connected(where)) as sock:
        sock.sendall(request_)
        with pytest.raises(ConnectionError):
            for _ in range(PATIENCE_S * 100):
                sock.sendall(b"x")
                time.sleep(0.01)


def resident_kib() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def test_slow_takers_hold_one_copy_of_an_answer_until_their_end(
    where: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """32 of them cost no more memory than one; a client that reads gets the whole answer meanwhile."""
    others = handlers()
    with ExitStack() as kept:
        before = resident_kib()
        for _ in range(http_server.MOST_CONNECTIONS - 1):
            sock = kept.enter_context(connected(where))
            sock.sendall(get("localhost", path="/huge"))
            assert sock.recv(1) == b"H"
        assert resident_kib() - before < HUGE // 1024
        assert len(said(where, get("localhost", path="/huge")).partition(b"\r\n\r\n")[2]) == HUGE
    monkeypatch.setattr(http_server, "DEADLINE_S", 0.5)
    with connected(where) as sock:
        sock.sendall(get("localhost", path="/huge"))
        assert sock.recv(1) == b"H"
        wait_until(lambda: handlers() <= others, "it is let go of")
        assert len(rest_of(sock)) < HUGE


# --- faults of ours -----------------------------------------------------------------------------------------


def test_what_cannot_be_shown_is_told_once_and_costs_nobody_else_an_answer(
    where: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log; the client learns nothing of it."""
    with closing(connected(where)) as other:
        other.sendall(b"GET / HTTP/1.1\r\n")
        for path in ("/broken", "/broken", "/absent"):
            reply = said(where, get("localhost", path=path))
            assert status_of(reply) == 500
            assert reply.endswith(b"\r\n\r\nthis cannot be shown; the daemon's log says why\n")
        other.sendall(b"Host: localhost\r\n\r\n")
        assert status_of(rest_of(other)) == 200
    assert [record.getMessage() for record in caplog.records] == ["http.crashed"] * 2
    assert "ZeroDivisionError" in caplog.text
    assert "FileNotFoundError" in caplog.text


@pytest.mark.process
def test_where_there_is_no_thread_left_nothing_stays_open() -> None:
    """As in a container that has reached its limit; the place is free for the next attempt."""
    script = f"""
import resource, socket
from pathlib import Path
from certbotless.service.http_server import Reply, Request, Server

where, no_limit = ("127.0.0.1", {free_port()}), resource.RLIM_INFINITY

def limit():
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (2 << 20), no_limit))

def ask():
    with socket.create_connection(where) as sock:
        sock.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
        try: return sock.recv(12)
        except ConnectionResetError: return b""

limit()
try: Server(where, lambda request: Reply(200, b""), bool)
except RuntimeError as exc: print(exc)
resource.setrlimit(resource.RLIMIT_AS, (no_limit, no_limit))
served = Server(where, lambda request: Reply(200, b""), bool)
limit()
print(ask())
resource.setrlimit(resource.RLIMIT_AS, (no_limit, no_limit))
print(ask(), served.is_alive)
served.close()
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    said = "can't start new thread\nb''\nb'HTTP/1.1 200' True\n"
    assert (done.returncode, done.stdout) == (0, said), done.stderr
    assert done.stderr.startswith("http.crashed\n")
    assert done.stderr.count("can't start new thread") == 1


def test_where_no_file_can_be_opened_a_client_waits(
    where: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a loop that takes a core for itself; and is answered as soon as one can."""
    caplog.set_level(logging.DEBUG)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(socket.socket()) as sock:
        taken = sock.fileno() + 1  # the lowest that is free, so no other one below it is
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, limit[1]))
        try:
            sock.settimeout(PATIENCE_S)
            sock.connect(where)
            sock.sendall(get("localhost"))
            wait_until(lambda: len(caplog.records) > 1, "it is not accepted")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
        assert status_of(rest_of(sock)) == 200
    assert {*caplog.messages} == {"http.not_accepted error=Too many open files"}
    assert len(caplog.messages) < 100


# --- its end ------------------------------------------------------------------------------------------------


def test_what_is_closed_leaves_its_place_at_once() -> None:
    """Also while somebody is connected; and a place that is taken is told."""
    others = handlers()
    with serving() as where:
        lingering = connected(where)
        with pytest.raises(OSError, match="Address already in use"):
            Server(where, answer, NAMES.__contains__)
        assert status_of(said(where, get("localhost"))) == 200
        # It is accepted by now, because a later client was.
    assert handlers() <= others
    assert rest_of(lingering) == b""
    lingering.close()
    with pytest.raises(ConnectionRefusedError):
        connected(where)
    again = Server(where, answer, NAMES.__contains__)
    assert not again.socket.get_inheritable()  # a child that outlives us would keep the place
    assert again.is_alive
    again.close()
    assert not again.is_alive
