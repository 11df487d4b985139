"""Firefox without a screen: a program that opens pages and prints for each one what it objects to.

    python firefox.py PROFILE HOST PORT ...

Source: firefox-source-docs.mozilla.org, "Marionette", protocol: a length, a colon, and that much of JSON.
"""

import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_PORT, _PATIENCE_S = 2828, 60


class Marionette:
    """The connection by which Firefox is driven."""

    def __init__(self) -> None:
        self._connection = _connected()
        self._stream = self._connection.makefile("rb")
        self._asked = 0
        self._received()  # who it is

    def ask(self, command: str, **parameters: Any) -> str:
        """Send a command; return what went wrong, empty for nothing."""
        self._asked += 1
        text = json.dumps([0, self._asked, command, parameters]).encode()
        self._connection.sendall(b"%d:%s" % (len(text), text))
        _kind, _number, error, _value = self._received()
        return error["error"] if error else ""

    def _received(self) -> Any:
        size = b""
        while not size.endswith(b":"):
            size += self._stream.read(1)
        return json.loads(self._stream.read(int(size[:-1])))


def _connected() -> socket.socket:
    end = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", _PORT), _PATIENCE_S)
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def main(profile: Path, words: list[str]) -> None:
    """Open the page of each HOST PORT with this profile."""
    profile.mkdir(exist_ok=True)
    command = ["firefox-esr", "--headless", "--marionette", "--no-remote", "--profile", str(profile)]
    with profile.with_suffix(".log").open("wb") as log:
        firefox = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        marionette = Marionette()
        marionette.ask("WebDriver:NewSession")
        for host, port in zip(words[::2], words[1::2], strict=True):
            where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            sys.stdout.write(marionette.ask("WebDriver:Navigate", url=f"https://{where}/v2/") + "\n")
        marionette.ask("Marionette:Quit", flags=["eForceQuit"])
        firefox.wait(_PATIENCE_S)
    finally:
        firefox.kill()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
