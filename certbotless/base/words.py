"""The language in which people are spoken to: English, or one that has a catalogue (GNU gettext).

A text is English in the code, and is looked up in the catalogue where it is shown. Log events, JSON, metrics,
names of states and all that is kept in files stay English. A text with values, as that of an error, is a
`Text`: it is the English string, and keeps what `_` needs to say it in another language.

Source: GNU gettext manual, sections 2.3 (which variables name the language) and 10.3 (PO files); gettext(3).
"""

from __future__ import annotations

import gettext
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

Language = Literal["auto", "en", "zh"]
DOMAIN = "certbotless"
CATALOGUES = Path(__file__).parent.parent / "locale"

_spoken = gettext.NullTranslations()


def speak(language: Language) -> None:
    """Use a language from now on, in all threads; `auto` is that of LANGUAGE, LC_ALL, LC_MESSAGES or LANG.

    English is spoken where the language has no catalogue.
    """
    global _spoken  # noqa: PLW0603  (as in gettext: one language for a process)
    named = None if language == "auto" else [language]
    _spoken = gettext.translation(DOMAIN, CATALOGUES, named, fallback=True)


def language() -> str:
    """Return the language that is spoken, as `en` or `zh` (BCP 47)."""
    return _spoken.info().get("language", "en")


def speaker(language: str) -> Callable[[str], str]:
    """Return what says a text in this language, `en` or `zh`, to one person alone."""
    catalogue = gettext.translation(DOMAIN, CATALOGUES, [language], fallback=True)
    return lambda text: catalogue.gettext(text) if text else text


class Text(str):
    """An English text, with what it is made of.

    Args:
        template: the text, with braces for the values as `str.format` has them; the catalogue has it.
        values: in the order of the braces; one that is a `Text` is spoken as well. Without values, the braces
            of the template stay.
    """

    template: str
    values: tuple[object, ...]

    def __new__(cls, template: str, *values: object) -> Text:
        made = super().__new__(cls, template.format(*values) if values else template)
        made.template, made.values = template, values
        return made

    @classmethod
    def joined(cls, separator: str, texts: Iterable[str]) -> Text:
        """Return one text of several."""
        values = tuple(texts)
        return cls(separator.join(["{}"] * len(values)), *values)

    @property
    def spoken(self) -> str:
        """The text in the language that is spoken."""
        template = _spoken.gettext(self.template) if self.template else ""
        values = (value.spoken if isinstance(value, Text) else value for value in self.values)
        return template.format(*values) if self.values else template


def parts_of(text: str) -> list[Any] | None:
    """Return the template and the values of a text as JSON has them; None for one that has neither."""
    if not isinstance(text, Text):
        return None
    return [
        text.template,
        *((parts_of(each) or each) if isinstance(each, str) else each for each in text.values),
    ]


def of_parts(text: str, parts: Any) -> str:
    """Return the text that was kept with these parts (`parts_of`); as it is, where they do not make it."""
    with suppress(AttributeError, IndexError, KeyError, TypeError, ValueError):
        if not isinstance(text, Text) and (made := _made_of(parts)) == text:
            return made
    return text


def _made_of(parts: Any) -> Text:
    template, *values = parts
    return Text(template, *(_made_of(each) if isinstance(each, list) else each for each in values))


def _(text: str) -> str:
    """Return a text in the language that is spoken."""
    if isinstance(text, Text):
        return text.spoken
    # In a catalogue the empty text has its header.
    return _spoken.gettext(text) if text else text


def N_(text: str) -> str:
    """Return a text as it is, and have it in the catalogue: it is looked up where it is shown."""
    return text
