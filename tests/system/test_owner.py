"""Root and the service's user by turns on one state directory."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certbotless.systemd import USER

from .bed import DOMAIN, Bed, assert_mode


def owners(*folders: Path) -> set[int]:
    """Return who owns anything below these folders."""
    return {path.lstat().st_uid for folder in folders for path in [folder, *folder.rglob("*")]}


@contextmanager
def within_reach(bed: Bed) -> Iterator[Path]:
    """Let another user in as far as the folders of the test, to the engine's socket, and to the program.

    That may lie where only root can read it, so its runs are those of the project as the user sees it, at the
    path that is yielded.
    """
    for folder in [bed.home, *bed.home.parents, bed.ca.ca_bundle.parent]:
        folder.chmod(folder.stat().st_mode | 0o055)
    bed.file_mode = 0o644
    bed.engine.socket.parent.chmod(0o711)
    bed.ca.ca_bundle.chmod(0o644)
    project, seen = Path(__file__).parents[2], bed.home / "project"
    seen.mkdir()
    subprocess.run(["mount", "--bind", project, seen], check=True)
    bed.python = seen / bed.python.relative_to(project)
    # Before what the environment was made for, the project at its own path; and that is no place to start in.
    bed.environment |= {"PYTHONPATH": str(seen), "PYTHONSAFEPATH": "1"}
    try:
        yield seen
    finally:
        subprocess.run(["umount", seen], check=True)


@pytest.fixture
def program(bed: Bed) -> Iterator[Path]:
    with within_reach(bed) as seen:
        yield seen


def test_root_and_the_service_by_turns_leave_nothing_that_the_other_cannot_read(
    bed: Bed, user: int, program: Path
) -> None:
    """Absent folders are made for the user of the service, who owns and can read all that is in them."""
    subprocess.run(["chown", "-R", USER, bed.certs], check=True)
    subprocess.run(["usermod", "-G", "docker", USER], check=True)

    def as_user(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            user=USER,
            group=USER,
            extra_groups=["docker"],
            cwd=program,
            env=os.environ | bed.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def user_runs(*args: str) -> None:
        done = as_user(*bed.command(*args))
        assert done.returncode == 0, done.stdout + done.stderr

    def assert_all_is_the_users() -> None:
        assert owners(bed.state, bed.certs) == {user}
        assert as_user("find", bed.state, bed.certs, "!", "-readable").stdout == ""

    pem = bed.certs / f"{DOMAIN}.pem"
    bed.ok("--renew-now")
    assert_all_is_the_users()
    assert_mode(bed.state, 0o700)
    assert_mode(bed.certs / f"{DOMAIN}.key", 0o600)
    pem.unlink()
    user_runs("--once")
    assert_all_is_the_users()
    pem.unlink()
    bed.ok("--once")
    user_runs("status")
    assert_all_is_the_users()
    bed.ok("--renew-now")
    user_runs("--renew-now")
    user_runs("status")
    assert_all_is_the_users()
    assert bed.orders() == 3
    assert bed.served() == bed.published()
