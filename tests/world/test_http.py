"""One HTTP exchange within bounds: what an honest server gives is taken, and nothing else holds us up."""

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from support.fakes import FakeClock, HttpServer, Reply
from support.listeners import listening

from certbotless.base.clock import SystemClock
from certbotless.base.errors import Interrupted
from certbotless.world.http import MAX_ANSWER_BYTES, BadAnswer, BoundedSession, retry_after

TOTAL_S = 30
OK = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def sending(serve: Callable[[socket.socket], object]) -> Iterator[str]:
    """A server that sends what a test wants, past all rules of HTTP, to one request after the other."""

    def talk(connection: socket.socket) -> None:
        if connection.recv(65536):
            serve(connection)

    with listening(talk) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def session(clock: FakeClock) -> Iterator[BoundedSession]:
    with BoundedSession(clock) as session:
        yield session


@contextmanager
def refused(words: str) -> Iterator[None]:
    with pytest.raises(BadAnswer, match=words) as bad:
        yield
    assert str(bad.value).isprintable()
    assert len(str(bad.value)) < 300


# --- an honest server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 300_000, MAX_ANSWER_BYTES - 1000])
def test_an_answer_is_taken_whole(session: BoundedSession, size: int) -> None:
    body = b"x" * size
    with HttpServer(lambda _: Reply(200, body, {"X-Kept": "yes"})) as server:
        response = session.get(server.url, timeout=TOTAL_S)
    assert (response.status_code, response.content, response.headers["X-Kept"]) == (200, body, "yes")


def test_an_answer_in_chunks_is_taken_whole(session: BoundedSession) -> None:
    parts = OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"3\r\nabc\r\n" * 2 + b"0\r\n\r\n"
    with sending(lambda connection: connection.sendall(parts)) as url:
        assert session.get(url, timeout=TOTAL_S).content == b"abcabc"


def test_a_connection_serves_for_one_request_after_the_other(session: BoundedSession) -> None:
    served: list[socket.socket] = []

    def serve(connection: socket.socket) -> None:
        served.append(connection)
        for _ in range(3):
            connection.sendall(OK + b"Content-Length: 2\r\n\r\nok")
            connection.recv(65536)

    with sending(serve) as url:
        assert [session.get(url, timeout=TOTAL_S).content for _ in range(3)] == [b"ok"] * 3
        session.close()
    assert len(served) == 1


def test_nothing_packed_is_asked_for_and_no_secret_of_other_programs_told(
    session: BoundedSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password a-password\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with HttpServer(lambda _: Reply()) as server:
        headers = session.get(server.url, timeout=TOTAL_S).request.headers
    assert headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers


# --- time ---------------------------------------------------------------------------------------------------


def endless(
    head: bytes, part: bytes, clock: FakeClock, pause_s: float = 0
) -> Callable[[socket.socket], None]:
    """Send a head, then `part` again and again, each after this pause."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            clock.advance(pause_s)
            connection.sendall(part)

    return serve


DRIPS = {
    "a status line": (b"HTTP/1.1 2", b"0"),
    "one header": (OK + b"X-Long: ", b"a"),
    "many headers": (OK, b"X-Long: a\r\n"),
    "a body": (OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "a body without an end": (OK + b"\r\n", b"x"),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "promises": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a redirect's body": (b"HTTP/1.1 302 Found\r\nLocation: /\r\nX-Long: ", b"a"),
}


@pytest.mark.row(74)
@pytest.mark.parametrize(("head", "drip"), DRIPS.values(), ids=DRIPS.keys())
def test_an_answer_that_drips_in_is_given_up_at_the_deadline(
    session: BoundedSession, clock: FakeClock, head: bytes, drip: bytes
) -> None:
    """A hundred headers are the library's own limit, which comes first or later."""
    with sending(endless(head, drip, clock, pause_s=1)) as url:
        with pytest.raises(requests.RequestException) as late:
            session.get(url, timeout=TOTAL_S)
        session.close()
    if head != OK:
        assert str(late.value) == f"no whole answer in {TOTAL_S} s"


def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    ended = threading.Event()
    with sending(lambda _: ended.wait()) as url:
        with BoundedSession(SystemClock()) as session, refused("no whole answer in 0 s"):
            session.get(url, timeout=0.1)
        ended.set()


@contextmanager
def black_holes(port: int, *addresses: str) -> Iterator[None]:
    """Addresses at which a connection to this port is neither made nor refused: the queue is full."""
    with ExitStack() as stack:
        for address in addresses:
            listener = stack.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield


def test_addresses_that_lead_nowhere_leave_time_for_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the IPv6 addresses of a host do in a network whose IPv6 is broken: they are tried first."""
    holes, known = ["127.0.0.2", "127.0.0.3"], socket.getaddrinfo

    def found(host: str, *args: object, **kwargs: object) -> list[object]:
        addresses = [*holes, "127.0.0.1"] if host == "api.test" else [host]
        return [info for each in addresses for info in known(each, *args, **kwargs)]  # type: ignore[arg-type]

    with HttpServer(lambda _: Reply(200, b"whole")) as server:
        monkeypatch.setattr(socket, "getaddrinfo", found)
        port = urlsplit(server.url).port or 0
        with black_holes(port, *holes), BoundedSession(SystemClock()) as session:
            assert session.get(f"http://api.test:{port}/", timeout=4).content == b"whole"


@pytest.mark.parametrize("answers", [False, True])
def test_the_name_of_a_host_is_looked_up_once(answers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the first resolver is away, a look-up takes 5 s, and where all are, up to 30 s."""
    known, asked = socket.getaddrinfo, []

    def found(host: str, *args: object, **kwargs: object) -> list[object]:
        if host == "api.test":
            asked.append(host)
            if not answers:
                raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
            host = "127.0.0.1"
        return [*known(host, *args, **kwargs)]  # type: ignore[arg-type]

    with HttpServer(lambda _: Reply(200, b"whole")) as server, BoundedSession(SystemClock()) as session:
        monkeypatch.setattr(socket, "getaddrinfo", found)
        url = f"http://api.test:{urlsplit(server.url).port}/"
        if answers:
            assert session.get(url, timeout=4).content == b"whole"
        else:
            with pytest.raises(requests.ConnectionError):
                session.get(url, timeout=4)
    assert asked == ["api.test"]


@pytest.mark.row(5)
def test_a_stop_does_not_wait_for_a_server_that_says_nothing() -> None:
    ended, clock = threading.Event(), SystemClock()
    with sending(lambda _: ended.wait()) as url:
        clock.stop()
        with BoundedSession(clock) as session, pytest.raises(Interrupted):
            session.get(url, timeout=3600)
        ended.set()


def test_each_exchange_has_its_time_anew(session: BoundedSession, clock: FakeClock) -> None:
    with HttpServer(lambda _: Reply(200, b"ok")) as server:
        for _ in range(3):
            clock.advance(TOTAL_S)
            assert session.get(server.url, timeout=TOTAL_S).content == b"ok"


# --- size, packing, redirects -------------------------------------------------------------------------------


TOO_LONG = f"its answer is longer than {MAX_ANSWER_BYTES} bytes"
ENDLESS = {
    "a body": (OK + b"Content-Length: 10737418240\r\n\r\n", b"x" * 65536, TOO_LONG),
    "a body of unknown length": (OK + b"\r\n", b"x" * 65536, TOO_LONG),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\nx\r\n", TOO_LONG),
    "promises": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, TOO_LONG),
    # The library would read it, to have the connection free, without any limit.
    "a redirect's body": (
        b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n",
        b"x" * 65536,
        "it redirects to '/'",
    ),
}


@pytest.mark.row(74)
@pytest.mark.parametrize(("head", "part", "told"), ENDLESS.values(), ids=ENDLESS.keys())
def test_no_more_than_the_limit_is_read_and_nothing_of_a_redirects_body(
    session: BoundedSession, clock: FakeClock, head: bytes, part: bytes, told: str
) -> None:
    with sending(endless(head, part, clock)) as url:
        with refused(told):
            session.get(url, timeout=TOTAL_S)
        session.close()


