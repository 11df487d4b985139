"""The RAM policy is made from the calls that are in the code."""

import ast
import json
from pathlib import Path

from certbotless.sandbox import ram
from certbotless.sandbox.alidns import ACCOUNT_ID
from certbotless.world.dns import alidns, ram_policy

ALIDNS = Path(alidns.__file__)
ZONE = "sweetlove.test"


def calls_in_the_code() -> set[str]:
    """Return the actions that `alidns` calls, as its text has them."""
    calls = [node for node in ast.walk(ast.parse(ALIDNS.read_text())) if isinstance(node, ast.Call)]
    own = [call for call in calls if getattr(call.func, "attr", "") in ("call", "_call", "_write")]
    return {str(arg.value) for call in own for arg in call.args[:1] if isinstance(arg, ast.Constant)}


def test_the_policy_allows_the_calls_that_the_code_makes_and_no_others() -> None:
    assert set(ram_policy.actions()) == calls_in_the_code()
    [statement] = json.loads(ram_policy.document())["Statement"]
    assert statement["Action"] == [f"alidns:{action}" for action in ram_policy.actions()]


def test_the_policy_permits_its_actions_in_its_zone_and_nowhere_else() -> None:
    pasted = ram_policy.document().replace("ACCOUNT", ACCOUNT_ID).replace("ZONE", ZONE)
    rules = ram.parse(pasted)
    for action in ram_policy.actions():
        assert rules.permits(action, ZONE)
        for elsewhere in ("other.test", f"lan.{ZONE}", f"x{ZONE}", None):
            assert not rules.permits(action, elsewhere)
    for action in ("DeleteSubDomainRecords", "DescribeDomains", "GetMainDomainName", "SetDomainRecordStatus"):
        assert not rules.permits(action, ZONE)
