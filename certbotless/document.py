"""A YAML file as plain values that remember where they stand.

Only the YAML that every reader agrees on: ``true``/``false``, decimal whole numbers, text, lists, mappings.
YAML 1.1's surprises (``no`` is false, ``010`` is 8, ``1:30`` is 90) stay text. Aliases, tags, duplicate keys,
deep nesting and large files are faults, so nothing can grow beyond the size of the file.

Source: YAML 1.2.2 section 10.3 (core schema).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from .errors import ConfigError, printable

# 1,000 full sites are 207 KiB.
MAX_BYTES = 1 << 20
# The deepest path of the configuration, sites[].deploy[].action.exec[], is 8 levels.
MAX_DEPTH = 20

Path = tuple[str | int, ...]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INT = re.compile(r"-?(?:0|[1-9][0-9]*)")
_CONSTANTS = {"true": True, "false": False, "null": None, "~": None, "": None}


class Document:
    """A parsed file: `data` is the plain tree; `locate` says where a path of it stands.

    Raises:
        ConfigError: the text is not YAML within the limits, or a mapping repeats a key.
    """

    def __init__(self, raw: bytes, name: str) -> None:
        self.name = name
        self._faults: list[str] = []
        if len(raw) > MAX_BYTES:
            raise ConfigError([f"{name}:1:1: the file is larger than {MAX_BYTES} bytes"])
        try:
            text = raw.decode("utf-8-sig")
            self._check_limits(text)
            self._root: yaml.Node | None = yaml.compose(text, Loader=_LOADER)
        except UnicodeDecodeError as exc:
            line = raw.count(b"\n", 0, exc.start) + 1
            raise ConfigError([f"{name}:{line}:1: not UTF-8 text"]) from exc
        except yaml.MarkedYAMLError as exc:
            mark = exc.problem_mark or exc.context_mark
            where = f"{mark.line + 1}:{mark.column + 1}" if mark else "1:1"
            raise ConfigError([f"{name}:{where}: not YAML: {printable(exc.problem or exc.context)}"]) from exc
        except yaml.YAMLError as exc:
            raise ConfigError([f"{name}:1:1: not YAML: {printable(exc)}"]) from exc
        self.data: Any = None if self._root is None else self._plain(self._root, ())
        if self._faults:
            raise ConfigError(self._faults)

    def fault(self, path: Path, text: str, *, at_key: bool = False) -> str:
        """Return ``FILE:LINE:COL: path: text`` for the value at `path`, or for its key."""
        line, column = self.locate(path, at_key=at_key)
        return f"{self.name}:{line}:{column}: {dotted(path)}: {text}"

    def locate(self, path: Path, *, at_key: bool = False) -> tuple[int, int]:
        """Return line and column (from 1) of the value at `path`, or of the nearest thing around it."""
        node = self._root
        found = node.start_mark if node is not None else None
        for i, step in enumerate(path):
            is_last = i == len(path) - 1
            if isinstance(node, yaml.MappingNode):
                pair = next((p for p in node.value if p[0].value == step), None)
                if pair is None:
                    break
                node = pair[1]
                found = pair[0].start_mark if at_key and is_last else node.start_mark
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                found = node.start_mark
            # Anything else is a step that only the model knows, such as the branch of a union.
        return (found.line + 1, found.column + 1) if found is not None else (1, 1)

    def _check_limits(self, text: str) -> None:
        """Look at the flat stream of events, before anything recursive touches the text."""
        depth = 0
        for event in yaml.parse(text, Loader=_LOADER):
            mark: Any = event.start_mark
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            if depth > MAX_DEPTH or isinstance(event, yaml.AliasEvent):
                what = "nested too deeply" if depth > MAX_DEPTH else "YAML aliases are not supported"
                raise ConfigError([f"{self.name}:{mark.line + 1}:{mark.column + 1}: {what}"])

    def _plain(self, node: Any, path: Path) -> Any:
        if isinstance(node, yaml.SequenceNode):
            return [self._plain(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if not node.tag.startswith("tag:yaml.org,2002:"):
            self._complain(node, path, f"the tag {printable(node.tag, 60)} is not supported")
            return None
        is_quoted = node.style not in (None, "")
        return node.value if is_quoted else _scalar(node.value)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        first_line: dict[str, int] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._complain(key_node, path, "a key must be plain text")
                continue
            key = str(key_node.value)
            if key in result:
                text = f"duplicate key {printable(key, 60)!r}, first given in line {first_line[key]}"
                self._complain(key_node, (*path, key), text)
            first_line.setdefault(key, key_node.start_mark.line + 1)
            result[key] = self._plain(value_node, (*path, key))
        return result

    def _complain(self, node: yaml.Node, path: Path, text: str) -> None:
        mark = node.start_mark
        self._faults.append(f"{self.name}:{mark.line + 1}:{mark.column + 1}: {dotted(path)}: {text}")


def dotted(path: Sequence[str | int]) -> str:
    """Return a path as a person writes it: ``sites[0].ttl``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step, 60)}" for step in path)
    return text.removeprefix(".") or "the file"


def _scalar(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return int(text) if _INT.fullmatch(text) and len(text) < 20 else text
