"""The small files of `state_dir`: one JSON value each, written as a whole."""

from pathlib import Path
from typing import TypeVar

from . import files
from .checked import dump, of_json

T = TypeVar("T")


def load(path: Path, kind: type[T]) -> T | None:
    """Return the value that a file holds, None where there is no file.

    Args:
        kind: a `Model`, or another annotation that `model` knows.

    Raises:
        ValueError: it makes no sense.
        StoreError: it cannot be read.
    """
    raw = files.read_if_there(path)
    return None if raw is None else of_json(kind, raw)


def save(path: Path, value: object) -> None:
    """Give the file this value; on disk when this returns. One process at a time may do so.

    Raises:
        StoreError: there is no room, or no right; or the value holds half a character, of another's answer.
    """
    text = dump(value, indent=1)
    with files.store_errors(path):
        files.sweep(path.parent, [path.name])
        files.replace(path, text, 0o600)
