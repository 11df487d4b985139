"""What people type by mistake in place of YAML, found where it is typed.

A parser tells where it could not go on, often some lines later, and in words of its grammar. This reads the
text line by line, where it is neither quoted nor a comment. Only a file with faults is read so.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

from ..base.checked import Model, fields_of
from ..base.errors import printable
from ..base.words import N_, Text
from .settings import Acme, Aliyun, Config, Dns, Docker, Eab, Http, LocalCaSettings, Site
from .targets import SecretFiles, Target

# Line and column, from 1, and what is wrong there.
Slip = tuple[int, int, str]

_MODELS: tuple[type[Model], ...] = (
    Config,
    Acme,
    Eab,
    Aliyun,
    Dns,
    Docker,
    Http,
    LocalCaSettings,
    Site,
    Target,
    SecretFiles,
)
_KEYS = "|".join(sorted({key for model in _MODELS for key in fields_of(model)}, key=len, reverse=True))
# Of a longer line only the beginning is read: the time must not grow with its square.
_MOST_CHARACTERS = 500
_ENTRY = r"^\s*(?:-\s+)*"
# Where a key, a value or an entry may begin.
_START = rf"(?:^|[\[{{,]|{_ENTRY}-|:)\s*"

_BLANK = "[\u00a0\u3000\u2000-\u200b\u202f]"
_BLANK_WORDS = N_("this blank is not an ordinary space ({0}): type a space")

# A pattern of a line and what it means. The fault is at the group of the pattern, which is {0}.
_PATTERNS = (
    (r"^ *(\t)", N_("this line is indented with a tab: use two spaces for each level")),
    (r"^([<=>|]{7})(?: |$)", N_("a merge has left its mark here: keep one of the two versions")),
    (rf"^ *(?:- +)*({_BLANK})", _BLANK_WORDS),
    (rf"[:\-\uff1a]\s*({_BLANK})", _BLANK_WORDS),
    (
        rf"(?:{_ENTRY}|[{{,]\s*)[A-Za-z_]\w*\s*([\uff1a\ufe55])",
        N_("{0} is a full-width colon: type ': ', a colon and a space"),
    ),
    (
        rf"{_START}([\u201c\u201d\u201e\u2018\u2019\u300c\u300d\u300e\u300f\uff02\uff07])",
        N_('{0} is not a quote of YAML: use " or no quotes'),
    ),
    (
        r"^\s*([\u2010-\u2015\uff0d\u2022\u00b7\u2212])\s*\w",
        N_("{0} does not begin an entry of a list: type '- ', a hyphen and a space"),
    ),
    (r"(?:^|\s)(\uff03)", N_("{0} does not begin a comment: type #")),
    (r":\s+([\u3010\uff3b\uff5b])", N_("{0} does not begin a list: type [")),
    (r"\[[^\]]*([\uff0c\u3001])", N_("{0} is a full-width comma: type ','")),
    (rf"(?:{_ENTRY}|[{{,]\s*)(?:{_KEYS}):([^\s,}}\]/])", N_("a space is missing after the colon")),
    (rf"^\s*-((?:{_KEYS}):)(?:\s|$)", N_("a space is missing after the hyphen")),
    (rf"{_ENTRY}(?:{_KEYS})\s*(=)", N_("write ': ' in place of '='")),
    (rf"{_START}(\*\.)", N_('put a name that begins with * in quotes: "*.example.com"')),
    (rf"{_START}(\{{\{{|\{{%)", N_("this is a template: fill it in")),
    (rf"{_START}([@`%])", N_("put text that begins with {0} in quotes")),
)
_QUOTED = re.compile(r"""(?:(?<=[\s\[{,:-])|^)("(?:[^"\\]|\\.)*"|'(?:[^']|'')*')""")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*")
_BLOCK_TEXT = re.compile(r"[:-]\s+[|>][+-]?\d?\s*$")
_KEY = re.compile(r"""([A-Za-z_]\w*|\$\$+):(?:\s|$)""")

