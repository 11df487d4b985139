"""The commands of docs/mainland-china.md, with a mirror of this machine in place of a public one."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bed import Bed
from support.commands import completed
from support.images import served
from support.pages import ROOT, Reading, block, exchanged

PAGE = "docs/mainland-china.md"
# The mirrors that the page shows in its commands.
IMAGES, PACKAGES = "docker.m.daocloud.io", "https://pypi.tuna.tsinghua.edu.cn/simple"


@pytest.mark.page("docs/mainland-china.md", "mirror")
def test_the_engine_takes_the_configuration_of_the_page(tmp_path: Path, paper: Reading) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(paper.text(PAGE, "mirror"))
    assert json.loads(file.read_text())["registry-mirrors"] == [f"https://{IMAGES}"]
    done = completed(["dockerd", "--validate", f"--config-file={file}"])
    assert (done.returncode, done.stderr.strip()) == (0, "configuration OK")


@pytest.fixture
def kept(bed: Bed) -> Iterator[Bed]:
    """A bed whose image of the registry is the one from before when the test is over."""
    images = bed.engine.client().images
    before = images.get("registry:2").id
    yield bed
    assert before is not None
    images.get(before).tag("registry", "2")


@pytest.mark.page("docs/mainland-china.md", "pull")
def test_an_image_is_pulled_by_the_name_of_the_mirror_and_has_its_usual_name(
    kept: Bed, paper: Reading
) -> None:
    kept.ok("--once")
    images = kept.engine.client().images
    expected = {}
    for image in ("registry:2", "hello-world:latest"):
        digest = kept.registry.push(f"library/{image}")
        images.remove(f"{kept.registry.where}/library/{image}")
        expected[image] = digest
    for command in paper.commands(PAGE, "pull"):
        typed = exchanged(command, {IMAGES: kept.registry.where})
        subprocess.run(
            shlex.split(typed),
            env=os.environ | {"DOCKER_HOST": kept.engine.docker_host},
            check=True,
            timeout=60,
        )
    for image, digest in expected.items():
        assert digest in str(images.get(image).attrs["RepoDigests"])


@pytest.mark.page("docs/mainland-china.md", "build")
def test_the_image_is_built_as_ever_but_from_mirrors(paper: Reading) -> None:
    """By arguments that the Dockerfile knows; tests/system/test_image.py builds it."""
    (build,) = paper.commands(PAGE, "build")
    arguments = re.findall(r" --build-arg (\w+)=(\S+)", build)
    (usual,) = block("docs/docker.md", "build").commands
    assert re.sub(r" --build-arg \S+", "", build) == usual
    assert dict(arguments) == {"BASE": f"{IMAGES}/library/python:3.13-slim", "PIP_INDEX_URL": PACKAGES}
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    assert set(dict(arguments)) <= set(re.findall(r"^ARG (\w+)", dockerfile, re.MULTILINE))


@pytest.mark.page("docs/mainland-china.md", "python")
@pytest.mark.soak
def test_the_packages_come_from_the_index_that_the_page_names(tmp_path: Path, paper: Reading) -> None:
    """One of the wheels that `make setup` has fetched, a folder for each package."""
    for wheel in Path(sys.prefix, "wheels").glob("*.whl"):
        package = re.sub(r"[-_.]+", "-", wheel.name.partition("-")[0]).lower()
        (tmp_path / "simple" / package).mkdir(parents=True, exist_ok=True)
        (tmp_path / "simple" / package / wheel.name).symlink_to(wheel)
    (install,) = paper.commands(PAGE, "python")
    with served(tmp_path) as url:
        stage = f"DESTDIR={tmp_path}/stage PREFIX=/usr"
        command = f"{exchanged(install, {PACKAGES: f'{url}simple'})} {stage}"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
        done = completed(["sh", "-euc", command], cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "stage/usr/bin/certbotless").is_symlink()
