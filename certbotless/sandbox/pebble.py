"""Pebble, a real ACME server for tests: it validates every challenge, through the DNS server given.

Owns its certificate, configuration and life. Nothing is kept over a restart: accounts, orders and the root
that issues are new each time. Never tells it to skip validation.

Source: RFC 8555; Pebble 2.6 (`pebble -h`, its README for the configuration and the PEBBLE_* variables).
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import trustme

from .process import Background, free_port


class Pebble:
    """A Pebble server on 127.0.0.1, alive within the context.

    Args:
        workdir: an existing folder for its files.
        dns: HOST:PORT of the server that answers what it validates.
        certificate_validity_s: how long its certificates are valid.
        retry_after_s: the Retry-After of authorizations and orders; 0 sends none.
        nonce_reject_percent: how many good nonces it refuses.
        authz_reuse_percent: how often a valid authorization is used again for a new order.
        eab_keys: key id -> base64url MAC key (32 bytes); any makes external account binding required.
    """

    def __init__(
        self,
        workdir: Path,
        dns: str,
        *,
        certificate_validity_s: int = 90 * 86400,
        retry_after_s: int = 1,
        nonce_reject_percent: int = 0,
        authz_reuse_percent: int = 0,
        eab_keys: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.management_port = free_port()
        self.ca_bundle = workdir / "pebble-https-root.pem"
        self.log = workdir / "pebble.log"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_bundle)
        authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
            workdir / "pebble-https.pem"
        )
        settings: dict[str, object] = {
            "listenAddress": f"127.0.0.1:{self.port}",
            "managementListenAddress": f"127.0.0.1:{self.management_port}",
            "certificate": str(workdir / "pebble-https.pem"),
            "privateKey": str(workdir / "pebble-https.pem"),
            "externalAccountBindingRequired": bool(eab_keys),
            "externalAccountMACKeys": dict(eab_keys or {}),
            "retryAfter": {"authz": retry_after_s, "order": retry_after_s},
            "certificateValidityPeriod": certificate_validity_s,
        }
        self._config = workdir / "pebble.json"
        self._config.write_text(json.dumps({"pebble": settings}, indent=2))
        self._command = ["pebble", "-strict", "-dnsserver", dns, "-config", str(self._config)]
        self._env = {
            **os.environ,
            "PEBBLE_VA_NOSLEEP": "1",
            "PEBBLE_WFE_NONCEREJECT": str(nonce_reject_percent),
            "PEBBLE_AUTHZREUSE": str(authz_reuse_percent),
        }
        self._tls = ssl.create_default_context(cafile=str(self.ca_bundle))
        self._process: Background | None = None
        self._forgotten_bytes = 0

    @property
    def directory_url(self) -> str:
        """Where an ACME client starts."""
        return f"https://127.0.0.1:{self.port}/dir"

    def root_pem(self) -> str:
        """Return the root that signs what it issues, as PEM; another one after each start."""
        url = f"https://127.0.0.1:{self.management_port}/roots/0"
        with urllib.request.urlopen(url, timeout=5, context=self._tls) as answer:
            pem: str = answer.read().decode()
            return pem

    def requests(self) -> list[str]:
        """Return the ACME requests it got so far, oldest first, as `POST /order-plz`."""
        return re.findall(r"(\w+ /\S*) -> calling handler", self._log_text())

    def orders_made(self) -> int:
        """Return how many orders it has made so far; one that it refused is none."""
        return self._log_text().count("Added order ")

    def _log_text(self) -> str:
        with self.log.open() as log:
            log.seek(self._forgotten_bytes)
            return log.read()

    def forget_requests(self) -> None:
        """Let what it has got and made begin anew, for somebody else whom it serves from now on."""
        self._forgotten_bytes = self.log.stat().st_size

    def start(self) -> None:
        """Start it, and wait until it answers; at most 60 s."""
        self._process = Background(self._command, self.log, self._env)
        self._process.wait_ready(self._answers, patience_s=60)

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.end()

    def _answers(self) -> bool:
        # Only a handshake: `requests()` counts nothing of ours. The certificate tells that the port is ours.
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection,
                self._tls.wrap_socket(connection, server_hostname="127.0.0.1"),
            ):
                return True
        except OSError:
            return False

    def __enter__(self) -> Pebble:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
