"""A private engine survives a kill, and leaves nothing behind."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from support.commands import completed

pytestmark = pytest.mark.process

ON_PRIVATE_HOST = [sys.executable, "-m", "certbotless.sandbox.host"]
SCRIPT = str(Path(__file__).with_name("engine_facts.py"))


def facts_of(*arguments: str, code: int) -> dict[str, Any]:
    """Run the script on a private host and return its facts."""
    run = completed([*ON_PRIVATE_HOST, sys.executable, "-X", "dev", SCRIPT, *arguments])
    assert (run.stderr, run.returncode) == ("", code)
    facts: dict[str, Any] = json.loads(run.stdout)
    return facts


def test_a_killed_engine_starts_again_with_its_containers_and_its_end_takes_all_of_it_away() -> None:
    """On the same data, as after a crash. Its log stays, for whoever wants to know why it ended."""
    facts = facts_of(code=0)
    assert facts["after a kill"] == "running"
    assert facts["left running"] == []
    assert facts["left in the folder"] == ["dockerd.log"]
    assert list(Path("/sys/fs/cgroup").rglob(facts["name"])) == []


def test_an_engine_that_cannot_end_is_taken_away_with_its_host() -> None:
    """The control groups of its containers, too, which belong to no namespace."""
    facts = facts_of("abrupt", code=3)
    assert list(Path("/sys/fs/cgroup").rglob(facts["name"])) == []


def test_no_engine_starts_on_an_ordinary_machine() -> None:
    """It would change the machine's firewall; a private host without its mark passes for such a machine."""
    script = """
import os
from pathlib import Path
from certbotless.sandbox import engine, host
os.remove("/.certbotless-host")
try:
    engine.Engine(Path("/run"))
except host.SandboxError as error:
    print(error, list(Path("/run").iterdir()))
"""
    answer = completed([*ON_PRIVATE_HOST, sys.executable, "-c", script])
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith("this is not a private host")
    assert answer.stdout.endswith(" []\n")
