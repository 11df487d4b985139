"""A private engine judges certificates as any engine does, survives a kill, and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

SCRIPT = str(Path(__file__).with_name("engine_facts.py"))
UNKNOWN_AUTHORITY = "x509: certificate signed by unknown authority"


def facts_of(*arguments: str, code: int) -> dict[str, Any]:
    """Run the script on a private host and return its facts."""
    run = subprocess.run(
        [sys.executable, "-m", "certbotless.sandbox.host", sys.executable, "-X", "dev", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (run.stderr, run.returncode) == ("", code)
    facts: dict[str, Any] = json.loads(run.stdout)
    return facts


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What was seen in one run."""
    return facts_of(code=0)


def test_a_push_is_refused_until_the_authority_is_trusted(facts: dict[str, Any]) -> None:
    """Over the LAN address: an engine does not verify registries on loopback."""
    assert UNKNOWN_AUTHORITY in facts["push, self-signed"]
    assert UNKNOWN_AUTHORITY in facts["push, no trust"]
    assert facts["push"].startswith("sha256:")
    assert UNKNOWN_AUTHORITY in facts["push, trust taken back"]


def test_what_was_pushed_is_pulled(facts: dict[str, Any]) -> None:
    """By digest; and what was not is not, in the engine's words."""
    assert facts["pull"] == facts["push"]
    assert "manifest unknown" in facts["pull, unknown"]


def test_a_recreated_registry_serves_the_new_files(facts: dict[str, Any]) -> None:
    """The SHA-256 of a leaf, 64 hex digits."""
    assert len(facts["self-signed"]) == len(facts["recreated"]) == 64
    assert facts["self-signed"] != facts["recreated"]


def test_a_killed_engine_starts_again_with_its_containers(facts: dict[str, Any]) -> None:
    """On the same data, as after a crash."""
    assert facts["after a kill"] == "running"


def test_an_engine_that_ends_takes_all_of_it_away(facts: dict[str, Any]) -> None:
    """Its log stays in the folder, for whoever wants to know why it ended."""
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
    answer = subprocess.run(
        [sys.executable, "-m", "certbotless.sandbox.host", sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.startswith("this is not a private host")
    assert answer.stdout.endswith(" []\n")
