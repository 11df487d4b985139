"""Two CAs in the list of one site: the first behind the fault proxy, the second with EAB.

As `ground`: only the clock is ours. It is as late as the waits of the program say, so the time to a
certificate is what a daemon would take, but for the real work of the CAs.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from certbotless.act.run import Outcome
from certbotless.sandbox.alidns import AlidnsEmulator
from certbotless.sandbox.pebble import Pebble
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.pair import Store
from support.bed import DOMAIN
from support.fault_proxy import Exchange, Fault, FaultProxy
from support.ground import Ground

EAB_KID, EAB_KEY = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"


class TwoCas(Ground):
    """The first CA is `ca`, behind `ca_proxy`; `other` stands in for it."""

    def __init__(
        self, ca: Pebble, ca_proxy: FaultProxy, dns: AlidnsEmulator, api_proxy: FaultProxy, other: Pebble
    ) -> None:
        super().__init__(ca, ca_proxy, dns, api_proxy)
        self.other = other

    @property
    def names(self) -> tuple[str, str]:
        """What the file calls the CAs."""
        return f"{self.ca_proxy.url}/dir", self.other.directory_url

    @property
    def acme(self) -> list[dict[str, Any]]:
        """The list of CAs in the file."""
        first, other = self.names
        eab = {"kid": EAB_KID, "hmac_key": EAB_KEY}
        return [
            {"directory": first, "ca_bundle": str(self.ca_proxy.ca_bundle)},
            {"directory": other, "ca_bundle": str(self.other.ca_bundle), "eab": eab},
        ]

    def until_ok(self, home: Path, within: timedelta) -> timedelta:
        """Run as the daemon does, whenever something comes due, and return how long it took."""
        began = self.clock.now()
        while (outcome := self.run(home)).state != "ok":
            self.wait(outcome)
            assert self.clock.now() - began < within, outcome
        return self.clock.now() - began

    def wait(self, outcome: Outcome) -> None:
        """Let the time until the next try pass."""
        assert outcome.failure is not None, outcome
        left = outcome.failure.retry_at - self.clock.now()
        self.clock.advance(max(left.total_seconds(), 1))

    def silent(self) -> Fault:
        """Say nothing for as long as a client waits, and as that takes by our clock."""

        def fault(exchange: Exchange) -> None:
            self.clock.advance(31)
            # Not for ever: a proxy that goes down waits for all whom it serves.
            exchange.pause(2.5)
            exchange.hang_up()

        return fault

    def orders(self, home: Path) -> dict[str, int]:
        """Return how many orders the ledger has, by CA."""
        rows = LedgerFile(home / "state").entries()
        return {name: sum((r.kind, r.directory) == ("order", name) for r in rows) for name in self.names}

    def issuer(self, home: Path) -> str:
        """Return the directory of the CA that gave what is published."""
        origin = Store(home / "certs", DOMAIN).look().origin
        return origin.directory if origin else ""
