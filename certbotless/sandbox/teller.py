"""How a story of the sandbox is told: its steps, what programs say, and the facts that each story verifies.

The program is run as its user does, by its command line, and is never imported.
"""

import hashlib
import os
import signal
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from .clients import Visit, gap_s
from .host import SandboxError
from .registry import served_sha256

CERTS = Path("/certs")
CONFIG = Path("/etc/certbotless/config.yaml")
PORT = 5000
IMAGE = "hello:1"


class Teller:
    """Prints the story as it happens, each line with the seconds since its start."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self.steps = 0
        self.facts = 0

    def seconds(self) -> float:
        """Return for how long the story has been going on."""
        return time.monotonic() - self._start_s

    def step(self, title: str) -> None:
        """Begin a step."""
        self.steps += 1
        print()
        self._line(f"{self.steps}. {title}", "1")

    def say(self, text: str) -> None:
        """Tell something of this step."""
        self._line(f"   {text}", "")

    def quote(self, text: str) -> None:
        """Show what a program says or a file holds, line by line."""
        for line in text.splitlines():
            self._line(f"   | {line}", "2")

    def fact(self, text: str, holds: bool) -> None:
        """Say that something is so.

        Raises:
            SandboxError: it is not.
        """
        if not holds:
            raise SandboxError(f"this was expected, but is not so: {text}")
        self.facts += 1
        self._line(f"   ok {text}", "32")

    def failed(self, error: Exception) -> None:
        """Tell that the story ends here."""
        self._line(f"   FAILED {error}", "31")

    def _line(self, text: str, style: str) -> None:
        painted = f"\033[{style}m{text}\033[0m" if self._colour and style else text
        print(f"{self.seconds():6.2f}s  {painted}", flush=True)


def story_of(live: Callable[[Teller, Path, ExitStack], None], next_: str) -> int:
    """Tell a story; return 0 if every fact held, else 1.

    Args:
        live: goes through its steps, with an empty folder, and what ends after it.
        next_: the last line.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at once: it is the private host that cleans up
    tell = Teller()
    workdir = Path(tempfile.mkdtemp())
    with ExitStack() as alive:
        try:
            live(tell, workdir, alive)
        # OSError: what a client meets on the network, and a refusal of the engine's API.
        except (SandboxError, OSError) as error:
            tell.failed(error)
            for log in sorted([*workdir.rglob("*.log")]):
                tell.say(f"the end of {log.name}:")
                tell.quote("\n".join(log.read_text(errors="replace").splitlines()[-8:]))
            print(f"certbotless: the sandbox failed in step {tell.steps}: {error}", file=sys.stderr)
            return 1
    tell.step("The end")
    tell.say(f"{tell.facts} checks passed in {tell.seconds():.1f} s; nothing is left on your machine.")
    tell.say(next_)
    return 0


def certbotless(tell: Teller, *arguments: str, shown: Callable[[str], str] = str) -> str:
    """Run the real program, show what it says as it says it, and return that.

    Args:
        shown: what of a line is shown, empty for nothing.

    Raises:
        SandboxError: its exit code is not 0.
    """
    tell.say(f"$ certbotless {' '.join(arguments)}")
    said = list[str]()
    with subprocess.Popen(
        [sys.executable, "-m", "certbotless", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as program:
        for line in program.stdout or ():
            said.append(line)
            tell.quote(shown(line))
    if program.returncode != 0:
        raise SandboxError(f"certbotless {' '.join(arguments)} ended with code {program.returncode}")
    return "".join(said)


def served_is_file(tell: Teller, domain: str, address: str) -> str:
    """Verify that the served leaf is the file's; return its SHA-256."""
    in_file = file_sha256(domain)
    served = served_sha256(address, PORT, domain)
    tell.quote(f"sha256 in the file {in_file}\nsha256 served      {served}")
    tell.fact("service: the registry uses the certificate in the file", served == in_file)
    return served


def file_sha256(domain: str) -> str:
    """Return the SHA-256 of the certificate in the site's file."""
    pem = (CERTS / f"{domain}.pem").read_text()
    end = "-----END CERTIFICATE-----"
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem[: pem.index(end) + len(end)])).hexdigest()


def all_saw(tell: Teller, visits: list[Visit], old: str, new: str) -> None:
    """Say what clients saw while a certificate was replaced, and verify that it was one of the two."""
    failed = Counter(visit.error for visit in visits if visit.sha256 is None)
    leaves = [visit.sha256 for visit in visits if visit.sha256 is not None]
    slowest_s = max(visit.took_s for visit in visits if visit.sha256 is not None)
    tell.say(
        f"{len(visits)} clients: {leaves.count(old)} saw the old certificate, {leaves.count(new)} the new, "
        f"{failed.total()} none ({', '.join(f'{n} {error}' for error, n in failed.items()) or 'no failure'})"
    )
    tell.say(f"the gap: connections were refused for {1000 * gap_s(visits):.0f} ms")
    tell.say(f"the slowest client that was served took {slowest_s:.1f} s")
    tell.fact(
        "each client saw the old certificate, the new one, or none; never a wrong one",
        set(leaves) == {old, new},
    )
