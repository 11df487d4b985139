"""The addresses of a host, and a connection to it, each within a time.

A resolver that is down keeps its callers for a minute, and `socket.create_connection` gives each address of a
host all of the time.
"""

import ipaddress
import socket
import threading
import time
from contextlib import suppress
from queue import Empty, SimpleQueue

# A LAN's resolver answers in milliseconds, and a look must end within seconds.
_TIMEOUT_S = 2.0


def addresses_of(host: str) -> list[str]:
    """Return what the system says of a host, the addresses of IPv4 first. Takes at most 2 s.

    The system's resolver cannot be stopped: the thread that asks it may outlast the call.

    Raises:
        OSError: there is no such host, or nobody has said so in time.
    """
    with suppress(ValueError):
        if ipaddress.ip_address(host).version == 4 or "%" not in host:  # an interface may not be there
            return [host]
    answers: SimpleQueue[list[str] | OSError] = SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask(host)), daemon=True).start()
    try:
        answer = answers.get(timeout=_TIMEOUT_S)
    except Empty:
        raise TimeoutError(f"no resolver answers in {_TIMEOUT_S:g} s") from None
    if isinstance(answer, OSError):
        raise answer
    return answer


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


def _ask(host: str) -> list[str] | OSError:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except UnicodeError:
        return socket.gaierror(socket.EAI_NONAME, "no name of a host")
    except OSError as exc:
        return exc
    in_order = sorted(found, key=lambda info: info[0] != socket.AF_INET)
    return list(dict.fromkeys(str(info[4][0]) for info in in_order))
