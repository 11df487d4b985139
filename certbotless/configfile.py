"""From the configuration file to a `Config`, or to a report of every fault, each with its line and column.

Parse, then check values, then check them together; all faults are reported at once.

Source: the key table of docs/configuration.md.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from . import document, files
from .config import (
    NEED_EAB,
    SECRET_KEYS,
    Acme,
    Aliyun,
    Config,
    Dns,
    Docker,
    Eab,
    Http,
    Site,
    Target,
    target_name,
)
from .document import Document, Fault
from .errors import ConfigError, printable
from .names import is_in_zone
from .values import (
    parse_absolute_path,
    parse_argv,
    parse_certificate_name,
    parse_container,
    parse_docker_host,
    parse_label,
    parse_name,
)

T = TypeVar("T")


def read(source: Path | None) -> bytes:
    """Return the bytes of the file, or of standard input for None; one more than the limit at most.

    Raises:
        ConfigError: the file cannot be read.
    """
    try:
        # By its number: `sys.stdin` is None where standard input is closed.
        with open(source or 0, "rb", closefd=source is not None) as file:
            return file.read(document.MAX_BYTES + 1)
    except OSError as exc:
        hint = "; name the file with --config FILE" if isinstance(exc, FileNotFoundError) else ""
        name = source or "-"
        raise ConfigError([f"{name}:1:1: the file: cannot be read: {exc.strerror}{hint}"]) from exc


def careless(source: Path | None, config: Config) -> list[str]:
    """Return what is careless about the file itself: other users may write it, or read a secret in it.

    A user who may write it can run programs as its user, and send the AccessKey anywhere.
    """
    if source is None:
        return []
    found = []
    trusted = {0, os.geteuid()}
    with suppress(OSError):
        trusted.add(config.state_dir.stat().st_uid)
    with suppress(OSError):
        seen = source.stat()
        if opened := files.open_to_all(source.absolute()) or files.open_to_all(source.resolve()):
            found.append(
                f"{opened}: anybody may write the configuration, and so run programs as its user; chmod o-w"
            )
        if seen.st_uid not in trusted:
            found.append(
                f"{str(source)!r} belongs to another user (uid {seen.st_uid}), who may write it: chown it"
            )
        literal = next((path for path, secret in config.secrets().items() if secret.kind == "literal"), None)
        if literal is not None and seen.st_mode & stat.S_IROTH:
            mode = stat.S_IMODE(seen.st_mode)
            found.append(f"{str(source)!r} has mode {mode:04o}, and {literal} is written in it: chmod o-r")
    return found


def parse(raw: bytes, name: str) -> Config:
    """Return the configuration that `raw` holds; `name` stands in the faults.

    Raises:
        ConfigError: every fault of the file.
    """
    doc = Document(raw, name)
    if not isinstance(doc.data, dict):
        raise doc.error([*doc.faults, doc.fault((), "must be a mapping with the keys aliyun and sites")])
    faults = [*doc.faults, *_check_together(doc)]
    try:
        config = Config.model_validate(doc.data)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_context=False, include_input=False)
        raise doc.error([*faults, *(_describe(doc, error) for error in errors)]) from None
    faults += _check_default_engine(doc, config)
    if faults:
        raise doc.error(faults)
    return config


def _check_default_engine(doc: Document, config: Config) -> list[Fault]:
    """Return what is wrong with the engine of the environment, where a container needs it."""
    is_needed = any(target.command is None for site in config.sites for target in site.deploy)
    if not is_needed or "host" in config.docker.model_fields_set:
        return []
    try:
        parse_docker_host(config.docker.host)
    except ValueError as exc:
        return [doc.fault(("docker",), f"without host, DOCKER_HOST of the environment counts: {exc}")]
    return []


def load(source: Path | None) -> Config:
    """Read and parse in one step; None is standard input, named ``-``."""
    return parse(read(source), str(source or "-"))


_TEXTS = {
    "missing": "is needed",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
}


def _describe(doc: Document, error: ErrorDetails) -> Fault:
    path = tuple(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        key = str(path[-1])
        if hidden := next((n for n in SECRET_KEYS if key.startswith(n) and key != n), ""):
            # `hmac_key:x`, with no space, is a key as a whole: what follows the name is not for the log.
            text = "a longer key begins so; write a colon, a space and the secret after the name"
            return (*doc.locate(path, at_key=True), f"{document.dotted((*path[:-1], hidden))}: {text}")
        nearest = _nearest(key, _keys_at(path[:-1]))
        text = f"unknown key {printable(key, 60)!r}; the nearest known key is {nearest!r}"
        return doc.fault(path, text, at_key=True)
    if kind == "value_error":
        return doc.fault(path, error["msg"].removeprefix("Value error, "))
    if kind == "literal_error":
        return doc.fault(path, error["msg"].replace("Input should be", "must be"))
    return doc.fault(path, _TEXTS.get(kind, error["msg"]))


def _keys_at(path: document.Path) -> list[str]:
    model: Any = Config
    for step in path:
        if isinstance(step, str):
            model = _CHILDREN[model, step]
    return list(model.model_fields)


_CHILDREN: dict[tuple[type[BaseModel], str], type[BaseModel]] = {
    (Config, "acme"): Acme,
    (Acme, "eab"): Eab,
    (Config, "aliyun"): Aliyun,
    (Config, "dns"): Dns,
    (Config, "docker"): Docker,
    (Config, "http"): Http,
    (Config, "sites"): Site,
    (Site, "deploy"): Target,
}


def _nearest(key: str, known: list[str]) -> str:
    import difflib  # noqa: PLC0415  (memory that only a mistake needs)

    return difflib.get_close_matches(key.lower(), known, n=1, cutoff=0)[0]


def _check_together(doc: Document) -> Iterator[Fault]:
    """Yield what values say against each other; one that is a fault by itself is passed over here."""
    acme = doc.data.get("acme")
    directory = acme.get("directory") if isinstance(acme, dict) else None
    if isinstance(acme, dict) and directory in NEED_EAB and acme.get("eab") is None:
        yield doc.fault(("acme", "directory"), f"{directory} needs eab: {{kid: ..., hmac_key: ...}}")
    if doc.data.get("sites") == []:
        # Not left to pydantic, for which a list of bad entries is an empty one.
        yield doc.fault(("sites",), "needs at least one entry")
    sites = _mappings(doc.data.get("sites"))
    domains = [_valid(parse_name, site.get("domain")) for site in sites]
    for i, other in _repeats(domains):
        text = f"{domains[i]!r} is already the domain of sites[{other}]"
        yield doc.fault(("sites", i, "domain"), text)
    yield from _check_records(doc, sites, domains, "address", "A")
    yield from _check_records(doc, sites, domains, "address6", "AAAA")
    for i, site in enumerate(sites):
        names = [_valid(parse_certificate_name, name) for name in _entries(site.get("names"))]
        yield from _check_zone(doc, i, _valid(parse_name, site.get("zone")), domains[i], names)
        yield from _check_wildcards(doc, i, domains[i], names)
        yield from _check_targets(doc, i, _entries(site.get("deploy")))


def _check_zone(
    doc: Document, i: int, zone: str | None, domain: str | None, names: list[str | None]
) -> Iterator[Fault]:
    if zone is None:
        return
    if domain is not None and not is_in_zone(domain, zone):
        yield doc.fault(("sites", i, "zone"), f"{domain!r} is not in the zone {zone!r}")
    for j, name in enumerate(names):
        if name is not None and not is_in_zone(name, zone):
            yield doc.fault(("sites", i, "names", j), f"{name!r} is not in the zone {zone!r}")


def _check_records(
    doc: Document, sites: list[dict[str, Any]], domains: list[str | None], key: str, type_: str
) -> Iterator[Fault]:
    """Two sites that want one name to show different addresses would write it in turns for ever."""
    rules = [site.get(key, Site.model_fields[key].default.kind) for site in sites]
    first = {domain: i for i, domain in enumerate(domains) if domain is not None and rules[i] != "none"}
    for i, site in enumerate(sites):
        if site.get("records") != "all" or rules[i] == "none":
            continue
        for j, value in enumerate(_entries(site.get("names"))):
            name = _valid(parse_name, value)
            if name is not None and rules[first.setdefault(name, i)] != rules[i]:
                text = f"{name!r} has its {type_} record from sites[{first[name]}], with another address"
                yield doc.fault(("sites", i, "names", j), text)


def _check_wildcards(doc: Document, i: int, domain: str | None, names: list[str | None]) -> Iterator[Fault]:
    """Let's Encrypt refuses an order for a wildcard and a name that it covers as malformed."""
    for j, wildcard in enumerate(names):
        if wildcard is None or not wildcard.startswith("*."):
            continue
        for name in sorted({name for name in (domain, *names) if name is not None} - {wildcard}):
            if name.partition(".")[2] == wildcard.removeprefix("*."):
                text = f"{wildcard!r} covers {name!r} already: a CA refuses the two in one certificate"
                yield doc.fault(("sites", i, "names", j), text)


