"""The root of the local CA over HTTP, for clients that shall trust it. Light; loaded only with `share`.

    /           what the root is, and how each system comes to trust it, in English or Chinese
    /root.crt   each root that clients need, PEM        /root.cer            the root that signs now, DER
                                                        /root.cer?next       the next one, during a rotation
    /root.mobileconfig   the profile for iOS and macOS, with each of them

Nothing else is told: no site, no key, no path. A request writes nothing. The roots are read from disk once in
a second at most.

Source: RFC 9110 section 12.5.4 (Accept-Language); RFC 5280 section 4.2.1.10 (a domain covers all below it).
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from ..base import words
from ..base.errors import StoreError
from ..base.words import N_
from ..config.settings import Config
from ..model.local_ca import RootCertificate, pem_of
from ..report import html, root_files, root_page
from ..state import shared_roots
from .http_server import Reply, Request
from .listening import Listening

logger = logging.getLogger(__name__)

_FRESH_S = 1.0
# Answers that are kept meanwhile: of two languages, under a few names and addresses.
_MOST_ANSWERS = 16
_LANGUAGES = ("en", "zh")
# By which iOS and browsers know what it is. Source: Apple, "Over-the-Air Profile Delivery"; Mozilla's type of
# a CA's certificate.
_PROFILE, _CERTIFICATE = "application/x-apple-aspen-config", "application/x-x509-ca-cert"
_NONE = N_(
    "There is no root. The first certificate of a local site makes it; if there was one before, ask the"
    " administrator."
)
_DAMAGED = N_("The root cannot be read. The administrator finds the reason in the log of certbotless.")


class Share:
    """The page of the root, for one daemon.

    Args:
        config: in force at first (`follow`).
        now_s: returns the time in seconds, which never goes back.
    """

    def __init__(self, config: Config, now_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._now_s = now_s
        self.listening = Listening("local_ca.share", self.answer, self._is_named)
        self._lock = threading.Lock()  # of what was read: any thread of the server may read again
        self._until_s = -math.inf
        self._roots: tuple[RootCertificate, ...] | None = ()
        self._complaint = ""
        self._answers: dict[tuple[str, ...], Reply] = {}

    # The job thread of the daemon.

    def follow(self, config: Config) -> bool:
        """Listen where the file says, and nowhere else. Return whether it does; a fault is logged once."""
        self._config = config
        return self.listening.follow(config.local_ca.share)

    def close(self) -> None:
        """Stop listening."""
        self.listening.close()

    # The threads of the server.

    def _is_named(self, host: str) -> bool:
        """Whether a host name may be ours: one that the root may vouch for, which it says to everybody."""
        roots = self._read()
        domains = {entry for root in roots or () for entry in root.permit if "/" not in entry}
        # Without a root there is nothing to tell.
        return not roots or any(f".{host}".endswith(f".{domain}") for domain in domains)

    def answer(self, request: Request) -> Reply:
        """Return the answer to a request."""
        if request.path not in ("/", "/root.crt", "/root.cer", "/root.mobileconfig"):
            return Reply(404, b"there are /, /root.crt, /root.cer and /root.mobileconfig\n")
        roots, language = self._read(), _language_of(request)
        what = (request.path, language, request.host, str(_asks_for_next(request)))
        reply = self._answers.get(what)
        if reply is None:
            reply = self._made(request, roots, language)
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            self._answers[what] = reply
        return reply

    def _made(self, request: Request, roots: Sequence[RootCertificate] | None, language: str) -> Reply:
        say = words.speaker(language)
        if not roots:
            text = say(_DAMAGED if roots is None else _NONE)
            return Reply(503, f"{text}\n".encode())
        if request.path == "/":
            url = f"http://{request.host or self._config.local_ca.share}"
            text = root_page.page(roots, url, language, say)
            return Reply(200, text.encode(), "text/html; charset=utf-8", html.STYLE_SOURCE)
        if request.path == "/root.crt":
            return Reply(200, pem_of(roots), _CERTIFICATE)
        if request.path == "/root.mobileconfig":
            return Reply(200, root_files.mobileconfig(roots), _PROFILE)
        if not _asks_for_next(request):
            return Reply(200, roots[0].der, _CERTIFICATE)
        if len(roots) == 1:
            told = say(N_("There is no next root."))
            return Reply(404, f"{told}\n".encode())
        return Reply(200, roots[1].der, _CERTIFICATE)

    def _read(self) -> tuple[RootCertificate, ...] | None:
        """Return the roots, as of a second ago at most; None where they cannot be read."""
        with self._lock:
            if self._now_s() >= self._until_s:
                self._answers.clear()
                try:
                    self._roots, complaint = shared_roots.shared(self._config.state_dir), ""
                except StoreError as exc:
                    self._roots, complaint = None, str(exc)
                    if complaint != self._complaint:
                        logger.warning("http.no_root error=%s", exc)
                self._complaint = complaint
                self._until_s = self._now_s() + _FRESH_S
            return self._roots


def _asks_for_next(request: Request) -> bool:
    return request.path == "/root.cer" and request.query == "next"


def _language_of(request: Request) -> str:
    """Return the language in which a client reads: what `?lang=` asks for, else what its browser does."""
    for language in _LANGUAGES:
        if f"lang={language}" in request.query.split("&"):
            return language
    best, wanted = 0.0, words.language()
    for entry in request.languages.split(","):
        tag, _, weight = entry.partition(";")
        language = tag.strip().lower().partition("-")[0]
        try:
            quality = float(weight.strip().removeprefix("q=")) if weight else 1.0
        except ValueError:
            continue
        if language in _LANGUAGES and best < quality <= 1:
            best, wanted = quality, language
    return wanted
