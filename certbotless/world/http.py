"""One HTTP exchange within bounds: a total time, a size, nothing packed, no redirect.

`requests` bounds the wait for each single read, so a server that sends a byte now and then holds it for ever.
It takes a body of any size, unpacks it, and follows redirects. The CA and the DNS API are asked
through this module instead: either may be hostile, or behind a hostile proxy. Owns the bounds, and what
an answer says of time; knows nothing of what is asked.

The look-up of the host's name is left to the system, which bounds it: to 30 s at most, by default
(resolv.conf(5)).

Source: RFC 9110 sections 5.6.7 (dates), 8.4 (content codings), 10.2.3 (Retry-After) and 15.4 (redirects).
"""

import io
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from ..base.clock import Clock
from ..base.errors import printable
from ..base.words import Text

# All that is read of one answer, its head too. The largest honest one, 500 records of a zone, is 200 KiB.
MAX_ANSWER_BYTES = 1 << 20
# For each address of a host. Where it has many, they share the time of the exchange, and leave some for the
# answer: behind broken IPv6, say, the addresses that are tried first lead nowhere.
_CONNECT_TIMEOUT_S = 5
# A read is cut into waits of this, so that a stop takes no longer; what must be cleaned up
# then has as long for its answer.
_STOP_LOOK_S = 2


class BadAnswer(requests.RequestException):
    """An answer that was not taken; the text says why, in words of ours."""

    def __str__(self) -> str:
        # As it is: it may be a `Text`.
        return self.args[0]  # type: ignore[no-any-return]


