"""The configuration: one YAML file -> one frozen `Config`, checked as a whole.

Parse, then check values, then check them together; all faults are reported at once, each with its line and
column. This module and `secret` are the only ones that read the environment.

Source: the key table of docs/configuration.md.
"""

from __future__ import annotations

import difflib
import hashlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from . import document
from .document import Document, Fault
from .errors import CertbotlessError, ConfigError, SecretUnreadable, printable
from .names import NameFault, is_in_zone, normalise
from .secret import Secret

DEFAULT_FILE = Path("/etc/certbotless/config.yaml")

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
}
_NEED_EAB = ("zerossl", "google")
# Labels that are neither empty nor too long: the resolver raises errors of its own for them.
_HOST_AND_PORT = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9A-F:.]+\]):([1-9][0-9]{0,4})", re.ASCII | re.IGNORECASE
)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


# --- values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressRule:
    """How the wanted LAN address is found: by the default route, as written, or not at all."""

    kind: Literal["auto", "literal", "none"]
    value: str = ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text" + ("" if value is None else ': put it in quotes, "..."'))
    return value


def _duration(value: object) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration with its unit, like 30s, 10m, 6h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _between(least: timedelta, most: timedelta) -> BeforeValidator:
    def check(value: object) -> timedelta:
        duration = _duration(value)
        if not least <= duration <= most:
            raise ValueError(f"{value} is outside {_short(least)}..{_short(most)}")
        return duration

    return BeforeValidator(check)


