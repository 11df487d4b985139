"""A stand-in for the metadata service of an ECS instance, as far as it gives the keys of a RAM role.

It listens at the service's own address, which is one of a private host's own for as long as it runs.

Source: ECS, "Instance metadata" (hardened mode: PUT for a token of 1 to 21600 s) and "Instance RAM roles";
the page for a role that is not there: aliyun-cli issue 525.
"""

import json
import secrets
import subprocess
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, Literal, Self, cast

from .gateway import TemporaryKey
from .listener import TcpListener
from .sts import Sts, credentials

ADDRESS, PORT = "100.100.100.200", 80
_TOKEN_PATH, _ROLES = "/latest/api/token", "/latest/meta-data/ram/security-credentials/"
_NOT_FOUND = b"""<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
         "http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>404 - Not Found</title>
 </head>
 <body>
  <h1>404 - Not Found</h1>
 </body>
</html>
"""
# It gives the same key until this share of its life is left.
_KEPT = 1 / 6
_PAGE = b"<html><body>Please sign in to this network.</body></html>"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request; `token` is whether it had one that is valid."""

    method: str
    path: str
    token: bool


class MetadataService:
    """The service of one instance; runs inside a ``with`` block, as root on a private host.

    Attributes:
        roles: that the instance has.
        has_tokens: whether it knows the hardened mode.
        needs_token: whether it answers nothing without a token (HttpTokens=required).
        is_enabled: whether it answers at all (HttpEndpoint).
        lives_s: how long a key lives.
        delay_s: before each answer.
        fault: what is wrong with the answer about a key: half of it, a page, a redirect, 1 MiB, another Code,
            or HTTP 500.
        asked: every request so far.
    """

    def __init__(self, sts: Sts, *roles: str) -> None:
        self._sts = sts
        self.roles = [*roles]
        self.has_tokens = self.needs_token = self.is_enabled = True
        self.lives_s = 6 * 3600.0
        self.delay_s = 0.0
        self.fault: Literal["", "half", "page", "redirect", "large", "code", "server"] = ""
        self.asked: list[Asked] = []
        self._keys: dict[str, tuple[TemporaryKey, float]] = {}
        self._tokens: dict[str, float] = {}

    def __enter__(self) -> Self:
        subprocess.run(["ip", "address", "add", f"{ADDRESS}/32", "dev", "lo"], check=True)
        self._listener = _Listener(self)
        self._listener.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listener.stop()
        subprocess.run(["ip", "address", "delete", f"{ADDRESS}/32", "dev", "lo"], check=True)

    def forget(self) -> None:
        """Give another key from now on."""
        self._keys.clear()

    def answer(self, method: str, path: str, headers: Any) -> tuple[int, bytes]:
        """Return the status and the body for a request."""
        token = headers.get("X-aliyun-ecs-metadata-token", "")
        is_valid = time.monotonic() < self._tokens.get(token, 0)
        self.asked.append(Asked(method, path, is_valid))
        time.sleep(self.delay_s)
        if not self.is_enabled:
            return 403, b""
        if method == "PUT" and path == _TOKEN_PATH and self.has_tokens:
            asked = headers.get("X-aliyun-ecs-metadata-token-ttl-seconds", "")
            if not asked.isdecimal() or not 1 <= int(asked) <= 21600:
                return 400, b""
            made = secrets.token_urlsafe(40)
            self._tokens[made] = time.monotonic() + int(asked)
            return 200, made.encode()
        if method != "GET":
            return 405, b""
        if (token and not is_valid) or (self.needs_token and self.has_tokens and not is_valid):
            return 403, b""
        if not path.startswith(_ROLES) or not self.roles:
            return 404, _NOT_FOUND
        name = path.removeprefix(_ROLES)
        if not name:
            return 200, "\n".join(self.roles).encode()
        return self._spoiled(self._key(name)) if name in self.roles else (404, _NOT_FOUND)

    def _key(self, role: str) -> dict[str, str]:
        key, until = self._keys.get(role, (None, 0.0))
        if key is None or time.monotonic() >= until:
            key = self._sts.issue(role, "i-bp13znx0m0me8cquu", self.lives_s)
            self._keys[role] = key, time.monotonic() + self.lives_s * (1 - _KEPT)
        return {**credentials(key), "LastUpdated": "2026-11-28T00:00:00Z", "Code": "Success"}

    def _spoiled(self, answer: dict[str, str]) -> tuple[int, bytes]:
        if self.fault == "code":
            answer = {"Code": "Failed"}
        body = json.dumps(answer).encode()
        match self.fault:
            case "half":
                body = body[: len(body) // 2]
            case "page":
                body = _PAGE
            case "redirect":
                return 302, b""
            case "large":
                body += b" " * (1 << 20)
            case "server":
                return 500, b""
        return 200, body


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One packet for head and body: with two, a kept connection waits for a delayed acknowledgement each time.
    wbufsize = -1

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service = cast("_Listener", self.server).service
        status, body = service.answer(self.command, self.path, self.headers)
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://{ADDRESS}/elsewhere")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: `MetadataService.asked` has it all."""


class _Listener(TcpListener):
    def __init__(self, service: MetadataService) -> None:
        self.service = service
        super().__init__((ADDRESS, PORT), _Handler)
