"""The files that are shipped beside the program are true to it."""

import os
import re
import shutil
import sys
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from flit_core.sdist import SdistBuilder
from support.commands import completed

import certbotless
from certbotless.config import load
from certbotless.config.yaml_document import Document
from tools.docs import schema

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "systemd").glob("certbotless*"))
SERVICES = [ROOT / "systemd" / f"certbotless{part}.service" for part in ("", "-check", "-once")]
EXAMPLE = ROOT / "config" / "certbotless.example.yaml"


def test_the_example_configuration_is_accepted() -> None:
    parsed = load.load(EXAMPLE)
    assert [site.domain for site in parsed.sites] == ["registry.example.com"]


def test_the_example_shows_the_default_of_every_key_that_has_one() -> None:
    """So a line that a user deletes changes nothing."""
    example = load.load(EXAMPLE)
    smallest = load.parse(
        b"aliyun: {access_key_id: a, access_key_secret: b}\n"
        b"sites: [{domain: registry.example.com,"
        b" deploy: [{container: registry, port: 5000}]}]\n",
        "smallest",
    )
    assert replace(example, aliyun=smallest.account) == smallest
    key = smallest.account
    shown = replace(example.account, access_key_id=key.access_key_id, access_key_secret=key.access_key_secret)
    assert shown == key


def test_the_example_with_all_of_it_is_accepted() -> None:
    """That it works is shown in tests/system/test_together.py."""
    parsed = load.load(EXAMPLE.with_name("together.example.yaml"))
    assert [ca.directory for ca in parsed.cas] == ["letsencrypt", "litessl"]
    assert [site.domain for site in parsed.shared] == ["*.lan.example.com"]
    assert parsed.account.credentials is not None and parsed.account.role
    assert [site.domain for site in parsed.sites if site.is_local] == ["devbox"]


def paths_of(tree: object, prefix: str = "") -> set[str]:
    """Return the path of every key in a tree, as in ``sites[].deploy[].when``."""
    if isinstance(tree, list):
        return set().union(*(paths_of(entry, f"{prefix}[]") for entry in tree))
    if not isinstance(tree, dict):
        return set()
    inner = (paths_of(value, f"{prefix}.{key}") for key, value in tree.items())
    return {f"{prefix}.{key}".removeprefix(".") for key in tree}.union(*inner)


def test_the_example_shows_every_key() -> None:
    """Those without a default as comments, which a user makes keys by taking away ``# ``.

    There are two ways to a key of the API, of which a file has one.
    """
    text = re.sub(r"(?m)^( *)# (?=[ -]*[a-z_]+:)", r"\1", EXAMPLE.read_text())
    for other in ("credentials", "(access_key_id|access_key_secret|security_token)"):
        load.parse(re.sub(rf"(?m)^  {other}:.*\n", "", text).encode(), "example")
    shown = {path.removeprefix(".") for path in paths_of(Document(text.encode(), "example").data)}
    assert {path for path, _, _ in schema.all_keys()} <= shown


@pytest.mark.process
def test_the_units_are_valid(tmp_path: Path) -> None:
    """With the program where it is here; all at once, since they name each other."""
    for unit in UNITS:
        text = unit.read_text().replace("/usr/local/bin/certbotless", f"{sys.executable} -m certbotless")
        (tmp_path / unit.name).write_text(text)
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", *map(str, tmp_path.iterdir())]
    done = completed(verify)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.process
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_service_is_hardened(unit: Path) -> None:
    """`systemd-analyze security` scores exposure from 0 to 10; a plain root service has 9.4."""
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    done = completed(security)
    assert done.returncode == 0, done.stdout


def test_all_services_are_hardened_alike() -> None:
    """What the program may do does not depend on who starts it."""
    texts = [
        unit.read_text().partition("\nNoNewPrivileges")[2].partition("\n[Install]")[0] for unit in SERVICES
    ]
    assert len({text.strip() for text in texts}) == 1


def test_what_a_service_needs_is_pinned_as_for_the_tests() -> None:
    """requirements-install.txt is a part of requirements.txt, and has what a service asks for, extras too."""
    tested, installed = (pins(ROOT / name) for name in ("requirements.txt", "requirements-install.txt"))
    assert installed.items() <= tested.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *extras["completion"], *extras["metrics"], *extras["notify"]]
    assert {re.split(r"[^A-Za-z0-9-]", line)[0].lower() for line in asked} <= installed.keys()


def pins(path: Path) -> dict[str, str]:
    """Return name -> version and hashes."""
    lines = path.read_text().replace("\\\n", "").splitlines()
    return {line.partition("==")[0]: " ".join(line.split()) for line in lines}


@pytest.mark.process
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("PREFIX", "usr/local"),
        ("PREFIX", "/usr/my local"),
        ("PREFIX", "/usr/a|b"),
        ("PREFIX", "/usr/a&b"),
        ("PREFIX", "/usr/$(id)"),
        ("PREFIX", "/usr/local\n"),
        ("DESTDIR", "{}/my stage"),
        ("DESTDIR", "{}/*"),
        ("DESTDIR", '{}/"x'),
    ],
)
@pytest.mark.parametrize("target", ["install", "uninstall"])
def test_an_installation_to_a_path_that_would_need_quotes_is_refused(
    target: str, setting: str, value: str, tmp_path: Path
) -> None:
    """With one line, before anything is made or removed."""
    places = {"PREFIX": "/usr", "DESTDIR": f"{tmp_path}/stage", setting: value.format(tmp_path)}
    environment = {"PATH": os.defpath, "PYTHON": "/bin/false", **places}
    done = completed([ROOT / "tools/install", target], env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith(f"install: PREFIX ({places['PREFIX']}) and DESTDIR ")
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


def test_the_settings_of_docker_are_in_no_sdist_image_or_commit(tmp_path: Path) -> None:
    """They are of the machine of whoever wrote them."""
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for folder in ("certbotless", "docker"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    (tmp_path / "docker/.env").touch()
    sdist = SdistBuilder.from_ini_path(tmp_path / "pyproject.toml").build(tmp_path)
    with tarfile.open(sdist) as tar:
        shipped = {name.partition("/docker/")[2] for name in tar.getnames()} - {""}
    assert shipped == {".env.example", "Dockerfile", "certbotless.sh", "compose.yaml"}
    everything, *allowed = (ROOT / ".dockerignore").read_text().splitlines()
    assert everything == "*"
    assert [line for line in allowed if line.startswith("!docker")] == ["!docker/certbotless.sh"]
    assert "docker/.env" in (ROOT / ".gitignore").read_text().splitlines()


def test_no_text_installs_what_is_not_there_yet() -> None:
    """While the project has no address, no index and no hub has it either (docs/releasing.md, "Say so")."""
    if certbotless.__url__:
        return
    foreign = re.compile(r"\b(pipx? install|docker pull|apt(-get)? install) '?certbotless\b(?!_)")
    places = [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/*.md"),
        *ROOT.glob("certbotless/**/*.py"),
        *ROOT.glob("tools/*"),
    ]
    texts = {path: path.read_text() for path in places if path.is_file()}
    assert [str(path) for path, text in texts.items() if foreign.search(text)] == []


def test_the_address_of_the_project_is_in_one_place() -> None:
    assert certbotless.__url__ in certbotless.CHECKOUT
    assert ("this checkout" in certbotless.CHECKOUT) == (not certbotless.__url__)
