"""Pure: what an edit of the configuration changes, a line a change, as its author would say it.

Values stand as the file writes them. A secret is never shown, nor where it is: it has changed, or not.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from .config import Acme, Aliyun, Config, Dns, Docker, Eab, Http, Site, Target
from .errors import printable
from .secret import Secret
from .values import Action, AddressRule, Port, Window, short

_Section = Acme | Aliyun | Dns | Docker | Eab | Http
# Of a value; a line says what has changed, not all of it.
_LONGEST = 120


def changes(before: Config, after: Config) -> list[str]:
    """Return a line for each difference in meaning; none for comments, order of sites, or ways to write."""
    old, new = ({site.domain: site for site in config.sites} for config in (before, after))
    return [
        *_differences("", _fields(before, "sites"), _fields(after, "sites")),
        *(f"site {domain}: added" for domain in new if domain not in old),
        *(
            f"site {domain}: removed; its record, files and container are left as they are"
            for domain in old
            if domain not in new
        ),
        *(line for domain in new if domain in old for line in _of_site(old[domain], new[domain])),
    ]


def _of_site(before: Site, after: Site) -> Iterator[str]:
    about = f"site {after.domain}: "
    yield from _differences(about, _fields(before, "deploy"), _fields(after, "deploy"))
    old, new = ({target.name: target for target in site.deploy} for site in (before, after))
    for name, target in new.items():
        if name not in old:
            yield f"{about}target {printable(name, _LONGEST)} added"
        else:
            yield from _of_target(f"{about}target {printable(name, _LONGEST)}: ", old[name], target)
    for name in old:
        if name not in new:
            yield f"{about}target {printable(name, _LONGEST)} removed; it is left as it is"
    if old.keys() == new.keys() and next(iter(old), "") != next(iter(new), ""):
        yield f"{about}the first target is {printable(next(iter(new)), _LONGEST)}"


def _of_target(about: str, before: Target, after: Target) -> Iterator[str]:
    # What an absent key means depends on the key: `when` may be acted at once, a port is then found.
    old, new = ({**_fields(target), "when": target.when or "now"} for target in (before, after))
    return _differences(about, old, new)


def _fields(part: Config | Site | Target | _Section, *without: str) -> dict[str, Any]:
    return {name: getattr(part, name) for name in type(part).model_fields if name not in without}


def _differences(about: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    for key, new in after.items():
        old = before.get(key)
        if old == new:
            continue
        if isinstance(old, _Section) and isinstance(new, _Section):
            yield from _differences(f"{about}{key}.", _fields(old), _fields(new))
        elif any(_is_secret(value) or isinstance(value, Eab | Http) for value in (old, new)):
            yield f"{about}{key} {_fate(old, new)}"
        else:
            yield f"{about}{key} {_text(old)} -> {_text(new)}"


def _is_secret(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_secret, value))
    return isinstance(value, Secret | Eab)


def _fate(old: object, new: object) -> str:
    """Say what became of a value that is not shown."""
    if old in (None, ()):
        return "added"
    return "removed" if new in (None, ()) else "changed"


def _text(value: object) -> str:
    """Return a value as the file writes it."""
    match value:
        case None:
            text = "not set"
        case timedelta():
            text = short(value)
        case AddressRule():
            sources = {"interface": f"auto:{value.value}", "network": f"auto:{value.value}"}
            text = sources.get(value.kind, value.value or value.kind)
        case Action():
            text = {"signal": f"signal {value.signal}", "exec": f"exec {shlex.join(value.argv)}"}.get(
                value.kind, value.kind
            )
        case Port():
            host = f"[{value.host}]" if ":" in value.host else value.host
            text = {"number": str(value.number), "elsewhere": f"{host}:{value.number}"}.get(
                value.kind, "none"
            )
        case Window():
            text = f"{value.start:%H:%M}-{value.end:%H:%M}"
        case tuple():
            text = f"[{', '.join(map(str, value))}]"
        case _:
            text = str(value)
    return printable(text, _LONGEST)
