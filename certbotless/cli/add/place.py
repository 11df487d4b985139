"""Where a new site goes in the text of the file, and how it is written there. Pure.

The text is never written again as a whole: a dump would change quotes, comments and line ends. ruamel.yaml
says where the list of sites ends, and the new lines are inserted there, indented as those above them.

Its parser refuses a tab before a comment and some line ends, which the one that loads the file accepts. So
it is given the text with blanks for tabs, and `run` proves the result with the loader.

Source: ruamel.yaml's documentation, "Details"; YAML 1.2.2, sections 6.1 (indentation) and 8.2.1 (sequences).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from ...base.errors import ValueFault
from ...base.words import Text

# Text that YAML reads as text without quotes, unless it is one of its own words.
_PLAIN = re.compile(r"[A-Za-z/][A-Za-z0-9/.:@_-]*[A-Za-z0-9]|[0-9]+[smhd]")
_YAML_WORDS = {"true", "false", "null", "yes", "no", "on", "off"}
_ONE_MAPPING = Text("the whole file is one mapping in braces, without a site")
_BREAK = re.compile(r"\r\n|\r|\n")
_BLANK_LINE = re.compile(r"(?:\r\n|\r|\n)[ \t]*(?:\r\n|\r|\n)")


class NoPlaceError(ValueFault):
    """The layout of the file is none that can be edited; the text says why."""


@dataclass(frozen=True, slots=True)
class Style:
    """How the lines of a list are indented.

    Attributes:
        dash: the column of its hyphens.
        offset: from a hyphen to its entry.
        inner: from a key to the hyphens of the list below it.
    """

    dash: int = 2
    offset: int = 2
    inner: int = 2


def with_site(text: str, site: Mapping[str, Any]) -> str:
    """Return the text with one more site, after the others.

    Args:
        text: a configuration that can be loaded but for its sites, of which there may be none; no byte order
            mark.
        site: its keys and plain values, as the file shall have them.

    Raises:
        NoPlaceError: the layout is none that can be edited.
    """
    try:
        root = YAML().compose(text.replace("\t", " "))
    except YAMLError as exc:
        said = str(getattr(exc, "problem", "") or type(exc).__name__)
        raise NoPlaceError(Text("the editor cannot read its layout: {}", said)) from exc
    found = next(((key, value) for key, value in root.value if key.value == "sites"), None)
    if found is None:
        return _with_list(text, root, site)
    key, sites = found
    if sites.id == "sequence" and sites.flow_style and sites.value:
        # The quotes and brackets of JSON are YAML too, and the whole file may be JSON.
        end = sites.value[-1].end_mark.index
        inserted = f", {json.dumps(site, ensure_ascii=False)}"
        return f"{text[:end]}{inserted}{text[end:]}"
    if root.flow_style:
        raise NoPlaceError(_ONE_MAPPING)
    if sites.id == "sequence" and sites.value:
        return _after_entries(text, key, sites, site)
    return _first_entry(text, key, sites, site)


def lines_of(site: Mapping[str, Any], style: Style) -> list[str]:
    """Return the lines of a new entry of the list of sites, without line ends."""
    return [*_entry(site, style.dash, style)]


def _entry(values: Mapping[str, Any], dash: int, style: Style) -> Iterator[str]:
    start = " " * dash + "-".ljust(style.offset)
    for key, value in values.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{start}{key}:"
            for each in value:
                yield from _entry(each, dash + style.offset + style.inner, style)
        else:
            yield f"{start}{key}: {_written(value)}"
        start = " " * (dash + style.offset)


def _written(value: object) -> str:
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


# --- the places ---------------------------------------------------------------------------------------------


def _after_entries(text: str, key: Any, sites: Any, site: Mapping[str, Any]) -> str:
    entries = sites.value
    dash, offset = _indentation(text, sites, 2)
    style = Style(dash, offset, dash - key.start_mark.column)
    for entry in entries:
        if (inner := _inner_of(entry)) is not None:
            style = Style(dash, offset, inner)
    lines = lines_of(site, style)
    if len(entries) > 1 and _BLANK_LINE.search(text, _end_of(entries[-2]), entries[-1].start_mark.index):
        lines = ["", *lines]
    return _inserted(text, _end_of(sites), lines, key.start_mark.column)


def _first_entry(text: str, key: Any, sites: Any, site: Mapping[str, Any]) -> str:
    """Return the text with the first entry of a list that is written as `[]`, or that has no value."""
    end: int = key.end_mark.index
    if sites.id == "sequence" or sites.value:
        if key.end_mark.line != sites.end_mark.line:
            raise NoPlaceError(Text("the list of sites is empty, and not written as `sites: []`"))
        before, value = text[:end], text[end : sites.end_mark.index]
        text = before + value.partition(":")[0] + ":" + text[sites.end_mark.index :]
    column: int = key.start_mark.column
    return _inserted(text, end, lines_of(site, Style(column + 2)), column)


def _with_list(text: str, root: Any, site: Mapping[str, Any]) -> str:
    if root.flow_style:
        raise NoPlaceError(_ONE_MAPPING)
    column: int = root.start_mark.column
    lines = ["", f"{' ' * column}sites:", *lines_of(site, Style(column + 2))]
    return _inserted(text, _end_of(root), lines, column)


def _indentation(text: str, sequence: Any, otherwise: int) -> tuple[int, int]:
    """Return the column of the hyphens of a list, and how far behind them its last entry begins."""
    dash, mark = sequence.start_mark.column, sequence.value[-1].start_mark
    before = text[mark.index - mark.column : mark.index]
    is_behind = before[dash:].rstrip() == "-"
    return dash, mark.column - dash if is_behind else otherwise


def _inner_of(entry: Any) -> int | None:
    """Return how far a list below a key of this entry is indented; None if it has none."""
    if entry.id == "mapping" and not entry.flow_style:
        for key, value in entry.value:
            if value.id == "sequence" and not value.flow_style and value.value:
                return int(value.start_mark.column - key.start_mark.column)
    return None


def _end_of(node: Any) -> int:
    """Return the index in the text where a value ends: a block's own mark is behind the comments below it."""
    before = None
    while node.id != "scalar" and not node.flow_style and node.value:
        before, node = node.value[-1] if node.id == "mapping" else (None, node.value[-1])
    if node.id == "scalar" and node.style is None and not node.value:
        # The mark of an absent value is behind the comments too.
        if before is None:
            raise NoPlaceError(Text("its last entry is empty"))
        node = before
    return int(node.end_mark.index)


def _inserted(text: str, end: int, lines: list[str], column: int) -> str:
    """Return the text with these lines after what ends at `end`, and after the comments that belong to it.

    Those are the comments that are indented more than the key of the list, which is at `column`.
    """
    place = _next_line(text, end) if end == 0 or text[end - 1] not in "\r\n" else end
    ahead = place
    while ahead < len(text):
        following = _next_line(text, ahead)
        line = text[ahead:following]
        begun = line.lstrip(" ")
        if begun.startswith("#") and len(line) - len(begun) > column:
            place = following
        elif line.strip():
            break
        ahead = following
    above = text[:place]
    breaks = _BREAK.findall(above) or _BREAK.findall(text) or ["\n"]
    line_end = breaks[-1]
    if above and above[-1] not in "\r\n":
        above += line_end
    added = "".join(f"{line}{line_end}" for line in lines)
    return above + added + text[place:]


def _next_line(text: str, index: int) -> int:
    """Return where the line after the one with this index begins."""
    found = _BREAK.search(text, index)
    return found.end() if found else len(text)
