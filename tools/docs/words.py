"""The catalogues of `certbotless/locale`, made of the texts in the code (`make docs`).

A text that is new has no translation yet, and one that is gone goes; a test tells which have none.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages import Catalog, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

METHODS = [("certbotless/**.py", "python"), ("certbotless/**.html", "jinja2")]
# Fixed, so that the same texts make the same bytes.
_HEADER: dict[str, Any] = {
    "project": "certbotless",
    "version": "1",
    "header_comment": "# The texts of certbotless. `make docs` brings in those of the code.",
    "msgid_bugs_address": "none",
    "last_translator": "none",
    "language_team": "none",
    "charset": "utf-8",
    "fuzzy": False,
    "creation_date": datetime(2026, 1, 1, tzinfo=UTC),
    "revision_date": datetime(2026, 1, 1, tzinfo=UTC),
}


def texts(root: Path) -> Catalog:
    """Return every text that is spoken in the program, below the root of a source tree."""
    found = Catalog()
    options = {"**.html": {"trimmed": "true"}}
    keywords = {"_": None, "N_": None, "Text": None}
    for _file, _line, text, _comments, _context in extract.extract_from_dir(
        str(root), METHODS, options, keywords=keywords
    ):
        found.add(text)
    return found


def catalogues(root: Path) -> Iterator[tuple[Path, bytes]]:
    """Yield each file of a catalogue below the root of a source tree, and what belongs in it."""
    wanted = texts(root)
    for source in sorted(root.glob("certbotless/locale/*/LC_MESSAGES/*.po")):
        language = source.parent.parent.name
        known = read_po(BytesIO(source.read_bytes()), locale=language)
        catalogue = Catalog(locale=language, **_HEADER)
        for message in wanted:
            if message.id:
                before = known.get(message.id)
                catalogue.add(message.id, before.string if before else "")
        po, mo = BytesIO(), BytesIO()
        write_po(po, catalogue, sort_output=True, width=110)
        write_mo(mo, catalogue)
        yield source, po.getvalue()
        yield source.with_suffix(".mo"), mo.getvalue()
