"""The small files of `state_dir`, which nobody else may read: one JSON value each, written as a whole."""

from pathlib import Path
from typing import TypeVar

from . import files
from .checked import dump, of_json

T = TypeVar("T")


def load(path: Path, kind: type[T]) -> T | None:
    """Return the value that a file holds, None where there is no file.

    Args:
        kind: a `Model`, or another annotation that `checked` knows.

    Raises:
        ValueError: the file makes no sense.
        StoreError: it cannot be read.
    """
    raw = files.read_if_there(path)
    return None if raw is None else of_json(kind, raw)


def save(path: Path, value: object) -> None:
    """Give the file this value; on disk when this returns. One process at a time may do so.

    Raises:
        StoreError: like `write`; or a text in the value holds half a character (`dump`).
    """
    data = dump(value, indent=1)
    files.sweep(path.parent, [path.name])
    write(path, data)


def write(path: Path, data: bytes) -> None:
    """Give the file these bytes, in a folder that is made if absent; on disk when this returns.

    Raises:
        StoreError: there is no room, or no right.
    """
    with files.store_errors(path):
        files.make_dir(path.parent, 0o700)
        files.replace(path, data, 0o600)
