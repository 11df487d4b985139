"""STS: a key of a role, for which another key asks; and whose a key is.

Source: STS API 2015-04-01, AssumeRole and GetCallerIdentity; their error codes as people have seen them
(hashicorp/vault issue 6226; "common error codes of AssumeRole" of OSS).
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

from aliyunsdkcore.request import RpcRequest

from ...base.clock import Clock
from ...base.errors import DnsError, DnsUnavailable, KeyRefused, printable
from ...base.words import N_, Text
from ...config.settings import Aliyun
from .access import ApiAccess, Key, KeySource
from .errors import ABOUT_THE_KEY, ApiRefusal
from .key_data import key_of
from .rpc import NO_ANSWER_TIMEOUT_S, Refused, SignedCalls

_VERSION = "2015-04-01"
_PATIENCE_S = 5
# In seconds; the least that the service gives.
LIFE_S = 900
# The service's rule for the name of a session, which its log of actions shows.
_MOST_NAME, _NOT_IN_NAME = 64, re.compile(r"[^A-Za-z0-9.@_-]")
# In its words, where the key is that of the account itself (OSS, "common errors of STS").
_OF_THE_ACCOUNT = "root accounts"
# Of the refusals that are about the role, and not about the key that asks.
_ABOUT_ROLE = ("NoPermission", "EntityNotExist.Role")


@dataclass(frozen=True, slots=True)
class Role:
    """A role that is to be assumed; `external_id` is empty for none."""

    arn: str
    external_id: str = ""

    @property
    def account(self) -> str:
        """The 16 digits of its account."""
        return self.arn.split(":")[3]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a key is; `account` has 16 digits, `arn` names the user, or the role and its session."""

    account: str
    arn: str

    @property
    def is_of_account(self) -> bool:
        """Whether it is the key of the account itself, and not that of a user or a role."""
        return self.arn == f"acs:ram::{self.account}:root"


class Sts:
    """STS, for the key of a source. For one thread at a time.

    Args:
        patience_s: how long a call without an answer is tried again.
    """

    def __init__(
        self,
        aliyun: Aliyun,
        source: KeySource,
        clock: Clock,
        patience_s: float = NO_ANSWER_TIMEOUT_S,
    ) -> None:
        bundle = str(aliyun.ca_bundle) if aliyun.ca_bundle else None
        self._clock = clock
        access = ApiAccess(aliyun.sts_endpoint, source, bundle, "aliyun.sts_endpoint", N_("STS"))
        self._calls = SignedCalls(access, clock, _error_of, patience_s=patience_s)

    def assume(self, role: Role, policy: str) -> Key:
        """Return a key of the role, which lives for 15 minutes.

        Args:
            policy: a document: the key may do what it and the role's own policy permit; empty for no limit.

        Raises:
            KeyRefused: the role may not be assumed, or by no such key.
            DnsUnavailable: no usable answer.
        """
        given = {"Policy": policy, "ExternalId": role.external_id}
        try:
            reply = self._calls.call(
                _request("AssumeRole"),
                RoleArn=role.arn,
                RoleSessionName=session_name(socket.gethostname()),
                DurationSeconds=LIFE_S,
                **{name: value for name, value in given.items() if value},
            )
        except ApiRefusal as exc:
            if exc.code in _ABOUT_ROLE:
                text = Text("may not assume {}: {}", role.arn, exc.message)
                hint = Text(
                    "let its trust policy name this user, and grant the user sts:AssumeRole on it "
                    "(docs/ram-policy.md)"
                )
                if _OF_THE_ACCOUNT in exc.said:
                    hint = Text("use the key of a RAM user: that of the account itself can assume no role")
                raise KeyRefused(text, hint=hint) from exc
            raise KeyRefused(exc.message, hint=exc.hint) from exc
        found = reply.get("Credentials")
        # The clock of the service counts, as far as it is known.
        ahead = self._calls.clock_ahead or timedelta()
        members = found if isinstance(found, dict) else {}
        key = key_of(members, self._clock.now() - ahead, Text("STS"), is_temporary=True)
        return key if key.ends_at is None else replace(key, ends_at=key.ends_at + ahead)

    def identity(self) -> Identity:
        """Return whose the key is. It needs no right.

        Raises:
            DnsError: as a call of the DNS API.
        """
        reply = self._calls.call(_request("GetCallerIdentity"))
        account, arn = str(reply.get("AccountId", "")), printable(reply.get("Arn", ""), 200)
        if not re.fullmatch("[0-9]{16}", account):
            raise DnsUnavailable(Text("GetCallerIdentity: the answer names no account"))
        return Identity(account, arn)


def whose(aliyun: Aliyun, source: KeySource, clock: Clock) -> Identity:
    """Return whose a key is, for a person who waits: a call without an answer is made for 5 s.

    Raises:
        DnsError: STS does not say it; or it is not asked, since the API is a server of the user's own.
    """
    if not aliyun.has_sts:
        raise DnsError(
            Text("STS is not asked: aliyun.endpoint is not Aliyun's, and aliyun.sts_endpoint not set")
        )
    return Sts(aliyun, source, clock, _PATIENCE_S).identity()


def session_name(host: str) -> str:
    """Return the name of our sessions: the actions of a key are in the log of the account under it."""
    return f"certbotless-{_NOT_IN_NAME.sub('-', host)}"[:_MOST_NAME]


def _request(action: str) -> partial[RpcRequest]:
    return partial(RpcRequest, "Sts", _VERSION, action)


def _error_of(refused: Refused) -> DnsError:
    code = refused.code
    of_key = next((Text(cure) for start, cure in ABOUT_THE_KEY.items() if code.startswith(start)), None)
    hint: str = Text("see the code in Aliyun's reference of this action")
    if of_key is not None:
        hint = refused.cure or of_key
    return ApiRefusal(refused.text, code=code, said=refused.said, hint=hint)
