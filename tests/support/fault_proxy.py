"""A server before the CA or the DNS API that passes everything on, and does damage where a test says so.

    proxy.at("POST", "/order-plz", answer(503, b"overloaded"))             # the next one
    proxy.at("POST", "/finalize-order/", dropped(after_change=True), nth=2)  # the second one from now
    proxy.at("GET", "/", hung(), times=3)                                   # the next three of all GETs

Paths are compared by their start, without the query; for the DNS API `path` is the name of the action. Each
request counts for the first rule that means it and is not used up. What goes wrong is a function of an
`Exchange`, so a test may bring its own: ``proxy.at("GET", "/dir", lambda exchange: exchange.reset())``.

Both stand-ins build their URLs from the Host header, which is passed on as it came: so every further request
comes through here as well. HTTPS with a root of its own, `ca_bundle`.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self, cast
from urllib.parse import urlsplit

import trustme

from certbotless.sandbox.listener import TcpListener
from support.fakes import Reply
from support.scripted_ca import PROBLEM

# Named once in a message, and ours to say.
_HOP_BY_HOP = {"connection", "content-length", "transfer-encoding", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; `path` without its query, or the action of a call to the DNS API."""

    method: str
    path: str
    body: bytes


class Exchange:
    """One request in our hands: pass it on, answer it, or leave it without an answer.

    What only leaves the connection ends it; the next request comes on a new one.
    """

    def __init__(self, handler: _Handler, asked: Asked) -> None:
        self.asked = asked
        self._handler = handler

    @property
    def target(self) -> str:
        """What was asked for, with its query, as it came."""
        return self._handler.path

    def forward(self) -> Reply:
        """Have the request carried out, and return the true answer."""
        return self._handler.forward(self.asked)

    def send(self, answer: Reply, *, length: int | None = None) -> None:
        """Answer; `length` is what Content-Length says, where that is not true."""
        self._handler.send_answer(answer, len(answer.body) if length is None else length)

    def write(self, data: bytes) -> None:
        """Send bytes past all rules of HTTP, such as a part of a body."""
        self._handler.wfile.write(data)
        self._handler.wfile.flush()

    def pause(self, seconds: float) -> None:
        """Let time pass; cut short at the end of the test."""
        self._handler.proxy.ending.wait(seconds)

    def hang(self) -> None:
        """Say nothing, and keep the connection, until the test ends."""
        self._handler.proxy.ending.wait()
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection in order (FIN)."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Tear the connection down (RST)."""
        self._handler.close_connection = True
        connection = self._handler.connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(connection.detach())

    def go_down(self) -> None:
        """Give no answer, and refuse every later connection, until `FaultProxy.come_back`."""
        self._handler.proxy.go_down()
        self.hang_up()


Fault = Callable[[Exchange], object]


