"""Stand-ins of the outside world with real behaviour, in memory. For code that takes them as arguments."""

import socketserver
import ssl
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Literal

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from certbotless.base.clock import Clock
from certbotless.base.errors import CertbotlessError, DeployError, DnsRefused, Interrupted, ZoneNotFound
from certbotless.config.values import Reload
from certbotless.model.records import Record
from certbotless.world.containers import Container
from support.listeners import Served
from support.resolvers import DnsServer

EPOCH = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when somebody sleeps, or when a test moves it.

    Attributes:
        sleeps: how long each sleep was, in seconds.
        on_sleep: called at the start of each sleep: what the world does meanwhile.
        least_sleep_s: a sleep takes no less; to skip long waits in few steps.
    """

    def __init__(self, start: datetime = EPOCH, *, least_sleep_s: float = 0) -> None:
        self.sleeps: list[float] = []
        self.on_sleep: Callable[[], object] = lambda: None
        self.least_sleep_s = least_sleep_s
        self._start = start
        self._elapsed_s = 0.0
        self._is_stopped = False

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed_s)

    def monotonic(self) -> float:
        return self._elapsed_s

    def sleep(self, seconds: float) -> None:
        if self._is_stopped:
            raise Interrupted("asked to stop", hint="the next run carries on")
        self.sleeps.append(seconds)
        self.on_sleep()
        self.advance(max(seconds, self.least_sleep_s, 0))

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed_s += seconds

    def stop(self) -> None:
        """Make every later sleep raise `Interrupted`."""
        self._is_stopped = True


@dataclass(frozen=True, slots=True)
class ZoneCall:
    """A call that a `FakeZone` got: the method, and what it was about."""

    method: Literal["records", "add", "update", "delete"]
    subject: Record | str


class FakeZone:
    """A zone at a DNS service, by the contract of `records.Zone`.

    Args:
        records: what is there already, the oldest first; an id is given to those that have none.
        least_ttl_s: a smaller TTL is raised to it.

    Attributes:
        calls: every call so far.
    """

    def __init__(self, name: str, records: Iterable[Record] = (), *, least_ttl_s: int = 600) -> None:
        self.name = name
        self.calls: list[ZoneCall] = []
        self._least_ttl_s = least_ttl_s
        self._records: dict[str, Record] = {}
        self._made = 0
        self._faults: defaultdict[str, deque[tuple[CertbotlessError, bool]]] = defaultdict(deque)
        for record in records:
            self.put(record)

    # The service.

    def records(self, fqdn: str) -> list[Record]:
        self._called("records", fqdn)
        return [record for record in reversed(self._records.values()) if record.fqdn == fqdn]

    def add(self, record: Record) -> str:
        self._called("add", record)
        twin = self._twin(record)
        if twin is None:
            self._refuse_alias(record)
            record_id = self.put(replace(record, ttl_s=max(record.ttl_s, self._least_ttl_s), record_id=""))
        elif twin.is_enabled:
            record_id = twin.record_id
        else:
            raise DnsRefused(f"{record.fqdn!r} has this record, disabled")
        self._answer_may_be_lost("add")
        return record_id

    def update(self, record: Record) -> None:
        self._called("update", record)
        if record.record_id not in self._records:
            raise DnsRefused(f"there is no record {record.record_id!r}")
        twin = self._twin(record)
        if twin is not None and twin.record_id != record.record_id:
            raise DnsRefused(f"{record.fqdn!r} has another record like this")
        is_enabled = self._records[record.record_id].is_enabled
        ttl_s = max(record.ttl_s, self._least_ttl_s)
        self._records[record.record_id] = replace(record, ttl_s=ttl_s, is_enabled=is_enabled)
        self._answer_may_be_lost("update")

    def delete(self, record_id: str) -> None:
        self._called("delete", record_id)
        self._records.pop(record_id, None)
        self._answer_may_be_lost("delete")

    # What a test does, past the rules.

    def put(self, record: Record) -> str:
        """Add a record by hand and return its id, made up where it has none."""
        self._made += 1
        record_id = record.record_id or f"fake{self._made}"
        self._records[record_id] = replace(record, record_id=record_id)
        return record_id

    def held(self, type: str | None = None) -> list[Record]:
        """Return what is there now, the newest first; no call."""
        return [record for record in reversed(self._records.values()) if type in {None, record.type}]

    def fail(self, method: str, error: CertbotlessError, *, after_change: bool = False) -> None:
        """Let the next call of a method fail, before or after it did its work."""
        self._faults[method].append((error, after_change))

    def _called(self, method: Literal["records", "add", "update", "delete"], subject: Record | str) -> None:
        self.calls.append(ZoneCall(method, subject))
        faults = self._faults[method]
        if faults and not faults[0][1]:
            raise faults.popleft()[0]

    def _answer_may_be_lost(self, method: str) -> None:
        if self._faults[method]:
            raise self._faults[method].popleft()[0]

    def _twin(self, record: Record) -> Record | None:
        """Return the record that the service takes for the same as this one."""
        wanted = (record.fqdn, record.type, record.value, record.line)
        return next((r for r in self._records.values() if (r.fqdn, r.type, r.value, r.line) == wanted), None)

    def _refuse_alias(self, record: Record) -> None:
        beside = [r for r in self._records.values() if (r.fqdn, r.line) == (record.fqdn, record.line)]
        if beside and "CNAME" in {record.type, *(r.type for r in beside)}:
            raise DnsRefused(f"{record.fqdn!r} cannot have a CNAME and another record")


class FakeContainers:
    """The containers of an engine, by the contract of `containers.Containers`.

    Args:
        labels: of each container by its name, written ``key=value``.
        clock: tells when a container is started.

    Attributes:
        restarts: id and stop timeout (seconds) of each restart so far.
        reloads: id and action of each other action so far.
        exit_code: of the programs that are run from now on.
        on_restart: called with the container before a restart returns: what it does when it comes up.
        on_reload: called with the container at the end of another action that ended well.
    """

    def __init__(
        self,
        *containers: Container,
        labels: Mapping[str, Collection[str]] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.reloads: list[tuple[str, Reload]] = []
        self.exit_code = 0
        self.restarts: list[tuple[str, int]] = []
        self.on_restart: Callable[[Container], object] = lambda container: None
        self.on_reload: Callable[[Container], object] = lambda container: None
        self._by_name = {container.name: container for container in containers}
        self._labels = labels or {}
        self._clock = clock or FakeClock()

    def find(self, name: str) -> Container:
        if name not in self._by_name:
            raise DeployError(f"there is no container {name!r}", hint="create it", container=name)
        return self._by_name[name]

    def matching(self, label: str) -> list[Container]:
        def has(container: Container) -> bool:
            own = self._labels.get(container.name, ())
            return any(label in (text, text.partition("=")[0]) for text in own)

        return sorted(filter(has, self._by_name.values()), key=lambda container: container.name)

    def act(self, name: str, action: Reload, stop_timeout_s: int) -> None:
        container = self.find(name)
        if action.kind == "restart":
            self.restarts.append((container.id, stop_timeout_s))
            # As the engine does: it also starts one that was stopped.
            self.put(replace(container, status="running", started_at=self._clock.now()))
            self.on_restart(self._by_name[name])
            return
        if container.status != "running":
            raise DeployError(f"the container {name!r} is {container.status}")
        self.reloads.append((container.id, action))
        if action.argv and self.exit_code:
            raise DeployError(f"{action.argv[0]!r} in the container ended with {self.exit_code}")
        self.on_reload(container)

    def put(self, container: Container) -> None:
        """Create or change a container by hand."""
        self._by_name[container.name] = container

    def remove(self, name: str) -> None:
        """Remove a container by hand."""
        del self._by_name[name]


@dataclass(frozen=True, slots=True)
class Request:
    """What an `HttpServer` was asked; `path` with its query."""

    method: str
    path: str
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """What an `HttpServer` answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


