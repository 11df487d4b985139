"""A program that runs in the background for a stand-in: started, awaited, ended by its pid.

Never matches processes by name: another one of that name may belong to somebody.
"""

import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from .host import SandboxError


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_until(ready: Callable[[], bool], patience_s: float, what: str) -> None:
    """Poll until `ready()`; at most `patience_s`.

    Raises:
        SandboxError: it did not come true; `what` says what was waited for.
    """
    end = time.monotonic() + patience_s
    while not ready():
        if time.monotonic() > end:
            raise SandboxError(f"nothing in {patience_s:g} s; expected: {what}")
        time.sleep(0.02)


class Background:
    """One running program, its output in a file.

    Args:
        command: the program and its arguments.
        log: where its output goes; earlier output is kept.
        env: its environment; None takes ours over.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = Path(command[0]).name
        self.log = log
        try:
            with log.open("ab") as output:
                self.process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env
                )
        except FileNotFoundError as error:
            raise SandboxError(f"the program {self.name!r} is missing", hint="run: make setup") from error

    def alive(self) -> bool:
        """Return whether it runs."""
        return self.process.poll() is None

    def wait_ready(self, ready: Callable[[], bool], patience_s: float) -> None:
        """Poll until `ready()` while the program lives; end it if it does not come to that.

        Raises:
            SandboxError: it ended, or was not ready within `patience_s`; the text holds its last output.
        """
        try:
            # Asked last: somebody else's server may have answered on our port while our program gave up.
            wait_until(
                lambda: not self.alive() or (ready() and self.alive()), patience_s, f"{self.name} starts"
            )
        except SandboxError as error:
            self.end()
            raise SandboxError(f"{error.message}: {self.last_words()}") from error
        if not self.alive():
            raise SandboxError(f"{self.name} ended with code {self.process.returncode}: {self.last_words()}")

    def end(self, patience_s: float = 15) -> None:
        """Ask it to end, and kill it if it has not after `patience_s`."""
        self.process.terminate()
        try:
            self.process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it (SIGKILL) and wait until it is gone."""
        self.process.kill()
        self.process.wait()

    def last_words(self, lines: int = 5) -> str:
        """Return the end of its output, on one line."""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-lines:]) or "(no output)"
