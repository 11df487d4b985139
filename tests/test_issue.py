"""The conversation with a CA: its order, what is kept between runs, and every error that can come of it.

The CA here is a script that says what a test wants. It checks TXT values and the steps of RFC 8555, but no
signatures: a real server does that in the system tests.
"""

from __future__ import annotations

import hashlib
import hmac
import inspect
import itertools
import json
import logging
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import acme.errors
import josepy as jose
import pytest
import requests
import trustme
from acme import challenges, messages
from fakes import FakeClock, FakeZone, HttpServer, Reply, Request
from hypothesis import given
from hypothesis import strategies as st

from certbotless import pki
from certbotless.challenge import TxtValue
from certbotless.errors import (
    AccountRefused,
    AuthorizationFailed,
    CaUnavailable,
    DnsRefused,
    Interrupted,
    IssueError,
    OrderTimeout,
    PropagationTimeout,
    RateLimited,
)
from certbotless.issue import (
    Binding,
    Ca,
    Issued,
    Network,
    Predecessor,
    Suggestion,
    ca_errors,
    collect,
    issue,
    retry_after,
    suggested_renewal,
)
from certbotless.records import Record
from certbotless.renewal import Window
from certbotless.sandbox.alidns import AlidnsEmulator, HttpsListener
from certbotless.state import Accounts, SiteFile

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
        self._zone = zone
        self._nonces = itertools.count()
        self._thumbprint = ""
        self._names: list[str] = []
        self._answered: set[str] = set()
        self._is_finalized = False
        self._orders = itertools.count(1)
        self._server = HttpServer(self._respond)

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
            return _json({key: self.url(path) for key, path in keys.items()} | {"meta": self.meta})
        if kind == "renewal":
            return _json(self.suggests, headers={"Retry-After": self.retry_after} if self.retry_after else {})
        jws = json.loads(request.body)
        self.sent[kind] = plain(jws["payload"])
        return self._signed(self._answer(kind, rest, plain(jws["protected"]), self.sent[kind]))

    def _answer(self, kind: str, rest: str, protected: Any, payload: Any) -> Reply:
        match kind:
            case "account":
                jwk = json.dumps(protected["jwk"], sort_keys=True, separators=(",", ":"))
                self._thumbprint = base64url(hashlib.sha256(jwk.encode()).digest())
                return _json({"status": "valid"}, 201, {"Location": self.url("account/1")})
            case "order":
                self._names = [identifier["value"] for identifier in payload["identifiers"]]
                self._answered, self._is_finalized = set(), False
                return _json(self._order(), 201, {"Location": self.url(f"look/{next(self._orders)}")})
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
        identifier = {"type": "dns", "value": name.removeprefix("*.")}
        return {"status": status, "identifier": identifier, "challenges": offered}

    def _challenge(self, index: str, kind: str) -> dict[str, Any]:
        status = "processing" if index in self._answered else "pending"
        url = self.url(f"challenge/{index}")
        return {"type": kind, "url": url, "token": _token(index), "status": status}

    def _is_shown(self, name: str, index: str) -> bool:
        value = base64url(hashlib.sha256(f"{_token(index)}.{self._thumbprint}".encode()).digest())
        fqdn = f"_acme-challenge.{name.removeprefix('*.')}"
        return (fqdn, value) in [(record.fqdn, record.value) for record in self._zone.held("TXT")]

    def _patient(self, body: dict[str, Any]) -> Reply:
        is_done = body["status"] in ("valid", "invalid", "ready")
        asks = {"Retry-After": self.retry_after} if self.retry_after and not is_done else {}
        return _json(body, headers=asks)

    def _signed(self, reply: Reply) -> Reply:
        headers = {"Replay-Nonce": f"nonce{next(self._nonces)}", **reply.headers}
        return Reply(reply.status, reply.body, headers)


def _token(index: str) -> str:
    return base64url(f"token {index} ".encode() * 4)


def _json(body: object, status: int = 200, headers: Mapping[str, str] = MappingProxyType({})) -> Reply:
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
    """Everything that an issuance touches."""

    def __init__(self, ca: ScriptedCa, zone: FakeZone, state_dir: Path) -> None:
        self.ca = ca
        self.zone = zone
        self.clock = FakeClock()
        self.introduction = Ca("", "you@example.com")
        self.journal = SiteFile(state_dir, DOMAIN)
        self.accounts = Accounts(state_dir, ca.directory)
        self.pending = Pending()
        self.reserved = 0
        self.accounts_made = 0
        self.waited_for: list[TxtValue] = []
        self.wait: Callable[[], object] = lambda: None
        self.reserve: Callable[[], object] = lambda: None

    def issue(self, names: Sequence[str] = NAMES, predecessor: Predecessor | None = None) -> Issued:
        return issue(
            replace(self.introduction, directory=self.ca.directory),
            self.accounts,
            names,
            dns=self,
            journal=self.journal,
            pending=self.pending,
            books=self,
            clock=self.clock,
            predecessor=predecessor,
        )

    def collect(self) -> Issued | None:
        return collect(
            replace(self.introduction, directory=self.ca.directory),
            self.accounts,
            pending=self.pending,
            books=self,
            clock=self.clock,
        )

    # issue.TxtPlaces

    def locate(self, name: str, value: str) -> TxtValue:
        return TxtValue(name, value, self.zone.name)

    def open(self, zone: str) -> FakeZone:
        return {self.zone.name: self.zone}[zone]

    def wait_until_shown(self, values: Sequence[TxtValue]) -> None:
        self.waited_for += values
        self.wait()

    # issue.Books

    def reserve_order(self) -> None:
        self.reserve()
        self.reserved += 1

    def count_account(self) -> None:
        self.accounts_made += 1

    def assert_dns_is_clean(self) -> None:
        assert self.zone.held() == []
        assert self.journal.entries() == []


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    zone = FakeZone("sweetlove.test")
    with ScriptedCa(zone) as ca:
        yield Bench(ca, zone, tmp_path)


