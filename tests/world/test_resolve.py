"""The addresses of a host: what the system says of it, and that nobody is waited for."""

import socket
import threading
import time

import pytest

from certbotless.sandbox.host import hosts_entry
from certbotless.world.resolve import addresses_of, connect


def test_an_address_is_its_own_and_a_name_is_what_the_system_says() -> None:
    assert addresses_of("10.79.40.213") == ["10.79.40.213"]
    assert addresses_of("fd00::5") == ["fd00::5"]
    assert addresses_of("localhost")[0] == "127.0.0.1"


@pytest.mark.parametrize("host", ["a..b", f"{'a' * 70}.test", "", "fe80::1%no-such-interface"])
def test_what_is_no_host_is_told(host: str) -> None:
    with pytest.raises(OSError):
        addresses_of(host)


def test_a_resolver_that_does_not_answer_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer.wait(30) and [])
    began_s = time.monotonic()
    with pytest.raises(TimeoutError, match="no resolver answers in 2 s"):
        addresses_of("devbox.sweetlove.test")
    assert time.monotonic() - began_s < 30
    answer.set()


@pytest.mark.process
def test_the_address_that_takes_a_connection_is_found() -> None:
    """Whichever of a host's it is."""
    name = "both.sweetlove.test"
    with (
        hosts_entry(name, "127.0.0.1"),
        hosts_entry(name, "::1"),
        socket.create_server(("::1", 0), family=socket.AF_INET6) as server,
    ):
        port = server.getsockname()[1]
        assert addresses_of(name) == ["127.0.0.1", "::1"]
        with connect(name, port, 60) as connection:
            assert connection.getpeername()[:2] == ("::1", port)
    with pytest.raises(ConnectionRefusedError):
        connect("127.0.0.1", port, 60)
