"""The RAM policy of docs/ram-policy.md, as somebody pastes it."""

import json
from pathlib import Path

from certbotless.sandbox.ram import ACCOUNT_ID, Permits, parse

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ram-policy.md"


def pasted(*zones: str, without: str = "") -> Permits:
    """Return what the JSON of the page permits, its placeholders filled in and one action taken away."""
    text = PAGE.read_text().split("```json\n")[1].split("```")[0]
    document = json.loads(text.replace("ACCOUNT", ACCOUNT_ID))
    [statement] = document["Statement"]
    [resource] = statement["Resource"]
    statement["Resource"] = [resource.replace("ZONE", zone) for zone in zones]
    statement["Action"] = [action for action in statement["Action"] if action != f"alidns:{without}"]
    return parse(json.dumps(document)).permits