class BoundedSession(requests.Session):
    """A session whose `timeout` is one number, in seconds, and means the whole exchange. For one thread.

    Args:
        connect_s: for each address of the host, at most.
        most_bytes: of one answer, with its head.

    Every request raises, beside what `requests` raises:
        BadAnswer: the answer is too long, too late, packed, or leads elsewhere.
        Interrupted: the clock was told to stop.
    """

    def __init__(
        self, clock: Clock, *, connect_s: float = _CONNECT_TIMEOUT_S, most_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        super().__init__()
        self._connect_s, self._bounds = connect_s, _Bounds(clock, most_bytes)
        adapter = _BoundedAdapter(self._bounds)
        self.mount("https://", adapter)
        self.mount("http://", adapter)
        self.headers["Accept-Encoding"] = "identity"
        # Without this the library would send what ~/.netrc has for this host, or for any.
        self.auth = lambda request: request

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        total_s: float = kwargs["timeout"]
        self._bounds.begin(total_s)
        kwargs |= {"timeout": (min(total_s, self._connect_s), total_s), "stream": True}
        try:
            response = super().send(request, **kwargs)
            with response:
                if response.is_redirect:
                    raise BadAnswer(
                        Text("it redirects to {!r}", printable(response.headers["Location"], 200))
                    )
                coding = response.headers.get("Content-Encoding", "identity")
                if coding.strip().lower() not in ("", "identity"):
                    raise BadAnswer(Text("its answer is packed ({}), unasked", printable(coding, 40)))
                _ = response.content  # reads it, and keeps it
        except requests.exceptions.InvalidSchema as exc:
            # Of the environment: a library of its own would be needed for SOCKS.
            raise requests.exceptions.ProxyError(exc) from exc
        except requests.RequestException as exc:
            if self._bounds.exceeded:
                raise BadAnswer(self._bounds.exceeded) from exc
            raise
        return response

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        # Even where redirects are not followed, the library looks at the next one, and reads all of the body.
        return None


def http_date(text: str) -> datetime | None:
    """Return what an HTTP date says, which is always GMT, as aware UTC; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def retry_after(text: str, now: datetime, most: timedelta) -> timedelta | None:
    """Return how long a Retry-After header asks to wait, from 0 to `most`; None for none or nonsense.

    It is a number of seconds, or an HTTP date. The reader of urllib3 (`Retry.parse_retry_after`) takes the
    time from the machine's clock, has no limit, and raises errors that it does not document.
    """
    if text.isdecimal():
        wait = timedelta(seconds=int(text)) if len(text) < 10 else most
    else:
        moment = http_date(text)
        if moment is None:
            return None
        wait = moment - now
    return min(max(wait, timedelta()), most)


class _Bounds:
    """What is left of the exchange that is under way."""

    def __init__(self, clock: Clock, most_bytes: int) -> None:
        self._clock, self._most_bytes = clock, most_bytes
        self.exceeded: str = ""

    def begin(self, total_s: float) -> None:
        self._total_s = total_s
        self._deadline = self._clock.monotonic() + total_s
        self._bytes_left = self._most_bytes
        self.exceeded = ""

    def connect_s(self, count: int) -> float:
        """Return how long each of so many addresses may take, with as long for the answer."""
        return max((self._deadline - self._clock.monotonic()) / (count + 1), 0.01)

    def receive(self, connection: socket.socket, buffer: Any) -> int:
        """Read from the connection what there is, and wait for it as long as there is time."""
        while True:
            left_s = self._deadline - self._clock.monotonic()
            if left_s <= 0:
                self.exceeded = Text("no whole answer in {:.0f} s", self._total_s)
                raise TimeoutError(self.exceeded)
            connection.settimeout(min(left_s, _STOP_LOOK_S))
            try:
                count = connection.recv_into(buffer)
            except TimeoutError:
                self._clock.sleep(0)  # raises if we were asked to stop
                continue
            self._bytes_left -= count
            if self._bytes_left < 0:
                self.exceeded = Text("its answer is longer than {} bytes", self._most_bytes)
                raise OSError(self.exceeded)
            return count


class _BoundedResponse(HTTPResponse):
    """A response that is read, from its first byte, within `bounds`."""

    bounds: _Bounds

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # All that the library reads comes through this method of its file, which else stays as it is.
        raw = self.fp.detach()
        raw.readinto = partial(self.bounds.receive, sock)  # type: ignore[method-assign]
        self.fp = io.BufferedReader(raw)


class _BoundedConnection:
    """A connection of the library that is made within `bounds`, whatever addresses the host has."""

    bounds: _Bounds
    _dns_host: str
    port: int
    timeout: float
    socket_options: list[tuple[int, int, int]] | None

    def _new_conn(self) -> socket.socket:
        name, most_s = self._dns_host, self.timeout
        others: list[str] = []
        with suppress(UnicodeError):  # the library says it in its own way
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
            # The library is given an address: it would look the name up again, and where the first resolver
            # is away, that takes 5 s each time.
            *others, self._dns_host = dict.fromkeys(str(info[4][0]) for info in found)
            self.timeout = min(most_s, self.bounds.connect_s(len(others) + 1))
        try:
            made: socket.socket = self._to_one_of(others) or super()._new_conn()  # type: ignore[misc]
        finally:
            self._dns_host = name
        made.settimeout(most_s)
        return made

    def _to_one_of(self, addresses: list[str]) -> socket.socket | None:
        for address in addresses:
            with suppress(OSError):
                made = socket.create_connection((address, self.port), self.timeout)
                for option in self.socket_options or ():
                    made.setsockopt(*option)
                return made
        return None


class _BoundedAdapter(HTTPAdapter):
    """Lets every connection, to a proxy as well, be made and read its responses within `bounds`."""

    def __init__(self, bounds: _Bounds) -> None:
        self._response_class = type("BoundedResponse", (_BoundedResponse,), {"bounds": bounds})
        self._connection_class = type("BoundedConnection", (_BoundedConnection,), {"bounds": bounds})
        super().__init__()

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        plain = pool.ConnectionCls
        if plain.response_class is not self._response_class:
            own = {"response_class": self._response_class}
            pool.ConnectionCls = type(plain.__name__, (self._connection_class, plain), own)
        return pool