_WAYS: dict[str, Callable[[object], Any]] = {
    "container": parse_container,
    "label": parse_label,
    "command": parse_argv,
}


def _check_targets(doc: Document, i: int, targets: list[object]) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for j, target in enumerate(targets):
        if not isinstance(target, dict):
            continue
        path = ("sites", i, "deploy", j)
        ways = [key for key in _WAYS if target.get(key) is not None]
        if len(ways) != 1:
            also = f", not {' and '.join(ways)}" if ways else ""
            yield doc.fault(path, f"needs one of container, label and command{also}")
            continue
        (way,) = ways
        value = _valid(_WAYS[way], target[way])
        name = None if value is None else target_name(**{way: value})
        if name is not None and first.setdefault(name, j) != j:
            yield doc.fault((*path, way), f"{name!r} is already a target")
        if way == "command" and "action" in target:
            yield doc.fault((*path, "action"), "does not go with command: the command is the action")
        if way == "command" and target.get("port") is None:
            yield doc.fault(path, "a command needs port: a number, host:port, or none")


def _entries(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> list[dict[str, Any]]:
    """Return the entries of a list; anything else than a mapping as an empty one, so that places hold."""
    return [entry if isinstance(entry, dict) else {} for entry in _entries(value)]


def _valid(check: Callable[[object], T], value: object) -> T | None:
    try:
        return check(value)
    except ValueError:
        return None


def _repeats(values: Iterable[str | None]) -> Iterator[tuple[int, int]]:
    """Yield the place of each value that was there before, and the place where it first was."""
    first: dict[str, int] = {}
    for i, value in enumerate(values):
        if value is not None and first.setdefault(value, i) != i:
            yield i, first[value]


def folders_of_broken(raw: bytes) -> tuple[Path, Path]:
    """Return certs_dir and state_dir as far as a broken file tells, else their defaults."""
    return _folder_of_broken(raw, "certs_dir"), _folder_of_broken(raw, "state_dir")


def _folder_of_broken(raw: bytes, key: str) -> Path:
    # A file that is not YAML as a whole may still have the line that we look for.
    line = re.search(rf"^{key}:.*".encode(), raw, re.MULTILINE)
    for text in (raw, line[0] if line else b""):
        try:
            return parse_absolute_path(Document(text, "").data[key])
        except (ConfigError, KeyError, TypeError, ValueError):
            continue
    default: Path = Config.model_fields[key].default
    return default
