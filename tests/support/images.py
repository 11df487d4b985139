"""The image of the project: that of the release, or built by an engine on the same base, without network."""

import json
import os
import shlex
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from certbotless import __version__
from certbotless.sandbox.engine import Engine
from support.commands import completed
from support.listeners import Served
from support.pages import block
from support.release import IMAGE_BASE, PROJECT, built

PAGE = "docs/docker.md"
BASE, NAME = "debian-python", "certbotless"
# Its user, by number, as the Dockerfile has it.
UID = 10001
_WHEELS = Path(sys.prefix, "wheels")


def build(engine: Engine) -> None:
    """Make the image on this engine, as the page says."""
    engine.client().api.import_image_from_file(str(IMAGE_BASE), repository=BASE)
    (line,) = block(PAGE, "build").commands
    *command, context = shlex.split(line)
    with served(_WHEELS) as url:
        for setting in (f"BASE={BASE}", "PIP_NO_INDEX=1", f"PIP_FIND_LINKS={url}"):
            command += ["--build-arg", setting]
        # Debian has no other builder than the first one.
        beside = os.environ | {"DOCKER_HOST": engine.docker_host, "DOCKER_BUILDKIT": "0"}
        done = completed([*command, "--network=host", context], cwd=PROJECT, env=beside)
    assert done.returncode == 0, done.stdout + done.stderr


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Have the files of a folder at a URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    with Served(server):
        yield f"http://127.0.0.1:{server.server_port}/"


def load(engine: Engine) -> None:
    """Load the image of the release into this engine, unless it is there."""
    (archive,) = built().glob("*-image-*.tar.gz")
    if _id(archive) in (image.id for image in engine.client().images.list(NAME)):
        return
    beside = os.environ | {"DOCKER_HOST": engine.docker_host}
    done = completed(["docker", "load", "--input", archive], env=beside)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {f"{NAME}:latest", f"{NAME}:{__version__}"} <= set(engine.client().images.get(NAME).tags)


def _id(archive: Path) -> str:
    with tarfile.open(archive) as packed:
        manifest = packed.extractfile("manifest.json")
        assert manifest is not None
        (image,) = json.load(manifest)
    return f"sha256:{image['Config'].removesuffix('.json')}"
