"""A message on its way to real receivers on loopback: what gets there, what does not, and what is told."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import trustme
from fakes import EPOCH, HttpServer, Reply, Request
from listeners import listening

from certbotless import courier
from certbotless.clock import SystemClock
from certbotless.errors import Interrupted, NotifyError
from certbotless.news import Message

MESSAGE = Message(EPOCH, "failure", "certbotless on box: deploy failed", "registry: 证书\n  it is down\n")
TOKEN = "PlantedCanaryToken1234567890"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def failure(url: str, timeout_s: float = courier.TIMEOUT_S) -> str:
    """Send, which must fail, and return what is told of it."""
    with pytest.raises(NotifyError) as caught:
        courier.send(url, MESSAGE, SystemClock(), timeout_s)
    return str(caught.value)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Give what our log hears, as much as the command line lets pass of the library below."""
    lines: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if not record.name.startswith("urllib3"):
                lines.append(record.getMessage())

    ear, root = Ear(), logging.getLogger()
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(ear)


@contextmanager
def receiver(reply: Callable[[Request], Reply | None] | Reply) -> Iterator[HttpServer]:
    """A receiver on loopback; `at` is what follows the scheme in a URL of the library."""
    respond = reply if callable(reply) else lambda _: reply
    with HttpServer(respond) as server:
        yield server


def at(server: HttpServer, path: str = f"/hook/{TOKEN}") -> str:
    return f"{server.url.removeprefix('http://')}{path}"


# --- what gets there ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["json", "xml", "form"])
def test_a_plain_webhook_gets_the_message(scheme: str) -> None:
    with receiver(Reply(200, b"")) as server:
        courier.send(f"{scheme}://{at(server)}", MESSAGE, SystemClock())
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/hook/{TOKEN}")
    if scheme == "json":
        told = json.loads(request.body)
        assert (told["title"], told["type"]) == (MESSAGE.subject, "failure")
        assert told["message"] == "registry: 证书\n  it is down"


def test_mail_is_handed_to_its_server() -> None:
    mail: list[str] = []

    def serve(connection: socket.socket) -> None:
        with connection.makefile("rw", newline="\r\n") as lines:

            def say(text: str) -> None:
                lines.write(f"{text}\n")
                lines.flush()

            say("220 box")
            while word := lines.readline().strip().upper():
                if word == "DATA":
                    say("354 go on")
                    while (line := lines.readline().strip()) != ".":
                        mail.append(line)
                say("221 bye" if word == "QUIT" else "250 ok")

    with listening(serve) as port:
        courier.send(
            f"mailto://127.0.0.1:{port}?from=box@example.com&to=you@example.com", MESSAGE, SystemClock()
        )
    assert f"Subject: {MESSAGE.subject}" in mail
    assert any(line.startswith("To:") and "you@example.com" in line for line in mail)


@pytest.mark.parametrize(
    ("url", "service", "host"),
    [
        (f"dingtalk://{TOKEN}", "DingTalk", "https://oapi.dingtalk.com/"),
        (f"dingtalk://SEC{TOKEN}@{TOKEN}", "DingTalk", "https://oapi.dingtalk.com/"),
        (f"feishu://{TOKEN}", "Feishu", "https://open.feishu.cn/"),
        (f"wecombot://{TOKEN}", "WeCom Bot", "https://qyapi.weixin.qq.com/"),
        (
            f"https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key={TOKEN}",
            "WeCom Bot",
            "https://qyapi.weixin.qq.com/",
        ),
        ("mailtos://user:password@smtp.example.com:465?from=a@example.com&to=b@example.com", "E-Mail", ""),
        ("jsons://user:password@hooks.example.com/path", "JSON", ""),
    ],
)
def test_the_forms_of_the_page_are_those_of_the_services(url: str, service: str, host: str) -> None:
    """What docs/notifications.md shows is taken, by the plug-in of that service."""
    courier.check(url)
    import apprise

    found = apprise.Apprise.instantiate(url)
    assert found is not None
    assert str(found.service_name) == service
    assert str(getattr(found, "notify_url", "")).startswith(host)


# --- what does not ------------------------------------------------------------------------------------------


def test_an_error_of_the_receiver_is_told() -> None:
    with receiver(Reply(500, b"")) as server:
        assert "error=500" in failure(f"json://{at(server)}")


def test_a_redirect_is_not_followed() -> None:
    """A message is for whom the file names."""
    with receiver(Reply(200, b"")) as other:
        with receiver(Reply(302, b"", {"Location": f"{other.url}/{TOKEN}"})) as server:
            told = failure(f"json://{at(server)}")
        assert "it redirects to 'http://" in told
        assert TOKEN not in told
        assert other.requests == []


@pytest.mark.parametrize("code", [310000, 93000])
def test_a_refusal_that_comes_with_status_200_is_one(code: int) -> None:
    """DingTalk and WeCom say so of a wrong token, and of a text without the keyword."""
    answer = json.dumps({"errcode": code, "errmsg": f"keywords not in content {TOKEN}"}).encode()
    with receiver(Reply(200, answer)) as server:
        told = failure(f"json://{at(server)}")
    assert f"refused: errcode {code}, 'keywords not in content ***'" in told


