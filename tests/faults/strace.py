"""strace as a fault: a run of the program is killed at its n-th system call, or that call fails.

What a run would change is found out first, by watching one run to its end. Never `--seccomp-bpf`: with it
nothing is injected, and every run survives.

Source: strace(1), "Tampering": `when` counts the calls of each thread apart. All that changes the world is
done by the first thread of a run for one site.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_CALLS = (
    *("openat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
    *("symlink", "symlinkat", "link", "linkat", "fsync", "fdatasync", "ftruncate"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "write", "pwrite64", "sendto", "sendmsg", "connect"),
)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)(?: (E\w+))?")
# What only asks: routes of the kernel, and the way to a resolver, which sends nothing.
_QUESTIONS = ("<NETLINK:", "sa_family=AF_NETLINK", "sin_port=htons(53)")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call of the first thread: the `nth` of its name in the run, and how strace shows it."""

    name: str
    nth: int
    arguments: str
    error: str = ""

    @property
    def changes_the_world(self) -> bool:
        """Whether anybody else could tell that it was made."""
        if self.name == "openat":
            return "O_CREAT" in self.arguments
        return not any(word in self.arguments for word in ("<pipe:", "/dev/null>", *_QUESTIONS))

    @property
    def paths(self) -> list[str]:
        """The paths that it names, in quotes or behind a descriptor."""
        found = re.findall(r'"(/[^"]*)"|\d<(/[^>]*)>', self.arguments)
        return [quoted or behind for quoted, behind in found]


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended: its exit code, minus the signal that killed it, and all that it said."""

    code: int
    said: str


def watched(command: Sequence[str], log: Path, *, umask: int = 0o022) -> tuple[Run, list[Call]]:
    """Run to the end, and return all that it changed, in order."""
    run = _run(["-yy", "-s", "64", "-o", str(log), "-e", f"trace={','.join(_CALLS)}"], command, umask=umask)
    counts: Counter[str] = Counter()
    calls, first = [], ""
    for line in log.read_text(errors="replace").splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        first = first or match[1]
        if match[1] == first:
            counts[match[2]] += 1
            calls.append(Call(match[2], counts[match[2]], match[3], match[5] or ""))
    return run, [call for call in calls if call.changes_the_world]


def killed(command: Sequence[str], call: Call) -> Run:
    """Run, and kill it (SIGKILL) right before this call; one that never makes it runs to its end."""
    return _injected(command, call.name, f"signal=SIGKILL:when={call.nth}")


def failing(command: Sequence[str], call: Call, error: str) -> Run:
    """Run, and let this call fail with `error`, as ENOSPC, without being made."""
    return _injected(command, call.name, f"error={error}:when={call.nth}")


def _injected(command: Sequence[str], name: str, how: str) -> Run:
    return _run(["-o", os.devnull, "-e", f"trace={name}", "-e", f"inject={name}:{how}"], command)


def _run(options: Sequence[str], command: Sequence[str], *, umask: int = 0o022) -> Run:
    # Coverage writes files of its own at the end of a run, and Python where it has compiled something.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        ["strace", "-f", "-qq", *options, *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        umask=umask,
        env={**env, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return Run(done.returncode, done.stdout + done.stderr)
