"""A stand-in for the Alidns service: its API over HTTP and HTTPS, and the name servers of its zones.

`AlidnsEmulator` runs it in threads of the calling process; ``python -m certbotless.sandbox.alidns`` runs it
alone. Owns the faults that a test injects and the record of what was asked. What the service answers is in
`alidnsservice`, what DNS answers in `dnsserver`.
"""

import argparse
import json
import signal
import sys
import uuid
from collections import defaultdict, deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import dns.rcode

from . import sts
from .alidnsservice import AlidnsService, Unsure
from .dnsserver import NameServer, Query, rdata
from .gateway import COMMON, Account, ApiError, Parameters
from .httpapi import ApiListener, HttpsListener, Reply, TlsApiListener
from .idn import to_wire
from .listener import TcpListener
from .ram import ACCOUNT_ID, Permits
from .sts import Sts
from .zonedata import Record, Status, ZoneData

__all__ = [
    "ACCOUNT_ID",
    "AlidnsEmulator",
    "Call",
    "Fault",
    "HttpsListener",
    "Permits",
    "Query",
    "Record",
    "Unsure",
    "main",
]

_HOST = "alidns.aliyuncs.com"
_NO_ANSWERS = {"empty": b"", "null": b"null", "list": b"[]", "foreign": b'{"status":"ok"}'}
_PORTAL_PAGE = b"<html><head><title>Sign in</title></head><body>Please sign in to this network.</body></html>"


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a call.

    `reply`: ``truncated`` (half of the true one), ``error`` (`code`, with its own
    HTTP status unless one is given), ``drop`` (the connection is closed without an answer); or, with status
    200, ``html`` (a captive portal's page), ``empty`` (no body), ``null`` (just that), ``list`` (JSON, but no
    object), ``foreign`` (an object of another service).

    With `after_change` the call is carried out first, as it always is for ``truncated``.
    """

    reply: Literal["truncated", "error", "drop", "html", "empty", "null", "list", "foreign"]
    code: str = "InternalError"
    http_status: int | None = None
    after_change: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call that reached the API. `code` is ``OK``, the error's code, or the `Fault.reply` put in its place.

    `parameters` are the action's own, without the common ones, so without anything secret.
    """

    action: str
    parameters: Parameters
    code: str
    at: datetime


