"""From the configuration file to a `Config`, or to a report of all faults, each with its line and column.

It parses the file, checks each value, then checks them together, and reports all faults at once.

Source: the key table of docs/configuration.md.
"""

import os
import pwd
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from pydantic_core import ValidationError

from ..base import words
from ..base.checked import default_of
from ..base.errors import ConfigError, ValueFault, reason_of
from ..base.names import certified_name, is_in_zone
from ..base.words import N_, Text
from . import account, certified, environment, targets, yaml_document
from .settings import DOCKER_SOCKET, NEED_EAB, Config, Docker, Http, Site
from .yaml_document import Document, Fault

# None is a name that is wrong by itself, or absent.
_Names = list[str | None]


def read(source: Path | None) -> bytes:
    """Return the bytes of the file, or of standard input for None; at most one more than the limit.

    Where the default file is absent, the variables of the environment count if they are set.

    Raises:
        ConfigError: the file cannot be read; a variable has no good value.
    """
    try:
        # By its number: `sys.stdin` is None where standard input is closed.
        with open(source or 0, "rb", closefd=source is not None) as file:
            return file.read(yaml_document.MAX_BYTES + 1)
    except OSError as exc:
        if isinstance(exc, FileNotFoundError) and source == environment.FILE and environment.is_set():
            return environment.text()
        name = source or "-"
        fault = Text("{}:1:1: the file: cannot be read: {}", str(name), reason_of(exc))
        if isinstance(exc, PermissionError):
            fault = _refused(str(name))
        elif isinstance(exc, FileNotFoundError):
            fault = Text("no configuration yet at {}; make one: certbotless init", str(name))
        raise ConfigError([fault]) from exc


def _refused(name: str) -> Text:
    """Return the fault of a file that this user may not read."""
    uid = os.geteuid()
    try:
        pwd.getpwuid(uid)
    except KeyError:  # the user of our image, which has no sudo
        form = N_("{}: user {} may not read it; if this is a container, on the host: chgrp {} and chmod 0640")
        return Text(form, name, uid, os.getegid())
    return Text("{}: this user may not read it; use sudo (for the service: 0640 root:certbotless)", name)


def parse(raw: bytes, name: str) -> Config:
    """Return the configuration that `raw` holds. Faults begin with `name`.

    Raises:
        ConfigError: every fault of the file.
    """
    doc = Document(raw, name)
    if not isinstance(doc.data, dict):
        text = Text("must be a mapping with the keys aliyun and sites")
        raise doc.error([*doc.faults, doc.fault((), text)])
    try:
        config = Config.validate(doc.data)
    except ValidationError as exc:
        raise doc.error(_all_faults(doc, exc)) from None
    if faults := [*doc.faults, *_check_together(doc), *_check_default_engine(doc, config)]:
        raise doc.error(faults)
    return config


def _all_faults(doc: Document, exc: ValidationError) -> set[Fault]:
    """Return all faults: those of the document, one for each wrong value, and contradictions of values."""
    from . import diagnostics  # noqa: PLC0415  (time and memory that only a mistake needs)

    # To pydantic, a list of nothing but wrong entries is an empty one too.
    errors = [e for e in exc.errors(include_url=False) if e["type"] != "too_short" or not e["input"]]
    wrong = {diagnostics.place_of(error) for error in errors}
    faults = {diagnostics.describe(doc, error) for error in errors}
    return {*doc.faults, *faults, *_check_together(doc, wrong)}


def _check_default_engine(doc: Document, config: Config) -> Iterator[Fault]:
    """Yield the fault of DOCKER_HOST in the environment, if a container needs it."""
    is_needed = any(
        target.has_containers or target.service for site in config.sites for target in site.deploy
    )
    if not is_needed or "host" in doc.data.get("docker", {}) or config.docker.host == DOCKER_SOCKET:
        return
    from .diagnostics import check  # noqa: PLC0415  (as above)

    try:
        check(Docker, "host")(config.docker.host)
    except ValueFault as exc:
        yield doc.fault(
            ("docker",), Text("without host, DOCKER_HOST of the environment counts: {}", str(exc))
        )


