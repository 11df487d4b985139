"""What the daemon hands out of the local CA: its root, to everybody, and nothing else."""

import itertools
import json
import logging
import plistlib
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from pathlib import Path

import pytest
from support.asking import HOSTILE, get
from support.daemons import DOMAIN, Machine
from support.languages import chinese
from support.local_cas import put_ca, put_next

from certbotless.cli.main import main
from certbotless.config import load
from certbotless.config.settings import Config, LocalCaSettings
from certbotless.sandbox.process import free_port
from certbotless.service.http_server import Reply, Request
from certbotless.service.root_share import Share
from certbotless.state.local_ca import LocalCaFolder

FILES = ("/root.crt", "/root.cer", "/root.mobileconfig")
PATHS = ("/", *FILES)
# What a site is called, and where things are: no answer has them.
SITE = "git.lan"
SECRET = (SITE, "10.79.40.99", "registry", "issuing", "/state", "local-ca/", "BEGIN PRIVATE")


def config_at(state: Path, listen: str = "127.0.0.1:9110") -> Config:
    site = {"domain": SITE, "ca": "local", "names": ["10.79.40.99"], "deploy": [{"container": "registry"}]}
    text = json.dumps({"sites": [site], "local_ca": {"share": listen}, "state_dir": str(state)})
    return load.parse(text.encode(), "config.yaml")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def share(state: Path) -> Share:
    """A second goes by at each look at the clock, so nothing is answered again as it was."""
    return Share(config_at(state), partial(next, itertools.count()))


def ask(share: Share, path: str, query: str = "", **fields: str) -> Reply:
    host = fields.get("host", "10.79.40.213:9110")
    return share.answer(Request(path, query, host, fields.get("languages", "")))


def made(state: Path) -> bytes:
    """Make a CA, and return its root."""
    put_ca(state)
    return (state / "local-ca/root.pem").read_bytes()


def made_next(state: Path) -> bytes:
    """Begin a rotation, and return the next root."""
    put_next(state)
    return (state / "local-ca/next/root.pem").read_bytes()


