"""What `make release` makes of this tree: built once for all workers, and again when a file has changed.

It is kept in the virtual environment, beside the packages that it is made of.
"""

import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from support.commands import completed

PROJECT = Path(__file__).parents[2]
_VENV = Path(sys.prefix)
_HOME = _VENV / "release"
_LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "dist", "tests", "*.log")
_NEEDED = (".dockerignore", ".gitignore")
# The base of the image, and the bare machines, that tools/setup has made.
IMAGE_BASE, MACHINE = _VENV / "image-base.tar", _VENV / "machine"
TIME, _LONGEST_S = 1790000000, 3600


def built() -> Path:
    """Return the folder of the files of a release."""
    return kept("release", build)


def older(version: str) -> Path:
    """Return the folder of a Debian package like that of the release, whose program is of this version."""
    return kept(version, lambda target: _repack(target, version))


def kept(name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder below ours, which `make` makes unless it is there, of the files as they are."""
    _HOME.mkdir(exist_ok=True)
    with (_HOME / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        target, stamp = _HOME / name, _HOME / f"{name}.of"
        digest = _digest()
        if not (stamp.exists() and stamp.read_text() == digest):
            shutil.rmtree(target, ignore_errors=True)
            make(target)
            stamp.write_text(digest)
        return target


def _repack(target: Path, version: str) -> None:
    """Make the package again, of its own files: to build another one would take ten times as long."""
    (package,) = built().glob("*.deb")
    folder = target / "unpacked"
    target.mkdir()
    _run("dpkg-deb", "--raw-extract", package, folder)
    (program,) = folder.glob("usr/lib/certbotless/lib/python3*/site-packages/certbotless")
    for compiled in program.glob("__pycache__/__init__.*.pyc"):
        compiled.unlink()
    _replace(program / "__init__.py", '__version__ = "[^"]+"', f'__version__ = "{version}"')
    _replace(folder / "DEBIAN/control", "(?m)^Version: .*", f"Version: {version}")
    _run("dpkg-deb", "--build", "-Znone", folder, target / f"certbotless_{version}_{architecture()}.deb")
    shutil.rmtree(folder)


def _replace(file: Path, pattern: str, text: str) -> None:
    text, count = re.subn(pattern, text, file.read_text())
    assert count == 1
    file.write_text(text)


def _run(*command: str | Path) -> None:
    done = completed(command)
    assert done.returncode == 0, done.stdout + done.stderr


def build(target: Path, umask: int = 0o022) -> None:
    """Run `make release` in a copy of the project, whose set-up is ours; `target` has what it built."""
    source = _copy(target.with_name(f"{target.name}.source"))
    try:
        # All that is here are the wheels of this Python and machine.
        wheels = (f"PYTHONS={sys.version_info[0]}.{sys.version_info[1]}", f"ARCHITECTURES={architecture()}")
        settings = ("--assume-old=setup", f"BIN={_VENV}/bin", *wheels)
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


def _copy(target: Path) -> Path:
    """Copy what a release is made of."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(PROJECT, target, ignore=_LEFT_OUT)
    for name in _NEEDED:
        shutil.copy(PROJECT / name, target)
    (target / "tests").mkdir()
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
