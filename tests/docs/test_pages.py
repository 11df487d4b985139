"""The pages hold together: both languages say the same, links lead somewhere, what can be typed is tried."""

import argparse
import ast
import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree

import pytest
import trustme
import yaml
from support.commands import completed
from support.pages import (
    CHECKED_BY_KIND,
    CHINESE,
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
    prose,
)

from certbotless.cli import arguments
from certbotless.cli.init import text as init_text
from certbotless.config import load
from certbotless.world.credentials.key_data import key_of

NAMES = [name_of(path) for path in PAGES]
BLOCKS = [each for name in NAMES for each in blocks(name)]
TRIED = [each for each in BLOCKS if each.language not in CHECKED_BY_KIND | {OUTPUT} or each.run]
UNIT = ROOT / "systemd" / "certbotless.service"


def checked_by_kind(language: str) -> list[Block]:
    return [each for each in BLOCKS if each.language == language and not (each.run or each.untried)]


# --- two languages ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "original"), TRANSLATED.items())
def test_a_translation_has_the_same_blocks_in_the_same_order(page: str, original: str) -> None:
    """A comment on a command or a key is in the reader's language."""

    def content(each: Block) -> object:
        match each.language:
            case "sh":
                return each.commands
            case "yaml":
                return yaml.safe_load(each.text)
        return each.text

    def shown(name: str) -> list[tuple[str, str, bool, object]]:
        return [(each.language, each.run, bool(each.untried), content(each)) for each in blocks(name)]

    assert shown(page) == shown(original)


@pytest.mark.parametrize(("page", "original"), TRANSLATED.items())
def test_a_translation_has_the_same_parts_tables_and_links(page: str, original: str) -> None:
    def shape(name: str) -> tuple[list[str], list[int], list[str]]:
        text = prose(name)
        headings = re.findall(r"^(#+) ", text, re.MULTILINE)
        columns = [line.replace(r"\|", "").count("|") for line in text.splitlines() if line.startswith("|")]
        return headings, columns, sorted(_in_english(to) for to in links(name))

    assert shape(page) == shape(original)


def _in_english(link: str) -> str:
    return link.partition("#")[0].replace(CHINESE, ".md").replace(".zh-CN.svg", ".svg")


@pytest.mark.parametrize(("page", "original"), TRANSLATED.items())
def test_each_language_leads_to_pages_of_its_own_and_once_to_the_other(page: str, original: str) -> None:
    """The first link of a page is the one to its other language; a page without a translation is English."""

    def targets(name: str) -> list[str]:
        folder = (ROOT / name).parent
        to = [Path(os.path.normpath(folder / link.partition("#")[0])) for link in links(name)]
        return [name_of(path) for path in to if path.suffix == ".md"]

    assert (targets(page)[0], targets(original)[0]) == (original, page)
    assert [to for to in targets(page)[1:] if to in TRANSLATED.values()] == []
    assert [to for to in targets(original)[1:] if to in TRANSLATED] == []


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_a_readme_is_read_in_a_few_minutes(page: str) -> None:
    assert len((ROOT / page).read_text().splitlines()) <= 140


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


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_index_of_a_readme_leads_to_every_page(readme: str) -> None:
    """In the reader's language, where there is one; the decisions are a folder of architecture.md."""
    index = (ROOT / readme).read_text().rpartition("\n## ")[2]
    listed = {_in_english(link) for link in re.findall(r"\]\((docs/[^)#]+)\)", index)}
    assert listed == {name for name in NAMES if name.startswith("docs/") and name.count("/") == 1} - set(
        TRANSLATED
    )


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


def test_every_command_and_example_is_run_by_a_test_or_says_why_it_cannot() -> None:
    """Of each block that is to be run a test has the mark, and each mark names such a block."""
    assert [str(block) for block in TRIED if not (block.run or block.untried)] == []
    runs = {(block.page, block.run) for block in TRIED if block.run}
    assert {(page, name) for page, name in runs if page not in TRANSLATED} == promised()
    assert {(TRANSLATED[page], name) for page, name in runs if page in TRANSLATED} <= promised()


