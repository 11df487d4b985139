"""A small HTTP server that can only be read from: one thread, bounded in everything, one answer a connection.

It knows nothing of what it serves. Whoever connects may be anybody: a browser that another site has led here,
a slow or a hostile client, one that speaks something else. `http.server` has a thread for each of them, reads
a megabyte of headers, and knows no end of a request that drips in.

Source: RFC 9110 (methods, 421, Allow), RFC 9112 sections 2.2, 3 and 9.6 (request line, Host, closing).
"""

from __future__ import annotations

import ipaddress
import logging
import re
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import printable

logger = logging.getLogger(__name__)

# All of a request, and what more of it is thrown away after the answer, as the body of a refused POST.
_MOST_HEAD, _MOST_REST = 8192, 256 * 1024
# From the connection to its end, however the bytes drip in or are taken.
_DEADLINE_S = 10.0
# One more makes the oldest of them go, which is the slowest: an answer takes milliseconds.
_MOST_CONNECTIONS = 32
# Of all answers that clients are slow to take: enough for the pages of a thousand sites.
_MOST_UNSENT = 16 * 1024 * 1024
# Where no connection can be taken, as no file descriptor is left, it waits at the door.
_PAUSE_S = 0.2
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.([0-9])")
# No two of its repeats can take the same byte: a line that does not match is done with after one pass.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t -~\x80-\xff]*)")
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]*)?")
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    421: "Misdirected Request",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}
# Nothing is kept, framed, sniffed, or told to other sites.
_FIELDS = (
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "X-Frame-Options: DENY",
    "Referrer-Policy: no-referrer",
    "Cross-Origin-Resource-Policy: same-origin",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered.

    Attributes:
        body: text; it is sent as UTF-8.
        style: what Content-Security-Policy lets style it; all else is forbidden to it anyway.
        further: header lines that only this answer has.
    """

    status: int
    body: str
    type: str = "text/plain; charset=utf-8"
    style: str = "'none'"
    further: tuple[str, ...] = ()

    def encoded(self, *, has_body: bool) -> bytes:
        """Return the whole answer, or all of it but the body."""
        body = self.body.encode()
        lines = [
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}",
            f"Date: {datetime.now(UTC):%a, %d %b %Y %H:%M:%S} GMT",
            f"Content-Type: {self.type}",
            f"Content-Length: {len(body)}",
            "Connection: close",
            *_FIELDS,
            f"Content-Security-Policy: default-src 'none'; style-src {self.style}; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'",
            *self.further,
        ]
        return "\r\n".join([*lines, "", ""]).encode() + (body if has_body else b"")


class Server:
    """Answers at one address, from when it is made until it is closed.

    Args:
        where: address and port.
        answer: from the path of a request, without its query, to what is answered. It must be quick.
        names: the host names that are ours now, beside `localhost` and this machine's own.

    Raises:
        OSError: nothing can be opened there.
    """

    def __init__(
        self, where: tuple[str, int], answer: Callable[[str], Reply], names: Callable[[], Iterable[str]]
    ) -> None:
        self._answer = answer
        self._names = names
        self._listener = _listener(where)
        self._connections: list[_Connection] = []  # the oldest first
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._is_closing = False
        self._fault = ""
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        try:
            self._thread.start()
        except BaseException:  # the machine has no thread left
            self._selector.close()
            self._listener.close()
            raise

    @property
    def is_alive(self) -> bool:
        """Whether it still answers."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Stop listening; whoever is connected is left without an answer."""
        self._is_closing = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # which wakes the thread
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._is_closing:
                now_s = time.monotonic()
                while self._connections and self._connections[0].deadline_s <= now_s:
                    self._drop(self._connections[0])
                wait_s = self._connections[0].deadline_s - now_s if self._connections else None
                for key, _ in self._selector.select(wait_s):
                    connection = key.data
                    if connection is None:
                        self._accept()
                    elif connection in self._connections:  # it may have had to make room
                        self._go_on(connection)
        finally:
            for connection in [*self._connections]:
                self._drop(connection)
            self._selector.close()
            self._listener.close()

    def _accept(self) -> None:
        try:
            sock, _ = self._listener.accept()
        except ConnectionError:
            return
        except OSError as exc:
            if not self._is_closing:
                logger.debug("page.not_accepted error=%s", exc.strerror)
                time.sleep(_PAUSE_S)
            return
        sock.setblocking(False)
        if len(self._connections) >= _MOST_CONNECTIONS:
            self._drop(self._connections[0])
        connection = _Connection(sock, time.monotonic() + _DEADLINE_S)
        self._connections.append(connection)
        self._selector.register(sock, selectors.EVENT_READ, connection)

    def _go_on(self, connection: _Connection) -> None:
        """Read or write as much as can be without waiting."""
        try:
            if connection.to_send:
                is_sent = connection.send()
                if is_sent:
                    self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
            elif connection.is_answered:
                if not connection.skim():
                    self._drop(connection)
            elif (reply := self._reply(connection)) is not None:
                self._make_room(connection, len(reply))
                connection.answer(reply)
                self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)
        except BlockingIOError:
            pass  # it was said to be ready, and is not
        except OSError as exc:
            logger.debug("page.connection_lost error=%s", exc.strerror)
            self._drop(connection)

    def _reply(self, connection: _Connection) -> bytes | None:
        """Return the answer, or None while the request is not complete. Raises OSError."""
        head = connection.read_head()
        if head is None:
            return None
        try:
            method, target, host = _parsed(head)
            self._check_host(host)
            if method not in ("GET", "HEAD"):
                raise _Refused(405, "this can only be read", "Allow: GET, HEAD")
            return self._answer(target.partition("?")[0]).encoded(has_body=method == "GET")
        except _Refused as refused:
            logger.debug("page.refused status=%d request=%s", refused.reply.status, printable(head, 80))
            reply = refused.reply
        except Exception as exc:
            # Whoever else is connected, or comes after, is answered all the same.
            if (fault := repr(exc)) != self._fault:
                self._fault = fault
                logger.exception("page.crashed")
            reply = Reply(500, "this cannot be shown; the daemon's log says why\n")
        return reply.encoded(has_body=not head.startswith(b"HEAD "))

    def _check_host(self, host: str | None) -> None:
        """Refuse who has come by a name that is not ours.

        A site on the Internet may let its own name lead to our address (DNS rebinding), and its scripts would
        read all that we answer. An address leads nobody astray.
        """
        if host is None:
            return
        match = _HOST.fullmatch(host)
        if match is None:
            raise _Refused(400, "the Host header makes no sense")
        name = match[1].lower().removesuffix(".")
        ours = {"localhost", socket.gethostname().lower(), *self._names()}
        if name not in ours and not _is_address(name.strip("[]")):
            raise _Refused(421, "no page is shown under this name; use the address, or a name of a site")

    def _make_room(self, connection: _Connection, coming: int) -> None:
        """Let go of who takes an answer too slowly, so that what waits to be sent stays bounded."""
        others = [other for other in self._connections if other is not connection and other.to_send]
        while others and coming + sum(len(other.to_send) for other in others) > _MOST_UNSENT:
            self._drop(others.pop(0))

    def _drop(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection.sock)
        connection.sock.close()


