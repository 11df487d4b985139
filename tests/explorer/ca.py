"""A CA that keeps RFC 8555 and its own limits, in memory; a limit that is exceeded is a `Violation`.

It counts as Boulder does: the certificates for one set of names when they are issued, the validations when
they fail. Signatures are not checked: a real server does that in the system tests.

Sources: RFC 8555; RFC 9773; Let's Encrypt, "Rate Limits" (letsencrypt.org/docs/rate-limits, 2026-08-05);
Boulder, ratelimits/transaction.go and ra/ra.go (countCertificateIssued).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from support.scripted_ca import PROBLEM, base64url, plain
from support.weeks import DAY, HOUR, Bucket

from certbotless.base.names import challenge_name, is_address
from certbotless.state.pair import Store

from .checks import Violation, check_order, check_signed, check_stand_in

if TYPE_CHECKING:
    from .world import World

LETS_ENCRYPT = "https://acme-v02.api.letsencrypt.org/directory"
# What it does beside what it should. "lost": it makes the order, and its answer never comes. "forgets": the
# certificates of orders that are valid are gone. "later": it asks for a day before each next look.
Mood = Literal["", "down", "503", "refuses", "limits", "invalid", "slow", "later", "lost", "forgets"]
Ari = Literal["none", "sound", "past", "wide", "late"]


@dataclass
class Order:
    """An order as the CA knows it."""

    url: str
    directory: str
    account: str
    names: tuple[str, ...]
    is_exempt: bool
    at: datetime
    tokens: dict[str, str]
    status: dict[str, str]
    state: str = "pending"
    looks: int = 0
    csr: x509.CertificateSigningRequest | None = None
    chain: bytes = b""


@dataclass
class _Counts:
    """What Let's Encrypt counts."""

    sets: defaultdict[frozenset[str], Bucket] = field(
        default_factory=lambda: defaultdict(lambda: Bucket(5, 7 * DAY))
    )
    failures: defaultdict[str, Bucket] = field(default_factory=lambda: defaultdict(lambda: Bucket(5, HOUR)))
    orders: Bucket = field(default_factory=lambda: Bucket(300, 3 * HOUR))
    accounts: Bucket = field(default_factory=lambda: Bucket(10, 3 * HOUR))


