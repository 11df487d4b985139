"""The RAM policy of the key: exactly the calls that `alidns` makes.

Made from the code that makes the calls, and only when it is asked for: by `init`, by `doctor` for a key that
lacks a right, and by a run that assumes a role. `make docs` writes it into docs/ram-policy.md.

Source: Alidns, "RAM authorization" (actions and resources); RAM, "Policy structure and syntax".
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...base.names import u_labels
from . import alidns

# The longest policy of a session, in characters (STS, AssumeRole).
MOST_SESSION = 2048


def actions() -> list[str]:
    """Return the actions that the program can call."""
    return sorted(alidns.REQUESTS)


def document(*zones: str, account: str = "ACCOUNT") -> str:
    """Return the policy as it is pasted into the RAM console; `account` has 16 digits.

    How a resource names a zone that is not ASCII is not documented, so such a zone is named in both forms.
    """
    statement = {
        "Effect": "Allow",
        "Action": [f"alidns:{action}" for action in actions()],
        "Resource": [f"acs:alidns:*:{account}:domain/{name}" for name in _forms_of(zones or ("ZONE",))],
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, indent=2, ensure_ascii=False) + "\n"


def session_policy(zones: Iterable[str], account: str) -> str:
    """Return the policy that limits a key of a role to our calls in these zones, as one line.

    It is empty where it would be longer than the service takes.
    """
    # A zone of a paid instance counts as that instance, and no call says which one has it.
    places = [*(f"domain/{name}" for name in _forms_of(zones)), "instance/*"]
    statement = {
        "Effect": "Allow",
        "Action": [f"alidns:{action}" for action in actions()],
        "Resource": [f"acs:alidns:*:{account}:{place}" for place in places],
    }
    found = {"Version": "1", "Statement": [statement]}
    text = json.dumps(found, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= MOST_SESSION else ""


def _forms_of(zones: Iterable[str]) -> list[str]:
    return sorted({name for zone in zones for name in (zone, u_labels(zone))})


def account_of(reply: Mapping[str, Any]) -> str:
    """Return the account of the key, which a refusal by its policy names; empty for any other reply.

    Source: ddns-go issue 1155, a reply with ``Forbidden.RAM``.
    """
    detail = reply.get("AccessDeniedDetail")
    account = str(detail.get("AuthPrincipalOwnerId", "")) if isinstance(detail, Mapping) else ""
    return account if re.fullmatch(r"[0-9]{16}", account) else ""
