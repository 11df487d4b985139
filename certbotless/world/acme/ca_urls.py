"""Which URLs may a CA lead us to?

Every URL after the first comes from the CA: in its directory, its orders, its authorizations. They are hosts
of its choice that this machine would talk to, from inside the LAN. So: HTTPS alone, and only the host of
`acme.directory` and those that the directory names. Some CAs use several hosts. Their directory may name
them; an order or a challenge may not.

Source: RFC 8555 sections 6.1 (HTTPS), 7.1 (resources) and 10.5 (denial of service and request forgery).
"""

import re

from ...base.errors import CaUnavailable, printable
from ...base.words import Text

# No user, no fragment, and nothing that two readers of URLs could take for two different things.
_URL = re.compile(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?(?:[/?][!-~]*)?", re.IGNORECASE)
# The longest that HTTP libraries and servers agree on.
_MOST_CHARACTERS = 2000


class CaUrls:
    """The places of one CA.

    Args:
        directory: the URL from the configuration. Plain HTTP is for what is reached by it to begin with.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._may_be_plain = directory.startswith("http:")
        self._hosts = {self._host(directory)}

    def admit(self, url: object) -> None:
        """Take the host of a URL that the directory names for one of the CA's. Raises as `check`."""
        self._hosts.add(self._host(url))

    def check(self, url: object) -> str:
        """Return a URL that we may ask.

        Raises:
            CaUnavailable: it is none.
        """
        if self._host(url) not in self._hosts:
            raise self._refusal(url, Text("a host that its directory does not name"))
        return str(url)

    def _host(self, url: object) -> str:
        """Return scheme, host and port."""
        match = _URL.fullmatch(url) if isinstance(url, str) and len(url) <= _MOST_CHARACTERS else None
        if match is None:
            raise self._refusal(url, Text("no URL"))
        scheme, host, port = (part or "" for part in match.groups())
        if scheme.lower() == "http" and not self._may_be_plain:
            raise self._refusal(url, Text("plain HTTP"))
        return f"{scheme}://{host}{'' if port == ':443' else port}".lower()

    def _refusal(self, url: object, what: str) -> CaUnavailable:
        return CaUnavailable(
            Text("the CA at {} leads to {!r}: {}", self._directory, printable(url, 120), what),
            hint=Text("check acme.directory; if it is right, the CA is broken or not to be trusted"),
        )
