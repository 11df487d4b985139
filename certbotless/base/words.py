"""The language in which people are spoken to: English, or one that has a catalogue (GNU gettext).

A text is English in the code, and is looked up in the catalogue where it is shown. Log events, JSON, metrics,
names of states and all that is kept in files stay English.

Source: GNU gettext manual, sections 2.3 (which variables name the language) and 10.3 (PO files); gettext(3).
"""

import gettext
from pathlib import Path
from typing import Literal

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


def _(text: str) -> str:
    """Return a text in the language that is spoken."""
    # In a catalogue the empty text has its header.
    return _spoken.gettext(text) if text else text


def N_(text: str) -> str:
    """Return a text as it is, and have it in the catalogue: it is looked up where it is shown."""
    return text