# --- an issuance ------------------------------------------------------------------------------------------


def test_a_first_issuance_goes_by_the_order_of_the_rfc(bench: Bench) -> None:
    issued = bench.issue((DOMAIN,))
    assert issued.chain_pem == CHAIN
    assert issued.account == bench.ca.url("account/1")
    assert bench.pending.key_pem == pki.key_to_pem(issued.key)
    steps = ["directory", "account", "order", "authz", "challenge", "authz", "finalize", "certificate"]
    assert bench.ca.asked == steps
    assert bench.reserved == 1
    bench.assert_dns_is_clean()


def test_the_account_is_kept_for_the_next_issuance(bench: Bench) -> None:
    first = bench.issue((DOMAIN,))
    bench.pending.drop()
    second = bench.issue(("other.sweetlove.test",))
    assert (bench.ca.asked.count("account"), bench.ca.asked.count("order")) == (1, 2)
    assert bench.accounts_made == 1
    assert second.account == first.account
    assert bench.accounts_made == 1


def test_the_keys_of_account_and_certificate_are_two_keys(bench: Bench) -> None:
    issued = bench.issue((DOMAIN,))
    assert bench.accounts.load()[0] != pki.key_to_pem(issued.key)


def test_both_values_of_a_name_and_its_wildcard_stand_side_by_side(bench: Bench) -> None:
    seen: list[list[Record]] = []
    bench.wait = lambda: seen.append(bench.zone.held("TXT"))
    bench.issue()
    [held] = seen
    assert {record.fqdn for record in held} == {CHALLENGE_NAME}
    assert {TxtValue(record.fqdn, record.value, bench.zone.name) for record in held} == set(bench.waited_for)
    assert len(held) == 2
    bench.assert_dns_is_clean()


def test_no_challenge_is_answered_before_its_value_is_shown(bench: Bench) -> None:
    asked: list[str] = []
    bench.wait = lambda: asked.extend(bench.ca.asked)
    bench.issue()
    assert "challenge" not in asked
    assert bench.ca.asked.count("challenge") == 2


def test_the_key_and_the_order_are_kept_before_the_order_is_finalized(bench: Bench) -> None:
    kept: list[tuple[str, bytes | None]] = []
    bench.ca.on["finalize"] = lambda: kept.append((bench.pending.url, bench.pending.key_pem))
    issued = bench.issue()
    assert kept == [(bench.ca.url("look/1"), pki.key_to_pem(issued.key))]


def test_the_key_is_made_while_the_values_spread(bench: Bench) -> None:
    keys: list[bytes | None] = []
    bench.wait = lambda: keys.append(bench.pending.key_pem)
    bench.issue()
    assert None not in keys


def test_an_authorization_that_the_ca_reuses_needs_no_record(bench: Bench) -> None:
    bench.ca.reused = {DOMAIN}
    bench.issue((DOMAIN,))
    assert bench.zone.calls == []
    assert bench.waited_for == []
    assert "challenge" not in bench.ca.asked


def test_of_two_authorizations_only_the_pending_one_gets_a_record(bench: Bench) -> None:
    bench.ca.reused = {WILDCARD}
    bench.issue()
    assert len(bench.waited_for) == 1
    assert bench.ca.asked.count("challenge") == 1


def test_the_first_look_comes_soon_and_the_ca_is_obeyed_from_the_second_on(bench: Bench) -> None:
    bench.ca.pending_looks, bench.ca.processing_looks, bench.ca.retry_after = 2, 2, "7"
    bench.issue((DOMAIN,))
    assert bench.clock.sleeps == [0.2, 7, 7, 0.2, 7]


def test_without_a_retry_after_looks_become_seldom_by_and_by(bench: Bench) -> None:
    bench.ca.pending_looks = 60
    bench.issue((DOMAIN,))
    assert bench.clock.sleeps[0] == 0.2
    assert bench.clock.sleeps[-1] > 1
    assert max(bench.clock.sleeps) <= 3
    assert sorted(bench.clock.sleeps) == bench.clock.sleeps


