"""Were the names of sites that share a certificate public before? Nobody outside is asked for that."""

import json
import socketserver
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID
from support.fakes import EPOCH, FakeClock
from support.listeners import Served
from support.resolvers import DnsServer

from certbotless.cli.doctor import private
from certbotless.cli.doctor.finding import Case, Finding
from certbotless.config import load
from certbotless.model.certificate import Origin
from certbotless.model.ledger import Entry
from certbotless.state.pair import Store
from certbotless.state.site import SiteFile
from certbotless.world.acme import keys
from certbotless.world.dns.query import Server, lists_names

ZONE = "sweetlove.test"
WILDCARD, NAMES = f"*.{ZONE}", [f"git.{ZONE}", f"nas.{ZONE}"]
PUBLIC = "https://ca.test/directory"
# The promise of a log (RFC 6962 section 3.2), as a list of one.
_PROMISE = b"\0" + b"\1" * 32 + struct.pack(">Q", 1764000000000) + b"\0\0" + b"\4\3" + b"\0\2ab"
PROMISES = struct.pack(">HH", len(_PROMISE) + 2, len(_PROMISE)) + _PROMISE


@pytest.fixture
def case(tmp_path: Path) -> Case:
    fields: dict[str, Any] = {
        "aliyun": {"access_key_id": "id", "access_key_secret": "secret"},
        "certs_dir": str(tmp_path / "certs"),
        "state_dir": str(tmp_path / "state"),
        "sites": [{"domain": name, "certificate": WILDCARD} for name in NAMES],
    }
    return Case(load.parse(json.dumps(fields).encode(), "test.json"), FakeClock(), lambda _: None)


def found(case: Case, *rows: Entry) -> dict[str, Finding]:
    private.examine(case, rows, asks_public=True)
    return {each.about: each for each in case.findings}


def order(directory: str, **fields: Any) -> Entry:
    return Entry(EPOCH, "order", directory, (NAMES[0],), **{"outcome": "issued", **fields})


def publish(case: Case, directory: str) -> None:
    made = trustme.CA().issue_cert(NAMES[0], not_before=EPOCH - timedelta(days=9))
    chain, key = made.cert_chain_pems[0].bytes(), made.private_key_pem.bytes()
    facts = keys.matching_facts(chain, keys.key_from_pem(key))
    Store(case.config.certs_dir, NAMES[0]).publish(
        chain, key, facts, Origin(directory, "", "ec256", EPOCH), EPOCH
    )


