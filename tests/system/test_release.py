"""What `make release` makes: the same bytes twice, sizes, sums, and a word on each architecture."""

import hashlib
import os
import sys
from pathlib import Path

import pytest
from support.commands import completed
from support.pages import Reading
from support.release import PROJECT, architecture, build, built

from certbotless import __version__

_WHEELS = Path(sys.prefix, "wheels")
_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
# Of each large file in MB: more would be a mistake.
_MOST = {"deb": 25, "image": 75, "unpacked": 220}


def files_of(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file of a release."""
    found = [path for path in folder.iterdir() if path.name != "said"]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


@pytest.mark.long
@pytest.mark.page("docs/releasing.md", "release")
def test_a_release_is_whole_and_says_how_large_it_is(paper: Reading) -> None:
    assert paper.commands("docs/releasing.md", "release") == ["make release"]
    folder, arch = built(), architecture()
    files = files_of(folder)
    deb, image = f"certbotless_{__version__}_{arch}.deb", f"certbotless-{__version__}-image-{arch}.tar.gz"
    dist = {f"certbotless-{__version__}-py3-none-any.whl", f"certbotless-{__version__}.tar.gz"}
    assert files.keys() == {deb, image, "SHA256SUMS", *dist}
    listed = [line.split("  ") for line in (folder / "SHA256SUMS").read_text().splitlines()]
    sums = {name: digest for digest, name in listed}
    assert sums == {name: digest for name, digest in files.items() if name != "SHA256SUMS"}
    said = (folder / "said").read_text().splitlines()
    assert {line.split()[-1] for line in said if " KiB " in line} == {f"dist/{name}" for name in files}
    (unpacked,) = (int(line.split()[-3]) for line in said if "the image has" in line)
    sizes = {"deb": deb, "image": image}
    found = {part: (folder / name).stat().st_size / 1e6 for part, name in sizes.items()}
    assert {part for part, size in {**found, "unpacked": unpacked}.items() if size > _MOST[part]} == set()
    assert said[-1].startswith(f"wheels: {arch}, Python {_PYTHON}: all ")


@pytest.mark.soak
def test_another_folder_and_umask_make_the_same_release(tmp_path: Path) -> None:
    other = tmp_path / "a folder with a longer name".replace(" ", "-") / "again"
    other.parent.mkdir()
    build(other, umask=0o077)
    assert files_of(other) == files_of(built())


@pytest.mark.parametrize(
    ("architectures", "code", "line"),
    [
        (architecture(), 0, f"wheels: {architecture()}, Python {_PYTHON}: all "),
        (
            {"amd64": "arm64", "arm64": "amd64"}[architecture()],
            1,
            f"Python {_PYTHON}: there is no wheel of ",
        ),
    ],
    ids=["all", "some are missing"],
)
def test_an_architecture_without_a_wheel_is_one_line(architectures: str, code: int, line: str) -> None:
    """By what `make setup` has fetched, which is for this architecture alone."""
    here = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(_WHEELS), "BIN": str(Path(sys.prefix, "bin"))}
    done = completed([PROJECT / "tools/wheels", _PYTHON, architectures], env=os.environ | here)
    assert done.returncode == code
    (said,) = (done.stdout + done.stderr).splitlines()
    assert line in said
    assert said.startswith(f"wheels: {architectures}, ")
