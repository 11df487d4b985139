"""The server of the status page: what it answers, to whom, and that nobody can keep it from others."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest
from showing import free_port

from certbotless import server
from certbotless.server import Reply, Server

PATIENCE_S = 120
NAMES = ("registry.example.com",)
HUGE = 32 * 1024 * 1024


def answer(path: str) -> Reply:
    """Answer with the path, with more than any socket holds, or not at all."""
    if path == "/broken":
        1 / 0  # noqa: B018
    if path == "/unwritable":
        return Reply(200, "\udcff")
    return Reply(200, "x" * HUGE if path == "/huge" else f"{path}\n")


@contextmanager
def serving(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Serve for as long as the block runs."""
    where = host, free_port()
    served = Server(where, answer, lambda: NAMES)
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


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:9109",
        "127.0.0.1:9109",
        "10.0.0.5",
        "[::1]",
        "[fd00::5]:9109",
        "registry.example.com",
        "registry.example.com.:443",
        socket.gethostname(),
    ],
)
def test_an_address_and_our_own_names_are_answered(where: tuple[str, int], host: str) -> None:
    assert status_of(said(where, get(host))) == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "example.com", "xregistry.example.com", "1.2.3"]
)
def test_any_other_name_is_misdirected(where: tuple[str, int], host: str) -> None:
    """As when a site on the Internet lets its name lead to us, so that its scripts may read what we say."""
    assert status_of(said(where, get(host))) == 421


@pytest.mark.parametrize(
    "host", ["", "a b", "user@localhost", "[::1", "localhost:x", "localhost/", "lo\tcal"]
)
def test_a_host_that_makes_no_sense_is_refused(where: tuple[str, int], host: str) -> None:
    assert status_of(said(where, get(host))) == 400


def test_one_host_is_needed_and_not_two(where: tuple[str, int]) -> None:
    """Only HTTP/1.0, which no browser speaks, may do without."""
    assert status_of(said(where, b"GET / HTTP/1.1\r\n\r\n")) == 400
    assert status_of(said(where, b"GET / HTTP/1.0\r\n\r\n")) == 200
    for version in (b"1.0", b"1.1"):
        twice = b"GET / HTTP/" + version + b"\r\nHost: localhost\r\nhost: localhost\r\n\r\n"
        assert status_of(said(where, twice)) == 400


# --- who speaks something else ------------------------------------------------------------------------------


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
    assert status_of(said(where, head)) == 400


def test_blanks_around_a_header_are_no_part_of_it(where: tuple[str, int]) -> None:
    assert status_of(said(where, b"GET / HTTP/1.1\r\nHost:\t localhost \t\r\nX:\r\n\r\n")) == 200


def test_headers_without_an_end_are_refused(where: tuple[str, int]) -> None:
    line = b"X-Header: " + b"x" * 90 + b"\r\n"
    for request in (b"GET / HTTP/1.1\r\n" + line * 200, b"GET /" + b"x" * 20_000):
        assert status_of(said(where, request)) == 431


def test_a_client_that_goes_is_no_matter(where: tuple[str, int]) -> None:
    for request in (b"", b"GET", get("localhost"), get("localhost", path="/huge")):
        with connected(where) as sock:
            sock.sendall(request)
    assert status_of(said(where, get("localhost"))) == 200


# --- who takes too long -------------------------------------------------------------------------------------


def test_one_connection_too_many_makes_the_oldest_go(where: tuple[str, int]) -> None:
    """However many there are that send nothing: who asks is answered."""
    many = [connected(where) for _ in range(3 * server._MOST_CONNECTIONS)]
    try:
        for sock in many[-server._MOST_CONNECTIONS + 1 :]:
            sock.sendall(b"GET / HTTP/1.1\r\n")
        assert status_of(said(where, get("localhost"))) == 200
        assert rest_of(many[0]) == b""
        many[-1].sendall(b"Host: localhost\r\n\r\n")
        assert status_of(rest_of(many[-1])) == 200
    finally:
        for sock in many:
            sock.close()


def test_a_request_that_drips_in_ends_at_its_deadline(
    where: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes soon after the last, and still it is no use to go on."""
    monkeypatch.setattr(server, "_DEADLINE_S", 0.5)
    sent = 0
    with closing(connected(where)) as sock, suppress(ConnectionError):
        sock.settimeout(0.05)
        sock.sendall(b"GET / HTTP/1.1\r\nX: ")
        while sent < PATIENCE_S / 0.05:
            sock.sendall(b"x")
            sent += 1
            with suppress(TimeoutError):
                assert sock.recv(1) == b""
                break
    assert 0 < sent < PATIENCE_S / 0.05


def test_answers_that_nobody_takes_are_let_go_of(where: tuple[str, int]) -> None:
    """So what waits to be sent stays bounded; who takes what he asked for gets all of it."""
    slow = [connected(where) for _ in range(3)]
    try:
        for sock in slow:
            sock.sendall(get("localhost", path="/huge"))
            assert sock.recv(1) == b"H"
        reply = said(where, get("localhost", path="/huge"))
        assert len(reply.partition(b"\r\n\r\n")[2]) == HUGE
        assert len(rest_of(slow[0])) < HUGE
    finally:
        for sock in slow:
            sock.close()


# --- faults of ours -----------------------------------------------------------------------------------------


def test_what_cannot_be_shown_is_told_once_and_costs_nobody_else_his_answer(
    where: tuple[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    """The traceback is in the log; the client learns nothing of it."""
    with closing(connected(where)) as other:
        other.sendall(b"GET / HTTP/1.1\r\n")
        for path in ("/broken", "/broken", "/unwritable"):
            reply = said(where, get("localhost", path=path))
            assert status_of(reply) == 500
            assert reply.endswith(b"\r\n\r\nthis cannot be shown; the daemon's log says why\n")
        other.sendall(b"Host: localhost\r\n\r\n")
        assert status_of(rest_of(other)) == 200
    assert [record.getMessage() for record in caplog.records] == ["page.crashed"] * 2
    assert "ZeroDivisionError" in caplog.text
    assert "UnicodeEncodeError" in caplog.text


def test_where_there_is_no_thread_left_nothing_stays_open() -> None:
    """As in a container that has reached its limit; the place is free for the next attempt."""
    script = (
        "import resource; from pathlib import Path; from certbotless.server import Reply, Server\n"
        f"where = '127.0.0.1', {free_port()}\n"
        "size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize() + (2 << 20)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))\n"
        "try: Server(where, lambda path: Reply(200, ''), tuple)\n"
        "except RuntimeError as exc: print(exc)\n"
        "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "Server(where, lambda path: Reply(200, ''), tuple).close()"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "can't start new thread\n", "")


# --- its end ------------------------------------------------------------------------------------------------


def test_what_is_closed_leaves_its_place_at_once() -> None:
    """Also while somebody is connected; and a place that is taken is told."""
    with serving() as where:
        lingering = connected(where)
        with pytest.raises(OSError, match="Address already in use"):
            Server(where, answer, lambda: NAMES)
        assert status_of(said(where, get("localhost"))) == 200
        # It is accepted by now, as whoever came after it was.
    assert rest_of(lingering) == b""
    lingering.close()
    with pytest.raises(ConnectionRefusedError):
        connected(where)
    again = Server(where, answer, lambda: NAMES)
    assert not again._listener.get_inheritable()  # a child that outlives us would keep the place
    assert again.is_alive
    again.close()
    assert not again.is_alive