def test_we_introduce_ourselves_as_configured(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    assert bench.ca.sent["account"] == {
        "contact": ["mailto:you@example.com"],
        "termsOfServiceAgreed": True,
    }
    assert bench.ca.sent["order"] == {"identifiers": [{"type": "dns", "value": DOMAIN}]}


def test_a_profile_is_asked_for_where_the_ca_lists_it_or_lists_none(bench: Bench) -> None:
    bench.introduction = replace(bench.introduction, profile="shortlived")
    bench.issue((DOMAIN,))
    assert bench.ca.sent["order"]["profile"] == "shortlived"
    bench.pending.drop()
    bench.ca.meta = {"profiles": {"classic": "text", "shortlived": "text"}}
    bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 2


def test_a_profile_that_the_ca_does_not_list_costs_no_order(bench: Bench) -> None:
    bench.introduction = replace(bench.introduction, profile="shortlived")
    bench.ca.meta = {"profiles": {"tlsserver": "text", "classic": "text"}}
    with pytest.raises(IssueError, match="lists no profile 'shortlived'") as refused:
        bench.issue((DOMAIN,))
    assert "classic, tlsserver" in refused.value.hint
    assert (bench.reserved, bench.ca.asked.count("order")) == (0, 0)


MAC_KEY = b"a key that the CA gave its customer"


def test_an_account_is_bound_to_the_one_that_the_ca_knows(bench: Bench) -> None:
    bench.ca.meta = {"externalAccountRequired": True}
    bench.introduction = replace(bench.introduction, eab=Binding("kid-1", base64url(MAC_KEY)))
    bench.issue((DOMAIN,))
    binding = bench.ca.sent["account"]["externalAccountBinding"]
    expected = {"alg": "HS256", "kid": "kid-1", "url": bench.ca.url("account")}
    assert plain(binding["protected"]) == expected
    assert plain(binding["payload"])["kty"] == "EC"
    signed = f"{binding['protected']}.{binding['payload']}".encode()
    assert binding["signature"] == base64url(hmac.digest(MAC_KEY, signed, "sha256"))


@pytest.mark.parametrize("eab", [None, Binding("kid-1", "a"), Binding("kid-1", "\u00e9")])
def test_an_account_that_cannot_be_bound_is_not_asked_for(bench: Bench, eab: Binding | None) -> None:
    bench.ca.meta = {"externalAccountRequired": True}
    bench.introduction = replace(bench.introduction, eab=eab)
    with pytest.raises(AccountRefused, match=r"binds accounts|hmac_key") as refused:
        bench.issue((DOMAIN,))
    assert refused.value.hint
    assert "account" not in bench.ca.asked


@pytest.mark.parametrize("hmac_key", ["", "A", "ABCDE", "not base64url", "AAAA\u00e4AAA", "AAAA=AAA", "AA A"])
def test_a_mac_key_that_is_not_base64url_is_told_before_anything_is_asked_for(
    bench: Bench, hmac_key: str
) -> None:
    """The library would skip what is none, and the CA only say that the MAC is wrong."""
    bench.introduction = replace(bench.introduction, eab=Binding("kid-1", hmac_key))
    with pytest.raises(AccountRefused, match=r"^acme\.eab\.hmac_key is not base64url"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked == ["directory"]


@pytest.mark.parametrize("hmac_key", ["AAAAAA==", "AAAAAA", "AAAAAAA=", "_-AA", "/+AA"])
def test_a_mac_key_may_be_padded_or_not_and_of_either_alphabet(bench: Bench, hmac_key: str) -> None:
    bench.introduction = replace(bench.introduction, eab=Binding("kid-1", hmac_key))
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


def test_an_account_that_is_there_needs_no_binding_any_more(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    bench.pending.drop()
    bench.ca.meta = {"externalAccountRequired": True}
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN


@pytest.mark.parametrize("profiles", [7, "shortlived", True])
def test_a_list_of_profiles_that_is_none_costs_no_order(bench: Bench, profiles: Any) -> None:
    bench.ca.meta = {"profiles": profiles}
    bench.introduction = replace(bench.introduction, profile="classic")
    with pytest.raises(IssueError):
        bench.issue((DOMAIN,))
    assert bench.reserved == 0


def test_a_mac_key_is_in_no_repr() -> None:
    assert "the key" not in repr(Ca(DIRECTORY, eab=Binding("kid-1", "the key")))


# --- what goes wrong --------------------------------------------------------------------------------------


def test_a_name_that_cannot_be_validated_is_told_in_the_words_of_the_ca(bench: Bench) -> None:
    bench.ca.refused = {DOMAIN}
    with pytest.raises(AuthorizationFailed) as failed:
        bench.issue((DOMAIN,))
    assert failed.value.names == (DOMAIN,)
    assert rf"could not validate {DOMAIN}: no TXT record\nfor {DOMAIN}" in failed.value.message
    assert failed.value.hint
    assert failed.value.retryable
    assert "finalize" not in bench.ca.asked
    bench.assert_dns_is_clean()


def test_a_value_that_never_spreads_is_no_failed_validation(bench: Bench) -> None:
    def give_up() -> None:
        raise PropagationTimeout("not shown")

    bench.wait = give_up
    with pytest.raises(PropagationTimeout):
        bench.issue()
    assert "challenge" not in bench.ca.asked
    assert bench.pending.url
    bench.assert_dns_is_clean()


def test_a_zone_that_takes_no_record_ends_the_issuance_and_keeps_the_order(bench: Bench) -> None:
    bench.zone.fail("add", DnsRefused("no"))
    with pytest.raises(DnsRefused):
        bench.issue()
    assert bench.pending.url
    assert bench.zone.held() == []


def test_a_limit_of_our_own_comes_before_the_order(bench: Bench) -> None:
    def refuse() -> None:
        raise RateLimited("already 3 orders")

    bench.reserve = refuse
    with pytest.raises(RateLimited):
        bench.issue()
    assert "order" not in bench.ca.asked


def test_a_ca_without_dns_01_is_told(bench: Bench) -> None:
    bench.ca.offers = ["http-01", "tls-alpn-01"]
    with pytest.raises(IssueError, match="offers no dns-01 challenge") as refused:
        bench.issue((DOMAIN,))
    assert "validates by DNS" in refused.value.hint
    assert bench.zone.calls == []


@pytest.mark.parametrize(
    ("looks", "text"), [("pending_looks", "did not validate"), ("processing_looks", "did not issue")]
)
def test_a_ca_that_takes_too_long_is_left_for_the_next_run(bench: Bench, looks: str, text: str) -> None:
    setattr(bench.ca, looks, 10_000)
    with pytest.raises(OrderTimeout, match=text):
        bench.issue((DOMAIN,))
    assert bench.clock.monotonic() == pytest.approx(600, abs=10)
    assert bench.pending.url
    assert bench.pending.key_pem
    bench.assert_dns_is_clean()


def test_a_ca_that_asks_for_an_absurd_wait_holds_us_no_longer_than_any_other(bench: Bench) -> None:
    bench.ca.pending_looks, bench.ca.retry_after = 10_000, "999999999"
    with pytest.raises(OrderTimeout):
        bench.issue((DOMAIN,))
    assert bench.clock.monotonic() == pytest.approx(600)


def test_a_stop_while_the_ca_validates_leaves_nothing_in_dns_and_keeps_the_order(bench: Bench) -> None:
    bench.ca.pending_looks = 10_000
    bench.clock.on_sleep = bench.clock.stop
    with pytest.raises(Interrupted):
        bench.issue((DOMAIN,))
    assert bench.pending.url
    bench.assert_dns_is_clean()


def test_an_order_that_the_ca_gives_up_is_dropped(bench: Bench) -> None:
    refused = {"status": "invalid", "error": {"type": f"{PROBLEM}caa", "detail": "CAA forbids\x1b[31m"}}
    bench.ca.instead["finalize"].append(_json(refused))
    with pytest.raises(IssueError, match=r"refused the order: CAA forbids\\x1b"):
        bench.issue((DOMAIN,))
    assert not bench.pending.url


def test_an_authorization_that_is_of_no_use_from_the_start_is_told(bench: Bench) -> None:
    useless = {"status": "deactivated", "identifier": {"type": "dns", "value": DOMAIN}, "challenges": []}
    bench.ca.instead["authz"].append(_json(useless))
    with pytest.raises(AuthorizationFailed, match="no reason given") as failed:
        bench.issue((DOMAIN,))
    assert failed.value.names == (DOMAIN,)
    assert bench.zone.calls == []


def test_a_name_that_was_not_ordered_is_never_written(bench: Bench) -> None:
    pending = {"status": "pending", "identifier": {"type": "dns", "value": "www.sweetlove.test"}}
    bench.ca.instead["authz"].append(_json(pending | {"challenges": []}))
    with pytest.raises(IssueError, match="not ordered"):
        bench.issue((DOMAIN,))
    assert bench.zone.calls == []


def test_an_account_that_the_ca_knows_already_is_recovered_and_not_counted(bench: Bench) -> None:
    bench.ca.reused = {DOMAIN}
    known = _json({"status": "valid"}, 200, {"Location": bench.ca.url("account/7")})
    bench.ca.instead["account"].append(known)
    assert bench.issue((DOMAIN,)).account == bench.ca.url("account/7")
    assert bench.accounts.load()[1] == bench.ca.url("account/7")
    assert bench.accounts_made == 0


def test_an_account_whose_key_is_lost_is_made_anew(bench: Bench, tmp_path: Path) -> None:
    bench.issue((DOMAIN,))
    [key] = tmp_path.glob("accounts/*/key.pem")
    key.unlink()
    bench.pending.drop()
    bench.issue((DOMAIN,))
    assert bench.accounts_made == 2
    assert key.exists()


def test_an_account_that_the_ca_has_forgotten_is_made_anew_with_the_same_key(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    bench.ca.instead["order"].append(problem("accountDoesNotExist"))
    bench.pending.drop()
    bench.issue((DOMAIN,))
    assert bench.ca.asked.count("account") == 2
    assert bench.accounts.load() == (key, bench.ca.url("account/1"))
    assert bench.reserved == 2


def test_an_account_that_is_forgotten_and_cannot_be_made_anew_is_not_used_again(bench: Bench) -> None:
    bench.issue((DOMAIN,))
    key, _ = bench.accounts.load()
    bench.pending.drop()
    bench.ca.instead["order"].append(problem("accountDoesNotExist"))
    bench.ca.instead["account"].append(problem("serverInternal", 500))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    assert bench.accounts.load() == (key, "")


def test_a_ca_that_forgets_us_again_at_once_is_left(bench: Bench) -> None:
    bench.ca.instead["order"] += [problem("accountDoesNotExist")] * 2
    with pytest.raises(AccountRefused):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 2


# --- when the CA wants it renewed (RFC 9773) ----------------------------------------------------------------

ARI_ID = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
SUGGESTED = {"suggestedWindow": {"start": "2027-01-23T05:30:00Z", "end": "2027-01-25T13:30:00.5+08:00"}}


def replaced(bench: Bench, account: str = "account/1") -> Predecessor:
    return Predecessor(ARI_ID, bench.ca.url(account))


def test_an_order_names_the_certificate_that_it_replaces(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.issue((DOMAIN,), replaced(bench))
    assert bench.ca.sent["order"]["replaces"] == ARI_ID


@pytest.mark.parametrize(
    "reply", [problem("malformed"), problem("alreadyReplaced", 409), problem("serverInternal", 500)]
)
def test_a_ca_that_refuses_the_predecessor_gets_a_plain_order_once(bench: Bench, reply: Reply) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(reply)
    assert bench.issue((DOMAIN,), replaced(bench)).chain_pem == CHAIN
    assert "replaces" not in bench.ca.sent["order"]
    assert (bench.ca.asked.count("order"), bench.reserved) == (2, 1)


def test_an_order_that_is_refused_for_itself_is_not_placed_a_third_time(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"] += [problem("malformed")] * 3
    with pytest.raises(IssueError, match="malformed"):
        bench.issue((DOMAIN,), replaced(bench))
    assert bench.ca.asked.count("order") == 2


@pytest.mark.parametrize("kind", ["rateLimited", "unauthorized", "rejectedIdentifier"])
def test_a_refusal_for_another_reason_is_no_reason_to_ask_again(bench: Bench, kind: str) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(problem(kind, 403))
    with pytest.raises(IssueError, match=kind):
        bench.issue((DOMAIN,), replaced(bench))
    assert bench.ca.asked.count("order") == 1


def test_a_ca_without_renewal_information_is_told_of_no_predecessor(bench: Bench) -> None:
    bench.issue((DOMAIN,), replaced(bench))
    assert "replaces" not in bench.ca.sent["order"]


@pytest.mark.parametrize("account", ["account/2", ""])
def test_what_another_account_got_is_no_predecessor(bench: Bench, account: str) -> None:
    bench.ca.suggests = SUGGESTED
    bench.issue((DOMAIN,), replaced(bench, account))
    assert "replaces" not in bench.ca.sent["order"]


def test_a_leaf_without_an_identifier_is_no_predecessor(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.issue((DOMAIN,), Predecessor("", bench.ca.url("account/1")))
    assert "replaces" not in bench.ca.sent["order"]


def test_a_ca_that_has_forgotten_the_account_is_told_of_no_predecessor(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["order"].append(problem("accountDoesNotExist"))
    bench.issue((DOMAIN,), replaced(bench))
    assert "replaces" not in bench.ca.sent["order"]


def test_a_suggestion_is_read_with_its_reason_and_the_next_look(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED | {"explanationURL": "https://ca.test/why\x1b"}
    bench.ca.retry_after = "21600"
    told = suggested_renewal(Ca(bench.ca.directory), ARI_ID)
    start, end = (
        datetime(2027, 1, 23, 5, 30, tzinfo=UTC),
        datetime(2027, 1, 25, 5, 30, 0, 500_000, tzinfo=UTC),
    )
    assert told == Suggestion(Window(start, end), r"https://ca.test/why\x1b", timedelta(hours=6))
    assert bench.ca.asked == ["directory", "renewal"]


def test_a_ca_without_renewal_information_suggests_nothing(bench: Bench) -> None:
    assert suggested_renewal(Ca(bench.ca.directory), ARI_ID) == Suggestion()
    assert bench.ca.asked == ["directory"]


@pytest.mark.parametrize(
    "suggests",
    [
        {},
        [],
        "soon",
        {"suggestedWindow": None},
        {"suggestedWindow": {"start": "2027-01-23T05:30:00Z"}},
        {"suggestedWindow": {"start": "2027-01-23T05:30:00", "end": "2027-01-25T05:30:00"}},
        {"suggestedWindow": {"start": 1, "end": 2}},
        {"suggestedWindow": {"start": "99999-01-23T05:30:00Z", "end": "soon"}},
    ],
)
def test_a_suggestion_without_sense_is_told_as_such(bench: Bench, suggests: Any) -> None:
    bench.ca.suggests = suggests
    with pytest.raises(CaUnavailable):
        suggested_renewal(Ca(bench.ca.directory), ARI_ID)


def test_a_ca_that_knows_no_such_certificate_says_when_to_look_again(bench: Bench) -> None:
    bench.ca.suggests = SUGGESTED
    bench.ca.instead["renewal"].append(replace(problem("malformed", 404), headers={"Retry-After": "120"}))
    with pytest.raises(IssueError) as unknown:
        suggested_renewal(Ca(bench.ca.directory), ARI_ID)
    assert unknown.value.retry_after == timedelta(minutes=2)


# --- an order that a dead run left ------------------------------------------------------------------------


def interrupted_at(bench: Bench, kind: str) -> None:
    """Have a run end as a killed one does, when `kind` is asked for."""
    bench.ca.instead[kind].append(Reply(500, b""))
    with pytest.raises(CaUnavailable):
        bench.issue((DOMAIN,))
    bench.ca.asked.clear()


@pytest.mark.parametrize("kind", ["authz", "challenge", "finalize", "certificate"])
def test_a_run_goes_on_with_the_order_that_an_earlier_one_placed(bench: Bench, kind: str) -> None:
    interrupted_at(bench, kind)
    key = bench.pending.key_pem
    issued = bench.issue((DOMAIN,))
    assert issued.chain_pem == CHAIN
    assert "order" not in bench.ca.asked
    assert bench.reserved == 1
    assert key is None or pki.key_to_pem(issued.key) == key
    bench.assert_dns_is_clean()


def test_a_challenge_that_an_earlier_run_answered_is_not_answered_again(bench: Bench) -> None:
    bench.ca.pending_looks = 10_000
    with pytest.raises(OrderTimeout):
        bench.issue((DOMAIN,))
    bench.ca.pending_looks = 3
    bench.ca.asked.clear()
    bench.issue((DOMAIN,))
    assert "challenge" not in bench.ca.asked
    bench.assert_dns_is_clean()


LOST = {
    "unknown to the CA": problem("malformed", 404),
    "not ours any more": problem("unauthorized", 403),
    "of a forgotten account": problem("accountDoesNotExist", 400),
    "expired": _json({"status": "expired", "identifiers": [], "authorizations": [], "finalize": ""}),
    "invalid": _json({"status": "invalid", "identifiers": [], "authorizations": [], "finalize": ""}),
}


@pytest.mark.parametrize("reply", LOST.values(), ids=LOST.keys())
def test_an_order_that_is_lost_is_placed_anew(bench: Bench, reply: Reply) -> None:
    interrupted_at(bench, "finalize")
    bench.ca.instead["look"].append(reply)
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.asked.count("order") == 1
    assert bench.reserved == 2


NOT_NOW = {
    "overload": problem("serverInternal", 500),
    "overload in other words": problem("about:blank", 503),
    "a limit": problem("rateLimited", 429),
    "no answer": Reply(502, b"<html>"),
    "a portal": Reply(200, b"<html>"),
}


@pytest.mark.parametrize("reply", NOT_NOW.values(), ids=NOT_NOW.keys())
def test_an_order_that_the_ca_cannot_tell_of_now_is_kept(bench: Bench, reply: Reply) -> None:
    interrupted_at(bench, "finalize")
    url = bench.pending.url
    bench.ca.instead["look"].append(reply)
    with pytest.raises(IssueError):
        bench.issue((DOMAIN,))
    assert bench.pending.url == url
    assert "order" not in bench.ca.asked


def test_a_finalized_order_is_collected_though_nothing_is_due(bench: Bench) -> None:
    interrupted_at(bench, "certificate")
    key = bench.pending.key_pem
    issued = bench.collect()
    assert issued is not None
    assert (issued.chain_pem, pki.key_to_pem(issued.key)) == (CHAIN, key)
    assert bench.ca.asked == ["directory", "look", "certificate"]


def test_an_order_that_is_still_processed_is_waited_for_and_collected(bench: Bench) -> None:
    bench.ca.processing_looks = 10_000
    with pytest.raises(OrderTimeout):
        bench.issue((DOMAIN,))
    bench.ca.processing_looks = 2
    assert bench.collect() is not None


@pytest.mark.parametrize("kind", ["authz", "finalize"])
def test_an_order_that_was_not_finalized_is_dropped(bench: Bench, kind: str) -> None:
    interrupted_at(bench, kind)
    assert bench.collect() is None
    assert not bench.pending.url
    assert "finalize" not in bench.ca.asked


def test_where_no_order_is_in_flight_nothing_is_collected(bench: Bench) -> None:
    assert bench.collect() is None


def test_an_order_to_collect_that_the_ca_cannot_tell_of_now_is_kept(bench: Bench) -> None:
    interrupted_at(bench, "certificate")
    bench.ca.instead["look"].append(problem("serverInternal", 500))
    with pytest.raises(CaUnavailable):
        bench.collect()
    assert bench.pending.url


# --- nonces -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["account", "order", "finalize", "certificate"])
def test_a_nonce_that_the_ca_does_not_like_is_no_failure(bench: Bench, kind: str) -> None:
    bench.ca.instead[kind] += [problem("badNonce")] * 9
    assert bench.issue((DOMAIN,)).chain_pem == CHAIN
    assert bench.ca.asked.count(kind) == 10
    assert bench.reserved == 1


def test_a_ca_that_likes_no_nonce_at_all_is_unavailable(bench: Bench) -> None:
    bench.ca.instead["account"] += [problem("badNonce")] * 20
    with pytest.raises(CaUnavailable, match="badNonce"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("account") == 10


def test_nothing_but_a_nonce_is_tried_again(bench: Bench) -> None:
    bench.ca.instead["order"].append(problem("malformed"))
    with pytest.raises(IssueError, match="malformed"):
        bench.issue((DOMAIN,))
    assert bench.ca.asked.count("order") == 1


# --- Retry-After ------------------------------------------------------------------------------------------

MOST = timedelta(hours=34)
RETRY_AFTER = {
    "": None,
    "0": timedelta(),
    "120": timedelta(minutes=2),
    "  ": None,
    "-5": None,
    "1.5": None,
    "soon": None,
    "1e3": None,
    "123456789": MOST,
    "9" * 12: MOST,
    "9" * 10_000: MOST,
    "Tue, 24 Nov 2026 05:31:00 GMT": timedelta(minutes=1),
    "Tue, 24 Nov 2026 05:31:00 -0000": timedelta(minutes=1),
    "Tue, 24 Nov 2026 13:31:00 +0800": timedelta(minutes=1),
    "Tuesday, 24-Nov-26 05:31:00 GMT": timedelta(minutes=1),
    "Tue, 24 Nov 2026 05:29:00 GMT": timedelta(),
    "Thu, 01 Jan 1970 00:00:00 GMT": timedelta(),
    "Sat, 24 Nov 2096 05:30:00 GMT": MOST,
    "Tue, 24 Nov 99999999999999999999 05:31:00 GMT": None,
    "Tue, 24 Nov 2026 05:31:00 +99999999999999999999": None,
    "Tue, 99 Nov 2026 05:31:00 GMT": None,
}


@pytest.fixture(params=["UTC", "Asia/Shanghai", "America/New_York"])
def time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The time zone of the machine."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("time_zone")
@pytest.mark.parametrize(("text", "wait"), RETRY_AFTER.items(), ids=[text[:40] for text in RETRY_AFTER])
def test_what_the_ca_asks_for_is_read_alike_in_every_time_zone(text: str, wait: timedelta | None) -> None:
    assert retry_after(text, NOW) == wait


@pytest.mark.usefixtures("time_zone")
def test_a_date_to_wait_for_is_obeyed_alike_in_every_time_zone(bench: Bench) -> None:
    """Neither a busy loop east of Greenwich nor hours of waiting west of it."""
    bench.ca.pending_looks = bench.ca.processing_looks = 2
    bench.ca.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    bench.issue((DOMAIN,))
    first, *obeyed, first_of_order, last = bench.clock.sleeps
    assert first == first_of_order == 0.2
    assert all(90 < sleep <= 100 for sleep in (*obeyed, last))
    assert len(obeyed) == 2


@given(st.text() | st.text("0123456789 :GMTueNov,+-", max_size=40))
def test_no_text_asks_for_less_than_nothing_or_for_ever(text: str) -> None:
    wait = retry_after(text, NOW)
    assert wait is None or timedelta() <= wait <= MOST


def test_the_wait_that_the_ca_asked_for_comes_with_the_error(bench: Bench) -> None:
    limited = problem("rateLimited", 429, "too many certificates")
    bench.ca.instead["order"].append(replace(limited, headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited, match="too many certificates") as refused:
        bench.issue((DOMAIN,))
    assert refused.value.retry_after == timedelta(hours=1)


@pytest.mark.parametrize("reply", [problem("about:blank", 503), Reply(503, b"overloaded")])
def test_the_wait_of_an_overloaded_ca_comes_with_the_error_whatever_its_form(
    bench: Bench, reply: Reply
) -> None:
    bench.ca.instead["order"].append(replace(reply, headers={"Retry-After": "90"}))
    with pytest.raises(IssueError) as refused:
        bench.issue((DOMAIN,))
    assert refused.value.retry_after == timedelta(seconds=90)


# --- errors -----------------------------------------------------------------------------------------------

DIRECTORY = "https://ca.test/directory"


def mapped(exc: Exception) -> IssueError:
    """Return what `exc` becomes."""
    with pytest.raises(IssueError) as caught, ca_errors(DIRECTORY, lambda: timedelta(seconds=5)):
        raise exc
    assert DIRECTORY in caught.value.message
    assert caught.value.message.isprintable()
    return caught.value


def classes(module: Any) -> list[type[Exception]]:
    """Return the exceptions that a module defines."""
    found = [kind for _, kind in inspect.getmembers(module, inspect.isclass)]
    own = [kind for kind in found if kind.__module__ == module.__name__]
    return [kind for kind in own if issubclass(kind, Exception) and not issubclass(kind, Warning)]


RESPONSE = requests.Response()
RESPONSE.status_code = 503
RESPONSE.request = requests.Request("POST", DIRECTORY).prepare()
# What their constructors take, where it is not one text.
ARGUMENTS: dict[type[Exception], tuple[Any, ...]] = {
    acme.errors.BadNonce: ("nonce", ValueError()),
    acme.errors.MissingNonce: (RESPONSE,),
    acme.errors.PollError: (set(), {}),
    acme.errors.ValidationError: ([],),
    acme.errors.TimeoutError: (),
    acme.errors.IssuanceError: (messages.Error.with_code("caa", detail="no"),),
    acme.errors.ARIError: ("text", NOW),
    jose.errors.UnrecognizedTypeError: ("typ", {}),
    requests.exceptions.JSONDecodeError: ("text", "doc", 0),
}
LIBRARY_ERRORS = [*classes(acme.errors), *classes(jose.errors), *classes(requests.exceptions)]


@pytest.mark.parametrize("kind", LIBRARY_ERRORS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_error_of_the_libraries_is_mapped(kind: type[Exception]) -> None:
    error = mapped(kind(*ARGUMENTS.get(kind, ("text",))))
    assert isinstance(error, CaUnavailable)
    assert error.retryable
    assert error.hint
    assert isinstance(error.__cause__, kind)


def test_there_are_errors_of_each_library_to_map() -> None:
    assert all(len(classes(module)) > 3 for module in (acme.errors, jose.errors, requests.exceptions))


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("no JSON"),
        KeyError("Location"),
        TypeError("null"),
        AttributeError("name"),
        ConnectionResetError(104, "reset"),
        TimeoutError("timed out"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"),
    ],
)
def test_what_an_answer_without_sense_raises_is_mapped(exc: Exception) -> None:
    assert isinstance(mapped(exc), CaUnavailable)


KINDS: dict[str, type[IssueError]] = {
    "rateLimited": RateLimited,
    "accountDoesNotExist": AccountRefused,
    "badSignatureAlgorithm": AccountRefused,
    "externalAccountRequired": AccountRefused,
    "invalidContact": AccountRefused,
    "unauthorized": AccountRefused,
    "unsupportedContact": AccountRefused,
    "userActionRequired": AccountRefused,
    "serverInternal": CaUnavailable,
    "badNonce": CaUnavailable,
}


@pytest.mark.parametrize("code", sorted({*messages.ERROR_CODES, *KINDS, "alreadyReplaced", "ofTomorrow"}))
def test_every_problem_that_a_ca_may_name_is_mapped_with_its_name_and_words(code: str) -> None:
    error = mapped(messages.Error(typ=f"{PROBLEM}{code}", detail="because\nof this"))
    assert type(error) is KINDS.get(code, IssueError)
    assert f"refused with {code}: because\\nof this" in error.message


def test_a_problem_without_words_is_told_all_the_same() -> None:
    assert "refused with malformed: no reason given" in mapped(messages.Error.with_code("malformed")).message
    assert "about:blank" in mapped(messages.Error()).message


def test_the_words_of_a_ca_are_escaped_and_cut() -> None:
    hostile = "\x1b[2J\r\n" + "\u202e" + "x" * 1_000_000
    error = mapped(messages.Error(typ=hostile, detail=hostile))
    assert len(error.message) < 1000
    assert r"\x1b[2J\r\n\u202e" in error.message


def test_an_answer_that_is_no_problem_document_is_told_by_its_http_status() -> None:
    assert "HTTP 503" in mapped(acme.errors.ClientError(RESPONSE)).message


def test_an_error_that_is_none_of_these_goes_through() -> None:
    with pytest.raises(ZeroDivisionError), ca_errors(DIRECTORY):
        raise ZeroDivisionError


def test_our_own_errors_go_through_as_they_are() -> None:
    with pytest.raises(DnsRefused, match=r"^no$"), ca_errors(DIRECTORY):
        raise DnsRefused("no")


# --- who answers ------------------------------------------------------------------------------------------


def get_directory(url: str, ca_bundle: str | None = None) -> None:
    """Ask for a directory, as the first step of a conversation does."""
    network = Network(jose.JWKEC(key=pki.new_key()), Ca(url, ca_bundle=ca_bundle))
    with ca_errors(url):
        network.get(url)


def test_a_port_where_nobody_listens_is_told() -> None:
    with HttpServer(lambda _: None) as server:
        url = server.url
    with pytest.raises(CaUnavailable, match="no connection to the CA") as unavailable:
        get_directory(url)
    assert url in unavailable.value.message


def test_a_portal_in_the_cas_place_is_told(bench: Bench) -> None:
    bench.ca.instead["directory"].append(Reply(200, b"<html>Please sign in</html>"))
    with pytest.raises(CaUnavailable, match="does not answer as an ACME server"):
        bench.issue()
    assert bench.reserved == 0


def test_a_directory_that_lacks_what_we_need_is_told(bench: Bench) -> None:
    bench.ca.instead["directory"].append(_json({"newNonce": bench.ca.url("nonce")}))
    with pytest.raises(CaUnavailable, match="does not answer as an ACME server"):
        bench.issue()


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of a private root that is no ACME server: its URL, and the root."""
    ca = trustme.CA()
    root, chain = tmp_path / "root.pem", tmp_path / "chain.pem"
    ca.cert_pem.write_to_path(root)
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(chain)
    with AlidnsEmulator(
        [], access_key_id="id", access_key_secret="secret", https=HttpsListener(0, chain, chain)
    ) as server:
        yield server.https_endpoint, root


def test_a_certificate_that_is_not_trusted_is_told(tls: tuple[str, Path]) -> None:
    with pytest.raises(CaUnavailable, match="is not trusted") as untrusted:
        get_directory(tls[0])
    assert "acme.ca_bundle" in untrusted.value.hint


def test_a_private_root_is_trusted_where_it_is_given_whatever_the_environment_says(
    tls: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "another.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "another.pem"))
    with pytest.raises(IssueError, match="refused with"):
        get_directory(tls[0], str(tls[1]))


def test_a_missing_root_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(CaUnavailable, match=r"none\.pem") as missing:
        get_directory("https://127.0.0.1:1/directory", str(tmp_path / "none.pem"))
    assert "acme.ca_bundle" in missing.value.hint


def test_no_key_is_in_a_log(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        bench.issue()
    assert "account.made" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


# --- vectors ----------------------------------------------------------------------------------------------


def test_the_txt_value_is_that_of_the_rfc() -> None:
    vector = json.loads((Path(__file__).parent / "vectors" / "txt_value.json").read_text())
    key = jose.JWK.from_json(vector["account_key"])
    assert isinstance(key, jose.JWKRSA)
    token = urlsafe_b64decode(vector["token"] + "=")
    assert base64url(key.thumbprint()) == vector["thumbprint"]
    assert challenges.DNS01(token=token).validation(key) == vector["txt_value"]