def load(source: Path | None) -> Config:
    """Read and parse; from now on the file's language is spoken. None is standard input, named ``-``."""
    return spoken(read(source), str(source or "-"))


def spoken(raw: bytes, name: str) -> Config:
    """Parse; from now on the file's language is spoken, which may be read even in a broken file."""
    try:
        config = parse(raw, name)
    except ConfigError:
        words.speak(value_of_broken(raw, "language"))
        raise
    words.speak(config.language)
    return config


def _check_together(doc: Document, wrong: Collection[yaml_document.Path] = ()) -> Iterator[Fault]:
    """Yield the contradictions of values; a value that is `wrong` by itself is left out."""

    def name(value: Any, *path: str | int) -> str | None:
        return None if value is None or path in wrong else certified_name(value)

    acme = doc.data.get("acme")
    if isinstance(acme, list) or (isinstance(acme, dict) and acme.get("directory") in NEED_EAB):
        from . import stand_ins  # noqa: PLC0415  (most files need nothing of it)

        yield from stand_ins.check(doc)
    yield from account.check(doc)
    yield from _check_places(doc)
    sites = _mappings(doc.data.get("sites"))
    domains = [name(site.get("domain"), "sites", i, "domain") for i, site in enumerate(sites)]
    names = [
        [name(each, "sites", i, "names", j) for j, each in enumerate(_entries(site.get("names")))]
        for i, site in enumerate(sites)
    ]
    yield from certified.check(doc, sites, domains, names, wrong)
    first: dict[str, int] = {}
    for i, domain in enumerate(domains):
        if domain is not None and first.setdefault(domain, i) != i:
            text = Text("{!r} is already the domain of sites[{}]", domain, first[domain])
            yield doc.fault(("sites", i, "domain"), text)
    yield from _check_lists(doc, sites)
    yield from _check_records(doc, sites, domains, names, "address", "A")
    yield from _check_records(doc, sites, domains, names, "address6", "AAAA")
    for i, site in enumerate(sites):
        zone = name(site.get("zone"), "sites", i, "zone")
        yield from _check_zone(doc, i, zone, domains[i], names[i])
        if site.get("certificate") is None:
            yield from _check_wildcards(doc, i, domains[i], names[i])
        yield from _check_targets(doc, i, _entries(site.get("deploy")), wrong)
    yield from _check_secrets(doc, sites)


def _check_secrets(doc: Document, sites: list[dict[str, Any]]) -> Iterator[Fault]:
    """Yield the services of which two sites would replace the same secret, by turns and for ever."""
    first: dict[tuple[str, str], int] = {}
    for i, site in enumerate(sites):
        for j, target in enumerate(_mappings(site.get("deploy"))):
            taken = [each for each in targets.secret_files(target) if first.setdefault(each, i) != i]
            for service, file in taken[:1]:
                form = N_(
                    "the file {!r} of {!r} is already that of sites[{}]: one secret holds one certificate"
                )
                text = Text(form, file, service, first[service, file])
                yield doc.fault(("sites", i, "deploy", j, "service"), text)


def _check_places(doc: Document) -> Iterator[Fault]:
    """Yield the root's page where the status page has its port already."""
    http, local_ca = (doc.data.get(key) for key in ("http", "local_ca"))
    share = local_ca.get("share") if isinstance(local_ca, dict) else None
    if isinstance(http, dict) and share == http.get("listen", default_of(Http, "listen")):
        yield doc.fault(("local_ca", "share"), Text("{!r} is http.listen already", share))


