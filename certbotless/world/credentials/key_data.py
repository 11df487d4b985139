"""From the JSON by which somebody gives a key to the key itself, or to what is wrong with it.

Source: STS, AssumeRole (`Credentials`); ECS, "instance metadata" (the same names); for the others `command`.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ...base.errors import DnsUnavailable
from ...base.times import parse_rfc3339, rfc3339
from ...base.words import N_, Text
from .access import Key

# Each part of a key, by the names that it has: of Aliyun's APIs, of the `aliyun` command, of Vault.
_ID = ("AccessKeyId", "access_key_id", "access_key")
_SECRET = ("AccessKeySecret", "access_key_secret", "secret_key")
_TOKEN = ("SecurityToken", "sts_token", "security_token")
_END = ("Expiration", "expiration")
# A token of STS has about 1,000 characters; with a session policy of 2,048 some thousand.
_PART = re.compile("[!-~]{1,16384}")


def object_in(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in bytes; an empty one for anything else."""
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def key_of(members: Mapping[str, object], now: datetime, whose: str, *, is_temporary: bool = False) -> Key:
    """Return the key that the members of an object describe.

    Args:
        whose: who gives it, as the subject of a sentence.
        is_temporary: whether a key without a token is none.

    Raises:
        DnsUnavailable: they are none of a key, or it has ended.
    """
    key_id, secret = (_part(members, names, whose, is_needed=True) for names in (_ID, _SECRET))
    token = _part(members, _TOKEN, whose, is_needed=is_temporary)
    ends_at = _end(members, whose)
    if ends_at is not None and ends_at <= now:
        form = N_("{} gives a key that ended at {}, by the clock of this machine")
        raise DnsUnavailable(
            Text(form, whose, rfc3339(ends_at)), hint=Text("set the clock, or see why the key is an old one")
        )
    return Key(key_id, secret, token or None, ends_at)


def _part(members: Mapping[str, object], names: tuple[str, ...], whose: str, *, is_needed: bool) -> str:
    value = _value(members, names)
    if value is None:
        if is_needed:
            raise DnsUnavailable(Text("{} gives no {}", whose, names[0]))
        return ""
    if not isinstance(value, str) or not _PART.fullmatch(value):
        raise DnsUnavailable(Text("{} gives no {} of printable ASCII", whose, names[0]))
    return value


def _end(members: Mapping[str, object], whose: str) -> datetime | None:
    value = _value(members, _END)
    if value is None:
        return None
    try:
        return parse_rfc3339(str(value))
    except ValueError as exc:
        text = Text("{} gives an Expiration that is not a time of RFC 3339 with its offset", whose)
        raise DnsUnavailable(text) from exc


def _value(members: Mapping[str, object], names: tuple[str, ...]) -> object:
    """Return what is written by one of the names; None for nothing, and for an empty text."""
    return next((members[name] for name in names if members.get(name) not in (None, "")), None)
