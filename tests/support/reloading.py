"""Services that a command reloads: TLS servers of the test, each with a port that stands for its command."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.fakes import TlsServer
from support.listeners import listening


@dataclass
class Reloading:
    """A TLS server that reads its files when its command is run.

    Attributes:
        may_come_up: asked at each reload; if it says no, the server hangs up on every client from then on.
        reloads: how often the command was run.
    """

    chain: Path
    tls: TlsServer
    control: int = 0
    may_come_up: Callable[[], bool] = field(default=lambda: True)
    reloads: int = 0

    @property
    def target(self) -> dict[str, Any]:
        """The entry of `deploy`."""
        script = f'exec 3<>/dev/tcp/127.0.0.1/{self.control}; read -r said <&3; test "$said" = done'
        return {"command": ["/bin/bash", "-c", script], "port": f"127.0.0.1:{self.tls.port}"}

    def reload(self, connection: socket.socket) -> None:
        """Read the files, as the command makes it do."""
        self.reloads += 1
        if self.may_come_up():
            self.tls.load(self.chain, self.chain.with_suffix(".key"))
        else:
            self.tls.unload()
        connection.sendall(b"done\n")


@contextmanager
def reloading(chain: Path) -> Iterator[Reloading]:
    """Have such a service of the certificate in this file, and the key beside it, for the block."""
    with TlsServer() as tls:
        service = Reloading(chain, tls)
        with listening(service.reload) as service.control:
            yield service
