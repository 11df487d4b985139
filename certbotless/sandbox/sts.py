"""The stand-in for STS: temporary keys for a role, and whose a key is. No sockets.

Its keys sign calls of the same account until they end, with their token. What may not be done with a role is
said as the service says it.

Source: STS API 2015-04-01, AssumeRole and GetCallerIdentity; RAM, "Trust policy of a role".
"""

import re
import secrets
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from .gateway import ApiError, Gateway, Parameters, TemporaryKey, mandatory
from .ram import ACCOUNT_ID, Permits, parse

VERSION = "2015-04-01"
# The reference of AssumeRole; the longest is that of a role as it is made.
_LEAST_S, _MOST_S, _DEFAULT_S = 900, 3600, 3600
_MOST_POLICY = 2048
# As users saw it: hashicorp/vault issue 6226.
_NOT_ALLOWED = "You are not authorized to do this action. You should be authorized by RAM."


@dataclass(frozen=True, slots=True)
class Role:
    """A role of the account.

    Attributes:
        is_trusted: whether its trust policy names the user of the key, and the user may assume it.
        external_id: what its trust policy asks for; empty for nothing.
        permits: its own policy; `None` is everything.
        lives_s: how long its keys live, whatever is asked for; `None` for as long as that.
    """

    is_trusted: bool = True
    external_id: str = ""
    permits: Permits | None = None
    lives_s: float | None = None


class Sts:
    """STS of one account.

    Attributes:
        roles: by name.
        is_root: whether the key of the account is not a RAM user's.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self.roles: dict[str, Role] = {}
        self.is_root = False

    @property
    def issued(self) -> list[TemporaryKey]:
        """Every key that was given so far."""
        return list(self._gateway.temporary.values())

    def call(self, method: str, parameters: Parameters) -> dict[str, Any]:
        """Check a call and return its answer without the RequestId. Raises ApiError."""
        action = mandatory(parameters, "Action")
        if action not in ("AssumeRole", "GetCallerIdentity"):
            raise ApiError("InvalidAction.NotFound")
        key = self._gateway.admit(method, parameters, VERSION)
        return self._identity(key) if action == "GetCallerIdentity" else self._assume(key, parameters)

    def issue(self, role: str, session: str, seconds: float, permits: Permits | None = None) -> TemporaryKey:
        """Make a key of a role, as STS or the metadata service gives it."""
        made = TemporaryKey(
            id=f"STS.NT{secrets.token_hex(11)}",
            secret=secrets.token_urlsafe(33),
            token="CAIS" + b64encode(secrets.token_bytes(600)).decode(),
            ends_at=datetime.now(UTC) + self._gateway.ahead + timedelta(seconds=seconds),
            arn=f"acs:ram::{ACCOUNT_ID}:assumed-role/{role}/{session}",
            permits=permits,
        )
        self._gateway.temporary[made.id] = made
        return made

    def _identity(self, key: TemporaryKey | None) -> dict[str, Any]:
        common = {"AccountId": ACCOUNT_ID, "PrincipalId": "209876543210987654"}
        if key is not None:
            return common | {"IdentityType": "AssumedRoleUser", "Arn": key.arn, "RoleId": "33537620082992"}
        if self.is_root:
            return common | {"IdentityType": "Account", "Arn": f"acs:ram::{ACCOUNT_ID}:root"}
        return common | {"IdentityType": "RAMUser", "Arn": f"acs:ram::{ACCOUNT_ID}:user/certbotless"}

    def _assume(self, key: TemporaryKey | None, parameters: Parameters) -> dict[str, Any]:
        arn, session = mandatory(parameters, "RoleArn"), mandatory(parameters, "RoleSessionName")
        found = re.fullmatch(r"acs:ram::(\d+):role/(.+)", arn)
        if found is None:
            raise ApiError("InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")
        if not re.fullmatch(r"[\w.@=-]{2,64}", session, re.ASCII):
            raise ApiError("InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrong.")
        asked = parameters.get("DurationSeconds", str(_DEFAULT_S))
        if not asked.isdecimal() or not _LEAST_S <= int(asked) <= _MOST_S:
            raise ApiError(
                "InvalidParameter.DurationSeconds", "The Min/Max value of DurationSeconds is 15min/1hr."
            )
        if key is None and self.is_root:
            raise ApiError("NoPermission", "Roles may not be assumed by root accounts.", 403)
        role = self.roles.get(found[2]) if found[1] == ACCOUNT_ID else None
        if role is None:
            raise ApiError("EntityNotExist.Role", f"The role not exists: {arn}.", 404)
        if not role.is_trusted or role.external_id not in ("", parameters.get("ExternalId", "")):
            raise ApiError("NoPermission", _NOT_ALLOWED, 403)
        permits = _both(role.permits, _policy(parameters.get("Policy", "")))
        made = self.issue(found[2], session, int(asked) if role.lives_s is None else role.lives_s, permits)
        return {
            "AssumedRoleUser": {"Arn": made.arn, "AssumedRoleId": f"33537620082992:{session}"},
            "Credentials": credentials(made),
        }


def credentials(key: TemporaryKey) -> dict[str, str]:
    """Return a key as STS and the metadata service have it in JSON."""
    return {
        "AccessKeyId": key.id,
        "AccessKeySecret": key.secret,
        "SecurityToken": key.token,
        "Expiration": key.ends_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _policy(text: str) -> Permits | None:
    if not text:
        return None
    try:
        if len(text) > _MOST_POLICY:
            raise ValueError
        return parse(text).permits
    except ValueError as exc:
        raise ApiError(
            "InvalidParameter.PolicyGrammar", "The parameter Policy has not passed grammar check."
        ) from exc


def _both(one: Permits | None, other: Permits | None) -> Permits | None:
    """Return what two policies permit together."""
    if one is None or other is None:
        return one or other
    return lambda action, zone: one(action, zone) and other(action, zone)
