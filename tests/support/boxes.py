"""A small configuration of its own, for tests of the command line."""

import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from certbotless.model.certificate import LeafFacts, Origin
from certbotless.model.memory import SavedPair
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile

DOMAIN = "devbox.sweetlove.top"
# Nobody listens there, so a run that should not talk to anybody cannot.
DIRECTORY = "https://127.0.0.1:1/dir"
CANARY = "PlantedCanary"

# From the arguments of a command to its code and what it printed to both streams.
Told = Callable[..., tuple[int, str, str]]


class Box:
    """A configuration in a folder of its own. Nothing outside the folder is needed to look at its sites.

    Attributes:
        file: the configuration; `write` changes it.
        endpoint: of the API, as `write` writes it.
        secret: the file of the second secret.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        self.file = home / "config.yaml"
        self.secret = home / "secret"
        self.endpoint = "http://127.0.0.1:1"
        self.certs_dir, self.state_dir = home / "certs", home / "state"
        self.secret.touch(0o600)
        self.secret.write_text(f"{CANARY}\n")
        self.write()

    def write(self, *further: str, address: str = "none") -> str:
        """Write a file with one site, and further lines; return the text."""
        lines = [
            f"acme: {{directory: '{DIRECTORY}'}}",
            "aliyun:",
            f"  access_key_id: {CANARY}",
            f"  access_key_secret: file:{self.secret}",
            f"  endpoint: {self.endpoint}",
            f"certs_dir: {self.certs_dir}",
            f"state_dir: {self.state_dir}",
            "sites:",
            f"  - domain: {DOMAIN}",
            f"    address: {address}",
            "    zone: sweetlove.top",
            *further,
        ]
        text = "".join(f"{line}\n" for line in lines)
        self.file.write_text(text)
        self.file.chmod(0o600)
        return text

    def publish(self, domain: str = DOMAIN) -> LeafFacts:
        """Make the site well: a fresh pair is published, no record is wanted, nobody serves."""
        now = datetime.now(UTC).replace(microsecond=0)  # as a certificate says it
        facts = LeafFacts((domain,), "ab" * 32, "CN=CA", now - timedelta(days=1), now + timedelta(days=89))
        origin = Origin(DIRECTORY, "", "ec256", now)
        note = SiteFile(self.state_dir, domain).note_generation
        Store(self.certs_dir, domain).publish(b"chain", b"key", facts, origin, now, note)
        SiteFile(self.state_dir, domain).save_pair(SavedPair.of(b"chain", b"key", origin))
        return facts

    def command(self, *arguments: str) -> list[str]:
        """Return a command on the configuration."""
        return [sys.executable, "-m", "certbotless", "--config", str(self.file), *arguments]

    def run(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command on the configuration in a process of its own."""
        settings = {"capture_output": True, "text": True, "timeout": 60, **options}
        return subprocess.run(self.command(*arguments), check=False, **settings)


def assert_refused(box: Box, told: Told, arguments: list[str], code: int, said: str) -> None:
    """A command ends with this code and one line that begins so, and nothing is done."""
    before = sorted(box.home.iterdir())
    found, out, line = told(*arguments)
    assert (found, out, line.count("\n")) == (code, "", 1)
    assert line.startswith(said)
    assert sorted(box.home.iterdir()) == before