def _short(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    unit = next(u for u in "dhms" if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _name(value: object) -> str:
    return _as_value_error(lambda: normalise(_text(value)))


def _certificate_name(value: object) -> str:
    return _as_value_error(lambda: normalise(_text(value), wildcard=True))


def _as_value_error(make: Any) -> str:
    try:
        return str(make())
    except NameFault as exc:
        raise ValueError(str(exc)) from exc


def _absolute_path(value: object) -> Path:
    path = Path(_text(value))
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("must be an absolute path")
    return path


def _secret(value: object) -> Secret:
    return Secret.parse(_text(value))


def _directory(value: object) -> str:
    text = _text(value)
    if text in DIRECTORIES:
        return text
    url = _url(text)
    if url.scheme != "https" or not url.hostname:
        known = ", ".join(DIRECTORIES)
        raise ValueError(f"{printable(text, 80)!r} is neither {known} nor an https:// URL")
    return text


def _endpoint(value: object) -> str:
    text = _text(value)
    url = _url(text)
    extras = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
    if url.scheme not in ("https", "http") or not url.hostname or extras:
        raise ValueError(f"{printable(text, 80)!r} is not of the form https://host[:port]")
    if url.scheme == "http" and not _is_loopback(url.hostname):
        raise ValueError("plain http is for loopback only (127.0.0.0/8, ::1, localhost): write https")
    return f"{url.scheme}://{url.netloc}"


def _url(text: str) -> SplitResult:
    """Return the parts of a URL, all of them empty where it is none."""
    try:
        url = urlsplit(text)
        is_sound = url.port != 0 and text.isprintable() and " " not in text
    except ValueError:
        is_sound = False
    return url if is_sound else urlsplit("")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _nameserver(value: object) -> str:
    text = _text(value)
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{printable(text, 80)!r} is not of the form host:port")
    return text


def _docker_host(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"(unix:///|tcp://|ssh://)\S+", text) or not text.isprintable():
        raise ValueError(
            f"{printable(text, 80)!r} is not of the form unix:///path, tcp://host:port or ssh://host"
        )
    return text


def _address(value: object) -> AddressRule:
    text = _text(value)
    if text in ("auto", "none"):
        return AddressRule("auto" if text == "auto" else "none")
    if text.startswith("auto:"):
        raise ValueError("auto:INTERFACE and auto:NETWORK are not supported yet")
    try:
        return AddressRule("literal", str(ipaddress.IPv4Address(text)))
    except ValueError:
        raise ValueError(f"{printable(text, 80)!r} is neither auto, none nor an IPv4 address") from None


def _ttl(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number of seconds")
    if not 1 <= value <= 86400:
        raise ValueError(f"{value} is outside 1..86400 (Aliyun's free plan starts at 600)")
    return value


def _parallel(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if not 1 <= value <= 64:
        raise ValueError(f"{value} is outside 1..64")
    return value


def _container(value: object) -> str:
    text = _text(value)
    # The engine's own rule for container names.
    if not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", text):
        raise ValueError(f"{printable(text, 80)!r} is not a container name")
    return text


def _port(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, str) and (value == "none" or ":" in value):
        raise ValueError("host:port and none are not supported yet; a port number is")
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError("must be a port number, 1..65535")
    return value


def _email(value: object) -> str | None:
    if value is None:
        return None
    text = _text(value)
    if not re.fullmatch(r"[^\s@,?]+@[^\s@,?]+", text) or not text.isprintable():
        raise ValueError(f"{printable(text, 80)!r} is not an e-mail address")
    return text


class _Unsupported:
    """A key of the contract whose feature is not there yet, with the only value that it may have."""

    def __init__(self, only: object = None) -> None:
        self.only = only

    def __call__(self, value: object) -> object:
        if value != self.only:
            also = "" if self.only is None else f"; only {self.only!r} is"
            raise ValueError(f"not supported yet{also}")
        return value


def _not_yet(only: object = None) -> BeforeValidator:
    return BeforeValidator(_Unsupported(only))


SecretValue = Annotated[Secret, BeforeValidator(_secret)]
PathValue = Annotated[Path, BeforeValidator(_absolute_path)]
Name = Annotated[str, BeforeValidator(_name)]
CertificateName = Annotated[str, BeforeValidator(_certificate_name)]


# --- the model ------------------------------------------------------------------------------------------


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True)


class Acme(_Model):
    """The certificate authority and our account there."""

    directory: Annotated[str, BeforeValidator(_directory)] = "letsencrypt"
    email: Annotated[str | None, BeforeValidator(_email)] = None
    ca_bundle: PathValue | None = None
    eab: Annotated[None, _not_yet()] = None
    profile: Annotated[None, _not_yet()] = None
    key_type: Annotated[Literal["ec256"], _not_yet("ec256")] = "ec256"

    @property
    def url(self) -> str:
        """The directory's URL."""
        return DIRECTORIES.get(self.directory, self.directory)


class Aliyun(_Model):
    """The account at Aliyun DNS."""

    access_key_id: SecretValue
    access_key_secret: SecretValue
    security_token: Annotated[None, _not_yet()] = None
    endpoint: Annotated[str, BeforeValidator(_endpoint)] = "https://alidns.aliyuncs.com"
    ca_bundle: PathValue | None = None


class Dns(_Model):
    """How changes of the zone are watched."""

    nameservers: Annotated[tuple[Annotated[str, BeforeValidator(_nameserver)], ...], Field(strict=False)] = ()
    propagation_timeout: Annotated[timedelta, _between(timedelta(seconds=1), timedelta(hours=6))] = timedelta(
        minutes=10
    )


class Docker(_Model):
    """The engine that runs the containers."""

    host: Annotated[str, BeforeValidator(_docker_host)] = Field(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    )


class Target(_Model):
    """One container that serves the certificate of its site."""

    container: Annotated[str, BeforeValidator(_container)]
    label: Annotated[None, _not_yet()] = None
    command: Annotated[None, _not_yet()] = None
    action: Annotated[Literal["restart"], _not_yet("restart")] = "restart"
    port: Annotated[int | None, BeforeValidator(_port)] = None
    when: Annotated[Literal["now"], _not_yet("now")] = "now"
    stop_timeout: Annotated[timedelta, _between(timedelta(seconds=1), timedelta(minutes=10))] = timedelta(
        seconds=10
    )


class Site(_Model):
    """One public name that points at this machine, its certificate, and who serves it."""

    domain: Name
    names: Annotated[tuple[CertificateName, ...], Field(strict=False)] = ()
    zone: Name | None = None
    address: Annotated[AddressRule, BeforeValidator(_address)] = AddressRule("auto")
    ttl: Annotated[int, BeforeValidator(_ttl)] = 600
    records: Annotated[Literal["domain"], _not_yet("domain")] = "domain"
    certs_dir: Annotated[None, _not_yet()] = None
    deploy: Annotated[tuple[Target, ...], Field(strict=False)] = ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """Every name of the certificate, sorted, A-labels."""
        return tuple(sorted({self.domain, *self.names}))


class Config(_Model):
    """The whole file."""

    acme: Acme = Acme()
    aliyun: Aliyun
    dns: Dns = Dns()
    docker: Docker = Field(default_factory=Docker)
    certs_dir: PathValue = Path("/certs")
    state_dir: PathValue = Path("/var/lib/certbotless")
    check_every: Annotated[timedelta, _between(timedelta(seconds=1), timedelta(days=1))] = timedelta(
        minutes=1
    )
    parallel: Annotated[int, BeforeValidator(_parallel)] = 8
    key_mode: Annotated[Literal["0600"], _not_yet("0600")] = "0600"
    sites: Annotated[tuple[Site, ...], Field(strict=False)]

    def secrets(self) -> dict[str, Secret]:
        """Return every secret by the path of its key."""
        return {
            "aliyun.access_key_id": self.aliyun.access_key_id,
            "aliyun.access_key_secret": self.aliyun.access_key_secret,
        }

    def warnings(self) -> list[str]:
        """Return what is careless, or not there yet, as ``path: text``; none of it is a fault."""
        found = []
        for path, secret in self.secrets().items():
            try:
                secret.read()
                text = secret.warning()
            except SecretUnreadable as exc:
                text = str(exc)
            if text is not None:
                found.append(f"{path}: {text}")
        for i, site in enumerate(self.sites):
            if site.address.kind == "literal" and _is_loopback(site.address.value):
                text = f"{site.address.value} leads every other machine to itself; write the LAN address"
                found.append(f"sites[{i}].address: {text}")
        return found

    def digest(self, site: Site) -> str:
        """Return a digest of all that decides how attempts for `site` go: its keys and the secrets' content.

        A retry time counts only for the configuration under which the attempt failed.
        """
        parts = [self.acme, self.aliyun, self.dns, self.docker, self.certs_dir, site]
        for secret in self.secrets().values():
            try:
                parts.append(hashlib.sha256(secret.read().encode()).hexdigest())
            except CertbotlessError as exc:
                parts.append(exc.message)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


# --- from file to model ---------------------------------------------------------------------------------


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
    if faults:
        raise doc.error(faults)
    return config


def load(source: Path | None) -> Config:
    """Read and parse in one step; None is standard input, named ``-``."""
    return parse(read(source), str(source or "-"))


_TEXTS = {
    "missing": "is needed",
    "model_type": "must be a mapping",
    "tuple_type": "must be a list",
    "literal_error": "is not one of the values it may have",
}


def _describe(doc: Document, error: ErrorDetails) -> Fault:
    path = tuple(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        key = str(path[-1])
        nearest = _nearest(key, _keys_at(path[:-1]))
        text = f"unknown key {printable(key, 60)!r}; the nearest known key is {nearest!r}"
        return doc.fault(path, text, at_key=True)
    if kind == "value_error":
        return doc.fault(path, error["msg"].removeprefix("Value error, "))
    return doc.fault(path, _TEXTS.get(kind, error["msg"]))


def _keys_at(path: document.Path) -> list[str]:
    model: Any = Config
    for step in path:
        if isinstance(step, str):
            model = _CHILDREN[model, step]
    return list(model.model_fields)


_CHILDREN: dict[tuple[type[_Model], str], type[_Model]] = {
    (Config, "acme"): Acme,
    (Config, "aliyun"): Aliyun,
    (Config, "dns"): Dns,
    (Config, "docker"): Docker,
    (Config, "sites"): Site,
    (Site, "deploy"): Target,
}


def _nearest(key: str, known: list[str]) -> str:
    return difflib.get_close_matches(key.lower(), known, n=1, cutoff=0)[0]


def _check_together(doc: Document) -> Iterator[Fault]:
    """Yield what values say against each other; one that is a fault by itself is passed over here."""
    acme = doc.data.get("acme")
    directory = acme.get("directory") if isinstance(acme, dict) else None
    if directory in _NEED_EAB:
        yield doc.fault(("acme", "directory"), f"{directory} needs eab, which is not supported yet")
    if doc.data.get("sites") == []:
        yield doc.fault(("sites",), "needs at least one entry")
    sites = _mappings(doc.data.get("sites"))
    domains = [_valid(_name, site.get("domain")) for site in sites]
    for i, other in _repeats(domains):
        text = f"{domains[i]!r} is already the domain of sites[{other}]"
        yield doc.fault(("sites", i, "domain"), text)
    for i, site in enumerate(sites):
        if (zone := _valid(_name, site.get("zone"))) is not None:
            yield from _check_zone(doc, i, zone, domains[i])
        containers = [_valid(_container, target.get("container")) for target in _mappings(site.get("deploy"))]
        for j, _ in _repeats(containers):
            yield doc.fault(("sites", i, "deploy", j, "container"), f"{containers[j]!r} is already a target")


def _check_zone(doc: Document, i: int, zone: str, domain: str | None) -> Iterator[Fault]:
    if domain is not None and not is_in_zone(domain, zone):
        yield doc.fault(("sites", i, "zone"), f"{domain!r} is not in the zone {zone!r}")
    names = doc.data["sites"][i].get("names")
    for j, text in enumerate(names if isinstance(names, list) else []):
        name = _valid(_certificate_name, text)
        if name is not None and not is_in_zone(name, zone):
            yield doc.fault(("sites", i, "names", j), f"{name!r} is not in the zone {zone!r}")


def _mappings(value: object) -> list[dict[str, Any]]:
    """Return the entries of a list; anything else than a mapping as an empty one, so that places hold."""
    return [entry if isinstance(entry, dict) else {} for entry in value] if isinstance(value, list) else []


def _valid(check: Callable[[object], str], value: object) -> str | None:
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
            return _absolute_path(Document(text, "").data[key])
        except (ConfigError, KeyError, TypeError, ValueError):
            continue
    default: Path = Config.model_fields[key].default
    return default


# --- the rest of the environment --------------------------------------------------------------------------


def is_read_by_journal(fd: int) -> bool:
    """Tell whether systemd's journal reads this descriptor (systemd.exec(5), JOURNAL_STREAM)."""
    device, _, inode = os.environ.get("JOURNAL_STREAM", "").partition(":")
    try:
        found = os.fstat(fd)
    except OSError:
        return False
    return (device, inode) == (str(found.st_dev), str(found.st_ino))


def notify_socket() -> str:
    """Return the address where systemd wants to be told of our state, empty for none (sd_notify(3))."""
    return os.environ.get("NOTIFY_SOCKET", "")
