"""What a hostile CA and a hostile DNS API say: one case each, with what must be told of it.

Before and after it the true servers answer, so every case comes where it can do most in a real conversation.
`dripped` lets the clock of the test run a second with each byte.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support import fault_proxy as faults
from support.bed import DOMAIN
from support.fault_proxy import Exchange, Fault
from support.scripted_ca import PROBLEM

JSON = {"Content-Type": "application/json"}
# What a terminal acts upon, a forged line of a log, text that runs backwards, half of a pair, and much of it.
UGLY = "\x1b[2J\r\nERROR forged\t\x00\x07\x9b31m\u202e\u2028\ud800" + "x" * 100_000


@dataclass(frozen=True, slots=True)
class Case:
    """One hostility.

    Attributes:
        method, path: the requests that it is about, all of them from the `nth` on.
        says: a regular expression for what the site's failure tells; empty where nothing fails.
        orders: how many orders the CA has placed when an honest run has followed.
    """

    name: str
    method: str
    path: str
    fault: Fault
    says: str
    orders: int = 1
    nth: int = 1


# --- bodies that are wrong wherever they come ---------------------------------------------------------------


def body(data: bytes | str, status: int = 200) -> Fault:
    """Answer with this body, past the nonce that an ACME server must give."""
    return faults.rewritten(lambda true: replace(true, status=status, body=_raw(data)))


BODIES: dict[str, bytes | str] = {
    "a page": "<html><body>Please sign in</body></html>",
    "nothing": "",
    "null": "null",
    "a list": "[]",
    "a text": '"text"',
    "a number": "1",
    "not a number": "NaN",
    "an endless number": "9" * 100_000,
    "deep lists": "[" * 100_000,
    "deep objects": '{"a":' * 100_000,
    "bytes of no text": b"\xff\xfe\x00{\x80",
    "text of two bytes a character": '{"a": "b"}'.encode("utf-16"),
    "half an object": '{"status": "val',
    "an object of something else": '{"ok": true}',
}


def leading_to(url: str, status: int = 302) -> Fault:
    return faults.answer(status, b"", {"Location": url})


REDIRECTS = {
    "a file": leading_to("file:///etc/passwd"),
    "plain HTTP": leading_to("http://127.0.0.1:1/"),
    "another host": leading_to("https://evil.test/", 307),
    "a terminal's commands": leading_to("https://evil.test/\x1b[31m", 308),
}


def everywhere(on_byte: Callable[[], object]) -> Iterator[tuple[str, Fault, str]]:
    """Yield the name of a hostility, itself, and what is told of it by whoever is asked."""
    yield "a huge body", faults.huge(), "longer than 1048576 bytes"
    yield "a gzip bomb", faults.gzip_bomb(1 << 26), "packed"
    yield "a dripping body", faults.dripped(0, on_byte), "no whole answer in"
    yield "half a body", faults.cut(), "no connection|does not answer"
    for name, fault in REDIRECTS.items():
        yield f"a redirect to {name}", fault, "it redirects to"


# --- the CA -------------------------------------------------------------------------------------------------

NO_ACME = "does not answer as an ACME server"
NOT_ITS_OWN = "leads to .*(no URL|plain HTTP|does not name)"


def with_challenge(**fields: object) -> Fault:
    """An authorization whose challenges have these fields."""

    def change(true: bytes) -> bytes:
        told = json.loads(true)
        told["challenges"] = [challenge | fields for challenge in told["challenges"]]
        return json.dumps(told).encode()

    return faults.body_rewritten(change)


def ca_cases(on_byte: Callable[[], object]) -> Iterator[Case]:
    """Yield the cases of the CA, in the order of the conversation."""
    for name, fault, says in everywhere(on_byte):
        yield Case(f"directory: {name}", "GET", "/dir", fault, says)
        if "redirect" not in name:
            # Placed where the true answer is cut; nobody knows its URL then.
            yield Case(
                f"new order: {name}",
                "POST",
                "/order-plz",
                fault,
                says,
                orders=1 + ("drip" in name or "half" in name),
            )
    for name, raw in BODIES.items():
        yield Case(f"directory: {name}", "GET", "/dir", body(raw), NO_ACME)
        if len(raw) > 50_000 or not raw or raw == "null":
            yield Case(f"authorization: {name}", "POST", "/authZ/", body(raw), NO_ACME)
    yield from _directory_cases()
    yield from _account_cases()
    yield from _order_cases()
    yield from _authorization_cases()
    yield from _certificate_cases()


def _directory_cases() -> Iterator[Case]:
    def directory(name: str, says: str = NOT_ITS_OWN, **fields: object) -> Case:
        return Case(f"directory: {name}", "GET", "/dir", faults.json_with(**fields), says)

    yield directory("plain HTTP", newOrder="http://127.0.0.1/order")
    yield directory("a file", newNonce="file:///etc/passwd")
    yield directory("a user before the host", newAccount="https://ca.test@evil.test/")
    yield directory("a list for a URL", newOrder=["https://evil.test/"])
    yield directory("a host that is not there", "no connection", newNonce="https://127.0.0.1:1/nonce")
    yield directory("words for what it says of itself", "", meta="words")
    twice = faults.body_rewritten(lambda true: true.rstrip()[:-1] + b', "newOrder": "file:///"}')
    yield Case("directory: a key twice", "GET", "/dir", twice, NOT_ITS_OWN)


def _account_cases() -> Iterator[Case]:
    def nonce(name: str, value: str | None) -> Case:
        return Case(
            f"nonce: {name}", "HEAD", "/nonce-plz", faults.header_with("Replay-Nonce", value), NO_ACME
        )

    yield nonce("none", None)
    yield nonce("no base64url", "../../../etc/passwd?")
    no_end = faults.header_with("Replay-Nonce", "a" * 70_000)
    yield Case("nonce: without an end", "HEAD", "/nonce-plz", no_end, "no connection")
    for name, url in {"another host": "https://evil.test/account/1", "a path": "../../../account"}.items():
        fault = faults.header_with("Location", url)
        yield Case(f"account: at {name}", "POST", "/sign-me-up", fault, NOT_ITS_OWN)
    yield Case("account: nowhere", "POST", "/sign-me-up", faults.header_with("Location", None), NO_ACME)
    yield Case("account: no nonce is good", "POST", "/sign-me-up", faults.problem("badNonce"), "badNonce")


def _order_cases() -> Iterator[Case]:
    def order(name: str, fault: Fault, says: str, orders: int) -> Case:
        return Case(f"new order: {name}", "POST", "/order-plz", fault, says, orders)

    for name, url in {
        "another host": "https://evil.test/order/1",
        "a file": "file:///tmp/order",
        "plain HTTP": "http://127.0.0.1:1/order",
        "the metadata of a cloud": "http://169.254.169.254/latest/",
    }.items():
        # Forgotten by the first run, since nobody can be asked for it.
        yield order(f"at {name}", faults.header_with("Location", url), NOT_ITS_OWN, 2)
    fields: dict[str, tuple[dict[str, object], str]] = {
        "of a status that is none": ({"status": "expired"}, NO_ACME),
        "of a status that is no text": ({"status": {"a": 1}}, NO_ACME),
        "with words for a list": ({"authorizations": "https://evil.test/"}, "more than was ordered"),
        "with a thousand proofs": (
            {"authorizations": ["https://evil.test/"] * 1000},
            "more than was ordered",
        ),
        "with a proof at another host": ({"authorizations": ["https://evil.test/a"]}, NOT_ITS_OWN),
        "with a proof that is none": ({"authorizations": [None]}, NOT_ITS_OWN),
        "valid at once, elsewhere": ({"status": "valid", "certificate": "https://evil.test/c"}, NOT_ITS_OWN),
        "valid at once, nowhere": ({"status": "valid"}, NOT_ITS_OWN),
    }
    for name, (changed, says) in fields.items():
        yield order(name, faults.json_with(**changed), says, 1)
    ugly: dict[str, dict[str, Any]] = {
        "ugly words": {"detail": UGLY, "title": UGLY},
        "an ugly kind": {"type": UGLY, "detail": UGLY},
        "a kind that is none": {"type": ["malformed"], "detail": {"a": UGLY}},
        "ugly parts": {
            "subproblems": [{"type": UGLY, "detail": UGLY, "identifier": {"type": "dns", "value": UGLY}}],
        },
    }
    for name, document in ugly.items():
        refused = faults.problem("malformed", **document)
        yield order(f"refused with {name}", refused, f"refused with|{NO_ACME}", 1)
    for name, wait in {
        "a century": str(100 * 365 * 86400),
        "a number without an end": "9" * 5000,
        "a date far away": "Sat, 24 Nov 2096 05:30:00 GMT",
        "a wait that is none": "NaN",
    }.items():
        limited = faults.problem("rateLimited", 429, {"Retry-After": wait})
        yield order(f"rate limited for {name}", limited, "rateLimited", 1)


def _authorization_cases() -> Iterator[Case]:
    def authorization(name: str, fault: Fault, says: str, nth: int = 1, orders: int = 1) -> Case:
        return Case(f"authorization: {name}", "POST", "/authZ/", fault, says, orders, nth)

    for name, token in {
        "a path": "../../../../tmp/planted-by-a-token",
        "a shell's words": "$(touch /tmp/planted)",
        "padding": "A" * 43 + "=",
        "too short": "AAAA",
        "without an end": "A" * 100_000,
        "lines": "A" * 22 + "\n" + "A" * 22,
    }.items():
        yield authorization(f"a token with {name}", with_challenge(token=token), "an invalid token")
    yield authorization("a token that is no text", with_challenge(token=1), NO_ACME)
    not_ordered = {"type": "dns", "value": "evil.sweetlove.test"}
    yield authorization(
        "of another name", faults.json_with(identifier=not_ordered), "asks for a name that was not ordered"
    )
    yield authorization("of no name", faults.json_with(identifier={"type": "dns"}), NO_ACME)
    yield authorization(
        "a list for a name", faults.json_with(identifier={"type": "dns", "value": []}), NO_ACME
    )
    yield authorization("no challenges", faults.json_with(challenges=[]), "no dns-01")
    yield authorization("words for challenges", faults.json_with(challenges="dns-01"), NO_ACME)
    yield authorization("answered at a file", with_challenge(url="file:///etc/passwd"), NOT_ITS_OWN)
    yield authorization("answered elsewhere", with_challenge(url="https://evil.test/"), NOT_ITS_OWN)
    # From the second on it is polled.
    forever = faults.json_with(status="pending")
    yield authorization("pending for ever", forever, "did not validate in 1800 s", nth=2)
    refused = {"type": f"{PROBLEM}caa", "detail": UGLY}

    def refuse(exchange: Exchange) -> None:
        true = exchange.forward()
        told = json.loads(true.body) | {"status": "invalid"}
        told["identifier"]["value"] = UGLY
        told["challenges"] = [c | {"status": "invalid", "error": refused} for c in told["challenges"]]
        exchange.send(replace(true, body=json.dumps(told).encode()))

    yield authorization("refused with ugly words", refuse, "could not validate .*caa: ", 2, orders=2)


def _certificate_cases() -> Iterator[Case]:
    def finalized(name: str, fault: Fault, says: str, orders: int = 1) -> Case:
        return Case(f"finalized order: {name}", "POST", "/my-order/", fault, says, orders)

    yield finalized("processing for ever", faults.json_with(status="processing"), "did not issue in 600 s")
    yield finalized("pending again", faults.json_with(status="pending"), "did not issue in 600 s")
    error = {"type": f"{PROBLEM}malformed", "detail": UGLY}
    yield finalized("refused", faults.json_with(status="invalid", error=error), "refused the order", 2)
    for name, (fault, says) in _chains().items():
        # An order that gives such a certificate is given up, but not where the answer is none.
        orders = 1 if name == "a huge body" else 2
        yield Case(f"certificate: {name}", "POST", "/certZ/", fault, says, orders)
    links = [f"<https://evil.test/alternate/{count}>;rel=alternate" for count in range(50)]
    yield Case(
        "certificate: fifty alternates",
        "POST",
        "/certZ/",
        faults.header_with("Link", ", ".join(links)),
        "",
        1,
    )


def _chains() -> dict[str, tuple[Fault, str]]:
    no_chain = "is not a chain of certificates"
    more = "the CA's chain holds more than certificates"
    key = ec.generate_private_key(ec.SECP256R1())
    planted = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    now = datetime.now(UTC)
    return {
        "a page": (body(BODIES["a page"]), no_chain),
        "nothing": (body(b""), no_chain),
        "bytes of no text": (body(BODIES["bytes of no text"]), no_chain),
        "half of one": (faults.body_rewritten(lambda true: true[: len(true) // 4]), no_chain),
        "a key before it": (faults.body_rewritten(lambda true: planted + true), more),
        "a key behind it": (faults.body_rewritten(lambda true: true + planted), more),
        "a request behind it": (faults.body_rewritten(_and_a_request), more),
        "a hundred certificates": (faults.body_rewritten(lambda true: true * 50), "has 100 certificates"),
        "the wrong way round": (faults.body_rewritten(_reversed), "for another key"),
        "for another key": (forged(key=key.public_key()), "for another key"),
        "of a CA": (forged(is_ca=True), "issued a CA certificate"),
        "for other names": (forged(names=("evil.test",)), "is for"),
        "for no names": (forged(names=()), "has no names"),
        "expired": (forged(start=now - timedelta(days=9), end=now - timedelta(days=1)), "is valid from"),
        "of tomorrow": (forged(start=now + timedelta(days=1), end=now + timedelta(days=9)), "is valid from"),
        "signed by nobody": (forged(signs_itself=True), "not signed by the next"),
        "a huge body": (faults.huge(), "longer than 1048576 bytes"),
    }


def _pem(*certificates: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _and_a_request(true: bytes) -> bytes:
    return true + true.replace(b" CERTIFICATE--", b" CERTIFICATE REQUEST--")


def _reversed(true: bytes) -> bytes:
    return _pem(*reversed(x509.load_pem_x509_certificates(true)))


def forged(
    *,
    key: Any = None,
    names: tuple[str, ...] = (DOMAIN,),
    is_ca: bool = False,
    start: datetime | None = None,
    end: datetime | None = None,
    signs_itself: bool = False,
) -> Fault:
    """A chain of another CA, for the key of the true leaf if no other is given."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Hostile CA")])
    now = datetime.now(UTC)

    def certificate(subject: x509.Name, public: Any, signer: Any, ca: bool, *of: str) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(start or now - timedelta(hours=1))
            .not_valid_after(end or now + timedelta(days=9))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if of:
            names = x509.SubjectAlternativeName([x509.DNSName(name) for name in of])
            builder = builder.add_extension(names, critical=True)
        return builder.sign(signer, hashes.SHA256())

    def change(true: bytes) -> bytes:
        public = key or x509.load_pem_x509_certificates(true)[0].public_key()
        signer = ec.generate_private_key(ec.SECP256R1()) if signs_itself else ca_key
        leaf = certificate(x509.Name([]), public, signer, is_ca, *names)
        return _pem(leaf, certificate(issuer, ca_key.public_key(), ca_key, True))

    return faults.body_rewritten(change)


