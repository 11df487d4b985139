"""A message on its way to real receivers on loopback: what gets there, what does not, and what is told."""

import json
import logging
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import requests
import trustme
from support.fakes import HttpServer, Reply
from support.listeners import listening

from certbotless.base.clock import SystemClock
from certbotless.base.errors import Interrupted, NotifyError
from certbotless.notify import apprise_sender
from certbotless.notify.message import Message

MESSAGE = Message("failure", "certbotless on box: deploy failed", "registry: 证书\n  it is down\n")
TOKEN = "PlantedCanaryToken1234567890"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def failure(url: str, timeout_s: float = apprise_sender.TIMEOUT_S) -> str:
    """Send, which must fail, and return what is told of it."""
    with pytest.raises(NotifyError) as caught:
        apprise_sender.send(url, MESSAGE, SystemClock(), timeout_s)
    return str(caught.value)


@contextmanager
def heard() -> Iterator[list[str]]:
    """Give what our log hears, as much as the command line lets pass of the library below."""
    lines: list[str] = []
    ear, root = logging.Handler(), logging.getLogger()
    ear.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    ear.addFilter(lambda record: not record.name.startswith("urllib3"))
    level = root.level
    root.addHandler(ear)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(level)
        root.removeHandler(ear)


def at(server: HttpServer, path: str = f"/hook/{TOKEN}") -> str:
    """What follows the scheme in a URL of the library."""
    return f"{server.url.removeprefix('http://')}{path}"


# --- what gets there ----------------------------------------------------------------------------------------


def test_a_plain_webhook_gets_the_message() -> None:
    with HttpServer(lambda _: Reply(200, b"")) as server:
        apprise_sender.send(f"json://{at(server)}", MESSAGE, SystemClock())
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", f"/hook/{TOKEN}")
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
        apprise_sender.send(
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
    apprise_sender.service_of(url)
    import apprise

    found = apprise.Apprise.instantiate(url)
    assert found is not None
    assert str(found.service_name) == service
    assert str(getattr(found, "notify_url", "")).startswith(host)


# --- what does not ------------------------------------------------------------------------------------------


def test_an_error_of_the_receiver_is_told() -> None:
    with HttpServer(lambda _: Reply(500, b"")) as server:
        assert "error=500" in failure(f"json://{at(server)}")


def test_a_redirect_is_not_followed() -> None:
    """A message is for whom the file names."""
    with HttpServer(lambda _: Reply(200, b"")) as other:
        with HttpServer(lambda _: Reply(302, b"", {"Location": f"{other.url}/{TOKEN}"})) as server:
            told = failure(f"json://{at(server)}")
        assert "it redirects to 'http://" in told
        assert TOKEN not in told
        assert other.requests == []


@pytest.mark.parametrize(
    ("scheme", "answer", "said"),
    [
        (
            "dingtalk",
            {"errcode": 310000, "errmsg": f"no keyword {TOKEN}"},
            "errcode 310000, 'no keyword ***'",
        ),
        ("wecombot", {"errcode": 93000, "errmsg": "invalid webhook url"}, "errcode 93000, 'invalid webhook"),
        ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, "code=19024 msg=Key Words Not Found"),
        ("lark", {"code": 19021, "msg": "sign match fail"}, "code=19021 msg=sign match fail"),
    ],
)
def test_a_refusal_that_comes_with_status_200_is_one(
    scheme: str, answer: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say so of a wrong token, and of a text without the keyword; what they accept is sent."""
    import apprise

    apprise_sender.load()
    plugin = type(apprise.Apprise.instantiate(f"{scheme}://{TOKEN}"))
    with HttpServer(lambda _: Reply(200, json.dumps(answer).encode())) as server:
        url = f"{server.url}/hook"
        monkeypatch.setattr(plugin, "notify_url", url, raising=False)
        monkeypatch.setattr(plugin, "webhook_url", url, raising=False)
        assert said in failure(f"{scheme}://{TOKEN}")
        answer |= dict.fromkeys(answer, 0)
        apprise_sender.send(f"{scheme}://{TOKEN}", MESSAGE, SystemClock())
    assert len(server.requests) == 2


def test_no_part_of_the_url_is_told_that_may_be_a_token() -> None:
    """Whatever a service calls it, and in each form; a shorter word stands in many others."""
    url = "jsons://planted:Secret%2F1@127.0.0.1:1/hook/TOKEN1/x?key=Another1"
    said = "planted Secret%2F1 Secret/1 TOKEN1 Another1 hook x"
    assert apprise_sender._without_tokens(url, said) == "*** *** *** *** *** hook x"


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
        apprise_sender.send(f"jsons://{at(server)}", MESSAGE, SystemClock())


def test_who_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte comes within the time-out of the library, and there is no end of them."""
    monkeypatch.setattr(apprise_sender, "EXCHANGE_S", 0.5)

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
            if thread.name == apprise_sender.THREAD:
                thread.join()


def test_who_is_asked_to_stop_waits_for_no_answer() -> None:
    clock, is_over = SystemClock(), threading.Event()

    def stop(connection: socket.socket) -> None:
        connection.recv(100)
        clock.stop()
        is_over.wait(30)

    with listening(stop) as port:
        with pytest.raises(Interrupted):
            apprise_sender.send(f"json://127.0.0.1:{port}/x", MESSAGE, clock)
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
        apprise_sender.service_of(url)
    assert "does not know a service for this URL" in str(caught.value)
    assert TOKEN not in "".join([str(caught.value), *lines])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "exec:///bin/true", "include:///etc/x"])
def test_no_url_leads_to_a_file_or_a_program(url: str) -> None:
    with pytest.raises(NotifyError):
        apprise_sender.service_of(url)


def test_nothing_that_the_library_says_is_heard_by_others() -> None:
    """Its details hold the whole URL."""
    with heard() as lines, HttpServer(lambda _: Reply(500, b"")) as server:
        failure(f"json://user:{TOKEN}@{at(server)}")
    assert TOKEN not in "".join(lines)


def test_requests_of_others_are_made_as_ever() -> None:
    """The library's sessions are ours in the thread of a message alone."""
    apprise_sender.load()
    with HttpServer(lambda _: Reply(302, b"", {"Location": "/there"})) as server:
        assert requests.get(server.url, allow_redirects=False, timeout=5).status_code == 302


@pytest.mark.process
def test_what_is_loaded_needs_no_further_file() -> None:
    """The user that a command of root's becomes may not be able to read the installation."""
    script = (
        "import sys\n"
        "from certbotless.notify import apprise_sender as sender\n"
        "sender.load()\n"
        "sys.meta_path.clear()\n"
        "for scheme in ('dingtalk', 'feishu', 'wecombot', 'jsons'):\n"
        "    sender.service_of(f'{scheme}://PlantedCanaryToken1234567890')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_library_that_is_not_whole_or_not_there_is_told_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import apprise

    def fail(*_: object, **__: object) -> None:
        raise ModuleNotFoundError("No module named 'apprise.plugins.x'")

    with monkeypatch.context() as patch:
        patch.setattr(apprise.Apprise, "instantiate", fail)
        with pytest.raises(NotifyError, match="cannot be used here"):
            apprise_sender.load()
        apprise_sender.library.cache_clear()
        patch.setitem(sys.modules, "apprise", None)
        with pytest.raises(NotifyError, match=r"pip install '\.\[notify\]'"):
            apprise_sender.load()
