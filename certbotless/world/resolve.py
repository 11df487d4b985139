"""The addresses of a host, and a connection to it, each within a time.

A resolver that is down keeps its callers for a minute, and `socket.create_connection` gives each address of a
host all of the time.
"""

import ipaddress
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import suppress

# A LAN's resolver answers in milliseconds, and a check must end within seconds.
_TIMEOUT_S = 2.0


def addresses_of(host: str) -> list[str]:
    """Return what the system says of a host, the addresses of IPv4 first. Takes at most 2 s.

    The system's resolver cannot be stopped: the thread that asks it may outlast the call.

    Raises:
        OSError: there is no such host, or no resolver answered in time.
    """
    with suppress(ValueError):
        if ipaddress.ip_address(host).version == 4 or "%" not in host:  # an interface may not be there
            return [host]
    answer: Future[list[str]] = Future()
    threading.Thread(target=_ask, args=(host, answer), daemon=True).start()
    try:
        return answer.result(_TIMEOUT_S)
    except TimeoutError:
        raise TimeoutError(f"no resolver answers in {_TIMEOUT_S:g} s") from None


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Connect to the first address of the host that takes it, each with its share of the time.

    Takes at most `timeout_s`, and 2 s where `host` is a name.

    Raises:
        OSError: there is no such host, or none of its addresses takes it.
    """
    *others, last = addresses_of(host)
    end_s = time.monotonic() + timeout_s
    for left, address in zip(range(len(others) + 1, 1, -1), others, strict=True):
        with suppress(OSError):
            return socket.create_connection((address, port), timeout=left_s(end_s) / left)
    return socket.create_connection((last, port), timeout=left_s(end_s))


def left_s(end_s: float) -> float:
    """Return what is left of the time, never 0, which would mean for ever or at once."""
    return max(end_s - time.monotonic(), 0.01)


def _ask(host: str, answer: Future[list[str]]) -> None:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        answer.set_exception(socket.gaierror(socket.EAI_NONAME, "no name of a host"))
    except OSError as exc:
        answer.set_exception(exc)
    else:
        in_order = sorted(found, key=lambda info: info[0] != socket.AF_INET)
        answer.set_result(list(dict.fromkeys(str(info[4][0]) for info in in_order)))
