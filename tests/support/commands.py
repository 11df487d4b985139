"""Commands that are run to their end."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def completed(
    command: Sequence[str | Path], *, timeout_s: float = 300, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return its exit code and outputs; `options` are those of a process."""
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **options)
