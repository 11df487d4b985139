"""A forward proxy for HTTPS: it opens tunnels (CONNECT), and nothing else.

Source: RFC 9110 section 9.3.6.
"""

import selectors
import socket
import socketserver
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Self, cast

from certbotless.sandbox.listener import TcpListener


@dataclass(frozen=True, slots=True)
class Tunnel:
    """A tunnel that was asked for: to HOST:PORT, by whom (the value of Proxy-Authorization)."""

    to: str
    by: str


class Proxy(TcpListener):
    """A proxy on a free port of loopback, which knows these places alone; runs inside a ``with`` block.

    Args:
        places: HOST:PORT -> the port of loopback that answers there; nobody else could find it.

    Attributes:
        tunnels: every tunnel so far, those refused too.
    """

    def __init__(self, places: Mapping[str, int]) -> None:
        self.places = places
        self.tunnels: list[Tunnel] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def place(self) -> str:
        """``127.0.0.1:PORT``."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(socketserver.StreamRequestHandler):
    # All that comes behind the head belongs to the tunnel.
    rbufsize = 0

    def handle(self) -> None:
        proxy = cast(Proxy, self.server)
        method, to, _ = self.rfile.readline().decode().split()
        head = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            head[name.lower()] = value.strip()
        proxy.tunnels.append(Tunnel(to, head.get("proxy-authorization", "")))
        if method != "CONNECT" or to not in proxy.places:
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            return
        with closing(socket.create_connection(("127.0.0.1", proxy.places[to]), timeout=10)) as far:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            _relay(self.connection, far)


def _relay(near: socket.socket, far: socket.socket) -> None:
    """Pass on what either side sends, until one of them is done."""
    with selectors.DefaultSelector() as selector:
        selector.register(near, selectors.EVENT_READ, far)
        selector.register(far, selectors.EVENT_READ, near)
        while True:
            for key, _ in selector.select():
                data = cast(socket.socket, key.fileobj).recv(65536)
                if not data:
                    return
                key.data.sendall(data)
