"""The pages hold together: both READMEs say the same, links lead somewhere, what can be typed is tried."""

import ast
import json
import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.commands import completed
from support.pages import (
    CHECKED_BY_KIND,
    OUTPUT,
    PAGES,
    ROOT,
    TRANSLATED,
    Block,
    anchors,
    block,
    blocks,
    links,
    name_of,
    promised,
)

from certbotless.cli.init import text as init_text
from certbotless.config import load

NAMES = [name_of(path) for path in PAGES]
BLOCKS = [each for name in NAMES for each in blocks(name)]
TRIED = [each for each in BLOCKS if each.language not in CHECKED_BY_KIND | {OUTPUT} or each.run]
UNIT = ROOT / "systemd" / "certbotless.service"


def of_language(language: str) -> list[Block]:
    return [block for block in BLOCKS if block.language == language]


# --- two languages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "original"), TRANSLATED.items())
def test_a_translation_has_the_same_blocks_in_the_same_order(page: str, original: str) -> None:
    """What is said of a command, behind it, is in the reader's language."""

    def shown(name: str) -> list[tuple[str, str, object]]:
        return [
            (block.language, block.run, block.commands if block.language == "sh" else block.text)
            for block in blocks(name)
        ]

    assert shown(page) == shown(original)


@pytest.mark.parametrize(("page", "original"), TRANSLATED.items())
def test_a_translation_has_the_same_parts_tables_and_links(page: str, original: str) -> None:
    def shape(name: str) -> tuple[list[str], list[int], list[str]]:
        text = (ROOT / name).read_text()
        headings = re.findall(r"^(#+) ", text, re.MULTILINE)
        columns = [line.count("|") for line in text.splitlines() if line.startswith("|")]
        return (
            headings,
            columns,
            sorted(to for to in links(name) if to.endswith(".md") and "README" not in to),
        )

    assert shape(page) == shape(original)
    assert {page, original} <= {to for name in (page, original) for to in links(name)}


# --- links --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", NAMES)
def test_every_link_leads_to_a_file_that_is_there_and_a_heading_that_it_has(page: str) -> None:
    broken = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(name_of(target.resolve()))):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("picture", sorted(ROOT.glob("docs/*.svg")), ids=lambda path: path.name)
def test_a_picture_is_whole_and_needs_nothing_from_elsewhere(picture: Path) -> None:
    """With a title and a description for who cannot see it, and colours for a dark page."""
    root = ElementTree.fromstring(picture.read_text())  # noqa: S314  # a file of ours
    tags = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert {"title", "desc", "style"} <= set(tags)
    assert not {"image", "script", "use", "foreignObject"} & set(tags)
    assert "prefers-color-scheme: dark" in picture.read_text()


# --- what can be typed --------------------------------------------------------------------------------------


def test_every_block_says_what_it_is() -> None:
    assert [str(block) for block in BLOCKS if not block.language] == []


def test_every_command_and_example_is_run_by_a_test_or_needs_a_real_account() -> None:
    """Of each block that is to be run a test has the mark, and each mark names such a block."""
    assert [str(block) for block in TRIED if not (block.run or block.account)] == []
    runs = {(block.page, block.run) for block in TRIED if block.run}
    assert {(page, name) for page, name in runs if page not in TRANSLATED} == promised()
    assert {(TRANSLATED[page], name) for page, name in runs if page in TRANSLATED} <= promised()


@pytest.mark.parametrize("block", [b for b in of_language("yaml") if not b.run], ids=str)
def test_every_configuration_is_accepted(block: Block) -> None:
    """Those that show a part are completed: a target of a site, a site, or what stands beside the sites."""
    text = block.text
    if text.startswith("deploy:"):
        inner = "".join(f"    {line}\n" for line in text.splitlines())
        text = f"sites:\n  - domain: registry.example.com\n{inner}"
    if "aliyun:" not in text:
        text += "\naliyun: {access_key_id: id, access_key_secret: secret}\n"
    if "sites:" not in text:
        text += "\nsites: [{domain: registry.example.com}]\n"
    load.parse(text.encode(), str(block))


@pytest.mark.parametrize("block", of_language("json"), ids=str)
def test_the_policy_is_json(block: Block) -> None:
    """What it says is tested in tests/system/test_ram_policy.py."""
    assert block.page == "docs/ram-policy.md"
    assert json.loads(block.text)["Statement"]


@pytest.mark.process
@pytest.mark.parametrize("block", [b for b in of_language("ini") if not b.run], ids=str)
def test_every_drop_in_is_understood_by_systemd(block: Block, tmp_path: Path) -> None:
    """Beside the unit that it is for; the unit that reports a failure is the reader's own."""
    shipped = UNIT.read_text().replace("/usr/local/bin/certbotless", f"{sys.executable} -m certbotless")
    (tmp_path / UNIT.name).write_text(shipped)
    (tmp_path / "my-mail@.service").write_text("[Service]\nType=oneshot\nExecStart=/bin/true\n")
    drop_ins = tmp_path / f"{UNIT.name}.d"
    drop_ins.mkdir()
    (drop_ins / "page.conf").write_text(block.text)
    verify = ["systemd-analyze", "verify", "--recursive-errors=no", str(tmp_path / UNIT.name)]
    done = completed(verify)
    assert (done.returncode, done.stderr) == (0, "")


def test_init_prints_the_line_that_the_readme_shows_for_a_registry() -> None:
    answers = init_text.Answers("registry.example.com", "id", "secret", container="registry")
    line, *_ = init_text.run_text(answers).partition("\n\n")
    assert Block("init", 1, "sh", f"{line}\n").commands == block("README.md", "registry").commands


# --- what is quoted -----------------------------------------------------------------------------------------

_SOURCES = sorted((ROOT / "certbotless").rglob("*.py"))
# What others say: Docker's client, systemd, and a CA after our "refused with".
_NOT_OURS = {
    "no such host",
    "connection refused",
    "x509: certificate signed by unknown authority",
    "status 216/GROUP",
    "refused with rateLimited",
}


def said() -> str:
    """Return every text of the program, those with values in them as their parts, one after the other."""
    texts = []
    for path in _SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                texts.append("".join(p.value if isinstance(p, ast.Constant) else "…" for p in node.values))  # type: ignore[misc]
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.append(node.value)
    return "\n".join(texts)


def test_the_words_to_look_for_are_the_programs_own() -> None:
    """In the first column of the tables by symptom, each part of a quotation."""
    rows = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs/troubleshooting.md").read_text(), re.MULTILINE)
    quoted = {quotation for row in rows for quotation in re.findall(r"`([^`]+)`", row)}
    ours = {
        quotation
        for quotation in quoted - _NOT_OURS
        if " " in quotation and not quotation.startswith("docker ")
    }
    assert len(ours) > 20
    text = said()
    parts = {part.strip() for quotation in ours for part in quotation.split("…")}
    assert [part for part in sorted(parts) if part not in text] == []
