"""The RAM policy is made from the calls that are in the code, and its page is equal to it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest
import ram

from certbotless import policy
from certbotless.sandbox.alidns import ACCOUNT_ID

ROOT = Path(__file__).resolve().parent.parent
ALIDNS = ROOT / "certbotless" / "alidns.py"
ZONE = "sweetlove.test"


def calls_in_the_code() -> set[str]:
    """Return what `alidns` makes requests of, as its text has it."""
    calls = [node.func for node in ast.walk(ast.parse(ALIDNS.read_text())) if isinstance(node, ast.Call)]
    made = {call.id for call in calls if isinstance(call, ast.Name) and call.id.endswith("Request")}
    return {name.removesuffix("Request") for name in made}


def test_the_policy_allows_the_calls_that_the_code_makes_and_no_others() -> None:
    assert set(policy.actions()) == calls_in_the_code()
    [statement] = json.loads(policy.document())["Statement"]
    assert statement["Action"] == [f"alidns:{action}" for action in policy.actions()]


def test_every_call_says_what_it_is_for_and_nothing_else_does() -> None:
    """A new call needs a line in `policy.PURPOSES`, and then `make docs`."""
    assert sorted(policy.PURPOSES) == policy.actions()
    for action in policy.actions():
        assert f"| `alidns:{action}` | {policy.PURPOSES[action]} |\n" in policy.table()


def test_a_call_without_a_purpose_stops_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(policy.PURPOSES, "AddDomainRecord")
    with pytest.raises(KeyError, match="AddDomainRecord"):
        policy.table()


def test_the_page_is_that_of_the_code() -> None:
    """`make docs` writes it anew."""
    page = (ROOT / policy.PAGE).read_text()
    assert page == policy.with_policy(page)
    assert policy.document() in page
    assert policy.table() in page


@pytest.mark.process
def test_the_page_is_written_where_it_belongs(tmp_path: Path) -> None:
    (tmp_path / policy.PAGE).parent.mkdir()
    page = (ROOT / policy.PAGE).read_text()
    (tmp_path / policy.PAGE).write_text(page.replace("alidns:UpdateDomainRecord", "alidns:*"))
    subprocess.run([sys.executable, "-m", "certbotless.policy", str(tmp_path)], check=True)
    assert (tmp_path / policy.PAGE).read_text() == page


@pytest.mark.process
def test_the_program_does_not_load_what_only_readers_need() -> None:
    script = "import sys, certbotless.cli, certbotless.daemon; print('certbotless.policy' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def test_the_policy_permits_its_actions_in_its_zone_and_nowhere_else() -> None:
    pasted = policy.document().replace("ACCOUNT", ACCOUNT_ID).replace("ZONE", ZONE)
    rules = ram.parse(pasted)
    for action in policy.actions():
        assert rules.permits(action, ZONE)
        for elsewhere in ("other.test", f"lan.{ZONE}", f"x{ZONE}", None):
            assert not rules.permits(action, elsewhere)
    for action in ("DeleteSubDomainRecords", "DescribeDomains", "GetMainDomainName", "SetDomainRecordStatus"):
        assert not rules.permits(action, ZONE)