def answer(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Fault:
    """Answer in the place of the server, which never hears of it."""
    return lambda exchange: exchange.send(Reply(status, body, headers or {}))


def problem(
    kind: str, status: int = 400, headers: Mapping[str, str] | None = None, **fields: object
) -> Fault:
    """Answer with a problem document of ACME (RFC 8555 section 6.7), which has these fields too."""
    document = {"type": f"{PROBLEM}{kind}", "detail": "so the proxy says", **fields}
    kind_of_text = {"Content-Type": "application/problem+json"}
    return answer(status, json.dumps(document).encode(), {**kind_of_text, **(headers or {})})


def rewritten(change: Callable[[Reply], Reply]) -> Fault:
    """Have the request carried out, and give another answer than the true one."""
    return lambda exchange: exchange.send(change(exchange.forward()))


def body_rewritten(change: Callable[[bytes], bytes]) -> Fault:
    """As `rewritten`, where only the body differs."""
    return rewritten(lambda true: replace(true, body=change(true.body)))


def json_with(**fields: object) -> Fault:
    """As `rewritten`, where the JSON object of the body has these fields."""
    return body_rewritten(lambda body: json.dumps(json.loads(body) | fields).encode())


def header_with(name: str, value: str | None) -> Fault:
    """As `rewritten`, where a header differs; None leaves it out."""

    def change(true: Reply) -> Reply:
        others = {known: text for known, text in true.headers.items() if known.lower() != name.lower()}
        return replace(true, headers=others if value is None else {**others, name: value})

    return rewritten(change)


def dropped(*, after_change: bool = False) -> Fault:
    """Close the connection without an answer, before or after the request is carried out."""
    return _left(Exchange.hang_up, after_change)


def reset(*, after_change: bool = False) -> Fault:
    """As `dropped`, with a reset."""
    return _left(Exchange.reset, after_change)


def hung(*, after_change: bool = False) -> Fault:
    """Never answer."""
    return _left(Exchange.hang, after_change)


def down() -> Fault:
    """Refuse connections from now on, until the test calls `come_back`."""
    return Exchange.go_down


def _left(leave: Callable[[Exchange], None], after_change: bool) -> Fault:
    def fault(exchange: Exchange) -> None:
        if after_change:
            exchange.forward()
        leave(exchange)

    return fault


def cut() -> Fault:
    """Give half of the true body, and end."""

    def fault(exchange: Exchange) -> None:
        true = exchange.forward()
        exchange.send(replace(true, body=true.body[: len(true.body) // 2]), length=len(true.body))
        exchange.hang_up()

    return fault


def dripped(every_s: float, on_byte: Callable[[], object] = lambda: None) -> Fault:
    """Give the true answer with its body byte by byte; `on_byte` is called before each."""

    def fault(exchange: Exchange) -> None:
        true = exchange.forward()
        exchange.send(replace(true, body=b""), length=len(true.body))
        for index in range(len(true.body)):
            exchange.pause(every_s)
            on_byte()
            exchange.write(true.body[index : index + 1])

    return fault


def huge(size: int = 10 << 30) -> Fault:
    """Give a body of `size` bytes, for as long as anybody takes it."""

    def fault(exchange: Exchange) -> None:
        exchange.send(Reply(200, b"", {"Content-Type": "application/json"}), length=size)
        for _ in range(0, size, 1 << 16):
            exchange.write(b" " * (1 << 16))

    return fault


def gzip_bomb(size: int = 1 << 28) -> Fault:
    """Give `size` bytes of nothing, packed a thousandfold."""
    body = gzip.compress(b" " * size, 1)
    return answer(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"})


class FaultProxy:
    """The server, on a free port of loopback; runs inside a ``with`` block.

    Args:
        upstream: scheme://HOST:PORT of who answers in truth.
        folder: an existing one, for the certificate.
        upstream_bundle: the root that upstream's certificate is of, where that is HTTPS.

    Attributes:
        asked: every request so far, the damaged ones too.
        ca_bundle: the root of our own certificate.
        ending: set when the block ends.
    """

    def __init__(self, upstream: str, folder: Path, upstream_bundle: Path | None = None) -> None:
        self.asked: list[Asked] = []
        self.ca_bundle = folder / "proxy-root.pem"
        self.ending = threading.Event()
        self._upstream = urlsplit(upstream)
        self._upstream_tls = ssl.create_default_context(cafile=upstream_bundle)
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_bundle)
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._tls)
        self._listener = _Listener(self, 0, self._tls)
        self._stopping = threading.Thread()
        self.port = self._listener.port

    @property
    def url(self) -> str:
        """``https://127.0.0.1:PORT``."""
        return f"https://127.0.0.1:{self.port}"

    def at(self, method: str, path: str, fault: Fault, *, nth: int = 1, times: int = 1) -> None:
        """Let `fault` happen to the nth request from now on that is meant, and to `times` - 1 after it."""
        with self._lock:
            self._rules.append(_Rule(method, path, fault, nth - 1, times))

    def forget(self) -> None:
        """Do no more damage, and forget what was asked."""
        with self._lock:
            self._rules.clear()
            self.asked.clear()

    def count(self, method: str, path: str) -> int:
        """Return how many such requests there were."""
        return sum(asked.method == method and asked.path.startswith(path) for asked in self.asked)

    @property
    def is_down(self) -> bool:
        """Whether connections are refused."""
        return self._stopping.ident is not None

    def go_down(self) -> None:
        """Refuse connections; at work when this returns."""
        # Before `stop` ends the connections: whoever loses one may come again at once.
        self._listener.socket.close()
        # In a thread of its own, since `stop` waits for all who are served, and one of them may be calling.
        self._stopping = threading.Thread(target=self._listener.stop)
        self._stopping.start()

    def come_back(self) -> None:
        """Answer again, on the same port."""
        self._stopping.join()
        self._stopping = threading.Thread()
        self._listener = _Listener(self, self.port, self._tls)
        self._listener.start()

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ending.set()
        if self._stopping.ident is None:
            self._listener.stop()
        else:
            self._stopping.join()

    def fault_for(self, asked: Asked) -> Fault:
        """Note a request, and return what happens to it."""
        with self._lock:
            self.asked.append(asked)
            for rule in self._rules:
                if rule.times and rule.method == asked.method and asked.path.startswith(rule.path):
                    if rule.before:
                        rule.before -= 1
                        break
                    rule.times -= 1
                    return rule.fault
        return rewritten(lambda true: true)

    def connect(self) -> http.client.HTTPConnection:
        """Open a connection to upstream."""
        host, port = self._upstream.hostname or "", self._upstream.port
        if self._upstream.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=30)
        return http.client.HTTPSConnection(host, port, timeout=30, context=self._upstream_tls)


@dataclass(slots=True)
class _Rule:
    method: str
    path: str
    fault: Fault
    before: int
    times: int


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for head and body: with two, a kept connection waits for a delayed acknowledgement.
    wbufsize = -1

    @property
    def proxy(self) -> FaultProxy:
        return cast(_Listener, self.server).proxy

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        split = urlsplit(self.path)
        # A call of the DNS API is told by its action, in the query or in the form.
        action = re.search(rb"(?:^|&)Action=(\w+)", split.query.encode() + b"&" + body)
        asked = Asked(self.command, action[1].decode() if action else split.path, body)
        self.proxy.fault_for(asked)(Exchange(self, asked))

    do_GET = do_HEAD = do_POST = _serve

    def forward(self, asked: Asked) -> Reply:
        connection = self.proxy.connect()
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
            connection.request(asked.method, self.path, asked.body or None, headers)
            reply = connection.getresponse()
            return Reply(reply.status, reply.read(), _one_each(reply.headers))
        finally:
            connection.close()

    def send_answer(self, answer: Reply, length: int) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: `FaultProxy.asked` has it all."""


def _one_each(headers: Message) -> dict[str, str]:
    """Return the headers; of several with one name (Link) the last, which nobody here needs."""
    return {name: str(value) for name, value in headers.items()}


class _Listener(TcpListener):
    def __init__(self, proxy: FaultProxy, port: int, tls: ssl.SSLContext) -> None:
        self.proxy = proxy
        self._tls = tls
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[Any, Any]:
        connection, client = super().get_request()
        # The handshake comes with the first read, in the connection's own thread: no client holds up another.
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), client
