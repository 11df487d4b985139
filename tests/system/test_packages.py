"""An index that offers other packages than ours: an installation runs nothing of them."""

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.commands import completed
from support.release import PROJECT

_WHEELS = Path(sys.prefix, "wheels")
_PARTS = ("certbotless", "config", "docs", "systemd", "tools")
_FILES = ("LICENSE", "README.md", "pyproject.toml", "requirements-install.txt")


class Index:
    """What pip finds: the packages of `make setup`, and in their place or beside them a stranger's.

    Attributes:
        trace: the file that a stranger's package leaves when something of it is run.
    """

    def __init__(self, folder: Path) -> None:
        self._home = folder
        self.trace = folder / "was-run"
        self._wheels = folder / "wheels"
        self._wheels.mkdir()
        for wheel in _WHEELS.iterdir():
            (self._wheels / wheel.name).symlink_to(wheel)
        self.source = folder / "source"
        self.source.mkdir()
        for part in _PARTS:
            shutil.copytree(PROJECT / part, self.source / part, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _FILES:
            shutil.copy(PROJECT / name, self.source)

    def take(self, name: str) -> None:
        """Offer no wheel of this package any more."""
        for wheel in self._wheels.glob(f"{name}-*"):
            wheel.unlink()

    def offer_wheel(self, name: str, version: str, build: str = "") -> None:
        """Offer a wheel that is run when it is imported, and whenever Python starts beside it."""
        code = f"open({str(self.trace)!r}, 'w').close()\n"
        about = f"{name}-{version}.dist-info"
        files = {
            f"{name}/__init__.py": code,
            f"{name}/buildapi.py": code,
            f"{name}.pth": f"import os; {code}",
            f"{about}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = "".join(f"{file},,\n" for file in [*files, f"{about}/RECORD"])
        with zipfile.ZipFile(self._wheels / f"{name}-{version}{build}-py3-none-any.whl", "w") as wheel:
            for file, text in {**files, f"{about}/RECORD": record}.items():
                wheel.writestr(file, text)

    def offer_source(self, name: str, version: str) -> None:
        """Offer a source that is run when it is built; its hash is one of ours."""
        backend = '[build-system]\nrequires = []\nbuild-backend = "here"\nbackend-path = ["."]\n'
        files = {"pyproject.toml": backend, "here.py": f"open({str(self.trace)!r}, 'w').close()\n"}
        path = self._wheels / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            for file, text in files.items():
                member = tarfile.TarInfo(f"{name}-{version}/{file}")
                member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        requirements = self.source / "requirements-install.txt"
        ours = f"{name}=={version} \\\n"
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        text = requirements.read_text()
        assert ours in text
        requirements.write_text(text.replace(ours, f"{ours}    --hash=sha256:{digest} \\\n"))

    def install(self) -> subprocess.CompletedProcess[str]:
        """Install from here below a folder, as `make install` does."""
        settings = {"DESTDIR": str(self._home / "stage"), "PREFIX": "/usr"}
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self._wheels)}
        return completed([self.source / "tools/install", "install"], env={**os.environ, **settings, **pip})


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path)


def version_of(package: str) -> str:
    """Return the version of a package that is pinned."""
    pinned = re.search(
        rf"^{package}==(\S+)", (PROJECT / "requirements-install.txt").read_text(), re.MULTILINE
    )
    assert pinned is not None
    return pinned[1]


@pytest.mark.soak
@pytest.mark.row(77)
def test_newer_packages_are_passed_over(index: Index) -> None:
    """Also of what builds the program."""
    index.offer_wheel("flit_core", "99.0")
    index.offer_wheel("idna", "99.0")
    done = index.install()
    assert done.returncode == 0, done.stdout + done.stderr
    assert not index.trace.exists()


@pytest.mark.row(77)
@pytest.mark.parametrize(
    ("wheel", "package"),
    [pytest.param("flit_core", "flit-core", marks=pytest.mark.soak), ("idna", "idna")],
)
@pytest.mark.parametrize("build", ["", "-1"], ids=["exchanged", "another build beside ours"])
def test_an_exchanged_package_ends_the_installation(
    index: Index, wheel: str, package: str, build: str
) -> None:
    if not build:
        index.take(wheel)
    index.offer_wheel(wheel, version_of(package), build)
    done = index.install()
    assert done.returncode == 1
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "install: pip could not install the packages of requirements-install.txt"
    )
    assert not index.trace.exists()


@pytest.mark.row(77)
def test_nothing_is_built_where_an_index_has_no_wheel_for_this_machine(index: Index) -> None:
    """Nor where the source is one of ours: no hash covers what it would fetch to be built by."""
    index.take("idna")
    index.offer_source("idna", version_of("idna"))
    done = index.install()
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(
        rf"install: pip finds no wheel of idna=={version_of('idna')} for Python 3\.\S+ on \S+: "
        r"the index cannot be reached, or has none \(docs/security\.md, .*\)",
        line,
    )
    assert not index.trace.exists()