# --- the DNS API --------------------------------------------------------------------------------------------


def api_error(status: int, headers: dict[str, str] | None = None, **fields: object) -> Fault:
    said = json.dumps({"RequestId": "A-1", **fields}).encode()
    return faults.answer(status, said, {**JSON, **(headers or {})})


def listing(*rows: object, total: object = 1) -> Fault:
    """A list of records."""
    told = {"RequestId": "A-1", "TotalCount": total, "DomainRecords": {"Record": list(rows)}}
    return faults.answer(200, json.dumps(told).encode(), JSON)


def row(**fields: object) -> dict[str, object]:
    """A record at the challenge name, which is the one that is asked for."""
    whole: dict[str, object] = {"RR": "_acme-challenge.devbox", "Type": "A", "Value": "10.0.0.1"}
    return whole | {"TTL": 600, "RecordId": "1"} | fields


def api_cases(on_byte: Callable[[], object]) -> Iterator[Case]:
    """Yield the cases of the DNS API: of the first list, before anything is ordered, and of the first TXT."""
    for action in ("DescribeSubDomainRecords", "AddDomainRecord"):
        refused = {
            "in ugly words": api_error(400, Code=UGLY, Message=UGLY),
            "with a code that is none": api_error(400, Code=[UGLY]),
        }
        for name, fault in refused.items():
            yield Case(f"{action}: refused {name}", "POST", action, fault, "refused with")
        waits = api_error(429, {"Retry-After": "9" * 100}, Code="Throttling.User", Message="later")
        yield Case(f"{action}: throttled for ever", "POST", action, waits, "Throttling.User")
        for name, fault, says in everywhere(on_byte):
            yield Case(f"{action}: {name}", "POST", action, fault, says)
    for name, raw in BODIES.items():
        fault = faults.answer(200, _raw(raw), JSON)
        yield Case(f"list: {name}", "POST", "DescribeSubDomainRecords", fault, "not an answer of the DNS API")

    def listed(name: str, fault: Fault, says: str = "lacks what it must hold") -> Case:
        return Case(f"list: {name}", "POST", "DescribeSubDomainRecords", fault, says)

    yield listed("no list", api_error(200, TotalCount=1))
    yield listed("a total that is no number", faults.answer(200, _total("NaN"), JSON))
    yield listed("an endless total", faults.answer(200, _total("1e999"), JSON))
    yield listed("a list without an end", listing(row(), total=10**9), "does not end")
    yield listed("a record id that is a path", listing(row(RecordId="../1&Action=DeleteSubDomainRecords")))
    yield listed("a record id that is a list", listing(row(RecordId=["1"])))
    yield listed("an address that is none", listing(row(Value=UGLY)))
    yield listed("a TTL without an end", faults.answer(200, _ttl("9" * 5000), JSON), "not an answer")
    no_id = api_error(200, RecordId=UGLY)
    yield Case("AddDomainRecord: a record id in ugly words", "POST", "AddDomainRecord", no_id, "lacks what")


def _raw(data: bytes | str) -> bytes:
    return data if isinstance(data, bytes) else data.encode()


def _total(text: str) -> bytes:
    return f'{{"RequestId": "A-1", "TotalCount": {text}, "DomainRecords": {{"Record": [{{}}]}}}}'.encode()


def _ttl(text: str) -> bytes:
    return json.dumps(row(TTL=0)).replace("0}", f"{text}}}").encode()
