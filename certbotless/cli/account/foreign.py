"""The accounts of other ACME clients on this machine: where each client keeps the key, and in what form.

    acme.sh   ca/HOST/PATH/account.key, older ca/HOST/account.key                PEM
    certbot   accounts/HOST:PORT/PATH/ID/private_key.json                        JWK (RFC 7517)
    lego      accounts/HOST_PORT/EMAIL/keys/EMAIL.key, from 5 on ID/ID.key       PEM, beside account.json

Source: acme.sh 3.1, `_initpath`; certbot 4.0, `_internal/account.py`; lego 4.9 and 5, `accounts_storage.go`.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ...base import files
from ...base.errors import CertbotlessError, printable
from ...base.words import Text

# A key of 16,384 bits is 13 KiB.
_MAX_BYTES = 64 * 1024
# A client that keeps certificates of a thousand names has fewer files.
_MOST_FILES, _MOST_LEVELS = 20_000, 8
# Of a hint, in characters.
_MOST_NAMES = 8192


def key_of(path: Path, directory: str) -> tuple[Path, bytes]:
    """Return the file with the account key of a CA, and what is in it: PEM or a JWK.

    Args:
        path: such a file, or a folder of the client above it.
        directory: the URL of the CA; where files for several CAs are found, its host tells which one counts.

    Raises:
        CertbotlessError: none is found, several are, or it cannot be read.
    """
    with files.store_errors(path, "read"):
        found = [path] if not path.is_dir() else [*_keys_below(path)]
    if path.is_dir():
        of_ca, every = _each_once(each for each in found if _is_of(each, directory)), _each_once(found)
        # A folder below that of the CA does not name it.
        found = of_ca or (every if len(every) == 1 else [])
    if not found:
        raise CertbotlessError(
            Text("no account of acme.sh, certbot or lego at {} is in {!r}", directory, str(path)),
            hint=Text(
                "name the file with the account key, or another CA of the configuration: --directory CA"
            ),
        )
    if len(found) > 1:
        # In a folder of another user its names may hold anything.
        names = printable(", ".join(map(str, found)), _MOST_NAMES)
        raise CertbotlessError(
            Text("{!r} has several accounts at {}", str(path), directory),
            hint=Text("name one of these files: {}", names),
        )
    [file] = found
    with files.store_errors(file, "read"):
        return file, files.read(file, _MAX_BYTES, follows_links=True)


def _keys_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder of a client that have account keys; none that has a certificate key."""
    left, depth = _MOST_FILES, len(folder.parts)
    # certbot has links from the folder of Let's Encrypt's second version to that of the first.
    for name, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        here = Path(name)
        folders.sort()
        if len(here.parts) - depth >= _MOST_LEVELS:
            folders.clear()
        left -= len(names) + len(folders)  # a link may lead to a folder above it
        if left < 0:
            raise CertbotlessError(
                Text("{!r} has too many files", str(folder)), hint=Text("name the file with the account key")
            )
        for each in sorted(names):
            if each in ("account.key", "private_key.json") or (each.endswith(".key") and _is_legos(here)):
                yield here / each


def _each_once(found: Iterable[Path]) -> list[Path]:
    """Return the files; one that links show at several places has the first of these names."""
    names: dict[str, Path] = {}
    for each in found:
        # For a link to itself `Path.resolve` raises an error of its own until Python 3.13.
        names.setdefault(os.path.realpath(each), each)
    return [*names.values()]


def _raise(error: OSError) -> None:
    """Let no folder be passed over in silence: the account may be in there."""
    raise error


def _is_legos(folder: Path) -> bool:
    """Whether keys here are those of accounts of lego: its certificates are in other folders."""
    of_4 = folder.name == "keys" and (folder.parent / "account.json").exists()
    return of_4 or (folder / "account.json").exists()


def _is_of(file: Path, directory: str) -> bool:
    """Whether a folder on the way to the file is named after the CA."""
    url = urlsplit(directory)
    host, port = url.hostname or "", url.port
    return not {host, f"{host}:{port}", f"{host}_{port}"}.isdisjoint(file.parts)
