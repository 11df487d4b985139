"""A machine with one site that is well, and the real daemon on it, before a stand-in of the DNS service."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from certbotless.cli.status import find as look
from certbotless.model.certificate import LeafFacts, Origin
from certbotless.model.memory import SavedPair
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from support.bed import children_of, renamed_over

ZONE = "sweetlove.test"
DOMAIN = f"devbox.{ZONE}"
ADDRESS = "10.79.40.213"
DIRECTORY = "https://127.0.0.1:1/dir"
PATIENCE_S = 120


def publish(certs: Path, state: Path, domain: str, not_before: datetime, directory: str) -> None:
    """Let a certificate of 90 days be published that this CA has issued; it is one by its facts alone."""
    facts = LeafFacts((domain,), "ab" * 32, "CN=CA", not_before, not_before + timedelta(days=90))
    origin = Origin(directory, f"{directory}/account/1", "ec256", not_before)
    file = SiteFile(state, domain)
    Store(certs, domain).publish(b"chain", b"key", facts, origin, datetime.now(UTC), file.note_generation)
    file.save_pair(SavedPair.of(b"chain", b"key", origin))


class Machine:
    """A machine with one site that is well: its record is right, its certificate is published."""

    def __init__(self, home: Path, dns: AlidnsEmulator) -> None:
        self.home, self.dns = home, dns
        self.file, self.log = home / "config.yaml", home / "daemon.log"
        self.process: subprocess.Popen[bytes]
        self.publish(datetime.now(UTC))
        dns.add("devbox", "A", ADDRESS)
        self.write()

    def publish(self, now: datetime) -> None:
        """Let a certificate be published that is a day old now."""
        publish(self.home / "certs", self.home / "state", DOMAIN, now - timedelta(days=1), DIRECTORY)

    def text(self, **keys: Any) -> str:
        """Return the configuration, with these keys added."""
        fields = {
            "acme": {"directory": DIRECTORY},
            "aliyun": {"access_key_id": "id", "access_key_secret": "secret", "endpoint": self.dns.endpoint},
            "dns": {"nameservers": list(self.dns.nameservers)},
            "certs_dir": str(self.home / "certs"),
            "state_dir": str(self.home / "state"),
            "check_every": "1s",
            "sites": [self.site()],
            **keys,
        }
        return json.dumps(fields, indent=1)

    def write(self, **keys: Any) -> None:
        """Save the configuration, with these keys added."""
        renamed_over(self.file, self.text(**keys), 0o600)

    def site(self, **keys: Any) -> dict[str, Any]:
        """Return the site, with these keys added."""
        return {"domain": DOMAIN, "zone": ZONE, "address": ADDRESS, **keys}

    @contextmanager
    def daemon(self, python: str = sys.executable, **environment: str) -> Iterator[None]:
        """Run the daemon for as long as the block runs, which is after its first look; it must end well."""
        command = ["env", *(f"{name}={value}" for name, value in environment.items()), python]
        with self.log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [*command, "-m", "certbotless", "--config", str(self.file)], stderr=stderr
            )
            try:
                self.wait_until(lambda: len(self.dns.queries) >= len(self.dns.nameservers))
                yield
                self.process.send_signal(signal.SIGTERM)
                assert self.process.wait(PATIENCE_S) == 0, self.log.read_text()
            finally:
                self.process.kill()
                self.process.wait()

    def reload(self) -> None:
        """Let the daemon read its configuration at once."""
        self.process.send_signal(signal.SIGHUP)

    def wait_for_log(self, text: str, times: int = 1) -> None:
        """Wait until the daemon has logged this text so often."""
        self.wait_until(lambda: self.log.read_text().count(text) >= times)

    def wait_for_errands(self) -> None:
        """Wait until no process that the daemon has started is left."""
        self.wait_until(lambda: not children_of(self.process.pid))

    def status(self) -> dict[str, Any]:
        """Return the object of `status --json`; the program is not started, since many wait for a change."""
        found: dict[str, Any] = json.loads(look(self.file).to_json())
        return found

    def wait_for_looks(self, looks: int) -> None:
        """Wait for so many more looks, as the name servers see them; all but the last one are complete."""
        asked = len(self.dns.queries) + looks * len(self.dns.nameservers)
        self.wait_until(lambda: len(self.dns.queries) >= asked)

    def look(self, looks: int) -> None:
        """Let the daemon look so often, without waiting for its interval."""
        for _ in range(looks):
            self.reload()
            self.wait_for_looks(1)

    def wait_until(self, holds: Callable[[], bool]) -> None:
        """Poll until `holds`."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.01)
