"""Requests to the pages of the daemon: good ones, and those of clients that nobody wants."""

import http.client
from contextlib import closing

HOSTILE = (
    b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"\x16\x03\x01" + b"\0" * 500,
    b"GET /" + b"%s%n\x1b[31m" * 2000,
)


def get(listen: str, path: str, **headers: str) -> tuple[int, str]:
    """Return status and body of an answer; `listen` may be the URL."""
    host, _, port = listen.removeprefix("http://").rstrip("/").rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
