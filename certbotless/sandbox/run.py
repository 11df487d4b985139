"""`certbotless sandbox`: start a story on a private host, or say in one line what is missing for it.

Imports nothing that the extra `sandbox` brings, as that may be what is missing.
"""

import importlib.util
import shutil
import sys
from collections.abc import Mapping

from .. import CHECKOUT
from . import host
from .host import SandboxError

# The programs that the stand-ins are, and Debian's package of each.
_REGISTRY = {"dockerd": "docker.io", "docker-registry": "docker-registry"}
_CA = {"pebble": "pebble"}


def main(*, is_local: bool = False, has_nodes: bool = False) -> int:
    """Run a story, and return its exit code: 0 if every fact held.

    Args:
        is_local: that of the local CA, in place of a public name.
        has_nodes: that of a service on three machines.
    """
    story = "certbotless.sandbox.swarm_story" if has_nodes else "certbotless.sandbox.story"
    try:
        if is_local:
            _check_programs(_REGISTRY)
            return host.run([sys.executable, "-m", "certbotless.sandbox.local_story"])
        _check_trustme()
        _check_programs(_REGISTRY | _CA)
        return host.run([sys.executable, "-m", story])
    except SandboxError as error:
        print(f"certbotless: {error}", file=sys.stderr)
        return 1


def _check_trustme() -> None:
    """Raise if what makes the certificates of the stand-ins is not installed."""
    if importlib.util.find_spec("trustme") is None:
        hint = f"in {CHECKOUT}: make demo, or pip install '.[sandbox]'"
        raise SandboxError("the Python package trustme is missing", hint=hint)


def _check_programs(packages: Mapping[str, str]) -> None:
    """Raise if a program is not installed: one line for all, with how to get them."""
    missing = [program for program in packages if shutil.which(program, path=host.PATH) is None]
    if missing:
        raise SandboxError(
            f"missing programs: {', '.join(missing)}",
            hint=f"apt-get install {' '.join(packages[program] for program in missing)}",
        )
