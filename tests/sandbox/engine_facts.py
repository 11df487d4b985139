"""Run an engine and a registry, and print what was seen as one JSON object; for `test_engine.py`.

A script of its own, for a private host of its own: two engines in one network would take each other's bridge.
"""

import json
import os
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from certbotless.sandbox.engine import Engine
from certbotless.sandbox.host import require_private_host
from certbotless.sandbox.registry import Registry

PROGRAMS = ("dockerd", "containerd", "registry", "docker-proxy")
DOMAIN = "devbox.sweetlove.test"


def programs() -> list[str]:
    """Return the names of all programs that run on this private host."""
    names = []
    for process in Path("/proc").glob("[0-9]*/comm"):
        with suppress(OSError):  # it has ended meanwhile
            names.append(process.read_text().strip())
    return names


def main() -> None:
    """Print the facts; with the argument `abrupt`, end without any clean-up while all is running."""
    workdir = Path(tempfile.mkdtemp())
    facts: dict[str, object] = {"name": require_private_host()}
    with Engine(workdir) as engine:
        registry = Registry(engine, DOMAIN)
        registry.write_self_signed()
        registry.create()
        if sys.argv[1:] == ["abrupt"]:
            sys.stdout.write(json.dumps(facts))
            sys.stdout.flush()
            os._exit(3)
        engine.kill()
        engine.start()
        registry.wait_serving()
        facts["after a kill"] = registry.container.status
    facts["left in the folder"] = sorted(path.name for path in workdir.iterdir())
    facts["left running"] = [name for name in programs() if name.startswith(PROGRAMS)]
    sys.stdout.write(json.dumps(facts))


if __name__ == "__main__":
    main()
