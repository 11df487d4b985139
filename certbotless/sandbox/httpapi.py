"""The HTTP side of the Alidns stand-in: a call's parameters in, a reply out, over HTTP/1.1 with keep-alive.

Owns connections, TLS and the reading of parameters. Knows nothing of what is asked and answered.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from .gateway import Parameters
from .listener import TcpListener


@dataclass(frozen=True, slots=True)
class HttpsListener:
    """Where and with which certificate (PEM files) the API answers over HTTPS too."""

    port: int
    certfile: Path | str
    keyfile: Path | str


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back. `code` is ``OK`` or what went wrong, for the record of calls."""

    code: str
    http_status: int
    body: bytes
    content_type: str = "application/json;charset=utf-8"


# From an HTTP method and the parameters to the reply; `None` closes the connection without one.
Respond = Callable[[str, Parameters], Reply | None]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "Alidns stand-in"
    # One packet for head and body: with two, a kept connection waits for a delayed acknowledgement each time.
    wbufsize = -1

    def do_GET(self) -> None:
        self._serve("")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        self._serve(self.rfile.read(int(length) if length.isdecimal() else 0).decode(errors="replace"))

    def _serve(self, form: str) -> None:
        fields = f"{urlsplit(self.path).query}&{form}"
        parameters = dict(parse_qsl(fields, keep_blank_values=True))
        reply = cast("ApiListener", self.server).respond(self.command, parameters)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply.http_status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: `AlidnsEmulator.calls` has it all."""


class ApiListener(TcpListener):
    """The API over plain HTTP."""

    def __init__(self, address: str, port: int, respond: Respond) -> None:
        self.respond = respond
        super().__init__((address, port), _Handler)


class TlsApiListener(ApiListener):
    """The API over HTTPS."""

    def __init__(self, address: str, https: HttpsListener, respond: Respond) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._tls.load_cert_chain(https.certfile, https.keyfile)
        super().__init__(address, https.port, respond)

    def get_request(self) -> tuple[Any, Any]:
        connection, client = super().get_request()
        # The handshake comes with the first read, in the connection's own thread: no client holds up another.
        wrapped = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, client
