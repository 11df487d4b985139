"""The pages as the tests read them: their commands and examples, links and headings.

A fenced block says by its language what it is. What a reader types or starts has a comment before it, which
says who tries it:

    <!-- run: NAME -->    the test with the mark ``page("docs/x.md", "NAME")``
    <!-- not tried: WHY -->, <!-- needs a real account: WHY -->    nobody here

A test with that mark takes the blocks from the fixture `paper`, which fails it if one was left unread.
"""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any, cast

import yaml

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CHINESE = ".zh-CN.md"
# A page that is a translation, and the page whose commands it has.
TRANSLATED = {
    page: f"{page.removesuffix(CHINESE)}.md"
    for page in (path.relative_to(ROOT).as_posix() for path in PAGES)
    if page.endswith(CHINESE)
}
# What is tried for what it is, wherever it stands; everything else has a comment.
CHECKED_BY_KIND = {"yaml", "ini", "json"}
OUTPUT = "text"

_FENCE = re.compile(r"^(```+)(\w*)\n(.*?)^\1\n", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"<!-- (run|not tried|needs a real account): ([^\n]+?) -->\n\Z")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page; `run` is its name, for the test that runs it, and `untried` why none can."""

    page: str
    line: int
    language: str
    text: str
    run: str = ""
    untried: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands of a block of a shell, each on one line, without what is said of them."""
        lines = re.sub(r"\\\n *", "", self.text).splitlines()
        bare = (re.sub(r"(^|\s+)#.*", "", line).strip() for line in lines)
        return [line for line in bare if line]


def name_of(path: Path) -> str:
    """Return how a page is called here: ``docs/x.md``."""
    return path.relative_to(ROOT).as_posix()


def blocks(page: str) -> Iterator[Block]:
    """Yield every fenced block of a page."""
    text = (ROOT / page).read_text()
    for found in _FENCE.finditer(text):
        said = _COMMENT.search(text, 0, found.start())
        kind, words = said.groups() if said else ("", "")
        yield Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found[2],
            found[3],
            run=words if kind == "run" else "",
            untried=words if kind != "run" else "",
        )


def block(page: str, name: str) -> Block:
    """Return the one block of a page with this name."""
    (found,) = (each for each in blocks(page) if each.run == name)
    return found


def yaml_after(page: str, name: str, instead: Mapping[str, str]) -> dict[str, Any]:
    """Return the configuration that comes next after a block, with other words in place of some.

    An empty name is the first block without one.
    """
    following = dropwhile(lambda each: each.run != name, blocks(page))
    text = next(each.text for each in following if each.language == "yaml")
    return cast(dict[str, Any], yaml.safe_load(exchanged(text, instead)))


def exchanged(text: str, instead: Mapping[str, str]) -> str:
    """Return a text with other words in place of some, each of which it must have."""
    for word, other in instead.items():
        assert word in text, f"{word!r} is not in: {text}"
        text = text.replace(word, other)
    return text


def prose(page: str) -> str:
    """Return the text of a page without its fenced blocks."""
    return _FENCE.sub("", (ROOT / page).read_text())


def links(page: str) -> list[str]:
    """Return where the links and pictures of a page lead, but for those to other sites."""
    words = re.sub(r"`[^`\n]*`", "", prose(page))
    return [to for to in _LINK.findall(words) if not re.match(r"[a-z]+:", to)]


def anchors(page: str) -> set[str]:
    """Return what may stand behind ``#`` in a link to a page, as GitHub makes it of the headings."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def promised() -> set[tuple[str, str]]:
    """Return the page and name of each block that a mark in the tests says will be run."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for page, *names in _marks(node):
                    found |= {(page, name) for name in names}
    return found


def _marks(function: ast.FunctionDef) -> Iterator[list[str]]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.page":
            yield [ast.literal_eval(argument) for argument in mark.args]


class Reading:
    """The blocks that one test has promised to run.

    Args:
        marks: of each mark the page, and the names of its blocks.
    """

    def __init__(self, marks: Iterable[tuple[str, ...]]) -> None:
        self._unread = {(page, name) for page, *names in marks for name in names}

    def text(self, page: str, name: str) -> str:
        """Return the text of a block."""
        return self._read(page, name).text

    def commands(self, page: str, name: str) -> list[str]:
        """Return the commands of a block."""
        return self._read(page, name).commands

    def assert_all_read(self) -> None:
        """Every block was read."""
        assert self._unread == set(), "promised by the mark, and not run"

    def _read(self, page: str, name: str) -> Block:
        self._unread.remove((page, name))
        return block(page, name)