class _Connection:
    """One client: its request as far as it has come, then our answer as far as it has not gone."""

    def __init__(self, sock: socket.socket, deadline_s: float) -> None:
        self.sock = sock
        self.deadline_s = deadline_s
        self.is_answered = False
        self.to_send = memoryview(b"")
        self._received = b""
        self._skimmed = 0

    def read_head(self) -> bytes | None:
        """Return the head when it is complete, or enough to refuse it. Raises OSError."""
        chunk = self.sock.recv(_MOST_HEAD + 1 - len(self._received))
        if not chunk:
            raise ConnectionAbortedError(0, "the client has gone")
        self._received += chunk
        if (end := _END_OF_HEAD.search(self._received)) is not None:
            return self._received[: end.end()]
        line, newline, _ = self._received.partition(b"\n")
        # TLS, HTTP/2 and the like never come to the end of a head.
        is_other = newline and not _REQUEST_LINE.fullmatch(line.removesuffix(b"\r"))
        is_enough = is_other or not self._received[:1].isupper() or len(self._received) > _MOST_HEAD
        return self._received if is_enough else None

    def answer(self, reply: bytes) -> None:
        self.to_send, self.is_answered = memoryview(reply), True

    def send(self) -> bool:
        """Send some, and return whether that was all. Raises OSError."""
        self.to_send = self.to_send[self.sock.send(self.to_send) :]
        if self.to_send:
            return False
        self.sock.shutdown(socket.SHUT_WR)
        return True

    def skim(self) -> bool:
        """Throw away what still comes, and return whether there may be more. Raises OSError.

        To close with something unread would take the answer from the client as well.
        """
        chunk = self.sock.recv(_MOST_HEAD)
        self._skimmed += len(chunk)
        return bool(chunk) and self._skimmed < _MOST_REST


class _Refused(Exception):
    """A request that gets another answer than it asked for."""

    def __init__(self, status: int, text: str, *further: str) -> None:
        super().__init__(text)
        self.reply = Reply(status, f"{text}\n", further=further)


def _parsed(head: bytes) -> tuple[str, str, str | None]:
    """Return method, target and host of a request; the last is None in an HTTP/1.0 that has none.

    Raises:
        _Refused: it is too long, or no HTTP/1.
    """
    if len(head) > _MOST_HEAD:
        raise _Refused(431, f"more than {_MOST_HEAD} bytes of headers")
    first, *lines = _END_OF_HEAD.split(head, 1)[0].replace(b"\r\n", b"\n").split(b"\n")
    request, fields = _REQUEST_LINE.fullmatch(first), [_FIELD.fullmatch(line) for line in lines]
    if request is None or None in fields:
        raise _Refused(400, "this is no request of HTTP/1.1")
    hosts = [
        field[2].decode("latin-1").strip(" \t") for field in fields if field and field[1].lower() == b"host"
    ]
    if len(hosts) > 1 or (not hosts and request[3] != b"0"):
        raise _Refused(400, "there must be one Host header")
    return request[1].decode(), request[2].decode(), hosts[0] if hosts else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _listener(where: tuple[str, int]) -> socket.socket:
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)  # which no child inherits (PEP 446)
    try:
        # What has just been closed there is still on its way out.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(_MOST_CONNECTIONS)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener
