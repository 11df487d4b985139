"""The HTTP server of the daemon's pages: read-only, with bounds on the head, the connections and their time.

It knows nothing of the pages. Any client may connect: a browser that another website sends here, a slow or
hostile client, a client of another protocol. The `http.server` of the standard library reads a megabyte of
headers, accepts what is only half HTTP, and never ends a request whose bytes arrive one at a time.

Source: RFC 9110 (methods, 421, Allow), RFC 9112 sections 2.2, 3 and 9.6 (request line, Host, closing).
"""

import errno
import ipaddress
import logging
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

logger = logging.getLogger(__name__)

# Bytes of a request, and of what is thrown away after the answer, as the body of a refused POST.
_MOST_HEAD, _MOST_REST = 8192, 256 * 1024
# From the begin of a connection to its end, however slowly bytes arrive or are read.
DEADLINE_S = 10.0
# One more ends the oldest, which is the slowest: an answer takes milliseconds.
MOST_CONNECTIONS = 32
# Where no connection can be accepted, because no file descriptor is left, the clients wait in the backlog.
_PAUSE_S = 0.2
# How often the thread wakes while nobody connects. Its end does not wait for that: `close` wakes it.
_IDLE_S = 3600.0
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = rb"([A-Z]{1,20}) (/[!-~]*) HTTP/(1\.[0-9])\r?\n"
# No two repeats of it can take the same byte, so a head that does not match is refused after one pass.
_HEAD = re.compile(_REQUEST_LINE + rb"(?:[!-9;-~]+:[\t -~\x80-\xff]*\r?\n)*\r?\n")
_START = re.compile(_REQUEST_LINE + rb"|[A-Z][^\n]*\Z")
_HOST_FIELD = re.compile(rb"(?im)^Host:([^\r\n]*)")
_LANGUAGE_FIELD = re.compile(rb"(?im)^Accept-Language:([^\r\n]*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")
# Nothing is kept, framed, sniffed, or told to other sites.
_FIELDS = {
    "Connection": "close",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for. It may be anything: only the host was checked.

    Attributes:
        path: without its query, which is what comes after the first `?`. Both are printable ASCII.
        host: under which name or address we are asked, with the port as it was given; empty where none is.
        languages: of the client's person, as Accept-Language has them.
    """

    path: str
    query: str = ""
    host: str = ""
    languages: str = ""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer.

    Attributes:
        body: as it is sent. Connections share it, so slow clients hold one copy of an answer and not 32.
        style: the source of styles in Content-Security-Policy, which allows nothing else.
    """

    status: int
    body: bytes
    type: str = "text/plain; charset=utf-8"
    style: str = "'none'"


class Server(socketserver.ThreadingTCPServer):
    """Answers at one address until it is closed, once for each connection.

    `http.server.HTTPServer` would ask the resolver for the name of its address.

    Args:
        where: address and port.
        answer: returns the answer to a request. It must be quick. One thread calls it.
        is_named: returns whether a host name is ours, beside `localhost` and the name of this machine.

    Raises:
        OSError: it cannot listen there.
    """

    allow_reuse_address = True  # a connection closed just before may still be in TIME_WAIT
    request_queue_size = 128

    def __init__(
        self, where: tuple[str, int], answer: Callable[[Request], Reply], is_named: Callable[[str], bool]
    ) -> None:
        self._answer = answer
        self._is_named = is_named
        self._fault = ""
        # Makes all answers, one at a time, so the allocator keeps the memory of a large one in one arena.
        self._maker = ThreadPoolExecutor(1, "answer")
        self._open: dict[socket.socket, None] = {}  # the oldest first
        self._ended = threading.Condition()  # guards `_open`; some connection has ended
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        super().__init__(where, _Handler)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_IDLE_S,), name="server", daemon=True
        )
        try:
            self._thread.start()
        except BaseException:  # the machine has no thread left
            self.server_close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening; open connections get no answer."""
        _cut(self.socket)  # which wakes the thread
        self.shutdown()
        self._thread.join()
        with self._ended:
            for connection in self._open:
                _cut(connection)
        self.server_close()  # waits for the threads of the connections
        self._maker.shutdown()

    def is_ours(self, host: str) -> bool:
        """Return whether a Host header names us.

        A website may let its own name lead to our address (DNS rebinding). Its scripts could then read our
        answers. A client that uses the address as the host is no such browser.
        """
        match = _HOST.fullmatch(host)
        name = match[1].lower().removesuffix(".") if match else ""
        with suppress(ValueError):
            ipaddress.ip_address(name.strip("[]"))
            return True
        return name in {"localhost", socket.gethostname().lower()} or (bool(name) and self._is_named(name))

    def answer(self, request: Request) -> Reply:
        """Return the answer. A fault of ours is logged once and affects no other connection."""
        try:
            return self._maker.submit(self._answer, request).result()
        except Exception as exc:  # noqa: BLE001  (other connections are answered all the same)
            self._log_fault(exc)
            return _text(500, "this cannot be shown; the daemon's log says why")

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            return super().get_request()
        except OSError as exc:
            if exc.errno != errno.EINVAL:  # which says that it is closed
                logger.debug("http.not_accepted error=%s", exc.strerror)
                time.sleep(_PAUSE_S)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._ended:
            if len(self._open) >= MOST_CONNECTIONS:
                _cut(next(iter(self._open)))
                # Threads are bounded as well: its thread ends before another one begins.
                self._ended.wait_for(lambda: len(self._open) < MOST_CONNECTIONS)
            self._open[request] = None
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._ended:
            self._open.pop(request, None)
            super().shutdown_request(request)
            self._ended.notify()

    def handle_error(self, request: Any, client_address: Any) -> None:
        exc = sys.exception()
        if isinstance(exc, OSError):
            logger.debug("http.connection_lost error=%s", exc.strerror or exc)
        else:
            self._log_fault(exc)

    def _log_fault(self, exc: BaseException | None) -> None:
        if (fault := repr(exc)) != self._fault:
            self._fault = fault
            logger.error("http.crashed", exc_info=exc)


class _Handler(socketserver.BaseRequestHandler):
    """One connection: the head of a request, our answer, and the rest of the request."""

    server: Server

    def handle(self) -> None:
        self._deadline_s = time.monotonic() + DEADLINE_S
        head = self._read_head()
        self._send(self._reply_to(head), has_body=not head.startswith(b"HEAD "))
        self._skim()

    def _read_head(self) -> bytes:
        """Return the head, or the part of it that shows that it is none or too long. Raises OSError."""
        received = b""
        while chunk := self._receive(_MOST_HEAD + 1 - len(received)):
            received += chunk
            if (end := _END_OF_HEAD.search(received)) is not None:
                return received[: end.end()]
            # TLS, HTTP/2 and the like never come to the end of a head.
            if len(received) > _MOST_HEAD or not _START.match(received):
                return received
        raise ConnectionAbortedError(0, "the client has disconnected")

    def _receive(self, most: int) -> bytes:
        self._limit_wait()
        chunk: bytes = self.request.recv(most)
        return chunk

    def _limit_wait(self) -> None:
        """Let the next call on the connection end at its deadline. Raises TimeoutError."""
        left_s = self._deadline_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError(0, "the client is too slow")
        self.request.settimeout(left_s)

    def _reply_to(self, head: bytes) -> Reply:
        if len(head) > _MOST_HEAD:
            return _text(431, f"more than {_MOST_HEAD} bytes of headers")
        match = _HEAD.fullmatch(head)
        if match is None:
            return _text(400, "this is not a request of HTTP/1.1")
        method, path, version = match.groups()
        if method not in (b"GET", b"HEAD"):
            return _text(405, "this page is read-only")
        hosts = _HOST_FIELD.findall(head)
        if len(hosts) > 1 or (not hosts and version != b"1.0"):
            return _text(400, "there must be one Host header")
        host = hosts[0].decode("latin-1").strip(" \t") if hosts else ""
        if hosts and not self.server.is_ours(host):
            return _text(421, "no page is shown under this name; use the address, or a name of a site")
        bare, _, query = path.decode().partition("?")
        languages = _LANGUAGE_FIELD.search(head)
        return self.server.answer(
            Request(bare, query, host, languages[1].decode("latin-1") if languages else "")
        )

    def _send(self, reply: Reply, *, has_body: bool) -> None:
        fields = {
            "Date": formatdate(usegmt=True),
            "Content-Type": reply.type,
            "Content-Length": str(len(reply.body)),
            **_FIELDS,
            "Content-Security-Policy": f"default-src 'none'; style-src {reply.style}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'",
        }
        if reply.status == 405:
            fields["Allow"] = "GET, HEAD"
        status = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"
        lines = [status, *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        self._limit_wait()
        self.request.sendall("\r\n".join(lines).encode())
        if has_body:
            self._limit_wait()
            self.request.sendall(reply.body)

    def _skim(self) -> None:
        """Read the rest and drop it. A close with unread bytes could cost the client the answer."""
        self.request.shutdown(socket.SHUT_WR)
        left = _MOST_REST
        while left > 0 and (chunk := self._receive(_MOST_HEAD)):
            left -= len(chunk)


def _text(status: int, text: str) -> Reply:
    return Reply(status, f"{text}\n".encode())


def _cut(connection: socket.socket) -> None:
    """Wake the thread that waits at a socket: it closes it."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
