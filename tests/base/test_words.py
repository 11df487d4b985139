"""People are spoken to in their language: by the file, or by the environment."""

import ast
import copy
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.configs import text_of
from support.languages import chinese

from certbotless.base import errors, words
from certbotless.config import load
from certbotless.world.acme import connection, issue
from certbotless.world.dns import alidns_errors
from tools.docs.words import catalogues, texts

ROOT = Path(__file__).parents[2]
TEXT = "certificate renewed"
PLAIN = "a.example.com: 3 days"
# The stand-ins, and the report of the probe, are for developers; `init` asks in English.
SILENT = ("sandbox", "probe.py", "init")
SOURCES = [path for path in ROOT.glob("certbotless/**/*.py") if not {*path.parts} & {*SILENT}]
CATALOGUES = sorted(words.CATALOGUES.glob("*/LC_MESSAGES/*.po"))


@pytest.mark.parametrize(
    ("language", "environment", "expected"),
    [
        ("auto", {"LANG": "zh_CN.UTF-8"}, "证书已续期"),
        ("auto", {"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, TEXT),
        ("auto", {"LANG": "C.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, "证书已续期"),
        ("auto", {"LANG": "de_DE.UTF-8"}, TEXT),
        ("auto", {}, TEXT),
        ("zh", {"LANG": "en_US.UTF-8"}, "证书已续期"),
        ("en", {"LANG": "zh_CN.UTF-8"}, TEXT),
    ],
)
def test_the_language_is_that_of_the_file_or_else_of_the_environment(
    language: words.Language, environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LC_ALL counts before LC_MESSAGES, and that before LANG; without a catalogue it is English."""
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    words.speak(language)
    assert words._(TEXT) == expected


def test_a_text_with_values_is_the_english_string_and_is_spoken_with_the_same_values() -> None:
    inner = words.Text("{} days", 3)
    text = words.Text("{}: {}", "a.example.com", inner)
    assert (text, json.dumps([text]), hash(text)) == (PLAIN, f'["{PLAIN}"]', hash(PLAIN))
    with chinese():
        assert words._(text) == copy.deepcopy(text).spoken == "a.example.com：3 天"
        assert f"{text}" == PLAIN
        # Values that are no texts of ours are never looked up.
        assert words._(words.Text("{}: {}", "now", "key")) == "now：key"


def test_a_text_that_was_kept_with_its_parts_is_spoken_by_another_process() -> None:
    text = words.Text("{}: {}", "a.example.com", words.Text("{} days", 3))
    parts = json.loads(json.dumps(words.parts_of(text)))
    with chinese():
        assert words._(words.of_parts(PLAIN, parts)) == "a.example.com：3 天"
    assert words.parts_of(PLAIN) is None


@pytest.mark.parametrize(
    "parts", [None, [], {}, 7, "{}", ["{}"], ["{}", 1], ["{x}", 1], ["{:d}", "x"], [[7]]]
)
def test_parts_that_do_not_make_the_text_are_dropped(parts: Any) -> None:
    """Those of an older version, or of a damaged file."""
    kept = words.of_parts(PLAIN, parts)
    assert kept == PLAIN
    assert words.parts_of(kept) is None


def test_each_catalogue_has_every_text_translated_with_the_same_places_for_values() -> None:
    from babel.messages.pofile import read_po

    wanted = {str(message.id) for message in texts(ROOT) if message.id}
    for path in CATALOGUES:
        with path.open("rb") as file:
            found = {str(message.id): str(message.string) for message in read_po(file) if message.id}
        assert found.keys() == wanted
        assert [text for text, translation in found.items() if not translation] == []
        for text, translation in found.items():
            assert sorted(re.findall(r"\{[^}]*\}", text)) == sorted(re.findall(r"\{[^}]*\}", translation))
    assert len(CATALOGUES) == 1


def calls_of(path: Path, names: Collection[str]) -> Iterator[ast.Call]:
    """Yield the calls of these functions or classes in a module."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in names:
            yield node


def test_every_text_that_is_marked_is_in_each_catalogue() -> None:
    """Also one within another, which the tool that collects them may not see."""
    marked = {
        call.args[0].value
        for path in SOURCES
        for call in calls_of(path, ("_", "N_", "Text"))
        if call.args and isinstance(call.args[0], ast.Constant)
    }
    assert len(marked) > 500
    assert marked - {""} <= {message.id for message in texts(ROOT)}


def test_every_error_is_a_text_that_can_be_spoken() -> None:
    """Its words and its hint: neither is English alone."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    classes = {kind.__name__ for kind in kinds if issubclass(kind, errors.CertbotlessError)}
    mute = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in SOURCES
        for call in calls_of(path, classes | {"ApiRefusal", "NameFault", "NoAnswer"})
        for words_ in (*call.args[:1], *(each.value for each in call.keywords if each.arg == "hint"))
        if isinstance(words_, ast.JoinedStr) or isinstance(getattr(words_, "value", None), str)
    ]
    assert mute == []


@pytest.mark.parametrize("hints", [alidns_errors.HINTS, connection.ACCOUNT_HINTS, issue.VALIDATION_HINTS])
def test_every_hint_of_a_table_is_spoken(hints: dict[str, str]) -> None:
    """Of the codes of the DNS API, and of the kinds of problems of a CA."""
    with chinese():
        assert [hint for hint in hints.values() if not re.search("[\u4e00-\u9fff]", words._(hint))] == []


def test_the_catalogues_are_those_of_the_code() -> None:
    """`make docs` writes them: what is compiled is what is read."""
    for path, content in catalogues(ROOT):
        assert path.read_bytes() == content, path


@pytest.mark.parametrize(("language", "expected"), [("zh", "证书已续期"), ("en", TEXT)])
def test_a_file_that_is_loaded_has_its_language_spoken(
    language: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the environment says."""
    monkeypatch.setenv("LC_MESSAGES", "zh_CN.UTF-8")
    path = tmp_path / "config.yaml"
    path.write_text(text_of(top=f"language: {language}"))
    assert load.load(path).language == language
    assert words._(TEXT) == expected
