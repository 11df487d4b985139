"""Local CAs of any age: a root that was made years ago is in its folder as that time has left it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from certbotless.base.clock import SystemClock
from certbotless.model.local_ca import CaFiles, LocalCa
from certbotless.state.local_ca import LocalCaFolder
from certbotless.world import local_ca

PERMIT = ("lan", "devbox", "sweetlove.test", "10.0.0.0/8")


def new_ca(age: timedelta = timedelta(), permit: tuple[str, ...] = PERMIT) -> CaFiles:
    """Return a CA that was made so long ago."""
    return local_ca.make("devbox", permit, datetime.now(UTC) - age)


def put_ca(state: Path, age: timedelta = timedelta(), permit: tuple[str, ...] = PERMIT) -> LocalCa:
    """Let this state directory have a CA of this age, and no other one."""
    folder, ca = LocalCaFolder(state), new_ca(age, permit)
    state.mkdir(0o700, exist_ok=True)
    with folder.locked(SystemClock()):
        folder.replace(ca, datetime.now(UTC)) if folder.path.exists() else folder.make(ca)
    return ca.facts


def put_next(state: Path, age: timedelta = timedelta(), permit: tuple[str, ...] = PERMIT) -> LocalCa:
    """Let a rotation have begun so long ago."""
    folder, ca = LocalCaFolder(state), new_ca(age, permit)
    with folder.locked(SystemClock()):
        folder.make_next(ca)
    return ca.facts
