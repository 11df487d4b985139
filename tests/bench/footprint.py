"""Measure what the idle daemon costs, for 1, 100 and 1,000 sites, without and with its status page.

Last come 1,000 sites that share one certificate.

Run by `make footprint` on a private host.

All four facts are true when the measuring begins: each certificate is from the real CA, each record at two
real name servers, each leaf served by a TLS server that picks it by SNI. What a daemon does while nothing
changes is read from the kernel: memory, processor time, wake-ups. Requests are counted by who gets them.

It fails where the memory is over the limit of its size.

Args:
    sys.argv: how many seconds to watch each size, 180 if none, at least 60; a look comes every minute.
"""

from __future__ import annotations

import os
import re
import socketserver
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from support.bed import KEY_ID, KEY_SECRET, ZONE, children_of, files_below, wait_until

from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.host import LAN_ADDRESS
from certbotless.sandbox.pebble import Pebble

WATCHED_S = 180.0
PAGE = "127.0.0.1:9109"
SCRAPED_EVERY_S = 15.0
HOUR_S, DAY_S = 3600, 86400
# An installed program has its bytecode; one that compiles itself at each start needs more memory. All else is
# as the unit has it.
UNIT = Path(__file__).parents[2] / "systemd" / "certbotless.service"
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
ENVIRONMENT |= dict(re.findall("^Environment=(.*)=(.*)$", UNIT.read_text(), re.MULTILINE))


@dataclass(frozen=True, slots=True)
class Case:
    """A daemon to be measured: with so many sites, a page at `listen`, empty for none.

    `most_mib` is how much memory it may have, None for no limit.
    """

    count: int
    listen: str = ""
    most_mib: int | None = None
    shares: bool = False

    def __str__(self) -> str:
        page = ", page read" if self.listen else ""
        return f"{self.count:5} sites{page}{', one certificate' if self.shares else ''}"


CASES = (
    *(Case(1, most_mib=50), Case(1, PAGE, 58)),
    *(Case(100), Case(100, PAGE)),
    *(Case(1000, most_mib=90), Case(1000, PAGE, 90), Case(1000, most_mib=90, shares=True)),
)


