"""A CA that says what a test wants, and everything that an issuance there touches.

It checks TXT values and the steps of RFC 8555, but no signatures: a real server does that in the system
tests.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from certbotless.config.settings import Acme, Site
from certbotless.model.certificate import Published
from certbotless.model.ledger import Entry, Kind
from certbotless.model.memory import TxtValue
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.order_guard import OrderGuard
from certbotless.state.site import Accounts, SiteFile
from certbotless.world.acme import keys as pki
from certbotless.world.acme.challenge import presented
from certbotless.world.acme.issue import Issuance
from certbotless.world.acme.order import Issued
from support.fakes import FakeClock, FakeZone, HttpServer, Reply, Request

DOMAIN, WILDCARD = "devbox.sweetlove.test", "*.devbox.sweetlove.test"
NAMES = (WILDCARD, DOMAIN)
CHALLENGE_NAME = f"_acme-challenge.{DOMAIN}"
NOW = datetime(2026, 11, 24, 5, 30, tzinfo=UTC)
PROBLEM = "urn:ietf:params:acme:error:"
CHAIN = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def plain(text: str) -> Any:
    """Return what a part of a JWS says."""
    return json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)) or "null")


def problem(kind: str, status: int = 400, detail: str = "no") -> Reply:
    body = {"type": kind if ":" in kind else f"{PROBLEM}{kind}", "detail": detail}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/problem+json"})


class ScriptedCa:
    """An ACME server on loopback. Use as a context manager.

    Attributes:
        asked: what was asked for so far, but for nonces: ``account``, ``order``, ``finalize`` and so on.
        instead: replies given in place of the true ones, by what is asked for, one after the other.
        reused: names whose authorization is valid from the start.
        refused: names that cannot be validated.
        pending_looks, processing_looks: how often an authorization or the order is not ready yet.
        retry_after: sent with such a reply, seconds; empty sends none.
        on: called when something is asked for.
        offers: the kinds of challenge, in their order.
        meta: what the directory says of the CA.
        suggests: its renewal information for any certificate; None where it has none.
        sent: the last payload by what was asked for.
        account_status: of the account of any key; empty for none.
        date: what every reply gives as its date; empty gives none.
        names_wildcards: whether the authorization of a wildcard has the ``*.`` in its identifier.
    """

    def __init__(self, zone: FakeZone) -> None:
        self.asked: list[str] = []
        self.instead: defaultdict[str, deque[Reply]] = defaultdict(deque)
        self.reused: set[str] = set()
        self.refused: set[str] = set()
        self.pending_looks = 0
        self.processing_looks = 0
        self.retry_after = ""
        self.on: dict[str, Callable[[], object]] = {}
        self.offers = ["http-01", "dns-01"]
        self.meta: dict[str, Any] = {}
        self.suggests: Any = None
        self.sent: dict[str, Any] = {}
        self.account_status = ""
        self.date = ""
        self.names_wildcards = False
        self._zone = zone
        self._nonces = itertools.count()
        self._thumbprint = ""
        self._names: list[str] = []
        self._answered: set[str] = set()
        self._is_finalized = False
        self._orders = itertools.count(1)
        self._server = HttpServer(self._dated)

    def __enter__(self) -> ScriptedCa:
        self._server.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.__exit__(*exc)

    @property
    def directory(self) -> str:
        return f"{self._server.url}/directory"

    def url(self, path: str) -> str:
        return f"{self._server.url}/{path}"

    def _dated(self, request: Request) -> Reply:
        reply = self._respond(request)
        date = {"Date": self.date} if self.date else {}
        return Reply(reply.status, reply.body, {**date, **reply.headers})

    def _respond(self, request: Request) -> Reply:
        path = request.path.lstrip("/")
        if path == "nonce":
            return self._signed(Reply(204, b""))
        kind, _, rest = path.partition("/")
        self.asked.append(kind)
        self.on.get(kind, lambda: None)()
        if self.instead[kind]:
            return self._signed(self.instead[kind].popleft())
        if kind == "directory":
            keys = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order"}
            keys |= {"renewalInfo": "renewal"} if self.suggests is not None else {}
            return json_reply({key: self.url(path) for key, path in keys.items()} | {"meta": self.meta})
        if kind == "renewal":
            asks = {"Retry-After": self.retry_after} if self.retry_after else {}
            return json_reply(self.suggests, headers=asks)
        jws = json.loads(request.body)
        self.sent[kind] = plain(jws["payload"])
        return self._signed(self._answer(kind, rest, plain(jws["protected"]), self.sent[kind]))

    def _answer(self, kind: str, rest: str, protected: Any, payload: Any) -> Reply:
        match kind:
            case "account":
                if payload.get("onlyReturnExisting"):
                    return self._known_account()
                self.account_status = "valid"
                jwk = json.dumps(protected["jwk"], sort_keys=True, separators=(",", ":"))
                self._thumbprint = base64url(hashlib.sha256(jwk.encode()).digest())
                return json_reply({"status": "valid"}, 201, {"Location": self.url("account/1")})
            case "order":
                self._names = [identifier["value"] for identifier in payload["identifiers"]]
                self._answered, self._is_finalized = set(), False
                return json_reply(self._order(), 201, {"Location": self.url(f"look/{next(self._orders)}")})
            case "look":
                return self._patient(self._order())
            case "authz":
                return self._patient(self._authorization(rest))
            case "challenge":
                self._answered.add(rest)
                return self._patient(self._challenge(rest, "dns-01"))
            case "finalize":
                self._is_finalized = True
                return self._patient(self._order())
            case "certificate":
                return Reply(200, CHAIN, {"Content-Type": "application/pem-certificate-chain"})
        raise ValueError(kind)

    def _known_account(self) -> Reply:
        if not self.account_status:
            return problem("accountDoesNotExist")
        return json_reply({"status": self.account_status}, 200, {"Location": self.url("account/1")})

    def _order(self) -> dict[str, Any]:
        indexes = range(len(self._names))
        authorizations = [self._authorization(str(index))["status"] for index in indexes]
        status = "ready" if set(authorizations) == {"valid"} else "pending"
        if "invalid" in authorizations:
            status = "invalid"
        if self._is_finalized:
            status = "processing" if self.processing_looks else "valid"
            self.processing_looks -= status == "processing"
        return {
            "status": status,
            "identifiers": [{"type": "dns", "value": name} for name in self._names],
            "authorizations": [self.url(f"authz/{index}") for index in indexes],
            "finalize": self.url("finalize/1"),
        } | ({"certificate": self.url("certificate/1")} if status == "valid" else {})

    def _authorization(self, index: str) -> dict[str, Any]:
        name = self._names[int(index)]
        status = "valid" if name in self.reused else "pending"
        if index in self._answered and status == "pending":
            if self.pending_looks:
                self.pending_looks -= 1
            else:
                status = "valid" if self._is_shown(name, index) and name not in self.refused else "invalid"
                if status == "valid":
                    self.reused.add(name)
        offered = [self._challenge(index, kind) for kind in self.offers]
        if status == "invalid":
            detail = f"no TXT record\nfor {name}"
            offered[-1] |= {"status": "invalid", "error": {"type": f"{PROBLEM}dns", "detail": detail}}
        shown = name if self.names_wildcards else name.removeprefix("*.")
        identifier = {"type": "dns", "value": shown}
        return {"status": status, "identifier": identifier, "challenges": offered}

    def _challenge(self, index: str, kind: str) -> dict[str, Any]:
        status = "processing" if index in self._answered else "pending"
        url = self.url(f"challenge/{index}")
        if kind == "dns-persist-01":
            # Without a token: draft-ietf-acme-dns-persist-01, section 3.
            account = self.url("account/1")
            issuers = {"issuer-domain-names": ["ca.test"], "accounturi": account}
            return {"type": kind, "url": self.url("challenge/persist"), "status": "pending", **issuers}
        return {"type": kind, "url": url, "token": _token(index), "status": status}

    def _is_shown(self, name: str, index: str) -> bool:
        value = base64url(hashlib.sha256(f"{_token(index)}.{self._thumbprint}".encode()).digest())
        fqdn = f"_acme-challenge.{name.removeprefix('*.')}"
        return (fqdn, value) in [(record.fqdn, record.value) for record in self._zone.held("TXT")]

    def _patient(self, body: dict[str, Any]) -> Reply:
        is_done = body["status"] in ("valid", "invalid", "ready")
        asks = {"Retry-After": self.retry_after} if self.retry_after and not is_done else {}
        return json_reply(body, headers=asks)

    def _signed(self, reply: Reply) -> Reply:
        headers = {"Replay-Nonce": f"nonce{next(self._nonces)}", **reply.headers}
        return Reply(reply.status, reply.body, headers)


def _token(index: str) -> str:
    return base64url(f"token {index} ".encode() * 4)


def json_reply(body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **headers})


class Pending:
    """The order in flight, in memory (issue.PendingOrder)."""

    def __init__(self) -> None:
        self.url = ""
        self.key_pem: bytes | None = None

    def begin(self, url: str) -> None:
        self.url, self.key_pem = url, None

    def key(self) -> pki.CertificateKey:
        if self.key_pem is None:
            self.key_pem = pki.key_to_pem(pki.new_key())
        return pki.key_from_pem(self.key_pem)

    def drop(self) -> None:
        self.url, self.key_pem = "", None


class Bench:
    """Everything that an issuance touches.

    Attributes:
        ledger: what is counted; no limit holds an order unless `is_limited`.
        is_rehearsal: whether it is a dry run.
        wait: called for the txt values.
    """

    def __init__(self, ca: ScriptedCa, zone: FakeZone, state_dir: Path) -> None:
        self.ca = ca
        self.zone = zone
        self.clock = FakeClock()
        self.introduction = Acme(email="you@example.com")
        self.journal = SiteFile(state_dir, DOMAIN)
        self.accounts = Accounts(state_dir, ca.directory)
        self.ledger = LedgerFile(state_dir)
        self.pending = Pending()
        self.is_limited = self.is_rehearsal = False
        self.waited_for: list[TxtValue] = []
        self.wait: Callable[[], object] = lambda: None

    def counted(self, kind: Kind) -> list[Entry]:
        """Return the rows of this kind."""
        return [row for row in self.ledger.entries() if row.kind == kind]

    @property
    def reserved(self) -> int:
        """How many orders are counted."""
        return len(self.counted("order"))

    @property
    def accounts_made(self) -> int:
        """How many accounts are counted."""
        return len(self.counted("account"))

    @property
    def failures(self) -> list[str]:
        """The names whose validation is counted as failed."""
        return [name for row in self.counted("failure") for name in row.names]

    @property
    def waits(self) -> list[float]:
        """The seconds that were waited so far."""
        return [slept for slept in self.clock.sleeps if slept]

    def issuance(self, names: Sequence[str] = NAMES) -> Issuance:
        acme = replace(self.introduction, directory=self.ca.directory)
        guard = OrderGuard(
            self.ledger,
            self.clock,
            Site(domain=names[-1], names=tuple(names[:-1])),
            acme.url,
            None,
            is_forced=not self.is_limited,
            is_rehearsal=self.is_rehearsal,
        )
        return Issuance(
            acme, names, self.accounts, dns=self, pending=self.pending, guard=guard, clock=self.clock
        )

    def issue(self, names: Sequence[str] = NAMES, predecessor: Published | None = None) -> Issued:
        return self.issuance(names).issue(predecessor)

    def collect(self) -> Issued | None:
        return self.issuance().collect()

    # issue.TxtPlaces

    def locate(self, name: str, value: str) -> TxtValue:
        return TxtValue(name, value, self.zone.name)

    def presented(self, values: Sequence[TxtValue]) -> AbstractContextManager[None]:
        return presented({self.zone.name: self.zone}.__getitem__, self.journal, values)

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        self.waited_for += values
        self.wait()

    def assert_dns_is_clean(self) -> None:
        assert self.zone.held() == []
        assert self.journal.load().txt == ()


@contextmanager
def opened_bench(state_dir: Path) -> Iterator[Bench]:
    zone = FakeZone("sweetlove.test")
    with ScriptedCa(zone) as ca:
        yield Bench(ca, zone, state_dir)


def lose_account(bench: Bench, status: str = "") -> None:
    """Let the CA have forgotten our account, or closed it, and refuse the next order for that."""
    bench.pending.drop()
    bench.ca.account_status = status
    bench.ca.instead["order"].append(
        problem("unauthorized", 403) if status else problem("accountDoesNotExist")
    )