def _check_zone(
    doc: Document, i: int, zone: str | None, domain: str | None, names: _Names
) -> Iterator[Fault]:
    named: list[tuple[yaml_document.Path, str | None]] = [(("zone",), domain)]
    named += [(("names", j), name) for j, name in enumerate(names)]
    for path, name in named:
        if zone is not None and name is not None and not is_in_zone(name, zone):
            yield doc.fault(("sites", i, *path), Text("{!r} is not in the zone {!r}", name, zone))


def _check_lists(doc: Document, sites: list[dict[str, Any]]) -> Iterator[Fault]:
    """Yield the addresses that are twice in the list of a site."""
    for i, site in enumerate(sites):
        listed = _entries(site.get("address"))
        for j, address in enumerate(listed):
            if address in listed[:j]:
                yield doc.fault(("sites", i, "address", j), Text("{!r} is already in this list", address))


def _check_records(
    doc: Document, sites: list[dict[str, Any]], domains: _Names, names: list[_Names], key: str, type_: str
) -> Iterator[Fault]:
    """Yield names for which two sites want different addresses: they would overwrite each other for ever."""
    rules = [site.get(key, default_of(Site, key).kind) for site in sites]
    rules = [sorted(map(str, rule)) if isinstance(rule, list) else rule for rule in rules]
    first = {domain: i for i, domain in enumerate(domains) if domain is not None and rules[i] != "none"}
    for i, site in enumerate(sites):
        if site.get("records") != "all" or rules[i] == "none":
            continue
        for j, name in enumerate(names[i]):
            if name is None or name[0] == "*" or rules[first.setdefault(name, i)] == rules[i]:
                continue
            form = N_("{!r} has its {} record from sites[{}], with another address")
            text = Text(form, name, type_, first[name])
            yield doc.fault(("sites", i, "names", j), text)


def _check_wildcards(doc: Document, i: int, domain: str | None, names: _Names) -> Iterator[Fault]:
    """Yield wildcards that cover another name: Let's Encrypt refuses such an order as malformed."""
    for j, wildcard in enumerate(names):
        if wildcard is None or not wildcard.startswith("*."):
            continue
        for name in sorted({name for name in (domain, *names) if name is not None} - {wildcard}):
            if name.partition(".")[2] == wildcard.removeprefix("*."):
                form = N_("{!r} covers {!r} already: a CA refuses the two in one certificate")
                if name == domain:
                    form = N_("{0!r} covers {1!r} already: write certificate: {0!r} instead")
                text = Text(form, wildcard, name)
                yield doc.fault(("sites", i, "names", j), text)


def _check_targets(
    doc: Document, i: int, entries: list[object], wrong: Collection[yaml_document.Path]
) -> Iterator[Fault]:
    first: dict[str, int] = {}
    for j, target in enumerate(entries):
        if not isinstance(target, dict):
            continue
        path = ("sites", i, "deploy", j)
        faults = targets.faults_of(target)
        yield from (doc.fault((*path, *filter(None, (key,))), text) for key, text in faults)
        if any(not key for key, _ in faults):
            continue
        key = next((key for key in targets.KINDS if target.get(key) is not None), "port")
        name = None if (*path, key) in wrong else targets.name_of(target)
        if name is not None and first.setdefault(name, j) != j:
            yield doc.fault((*path, key), Text("{!r} is already a target", name))


def _entries(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _mappings(value: object) -> list[dict[str, Any]]:
    """Return the entries of a list; one that is no mapping becomes an empty one, so indexes stay right."""
    return [entry if isinstance(entry, dict) else {} for entry in _entries(value)]


def value_of_broken(raw: bytes, key: str) -> Any:
    """Return the value of a key of the top level if it can be read in a broken file, else its default."""
    from .diagnostics import check  # noqa: PLC0415  (as above)

    # A file that is not YAML as a whole may still have the line that we look for.
    line = re.search(rf"^{key}:.*".encode(), raw, re.MULTILINE)
    for text in (raw, line[0] if line else b""):
        try:
            return check(Config, key)(Document(text, "").data[key])
        except (ConfigError, KeyError, TypeError, ValueError):
            continue
    return default_of(Config, key)