class AlidnsEmulator:
    """One account with its zones, the API, and the name servers; runs inside a ``with`` block.

    Attributes:
        endpoint: ``http://HOST:PORT`` of the API, and of STS.
        sts: the temporary keys of the account.
        nameservers: ``HOST:PORT`` of each name server, UDP and TCP.
    """

    endpoint: str
    nameservers: tuple[str, ...]

    def __init__(
        self,
        zones: Sequence[str],
        *,
        access_key_id: str,
        access_key_secret: str,
        security_token: str | None = None,
        min_ttl_s: int = 600,
        calls_per_second: int | None = None,
        name_servers: int = 2,
        address: str = "127.0.0.1",
        http_port: int = 0,
        dns_ports: Sequence[int] = (),
        dns_addresses: Sequence[str] = (),
        https: HttpsListener | None = None,
        unsure: Unsure | None = None,
    ) -> None:
        """Describe the stand-in; nothing is bound before the ``with`` block.

        Args:
            zones: names of the zones, A-labels or in their own script; the first is the one that hand edits
                mean by default.
            security_token: what calls must carry beside the key, as with STS; `None`: nothing.
            min_ttl_s: the least TTL of the account's edition.
            calls_per_second: beyond it, Throttling.User; `None`: no limit.
            address: where the API and the name servers listen.
            http_port: 0 takes a free one.
            dns_ports: the name servers' ports, 0 or absent takes a free one.
            dns_addresses: of the name servers, where they differ from `address`.
            unsure: what is not sure of the real service; by default what the sources say.
        """
        account = Account(access_key_id, access_key_secret, security_token, min_ttl_s, calls_per_second)
        self._data = ZoneData([to_wire(zone) for zone in zones], name_servers)
        self.set_weights = self._data.set_weights
        self._service = AlidnsService(account, self._data, unsure)
        self.sts = Sts(self._service.gateway)
        self._address, self._http_port, self._https = address, http_port, https
        # What was not given is the one address, and free ports.
        self._dns_addresses = [*dns_addresses, *[address] * (name_servers - len(dns_addresses))]
        self._dns_ports = [*dns_ports, *[0] * (name_servers - len(dns_ports))]
        self._name_servers: list[NameServer] = []
        self._https_endpoint: str | None = None
        self._faults: defaultdict[str, deque[Fault]] = defaultdict(deque)
        self._calls: list[Call] = []
        self._queries: list[Query] = []
        self._running = ExitStack()

    def __enter__(self) -> Self:
        """Bind and serve.

        Raises:
            OSError: an address or port is not to be had, or the certificate cannot be read.
        """
        with ExitStack() as started:
            for index, port in enumerate(self._dns_ports):
                name_server = NameServer(index, self._data, self._dns_addresses, port, self._queries.append)
                _run(name_server, started)
                self._name_servers.append(name_server)
            self.nameservers = tuple(f"{server.address}:{server.port}" for server in self._name_servers)
            http = ApiListener(self._address, self._http_port, self._reply)
            _run(http, started)
            self.endpoint = f"http://{self._address}:{http.port}"
            if self._https is not None:
                https = TlsApiListener(self._address, self._https, self._reply)
                _run(https, started)
                self._https_endpoint = f"https://{self._address}:{https.port}"
            self._running = started.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.close()

    @property
    def https_endpoint(self) -> str:
        """``https://HOST:PORT`` of the API."""
        if self._https_endpoint is None:
            raise ValueError("the emulator was started without an HttpsListener")
        return self._https_endpoint

    @property
    def calls(self) -> list[Call]:
        """Every call so far, in the order they were answered."""
        return list(self._calls)

    @property
    def queries(self) -> list[Query]:
        """Every DNS question so far."""
        return list(self._queries)

    # What an owner does in the console, past the rules of the API.

    def records(self, rr: str | None = None, type: str | None = None) -> list[Record]:
        """Return the account's records as they are now, shown by DNS yet or not, the oldest first.

        Their names are in A-labels; `rr` may be in its own script.
        """
        wanted = None if rr is None else to_wire(rr)
        return [
            record
            for record in self._data.records()
            if wanted in {None, record.rr} and type in {None, record.type}
        ]

    def add(
        self,
        rr: str,
        type: str,
        value: str,
        *,
        zone: str | None = None,
        ttl_s: int = 600,
        line: str = "default",
        status: Status = "ENABLE",
        locked: bool = False,
    ) -> Record:
        """Add a record by hand.

        Raises:
            dns.exception.DNSException: `value` is none of this type.
        """
        rdata(type, value)
        place = to_wire(zone or self._data.zones[0]), to_wire(rr)
        record = Record(self._data.new_id(), *place, type, value, ttl_s, line, status, locked)
        self._data.put(record)
        return record

    def update(self, record_id: str, **fields: Any) -> Record:
        """Change fields of a record by hand, named as in `Record`, and return it.

        Raises:
            KeyError: there is no such record.
            dns.exception.DNSException: the value is none of its type.
        """
        with self._data.lock:
            record = replace({record.record_id: record for record in self.records()}[record_id], **fields)
            rdata(record.type, record.value)
            self._data.put(record)
        return record

    def delete(self, record_id: str) -> None:
        """Delete a record by hand, if it is there."""
        self._data.remove(record_id)

    def attach_policy(self, permits: Permits) -> None:
        """Let the key do what a RAM policy permits, and nothing else; before, it may do everything."""
        self._service.permits = permits

    # What a test does to the service and its name servers, which count from 0.

    def set_delay(self, server_index: int, seconds: float) -> None:
        """Let a name server show each change made from now on only `seconds` after it was made."""
        self._data.set_delay(server_index, seconds)

    def set_clock(self, ahead: timedelta) -> None:
        """Let the service's clock be ahead of this machine's, or behind: it refuses whose is another."""
        self._service.gateway.ahead = ahead

    def set_silent(self, server_index: int, silent: bool) -> None:
        """Let a name server answer nothing at all, or answer again."""
        self._name_servers[server_index].silent = silent

    def set_rcode(self, server_index: int, rcode: dns.rcode.Rcode | None) -> None:
        """Let a name server answer every question with this code alone, or truly again (`None`)."""
        self._name_servers[server_index].rcode = rcode

    def fail(self, action: str, fault: Fault, times: int = 1) -> None:
        """Let the next `times` calls of `action` go wrong, after those already told to."""
        self._faults[action].extend([fault] * times)

    def forget_faults(self) -> None:
        """Let every later call go well."""
        self._faults.clear()

    def _reply(self, method: str, parameters: Parameters) -> Reply | None:
        """Carry out a call as the faults allow, and note it; `None` closes the connection without a reply."""
        action = parameters.get("Action", "")
        with self._data.lock:
            fault = self._faults[action].popleft() if self._faults[action] else None
        reply: Reply | None = None
        if fault is None or fault.after_change or fault.reply == "truncated":
            reply = self._true_reply(method, parameters)
        if fault is not None:
            reply = _spoiled(fault, reply)
        own = {name: value for name, value in parameters.items() if name not in COMMON}
        self._calls.append(Call(action, own, "drop" if reply is None else reply.code, datetime.now(UTC)))
        return reply

    def _true_reply(self, method: str, parameters: Parameters) -> Reply:
        try:
            is_sts = parameters.get("Version") == sts.VERSION
            with self._data.lock:
                answer = (self.sts if is_sts else self._service).call(method, parameters)
        except ApiError as exc:
            return _error_reply(exc)
        return Reply("OK", 200, _json({"RequestId": _request_id()} | answer))


