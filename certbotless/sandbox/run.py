"""`certbotless sandbox`: start the story on a private host, or say in one line what is missing for it.

Imports nothing that the extra `sandbox` brings, as that may be what is missing.
"""

import importlib.util
import shutil
import sys

from .. import CHECKOUT
from . import host
from .host import SandboxError

# The programs that the stand-ins are, and Debian's package of each.
PROGRAMS = {"dockerd": "docker.io", "pebble": "pebble", "docker-registry": "docker-registry"}


def main() -> int:
    """Run the story and return its exit code: 0 only if every fact in it held."""
    try:
        _check_parts()
        return host.run([sys.executable, "-m", "certbotless.sandbox.story"])
    except SandboxError as error:
        print(f"certbotless: {error}", file=sys.stderr)
        return 1


def _check_parts() -> None:
    """Raise if something is not installed: one line for all, with how to get it."""
    if importlib.util.find_spec("trustme") is None:
        hint = f"in {CHECKOUT}: make demo, or pip install '.[sandbox]'"
        raise SandboxError("the Python package trustme is missing", hint=hint)
    missing = [program for program in PROGRAMS if shutil.which(program, path=host.PATH) is None]
    if missing:
        raise SandboxError(
            f"missing programs: {', '.join(missing)}",
            hint=f"apt-get install {' '.join(PROGRAMS[program] for program in missing)}",
        )