@pytest.mark.parametrize("block", checked_by_kind("yaml"), ids=str)
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


@pytest.mark.parametrize("block", checked_by_kind("json"), ids=str)
def test_what_is_json_is_a_policy_or_a_key(block: Block) -> None:
    """What the policy says is tested in tests/system/test_ram_policy.py."""
    if "credentials" in block.page:
        assert key_of(json.loads(block.text), datetime(2026, 11, 1, tzinfo=UTC), "it").token == "..."
    else:
        assert block.page in ("docs/ram-policy.md", "docs/ram-policy.zh-CN.md")
        assert json.loads(block.text)["Statement"]


def _options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a command, and of the commands below it."""
    found = set(re.findall(r"--[a-z-]+", parser.format_help()))
    below = parser._subparsers._group_actions[0].choices if parser._subparsers else {}
    return found.union(*map(_options_of, below.values()))  # type: ignore[union-attr]


OURS = _options_of(arguments.parser(has_domains=True)) | _options_of(arguments.parser())
COMMANDS = set(arguments.parser()._subparsers._group_actions[0].choices)  # type: ignore[union-attr, arg-type]


@pytest.mark.parametrize("page", [name for name in NAMES if name != "CHANGELOG.md"])
def test_every_command_of_ours_in_a_page_is_one_that_the_program_has(page: str) -> None:
    """In the text too, where no test runs it."""
    typed = re.findall(r"`(?:docker exec certbotless )?certbotless( [^`]+)`", prose(page))
    typed += [
        found for each in blocks(page) for found in re.findall(r"^certbotless(.*)", each.text, re.MULTILINE)
    ]
    unknown = []
    for words in typed:
        word, *options = [*re.sub(r"#.*", "", words).split(), ""]
        known = word in COMMANDS or not re.fullmatch(r"[a-z][a-z-]*", word)
        unknown += [] if known else [word]
        unknown += [
            each for each in [word, *options] if each.startswith("--") and each.split("=")[0] not in OURS
        ]
    assert unknown == []


@pytest.mark.process
@pytest.mark.parametrize("block", checked_by_kind("ini"), ids=str)
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


def test_every_command_is_in_the_table_of_commands() -> None:
    table = (ROOT / "docs/commands.md").read_text()
    assert [command for command in sorted(COMMANDS) if f"`certbotless {command}" not in table] == []


# What is said in one place alone, to which other pages lead.
ONCE = {
    "within 2 seconds": "docs/configuration.md",
    "docker run -d --name registry": "docs/registry.md",
    "Docker socket is as good as root": "docs/security.md",
    "REGISTRY_AUTH_HTPASSWD_PATH": "docs/registry.md",
    "daocloud.io": "docs/mainland-china.md",
    "tuna.tsinghua.edu.cn": "docs/mainland-china.md",
    "rebind-domain-ok": "docs/mainland-china.md",
}


@pytest.mark.parametrize("words", ONCE)
def test_what_is_said_once_is_in_its_page_alone(words: str) -> None:
    places = [name for name in NAMES if name not in TRANSLATED and words in (ROOT / name).read_text()]
    assert places == [ONCE[words]]


def test_init_prints_the_commands_that_the_page_shows_for_a_registry() -> None:
    """With a password, and the way to log in; the READMEs lead to the page for both."""
    answers = init_text.Answers("registry.example.com", "id", "secret", container="registry")
    packages, passwords, run = Block("init", 1, "sh", init_text.run_text(answers)).commands
    (shown,) = block("docs/registry.md", "registry").commands
    assert _options(run) == _options(shown)
    install, folder, user, _another = block("docs/registry.md", "password").commands
    assert packages == f"{install}; {folder}"
    assert passwords.removesuffix(" USER") == user.removesuffix(" alice")
    (login,) = block("docs/registry.md", "login").commands
    assert login == f"docker login {answers.at(None)}"
    for page in ("README.md", "README.zh-CN.md"):
        assert f"docker login -u docker {answers.at(None)}" in block(page, "push").commands
        assert "docs/registry" in prose(page)


def _options(command: str) -> set[str]:
    """Return the words of a command that starts a container, each option with its value."""
    return set(re.sub(r" (-[a-z]) ", r" \1=", shlex.join(shlex.split(command))).split())


# --- what is quoted -----------------------------------------------------------------------------------------

_SOURCES = sorted((ROOT / "certbotless").rglob("*.py"))
# What others say: Docker's client, systemd, and a CA after our "refused with".
_NOT_OURS = {
    "no such host",
    "connection refused",
    "x509: certificate signed by unknown authority",
    "status 216/GROUP",
    "refused with rateLimited",
    "no basic auth credentials",
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
    """In the first column of the tables by symptom, each part of a quotation; in both languages the same."""
    quoted, in_chinese = (
        {
            quotation
            for row in re.findall(r"^\| ([^|]+) \|", (ROOT / page).read_text(), re.MULTILINE)
            for quotation in re.findall(r"`([^`]+)`", row)
        }
        for page in ("docs/troubleshooting.md", "docs/troubleshooting.zh-CN.md")
    )
    assert quoted == in_chinese
    ours = {
        quotation
        for quotation in quoted - _NOT_OURS
        if " " in quotation and not quotation.startswith("docker ")
    }
    assert len(ours) > 20
    text = said()
    parts = {part.strip() for quotation in ours for part in quotation.split("…")}
    assert [part for part in sorted(parts) if part not in text] == []


def test_a_chinese_reader_finds_the_words_of_a_chinese_terminal() -> None:
    """Each symptom of the program has both: what a terminal shows, and behind it what the log has."""
    page = (ROOT / "docs/troubleshooting.zh-CN.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    pairs = [pair for row in rows for pair in re.findall(r"“([^”]+)”（`([^`]+)`）", row)]
    ours = {quotation for row in rows for quotation in re.findall(r"`([^`]+)`", row)} - _NOT_OURS
    assert len(pairs) > 40
    own = {each for each in ours if " " in each and not each.startswith("docker ")}
    assert own - {english for _, english in pairs} == set()
    catalogue = (ROOT / "certbotless/locale/zh/LC_MESSAGES/certbotless.po").read_text().replace('"\n"', "")
    parts = {part.strip() for chinese, _ in pairs for part in chinese.split("…")}
    assert [part for part in sorted(parts) if part not in catalogue] == []


@pytest.mark.process
def test_a_machine_that_has_fetched_a_certificate_tries_a_reload_again_that_failed(tmp_path: Path) -> None:
    """By the script of the page, with rsync and systemctl in their places."""
    source, at, made = tmp_path / "source", tmp_path / "fetched", trustme.CA().issue_cert("git.example.com")
    for folder in (source, at):
        folder.mkdir()
    (source / "fullchain.pem").write_bytes(made.cert_chain_pems[0].bytes())
    (source / "privkey.pem").write_bytes(made.private_key_pem.bytes())
    reloads, broken = tmp_path / "reloads", tmp_path / "broken"
    broken.touch()
    instead = {
        "rsync": f'for last; do :; done; cp {source}/* "$last"',
        "systemctl": f"echo >>{reloads}; ! [ -e {broken} ]",
    }
    for name, text in instead.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    script = block("docs/machines.md", "fetch").text.replace("/var/lib/fetch-certificate", str(at))

    def fetch() -> tuple[int, int]:
        done = subprocess.run(
            ["sh", "-c", script],
            env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
            capture_output=True,
            check=False,
        )
        return done.returncode, len(reloads.read_text())

    assert fetch() == (1, 1)
    broken.unlink()
    assert [fetch(), fetch()] == [(0, 2), (0, 2)]
    assert (at / "current/privkey.pem").read_bytes() == made.private_key_pem.bytes()