def set_aside(case: Case, *, is_logged: bool) -> None:
    """Let a certificate of another tool have been set aside, which logs hold by its own words, or do not."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime(2026, 3, 2, tzinfo=UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    )
    builder = builder.serial_number(7).not_valid_before(now).not_valid_after(now + timedelta(days=90))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(NAMES[0])]), critical=False)
    if is_logged:
        oid = ExtensionOID.PRECERT_SIGNED_CERTIFICATE_TIMESTAMPS
        value = b"\4" + bytes([len(PROMISES)]) + PROMISES
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    folder = case.config.certs_dir / ".certbotless" / NAMES[0] / "aside-20260601T000000Z-00000001"
    folder.mkdir(parents=True)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    (folder / "fullchain.pem").write_bytes(pem)


def test_a_name_that_was_in_no_certificate_is_as_private_as_it_can_be(case: Case) -> None:
    assert {each.level for each in found(case).values()} == {"ok"}


def test_a_name_of_an_order_or_a_certificate_of_a_public_ca_is_public_for_ever(case: Case) -> None:
    publish(case, PUBLIC)
    told = found(case, order(PUBLIC))
    assert told[NAMES[0]].level == "warn"
    # The certificate is older than the order.
    assert told[NAMES[0]].text == f"{NAMES[0]} is in public logs since 2026-11-15, for ever"
    assert told[NAMES[1]].level == "ok"


@pytest.mark.parametrize(
    "row",
    [
        order("https://acme-staging-v02.api.letsencrypt.org/directory"),
        order("local:0123456789abcdef"),
        order(PUBLIC, outcome="failed"),
        order(PUBLIC, rehearsal=True),
    ],
)
def test_what_no_public_log_holds_is_no_matter(case: Case, row: Entry) -> None:
    publish(case, row.directory if row.directory != PUBLIC else "local:x")
    assert found(case, row)[NAMES[0]].level == "ok"


@pytest.mark.parametrize("is_logged", [True, False])
def test_a_certificate_of_another_tool_counts_if_logs_have_promised_to_hold_it(
    case: Case, is_logged: bool
) -> None:
    set_aside(case, is_logged=is_logged)
    told = found(case)[NAMES[0]]
    assert told.level == ("warn" if is_logged else "ok")
    assert not is_logged or "since 2026-03-02" in told.text


def test_what_a_site_remembers_of_its_own_certificates_counts(case: Case) -> None:
    SiteFile(case.config.state_dir, NAMES[0]).change(logged={NAMES[0]: datetime(2026, 3, 2, tzinfo=UTC)})
    told = found(case, order(PUBLIC))
    assert told[NAMES[0]].text == f"{NAMES[0]} is in public logs since 2026-03-02, for ever"
    assert told[NAMES[1]].level == "ok"


def test_what_is_no_certificate_has_no_names() -> None:
    assert keys.logged_names(b"nonsense")[0] == ()


# --- the list of all names of a zone ------------------------------------------------------------------------


SOA = dns.rrset.from_text(
    f"{ZONE}.", 600, "IN", "SOA", f"ns.{ZONE}. hostmaster.{ZONE}. 1 3600 1200 86400 600"
)
GIT = dns.rrset.from_text(f"git.{ZONE}.", 600, "IN", "A", "10.0.0.5")


class TcpDns(socketserver.StreamRequestHandler):
    """Answers a question for all of a zone with these records, message by message."""

    messages: ClassVar[list[list[dns.rrset.RRset]]]

    def handle(self) -> None:
        (length,) = struct.unpack("!H", self.rfile.read(2))
        query = dns.message.from_wire(self.rfile.read(length))
        for records in self.messages if query.question[0].rdtype == dns.rdatatype.AXFR else [[]]:
            reply = dns.message.make_response(query)
            reply.answer += records
            wire = reply.to_wire()
            self.wfile.write(struct.pack("!H", len(wire)) + wire)


class OneByOne(TcpDns):
    messages: ClassVar = [[SOA], [GIT], [SOA]]


class AtOnce(TcpDns):
    messages: ClassVar = [[SOA, GIT]]


class SoaAlone(TcpDns):
    messages: ClassVar = [[SOA]]


@pytest.fixture
def ways() -> Iterator[dict[str, Server]]:
    """Name servers by what they show."""

    def nothing(query: dns.message.Message) -> dns.message.Message:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply

    def walked(query: dns.message.Message) -> dns.message.Message:
        reply = nothing(query)
        reply.authority.append(
            dns.rrset.from_text(f"{ZONE}.", 600, "IN", "NSEC", f"git.{ZONE}. A RRSIG NSEC")
        )
        return reply

    def lied(query: dns.message.Message) -> dns.message.Message:
        reply, name = nothing(query), query.question[0].name.to_text()
        reply.authority.append(dns.rrset.from_text(name, 600, "IN", "NSEC", f"\\000.{name} RRSIG NSEC"))
        return reply

    with ExitStack() as stack:
        found = {}
        for name, answered in {"": nothing, "NSEC": walked, "lies": lied}.items():
            host, port = stack.enter_context(DnsServer(answered)).place.split(":")
            found[name] = Server(name, host, int(port))
        for name, handler in {"AXFR": AtOnce, "one by one": OneByOne, "SOA": SoaAlone}.items():
            tcp = stack.enter_context(Served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)))
            found[name] = Server(name, "127.0.0.1", tcp._server.server_address[1])
        yield found


def test_a_zone_that_every_client_can_list_is_warned_of(ways: dict[str, Server], case: Case) -> None:
    shown = {name: lists_names(server, ZONE) for name, server in ways.items()}
    lists = {"NSEC": "NSEC", "AXFR": "AXFR", "one by one": "AXFR"}
    assert shown == {"": "", "lies": "", "SOA": "", **lists}
    case.zones = dict.fromkeys(NAMES, ZONE)
    case.speaking[ZONE] = [ways[""], ways["AXFR"]]
    told = found(case)[ZONE]
    assert (told.level, "AXFR" in told.text) == ("warn", True)
    case.findings.clear()
    case.speaking[ZONE] = [ways[""]]
    assert found(case)[ZONE].level == "ok"
