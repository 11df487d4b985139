"""A socket of a Docker engine that gives a secret another content than it was told: a bad certificate or key.

All else that is said and answered passes as it is.
"""

from __future__ import annotations

import base64
import json
import re
import socket
import threading
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK = 65536
_IS_NEW_SECRET = re.compile(rb"POST /\S*secrets/create ")
_LENGTH = re.compile(rb"(?<=\r\nContent-Length: )\d+", re.IGNORECASE)


class SwappedSecrets:
    """A socket that leads to an engine, alive within the context.

    Args:
        path: where it is made.
        engine: the engine's own.

    Attributes:
        instead: by the end of a secret's name, as ``.key``, the content that it gets.
        count: how many secrets got another content.
    """

    def __init__(self, path: Path, engine: Path) -> None:
        self.path, self._engine = path, engine
        self.instead: Mapping[str, bytes] = {}
        self.count = 0

    def __enter__(self) -> Self:
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(self.path))
        self._server.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server.close()
        self.path.unlink()

    def _serve(self) -> None:
        talks = list[threading.Thread]()
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                break  # closed: the test is over
            talks.append(threading.Thread(target=self._talk, args=(client,)))
            talks[-1].start()
        for talk in talks:
            talk.join()

    def _talk(self, client: socket.socket) -> None:
        with ExitStack() as open_, suppress(OSError):
            open_.enter_context(client)
            engine = open_.enter_context(socket.socket(socket.AF_UNIX))
            engine.connect(str(self._engine))
            back = threading.Thread(target=_pump, args=(engine, client))
            back.start()
            open_.callback(back.join)
            open_.callback(_hang_up, engine)
            data = b""
            while more := client.recv(_CHUNK):
                data += more
                while (request := _first_request(data)) is not None:
                    engine.sendall(self._swapped(request))
                    data = data[len(request) :]

    def _swapped(self, request: bytes) -> bytes:
        head, _, body = request.partition(b"\r\n\r\n")
        if not _IS_NEW_SECRET.match(request):
            return request
        made = json.loads(body)
        for end, content in self.instead.items():
            if made["Name"].endswith(end):
                made["Data"] = base64.b64encode(content).decode()
                self.count += 1
        body = json.dumps(made).encode()
        return _LENGTH.sub(str(len(body)).encode(), head) + b"\r\n\r\n" + body


def _first_request(data: bytes) -> bytes | None:
    """Return the first whole request of what was received; None: it has not come to its end."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        return None
    length = _LENGTH.search(head)
    size = len(head) + len(end) + (int(length[0]) if length else 0)
    return data[:size] if len(data) >= size else None


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(_CHUNK):
            target.sendall(data)
    _hang_up(target)


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
