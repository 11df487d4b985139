"""What an editor and a reader need of the configuration: its JSON Schema, and the table of its keys.

Both are made from the model in `config`, and from what keys.yaml says of each key. pydantic itself is needed
here alone.

Source: JSON Schema draft 2020-12; the `yaml-language-server` reads it.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from pydantic.json_schema import GenerateJsonSchema

from certbotless.base.checked import Model, schema_of
from certbotless.config.addresses import AddressRule
from certbotless.config.settings import (
    NEED_EAB,
    Acme,
    Aliyun,
    Config,
    Dns,
    Docker,
    Eab,
    Http,
    LocalCaSettings,
    Site,
)
from certbotless.config.targets import KINDS, SecretFiles, Target
from certbotless.config.values import Reload, short

# By the path of a key: what it does, and examples. Of a section that is always there its model says it.
KEYS: dict[str, dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("keys.yaml").read_text())
# The words of the table in Chinese.
CHINESE: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("keys.zh-CN.yaml").read_text())
_SECTIONS: dict[type[Model], str] = {
    Config: "",
    Acme: "acme.",
    Eab: "acme.eab.",
    Aliyun: "aliyun.",
    Dns: "dns.",
    Docker: "docker.",
    Http: "http.",
    LocalCaSettings: "local_ca.",
    Site: "sites[].",
    Target: "sites[].deploy[].",
    SecretFiles: "sites[].deploy[].secrets.",
}
_NONE = {"type": "null"}
_NO_OTHER = {"timeout": False, "secrets": False, "service": _NONE}
_IS_LIST = {"type": "array"}
# What keys say against each other, as far as JSON Schema can tell it.
_RULES: dict[type[Model], dict[str, Any]] = {
    Config: {
        "if": {"properties": {"sites": {"contains": {"not": {"required": ["ca"]}}}}},
        "then": {"required": ["aliyun"]},
    },
    Aliyun: {
        "if": {"required": ["credentials"]},
        "then": {
            "properties": dict.fromkeys(("access_key_id", "access_key_secret", "security_token"), False)
        },
        "else": {"required": ["access_key_id", "access_key_secret"]},
        "dependentRequired": {"external_id": ["role"]},
    },
    Acme: {
        "if": {"properties": {"directory": {"enum": list(NEED_EAB)}}, "required": ["directory"]},
        "then": {"properties": {"eab": {"type": "object"}}, "required": ["eab"]},
    },
    Target: {
        "oneOf": [
            {"required": ["container"], "properties": {"container": {"type": "string"}, **_NO_OTHER}},
            {"required": ["label"], "properties": {"label": {"type": "string"}, **_NO_OTHER}},
            {
                "required": ["command", "port"],
                "properties": {
                    "command": {"type": "array"},
                    "port": {"type": ["integer", "string"]},
                    **dict.fromkeys(("action", "secrets"), False),
                    "service": _NONE,
                },
            },
            {
                "required": ["port"],
                "properties": {
                    **dict.fromkeys(KINDS, _NONE),
                    "port": {"type": ["integer", "string"], "not": {"const": "none"}},
                    "action": {"const": "none"},
                    **dict.fromkeys(("when", "stop_timeout", "timeout", "secrets"), False),
                },
            },
            {
                "required": ["service", "port"],
                "properties": {
                    **dict.fromkeys(KINDS, _NONE),
                    "service": {"type": "string"},
                    "port": {"type": "integer"},
                    **dict.fromkeys(("action", "stop_timeout", "timeout"), False),
                },
            },
        ]
    },
}


class _Generator(GenerateJsonSchema):
    """Adds what a reader needs: of each form its name, of each key what it does, its default and examples."""

    def typed_dict_schema(self, schema: Any) -> dict[str, Any]:
        found = super().typed_dict_schema(schema)
        model = schema.get("metadata", {}).get("model")
        if model is None:
            return found
        for each in fields(model):
            if each.init:
                value, words = (
                    found["properties"][each.name],
                    {**KEYS.get(f"{_SECTIONS[model]}{each.name}", {})},
                )
                form: dict[str, Any] = {
                    name: words.pop(name) for name in ("title", "pattern") if name in words
                }
                _not_null(value.get("items", value)).update(form)
                value |= _shown_of(each, words)
        return {"description": inspect.getdoc(model), **found, **_RULES.get(model, {})}

    def function_wrap_schema(self, schema: Any) -> dict[str, Any]:
        one = super().function_wrap_schema(schema)
        several = schema.get("metadata", {}).get("several")
        if several is None:
            return one
        return {"if": _IS_LIST, "then": self.generate_inner(several), "else": one}

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def _shown_of(key: Field[Any], words: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of a key beside its form; its default as the file has it."""
    default = words.get("default", key.default)
    match default:
        case timedelta():
            default = short(default)
        case Reload() | AddressRule():
            default = default.kind
        case Path():
            default = str(default)
        case Model() | None | (Model(), *_):  # a section's defaults stand at its keys
            default = MISSING
    return words if default is MISSING else {**words, "default": default}


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file.

    It is somewhat more lenient than `configfile.parse`, which also knows what values say against each other.
    """
    schema = _Generator().generate(schema_of(Config))
    return {"$schema": _Generator.schema_dialect, **schema, "title": "certbotless: config.yaml"}


def all_keys() -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yield the path, the schema and whether it is needed of every key, as in ``sites[].deploy[].when``."""
    yield from _keys_of(json_schema(), "")


