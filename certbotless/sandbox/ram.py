"""RAM policies, as far as the stand-ins ask them: may this key do this to that zone?

Owns the language of a policy document: statements that allow or deny actions on resources, with ``*`` for
any text in both. Leaves out conditions: a document with anything that is not understood here is refused, for
half of a policy is another policy.

Source: RAM, "Policy structure and syntax"; Alidns, "RAM authorization" (the form of the resources).
"""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

# Whom everything here belongs to; the service's ids have 16 digits.
ACCOUNT_ID = "1234567890123456"
# Whether a key may do an action (``AddDomainRecord``) to a zone; `None` is the whole account.
Permits = Callable[[str, str | None], bool]


@dataclass(frozen=True, slots=True)
class Statement:
    """What one statement says of the actions that one of its patterns matches, on such resources."""

    allows: bool
    actions: tuple[str, ...]
    resources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """What a RAM user may do. What no statement allows is forbidden; one that denies overrules all."""

    statements: tuple[Statement, ...]

    def permits(self, action: str, zone: str | None) -> bool:
        """Tell whether `action` (``AddDomainRecord``) may be done to `zone`; `None` is the whole account."""
        resource = f"acs:alidns:*:{ACCOUNT_ID}:domain/{zone or '*'}"
        said = [
            statement.allows
            for statement in self.statements
            if _matches(statement.actions, f"alidns:{action}") and _matches(statement.resources, resource)
        ]
        return bool(said) and all(said)


def parse(document: str) -> Policy:
    """Return the policy that a document, as it is pasted into the RAM console, describes.

    Raises:
        ValueError: it is none, or says something that is not enforced here.
    """
    tree: Any = json.loads(document)
    if not isinstance(tree, dict) or tree.keys() != {"Version", "Statement"} or tree["Version"] != "1":
        raise ValueError("a policy has the keys Version, which is 1, and Statement")
    return Policy(tuple(map(_statement, tree["Statement"])))


def _statement(tree: Any) -> Statement:
    if not isinstance(tree, dict) or tree.keys() != {"Effect", "Action", "Resource"}:
        raise ValueError("a statement has the keys Effect, Action and Resource")
    if tree["Effect"] not in {"Allow", "Deny"}:
        raise ValueError("Effect is Allow or Deny")
    return Statement(tree["Effect"] == "Allow", _texts(tree["Action"]), _texts(tree["Resource"]))


def _texts(tree: Any) -> tuple[str, ...]:
    texts = (tree,) if isinstance(tree, str) else tree
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise ValueError("Action and Resource are a text or a list of texts")
    return tuple(texts)


def _matches(patterns: Iterable[str], text: str) -> bool:
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), text) for pattern in patterns)