@pytest.mark.row(74)
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "GZIP, identity", "x-\x1b[31m"])
def test_what_is_packed_is_not_unpacked(session: BoundedSession, coding: str) -> None:
    bomb = gzip.compress(b" " * (1 << 24))
    with (
        HttpServer(lambda _: Reply(200, bomb, {"Content-Encoding": coding})) as server,
        refused("its answer is packed"),
    ):
        session.get(server.url, timeout=TOTAL_S)


def test_what_names_no_packing_is_read(session: BoundedSession) -> None:
    """Some servers send the header with nothing in it."""
    with HttpServer(lambda _: Reply(200, b"{}", {"Content-Encoding": ""})) as server:
        assert session.get(server.url, timeout=TOTAL_S).content == b"{}"


@pytest.mark.row(73)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_no_redirect_is_followed(session: BoundedSession, method: str, status: int) -> None:
    with HttpServer(lambda _: Reply()) as elsewhere:
        with (
            HttpServer(lambda _: Reply(status, b"", {"Location": f"{elsewhere.url}/a"})) as server,
            refused(f"it redirects to '{elsewhere.url}/a'"),
        ):
            session.request(method, server.url, timeout=TOTAL_S)
        assert elsewhere.requests == []


def test_half_an_answer_is_none(session: BoundedSession) -> None:
    half = OK + b"Content-Length: 10\r\n\r\n12345"
    with (
        sending(lambda connection: connection.sendall(half)) as url,
        pytest.raises(requests.RequestException),
    ):
        session.get(url, timeout=TOTAL_S)


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_an_error_of_the_library(said: bytes) -> None:
    with (
        sending(lambda connection: connection.sendall(said)) as url,
        BoundedSession(FakeClock()) as session,
        suppress(requests.RequestException),
    ):
        session.get(url, timeout=TOTAL_S)


# --- what an answer says of time ----------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
MOST = timedelta(hours=34)
RETRY_AFTER = {
    "": None,
    "0": timedelta(),
    "120": timedelta(minutes=2),
    "  ": None,
    "-5": None,
    "1.5": None,
    "soon": None,
    "1e3": None,
    "123456789": MOST,
    "9" * 12: MOST,
    "9" * 10_000: MOST,
    "Tue, 24 Nov 2026 05:31:00 GMT": timedelta(minutes=1),
    "Tue, 24 Nov 2026 05:31:00 -0000": timedelta(minutes=1),
    "Tue, 24 Nov 2026 13:31:00 +0800": timedelta(minutes=1),
    "Tuesday, 24-Nov-26 05:31:00 GMT": timedelta(minutes=1),
    "Tue, 24 Nov 2026 05:29:00 GMT": timedelta(),
    "Thu, 01 Jan 1970 00:00:00 GMT": timedelta(),
    "Sat, 24 Nov 2096 05:30:00 GMT": MOST,
    "Tue, 24 Nov 99999999999999999999 05:31:00 GMT": None,
    "Tue, 24 Nov 2026 05:31:00 +99999999999999999999": None,
    "Tue, 99 Nov 2026 05:31:00 GMT": None,
}


@pytest.fixture(params=[("UTC", 0), ("Asia/Shanghai", -8), ("America/New_York", 5)], ids=lambda zone: zone[0])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of the machine, which must know it: hours west of Greenwich tell."""
    zone, west_h = request.param
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    assert time.timezone == west_h * 3600
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.row(46)
@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize(("text", "wait"), RETRY_AFTER.items(), ids=[text[:40] for text in RETRY_AFTER])
def test_a_wait_is_read_alike_in_every_time_zone(text: str, wait: timedelta | None) -> None:
    """Neither a busy loop east of Greenwich nor hours of waiting west of it."""
    assert retry_after(text, NOW, MOST) == wait


@given(st.text() | st.text("0123456789 :GMTueNov,+-", max_size=40))
def test_no_text_asks_for_less_than_nothing_or_for_ever(text: str) -> None:
    wait = retry_after(text, NOW, MOST)
    assert wait is None or timedelta() <= wait <= MOST
