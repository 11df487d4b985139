"""What an editor and a reader need of the configuration: its JSON Schema, and the table of its keys.

Both are made from the model in `config`, and only when they are asked for: no command loads this module.
``python -m certbotless.schema ROOT`` writes them where they belong in the source tree.

Source: JSON Schema draft 2020-12; the `yaml-language-server` reads it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from .config import Config
from .values import Action, AddressRule, short

SCHEMA = Path("config", "schema.json")
PAGE = Path("docs", "configuration.md")
BEGIN, END = "<!-- keys: begin (make docs) -->", "<!-- keys: end -->"


class _Generator(GenerateJsonSchema):
    """Writes defaults as the file does, and gives keys no titles: those are the names of kinds of values."""

    def encode_default(self, dft: Any) -> Any:
        if isinstance(dft, timedelta):
            return short(dft)
        if isinstance(dft, Action | AddressRule):
            return dft.kind
        # A section's defaults stand at its keys.
        return None if isinstance(dft, BaseModel) else super().encode_default(dft)

    def default_schema(self, schema: Any) -> dict[str, Any]:
        found = super().default_schema(schema)
        if found.get("default", ...) is None:
            del found["default"]
        return found

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file.

    It is somewhat more lenient than `configfile.parse`, which also knows what values say against each other.
    """
    schema = Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": _Generator.schema_dialect, **schema, "title": "certbotless: config.yaml"}


def all_keys() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the path, the schema and whether it is needed of every key, as in ``sites[].deploy[].when``."""
    schema = json_schema()
    yield from _keys_of(schema, schema["$defs"], "")


def _keys_of(
    model: dict[str, Any], models: dict[str, Any], prefix: str
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, value in model["properties"].items():
        path = f"{prefix}{name}"
        is_list = "$ref" in value.get("items", {})
        reference = value["items"]["$ref"] if is_list else _not_null(value).get("$ref", "")
        inner = models.get(reference.rpartition("/")[2], {})
        yield path, {"description": inner.get("description"), **value}, name in model.get("required", ())
        if inner:
            yield from _keys_of(inner, models, f"{path}[]." if is_list else f"{path}.")


def _not_null(value: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(
        (kind for kind in value.get("anyOf", ()) if kind.get("type") != "null"), value
    )
    return found


def table() -> str:
    """Return the table of all keys, in Markdown."""
    rows = ["| Key | Type | Default | Meaning |", "|---|---|---|---|"]
    for path, value, is_needed in all_keys():
        cells = (f"`{path}`", _type(value), _default(value, is_needed), value["description"])
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _type(value: dict[str, Any]) -> str:
    kind = _not_null(value)
    if "enum" in kind or "const" in kind:
        return ", ".join(f"`{word}`" for word in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array" and "title" not in kind:
        return f"list of {_type(kind['items'])}" if "$ref" not in kind["items"] else "list of mappings"
    return str(kind.get("title", "mapping"))


def _default(value: dict[str, Any], is_needed: bool) -> str:
    if "default" not in value:
        return "**needed**" if is_needed else ""
    default = value["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def with_table(page: str) -> str:
    """Return the page with the table of now between its two marks."""
    before, rest = page.split(BEGIN + "\n")
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}{END}{after}"


def schema_text() -> str:
    """Return the JSON Schema as its file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def main(root: Path) -> None:
    """Write the schema, and the table into its page."""
    (root / SCHEMA).write_text(schema_text())
    (root / PAGE).write_text(with_table((root / PAGE).read_text()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
