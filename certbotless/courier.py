"""One message to one URL, through apprise, within a total time; and why it did not get there.

The library is given single URLs and plain text: no configuration of its own, no attachment, no template, no
plugin but those that it brings, and no file to keep anything in. It is large, so it is loaded by who sends
and by nobody else. Of a failure it says False and some lines to its log; some of them hold the URL, so none
is passed on but the reason, without whatever may be a token.

Its requests are made by sessions of ours, within the bounds of `exchange`; other protocols (mail) have their
own time-outs for each wait. The whole is a thread, which is left behind if it takes too long.

Source: apprise 2.3 (`Apprise`, `AppriseAsset`, `logger`); the error codes in DingTalk's and WeCom's answers,
which come with HTTP status 200, and which the library does not read.
"""

from __future__ import annotations

import functools
import logging
import re
import threading
from typing import Any
from urllib.parse import unquote

import requests

from .clock import Clock, Pace, SystemClock
from .config import NEEDS_APPRISE
from .errors import NotifyError, printable
from .exchange import BadAnswer, BoundedSession
from .news import Message
from .redact import Redactor

TIMEOUT_S = 30.0
_BETWEEN_PARTS = re.compile(r"[/:?#@&=,]+")
THREAD = "sending"
# Of each exchange; the whole is longer, for who needs two.
_EXCHANGE_S = 15.0
_PLAIN_SESSION = requests.Session
# What the library says of an error in the words of the system, at the level of details.
_DETAIL = "Socket Exception: "
# What comes of a plug-in that is not whole; an error within one, for its URL, the library deals with itself.
_OF_PLUGINS = (ImportError, OSError, AttributeError, TypeError, ValueError, LookupError)


def check(url: str) -> None:
    """Look whether something can be sent to such a URL; nobody is asked. Raises NotifyError if not."""
    _service(url)


def send(url: str, message: Message, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
    """Send a message. Takes `timeout_s` at most. Of several threads each may call it.

    Raises:
        NotifyError: it was not taken, or nobody knows whether it was.
        Interrupted: the clock was told to stop; nobody knows either.
    """
    sending = _Sending(_service(url), message)
    sending.start()
    pace = Pace(clock, timeout_s, first_s=0.02, most_s=0.5)
    while sending.is_alive() and not pace.expired:
        pace.wait()
    if sending.is_alive():
        raise NotifyError(f"not sent within {timeout_s:.0f} s", hint="look whether the service answers")
    if not sending.is_sent or sending.faults:
        reason = "; ".join(dict.fromkeys(sending.faults or sending.said)) or "the library does not say why"
        raise NotifyError(_without_tokens(url, reason), hint=sending.hint)


def load() -> None:
    """Load all that is needed, as who may read its files; the user that we become may not.

    Raises:
        NotifyError: it is not there, or not whole.
    """
    # The library reads its plug-ins when it is asked for the first of them.
    _service("json://localhost")


def _without_tokens(url: str, text: str) -> str:
    """Return what the library has said without any part of the URL that may be a token, or a password."""
    parts = _BETWEEN_PARTS.split(url.partition("://")[2])
    return printable(Redactor([url, *parts, *map(unquote, parts)])(text), 300)


# --- the library --------------------------------------------------------------------------------------------


@functools.cache
def _library() -> Any:
    """Return the library, set up for us; its log is ours alone."""
    try:
        import apprise  # noqa: PLC0415  (55 MiB that only who sends needs)
    except ImportError as exc:
        raise NotifyError("the library apprise is not installed", hint=NEEDS_APPRISE) from exc
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    log.addHandler(_Ear())
    # What `requests.post` and its like make for each call.
    requests.sessions.Session = _session  # type: ignore[misc, assignment]
    return apprise


def _service(url: str) -> Any:
    """Return the library's view of one URL. Raises NotifyError if it has none."""
    apprise = _library()
    asset = apprise.AppriseAsset(
        app_id="certbotless",
        app_desc="certbotless",
        async_mode=False,
        service_timeout=0,
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
        http_redirects=False,
        allow_templates=False,
    )
    try:
        found = apprise.Apprise.instantiate(url, asset=asset)
    except _OF_PLUGINS as exc:
        what = f"the library apprise cannot be used here ({type(exc).__name__})"
        raise NotifyError(what, hint="install it anew, readable by the user that runs certbotless") from exc
    if found is None:
        raise NotifyError(
            "this is no URL of a service that apprise knows here",
            hint="see docs/notifications.md for its form",
        )
    service = apprise.Apprise(asset=asset)
    service.add(found)
    return service


class _Sending(threading.Thread):
    """One message on its way.

    Attributes:
        said: what the library has said of it, warnings alone; `faults` is what is known better.
    """

    def __init__(self, service: Any, message: Message) -> None:
        super().__init__(daemon=True, name=THREAD)
        self._service = service
        self._message = message
        self.is_sent = False
        self.said: list[str] = []
        self.faults: list[str] = []
        self.hint = "try it with: certbotless notify-test"

    def run(self) -> None:
        message = self._message
        self.is_sent = bool(
            self._service.notify(
                title=message.subject, body=message.body, notify_type=message.kind, body_format="text"
            )
        )


class _Ear(logging.Handler):
    """Hears what the library says in the thread of a message, and keeps what is a reason."""

    def emit(self, record: logging.LogRecord) -> None:
        sending, text = threading.current_thread(), record.getMessage()
        if isinstance(sending, _Sending) and (record.levelno >= logging.WARNING or text.startswith(_DETAIL)):
            sending.said.append(text.removeprefix(_DETAIL).strip())


# --- its requests -------------------------------------------------------------------------------------------


def _session() -> requests.Session:
    """Return the session of one call: for a message of ours, one within bounds."""
    sending = threading.current_thread()
    return _Session(sending) if isinstance(sending, _Sending) else _PLAIN_SESSION()


class _Session(BoundedSession):
    """Tells the message on whose way it is what became of each request."""

    def __init__(self, sending: _Sending) -> None:
        super().__init__(SystemClock())
        self._sending = sending

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        self._sending.faults.clear()  # of several exchanges, or tries, the last one counts
        try:
            response = super().send(request, **kwargs | {"timeout": _EXCHANGE_S})
        except requests.exceptions.SSLError as exc:
            self._sending.faults.append(f"the receiver's TLS certificate is not trusted ({_innermost(exc)})")
            self._sending.hint = "look who answers there; REQUESTS_CA_BUNDLE names the roots of a private CA"
            raise
        except BadAnswer as exc:
            self._sending.faults.append(str(exc))
            raise
        except requests.RequestException as exc:
            self._sending.faults.append(f"no connection ({_innermost(exc)})")
            self._sending.hint = "check the network, the proxy and the URL"
            raise
        if refusal := _refusal(response):
            self._sending.faults.append(refusal)
            self._sending.hint = "look at the robot's security settings and its token"
        return response


def _refusal(response: requests.Response) -> str:
    """Return what is wrong in an answer whose status says that all is well; empty for nothing."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return ""
    code = answer.get("errcode") if isinstance(answer, dict) else None
    return f"refused: errcode {code}, {answer.get('errmsg')!r}" if response.ok and code else ""


def _innermost(error: BaseException) -> str:
    """Return the reason at the heart of an error: what lies around it holds the URL."""
    while True:
        inside = getattr(error, "reason", None) or next(
            (arg for arg in error.args if isinstance(arg, BaseException)), None
        )
        if not isinstance(inside, BaseException):
            of_system = error if isinstance(error, OSError) else error.__cause__
            return getattr(of_system, "strerror", None) or type(error).__name__
        error = inside
