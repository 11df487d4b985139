"""Sockets that are served by threads of this process and are gone when they are stopped.

Owns starting, stopping and the connections still open. Knows no protocol.
"""

import selectors
import socket
import socketserver
import sys
import threading
from contextlib import suppress
from typing import Any


class Listener(socketserver.TCPServer):
    """A `socketserver` with its own thread: `start`, then `stop`, which returns when all is closed."""

    def start(self) -> None:
        self._stop_sender, self._stop_receiver = socket.socketpair()
        self._thread = threading.Thread(target=self._serve, name=type(self).__name__)
        self._thread.start()

    def stop(self) -> None:
        self._stop_sender.close()
        self._thread.join()
        self._stop_receiver.close()
        self.server_close()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def _serve(self) -> None:
        # Not `serve_forever`, which looks for its end only every so often: it costs time at each stop, and
        # an idle stand-in should be idle.
        with selectors.DefaultSelector() as selector:
            selector.register(self, selectors.EVENT_READ)
            stop = selector.register(self._stop_receiver, selectors.EVENT_READ)
            while all(key is not stop for key, _ in selector.select()):
                self.handle_request()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that went away, or that refused our certificate, is its own affair.
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class UdpListener(Listener, socketserver.UDPServer):
    """Datagrams, handled one after the other."""

    max_packet_size = 65535


class TcpListener(Listener, socketserver.ThreadingTCPServer):
    """Connections, each with a thread. `stop` ends those that clients keep alive, and their threads."""

    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type[socketserver.BaseRequestHandler]) -> None:
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(address, handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._connections_lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):  # the client was faster
                    # Wakes the thread that reads from it; that thread closes it. Not the method of a TLS
                    # socket, which would take the TLS state away under that thread.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        super().server_close()
