"""The fault proxy does the damage that it is asked for, and no other."""

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fault_proxy as faults
from support.bed import wait_until
from support.fakes import HttpServer, Reply, Request
from support.fault_proxy import Fault, FaultProxy


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


def get(proxy: FaultProxy, patience_s: float = 60) -> tuple[int, bytes]:
    """Ask once, on a connection of its own, and wait so long for each part of the answer."""
    tls = ssl.create_default_context(cafile=proxy.ca_bundle)
    connection = http.client.HTTPSConnection("127.0.0.1", proxy.port, timeout=60, context=tls)
    try:
        connection.connect()
        connection.sock.settimeout(patience_s)
        connection.request("GET", "/a?b=c")
        reply = connection.getresponse()
        assert reply.getheader("X-Kept", "yes") == "yes"
        return reply.status, reply.read()
    finally:
        connection.close()


LEFT = {
    "dropped": (faults.dropped(), http.client.RemoteDisconnected, 0),
    "dropped after the change": (faults.dropped(after_change=True), http.client.RemoteDisconnected, 1),
    "reset": (faults.reset(), ConnectionResetError, 0),
    "reset after the change": (faults.reset(after_change=True), ConnectionResetError, 1),
    "hung": (faults.hung(), TimeoutError, 0),
    "hung after the change": (faults.hung(after_change=True), TimeoutError, 1),
    "cut": (faults.cut(), http.client.IncompleteRead, 1),
    "dripped": (faults.dripped(60), TimeoutError, 1),
}


@pytest.mark.parametrize(("fault", "error", "carried_out"), LEFT.values(), ids=LEFT.keys())
def test_an_answer_may_never_come(
    proxy: FaultProxy, upstream: HttpServer, fault: Fault, error: type[Exception], carried_out: int
) -> None:
    proxy.at("GET", "/", fault)
    with pytest.raises(error):
        get(proxy, 0.3 if error is TimeoutError else 60)
    wait_until(lambda: len(proxy.asked) == 1 and len(upstream.requests) == carried_out, "it has come")
    assert get(proxy)[0] == 200


def test_a_body_may_be_huge_or_packed(proxy: FaultProxy) -> None:
    proxy.at("GET", "/", faults.huge(3 << 20))
    proxy.at("GET", "/", faults.gzip_bomb(1 << 24))
    assert len(get(proxy)[1]) == 3 << 20
    assert len(get(proxy)[1]) < 1 << 18
