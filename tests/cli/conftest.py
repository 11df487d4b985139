"""What the tests of several commands need."""

from pathlib import Path

import pytest
from support.boxes import Box, Told

from certbotless.cli.main import main


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the first configuration shall be, on a machine without a Docker engine."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/absent.sock")
    (tmp_path / "etc").mkdir()
    return tmp_path / "etc" / "config.yaml"


@pytest.fixture
def told(box: Box, capfd: pytest.CaptureFixture[str]) -> Told:
    """Runs a command in this process; returns its code and what it printed to both streams."""
    return lambda *arguments: (main(["--config", str(box.file), *arguments]), *capfd.readouterr())