def _keys_of(section: dict[str, Any], prefix: str) -> Iterator[tuple[str, dict[str, Any], bool]]:
    for name, value in section["properties"].items():
        path = f"{prefix}{name}"
        alone = value["else"] if value.get("if") == _IS_LIST else value
        inner = _not_null(alone.get("items", alone))
        yield path, value, name in section.get("required", ())
        # One with a name is a value as a whole.
        if "properties" in inner and "title" not in inner:
            yield from _keys_of(inner, f"{path}[]." if "items" in value else f"{path}.")


def _not_null(value: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a value beside null, where that is one."""
    kinds: list[dict[str, Any]] = [kind for kind in value.get("anyOf", ()) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else value


def table() -> str:
    """Return the table of all keys, in Markdown."""
    return _table(
        ["Key", "Type", "Default", "Meaning"],
        [
            (path, _type(value), _default(value, is_needed, "needed"), value["description"])
            for path, value, is_needed in all_keys()
        ],
    )


def table_in_chinese() -> str:
    """Return the same table in Chinese.

    Raises:
        KeyError: a key or a type has no words there.
    """
    rows = []
    for path, value, is_needed in all_keys():
        kind = _type(value)
        kind = kind if kind.startswith("`") else CHINESE["types"][kind]
        rows.append((path, kind, _default(value, is_needed, CHINESE["needed"]), CHINESE["keys"][path]))
    return _table(CHINESE["header"], rows)


def _table(header: list[str], rows: list[tuple[str, str, str, str]]) -> str:
    lines = [header, ["---"] * len(header), *([f"`{path}`", *cells] for path, *cells in rows)]
    texts = [" | ".join(cell.replace("|", "\\|") for cell in cells) for cells in lines]
    return "".join(f"| {text} |\n" for text in texts).replace(
        "| --- | --- | --- | --- |", "|---|---|---|---|"
    )


def _type(value: dict[str, Any]) -> str:
    kind = _not_null(value)
    if "enum" in kind or "const" in kind:
        return ", ".join(f"`{word}`" for word in kind.get("enum", [kind.get("const")]))
    if kind.get("type") == "array" and "title" not in kind:
        return f"list of {_type(kind['items'])}" if "title" in kind["items"] else "list of mappings"
    return str(kind.get("title", "mapping"))


def _default(value: dict[str, Any], is_needed: bool, needed: str) -> str:
    if "default" not in value:
        return f"**{needed}**" if is_needed else ""
    default = value["default"]
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


def schema_text() -> str:
    """Return the JSON Schema as its file holds it."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
