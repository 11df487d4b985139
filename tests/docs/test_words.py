"""Words of this house that a user does not know, and the places where they must not be.

A place is a name and its text, without code. The rest of what a user reads is to be added to `PLACES`.
"""

import re

import pytest
from support.pages import PAGES, ROOT, TRANSLATED, name_of, prose

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
    r"stands?|stood": "is, has, means",
    r"told|tells": "says, shows, reports, warns",
    r"looks|(?:a|an|any|each|every|last|next|one|the) look": "check",
    r"well": "ok, valid, running",
    r"anew": "again, new",
    r"amiss": "wrong, a problem",
    r"pairs?": "certificate and key",
    r"leaf|leafs": "certificate",
    r"twins?": "staging server, copy",
    r"facts": "state",
    r"he|him|his|whom|whoever": "it, the process, the user, everyone who",
}
BANNED_IN_CHINESE = {
    "事实": "状态",
    "提供的证书": "实际使用的证书",
    "单元": "systemd 服务",
}


def without_code(text: str) -> str:
    """Return a text without inline code and the targets of links."""
    return re.sub(r"`[^`\n]*`|\]\([^)]*\)", "", text)


def comments(name: str) -> str:
    """Return the comments of a file that a user edits."""
    return "\n".join(re.findall(r"(?:^|\s)# (.*)", (ROOT / name).read_text()))


USER_PAGES = [name for name in map(name_of, PAGES) if name not in DEVELOPERS | HISTORY]
PLACES = {name: without_code(prose(name)) for name in USER_PAGES}
PLACES |= {
    name: comments(name)
    for name in (
        "config/certbotless.example.yaml",
        *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("systemd/*"))),
        *(path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob("docker/*")) if path.is_file()),
    )
}


def found(text: str, banned: dict[str, str]) -> list[str]:
    """Return each banned word of a text with what to write instead."""
    return [
        f"{hit[0]!r}: write {instead}"
        for words, instead in banned.items()
        for hit in re.finditer(words if not words.isascii() else rf"\b(?:{words})\b", text, re.IGNORECASE)
    ]


@pytest.mark.parametrize("place", PLACES)
def test_a_user_reads_plain_words(place: str) -> None:
    assert found(PLACES[place], BANNED | (BANNED_IN_CHINESE if place in TRANSLATED else {})) == []


@pytest.mark.parametrize("word", ["It stands there.", "At the next look", "Who is told", "anew", "the pair"])
def test_a_banned_word_is_found(word: str) -> None:
    assert len(found(word, BANNED)) == 1