def test_no_part_of_the_url_is_told_that_may_be_a_token() -> None:
    """Whatever a service calls it, and in each form; a shorter word stands in many others."""
    url = "jsons://planted:Secret%2F1@127.0.0.1:1/hook/TOKEN1/x?key=Another1"
    said = "planted Secret%2F1 Secret/1 TOKEN1 Another1 hook x"
    assert courier._without_tokens(url, said) == "*** *** *** *** *** hook x"


def test_an_answer_of_theirs_that_is_well_is_well() -> None:
    with receiver(Reply(200, b'{"errcode": 0, "errmsg": "ok"}')) as server:
        courier.send(f"json://{at(server)}", MESSAGE, SystemClock())


def test_a_certificate_that_nobody_trusts_here_gets_no_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "chain.pem")
    ca.cert_pem.write_to_path(tmp_path / "root.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "chain.pem")
    server = HttpServer(lambda _: Reply(200, b""))
    plain = cast(Any, server)._server
    plain.socket = context.wrap_socket(plain.socket, server_side=True)
    plain.handle_error = lambda *_: None  # of handshakes that the other side breaks off
    with server:
        assert "TLS certificate is not trusted" in failure(f"jsons://{at(server)}")
        assert server.requests == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "root.pem"))
        courier.send(f"jsons://{at(server)}", MESSAGE, SystemClock())


def test_who_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the time-out of the library, and there is no end of them."""
    monkeypatch.setattr(courier, "_EXCHANGE_S", 0.5)

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            connection.sendall(b"x")
            time.sleep(0.05)

    with listening(drip) as port:
        assert "no whole answer in" in failure(f"json://127.0.0.1:{port}/x")


def test_a_mail_server_that_drips_is_left_behind() -> None:
    """Its library waits for each byte anew; the thread that hears them ends with the process, here sooner."""
    is_over = threading.Event()

    def drip(connection: socket.socket) -> None:
        while not is_over.wait(0.05):
            connection.sendall(b"2")

    with listening(drip) as port:
        told = failure(f"mailto://127.0.0.1:{port}?from=a@example.com&to=b@example.com", 0.3)
        assert "not sent within 0 s" in told
        is_over.set()
        for thread in threading.enumerate():
            if thread.name == courier.THREAD:
                thread.join()


def test_who_is_asked_to_stop_waits_for_no_answer() -> None:
    clock, is_over = SystemClock(), threading.Event()

    def stop(connection: socket.socket) -> None:
        connection.recv(100)
        clock.stop()
        is_over.wait(30)

    with listening(stop) as port:
        with pytest.raises(Interrupted):
            courier.send(f"json://127.0.0.1:{port}/x", MESSAGE, clock)
        is_over.set()


def test_nobody_there_is_told_in_the_words_of_the_system() -> None:
    assert "no connection (Connection refused)" in failure(f"json://127.0.0.1:1/{TOKEN}")
    told = failure(f"mailto://user:{TOKEN}@127.0.0.1:1?from=a@example.com&to=b@example.com")
    assert "Connection refused" in told
    assert TOKEN not in told


@pytest.mark.parametrize(
    "url",
    [
        f"nosuch://{TOKEN}",
        f"dingtalk://{TOKEN}-with-a-dash",
        "json://",
        f"https://example.com/{TOKEN}",
        TOKEN,
    ],
)
def test_what_is_no_url_of_a_service_is_told_without_it(url: str) -> None:
    with heard() as lines, pytest.raises(NotifyError) as caught:
        courier.check(url)
    assert "no URL of a service that apprise knows" in str(caught.value)
    assert TOKEN not in "".join([str(caught.value), *lines])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "exec:///bin/true", "include:///etc/x"])
def test_no_url_leads_to_a_file_or_a_program(url: str) -> None:
    with pytest.raises(NotifyError):
        courier.check(url)


def test_nothing_that_the_library_says_is_heard_by_others() -> None:
    """Its details hold the whole URL."""
    with heard() as lines, receiver(Reply(500, b"")) as server:
        failure(f"json://user:{TOKEN}@{at(server)}")
    assert TOKEN not in "".join(lines)


def test_requests_of_others_are_made_as_ever() -> None:
    """The library's sessions are ours in the thread of a message alone."""
    courier.load()
    with receiver(Reply(302, b"", {"Location": "/there"})) as server:
        assert requests.get(server.url, allow_redirects=False, timeout=5).status_code == 302


@pytest.mark.process
def test_what_is_loaded_needs_no_further_file() -> None:
    """The user that a command of root's becomes may not be able to read the installation."""
    script = (
        "import sys\n"
        "from certbotless import courier\n"
        "courier.load()\n"
        "sys.meta_path.clear()\n"
        "for scheme in ('dingtalk', 'feishu', 'wecombot', 'jsons'):\n"
        "    courier.check(f'{scheme}://PlantedCanaryToken1234567890')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_is_not_whole_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'apprise.plugins.x'")

    monkeypatch.setattr(apprise.Apprise, "instantiate", fail)
    with pytest.raises(NotifyError, match="cannot be used here"):
        courier.load()


@pytest.mark.process
def test_without_the_library_the_cure_is_told() -> None:
    """As an installation without the extra: a program of its own, in which it cannot be found."""
    script = (
        "import sys; sys.modules['apprise'] = None\n"
        "from certbotless import courier, errors\n"
        "try: courier.check('json://127.0.0.1')\n"
        "except errors.NotifyError as exc: print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'certbotless[notify]'" in done.stdout
