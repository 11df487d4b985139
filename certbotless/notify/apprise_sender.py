"""Send one message to one URL through apprise, within a total time, or say why it was not taken.

The library is given single URLs and plain text: no configuration of its own, no attachment, no template, no
plugin but those that it brings, and no file to keep anything in. It is large, so only a process that sends
loads it. Some lines of its log hold the whole URL, so that log goes nowhere: the reason of a failure is taken
from what the library gives back, without any part of the URL that may be a token.

Its HTTP requests are made by sessions of ours, within the bounds of `exchange`; other protocols (mail) have
time-outs for each wait alone. So each message has a thread, which is left behind if it takes too long.

Source: apprise 2.3 (`Apprise.notify`, `AppriseAsset`). Its plugins for DingTalk and WeCom do not read the
`errcode` of an answer, by which both refuse with status 200; those for Feishu and Lark read `code`.
"""

import functools
import logging
import re
import threading
from typing import Any
from urllib.parse import unquote

import requests

from ..base.clock import Clock, Pace, SystemClock
from ..base.errors import NotifyError, causes, printable
from ..base.words import Text
from ..config.redact import Redactor
from ..config.settings import NEEDS_APPRISE
from ..world.http import BadAnswer, BoundedSession
from .message import Message

TIMEOUT_S = 30.0
_BETWEEN_PARTS = re.compile(r"[/:?#@&=,]+")
THREAD = "sending"
# Of each HTTP exchange; some services need two.
EXCHANGE_S = 15.0
_PLAIN_SESSION = requests.Session
# How the library begins a line of its log, of level DEBUG, with the text of an exception.
_DETAIL = "Socket Exception: "
_HINT = Text("check the URL, the network, and the settings of the service, then: certbotless notify-test")
# What a plugin that is not whole raises. The library itself catches what a plugin raises about its URL.
_OF_PLUGINS = (ImportError, OSError, AttributeError, TypeError, ValueError, LookupError)


def send(url: str, message: Message, clock: Clock, timeout_s: float = TIMEOUT_S) -> None:
    """Send a message. Takes `timeout_s` at most. Several threads may call it at the same time.

    Raises:
        NotifyError: it was not taken, or it is not known whether it was.
        Interrupted: the clock was told to stop; it is not known either.
    """
    service, results = service_of(url), list[Any]()

    def notify() -> None:
        results.append(
            service.notify(
                title=message.subject,
                body=message.body,
                notify_type=message.severity,
                body_format="text",
                log_level=logging.DEBUG,
            )
        )

    thread = threading.Thread(target=notify, name=THREAD, daemon=True)
    thread.start()
    pace = Pace(clock, timeout_s, first_s=0.02, most_s=0.5)
    while thread.is_alive() and not pace.expired:
        pace.wait()
    if thread.is_alive():
        raise NotifyError(
            Text("not sent within {:.0f} s", timeout_s), hint=Text("check that the service answers")
        )
    if not results or not results[0]:
        raise NotifyError(_without_tokens(url, _reason(results)), hint=_HINT)


def load() -> None:
    """Load all that is needed, while we may read its files; the user that we become may not.

    Raises:
        NotifyError: it is not there, or not whole.
    """
    # The library reads its plug-ins when it is asked for the first of them.
    service_of("json://localhost")


def _without_tokens(url: str, text: str) -> str:
    """Return what the library has said without any part of the URL that may be a token, or a password."""
    parts = _BETWEEN_PARTS.split(url.partition("://")[2])
    return printable(Redactor([url, *parts, *map(unquote, parts)])(text), 300)


# --- the library --------------------------------------------------------------------------------------------


@functools.cache
def library() -> Any:
    """Return the library, with a log that goes nowhere else and with sessions of ours."""
    log = logging.getLogger("apprise")
    log.setLevel(logging.DEBUG)
    log.propagate = False
    try:
        import apprise  # noqa: PLC0415  (22 MiB that only a sender needs)
    except ImportError as exc:
        raise NotifyError(Text("the library apprise is not installed"), hint=NEEDS_APPRISE) from exc
    # `requests.post` and its like make one for each call.
    requests.sessions.Session = _session  # type: ignore[misc, assignment]
    return apprise


def service_of(url: str) -> Any:
    """Return the library's view of one URL; makes no request. Raises NotifyError if it has none."""
    apprise = library()
    asset = apprise.AppriseAsset(
        app_id="certbotless",
        app_desc="certbotless",
        async_mode=False,
        service_timeout=0,
        storage_mode="memory",
        pgp_autogen=False,
        pem_autogen=False,
    )
    try:
        found = apprise.Apprise.instantiate(url, asset=asset)
    except _OF_PLUGINS as exc:
        what = Text("the library apprise cannot be used here ({})", type(exc).__name__)
        raise NotifyError(
            what, hint=Text("install it again, readable by the user that runs certbotless")
        ) from exc
    if found is None:
        what = Text("apprise does not know a service for this URL here")
        raise NotifyError(what, hint=Text("see docs/notifications.md for its form"))
    service = apprise.Apprise(asset=asset)
    service.add(found)
    return service


def _reason(results: list[Any]) -> str:
    """Return why a message was not taken: the exceptions that the library met, else its warnings."""
    lines = [(each.level, each.message) for result in results for each in result.logs()]
    details = [text.removeprefix(_DETAIL) for _, text in lines if text.startswith(_DETAIL)]
    warnings = [text for level, text in lines if level in ("WARNING", "ERROR", "CRITICAL")]
    return "; ".join(dict.fromkeys(details or warnings)) or "the library does not say why"


def _session() -> requests.Session:
    """Return the session of one call: for a message one of ours, else one as ever."""
    is_ours = threading.current_thread().name == THREAD
    return _Session(SystemClock()) if is_ours else _PLAIN_SESSION()


class _Session(BoundedSession):
    """Makes a request for the library. Its errors say why in words that do not hold the URL."""

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        try:
            response = super().send(request, **kwargs | {"timeout": EXCHANGE_S})
        except BadAnswer:
            raise
        except requests.exceptions.SSLError as exc:
            raise BadAnswer(
                f"the receiver's TLS certificate is not trusted ({_root(exc)});"
                " REQUESTS_CA_BUNDLE names the roots of a private CA"
            ) from exc
        except requests.RequestException as exc:
            raise BadAnswer(f"no connection ({_root(exc)})") from exc
        if refusal := _refusal(response):
            raise BadAnswer(refusal)
        return response


def _refusal(response: requests.Response) -> str:
    """Return what is wrong in an answer whose status says that all is well; empty for nothing."""
    try:
        answer = response.json()
    except requests.JSONDecodeError:
        return ""
    code = answer.get("errcode") if isinstance(answer, dict) else None
    return f"refused: errcode {code}, {answer.get('errmsg')!r}" if response.ok and code else ""


def _root(error: BaseException) -> str:
    """Return the reason of the first of a chain of exceptions; those after it hold the URL."""
    *_, first = causes(error)
    return getattr(first, "strerror", None) or type(first).__name__
