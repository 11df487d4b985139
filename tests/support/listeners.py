"""Servers on threads of their own, and services on loopback that a test speaks for, byte by byte."""

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

import trustme


class Served:
    """A server on a thread of its own. Runs inside a ``with`` block."""

    def __init__(self, server: socketserver.BaseServer) -> None:
        self._server: Any = server
        self._thread = threading.Thread(target=server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def listening(talk: Callable[[socket.socket], object], port: int = 0) -> Iterator[int]:
    """Let `talk` have each connection to the port that the block gets, any free one for 0."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return  # closed: the test is over
                with connection, suppress(OSError):  # the client went away
                    talk(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def speak_tls(context: ssl.SSLContext) -> Callable[[socket.socket], None]:
    """Return what makes the handshake of each connection, and then listens to a byte."""

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.recv(1)

    return talk


def context_of(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
