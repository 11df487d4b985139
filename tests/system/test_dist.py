"""The wheel and the sdist: built alike twice, whole, and installed by pipx."""

import os
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from support.commands import completed
from support.release import PROJECT

import certbotless

_WHEELS = Path(sys.prefix, "wheels")
_FOLDERS = ("certbotless", "config", "docker", "docs", "packaging", "systemd", "tests", "tools")
_NOT_OURS = shutil.ignore_patterns(".*", "__pycache__", "dist", "*.log")


def make_dist(source: Path, *, umask: int) -> dict[str, bytes]:
    """Run `make dist` in a copy of the project, whose set-up is ours, and return the files that it built."""
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1790000000"}
    make = ("make", "-C", str(source), "--assume-old=setup", "dist", f"BIN={sys.prefix}/bin")
    done = completed(make, env=environment, umask=umask)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path.name: path.read_bytes() for path in (source / "dist").iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(PROJECT, tmp_path_factory.mktemp("dist") / "source", ignore=_NOT_OURS)


@pytest.fixture(scope="module")
def built(source: Path) -> dict[str, bytes]:
    return make_dist(source, umask=0o022)


@pytest.fixture(scope="module")
def files(built: dict[str, bytes], source: Path) -> Iterator[tuple[zipfile.ZipFile, tarfile.TarFile]]:
    wheel, sdist = sorted(source.joinpath("dist").iterdir())
    with zipfile.ZipFile(wheel) as archive, tarfile.open(sdist) as tar:
        yield archive, tar


@pytest.mark.row(77)
def test_another_folder_time_and_umask_build_the_same_bytes(
    built: dict[str, bytes], source: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(source, tmp_path / "other", copy_function=shutil.copyfile)
    for script in source.rglob("*"):
        if script.is_file() and script.stat().st_mode & stat.S_IXUSR:
            (other / script.relative_to(source)).chmod(0o700)
    assert make_dist(other, umask=0o077) == built


def test_the_wheel_holds_the_package_and_nothing_else(
    files: tuple[zipfile.ZipFile, tarfile.TarFile],
) -> None:
    wheel, _ = files
    names = set(wheel.namelist())
    files_of_package = (path for path in PROJECT.glob("certbotless/**/*") if path.is_file())
    package = {str(path.relative_to(PROJECT)) for path in files_of_package if path.suffix != ".pyc"}
    assert {name for name in names if ".dist-info/" not in name} == package
    assert {"certbotless/py.typed", "certbotless/report/page.css", "certbotless/report/page.html"} < package


def test_the_metadata_is_valid_and_names_extras_and_licence(
    files: tuple[zipfile.ZipFile, tarfile.TarFile],
) -> None:
    wheel, sdist = files
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    text = wheel.read(name)
    (pkg_info,) = (member for member in sdist.getmembers() if member.name.endswith("/PKG-INFO"))
    told = sdist.extractfile(pkg_info)
    assert told is not None
    assert Metadata.from_email(told.read()).version == Metadata.from_email(text).version
    metadata = Metadata.from_email(text, validate=True)
    assert metadata.license_expression == "Apache-2.0"
    assert metadata.license_files == ["LICENSE"]
    assert set(metadata.provides_extra or ()) == {"sandbox", "completion", "metrics", "notify"}
    optional = {need.name: str(need.marker) for need in metadata.requires_dist or () if need.marker}
    assert optional == {
        "apprise": 'extra == "notify"',
        "prometheus-client": 'extra == "metrics"',
        "shtab": 'extra == "completion"',
        "trustme": 'extra == "sandbox"',
    }
    assert metadata.description_content_type == "text/markdown"


def test_the_sdist_is_a_whole_checkout(files: tuple[zipfile.ZipFile, tarfile.TarFile], source: Path) -> None:
    """Every folder of the project is in it with all its files, and scripts can be run."""
    _, sdist = files
    members = {member.name.partition("/")[2]: member for member in sdist.getmembers()}
    for folder in _FOLDERS:
        found = [path for path in (source / folder).rglob("*") if path.is_file()]
        ours = {str(path.relative_to(source)) for path in found if "__pycache__" not in path.parts}
        assert {name for name in members if name.startswith(f"{folder}/")} == ours
    assert set(members) >= {
        "LICENSE",
        "Makefile",
        "pyproject.toml",
        "requirements.txt",
        "requirements-install.txt",
    }
    assert members["tools/install"].mode & 0o111
    assert not members["Makefile"].mode & 0o111


@pytest.fixture(scope="module")
def pipx(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a pipx with a home of its own; what `make setup` has fetched is its network."""
    home = tmp_path_factory.mktemp("pipx")
    return os.environ | {
        "HOME": str(home),
        "PIPX_HOME": str(home / "pipx"),
        "PIPX_BIN_DIR": str(home / "bin"),
        "PIPX_MAN_DIR": str(home / "man"),
        "PIP_NO_COMPILE": "1",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(_WHEELS),
    }


@pytest.mark.parametrize(
    "kind",
    [pytest.param(".whl", id="wheel"), pytest.param(".tar.gz", id="sdist", marks=pytest.mark.soak)],
)
def test_pipx_installs_it(
    kind: str, built: dict[str, bytes], source: Path, pipx: dict[str, str], tmp_path: Path
) -> None:
    (package,) = (source / "dist" / name for name in built if name.endswith(kind))
    done = completed(["pipx", "install", "--force", package], env=pipx)
    assert done.returncode == 0, done.stdout + done.stderr
    # What the example names, systemd would hand over.
    for part in ("id", "secret"):
        (tmp_path / f"certbotless.access_key_{part}").write_text("made-up")
    example = PROJECT / "config/certbotless.example.yaml"
    for arguments, says in {
        "--version": f"certbotless {certbotless.__version__}\n",
        f"check --config {example}": f"{example}: ok (1 site)\n",
    }.items():
        command = [f"{pipx['PIPX_BIN_DIR']}/certbotless", *arguments.split()]
        told = completed(command, env=pipx | {"CREDENTIALS_DIRECTORY": str(tmp_path)})
        assert (told.returncode, told.stdout) == (0, says), told.stderr
