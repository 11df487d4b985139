"""The image of the project, built by its own Dockerfile: with Debian's Python for a base, and no network."""

import os
import re
import shlex
import subprocess
import sys
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pydantic_core

from certbotless.sandbox.engine import Engine
from support.commands import completed
from support.listeners import Served
from support.pages import block
from support.services import PROJECT

PAGE = "docs/docker.md"
BASE = "debian-python"
# Its user, by number, as the Dockerfile has it.
UID = 10001
_PYTHON = Path("/usr/bin/python3")
_PROGRAMS = (_PYTHON, *(Path("/usr/bin", name) for name in ("sh", "mkdir", "chown", "ln")))
_WHEELS = Path(sys.prefix, "wheels")


def build(engine: Engine, folder: Path) -> None:
    """Make the image on this engine, as the page says; `folder` is for what is needed on the way."""
    base = folder / "base.tar"
    _write_base(base)
    engine.client().api.import_image_from_file(str(base), repository=BASE)
    (line,) = block(PAGE, "build").commands
    *command, context = shlex.split(line)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(_WHEELS)))
    url = f"http://127.0.0.1:{server.server_port}/"
    with Served(server):
        for setting in (f"BASE={BASE}", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={url}"):
            command += ["--build-arg", setting]
        # Debian has no other builder than the first one.
        beside = os.environ | {"DOCKER_HOST": engine.docker_host, "DOCKER_BUILDKIT": "0"}
        done = completed([*command, "--network=host", context], cwd=PROJECT, env=beside)
    assert done.returncode == 0, done.stdout + done.stderr


def _write_base(file: Path) -> None:
    """Write the files of a system that has a shell and a Python, taken from this one's Debian packages."""
    stdlib = Path("/usr/lib", _PYTHON.resolve().name)
    # The last brings what a wheel takes for granted.
    extensions = [*stdlib.glob("lib-dynload/*.so"), *Path(pydantic_core.__file__).parent.glob("*.so")]
    linked = [*_PROGRAMS, *extensions]
    found = subprocess.run(["ldd", *linked], capture_output=True, text=True, check=True).stdout
    libraries = {Path(path) for path in re.findall(r"(/\S+) \(0x", found)}
    with tarfile.open(file, "w") as tar:
        for link in ("/bin", "/lib", "/lib64"):
            tar.add(link, recursive=False)
        tar.add("/tmp", recursive=False)  # noqa: S108  # that folder itself
        for folder in (stdlib, Path("/usr/share/python-wheels")):
            tar.add(folder)
        tar.dereference = True
        # Debian's pip will not start without.
        for path in (*_PROGRAMS, *libraries, Path("/etc/ssl/certs/ca-certificates.crt")):
            tar.add(path, path.parent.resolve() / path.name)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
