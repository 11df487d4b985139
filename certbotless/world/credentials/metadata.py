"""The metadata service of an ECS instance, which gives the keys of the RAM role that the instance has.

In its hardened mode alone (version 2): a token is fetched first, and sent with each request. A service that
answers without one would also answer a request that somebody has made another program forward. It speaks
plain HTTP, so nothing is asked through a proxy.

Source: ECS, "Instance metadata" and "Instance RAM roles"; where there is no role, it answers 404 with a page
of HTML (aliyun-cli issue 525).
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import requests

from ...base.clock import Clock, Pace
from ...base.errors import DnsUnavailable, KeyRefused, printable, reason_of
from ...base.words import N_, Text
from ...config.credentials import ROLE_NAME
from ..http import BadAnswer, BoundedSession, http_date
from .access import Key
from .key_data import key_of, object_in

HOST = "100.100.100.200"
# For everything, with further tries: the service is a hop away.
TOTAL_S, _CONNECT_S = 5, 2
MOST_BYTES = 64 * 1024
# How long a token is valid, for three requests at most. The service allows 1 to 21600.
_VALID_S = 300
_TOKEN = re.compile("[!-~]{1,1024}")
_ROLES = "/latest/meta-data/ram/security-credentials/"
_ATTACH = Text("attach a RAM role to the instance in the ECS console, or set aliyun.access_key_id")


class _NoAnswer(DnsUnavailable):
    """What answers is not the metadata service, or it is not as it should be: another try may help."""


def key_from(role: str, clock: Clock) -> Key:
    """Return the key of a role of this instance; empty for the one that it has. At most 5 s.

    Raises:
        KeyRefused: the instance has no such role, or the service gives nothing.
        DnsUnavailable: there is no such service, or no usable answer.
    """
    pace = Pace(clock, TOTAL_S, first_s=0.3, most_s=1)
    while True:
        try:
            with BoundedSession(clock, connect_s=_CONNECT_S, most_bytes=MOST_BYTES) as session:
                # No proxy of the environment, and nothing of ~/.netrc.
                session.trust_env = False
                return _Service(session, pace, clock).key(role)
        except _NoAnswer:
            if pace.left_s < 1:
                raise
            pace.wait()


class _Service:
    """One conversation with the service."""

    def __init__(self, session: BoundedSession, pace: Pace, clock: Clock) -> None:
        self._session, self._pace, self._clock = session, pace, clock

    def key(self, role: str) -> Key:
        token = self._ask(
            "PUT", "/latest/api/token", "X-aliyun-ecs-metadata-token-ttl-seconds", str(_VALID_S)
        )
        if token.status_code in (400, 404, 405, 501):
            form = N_("the metadata service gives no token (HTTP {}): it does not know the hardened mode")
            raise KeyRefused(Text(form, token.status_code), hint=Text("see what answers at {}", HOST))
        sign = self._text(token)
        if not _TOKEN.fullmatch(sign):
            raise _no_answer(Text("its token has another form"))
        if not role:
            role = self._role(sign)
        answer = self._get(f"{_ROLES}{role}", sign)
        if answer.status_code == 404:
            raise KeyRefused(Text("the instance has no RAM role {}", role), hint=_ATTACH)
        found = object_in(self._text(answer).encode())
        if not found:
            raise _no_answer(Text("its answer is not a JSON object"))
        if found.get("Code") != "Success":
            raise _no_answer(Text("its Code is {!r}", printable(found.get("Code"), 40)))
        # The clock of the service counts, where it tells its time.
        date = http_date(answer.headers.get("Date", ""))
        ahead = self._clock.now() - date if date else timedelta()
        key = key_of(found, self._clock.now() - ahead, Text("the metadata service"), is_temporary=True)
        return key if key.ends_at is None else replace(key, ends_at=key.ends_at + ahead)

    def _role(self, token: str) -> str:
        """Return the name of the one role of the instance."""
        answer = self._get(_ROLES, token)
        text = "" if answer.status_code == 404 else self._text(answer)
        if not text:
            raise KeyRefused(Text("the instance has no RAM role"), hint=_ATTACH)
        names = text.split("\n")
        if not all(re.fullmatch(ROLE_NAME, name) for name in names):
            raise _no_answer(Text("its list of roles has another form"))
        if len(names) > 1:
            several = Text("the instance has several RAM roles: {}", printable(", ".join(names), 200))
            raise KeyRefused(several, hint=Text("write which: credentials: {ecs: ROLE}"))
        return names[0]

    def _get(self, path: str, token: str) -> requests.Response:
        return self._ask("GET", path, "X-aliyun-ecs-metadata-token", token)

    def _ask(self, method: str, path: str, header: str, value: str) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"http://{HOST}{path}", headers={header: value}, timeout=max(self._pace.left_s, 0.1)
            )
        except BadAnswer as exc:
            raise _no_answer(str(exc)) from None
        except requests.ConnectionError as exc:
            # One that was made and broke is another matter; it has no such reason.
            if not hasattr(exc.args[0], "reason"):
                raise _no_answer(Text("no answer ({})", type(exc).__name__)) from None
            reason = printable(reason_of(exc), 100)
            if isinstance(exc, requests.ConnectTimeout):
                reason = Text("no connection in {} s", _CONNECT_S)
            text = Text("this machine has no metadata service ({}: {})", HOST, reason)
            raise DnsUnavailable(text, hint=_ATTACH) from None
        except requests.RequestException as exc:
            raise _no_answer(Text("no answer ({})", type(exc).__name__)) from None
        if answer.status_code == 403:
            text = Text("the metadata service refuses (HTTP 403)")
            hint = Text("see whether it is disabled (HttpEndpoint), or limited for this user")
            raise KeyRefused(text, hint=hint)
        return answer

    def _text(self, answer: requests.Response) -> str:
        if answer.status_code != 200:
            raise _no_answer(Text("HTTP {}", answer.status_code))
        return answer.content.decode(errors="replace").strip()


def _no_answer(what: str) -> _NoAnswer:
    return _NoAnswer(
        Text("the metadata service answers, but not as that of Aliyun: {}", what),
        hint=Text("see what answers at {}", HOST),
    )
