"""What the CAs of a file say against each other: one is wanted, the others stand in for it."""

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from ..base.words import N_, Text
from .settings import NEED_EAB, Acme
from .values import DIRECTORIES, STAGING_WORDS
from .yaml_document import Document, Fault, Path

_KEYS = {each.name for each in fields(Acme)}
_STAGING = {DIRECTORIES[word] for word in STAGING_WORDS}


def check(doc: Document) -> Iterator[Fault]:
    """Yield CAs that lack what they need, or cannot be in one list."""
    written = doc.data.get("acme")
    is_list = isinstance(written, list)
    entries: list[tuple[Path, Any]] = (
        [(("acme", i), entry) for i, entry in enumerate(written)] if is_list else [(("acme",), written)]
    )
    known: dict[str, int] = {}
    for i, (path, entry) in enumerate(entries):
        if not isinstance(entry, dict):
            continue
        # A key that is misspelt may be this one.
        default = "letsencrypt" if entry.keys() <= _KEYS else None
        directory = entry.get("directory", default)
        if not isinstance(directory, str):
            continue
        if directory in NEED_EAB and entry.get("eab") is None:
            text = Text("{} needs eab: {{kid: ..., hmac_key: ...}}", directory)
            yield doc.fault((*path, "directory"), text)
        url = _url_of(directory)
        if known.setdefault(url, i) != i:
            text = Text("{!r} is already the CA of acme[{}]", directory, known[url])
            yield doc.fault((*path, "directory"), text)
        elif url in _STAGING and len(entries) > 1:
            form = N_("{!r} gives certificates that no client trusts: it cannot be in a list with another CA")
            yield doc.fault((*path, "directory"), Text(form, directory))
        if i > 0 and "key_type" in entry:
            text = Text("belongs into the first entry: every CA certifies the same kind of key")
            yield doc.fault((*path, "key_type"), text, at_key=True)


def _url_of(directory: str) -> str:
    """Return the URL of a word or URL, the same for each spelling of its host (RFC 3986 section 6.2)."""
    scheme, mark, rest = DIRECTORIES.get(directory, directory).partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme.lower()}{mark}{host.lower().removesuffix(':443')}{slash}{path}"
