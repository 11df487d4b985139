"""What `init` asks and starts beside its files; a test gives its own."""

import os
import re
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from ...config import environment
from .. import found
from . import key

SERVICE, TIMER = "certbotless.service", "certbotless-check.timer"
# Is there while systemd is the first process of the machine (sd_booted(3)).
_BOOTED = "/run/systemd/system"
# In what `systemctl show --property=ExecStart` prints.
_ARGV = re.compile(r"argv\[\]=(.*?) ;")


def call(argv: Sequence[str]) -> int:
    """Run a program at this terminal, and return its exit code. Ctrl-C ends the program alone."""
    process = subprocess.Popen(argv)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def service_file() -> Path | None:
    """Return the configuration that the installed service reads; None where this user can start none."""
    if os.geteuid() != 0 or not os.path.isdir(_BOOTED):
        return None
    with suppress(OSError):
        command = ["systemctl", "show", "--value", "--property=ExecStart", SERVICE]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        if found := _ARGV.search(shown):
            words = found[1].split()
            named = [after for word, after in pairwise(words) if word in ("-c", "--config")]
            return Path(named[-1]) if named else environment.FILE
    return None


@dataclass(frozen=True, slots=True)
class Outside:
    """The calls that leave this process."""

    lan: Callable[[], found.Lan] = found.lan
    engine: Callable[[], found.Engine] = found.engine
    try_key: key.Try = key.try_key
    call: Callable[[Sequence[str]], int] = call
    service_file: Callable[[], Path | None] = service_file


REAL = Outside()