def _spoiled(fault: Fault, reply: Reply | None) -> Reply | None:
    """Return what the fault puts in the place of a reply."""
    if fault.reply == "error":
        return _error_reply(ApiError(fault.code, http_status=fault.http_status))
    if fault.reply == "html":
        return Reply("html", 200, _PORTAL_PAGE, "text/html")
    if fault.reply in _NO_ANSWERS:
        return Reply(fault.reply, 200, _NO_ANSWERS[fault.reply])
    if fault.reply == "truncated" and reply is not None:
        return replace(reply, code="truncated", body=reply.body[: len(reply.body) // 2])
    return None


def _error_reply(error: ApiError) -> Reply:
    request_id = _request_id()
    recommend = f"https://api.aliyun.com/troubleshoot?q={error.code}&product=Alidns&requestId={request_id}"
    answer: dict[str, Any] = {
        "RequestId": request_id,
        "HostId": _HOST,
        "Code": error.code,
        "Message": error.text,
        "Recommend": recommend,
    }
    if error.code == "Forbidden.RAM":
        # It says whose account this is (ddns-go issue 1155), which is no matter for a report.
        answer["AccessDeniedDetail"] = {
            "AuthPrincipalOwnerId": ACCOUNT_ID,
            "EncodedDiagnosticMessage": "AQEAAAAA",
            "AuthPrincipalType": "SubUser",
            "AuthPrincipalDisplayName": "209876543210987654",
        }
    return Reply(error.code, error.http_status, _json(answer))


def _request_id() -> str:
    return str(uuid.uuid4()).upper()


def _json(value: Any) -> bytes:
    # Without spaces, as from the service: clients written in shell cut this text apart.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _run(server: NameServer | TcpListener, started: ExitStack) -> None:
    server.start()
    started.callback(server.stop)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stand-in alone until SIGTERM or SIGINT; print one line once it is ready."""
    parser = argparse.ArgumentParser(prog="python -m certbotless.sandbox.alidns", description=main.__doc__)
    parser.add_argument("--zone", action="append", required=True, help="may be given several times")
    parser.add_argument("--http", type=_place, default=("127.0.0.1", 0), metavar="HOST:PORT")
    parser.add_argument("--https", type=_place, metavar="HOST:PORT", help="needs --cert and --key")
    parser.add_argument("--cert", metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--key", metavar="FILE", help="its key, PEM")
    parser.add_argument("--dns", type=_place, action="append", required=True, metavar="HOST:PORT")
    parser.add_argument(
        "--delay", type=float, action="append", default=[], metavar="SECONDS", help="of each --dns in turn"
    )
    parser.add_argument("--access-key-id", required=True, metavar="ID")
    parser.add_argument("--access-key-secret-file", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(arguments)
    if len(options.delay) > len(options.dns):
        parser.error("there are more --delay than --dns")
    https = None
    if options.https:
        if options.https[0] != options.http[0] or not (options.cert and options.key):
            parser.error("--https needs the host of --http, and --cert and --key")
        https = HttpsListener(options.https[1], options.cert, options.key)

    # Held back before any thread starts, so that none of them takes the signal.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        with AlidnsEmulator(
            options.zone,
            access_key_id=options.access_key_id,
            access_key_secret=options.access_key_secret_file.read_text().strip(),
            name_servers=len(options.dns),
            address=options.http[0],
            http_port=options.http[1],
            dns_ports=[port for _, port in options.dns],
            dns_addresses=[host for host, _ in options.dns],
            https=https,
        ) as alidns:
            for index, seconds in enumerate(options.delay):
                alidns.set_delay(index, seconds)
            endpoints = [alidns.endpoint, *([alidns.https_endpoint] if https else [])]
            print("ready", *endpoints, "dns", *alidns.nameservers, flush=True)
            signal.sigwait(signals)
    except OSError as exc:
        print(f"cannot start: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