class SimulatedCa:
    """All CAs of the world, each a directory of its own; what is done to one is done to all.

    Attributes:
        mood: what is wrong with it now; `moody` is the directory of the only one that has it, empty for all.
        orders: every order so far, by URL.
        unheard: when an order was asked for, and the answer says nothing of what came of it.
        backdate: how long before its issuance a certificate begins.
    """

    def __init__(self, world: World, lifetime: timedelta, ari: Ari, backdate: timedelta) -> None:
        self._world = world
        self.lifetime, self.ari, self.backdate = lifetime, ari, backdate
        self.mood: Mood = ""
        self.moody = ""
        self.orders: dict[str, Order] = {}
        self.unheard: list[datetime] = []
        self._accounts: dict[str, tuple[str, str]] = {}
        self._counts: defaultdict[str, _Counts] = defaultdict(_Counts)
        self._replaced: set[str] = set()
        self._keys: dict[str, ec.EllipticCurvePrivateKey] = {}

    # Certificates.

    def issuer_of(self, directory: str) -> str:
        """Return the name by which the CA at this directory signs."""
        return f"CN={urlsplit(directory).hostname}"

    def sign(
        self, directory: str, key: ec.EllipticCurvePublicKey, names: tuple[str, ...], start: datetime
    ) -> bytes:
        """Return a chain: the leaf, and the certificate of its issuer."""
        host = str(urlsplit(directory).hostname)
        if host not in self._keys:
            self._keys[host] = self._world.new_key()
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        own = self._keys[host]
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(own.public_key())
        leaf = (
            self._begun(x509.Name([]), issuer, start, start + self.lifetime)
            .public_key(key)
            .add_extension(x509.SubjectAlternativeName([*map(_general, names)]), critical=False)
            .add_extension(authority, critical=False)
        )
        root = (
            self._begun(issuer, issuer, start - DAY, start + 9999 * DAY)
            .public_key(own.public_key())
            .add_extension(x509.BasicConstraints(True, None), critical=True)
        )
        signed = (each.sign(own, hashes.SHA256(), ecdsa_deterministic=True) for each in (leaf, root))
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in signed)

    def _begun(
        self, subject: x509.Name, issuer: x509.Name, start: datetime, end: datetime
    ) -> x509.CertificateBuilder:
        serial = self._world.random.getrandbits(120) | 1
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        return builder.serial_number(serial).not_valid_before(start).not_valid_after(end)

    # The wire.

    def answer(self, request: requests.PreparedRequest) -> requests.Response:
        """Answer a request, or raise `requests.ConnectionError`."""
        self._world.may_die("asks the CA")
        url = str(request.url)
        mood = self._mood_at(url)
        if mood == "down":
            raise requests.ConnectionError("no route to host")
        if mood == "503" and request.method == "POST":
            reply: requests.Response | None = _problem("serverInternal", 503, {"Retry-After": "300"})
            if url.endswith("/new-order"):
                self.unheard.append(self._world.clock.true_now())
        else:
            reply = self._routed(url, request)
        self._world.may_die("hears the CA")
        if reply is None:
            self.unheard.append(self._world.clock.true_now())
            raise requests.ConnectionError("connection reset")
        reply.url, reply.request = url, request
        reply.headers["Date"] = format_datetime(self._world.clock.true_now(), usegmt=True)
        reply.headers["Replay-Nonce"] = "bm9uY2U"
        return reply

    def _mood_at(self, url: str) -> Mood:
        """Return the mood of the CA that this URL is of."""
        is_moody = not self.moody or urlsplit(self.moody).hostname == urlsplit(url).hostname
        return self.mood if is_moody else ""

    def _routed(self, url: str, request: requests.PreparedRequest) -> requests.Response | None:
        host = f"https://{urlsplit(url).hostname}"
        kind, _, rest = urlsplit(url).path.strip("/").partition("/")
        directory = next(d for d in self._world.directories if d.startswith(f"{host}/"))
        if kind == urlsplit(directory).path.strip("/"):
            keys = {"newNonce": "nonce", "newAccount": "account", "newOrder": "new-order"}
            keys |= {"renewalInfo": "renewal-info"} if self.ari != "none" else {}
            return _reply({key: f"{host}/{path}" for key, path in keys.items()})
        if kind == "nonce":
            return _reply(None)
        if kind == "renewal-info":
            return self._suggested()
        jws = json.loads(request.body or b"{}")
        protected, payload = plain(jws["protected"]), plain(jws["payload"])
        match kind:
            case "account":
                return self._account(host, directory, protected, payload)
            case "new-order":
                names = tuple(each["value"] for each in payload["identifiers"])
                return self._new_order(host, directory, protected["kid"], names, payload.get("replaces", ""))
            case "order":
                return self._told(self.orders[url])
            case "authz" | "challenge" | "finalize" | "certificate":
                number, _, place = rest.partition("/")
                order = self.orders[f"{host}/order/{number}"]
                return self._about(order, kind, order.names[int(place or 0)], payload)
        raise Violation(f"asked for {url}")

    def _account(self, host: str, directory: str, protected: Any, payload: Any) -> requests.Response:
        jwk = json.dumps(protected["jwk"], sort_keys=True, separators=(",", ":"))
        thumbprint = base64url(hashlib.sha256(jwk.encode()).digest())
        known = next((u for u, (d, t) in self._accounts.items() if (d, t) == (directory, thumbprint)), None)
        if known is None:
            if payload.get("onlyReturnExisting"):
                return _problem("accountDoesNotExist")
            self._take(self._counts[directory].accounts, directory, "new accounts")
            known = f"{host}/account/{len(self._accounts)}"
            self._accounts[known] = (directory, thumbprint)
        return _reply({"status": "valid"}, 200, {"Location": known})

    def _new_order(
        self, host: str, directory: str, account: str, names: tuple[str, ...], replaces: str
    ) -> requests.Response | None:
        now = self._world.clock.true_now()
        if replaces and replaces in self._replaced:
            return _problem("alreadyReplaced", 409)
        check_order(self._world, replaces)
        check_stand_in(self._world, directory)
        mood = self._mood_at(directory)
        if mood == "refuses":
            return _problem("rejectedIdentifier")
        if mood == "limits":
            return _problem("rateLimited", 429, {"Retry-After": "86400"})
        if not replaces:
            self._take(self._counts[directory].orders, directory, "new orders")
        number = len(self.orders)
        url = f"{host}/order/{number}"
        tokens = {name: base64url(self._world.random.randbytes(24)) for name in names}
        status = dict.fromkeys(names, "pending")
        order = Order(url, directory, account, names, bool(replaces), now, tokens, status)
        self.orders[url] = order
        if replaces:
            self._replaced.add(replaces)
        if mood == "lost":
            return None
        told = self._told(order)
        told.status_code = 201
        told.headers["Location"] = url
        return told

    def _about(self, order: Order, kind: str, name: str, payload: Any) -> requests.Response:
        match kind:
            case "challenge":
                order.status[name] = "processing" if order.status[name] == "pending" else order.status[name]
                return _reply(self._challenge(order, name))
            case "authz":
                self._validate(order, name)
                status = order.status[name].replace("processing", "pending")
                identifier = {"type": "dns", "value": name.removeprefix("*.")}
                body = {"status": status, "identifier": identifier, "wildcard": name.startswith("*.")}
                headers = self._asks(order) if status == "pending" else {}
                return _reply(body | {"challenges": [self._challenge(order, name)]}, headers=headers)
            case "finalize":
                csr = base64.urlsafe_b64decode(payload["csr"] + "==")
                order.csr, order.state, order.looks = x509.load_der_x509_csr(csr), "processing", 0
                return self._told(order)
        if self._mood_at(order.url) == "forgets" or not order.chain:
            return _problem("malformed", 404)
        return _reply(None, content=order.chain)

    def _validate(self, order: Order, name: str) -> None:
        """Look for the value of a challenge that was answered, as the slowest server shows it."""
        order.looks += 1
        mood = self._mood_at(order.url)
        if order.status[name] != "processing" or (mood in ("slow", "later") and order.looks < 3):
            return
        thumbprint = self._accounts[order.account][1]
        value = base64url(hashlib.sha256(f"{order.tokens[name]}.{thumbprint}".encode()).digest())
        dns = self._world.dns
        fqdn = challenge_name(name)
        is_shown = all(value in dns.seen_by(fqdn, "TXT", lag_s) for lag_s in (0, dns.lag_s))
        if is_shown and mood != "invalid":
            order.status[name] = "valid"
            return
        order.status[name] = order.state = "invalid"
        self._take(self._counts[order.directory].failures[name], order.directory, f"failures of {name}")

    def _told(self, order: Order) -> requests.Response:
        order.looks += 1
        if order.state == "pending" and set(order.status.values()) == {"valid"}:
            order.state = "ready"
        mood = self._mood_at(order.url)
        is_patient = mood == "slow" or (mood == "later" and order.looks < 3)
        if order.state == "processing" and order.csr is not None and not is_patient:
            self._issue(order, order.csr)
        host = order.url.partition("/order/")[0]
        number = order.url.rpartition("/")[2]
        body: dict[str, Any] = {
            "status": order.state,
            "identifiers": [{"type": "dns", "value": name} for name in order.names],
            "authorizations": [f"{host}/authz/{number}/{place}" for place in range(len(order.names))],
            "finalize": f"{host}/finalize/{number}",
        }
        if order.state == "valid":
            body["certificate"] = f"{host}/certificate/{number}"
        return _reply(body, headers=self._asks(order) if order.state == "processing" else {})

    def _issue(self, order: Order, csr: x509.CertificateSigningRequest) -> None:
        now = self._world.clock.true_now()
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise Violation(f"a key of kind {type(key).__name__}")
        names = frozenset(order.names)
        if not order.is_exempt:
            self._take(self._counts[order.directory].sets[names], order.directory, "certificates of a set")
        start = (now - self.backdate).replace(microsecond=0)
        check_signed(self._world, order, start)
        order.chain, order.state = self.sign(order.directory, key, order.names, start), "valid"

    def _challenge(self, order: Order, name: str) -> dict[str, Any]:
        host, _, number = order.url.partition("/order/")
        body: dict[str, Any] = {
            "type": "dns-01",
            "url": f"{host}/challenge/{number}/{order.names.index(name)}",
            "token": order.tokens[name],
            "status": order.status[name],
        }
        if order.status[name] == "invalid":
            body["error"] = {"type": f"{PROBLEM}unauthorized", "detail": "no TXT record found"}
        return body

    def _asks(self, order: Order) -> dict[str, str]:
        return {"Retry-After": "86400"} if self._mood_at(order.url) == "later" else {}

    def _suggested(self) -> requests.Response:
        facts = Store(self._world.certs_dir, self._world.domain).look().facts
        if facts is None:
            return _problem("malformed", 404)
        life = facts.lifetime
        start, end = {
            "sound": (facts.not_before + life * 0.6, facts.not_before + life * 0.7),
            "past": (facts.not_before - DAY - life / 10, facts.not_before - DAY),
            "wide": (facts.not_before - life, facts.not_after + life),
            "late": (facts.not_after - life / 100, facts.not_after + life / 3),
        }[self.ari]
        return _reply({"suggestedWindow": {"start": start.isoformat(), "end": end.isoformat()}})

    def _take(self, bucket: Bucket, directory: str, what: str) -> None:
        """Count; only Let's Encrypt has these limits."""
        if directory != LETS_ENCRYPT:
            return
        try:
            bucket.take(self._world.clock.true_now())
        except AssertionError as exc:
            raise Violation(f"Let's Encrypt's limit is exceeded: {what}") from exc


def _general(name: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(name)) if is_address(name) else x509.DNSName(name)


def _reply(
    body: Any, status: int = 200, headers: dict[str, str] | None = None, content: bytes = b""
) -> requests.Response:
    reply = requests.Response()
    reply.status_code = status
    reply.headers.update({"Content-Type": "application/json", **(headers or {})})
    reply._content = content or (json.dumps(body).encode() if body is not None else b"")
    return reply


def _problem(kind: str, status: int = 400, headers: dict[str, str] | None = None) -> requests.Response:
    body = {"type": f"{PROBLEM}{kind}", "detail": "no"}
    return _reply(body, status, {"Content-Type": "application/problem+json", **(headers or {})})
