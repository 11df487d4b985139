"""A YAML file as plain values, with the line and column of each.

Only the YAML that all readers agree on: ``true``/``false``, decimal whole numbers, text, lists, mappings.
YAML 1.1's surprises (``no`` is false, ``010`` is 8, ``1:30`` is 90) stay text. Anchors, tags, duplicate keys,
deep nesting and large files are faults, so nothing can grow beyond the size of the file.

Source: YAML 1.2.2 section 10.3 (core schema).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from typing import Any

import yaml

from ..base.errors import ConfigError, printable
from ..base.words import N_, Text

# 1,000 full sites are 207 KiB.
MAX_BYTES = 1 << 20
# The deepest path of the configuration, sites[].deploy[].action.exec[], is 8 levels.
MAX_DEPTH = 20
# No value is broken into lines.
_MOST_WIDTH = 1 << 20

SAVE_AS = Text("save it as UTF-8 (Windows Notepad: Save as, Encoding UTF-8; 另存为, 编码 UTF-8)")

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


# Line and column, from 1, then ``path: text``; they sort in the order of the file.
Fault = tuple[int, int, str]


class Document:
    """A parsed file: `data` is its plain tree, `locate` gives the place of a path in it.

    Attributes:
        faults: what is wrong though the rest can be read, such as a repeated key; `data` has its first value.

    Raises:
        ConfigError: the text is not YAML within the limits.
    """

    def __init__(self, raw: bytes, name: str) -> None:
        self._name = name
        self._marks: dict[Path, tuple[yaml.Mark, yaml.Mark]] = {}
        self.faults: list[Fault] = []
        # What a configuration must not have, though YAML knows it: then nothing else is reported.
        self._refused: list[Fault] = []
        self._text = self._decode(raw)
        self.data: Any = self._read(self._text)
        if self._refused:
            raise self.error(self._refused)

    def fault(self, path: Path, text: str, *, at_key: bool = False) -> Fault:
        """Return a fault of the value at `path`, or of its key."""
        return (*self.locate(path, at_key=at_key), Text("{}: {}", dotted(path), text))

    def error(self, faults: Iterable[Fault]) -> ConfigError:
        """Return the error that reports these faults, each as ``FILE:LINE:COL: path: text``.

        A slip of the hand comes in place of what a parser makes of its line.
        """
        from . import slips  # noqa: PLC0415  (time and memory that only a mistake needs)

        found = {slip[0]: _of_file(slip) for slip in slips.find(self._text)}
        return self._error([*found.values(), *(fault for fault in faults if fault[0] not in found)])

    def _error(self, faults: Iterable[Fault]) -> ConfigError:
        placed = ((line, column, text) for line, column, text in sorted(faults))
        return ConfigError([Text("{}:{}:{}: {}", self._name, *fault) for fault in placed])

    def locate(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Return line and column (from 1) of the value at `path`, or of the nearest value around it."""
        for length in range(len(path), -1, -1):
            if (marks := self._marks.get(path[:length])) is not None:
                return _position(marks[0] if at_key and length == len(path) else marks[1])
        return 1, 1

    def _decode(self, raw: bytes) -> str:
        if len(raw) > MAX_BYTES:
            raise self._refusal((1, 1), Text("larger than {} bytes", MAX_BYTES))
        if raw[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in raw[:4]:
            raise self._refusal((1, 1), Text("UTF-16 text: {}", SAVE_AS))
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as exc:
            before = exc.object[: exc.start].decode()
            raise self._refusal(_end_of(before), Text("not UTF-8 text: {}", SAVE_AS)) from exc
        # A byte order mark may be at its start alone, where it was taken away.
        found = yaml.reader.Reader.NON_PRINTABLE.search(text)
        places = {text.find("\ufeff"), found.start() if found else -1} - {-1}
        if places:
            what = Text("not YAML: the character U+{:04X} is not allowed", ord(text[min(places)]))
            raise self._refusal(_end_of(text[: min(places)]), what)
        return text

    def _read(self, text: str) -> Any:
        try:
            events = yaml.parse(text, Loader=_LOADER)
            next(events)  # the beginning of the stream
            if isinstance(next(events), yaml.StreamEndEvent):
                return None
            data = self._plain(events, root := next(events), (), root.start_mark)
            next(events)  # the end of the document
            if not isinstance(rest := next(events), yaml.StreamEndEvent):
                what = Text("not YAML: a second document begins here")
                raise self._refusal(_position(rest.start_mark), what)
        except yaml.MarkedYAMLError as exc:
            from . import slips  # noqa: PLC0415  (as in `error`)

            raise self._error(map(_of_file, slips.explained(text, exc))) from exc
        return data

    def _refusal(self, where: tuple[int, int], text: str) -> ConfigError:
        return self._error([_of_file((*where, text))])

    def _plain(self, events: Iterator[Any], event: Any, path: Path, key: Any) -> Any:
        """Return the value that begins with `event`; its events are read to the last."""
        self._marks[path] = (key, event.start_mark)
        self._refuse_extras(event)
        if isinstance(event, yaml.ScalarEvent):
            return event.value if event.style else _scalar(event.value)
        if isinstance(event, yaml.AliasEvent):
            return None
        if len(path) == MAX_DEPTH:
            what = Text("nested more than {} levels deep", MAX_DEPTH)
            raise self._refusal(_position(event.start_mark), what)
        inner = takewhile(lambda each: not isinstance(each, yaml.CollectionEndEvent), events)
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(events, inner, path)
        return [self._plain(events, child, (*path, i), child.start_mark) for i, child in enumerate(inner)]

    def _mapping(self, events: Iterator[Any], keys: Iterator[Any], path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for event in keys:
            mark = event.start_mark
            if not isinstance(event, yaml.ScalarEvent):
                text = Text("a key must be plain text")
                self.faults.append((*_position(mark), Text("{}: {}", dotted(path), text)))
                self._skip(events, event, path)
                self._skip(events, next(events), path)
                continue
            self._refuse_extras(event)
            key = event.value
            here = (*path, key)
            if key in result:
                first, _ = self.locate(here, at_key=True)
                text = Text("duplicate key {!r}, first given in line {}", printable(key, 60), first)
                self.faults.append((*_position(mark), Text("{}: {}", dotted(here), text)))
                self._skip(events, next(events), path)
            else:
                result[key] = self._plain(events, next(events), here, mark)
        return result

    def _skip(self, events: Iterator[Any], event: Any, path: Path) -> None:
        """Read the events of the value that begins with `event`, and forget it."""
        faults = len(self.faults)
        self._plain(events, event, (*path, -1), event.start_mark)
        del self.faults[faults:]

    def _refuse_extras(self, event: Any) -> None:
        """Note an anchor, an alias or a tag."""
        # The text is not repeated: a secret that starts with & or ! looks like one.
        where = _position(event.start_mark)
        if event.anchor is not None:
            what = N_(
                "YAML anchors and aliases are not supported: put text that starts with & or * in quotes"
            )
            self._refused.append(_of_file((*where, Text(what))))
        if getattr(event, "tag", None) is not None:
            what = N_("YAML tags are not supported: put text that starts with ! in quotes")
            self._refused.append(_of_file((*where, Text(what))))


def _of_file(slip: Fault) -> Fault:
    line, column, text = slip
    return line, column, Text("{}: {}", dotted(()), text)


def text_of(data: object) -> str:
    """Return plain values as YAML, one key a line, in the order that they have."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=_MOST_WIDTH)
    return text


def _position(mark: Any) -> tuple[int, int]:
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def _end_of(text: str) -> tuple[int, int]:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as a person writes it: ``sites[0].ttl``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step, 60)}" for step in path)
    return text.removeprefix(".") or Text("the file")


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if _INT.fullmatch(text) and len(text) < 20 else text
