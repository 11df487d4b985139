"""A server at the place that a key of the file names, as long as the file names it."""

import errno
import logging
from collections.abc import Callable

from ..config.values import where_of
from .http_server import Reply, Request, Server

logger = logging.getLogger(__name__)

# Hints for a port that cannot be opened, by the key that names it.
_CURES: dict[int | None, str] = {
    errno.EACCES: "a port below 1024 needs CAP_NET_BIND_SERVICE: use a higher one in {}",
    errno.EADDRINUSE: "`ss -ltnp` shows the program that listens there: end it, or use another port in {}",
    errno.EADDRNOTAVAIL: "this machine has no such address: `ip -brief address` shows those that it has",
}


class Listening:
    """A server that follows the file.

    Args:
        key: of the file, with the address and the port.
        answer, is_named: as `Server` has them.
    """

    def __init__(self, key: str, answer: Callable[[Request], Reply], is_named: Callable[[str], bool]) -> None:
        self.server: Server | None = None
        self._key = key
        self._answer = answer
        self._is_named = is_named
        self._at = self._complaint = ""

    def follow(self, wanted: str | None) -> bool:
        """Listen where the file says, and nowhere else. Return whether it does; a fault is logged once."""
        if self.server is not None and not (self._at == wanted and self.server.is_alive):
            self.close()
        if wanted is None or self.server is not None:
            self._complaint = ""
            return True
        try:
            self.server = Server(where_of(wanted), self._answer, self._is_named)
        except OSError as exc:
            complaint = f"{wanted}: {exc.strerror}"
            if complaint != self._complaint:
                self._complaint = complaint
                cure = _CURES.get(exc.errno, "correct {}").format(self._key)
                hint = f"{cure}; it is tried again each second"
                logger.warning("http.not_opened listen=%s error=%s hint=%s", wanted, exc.strerror, hint)
        else:
            self._at, self._complaint = wanted, ""
            logger.info("http.opened listen=%s", wanted)
        return self.server is not None

    def close(self) -> None:
        """Stop listening."""
        if self.server is not None:
            self.server.close()
            self.server = None
            logger.info("http.closed listen=%s", self._at)
