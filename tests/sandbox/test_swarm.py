"""A private Swarm serves, loses a machine and gets it back, and leaves nothing behind."""

import json
import sys
from pathlib import Path

import pytest
from support.commands import completed

pytestmark = [pytest.mark.process, pytest.mark.long]

SCRIPT = str(Path(__file__).with_name("swarm_facts.py"))


def test_a_swarm_serves_loses_a_machine_gets_it_back_and_its_end_takes_all_of_it_away() -> None:
    """On a private host of its own, whose processes, interfaces, mounts and files are compared."""
    command = [sys.executable, "-m", "certbotless.sandbox.host", sys.executable, "-X", "dev", SCRIPT]
    run = completed(command, timeout_s=300)
    assert (run.stderr, run.returncode) == ("", 0)
    facts = json.loads(run.stdout)
    assert facts["served"] == [facts["first"]] * 3
    assert facts["after a roll"] == [facts["second"]] * 3
    assert facts["while one is off"] == ["refused", facts["second"], facts["second"]]
    assert facts["leader while one is off"] in ("node2", "node3")
    assert facts["back"] == [facts["second"]] * 3
    assert facts["left"] == []
    assert facts["left after a failure"] == []
    assert list(Path("/sys/fs/cgroup").rglob(facts["name"])) == []
