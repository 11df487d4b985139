"""The RAM policy of the key: exactly the calls that `alidns` makes.

Made from the code that makes the calls, and only when it is asked for: of the commands `init` alone loads
this module. `make docs` writes it into docs/ram-policy.md.

Source: Alidns, "RAM authorization" (actions and resources); RAM, "Policy structure and syntax".
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from ...base.names import u_labels
from . import alidns


def actions() -> list[str]:
    """Return the actions that the program can call."""
    return sorted(alidns.REQUESTS)


def document(zone: str = "ZONE", account: str = "ACCOUNT") -> str:
    """Return the policy as it is pasted into the RAM console; `account` has 16 digits.

    How a resource names a zone that is not ASCII is not documented, so such a zone is named in both forms.
    """
    statement = {
        "Effect": "Allow",
        "Action": [f"alidns:{action}" for action in actions()],
        "Resource": [f"acs:alidns:*:{account}:domain/{name}" for name in sorted({zone, u_labels(zone)})],
    }
    return json.dumps({"Version": "1", "Statement": [statement]}, indent=2, ensure_ascii=False) + "\n"


def account_of(reply: Mapping[str, Any]) -> str:
    """Return the account of the key, which a refusal by its policy names; empty for any other reply.

    Source: ddns-go issue 1155, a reply with ``Forbidden.RAM``.
    """
    detail = reply.get("AccessDeniedDetail")
    account = str(detail.get("AuthPrincipalOwnerId", "")) if isinstance(detail, Mapping) else ""
    return account if re.fullmatch(r"[0-9]{16}", account) else ""
