"""A webhook on loopback, in the place of a chat or a pager."""

from __future__ import annotations

import json
from collections.abc import Callable

from support.fakes import HttpServer, Reply, Request

TOKEN = "PlantedCanaryHook1234567890"


class Hook:
    """A webhook on loopback.

    Attributes:
        url: in the library's form.
        told: the subject of each message, without what all begin with.
        status: of its answers.
        on_message: called for each, before it is answered.
    """

    def __init__(self) -> None:
        self._server = HttpServer(self._answer)
        self.url = f"json://user:{TOKEN}@{self._server.url.removeprefix('http://')}/hook"
        self.told: list[str] = []
        self.bodies: list[str] = []
        self.status = 200
        self.on_message: Callable[[], object] = lambda: None

    def _answer(self, request: Request) -> Reply:
        message = json.loads(request.body)
        self.told.append(message["title"].partition(": ")[2])
        self.bodies.append(message["message"])
        self.on_message()
        return Reply(self.status, b"")

    def __enter__(self) -> Hook:
        self._server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.__exit__()

    def times(self, line: str) -> int:
        """Return how often a message had this line."""
        return sum(body.splitlines().count(line) for body in self.bodies)
