"""Change the core, one place at a time, and print each change that the tests of the module do not notice.

    make mutate
    python -m certbotless.sandbox.host python -m bench.mutate [--count N] [--seed TEXT] [MODULE ...]

Each mutant (mutants.py) gets the unit tests of its own module alone, in a copy of the tree outside of it. A
hundred are drawn from all of `MODULES`, the same ones each time; beside them come the hand-written ones
(handmade.py). Exits with 1 if one survives that `SURVIVORS` (handmade.py) does not name with its reason.

Written by hand, because the libraries of 2026 do not fit: cosmic-ray 8 changes files in place and brings an
HTTP server and a database, mutmut 3 chooses the tests of a mutant by a run of all of them.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

from bench.handmade import HANDMADE, SURVIVORS
from bench.mutants import Mutant, replaced, sample

ROOT = Path(__file__).resolve().parents[2]
# What decides and what is remembered: where a mistake is a wrong record or a lost certificate.
MODULES = (
    "act.challenge_zones",
    "act.proof",
    "act.record",
    "decide.decide",
    "decide.deploy",
    "decide.record",
    "model.certificate",
    "model.ledger",
    "model.limits",
    "model.memory",
    "model.observation",
    "model.records",
    "model.renewal",
    "observe.site",
    "state.order_guard",
    "state.pair",
    "state.site",
    "world.dns.nameservers",
    "world.dns.propagation",
    "world.dns.query",
)
_COUNT, _SEED = 100, "certbotless"
# A mutant that hangs is noticed all the same.
_PATIENCE = 5


# Where other files test the module, or do so as well: what two modules do together.
_TESTS = {
    "act.proof": ["act/test_proof.py", "act/test_deploy.py"],
    "act.record": ["act/test_record.py", "act/test_contest.py"],
    "decide.decide": ["decide"],
    "decide.deploy": ["decide"],
    "decide.record": ["decide"],
    "model.certificate": ["model/test_certificate.py", "state/test_pair.py"],
    "model.ledger": ["model/test_ledger.py", "model/test_order_limits.py", "model/test_backoff.py"],
    "model.memory": ["state/test_site.py", "decide"],
    "model.observation": ["observe/test_site.py", "decide"],
    "state.pair": ["state/test_pair.py", "state/test_foreign_files.py", "state/test_pair_interrupted.py"],
}


def tests_of(module: str) -> list[str]:
    """Return the test files of a module, or folders of them, by their paths in the tree."""
    room, *_, name = module.split(".")
    return [f"tests/{path}" for path in _TESTS.get(module, [f"{room}/test_{name}.py"])]


def path_of(root: Path, module: str) -> Path:
    """Return where a module is in a tree."""
    return root.joinpath("certbotless", *module.split(".")).with_suffix(".py")


@contextmanager
def copies(count: int) -> Iterator[SimpleQueue[Path]]:
    """Give so many copies of the tree, one for each worker."""
    with tempfile.TemporaryDirectory() as folder:
        free: SimpleQueue[Path] = SimpleQueue()
        for number in range(count):
            copy = Path(folder, str(number))
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__", "dist"))
            free.put(copy)
        yield free


def run_tests(copy: Path, module: str, timeout_s: float) -> bool:
    """Run the tests of a module in a copy, and return whether all passed."""
    command = ["-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-seed=0", *tests_of(module)]
    environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=copy,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        return process.wait(timeout_s) == 0
    except subprocess.TimeoutExpired:
        return False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


class Sweep:
    """Runs the tests against mutants, some at a time."""

    def __init__(self, free: SimpleQueue[Path]) -> None:
        self._free = free
        self._time_s: dict[str, float] = {}
        # Tests that listen at fixed addresses cannot run twice at a time.
        self._running: defaultdict[str, Lock] = defaultdict(Lock)

    def _passes(self, copy: Path, module: str, timeout_s: float) -> bool:
        with self._running[tests_of(module)[0]]:
            return run_tests(copy, module, timeout_s)

    def measure(self, module: str) -> None:
        """Run the tests of a module as it is; they must pass. What they take says when a mutant hangs."""
        copy, began = self._free.get(), time.monotonic()
        try:
            if not self._passes(copy, module, 600):
                raise SystemExit(f"{tests_of(module)} fails with the code as it is")
        finally:
            self._free.put(copy)
        self._time_s[module] = time.monotonic() - began

    def survives(self, mutant: Mutant) -> bool:
        """Whether all tests of the module pass with the mutant in its place; prints it if they do."""
        copy = self._free.get()
        path = path_of(copy, mutant.module)
        before = path.read_text()
        try:
            path.write_text(mutant.write())
            is_alive = self._passes(copy, mutant.module, 10 + _PATIENCE * self._time_s[mutant.module])
        finally:
            path.write_text(before)
            self._free.put(copy)
        if is_alive:
            reason = SURVIVORS.get(mutant.name, "NOT EXPLAINED")
            print(f"{mutant.module}.py:{mutant.line}: {mutant.name}\n    {reason}", flush=True)
        return is_alive


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="print each change of the core that no test notices")
    parser.add_argument("--count", type=int, default=_COUNT, help="how many mutants are drawn")
    parser.add_argument("--seed", default=_SEED, help="another text draws others")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("modules", nargs="*", default=MODULES)
    options = parser.parse_args(arguments)
    paths = {module: path_of(ROOT, module) for module in options.modules}
    drawn = sample(list(paths.values()), options.count, options.seed)
    by_hand = [
        replaced(paths[each.module], each.name, each.old, each.new)
        for each in HANDMADE
        if each.module in paths
    ]
    with copies(options.workers) as free, ThreadPoolExecutor(options.workers) as pool:
        sweep = Sweep(free)
        list(pool.map(sweep.measure, sorted({mutant.module for mutant in [*drawn, *by_hand]})))
        alive = list(pool.map(sweep.survives, [*drawn, *by_hand]))
    killed = Counter(
        "drawn" if index < len(drawn) else "by hand" for index, lives in enumerate(alive) if not lives
    )
    print(f"killed: {killed['drawn']} of {len(drawn)} drawn, {killed['by hand']} of {len(by_hand)} by hand")
    living = [mutant for mutant, lives in zip([*drawn, *by_hand], alive, strict=True) if lives]
    return int(any(mutant.name not in SURVIVORS for mutant in living))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
