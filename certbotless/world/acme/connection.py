"""The connection to a CA: its directory, signed requests with fresh nonces, and the meaning of its errors.

The `acme` library signs requests and reads problem documents; it tries a badNonce only once and ignores
Retry-After, so both are ours. What acme, josepy and requests raise becomes one of our own errors here.
Nothing is sent to a URL that the CA had no right to name.

Source: RFC 8555 sections 6 and 7.3.4.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import josepy as jose
import requests
from acme import errors as acme_errors
from acme import messages
from acme.client import ClientNetwork

from ... import __version__
from ...base.clock import Clock
from ...base.errors import (
    AccountPaused,
    AccountRefused,
    CaUnavailable,
    CertbotlessError,
    IssueError,
    RateLimited,
    RequestRefused,
    printable,
)
from ...base.words import Text
from ...config.settings import Acme
from ..http import BadAnswer, BoundedSession, http_date, retry_after
from .ca_urls import CaUrls

logger = logging.getLogger(__name__)

# Some CAs make the certificate before they answer; then this is no long time.
_TIMEOUT_S = 30
# One signed request with all its tries.
_SIGNED_TIMEOUT_S = 60
# At a CA that rejects one nonce in five, six tries still lose one issuance of 200 in a tenth of runs.
_NONCE_TRIES = 10
# Let's Encrypt's slowest limit gives one order back in this time.
_MOST_RETRY_AFTER = timedelta(hours=34)

# Whoever asks for a longer wait gives no certificate for now.
_LONG_WAIT = timedelta(hours=1)

PROBLEM = "urn:ietf:params:acme:error:"
# What one CA does not issue, another one may (RFC 8555 section 6.7; draft-ietf-acme-profiles, section 5).
_OWN_POLICY = ("invalidProfile", "rejectedIdentifier", "unsupportedIdentifier")
# By the kind of a problem.
ACCOUNT_HINTS = {
    "accountDoesNotExist": Text("check acme.directory"),
    "badSignatureAlgorithm": Text("choose a CA that takes account keys of kind P-256"),
    "externalAccountRequired": Text("set acme.eab to the kid and hmac_key that the CA gives its customers"),
    "invalidContact": Text("correct acme.email, or leave it out"),
    "unauthorized": Text("check acme.directory, acme.email and acme.eab"),
    "unsupportedContact": Text("correct acme.email, or leave it out"),
    "userActionRequired": Text("ask the CA what it wants agreed to, then run certbotless --renew-now"),
}
# What the libraries raise where an answer is none of an ACME server, and what comes of reading one.
_NO_ACME_ERRORS = (
    *(acme_errors.Error, jose.Error, ValueError, KeyError),
    *(TypeError, AttributeError, OverflowError, RecursionError),
)
# Visible ASCII, as in a header or a problem document; RFC 8555 section 5 has HTTPS alone.
_URL = re.compile(r"https://[!-~]{1,2000}")
# Let's Encrypt's slowest bucket gives one try a day back; more often is of no use before a person has acted.
_PAUSED_RETRY = timedelta(days=1)


class Network(ClientNetwork):
    """The library's network with more patience for nonces, and an eye on Retry-After.

    Unused nonces go stale, so make a new network for each issuance, in the thread that uses it.
    """

    def __init__(self, key: jose.JWK | None, acme: Acme, clock: Clock) -> None:
        super().__init__(
            key,
            alg=jose.ES256,
            verify_ssl=str(acme.ca_bundle) if acme.ca_bundle else True,  # type: ignore[arg-type]  # handed to requests, which takes a path
            user_agent=f"certbotless/{__version__}",
            timeout=_TIMEOUT_S,
        )
        self.session = BoundedSession(clock)
        self._clock = clock
        self._directory = acme.url
        self.urls = CaUrls(acme.url)
        self._new_nonce_url = ""
        # Of the last reply.
        self.retry_after: timedelta | None = None
        self.status_code = 0
        self.date: datetime | None = None
        # Where the CA wants a person to go, in a problem document.
        self._to_visit = ""

    def read_directory(self) -> messages.Directory:
        """Ask the CA where it is asked for what; the hosts that it names are the CA's from now on."""
        directory: messages.Directory = messages.Directory.from_json(self.get(self._directory).json())
        for resource in ("newNonce", "newAccount", "newOrder"):
            self.urls.admit(directory[resource])
        self._new_nonce_url = directory["newNonce"]
        with suppress(KeyError, CaUnavailable):  # orders need none
            self.urls.admit(directory["renewalInfo"])
        return directory

    def send(self, url: str, payload: Any = None, accept: str = "") -> requests.Response:
        """POST a signed payload; None is POST-as-GET (RFC 8555 section 6.3)."""
        headers = {"Content-Type": self.JOSE_CONTENT_TYPE} | ({"Accept": accept} if accept else {})
        end = self._clock.monotonic() + _SIGNED_TIMEOUT_S
        for tries_left in reversed(range(_NONCE_TRIES)):
            try:
                return self._post_once(url, payload, new_nonce_url=self._new_nonce_url, headers=headers)
            except messages.Error as exc:
                is_late = self._clock.monotonic() > end
                if exc.typ != f"{PROBLEM}badNonce" or not tries_left or is_late:
                    raise
                # The pool is of the same age as the nonce that was refused.
                self._nonces.clear()
        raise AssertionError  # pragma: no cover  (the last try returns or raises)

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        try:
            response = super()._send_request(method, self.urls.check(url), *args, **kwargs)
        except Exception as exc:
            logger.debug(
                "acme.request method=%s url=%s error=%s", method, printable(url, 200), type(exc).__name__
            )
            raise
        logger.debug(
            "acme.request method=%s url=%s status=%d", method, printable(url, 200), response.status_code
        )
        asked = response.headers.get("Retry-After", "")
        self.retry_after = retry_after(asked, datetime.now(UTC), _MOST_RETRY_AFTER)
        self.status_code = response.status_code
        self.date = http_date(response.headers.get("Date", ""))
        self._to_visit = "" if response.ok else _instance_of(response)
        return response

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Map what acme, josepy and requests raise; the CA's own words are kept, escaped."""
        try:
            yield
        except CertbotlessError:
            raise
        except (messages.Error, OSError, *_NO_ACME_ERRORS) as exc:
            raise self._meaning(exc) from exc

    def _meaning(self, exc: Exception) -> IssueError:
        directory = self._directory
        if isinstance(exc, messages.Error):
            error = _from_problem(directory, exc, self.retry_after, self._to_visit)
            error.is_fault_of_ca |= self.status_code >= 500
            return error
        if not isinstance(exc, OSError) or isinstance(exc, requests.JSONDecodeError):
            # What little such an error tells: the HTTP status, else its kind.
            answers = [f"HTTP {each.status_code}" for each in exc.args if isinstance(each, requests.Response)]
            what = next(iter(answers), type(exc).__name__)
            return CaUnavailable(
                Text("the CA at {} does not answer as an ACME server ({})", directory, what),
                hint=Text("check acme.directory; if it is right, the CA may be overloaded"),
                retry_after=self.retry_after,
            )
        match exc:
            case BadAnswer():
                text, hint = (
                    Text("the CA at {}: {}", directory, str(exc)),
                    Text("check acme.directory, and which server answers there"),
                )
            case requests.exceptions.SSLError():
                text = Text("the TLS certificate of the CA at {} is not trusted", directory)
                hint = Text(
                    "set acme.ca_bundle for a private CA, or check which server answers there, and this "
                    "machine's clock"
                )
            case requests.exceptions.ProxyError():
                text = Text("the proxy gave no connection to the CA at {}", directory)
                hint = Text(
                    "correct HTTPS_PROXY, or name the CA's host in NO_PROXY; a SOCKS proxy is not supported"
                )
            case requests.RequestException():
                text = Text("no connection to the CA at {} ({})", directory, type(exc).__name__)
                hint = Text("check the network and acme.directory")
            case _:  # requests names the bundle that it cannot read
                text = Text("the CA at {} cannot be asked: {}", directory, printable(exc))
                hint = Text("check acme.ca_bundle")
        return CaUnavailable(text, hint=hint)


