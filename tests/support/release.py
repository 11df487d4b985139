"""What `make release` makes of this tree: built once for all workers, and again when a file has changed.

It is kept in the virtual environment, beside the packages that it is made of.
"""

import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from support.commands import completed
from support.services import PROJECT

_VENV = Path(sys.prefix)
_HOME = _VENV / "release"
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "dist", "tests", "*.log")
_NEEDED = (".dockerignore", ".gitignore")
# Of the image and the machine that tools/setup has made.
IMAGE_BASE, MACHINE = _VENV / "image-base.tar", _VENV / "machine"
TIME, _LONGEST_S = 1790000000, 3600


def built(*, version: str = "", parts: str = "deb image") -> Path:
    """Return the folder of the files of a release.

    Args:
        version: instead of the tree's own.
        parts: which of the large ones are needed.
    """
    name = f"{version or 'this'}-{parts.replace(' ', '-')}"
    _HOME.mkdir(exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target, stamp = _HOME / name, _HOME / f"{name}.of"
        digest = _digest()
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(target, ignore_errors=True)
            build(target, version=version, parts=parts)
            stamp.write_text(digest)
        return target


def build(target: Path, *, version: str = "", parts: str = "deb image", umask: int = 0o022) -> None:
    """Run `make release` in a copy of the project, whose set-up is ours; `target` has what it built."""
    source = copy(target.with_name(f"{target.name}.source"), version)
    try:
        # All that is here are the wheels of this Python and machine.
        wheels = (f"PYTHONS={sys.version_info[0]}.{sys.version_info[1]}", f"ARCHITECTURES={architecture()}")
        settings = ("--assume-old=setup", f"BIN={_VENV}/bin", f"PARTS={parts}", *wheels)
        here = {
            "SOURCE_DATE_EPOCH": str(TIME),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(_VENV / "wheels"),
        }
        command = ["make", "-C", str(source), "release", *settings]
        done = completed(command, timeout_s=_LONGEST_S, env=os.environ | here, umask=umask)
        assert done.returncode == 0, done.stdout + done.stderr
        shutil.move(source / "dist", target)
        (target / "said").write_text(done.stdout)
    finally:
        shutil.rmtree(source)


def copy(target: Path, version: str = "") -> Path:
    """Copy what a release is made of, as if it had another version."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(PROJECT, target, ignore=_LEFT_OUT)
    for name in _NEEDED:
        shutil.copy(PROJECT / name, target)
    (target / "tests").mkdir()
    if version:
        file = target / "certbotless/__init__.py"
        text, count = re.subn(r'__version__ = "[^"]+"', f'__version__ = "{version}"', file.read_text())
        assert count == 1
        file.write_text(text)
    return target


def architecture() -> str:
    """Return Debian's name of this machine's architecture."""
    return completed(["dpkg", "--print-architecture"]).stdout.strip()


def _digest() -> str:
    """Return what differs when a file of the release does."""
    found = hashlib.sha256()
    for path in sorted(_files(PROJECT)):
        found.update(f"{path.relative_to(PROJECT)}\0{path.stat().st_mode}\0".encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    base = IMAGE_BASE.stat()
    return f"{found.hexdigest()} {base.st_mtime_ns} {base.st_size}"


def _files(folder: Path) -> Iterator[Path]:
    entries = list(folder.iterdir())
    left_out = _LEFT_OUT(str(folder), [path.name for path in entries])
    for path in entries:
        if path.name not in left_out or path.name in _NEEDED:
            yield from _files(path) if path.is_dir() else [path]
