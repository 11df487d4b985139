"""The fault proxy does the damage that it is asked for, and no other."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import HttpServer, Reply, Request

from . import proxy as faults
from .proxy import Answer, Fault, FaultProxy


def echo(request: Request) -> Reply:
    """Answer with what was asked, and ten kilobytes."""
    return Reply(200, request.path.encode() + b" " * 10_000, {"Content-Type": "text/plain", "X-Kept": "yes"})


@pytest.fixture
def upstream() -> Iterator[HttpServer]:
    with HttpServer(echo) as server:
        yield server


@pytest.fixture
def proxy(tmp_path: Path, upstream: HttpServer) -> Iterator[FaultProxy]:
    with FaultProxy(upstream.url, tmp_path) as proxy:
        yield proxy


def get(proxy: FaultProxy, path: str = "/a?b=c", method: str = "GET") -> tuple[int, bytes]:
    """Ask once, on a connection of its own."""
    tls = ssl.create_default_context(cafile=proxy.ca_bundle)
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=0.3, context=tls)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        assert reply.getheader("X-Kept", "yes") == "yes"
        return reply.status, reply.read()
    finally:
        connection.close()


def test_what_no_rule_is_about_passes(proxy: FaultProxy, upstream: HttpServer) -> None:
    proxy.at("POST", "/a", faults.answer(500))
    proxy.at("GET", "/b", faults.answer(500))
    assert get(proxy) == (200, b"/a?b=c" + b" " * 10_000)
    assert [request.path for request in upstream.requests] == ["/a?b=c"]
    assert (proxy.count("GET", "/a"), proxy.count("POST", "/a")) == (1, 0)


def test_a_rule_is_about_the_nth_request_and_those_after_it(proxy: FaultProxy) -> None:
    proxy.at("GET", "/a", faults.answer(503, b"no"), nth=2, times=2)
    assert [get(proxy)[0] for _ in range(5)] == [200, 503, 503, 200, 200]


def test_a_call_of_the_dns_api_is_told_by_its_action(proxy: FaultProxy) -> None:
    proxy.at("GET", "AddDomainRecord", faults.answer(400))
    assert get(proxy, "/?Version=1&Action=DeleteDomainRecord")[0] == 200
    assert get(proxy, "/?Version=1&Action=AddDomainRecord&RR=a")[0] == 400


def test_an_answer_may_be_changed_on_its_way(proxy: FaultProxy) -> None:
    proxy.at("GET", "/", faults.body_rewritten(lambda body: body.strip()[::-1]))
    proxy.at("GET", "/", faults.rewritten(lambda true: Answer(404, b"", true.headers)))
    assert [get(proxy), get(proxy)] == [(200, b"c=b?a/"), (404, b"")]


LEFT = {
    "dropped": (faults.dropped(), http.client.RemoteDisconnected, 0),
    "dropped after the change": (faults.dropped(after_change=True), http.client.RemoteDisconnected, 1),
    "reset": (faults.reset(), ConnectionResetError, 0),
    "reset after the change": (faults.reset(after_change=True), ConnectionResetError, 1),
    "hung": (faults.hung(), TimeoutError, 0),
    "hung after the change": (faults.hung(after_change=True), TimeoutError, 1),
    "cut": (faults.cut(), http.client.IncompleteRead, 1),
    "dripped": (faults.dripped(1), TimeoutError, 1),
}


@pytest.mark.parametrize(("fault", "error", "carried_out"), LEFT.values(), ids=LEFT.keys())
def test_an_answer_may_never_come(
    proxy: FaultProxy, upstream: HttpServer, fault: Fault, error: type[Exception], carried_out: int
) -> None:
    proxy.at("GET", "/", fault)
    with pytest.raises(error):
        get(proxy)
    assert len(upstream.requests) == carried_out
    assert get(proxy)[0] == 200


def test_it_refuses_connections_until_it_comes_back(proxy: FaultProxy) -> None:
    proxy.at("GET", "/", faults.down(), nth=2)
    assert get(proxy)[0] == 200
    with pytest.raises(http.client.RemoteDisconnected):
        get(proxy)
    with pytest.raises(ConnectionRefusedError):
        get(proxy)
    proxy.come_back()
    assert get(proxy)[0] == 200


def test_a_body_may_be_huge_or_packed(proxy: FaultProxy) -> None:
    proxy.at("GET", "/", faults.huge(3 << 20))
    proxy.at("GET", "/", faults.gzip_bomb(1 << 24))
    assert len(get(proxy)[1]) == 3 << 20
    assert len(get(proxy)[1]) < 1 << 18


def test_a_body_may_come_byte_by_byte(proxy: FaultProxy) -> None:
    seen: list[None] = []
    proxy.at("GET", "/", faults.dripped(0, lambda: seen.append(None)))
    assert get(proxy)[1].startswith(b"/a?b=c")
    assert len(seen) == 10_006