def order_refused(directory: str, problem: messages.Error | None) -> IssueError:
    """Return the error of an order that the CA has given up; None where it does not say why."""
    detail = printable(problem.detail) if problem else Text("no reason given")
    error = IssueError(Text("the CA at {} refused the order: {}", directory, detail))
    # Boulder issues after its answer, so an error of the server comes with the order.
    error.is_fault_of_ca = problem is not None and problem.typ == f"{PROBLEM}serverInternal"
    return error


def _instance_of(response: requests.Response) -> str:
    """Return the URL of a problem document's ``instance`` (RFC 9457), empty where it has none."""
    try:
        match = _URL.fullmatch(response.json()["instance"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return match[0] if match else ""


def _from_problem(
    directory: str, problem: messages.Error, wait: timedelta | None, to_visit: str
) -> IssueError:
    kind = printable(problem.typ, 120).removeprefix(PROBLEM)
    detail = problem.detail or problem.title or Text("no reason given")
    text = Text("the CA at {} refused with {}: {}", directory, kind, printable(detail))
    if kind == "rateLimited":
        link = _URL.search(detail)
        if link and "unpause" in link[0]:
            # Let's Encrypt says so after years of failures: a sentence, then an invitation with a link.
            before = detail[: link.start()]
            return AccountPaused(
                Text(
                    "the CA at {} has paused us: {}",
                    directory,
                    printable(before.rpartition(". ")[0] or before),
                ),
                hint=Text(
                    "see to the cause, open {} to be let in again, then run certbotless --renew-now", link[0]
                ),
                retry_after=max(wait or _PAUSED_RETRY, _PAUSED_RETRY),
            )
        hint = Text("wait: the limits are the CA's; --renew-now --force asks before that")
        limited = RateLimited(text, hint=hint, retry_after=wait)
        limited.is_fault_of_ca = wait is not None and wait > _LONG_WAIT
        return limited
    if kind in ACCOUNT_HINTS:
        hint = ACCOUNT_HINTS[kind]
        if kind == "userActionRequired" and to_visit:
            hint = Text("do what {} asks for, then run certbotless --renew-now", to_visit)
        return AccountRefused(text, hint=hint)
    kind_of_error = CaUnavailable if kind in ("serverInternal", "badNonce") else RequestRefused
    refused = kind_of_error(text, retry_after=wait)
    refused.is_fault_of_ca |= kind in _OWN_POLICY
    return refused
