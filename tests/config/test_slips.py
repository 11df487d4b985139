"""What beginners type by mistake: each slip is told at its true place, with what to type instead."""

import re
from pathlib import Path

import pytest
import yaml
from support.configs import faults_of
from support.languages import chinese

from certbotless.base import words
from certbotless.base.errors import ConfigError
from certbotless.config import load

FILE = """\
aliyun:
  access_key_id: LTAIexample
  access_key_secret: example
sites:
  - domain: registry.example.com
    deploy:
      - container: registry
        port: 5000
"""
PORT = "must be a port number, 1..65535 without quotes, or host:port, or none"
SAVE_AS = (
    "save it as UTF-8 (Windows Notepad: Save as, Encoding UTF-8; \u53e6\u5b58\u4e3a, \u7f16\u7801 UTF-8)"
)

# Of each what stands in the file, what is typed in its place, and what is told.
ROWS = yaml.safe_load(Path(__file__).with_name("slips.yaml").read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["typed"])
def test_a_slip_is_told_alone_at_its_place_with_what_to_type(row: dict[str, str]) -> None:
    """The parser stops later, or blames something else."""
    text = FILE.replace(row["good"], row["typed"], 1)
    assert faults_of(text) == [f"c.yaml:{row['told']}"]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["typed"])
def test_a_slip_is_told_in_chinese_at_the_same_place(row: dict[str, str]) -> None:
    """What remains in English are keys, and what is to be typed."""
    with pytest.raises(ConfigError) as caught:
        load.parse(FILE.replace(row["good"], row["typed"], 1).encode(), "c.yaml")
    with chinese():
        spoken = words._(str(caught.value))
    place, path, told = re.fullmatch(r"(c\.yaml:\d+:\d+): ([^：]+)：(.+)", spoken).groups()  # type: ignore[union-attr]
    assert f"c.yaml:{row['told']}".startswith(f"{place}: {path.replace('文件', 'the file')}: ")
    assert re.search("[\u4e00-\u9fff]", told)


@pytest.mark.parametrize(
    ("encoding", "told"),
    [
        ("utf-16", f"c.yaml:1:1: the file: UTF-16 text: {SAVE_AS}"),
        ("utf-16-le", f"c.yaml:1:1: the file: UTF-16 text: {SAVE_AS}"),
        ("gbk", f"c.yaml:2:3: the file: not UTF-8 text: {SAVE_AS}"),
    ],
)
def test_a_file_of_windows_is_told_how_to_be_saved(encoding: str, told: str) -> None:
    """UTF-16 with its mark and without, and the code page of China."""
    with pytest.raises(ConfigError) as caught:
        load.parse(f"# x\n# \u914d\u7f6e\n{FILE}".encode(encoding), "c.yaml")
    assert caught.value.faults == [told]


def test_several_slips_are_told_at_once_with_the_faults_of_other_lines() -> None:
    """One a line; what the parser makes of such a line is not told."""
    text = FILE.replace(
        "- domain: registry.example.com", "- domain: \u201cregistry.example.com\u201d"
    ).replace("5000", "0")
    assert faults_of(f"parallel: 0\n{text}") == [
        "c.yaml:1:11: parallel: 0 is outside 1..64",
        "c.yaml:6:13: the file: '\u201c' is not a quote of YAML: use \" or no quotes",
        f"c.yaml:9:15: sites[0].deploy[0].port: {PORT}",
    ]


@pytest.mark.parametrize(
    "line",
    [
        "# \uff1a\u201cx\u201d\uff0c\uff03",
        'acme: {profile: "a\uff1a\u201cb\u201d"}',
        "acme: {email: 'a\uff1ab@x.example'}",
    ],
)
def test_what_stands_in_quotes_or_comments_is_no_slip(line: str) -> None:
    """There, people write as they like: only the true fault is told."""
    told = "\n".join(faults_of(f"{line}\n{FILE}parallel: 0\n"))
    assert "the file:" not in told
    assert "parallel: 0 is outside 1..64" in told
