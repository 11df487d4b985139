"""A webhook on loopback, in the place of a chat or a pager."""

import json
from collections.abc import Callable

from support.fakes import HttpServer, Reply, Request

TOKEN = "PlantedCanaryHook1234567890"


class Hook(HttpServer):
    """A webhook on loopback.

    Attributes:
        told: the subject of each message, without what all begin with.
        status: of its answers.
        on_message: called for each, before it is answered.
    """

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.told: list[str] = []
        self.bodies: list[str] = []
        self.status = 200
        self.on_message: Callable[[], object] = lambda: None

    @property
    def url(self) -> str:
        """Its address, in the library's form."""
        return f"json://user:{TOKEN}@{super().url.removeprefix('http://')}/hook"

    def _answer(self, request: Request) -> Reply:
        message = json.loads(request.body)
        self.told.append(message["title"].partition(": ")[2])
        self.bodies.append(message["message"])
        self.on_message()
        return Reply(self.status, b"")

    def times(self, line: str) -> int:
        """Return how often a message had this line."""
        return sum(body.splitlines().count(line) for body in self.bodies)