def der_of(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


# --- the files ----------------------------------------------------------------------------------------------


def test_the_root_is_handed_out_in_three_forms(state: Path, share: Share) -> None:
    root = made(state)
    crt, cer, profile = (ask(share, path) for path in FILES)
    assert (crt.body, cer.body) == (root, der_of(root))
    (payload,) = plistlib.loads(profile.body)["PayloadContent"]
    assert (payload["PayloadType"], payload["PayloadContent"]) == ("com.apple.security.root", der_of(root))
    assert [each.type for each in (crt, cer, profile)] == [
        "application/x-x509-ca-cert",
        "application/x-x509-ca-cert",
        "application/x-apple-aspen-config",
    ]
    assert ask(share, "/root.cer", "next").status == 404


def test_during_a_rotation_both_roots_are_handed_out(state: Path, share: Share) -> None:
    """`/root.cer` has room for one: the next one has a question mark."""
    now = made(state)
    assert ask(share, "/root.crt").body == now
    coming = made_next(state)
    assert ask(share, "/root.crt").body == now + coming
    assert ask(share, "/root.cer").body == der_of(now)
    assert ask(share, "/root.cer", "next").body == der_of(coming)
    payloads = plistlib.loads(ask(share, "/root.mobileconfig").body)["PayloadContent"]
    assert [each["PayloadContent"] for each in payloads] == [der_of(now), der_of(coming)]
    folder = LocalCaFolder(state)
    folder.switch()
    assert ask(share, "/root.crt").body == coming


def test_there_is_no_other_path(state: Path, share: Share) -> None:
    put_ca(state)
    for path in (
        "/favicon.ico",
        "/root",
        "/root.crt/",
        "/root.pem",
        "/issuing.pem",
        "/issuing.key",
        "/ca.json",
        "/status.json",
        "/metrics",
        "/healthz",
        "/../root.crt",
        "/%2e%2e/local-ca/issuing.key",
        "//root.crt",
    ):
        reply = ask(share, path)
        assert (reply.status, reply.type) == (404, "text/plain; charset=utf-8")


def test_nothing_is_said_of_sites_keys_and_folders(state: Path, share: Share) -> None:
    put_ca(state)
    for path in PATHS:
        for languages in ("en", "zh"):
            text = ask(share, path, languages=languages).body.decode("latin-1")
            assert [word for word in SECRET if word in text] == [], path


# --- who is spoken to ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "languages", "spoken"),
    [
        ("", "", "en"),
        ("", "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("", "zh-TW", "zh"),
        ("", "de, en;q=0.4, zh;q=0.3", "en"),
        ("", "en;q=0.3, ZH;q=0.5", "zh"),
        ("", "fr, *;q=0.5", "en"),
        ("", "zh;q=0, fr", "en"),
        ("", "zh;q=nan, zh;q=9, zh;q=x, ;;,, zh;q=1_0", "en"),
        ("lang=zh", "en", "zh"),
        ("lang=en", "zh", "en"),
        ("lang=xx", "zh", "zh"),
        ("a&lang=zh", "", "zh"),
    ],
)
def test_each_client_is_answered_in_its_language(
    query: str, languages: str, spoken: str, state: Path, share: Share
) -> None:
    """Whatever is spoken to others; what is asked for by name comes first."""
    put_ca(state)
    page = ask(share, "/", query, languages=languages).body.decode()
    assert f'<html lang="{spoken}">' in page
    assert ("根证书" in page) == (spoken == "zh")


def test_where_a_client_says_nothing_the_language_of_the_file_is_spoken(state: Path, share: Share) -> None:
    put_ca(state)
    with chinese():
        assert '<html lang="zh">' in ask(share, "/").body.decode()
        assert '<html lang="en">' in ask(share, "/", languages="en-GB").body.decode()


def test_the_lines_have_the_address_by_which_the_client_came(state: Path, share: Share) -> None:
    put_ca(state)
    for host, shown in (
        ("10.79.40.213:9110", "curl -fsSO http://10.79.40.213:9110/root.crt"),
        ("[fd12::5]:9110", "curl -fsSO &#39;http://[fd12::5]:9110/root.crt&#39;"),
        ("devbox", "curl -fsSO http://devbox/root.crt"),
        ("", "curl -fsSO http://127.0.0.1:9110/root.crt"),
    ):
        assert shown in ask(share, "/", host=host).body.decode()


# --- without a root -----------------------------------------------------------------------------------------


def test_before_the_ca_is_made_a_line_says_so(state: Path, share: Share) -> None:
    """And the root is there as soon as it is made."""
    for path in PATHS:
        reply = ask(share, path)
        assert (reply.status, reply.type) == (503, "text/plain; charset=utf-8")
        assert reply.body.startswith(b"There is no root. The first certificate of a local site makes it;")
    assert "没有根证书".encode() in ask(share, "/", languages="zh").body
    put_ca(state)
    assert ask(share, "/root.crt").status == 200


@pytest.mark.parametrize("name", ["root.pem", "ca.json", "next/root.pem"])
def test_a_root_that_is_damaged_is_not_handed_out(
    name: str, state: Path, share: Share, caplog: pytest.LogCaptureFixture
) -> None:
    """The client learns nothing of it; the log has it once, and the root is there again when it is right."""
    put_ca(state)
    put_next(state)
    path = state / "local-ca" / name
    good = path.read_bytes()
    path.write_bytes(good[:-40])
    for _ in range(3):
        for each in PATHS:
            reply = ask(share, each)
            assert (reply.status, reply.body.count(b"/")) == (503, 0)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("http.no_root error=the ")
    assert "is damaged; " in line
    assert "certbotless trust rotate" in line
    path.write_bytes(good)
    assert ask(share, "/root.crt").status == 200


def test_a_damaged_old_root_is_no_matter(state: Path, share: Share) -> None:
    """No client needs it."""
    put_ca(state)
    put_next(state)
    LocalCaFolder(state).switch()
    (old,) = (state / "local-ca/old").iterdir()
    old.write_bytes(b"")
    assert ask(share, "/root.crt").status == 200


def test_what_is_asked_for_again_at_once_is_answered_with_the_same(state: Path) -> None:
    """So a flood of requests makes no work, and takes no memory."""
    put_ca(state)
    share = Share(config_at(state), lambda: 0.0)
    request = Request("/", "", "10.79.40.213:9110")
    assert share.answer(request) is share.answer(request)
    for port in range(200):
        share.answer(Request("/", "", f"10.79.40.213:{port}"))
    assert len(share._answers) <= 16


# --- the server ---------------------------------------------------------------------------------------------


@pytest.fixture
def listen(state: Path) -> Iterator[str]:
    """A share that is open, with a CA."""
    put_ca(state)
    listen = f"127.0.0.1:{free_port()}"
    share = Share(config := config_at(state, listen))
    assert share.follow(config)
    yield listen
    share.close()


def answer_to(listen: str, request: bytes) -> bytes:
    host, _, port = listen.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(request)
        received = bytearray()
        while chunk := sock.recv(65536):
            received += chunk
    return bytes(received)


def test_hostile_requests_get_what_the_status_page_gives_them(listen: str) -> None:
    """It is the same server."""
    for request in HOSTILE:
        assert answer_to(listen, request)[9:12] in (b"400", b"404", b"405", b"421", b"431")
    for request in (
        b"GET /root.crt?../../issuing.key HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /root.cer?next&lang=%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /?lang=" + b"zh&" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Language: " + b"zh;q=," * 1000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Language: \xff\xfe\r\n\r\n",
    ):
        assert answer_to(listen, request)[9:12] == b"200"
    head = answer_to(listen, b"HEAD / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert head.endswith(b"\r\n\r\n")
    assert b"\r\nContent-Security-Policy: default-src 'none'; style-src 'sha256-" in head


def test_a_name_is_answered_if_the_root_may_vouch_for_it(listen: str) -> None:
    """Which it says to everybody: nobody learns from an answer which sites there are."""
    names = {"devbox": 200, "a.devbox": 200, SITE: 200, "other.lan": 200, "lan": 200, "xdevbox": 421}
    names |= {"evil.example": 421, "1.2.3": 421, "10": 421, ".": 421, "..": 421, "lan.evil.example": 421}
    assert {name: get(listen, "/root.crt", Host=name)[0] for name in names} == names


def test_without_a_root_each_name_is_answered(state: Path) -> None:
    listen = f"127.0.0.1:{free_port()}"
    with closing(Share(config := config_at(state, listen))) as share:
        assert share.follow(config)
        assert get(listen, "/", Host="devbox:9110")[0] == 503


def test_a_place_that_is_taken_is_logged_once_and_tried_again(
    state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        share = Share(config := config_at(state, listen))
        assert [share.follow(config) for _ in range(3)] == [False] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"http.not_opened listen={listen} error=Address already in use "
        "hint=`ss -ltnp` shows the program that listens there: end it, or use another port in "
        "local_ca.share; it is tried again each second"
    ]
    assert share.follow(config)
    assert share.follow(replace(config, local_ca=LocalCaSettings()))
    assert share.listening.server is None
    assert caplog.records[-1].getMessage() == f"http.closed listen={listen}"


# --- the real daemon ----------------------------------------------------------------------------------------


@pytest.mark.process
def test_the_daemon_follows_the_file_and_both_pages_are_apart(machine: Machine) -> None:
    """Edits open and close it; neither page hinders the other, nor a port that is taken the checks."""
    put_ca(machine.home / "state")
    share, listen = (f"127.0.0.1:{free_port()}" for _ in range(2))
    host, _, port = listen.rpartition(":")
    with socket.create_server((host, int(port))), machine.daemon():
        machine.write(local_ca={"share": share}, http={"listen": listen})
        machine.wait_until(lambda: can_get(share))
        machine.wait_for_log("http.not_opened")
        machine.wait_for_looks(2)
        assert can_get(share)
        text = get(share, "/")[1]
        assert DOMAIN not in text
        machine.write()
        machine.wait_until(lambda: not can_get(share))
        machine.write(local_ca={"share": "8.8.8.8:9110"})
        machine.wait_for_log("config.refused")
    log = machine.log.read_text()
    assert log.count("http.not_opened") == 1
    assert f"http.opened listen={share}" in log
    assert "8.8.8.8" in log


def can_get(listen: str) -> bool:
    try:
        return get(listen, "/root.crt")[0] == 200
    except (OSError, HTTPException):  # it may be closed in the middle of an answer
        return False


def test_check_takes_it_and_refuses_a_public_address(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.yaml"
    for share, code in (("10.79.40.213:9110", 0), ("8.8.8.8:9110", 2)):
        local_ca = {"share": share}
        file.write_text(json.dumps({"local_ca": local_ca, "sites": [{"domain": "devbox", "ca": "local"}]}))
        assert main(["--config", str(file), "check"]) == code
        assert ("'8.8.8.8' is a public address" in capfd.readouterr().err) == (code == 2)