class HttpServer(Served):
    """A real HTTP server that answers whatever a test wants, for replies that no stand-in would give.

    Runs inside a ``with`` block, on a free port of loopback or on a unix socket.

    Args:
        respond: from a request to its reply; None closes the connection without one.

    Attributes:
        requests: every request so far.
    """

    def __init__(
        self, respond: Callable[[Request], Reply | None], *, unix_socket: Path | None = None
    ) -> None:
        self.requests: list[Request] = []
        self._respond = respond
        handler = type("Handler", (_Handler,), {"answer": staticmethod(self.answer)})
        if unix_socket is None:
            super().__init__(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler))
        else:
            super().__init__(socketserver.ThreadingUnixStreamServer(str(unix_socket), handler))

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: Request) -> Reply | None:
        self.requests.append(request)
        return self._respond(request)


class _Handler(BaseHTTPRequestHandler):
    # HTTP/1.0: each connection ends with its reply, so none is left open at the end of a test.

    answer: Callable[[Request], Reply | None]

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        reply = self.answer(Request(self.command, self.path, body))
        if reply is None:
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(ConnectionError):  # a client that has read enough
                self.wfile.write(reply.body)

    do_GET = do_POST = do_PUT = do_HEAD = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Write nothing: `HttpServer.requests` has it all."""


class FakeZones:
    """A DNS account with these zones, by the contract of `context.Zones`."""

    def __init__(self, *zones: FakeZone) -> None:
        self._by_name = {zone.name: zone for zone in zones}

    def find(self, fqdn: str) -> str:
        held = [name for name in self._by_name if f".{fqdn}".endswith(f".{name}")]
        if not held:
            raise ZoneNotFound(f"no zone holds {fqdn!r}", hint="add it")
        return max(held, key=len)

    def open(self, name: str) -> FakeZone:
        return self._by_name.get(name) or _NoZone(name)

    def prove(self, zones: Iterable[str]) -> None:
        """The key is there."""


class _NoZone(FakeZone):
    """A zone that the account has not, or has no more: that is told by its calls, and not as it is opened."""

    def _called(self, method: Literal["records", "add", "update", "delete"], subject: Record | str) -> None:
        raise ZoneNotFound(f"{method} refused: the account has no zone {self.name!r}", hint="add it")


class ZoneServer(DnsServer):
    """A real name server on loopback that shows what a `FakeZone` holds. Runs inside a ``with`` block.

    Attributes:
        shows: gives the records that it shows now; one that lags behind the service shows others.
        on_query: called before each answer.
        rcode: every question gets this code and nothing else; None for the true answer.
        offers_recursion: it answers as a resolver does.
    """

    def __init__(self, zone: FakeZone) -> None:
        self.shows: Callable[[], Iterable[Record]] = zone.held
        self.on_query: Callable[[], object] = lambda: None
        self.rcode: dns.rcode.Rcode | None = None
        self.offers_recursion = False
        super().__init__(self._answer)

    def _answer(self, query: dns.message.Message) -> dns.message.Message:
        self.on_query()
        reply = dns.message.make_response(query, recursion_available=self.offers_recursion)
        if self.rcode is not None:
            reply.set_rcode(self.rcode)
            return reply
        name, type_ = query.question[0].name, dns.rdatatype.to_text(query.question[0].rdtype)
        for record in self.shows():
            if (record.fqdn, record.type, record.is_enabled) == (name.to_text(True), type_, True):
                reply.answer.append(dns.rrset.from_text(name, record.ttl_s, "IN", type_, record.value))
        return reply


class TlsServer(Served):
    """A real TLS server on loopback, the inside of a container. Runs inside a ``with`` block.

    Serves the pair that it has loaded, as a program that reads its files when it starts; before the first
    `load` it hangs up on everybody.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._context: ssl.SSLContext | None = None
        handler = type("Handshake", (_Handshake,), {"context": property(lambda _: self.context())})
        super().__init__(socketserver.ThreadingTCPServer((host, port), handler))

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self._server.server_address[1]
        return port

    def context(self) -> ssl.SSLContext | None:
        """Return what the next client is served with, None to hang up."""
        return self._context

    def load(self, chain: Path, key: Path) -> None:
        """Serve these files as they are now."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)
        self._context = context

    def unload(self) -> None:
        """Hang up on everybody, as a program that has ended."""
        self._context = None


class _Handshake(socketserver.BaseRequestHandler):
    context: ssl.SSLContext | None

    def handle(self) -> None:
        context = self.context
        if context is not None:
            with suppress(OSError), context.wrap_socket(self.request, server_side=True) as tls:
                tls.recv(1)  # until the client has seen enough
