"""Words of this house that a user does not know, and the places where they must not be.

A place is a name and its text, without code: pages, what the program says, what a user installs or edits.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import PAGES, ROOT, TRANSLATED, name_of, prose

from certbotless.base import words

# Pages for developers: docs/glossary.md explains the words of the code.
DEVELOPERS = {
    "CONTRIBUTING.md",
    "docs/architecture.md",
    "docs/dependencies.md",
    "docs/faults.md",
    "docs/glossary.md",
    "docs/releasing.md",
    "docs/testing.md",
}
# The changelog keeps what earlier entries said.
HISTORY = {"CHANGELOG.md"}

# What is banned -> what to write instead.
BANNED = {
    r"stands?(?!-in)|stood": "is, has, means",
    r"told|tells?": "says, shows, reports, warns",
    r"looks|looked|look (?:whether|who)|(?:a|an|any|each|every|last|next|one|the) look": "check",
    r"well": "ok, valid, running",
    r"anew": "again, new",
    r"amiss": "wrong, a problem",
    r"pairs?": "certificate and key",
    r"leaf|leafs": "certificate",
    r"twins?": "staging server, copy",
    r"facts": "state",
    r"he|him|his|whom|whoever": "it, the process, the user, everyone who",
    r"who (?:answers|else|listens|serves|wrote)": "which server, program or container",
    r"(?:any|no|some)body": "every user, no one, another user",
    r"(?<!there )(?:is|are|was) no(?! longer)": "is not a",
    r"alone": "only, by itself",
    r"ours": "of certbotless",
    r"rehears\w+": "dry run",
    r"makes? no sense": "is damaged, is not valid",
    r"at work": "is running, is using it",
    r"in (?:the|its) place of|in its place": "instead of",
    r"all the same": "anyway",
    r"in vain": "without success",
    r"under way": "is running",
    r"put right|mend(?:s|ed)?": "repair",
    r"lies?": "is",
}
BANNED_IN_CHINESE = {
    "事实": "状态",
    "提供的证书": "实际使用的证书",
    "单元": "systemd 服务",
}
# Texts with a banned word that are right where they are, and why.
ALLOWED = {
    "certbotless/sandbox/gateway.py": {"is not well formatted": "an error of the Aliyun API, word for word"},
}


def without_code(text: str) -> str:
    """Return a text without inline code and the targets of links."""
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)


def said_by_program(path: Path) -> Iterator[str]:
    """Yield every sentence in the code of a module: its strings with a blank, but for docstrings."""
    tree = ast.parse(path.read_text())
    silent = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            silent |= {id(part) for part in node.values}
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in silent:
            yield node.value


def said_by_file(path: Path) -> Iterator[str]:
    """Yield the comments of a file, its quoted sentences, and the descriptions of a unit or a package."""
    text = path.read_text()
    for pattern in (r"(?:^|\s)# ?(.*)", r"\"([^\"\n]*)\"", r"^Description[=:](.*)", r"^ (?! )(.*)"):
        yield from re.findall(pattern, text, re.MULTILINE)


def translations(path: Path) -> Iterator[str]:
    """Yield the translations of a catalogue; their originals are in the code."""
    from babel.messages.pofile import read_po

    with path.open("rb") as file:
        yield from (str(message.string) for message in read_po(file) if message.id)


def sentences(texts: Iterator[str]) -> str:
    """Return the texts that are more than a name, a line each."""
    return "\n".join(text for text in texts if " " in text.strip())


def files(*patterns: str) -> list[Path]:
    """Return the files of the source tree that match, sorted."""
    return sorted(path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file())


USER_PAGES = [name for name in map(name_of, PAGES) if name not in DEVELOPERS | HISTORY]
CATALOGUES = files("certbotless/locale/*/LC_MESSAGES/*.po")
PLACES = {name: without_code(prose(name)) for name in USER_PAGES}
# What `init` writes has comments, which are strings in the code.
PLACES |= {name_of(path): sentences(said_by_program(path)) for path in files("certbotless/**/*.py")}
PLACES |= {
    name_of(path): sentences(said_by_file(path))
    for path in files(
        "config/*.example.yaml", "docker/*", "docker/.env*", "packaging/**/*", "systemd/*", "Makefile"
    )
}
PLACES |= {
    name_of(path): without_code(path.read_text().replace(r"\-", "-"))
    for path in files("docs/*.1", "tools/docs/*.yaml", "config/schema.json")
}
PLACES |= {name_of(path): "\n".join(translations(path)) for path in CATALOGUES}


def found(text: str, banned: dict[str, str]) -> list[str]:
    """Return each banned word of a text, with some words around it, and what to write instead."""
    return [
        f"{hit[0]!r} in {text[max(0, hit.start() - 40) : hit.end() + 20]!r}: write {instead}"
        for words, instead in banned.items()
        for hit in re.finditer(words if not words.isascii() else rf"\b(?:{words})\b", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("place", PLACES)
def test_a_user_reads_plain_words(place: str) -> None:
    text = PLACES[place]
    for allowed in ALLOWED.get(place, {}):
        assert allowed in text
        text = text.replace(allowed, "")
    is_chinese = place in TRANSLATED or place.endswith((".po", ".zh-CN.yaml"))
    assert found(text, BANNED | (BANNED_IN_CHINESE if is_chinese else {})) == []


@pytest.mark.parametrize("word", ["It stands there.", "At the next look", "Who is told", "anew", "the pair"])
def test_a_banned_word_is_found(word: str) -> None:
    assert len(found(word, BANNED)) == 1


def test_what_the_program_says_is_read(tmp_path: Path) -> None:
    """Not the docstrings and comments, which are for developers."""
    module = tmp_path / "module.py"
    module.write_text(
        '"""One docstring."""\nname = "name"\nraise Error(f"it {x} at", hint="a hint")  # a comment\n'
    )
    assert sentences(said_by_program(module)) == "it … at\na hint"


def test_what_is_installed_is_read(tmp_path: Path) -> None:
    unit = tmp_path / "x.service"
    unit.write_text(
        '# A comment.\n[Unit]\nDescription=one unit\nExecStart=sh -c "echo nobody" "x"  # another one\n'
    )
    assert sentences(said_by_file(unit)).splitlines() == [
        "A comment.",
        "another one",
        "echo nobody",
        "one unit",
    ]


def test_the_catalogues_are_read() -> None:
    assert [path for path in CATALOGUES if path.is_relative_to(words.CATALOGUES)] == CATALOGUES != []
