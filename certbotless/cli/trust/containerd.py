"""What the configuration of containerd says of the folder in which it looks for roots.

Its file has versions: 1 and 2 are those of containerd 1, which also containerd 2 reads; 3 and later are those
of containerd 2. Each calls the table that names the folder another name.

Source: containerd 1.7 and 2.3, docs/hosts.md, docs/cri/registry.md and LoadConfig in
cmd/containerd/server/config; containerd#12808 (2.2 finds nothing in a list of folders, which is its default).
"""

import glob
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ...base import files
from ...base.errors import StoreError
from ...base.words import Text, _

T = TypeVar("T")
FILE = Path("/etc/containerd/config.toml")
_OF_2, _OF_1 = "io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"
# In version 1 plugins had short names.
_SHORT = "cri"
# The first version that has the name of containerd 2.
_NEW = 3
# What a package of containerd that serves no Kubernetes says.
_DISABLED = {_OF_1, _OF_2, _SHORT}
_MOST_FILES = 100


@dataclass(frozen=True, slots=True)
class Setting:
    """The folder, and what a person does before containerd reads it: lines, spoken; none if it does."""

    folder: Path
    to_do: tuple[str, ...] = ()


def setting(default: Path, file: Path = FILE) -> Setting:
    """Return what the configuration says; without a folder of its own it is `default`.

    Raises:
        StoreError: a file of it cannot be read.
    """
    version, value, rivals, disabled = 0, "", False, set[str]()
    for number, table in enumerate(_tables(file)):
        own = _of(table, "version", 0)
        version = own if number == 0 else version
        disabled |= _DISABLED.intersection(map(str, _of(table, "disabled_plugins", [])))
        for name in _names(version, own):
            registry = _below(table, "plugins", name, "registry")
            value = _of(registry, "config_path", "") or value
            rivals = rivals or bool(registry.get("mirrors") or registry.get("configs"))
    first, *others = map(Path, value.split(":"))
    folder = first if first.is_absolute() else default
    if disabled or (first.is_absolute() and not others):
        return Setting(folder)
    return Setting(folder, _to_do(file, version, folder, rivals))


def _to_do(file: Path, version: int, folder: Path, rivals: bool) -> tuple[str, ...]:
    name = {0: _SHORT, 1: _SHORT, 2: f'"{_OF_1}"'}.get(version, f'"{_OF_2}"')
    head = ""
    if not file.exists():
        # Without a version it would be 1, which containerd 2 does not know.
        name, head = f'"{_OF_1}"', "version = 2\n"
    form = _("containerd reads {} once {} has this, each line once; then: systemctl restart containerd")
    lines = [form.format(folder, file) + f'\n{head}[plugins.{name}.registry]\n  config_path = "{folder}"']
    if rivals:
        lines.append(
            _("with config_path it refuses mirrors and configs: move those into hosts.toml files first")
        )
    return tuple(lines)


def _names(version: int, own: int) -> Iterator[str]:
    """Yield what the plugin may be called in a file of version `own`, which one of `version` imports."""
    if own < _NEW:
        yield from (_SHORT, _OF_1)
    if version >= _NEW:
        yield _OF_2


def _tables(file: Path) -> Iterator[dict[str, Any]]:
    """Yield what a file has, and then what its imports have: a later one counts."""
    waiting, seen = [file], set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        path = waiting.pop(0)
        if path in seen or not path.exists():
            continue
        seen.add(path)
        table = _table(path)
        yield table
        for each in map(str, _of(table, "imports", [])):
            # Relative ones are below the folder of the file that has them.
            waiting += map(Path, sorted(glob.glob(str(path.parent / each))))


def _table(path: Path) -> dict[str, Any]:
    try:
        with files.store_errors(path, "read"):
            return tomllib.loads(files.read(path, follows_links=True).decode())
    except ValueError as exc:
        raise StoreError(Text("cannot read {!r}: {}", str(path), str(exc))) from exc


def _of(table: dict[str, Any], key: str, default: T) -> T:
    """Return a value of the same type as `default`, which it is where there is none."""
    value = table.get(key)
    return value if isinstance(value, type(default)) else default


def _below(table: Any, *names: str) -> dict[str, Any]:
    """Return a table below this one; an empty one where there is none."""
    for name in names:
        table = table.get(name) if isinstance(table, dict) else None
    return table if isinstance(table, dict) else {}
