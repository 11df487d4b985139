"""Pure: what an edit of the configuration changes, one line for each change. Light.

Two configurations are compared key by key, sites and targets by their names. Values are shown as the file
writes them. Neither a secret nor its place is shown, only that it has changed.
"""

import shlex
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ..base.checked import Model
from ..base.errors import printable
from .addresses import AddressRule
from .credentials import Credentials
from .secret import Secret
from .settings import Config
from .values import DailyWindow, Port, Reload, short

# The most characters of a value that a line shows.
_LONGEST = 120


def changes(before: Config, after: Config) -> list[str]:
    """Return a line for each difference in meaning. Comments, the order of sites and spelling are none."""
    is_list = before.has_stand_ins or after.has_stand_ins
    old, new = ({**_keys(each), **_of_cas(each, is_list=is_list)} for each in (before, after))
    return [*_differences("", old, new)]


def _keys(part: Model) -> dict[str, Any]:
    """Return the values of a section by their keys; each site and each target has its own key."""
    found = part.to_dict()
    found |= {f"site {site.domain}": site for site in found.pop("sites", ())}
    if "deploy" in found:
        found |= {f"target {target.name}": target for target in found["deploy"]}
        found["deploy"] = tuple(target.name for target in found["deploy"])
    if "when" in found:
        found["when"] = found["when"] or "now"
    return found


def _of_cas(config: Config, *, is_list: bool) -> dict[str, Any]:
    """Return the one CA as a section; of a list, each by its name, and their order."""
    if not is_list:
        return {"acme": config.acme[0]}
    each = {f"acme {ca.directory}": ca for ca in config.acme}
    return {"acme": tuple(ca.directory for ca in config.acme), **each}


def _differences(about: str, before: dict[str, Any], after: dict[str, Any]) -> Iterator[str]:
    for key in before | after:
        old, new = before.get(key), after.get(key)
        what = f"{about}{printable(key, _LONGEST)}"
        if isinstance(old, Model) and isinstance(new, Model):
            yield from _differences(f"{what}{': ' if ' ' in key else '.'}", _keys(old), _keys(new))
        elif old == new or key.startswith(("target ", "acme ")):
            continue  # which targets there are is the value of `deploy`; of CAs, that of `acme`
        elif key.startswith("site ") and new is None:
            yield f"{what} removed; its record, files and container are left as they are"
        elif any(map(_is_hidden, (old, new))):
            yield f"{what} {'added' if not old else 'changed' if new else 'removed'}"
        else:
            yield f"{what} {_short(old)} -> {_short(new)}"


def _is_hidden(value: object) -> bool:
    if isinstance(value, tuple):
        return any(map(_is_hidden, value))
    return isinstance(value, Secret | Model)


def _short(value: object) -> str:
    return printable(written(value), _LONGEST)


def written(value: object) -> str:
    """Return a value as the file writes it."""
    match value:
        case None:
            text = "not set"
        case timedelta():
            text = short(value)
        case AddressRule("interface" | "network"):
            text = f"auto:{value.value}"
        case AddressRule():
            text = f"[{', '.join(value.several)}]" if value.others else value.value or value.kind
        case Credentials("command"):
            text = f"command {shlex.join(value.argv)}"
        case Credentials():
            text = " ".join(filter(None, (value.kind, value.name, str(value.file or ""))))
        case Reload():
            text = f"{value.kind} {value.signal or shlex.join(value.argv)}".rstrip()
        case Port():
            text = value.written
        case DailyWindow():
            text = f"{value.start:%H:%M}-{value.end:%H:%M}"
        case tuple():
            text = f"[{', '.join(map(str, value))}]"
        case _:
            text = str(value)
    return text