# How an error of libyaml begins, and what it means. The place to change is where the thing begins that has no
# end (True), or where the parser could not go on.
_MEANINGS = (
    (
        "while parsing a quoted scalar: found unknown",
        False,
        N_(r"\ in double quotes begins an escape: use single quotes"),
    ),
    ("while scanning a quoted scalar", True, N_("this quote is never closed")),
    (
        "while parsing a flow sequence",
        True,
        N_("this list is never closed, or a comma is missing between its entries"),
    ),
    (
        "while parsing a flow mapping",
        True,
        N_("this mapping is never closed, or a comma is missing between its keys"),
    ),
    (
        "while scanning a simple key",
        True,
        N_("this is neither 'key: value' nor an entry of a list, '- value'"),
    ),
    (
        "mapping values are not allowed",
        False,
        N_("put text with ': ' in it in quotes; or check the blanks that begin this line"),
    ),
    (
        "while parsing a block",
        False,
        N_("this line does not fit those above: check the blanks that begin it"),
    ),
)


def explained(text: str, exc: Any) -> list[Slip]:
    """Return what to change where the parser could not go on: `exc` is a `MarkedYAMLError`."""
    mark = exc.problem_mark or exc.context_mark
    line = mark.line + 1 if mark else 1
    before = [slip for slip in find(text) or islice(_indentation(text), 1) if slip[0] <= line]
    return before or [_meaning(exc)]


def _meaning(exc: Any) -> Slip:
    said = ": ".join(part for part in (exc.context, exc.problem) if part)
    words, is_at_context = next(
        ((Text(words), is_at_context) for begin, is_at_context, words in _MEANINGS if said.startswith(begin)),
        (Text("not YAML: {}", printable(said)), False),
    )
    mark = exc.context_mark if is_at_context else exc.problem_mark or exc.context_mark
    return (mark.line + 1, mark.column + 1, words) if mark else (1, 1, words)


def find(text: str) -> list[Slip]:
    """Return the slips of a file, at most one a line, in its order."""
    return list(_in_lines(text))


def _in_lines(text: str) -> Iterator[Slip]:
    for number, line in _plain_lines(text):
        found = [(match, words) for pattern, words in _PATTERNS if (match := re.search(pattern, line))]
        if found:
            match, words = min(found, key=lambda each: each[0].start(1))
            yield number, match.start(1) + 1, Text(words, _shown(match[1]))


def _shown(text: str) -> str:
    """Return a character as a person can see it."""
    return f"U+{ord(text):04X}" if text.isspace() or not text.isprintable() else repr(text)


def _plain_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line, blank where it is quoted, a comment or a block of text."""
    block: int | None = None
    for number, whole in enumerate(text.splitlines(), 1):
        line = whole[:_MOST_CHARACTERS]
        indent = len(line) - len(line.lstrip(" "))
        if block is not None and (not line.strip() or indent > block):
            continue
        plain = _COMMENT.sub("", _QUOTED.sub(lambda match: "$" * len(match[1]), line))
        block = indent if _BLOCK_TEXT.search(plain) else None
        yield number, plain


def _indentation(text: str) -> Iterator[Slip]:
    """Yield the first key or entry of each line that begins at a column where nothing above has begun."""
    # The columns of what is open, each with the last key there, or the hyphen of an entry.
    opened: list[tuple[int, str]] = []
    may_nest, depth = True, 0
    for number, line in _plain_lines(text):
        was_within, depth = depth, depth + len(re.findall(r"[\[{]", line)) - len(re.findall(r"[\]}]", line))
        if not line.strip() or was_within:
            continue
        for column, name in _begun(line):
            above = min(reversed(opened), key=lambda each: abs(each[0] - column), default=(0, ""))
            if not _may_begin(opened, column, may_nest):
                form = N_("{!r} begins in column {}, {!r} above in {}")
                yield number, column + 1, Text(form, name, column + 1, above[1], above[0] + 1)
                break
            opened.append((column, name))
            may_nest = True
        may_nest = line.rstrip().endswith((":", "-"))


def _begun(line: str) -> Iterator[tuple[int, str]]:
    """Yield column and name of what begins in a line: hyphens of entries, and a key."""
    column = len(line) - len(line.lstrip(" "))
    while match := re.compile(r"-(?: +|$)").match(line, column):
        yield column, "-"
        column = match.end()
    if match := _KEY.match(line, column):
        yield column, match[1]


def _may_begin(opened: list[tuple[int, str]], column: int, may_nest: bool) -> bool:
    """Close what is indented more, and return whether something may begin at this column."""
    deepest = opened[-1][0] if opened else -1
    while opened and opened[-1][0] > column:
        opened.pop()
    if opened and opened[-1][0] == column:
        opened.pop()
        return True
    return may_nest and column > deepest
