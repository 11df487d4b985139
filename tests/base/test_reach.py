"""A program that only root can read, and a state directory of another user: told at once, in one line."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.boxes import Box
from support.programs import readable_program

NOBODY = 65534
TIMEOUT_S = 20


@pytest.fixture
def others_box() -> Iterator[Box]:
    """A configuration whose state belongs to somebody else, in a folder that every user may enter."""
    with tempfile.TemporaryDirectory() as home:
        Path(home).chmod(0o755)
        box = Box(Path(home))
        box.write("docker: {host: 'unix:///nowhere'}")
        box.publish()
        for path in [box.state_dir, *box.state_dir.rglob("*"), box.certs_dir, *box.certs_dir.rglob("*")]:
            os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        yield box


def run(command: list[str], box: Box, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Who measures the coverage could not write it down as another user.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    return subprocess.run(
        [*command, "--config", str(box.file), *arguments],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["--once"], ["--renew-now"], [], ["doctor"]], ids=" ".join)
def test_a_program_that_the_owner_cannot_read_says_so_at_once(others_box: Box, arguments: list[str]) -> None:
    """As one that pipx has put below /root, or a clone there: nothing is begun, and the cure is named."""
    home = others_box.file.parent
    with readable_program(home) as readable:
        closed = home / "closed"
        closed.mkdir(0o700)
        shutil.move(home / "program", closed / "program")
        command = [word.replace(f"{home}/program", f"{closed}/program") for word in readable]
        done = run(command, others_box, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.search(
        rf"cannot read '{closed}/program/certbotless/[^']*', a file of this program: '{closed}' has mode",
        line,
    )
    for word in (str(others_box.state_dir), "make install", "PIPX_HOME=/opt/pipx"):
        assert word in line


@pytest.mark.process
def test_a_program_that_the_owner_can_read_runs(others_box: Box) -> None:
    with readable_program(others_box.file.parent) as command:
        done = run(command, others_box, "--once")
    assert (done.returncode, done.stderr.count("cannot read")) == (0, 0), done.stdout + done.stderr
    assert others_box.state_dir.stat().st_uid == NOBODY
