"""strace as a fault: a run of the program is killed at its n-th system call, or that call fails.

What a run would change is found out first, by watching one run to its end. Never `--seccomp-bpf`: with it
nothing is injected, and every run survives.

Source: strace(1), "Tampering": `when` counts the calls of each thread apart. All that changes the world is
done by the first thread of a run for one site. So a fault hits the call that was watched only if the thread
makes as many calls of that name before it: the folders must be as they were when it was watched (each
generation is read once more), and no module may be imported by whichever thread is the first to need it. What
a fault has hit is read from strace's log, for the test to compare.
"""

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from support.commands import completed

_CALLS = (
    *("openat", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat", "renameat2"),
    *("symlink", "symlinkat", "link", "linkat", "fsync", "fdatasync", "ftruncate"),
    *("chmod", "fchmod", "fchmodat", "chown", "fchown", "write", "pwrite64", "sendto", "sendmsg", "connect"),
)
_LINE = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+|\?)(?: (E\w+))?")
# Another thread's line comes between the two halves of a call.
_BEGUN = re.compile(r"(\d+) +(\w+\(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
# What differs from run to run in the names of files: temporary names, and generations.
_DRAWN = re.compile(r"\.[0-9a-f]{16}(?=/|$)|\d{8}T\d{6}Z-[0-9a-f]{8}")
# dnspython imports the type of a record when it reads the first one, in a thread of ours; what steps need is
# imported in a thread while the first one waits (steps).
_START = (
    "import dns.rdtypes.ANY.TXT, runpy; from certbotless.world import containers; "
    "from certbotless.world.dns import alidns; from certbotless.act import certificate, deploy, record; "
    "containers.load(); runpy.run_module('certbotless', run_name='__main__', alter_sys=True)"
)
# What only asks: routes of the kernel, and the way to a resolver, which sends nothing.
_QUESTIONS = ("<NETLINK:", "sa_family=AF_NETLINK", "sin_port=htons(53)")


@dataclass(frozen=True, slots=True)
class Call:
    """A system call of the first thread: the `nth` of its name in the run, and how strace shows it."""

    name: str
    nth: int
    arguments: str
    error: str = ""
    is_injected: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.nth}: {self.arguments}"

    @property
    def like(self) -> tuple[str, list[str]]:
        """Its name and paths, as they are in every run."""
        return self.name, [_DRAWN.sub("*", path) for path in self.paths]

    @property
    def changes_the_world(self) -> bool:
        """Whether anybody else could tell that it was made."""
        if self.name == "openat":
            return "O_CREAT" in self.arguments
        return not any(word in self.arguments for word in ("<pipe:", "/dev/null>", *_QUESTIONS))

    @property
    def paths(self) -> list[str]:
        """The paths that it names, in quotes or behind a descriptor; what is written is none."""
        if self.name in ("write", "pwrite64", "sendto", "sendmsg"):
            return re.findall(r"^\d+<(/[^>]*)>", self.arguments)
        found = re.findall(r'"(/[^"]*)"|\d<(/[^>]*)>', self.arguments)
        return [quoted or behind for quoted, behind in found]


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended: its exit code, minus the signal that killed it, and all that it said.

    `hit` is the call of the first thread that a fault has hit, None where there was none.
    """

    code: int
    said: str
    hit: Call | None = None


def watched(command: Sequence[str], log: Path, *, umask: int = 0o022) -> tuple[Run, list[Call]]:
    """Run to the end, and return all that it changed, in order."""
    run = _run(_logged(log, _CALLS), command, umask=umask)
    return run, [call for call in _calls(log) if call.changes_the_world]


def killed(command: Sequence[str], call: Call) -> Run:
    """Run, and kill it (SIGKILL) right before this call; one that never makes it runs to its end."""
    how = f"inject={call.name}:signal=SIGKILL:when={call.nth}"
    return _run(["-o", os.devnull, "-e", f"trace={call.name}", "-e", how], command)


def failing(command: Sequence[str], call: Call, error: str, log: Path) -> Run:
    """Run, and let this call fail with `error`, as ENOSPC, without being made."""
    how = ["-e", f"inject={call.name}:error={error}:when={call.nth}"]
    run = _run([*_logged(log, [call.name]), *how], command)
    return replace(run, hit=next((made for made in _calls(log) if made.is_injected), None))


def _logged(log: Path, names: Sequence[str]) -> list[str]:
    return ["-yy", "-s", "64", "-o", str(log), "-e", f"trace={','.join(names)}"]


def _calls(log: Path) -> list[Call]:
    """Return the calls of the first thread, in the order in which they began."""
    counts: Counter[str] = Counter()
    calls, first, begun = [], "", ""
    for line in log.read_text(errors="replace").splitlines():
        first = first or line.split()[0]
        if line.split()[0] != first:
            continue
        if half := _BEGUN.fullmatch(line):
            begun = f"{first} {half[2]}"
            continue
        half = _RESUMED.fullmatch(line)
        match = _LINE.match(begun + half[2] if half else line)
        if match is not None:
            counts[match[2]] += 1
            is_injected = line.endswith("(INJECTED)")
            calls.append(Call(match[2], counts[match[2]], match[3], match[5] or "", is_injected))
    return calls


def _run(options: Sequence[str], command: Sequence[str], *, umask: int = 0o022) -> Run:
    # Coverage writes files of its own at the end of a run, and Python where it has compiled something.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    python, *module, first = command[:4]
    assert module == ["-m", "certbotless"]
    traced = ["strace", "-f", "-qq", *options, python, "-c", _START, first, *command[4:]]
    done = completed(traced, umask=umask, env={**env, "PYTHONDONTWRITEBYTECODE": "1"})
    return Run(done.returncode, done.stdout + done.stderr)
