"""A signed call of an API of Aliyun, within bounds: sent again where that helps, refused in our words.

The SDK gives the request classes and the signature; `requests` carries them, because the SDK's own transport
is plain HTTP by default, sends no SNI on Python 3.12 and later, and never tries again.

Source: Aliyun, "RPC style, signature version 1.0" and "Public error codes"; docs/dependencies.md.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import requests

from ...base.clock import Clock, Pace
from ...base.errors import DnsError, DnsUnavailable, printable
from ...base.log_context import waits_for
from ...base.words import Text
from ...config.redact import Redactor
from ..http import BoundedSession, http_date, retry_after
from .access import ApiAccess, Key
from .errors import AGAIN, ApiRefusal, NoAnswer, call_was_made, transport_errors

logger = logging.getLogger(__name__)

# One call with all its tries. Throttling and LastOperationNotFinished pass within seconds.
TOTAL_TIMEOUT_S = 60
_TRY_TIMEOUT_S = 10
# An answer may be lost once or twice; a network that is down stays so longer than anybody waits here.
NO_ANSWER_TIMEOUT_S = 15
# Throttling passes within seconds; no answer that asks for more than this keeps a record from being written.
_MOST_RETRY_AFTER = timedelta(hours=1)
# Any region gives the one central endpoint; the parameter must be there.
_REGION = "cn-hangzhou"
# The starts of the codes by which a temporary key has ended, or is not known any more.
_ENDED = ("InvalidSecurityToken", "InvalidAccessKeyId.NotFound")

# Is called with each reply of the API: the action, the HTTP status, and the JSON object, empty for none.
OnReply = Callable[[str, int, Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Refused:
    """What an API has said no to.

    Attributes:
        text: the sentence, with the code and the id of the request.
        said: the API's own words.
        cure: what to do where the key is at fault; empty for a key of the file.
    """

    action: str
    code: str
    text: str
    said: str
    cure: str


class SignedCalls:
    """Calls of one API, one at a time. For one thread.

    Args:
        error_of: returns the error for a refusal that no other try changes.
        patience_s: how long a call without an answer is tried again.

    Attributes:
        clock_ahead: how far our clock is ahead of the API's, as of its last reply; None where it has told no
            time.
    """

    def __init__(
        self,
        access: ApiAccess,
        clock: Clock,
        error_of: Callable[[Refused], DnsError],
        on_reply: OnReply = lambda *_: None,
        patience_s: float = NO_ANSWER_TIMEOUT_S,
    ) -> None:
        self._access, self._clock, self._error_of, self._on_reply = access, clock, error_of, on_reply
        self._patience_s = patience_s
        self._session = BoundedSession(clock)
        self._redacts: tuple[Key, Redactor] | None = None
        self.clock_ahead: timedelta | None = None

    def call(self, make: Callable[[], Any], **parameters: str | int) -> dict[str, Any]:
        """Call an action with exactly these parameters, and return the JSON object of the reply.

        A call that the service asks to send again is tried for 60 s; one without an answer for 15 s. Where a
        temporary key has ended, the call is made once more with another one.

        Args:
            make: the request class of the SDK.

        Raises:
            DnsError: as `error_of` says; an `ApiRefusal` carries the code of the service.
            KeyRefused, KeyUnavailable: there is no key to sign it with; nothing was sent.
            DnsUnavailable: no usable answer within the deadline.
        """
        key, is_renewed = self._access.source.key(), False
        pace = Pace(self._clock, TOTAL_TIMEOUT_S, first_s=0.5, most_s=8, share=0.5)
        while True:
            request = make()
            request.set_accept_format("JSON")
            own = parameters if key.token is None else {**parameters, "SecurityToken": key.token}
            for name, value in own.items():
                request.add_query_param(name, value)
            try:
                return self._try(request, key, min(max(pace.left_s, 1), _TRY_TIMEOUT_S))
            except DnsUnavailable as exc:
                if pace.expired or (isinstance(exc, NoAnswer) and pace.waited_s >= self._patience_s):
                    raise
                extra = waits_for(self._access.name)
                action = request.get_action_name()
                logger.debug("api.retry action=%s error=%s", action, exc.message, extra=extra)
                pace.wait(exc.retry_after.total_seconds() if exc.retry_after else 0)
            except ApiRefusal as exc:
                if is_renewed or not exc.code.startswith(_ENDED):
                    raise
                with call_was_made():
                    other = self._access.source.instead_of(key)
                if other is None:
                    raise
                key, is_renewed = other, True

    def _try(self, request: Any, key: Key, timeout_s: float) -> dict[str, Any]:
        access, action = self._access, request.get_action_name()
        # Signed anew for every try: nonce and time are part of it.
        path = request.get_url(_REGION, key.id, key.secret)
        with transport_errors(action, access):
            response = self._session.request(
                request.get_method(),
                f"{access.endpoint}{path}",
                headers=request.get_signed_header(_REGION, key.id, key.secret),
                timeout=timeout_s,
                verify=access.ca_bundle or True,
            )
        date = http_date(response.headers.get("Date", ""))
        self.clock_ahead = None if date is None else self._clock.now() - date
        reply = _json_object(response.content)
        self._on_reply(action, response.status_code, reply)
        redact = self._redactor(key)
        request_id = _said(redact, reply, "RequestId", 60)
        code = _said(redact, reply, "Code", 80)
        text = "api.call action=%s status=%d code=%s request_id=%s"
        logger.debug(text, action, response.status_code, code or "none", request_id or "none")
        if response.ok and request_id:
            return reply
        if not code or not request_id:
            # A captive portal answers 200 with a page of its own; a broken proxy anything.
            raise NoAnswer(
                Text(
                    "{} at {}: HTTP {}, not an answer of {}",
                    action,
                    access.endpoint,
                    response.status_code,
                    Text(access.name),
                ),
                hint=Text("check what is between this machine and the API: proxy, portal, firewall"),
            )
        said = _said(redact, reply, "Message", 200)
        # This text carries the string to sign, so the parameters of the call.
        told = "" if code == "SignatureDoesNotMatch" else f" ({said})"
        text = Text("{} refused with {}{}, request id {}", action, code, told, request_id)
        raise self._refusal(Refused(action, code, text, said, access.source.cure), response)

    def _redactor(self, key: Key) -> Redactor:
        """Return what takes the key out of an error reply, which may repeat all that was sent."""
        if self._redacts is None or self._redacts[0] is not key:
            self._redacts = key, Redactor([key.secret, key.token or ""], [key.id])
        return self._redacts[1]

    def _refusal(self, refused: Refused, response: requests.Response) -> DnsError:
        code = refused.code
        if code in AGAIN or code.startswith("Throttling") or response.status_code >= 500:
            asked = response.headers.get("Retry-After", "")
            wait = retry_after(asked, self._clock.now(), _MOST_RETRY_AFTER)
            return DnsUnavailable(
                refused.text, hint=Text("the API is busy; certbotless tries again"), retry_after=wait
            )
        if code.startswith("InvalidTimeStamp"):
            ahead = self.clock_ahead
            by = Text("an unknown time") if ahead is None else Text("{:.0f} s", ahead.total_seconds())
            text = Text("{}; this clock differs by {} from the API's", refused.text, by)
            return ApiRefusal(text, code=code, said=refused.said, hint=Text("set the clock"))
        return self._error_of(refused)


def _said(redact: Redactor, reply: dict[str, Any], key: str, limit: int) -> str:
    return printable(redact(str(reply.get(key, ""))), limit)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        reply = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return reply if isinstance(reply, dict) else {}
