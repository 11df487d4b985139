"""People are spoken to in their language: by the file, or by the environment."""

import re
from pathlib import Path

import pytest
from support.configs import text_of

from certbotless.base import words
from certbotless.config import load
from tools.docs.words import catalogues, texts

ROOT = Path(__file__).parents[2]
TEXT = "certificate renewed"
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
