"""The files that are shipped beside the program are true to it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from certbotless import configfile, schema
from certbotless.document import Document

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "config" / "certbotless.example.yaml"


def test_the_example_configuration_is_accepted() -> None:
    parsed = configfile.load(EXAMPLE)
    assert [site.domain for site in parsed.sites] == ["registry.example.com"]


def test_the_example_shows_the_default_of_every_key_that_has_one() -> None:
    """So a line that a user deletes changes nothing."""
    example = configfile.load(EXAMPLE)
    smallest = configfile.parse(
        b"aliyun: {access_key_id: a, access_key_secret: b}\n"
        b"sites: [{domain: registry.example.com, zone: example.com,"
        b" deploy: [{container: registry, port: 5000}]}]\n",
        "smallest",
    )
    keys = ("access_key_id", "access_key_secret")
    shown = example.model_copy(update={"aliyun": example.aliyun.model_copy(update=dict.fromkeys(keys))})
    default = smallest.model_copy(update={"aliyun": smallest.aliyun.model_copy(update=dict.fromkeys(keys))})
    assert shown == default


def paths_of(tree: object, prefix: str = "") -> set[str]:
    """Return the path of every key in a tree, as in ``sites[].deploy[].when``."""
    if isinstance(tree, list):
        return set().union(*(paths_of(entry, f"{prefix}[]") for entry in tree))
    if not isinstance(tree, dict):
        return set()
    inner = (paths_of(value, f"{prefix}.{key}") for key, value in tree.items())
    return {f"{prefix}.{key}".removeprefix(".") for key in tree}.union(*inner)


def test_the_example_shows_every_key() -> None:
    """Those without a default as comments, which a user makes keys by taking away ``# ``."""
    text = re.sub(r"(?m)^( *)# (?=[ -]*[a-z_]+:)", r"\1", EXAMPLE.read_text())
    configfile.parse(text.encode(), "example")
    shown = {path.removeprefix(".") for path in paths_of(Document(text.encode(), "example").data)}
    assert {path for path, _, _ in schema.all_keys()} <= shown


def test_the_unit_is_valid_and_hardened(tmp_path: Path) -> None:
    """`systemd-analyze security` scores exposure from 0 to 10; a plain root service has 9.4."""
    unit = tmp_path / "certbotless.service"
    text = (ROOT / "systemd" / "certbotless.service").read_text()
    assert "ExecStart=/usr/local/bin/certbotless\n" in text
    unit.write_text(text.replace("/usr/local/bin/certbotless", f"{sys.executable} -m certbotless"))
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    security = ["systemd-analyze", "security", "--offline=true", "--threshold=15", str(unit)]
    done = subprocess.run(security, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
