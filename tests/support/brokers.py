"""Whoever gives a temporary key of the stand-in to a program that asks, as a vault does."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from certbotless.sandbox.alidns import AlidnsEmulator
from support.fakes import HttpServer, Reply, Request


class Broker:
    """A server that makes a key at each request, and the program that prints its answer.

    Attributes:
        lives_s: how long its keys live.
        is_down: whether it answers 503.
    """

    def __init__(self, dns: AlidnsEmulator, home: Path) -> None:
        self._dns = dns
        self.lives_s = 3600.0
        self.is_down = False
        self.given = 0
        self._program = home / "aliyun-key"

    def answer(self, request: Request) -> Reply:
        if self.is_down:
            return Reply(503, b'{"errors": ["Vault is sealed"]}')
        self.given += 1
        key = self._dns.sts.issue("certbotless", "vault", self.lives_s)
        data = {
            "access_key": key.id,
            "secret_key": key.secret,
            "security_token": key.token,
            "expiration": key.ends_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        return Reply(200, json.dumps({"lease_id": "alicloud/creds/x/1", "data": data}).encode())

    @contextmanager
    def running(self) -> Iterator[list[str]]:
        """Serve, and give the argument list of the program."""
        with HttpServer(self.answer) as server:
            self._program.write_text(
                f"#!/bin/sh\nexec curl --silent --show-error --fail {server.url}/v1/alicloud/creds/x\n"
            )
            self._program.chmod(0o755)
            yield [str(self._program)]
