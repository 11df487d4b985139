"""The names that a person or an option gives for a certificate, each checked as the file itself would be."""

import re
from collections.abc import Callable
from contextlib import suppress

from ..base.errors import ValueFault
from ..base.words import N_, Text
from ..config.diagnostics import check, public
from ..config.settings import Site
from ..config.site_names import local_name

# Also the commas of a Chinese keyboard.
_BETWEEN = re.compile(r"[,\uff0c\u3001\s]+")


def public_domain(text: str) -> str:
    """Return the domain of a site that a public CA certifies. Raises `ValueFault`."""
    check(Site, "domain")(text)
    return public("domain", text)


def local_domain(text: str) -> str:
    """Return the domain of a site that the local CA certifies. Raises `ValueFault`."""
    return local_name(check(Site, "domain")(text))


def is_for_local(text: str) -> bool:
    """Whether the local CA certifies a domain that no public CA does."""
    with suppress(ValueError):
        return bool(local_domain(text))
    return False


def public_names(text: str) -> list[str]:
    """Return further names, for a public CA. Raises `ValueFault`."""
    return _each(text, lambda name: public("names", name))


def local_names(text: str) -> list[str]:
    """Return further names and addresses, for the local CA. Raises `ValueFault`."""
    return _each(text, lambda name: local_name(*check(Site, "names")([name])))


def names_of_local(text: str) -> list[str]:
    """Return all names for the local CA, the domain first. Raises `ValueFault`."""
    first, *others = [each for each in _BETWEEN.split(text) if each] or [""]
    names = list(dict.fromkeys([local_domain(first), *local_names(",".join(others))]))
    for name in names:
        if (wildcard := f"*.{name.partition('.')[2]}") in names and name != wildcard:
            form = N_("{!r} covers {!r} already: a CA refuses the two in one certificate")
            raise ValueFault(Text(form, wildcard, name))
    return names


def _each(text: str, checked: Callable[[str], str]) -> list[str]:
    return list(dict.fromkeys(checked(each) for each in _BETWEEN.split(text) if each))