class SniServer(socketserver.ThreadingTCPServer):
    """A TLS server that serves to each name the pair that is published for it."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, certs: Path) -> None:
        super().__init__((LAN_ADDRESS, 0), socketserver.BaseRequestHandler)
        self._certs = certs
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.sni_callback = self._pick
        self.port: int = self.server_address[1]

    def finish_request(self, request: Any, client_address: object) -> None:
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as tls:
            tls.recv(1)

    def _pick(self, tls: ssl.SSLObject | ssl.SSLSocket, name: str | None, _: object) -> None:
        chain, key = self._certs / f"{name}.pem", self._certs / f"{name}.key"
        if chain.exists():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(chain, key)
            tls.context = context


@dataclass(frozen=True, slots=True)
class Reading:
    """What the kernel knows of a process: processor time in seconds, wake-ups, and memory in KiB."""

    cpu_s: float
    wakeups: int
    rss_kib: int

    @classmethod
    def of(cls, pid: int) -> Reading:
        """Read it; the children of the process are counted as well, once they have ended."""
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu_s = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        wakeups = 0
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # a thread that has ended meanwhile
                wakeups += int(_status(task)["voluntary_ctxt_switches"])
        return cls(cpu_s, wakeups, int(_status(Path(f"/proc/{pid}"))["VmRSS"].split()[0]))


def _status(folder: Path) -> dict[str, str]:
    return dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())


def is_well(command: list[str]) -> bool:
    """Whether a command ends well."""
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdout=quiet, stderr=quiet, check=False, env=ENVIRONMENT).returncode == 0


@contextmanager
def daemon(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon for as long as the block runs."""
    command = [sys.executable, "-m", "certbotless", "--config", str(file)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=ENVIRONMENT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def read_page(listen: str) -> Iterator[None]:
    """Read the page and the metrics every 15 s, as Prometheus does, for as long as the block runs."""
    is_over = threading.Event()

    def read() -> None:
        while True:
            for path in ("", "metrics"):
                with urllib.request.urlopen(f"http://{listen}/{path}", timeout=60) as reply:
                    reply.read()
            if is_over.wait(SCRAPED_EVERY_S):
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield
    finally:
        is_over.set()
        reader.join()


def measure(case: Case, home: Path, dns: AlidnsEmulator, ca: Pebble, watched_s: float) -> float:
    """Print what such a daemon costs, and return its memory in MiB."""
    count, listen = case.count, case.listen
    certs, state, file = home / "certs", home / "state", home / "config.yaml"
    certs.mkdir(parents=True)
    with SniServer(certs) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        kind = "shared" if case.shares else "with" if listen else "without"
        keys = {"zone": ZONE, **({"certificate": f"*.{ZONE}"} if case.shares else {})}
        domains = [f"box{number}-of-{count}-{kind}.{ZONE}" for number in range(count)]
        config = {
            "acme": {"directory": ca.directory_url, "ca_bundle": str(ca.ca_bundle)},
            "aliyun": {
                "access_key_id": KEY_ID,
                "access_key_secret": KEY_SECRET,
                "endpoint": dns.endpoint,
            },
            "dns": {"nameservers": list(dns.nameservers)},
            "certs_dir": str(certs),
            "state_dir": str(state),
            "sites": [
                {"domain": domain, **keys, "deploy": [{"command": ["true"], "port": server.port}]}
                for domain in domains
            ],
        }
        if listen:
            config["http"] = {"listen": listen}
        file.write_text(yaml.safe_dump(config))
        once = [sys.executable, "-m", "certbotless", "--config", str(file), "--once"]
        for _ in range(2):  # the second one asks when to renew
            wait_until(lambda: is_well(once), "all is true; a busy machine needs several runs for many", 3600)
        with daemon(file) as process:
            asked = len(dns.queries)
            wait_until(lambda: len(dns.queries) >= asked + 4 * count, "two looks", 300)
            wait_until((state / "clients.json").exists, "the visits of this hour", 300)
            wait_until(lambda: not children_of(process.pid), "their process has ended", 300)
            files, calls, asked = files_below(certs, state), len(dns.calls), len(dns.queries)
            before, began = Reading.of(process.pid), time.monotonic()
            with read_page(listen) if listen else nullcontext():
                time.sleep(watched_s)
            after, took_s = Reading.of(process.pid), time.monotonic() - began
            now = files_below(certs, state)
            written = len({path for path in files.keys() | now.keys() if files.get(path) != now.get(path)})
            calls, asked = len(dns.calls) - calls, len(dns.queries) - asked
        server.shutdown()
    cpu_s, looks = after.cpu_s - before.cpu_s, asked / 2 / count
    print(
        f"{case}  {after.rss_kib / 1024:5.1f} MiB"
        f"  {100 * cpu_s / took_s:6.3f} % of a core ({cpu_s / took_s * HOUR_S:.1f} s an hour,"
        f" {1000 * cpu_s / looks / count:.2f} ms a look and site)"
        f"  {(after.wakeups - before.wakeups) / took_s * HOUR_S:.0f} wake-ups an hour"
        f"  a day: {written / took_s * DAY_S:.0f} files written,"
        f" {calls / took_s * DAY_S:.0f} API calls, {asked / took_s * DAY_S:.0f} DNS queries",
        flush=True,
    )
    return after.rss_kib / 1024


def main() -> None:
    """Measure each size."""
    over = []
    watched_s = float(sys.argv[1]) if sys.argv[1:] else WATCHED_S
    python, cores = sys.version.split()[0], os.cpu_count()
    print(f"{datetime.now(UTC):%Y-%m-%d} Python {python}, {cores} cores, watched for {watched_s:.0f} s each")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "pebble").mkdir()
        with (
            AlidnsEmulator([ZONE], access_key_id=KEY_ID, access_key_secret=KEY_SECRET) as dns,
            Pebble(home / "pebble", dns.nameservers[0]) as ca,
        ):
            for number, case in enumerate(CASES):
                used = measure(case, home / str(number), dns, ca, watched_s)
                if case.most_mib is not None and used > case.most_mib:
                    over.append(f"{used:.1f} of {case.most_mib} MiB with {str(case).strip()}")
    if over:
        sys.exit(f"over the limit: {', '.join(over)}")


if __name__ == "__main__":
    main()
