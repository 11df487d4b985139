"""What a client meets, in real handshakes on loopback; and when it is tried again."""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.listeners import context_of, listening, speak_tls
from support.sharing import sharers, unit
from support.views import FACTS, LISTED, NOTHING, NOW, on_three, said, site, view

from certbotless.base import files, saved
from certbotless.base.errors import StoreError
from certbotless.config import load
from certbotless.model.decision import Step
from certbotless.model.memory import WrittenRecord
from certbotless.model.view import ClientFacts, View, digest_of_visit, facts_of
from certbotless.observe import client_visit
from certbotless.observe.client_visit import Met, is_due, knock, visit
from certbotless.sandbox.host import hosts_entry

NAME = "devbox.sweetlove.test"
ASKED = f"GET /v2/ HTTP/1.1\r\nHost: {NAME}:%d\r\nConnection: close\r\n\r\n"

CA = trustme.CA()


@pytest.fixture(autouse=True)
def _trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine trusts the CA."""
    CA.cert_pem.write_to_path(tmp_path / "root.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "root.pem"))


@contextmanager
def service(say: bytes | Callable[[ssl.SSLSocket], object], name: str = NAME) -> Iterator[int]:
    """A service that says this to whoever asks."""
    context = context_of(CA.issue_cert(name))

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            asked = tls.recv(4096)
            assert asked == (ASKED % tls.getsockname()[1]).encode()
            if callable(say):
                say(tls)
            else:
                tls.sendall(say)

    with listening(talk) as port:
        yield port


# --- what is met --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [200, 401, 404, 502])
def test_an_answer_is_an_answer(code: int) -> None:
    """A registry wants a login, or is no registry; an error of the server is told as one."""
    with service(f"HTTP/1.1 {code} Fine\r\n\r\n".encode()) as port:
        met = knock("127.0.0.1", port, NAME)
    assert met == Met(True, code, f"HTTP {code} to GET /v2/")
    assert met.is_error == (code == 502)


@pytest.mark.parametrize(
    "said", [b"", b"220 mail.test ESMTP\r\n", b"HTTP/1.1 2000 Fine\r\n", b"\0" * 10_000, b"HTTP/2"]
)
def test_what_speaks_no_http_is_trusted_all_the_same(said: bytes) -> None:
    with service(said) as port:
        assert knock("127.0.0.1", port, NAME) == Met(True, 0, "it does not use HTTP")


def test_who_says_a_byte_now_and_then_does_not_hold_us() -> None:
    """The time is that of all of it."""

    def drip(tls: ssl.SSLSocket) -> None:
        tls.settimeout(0.05)
        while True:
            tls.sendall(b"H")
            with suppress(TimeoutError):
                if not tls.recv(1):
                    return

    with service(drip) as port:
        met = knock("127.0.0.1", port, NAME, timeout_s=0.5)
    assert (met.is_trusted, met.status) == (True, None)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_who_wants_a_certificate_of_the_client_is_trusted_all_the_same(version: ssl.TLSVersion) -> None:
    """With TLS 1.3 it says so only after the handshake, with TLS 1.2 within it."""
    context = context_of(CA.issue_cert(NAME))
    CA.configure_trust(context)
    context.verify_mode, context.maximum_version = ssl.CERT_REQUIRED, version
    with listening(speak_tls(context)) as port:
        met = knock("127.0.0.1", port, NAME)
    assert (met.is_trusted, met.status, met.is_error) == (True, None, False)


def test_a_certificate_for_another_name_is_not_trusted() -> None:
    with service(b"", "other.sweetlove.test") as port:
        met = knock("127.0.0.1", port, NAME)
    assert (met.is_trusted, met.status) == (False, None)
    assert met.text.startswith("not trusted: Hostname mismatch")


def test_a_root_that_this_machine_does_not_know_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with service(b"") as port:
        met = knock("127.0.0.1", port, NAME)
    assert (met.is_trusted, met.text) == (False, "not trusted: unable to get local issuer certificate")


def test_nobody_there_and_no_tls_are_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert knock("127.0.0.1", port, NAME).text == "no TLS answer (Connection refused)"
    with listening(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        assert knock("127.0.0.1", port, NAME).text.startswith("no TLS answer (")
    assert knock("no-such-host.invalid", 443, NAME).text.startswith("no TLS answer (")


# --- when ---------------------------------------------------------------------------------------------------


def met(of: View, at: datetime = NOW, *, trusted: bool = True) -> dict[str, ClientFacts]:
    """Return what a visit has met at a site as it is now."""
    facts = ClientFacts(at, True, trusted, True, "HTTP 200 to GET /v2/", digest_of_visit(of))
    return {of.site.domain: facts}


def test_it_is_tried_once_an_hour() -> None:
    for minutes, due in ((0, False), (59, False), (60, True), (600, True)):
        assert is_due(view(), met(view(), NOW - timedelta(minutes=minutes))) is due


def test_what_is_not_well_is_tried_sooner() -> None:
    for minutes, due in ((9, False), (10, True)):
        assert is_due(view(), met(view(), NOW - timedelta(minutes=minutes), trusted=False)) is due


def test_a_certificate_that_sites_share_is_not_visited_but_they_are() -> None:
    """It would be due at each check, for ever."""
    assert not is_due(unit(), {})
    assert all(is_due(each, {}) for each in sharers())


def test_a_time_to_come_counts_for_nothing() -> None:
    """The clock was wrong then."""
    assert is_due(view(), met(view(), NOW + timedelta(days=1)))


def test_what_has_changed_since_is_tried_anew_and_not_told() -> None:
    """Another certificate, another address, another port."""
    known = met(view())
    renewed = replace(FACTS, sha256="cd" * 32)
    for changed in (
        view(published=replace(view().seen.published, facts=renewed)),
        view(addresses={"A": "10.79.40.9"}),
        view(of=site(deploy="[{container: registry, port: 5001}]")),
    ):
        assert is_due(changed, known)
        assert facts_of(changed, known) is None
    assert facts_of(view(), known) == known[view().site.domain]


def test_it_waits_for_what_is_due_and_needs_a_certificate() -> None:
    """What is met before is of the state that is being left."""
    assert not is_due(view(Step("deploy", said("another certificate"), target="registry")), {})
    assert not is_due(view(published=NOTHING), {})
    assert is_due(view(), {})


# --- a visit ------------------------------------------------------------------------------------------------


def unknown(**remembered: Any) -> View:
    """A site whose name nobody knows."""
    shown = view(of=site("nobody.invalid", deploy="[]"))
    return replace(shown, remembered=replace(shown.remembered, **remembered))


def written(ago: timedelta, ttl_s: int = 600) -> dict[str, WrittenRecord]:
    return {"nobody.invalid": WrittenRecord(value="10.79.40.213", ttl_s=ttl_s, at=NOW - ago)}


def test_a_name_that_nobody_knows_is_the_first_fault() -> None:
    met = visit(unknown(records={"A": written(timedelta(hours=1))}))
    assert (met.resolved, met.trusted, met.answered, met.is_well) == (False, None, None, False)
    assert met.text.startswith("nobody.invalid: this machine's resolver gives no address (")


@pytest.mark.parametrize("type_", ["A", "AAAA"])
def test_a_resolver_may_remember_for_a_ttl_what_was_before_our_record(type_: str) -> None:
    """That is no fault, and is looked at again soon."""
    young = unknown(records={type_: written(timedelta(minutes=9))})
    met = visit(young)
    assert (met.resolved, met.trusted, met.answered, met.is_well) == (None, None, None, True)
    assert met.text.endswith("; it may cache the old answer until 2026-11-24T05:31:00Z")
    for minutes, due in ((9, False), (10, True)):
        earlier = replace(met, at=NOW - timedelta(minutes=minutes))
        assert is_due(young, {"nobody.invalid": earlier}) is due


def test_where_nothing_can_be_written_nobody_is_visited(tmp_path: Path) -> None:
    """Else each look would visit all again, and say so."""
    (tmp_path / "clients.json").mkdir()
    config = load.parse(
        f"aliyun: {{access_key_id: a, access_key_secret: b}}\nstate_dir: {tmp_path}\n"
        "sites: [{domain: nobody.invalid, address: none}]".encode(),
        "c.yaml",
    )
    with pytest.raises(StoreError, match=r"clients\.json"):
        client_visit.visit_due(config)


# --- what is remembered -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{", '{"a": 1}', '{"a": {"at": "never"}}', "[" * 100_000, '{"a": {"resolved": 7}}'],
)
def test_a_file_that_makes_no_sense_is_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "clients.json").write_text(text)
    assert client_visit.remembered(tmp_path) == {}


def test_what_was_met_is_read_as_it_was_written(tmp_path: Path) -> None:
    known = met(view())
    saved.save(tmp_path / "clients.json", known)
    assert client_visit.remembered(tmp_path) == known
    assert files.read(tmp_path / "clients.json").endswith(b"}")


@pytest.mark.process
def test_of_several_addresses_a_resolver_may_give_some_but_no_other_one() -> None:
    """With weights it gives one of them."""
    shown = on_three()
    shown = replace(shown, site=replace(shown.site, deploy=()))
    with hosts_entry(shown.site.domain, LISTED[1]):
        assert visit(shown).resolved is True
    with hosts_entry(shown.site.domain, "10.79.40.9"):
        met = visit(shown)
    assert met.resolved is False
    assert f"gives 10.79.40.9, not {', '.join(LISTED)}" in met.text


@pytest.mark.process
@pytest.mark.row(89)
def test_a_proxy_that_makes_addresses_up_is_named_with_its_setting() -> None:
    with hosts_entry(view().site.domain, "198.18.0.77"):
        met = visit(view())
    assert (met.resolved, met.trusted) == (False, None)
    assert "gives 198.18.0.77, not 10.79.40.213: a proxy (Clash, mihomo, sing-box) answers" in met.text
    assert "add `+.sweetlove.top` to the fake-ip-filter of the proxy, or exclude port 53" in met.text
