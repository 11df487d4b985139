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
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import ErrorDetails

from . import document
from .document import Document, Fault
from .errors import CertbotlessError, ConfigError, SecretUnreadable, printable
from .names import NameFault, is_in_zone, normalise
from .secret import Secret

T = TypeVar("T")

DEFAULT_FILE = Path("/etc/certbotless/config.yaml")

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
}
DOCKER_SOCKET = "unix:///var/run/docker.sock"
_NEED_EAB = ("zerossl", "google")
# Labels that are neither empty nor too long: the resolver raises errors of its own for them.
_HOST_AND_PORT = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9A-F:.]+\]):([1-9][0-9]{0,4})", re.ASCII | re.IGNORECASE
)
_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


# --- values ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddressRule:
    """How the wanted LAN address is found.

    Attributes:
        kind: by the default route, by an interface or a network of this machine, as written, or not at all.
        value: the interface's name, the network as ``10.0.0.0/8``, or the address; else empty.
    """

    kind: Literal["auto", "interface", "network", "literal", "none"]
    value: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What makes a container read its files anew: a restart, a signal, or a program run in it."""

    kind: Literal["restart", "signal", "exec"]
    signal: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """Where a target serves TLS: a port on the site's address, elsewhere, or nowhere that could be proved."""

    kind: Literal["number", "elsewhere", "none"]
    number: int = 0
    host: str = ""


@dataclass(frozen=True, slots=True)
class Window:
    """A daily window in local time; one that ends before it starts goes over midnight."""

    start: time
    end: time


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
            raise ValueError(f"{value} is outside {short(least)}..{short(most)}")
        return duration

    return BeforeValidator(check)


def short(duration: timedelta) -> str:
    """Return a duration as the file writes it, in its largest whole unit."""
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
        return _address_source(text.removeprefix("auto:"))
    try:
        return AddressRule("literal", str(ipaddress.IPv4Address(text)))
    except ValueError:
        forms = "auto, auto:INTERFACE, auto:NETWORK, an IPv4 address or none"
        raise ValueError(f"{printable(text, 80)!r} is not {forms}") from None


def _address_source(text: str) -> AddressRule:
    if "/" in text:
        try:
            return AddressRule("network", str(ipaddress.IPv4Network(text)))
        except ValueError:
            raise ValueError(f"{printable(text, 80)!r} is not an IPv4 network like 10.0.0.0/8") from None
    # The kernel's own rule for the names of interfaces. Digits and dots alone are a network cut short.
    if not re.fullmatch(r"[^\s:]{1,15}", text) or not text.isprintable() or not text.strip("0123456789."):
        form = "an interface like eth0 nor a network like 10.0.0.0/8"
        raise ValueError(f"{printable(text, 80)!r} is neither {form}")
    return AddressRule("interface", text)


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


def _label(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[^\s=,]{1,128}(=.{0,255})?", text) or not text.isprintable():
        raise ValueError(f"{printable(text, 80)!r} is not a label: key or key=value")
    return text


def _argv(value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    # What is run stands in the log and in `status`, each of which is a line.
    if not words or not all(isinstance(word, str) and word.isprintable() for word in words) or not words[0]:
        raise ValueError(
            'must be a list of a program and its arguments, each one line of text: ["nginx", "-s", "reload"]'
        )
    return tuple(words)


def _action(value: object) -> Action:
    if value == "restart":
        return Action("restart")
    if isinstance(value, dict) and value.keys() == {"exec"}:
        return Action("exec", argv=_argv(value["exec"]))
    if isinstance(value, dict) and value.keys() == {"signal"}:
        return Action("signal", signal=_signal(value["signal"]))
    raise ValueError('must be restart, {signal: HUP} or {exec: ["nginx", "-s", "reload"]}')


def _signal(value: object) -> str:
    name = _text(value).upper().removeprefix("SIG")
    if f"SIG{name}" not in signal.Signals.__members__:
        raise ValueError(f"{printable(name, 40)!r} is not the name of a signal, such as HUP")
    # signal(7): no program can catch these two, so none reads its files anew for them.
    if name in ("KILL", "STOP"):
        raise ValueError(f"{name} makes no program read its files: write restart, or a signal such as HUP")
    return name


def _port(value: object) -> Port:
    if value == "none":
        return Port("none")
    if isinstance(value, str) and ":" in value:
        host, _, number = _nameserver(value).rpartition(":")
        return Port("elsewhere", int(number), host.strip("[]"))
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError("must be a port number, 1..65535, or host:port, or none")
    return Port("number", value)


def _window(value: object) -> Window | None:
    if value is None or value == "now":
        return None
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be now, or a daily window in local time, like "02:00-05:00"')
    start, end = (time(int(match[i]), int(match[i + 1])) for i in (1, 3))
    if start == end:
        raise ValueError("the window is empty")
    return Window(start, end)


def _kid(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[!-~]{1,256}", text):
        raise ValueError("must be the key id that the CA gave, printable ASCII")
    return text


def _profile(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise ValueError(f"{printable(text, 80)!r} is not the name of a profile")
    return text


def _email(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[^\s@,?]+@[^\s@,?]+", text) or not text.isprintable():
        raise ValueError(f"{printable(text, 80)!r} is not an e-mail address")
    return text


def _records(value: object) -> object:
    if value == "all":
        raise ValueError("not supported yet; only 'domain' is")
    return value


def _number(name: str, least: int, most: int) -> WithJsonSchema:
    return WithJsonSchema({"title": name, "type": "integer", "minimum": least, "maximum": most})


def _one_key(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def _form(name: str, pattern: str) -> WithJsonSchema:
    """Say how text is written: what the table of keys calls it, and roughly how an editor can tell it."""
    return WithJsonSchema({"title": name, "type": "string", "pattern": pattern})


_DURATION = _form("duration", "^[0-9]{1,9}[smhd]$")
SecretValue = Annotated[Secret, BeforeValidator(_secret), _form("secret", r"\S")]
PathValue = Annotated[Path, BeforeValidator(_absolute_path), _form("absolute path", "^/")]
Name = Annotated[str, BeforeValidator(_name), _form("host name", r"^[^\s*/:]+\.[^\s*/:]+$")]
CertificateName = Annotated[
    str,
    BeforeValidator(_certificate_name),
    _form("host name or wildcard", r"^(\*\.)?[^\s*/:]+\.[^\s*/:]+$"),
]
Directory = Annotated[
    str,
    BeforeValidator(_directory),
    _form("name or https URL", rf"^({'|'.join(DIRECTORIES)}|https://\S+)$"),
]
Email = Annotated[str, BeforeValidator(_email), _form("e-mail address", r"^[^\s@,?]+@[^\s@,?]+$")]
Kid = Annotated[str, BeforeValidator(_kid), _form("text", "^[!-~]{1,256}$")]
Profile = Annotated[str, BeforeValidator(_profile), _form("text", "^[A-Za-z0-9._-]{1,64}$")]
Endpoint = Annotated[
    str,
    BeforeValidator(_endpoint),
    _form("URL", r"^(https://[^\s/?#@]+|http://(127\.|localhost|\[::1\])[^\s/?#@]*)/*$"),
]
HostAndPort = Annotated[str, BeforeValidator(_nameserver), _form("host:port", r"^\S+:[1-9][0-9]{0,4}$")]
DockerHost = Annotated[
    str, BeforeValidator(_docker_host), _form("URL of a socket", r"^(unix:///|tcp://|ssh://)\S+$")
]
Address = Annotated[
    AddressRule,
    BeforeValidator(_address),
    _form("address", r"^(auto|none|auto:[^\s:]+|[0-9]+(\.[0-9]+){3})$"),
]
PropagationTimeout = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(hours=6)), _DURATION]
CheckEvery = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(days=1)), _DURATION]
StopTimeout = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(minutes=10)), _DURATION]
Ttl = Annotated[int, BeforeValidator(_ttl), _number("seconds", 1, 86400)]
Parallel = Annotated[int, BeforeValidator(_parallel), _number("number", 1, 64)]
Container = Annotated[str, BeforeValidator(_container), _form("text", "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")]
Label = Annotated[str, BeforeValidator(_label), _form("text", r"^[^\s=,]{1,128}(=.{0,255})?$")]
_ARGV = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Argv = Annotated[tuple[str, ...], BeforeValidator(_argv), WithJsonSchema({"title": "list of text", **_ARGV})]
ActionValue = Annotated[
    Action,
    BeforeValidator(_action),
    WithJsonSchema(
        {
            "title": "restart, {signal: NAME} or {exec: [...]}",
            "oneOf": [
                {"const": "restart"},
                _one_key("signal", {"type": "string", "pattern": "^[A-Za-z0-9]+$"}),
                _one_key("exec", _ARGV),
            ],
        }
    ),
]
PortValue = Annotated[
    Port,
    BeforeValidator(_port),
    WithJsonSchema(
        {
            "title": "number, host:port or none",
            "oneOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": r"^(none|\S+:[1-9][0-9]{0,4})$"},
            ],
        }
    ),
]
When = Annotated[
    Window | None,
    BeforeValidator(_window),
    WithJsonSchema(
        {
            "title": 'now or "HH:MM-HH:MM"',
            "oneOf": [{"type": "null"}, {"type": "string", "pattern": f"^(now|{_WINDOW.pattern})$"}],
        }
    ),
]


# --- the model ------------------------------------------------------------------------------------------


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, strict=True)


class Eab(_Model):
    """External account binding (RFC 8555, 7.3.4): ties a new account to one that the CA knows."""

    kid: Kid = Field(description="The key id that the CA gave.", examples=["kid-1"])
    hmac_key: SecretValue = Field(
        description="The MAC key that the CA gave, base64url.",
        examples=["file:/etc/certbotless/eab_hmac_key"],
    )


class Acme(_Model):
    """The certificate authority and our account there."""

    model_config = ConfigDict(
        json_schema_extra={
            "if": {"properties": {"directory": {"enum": list(_NEED_EAB)}}, "required": ["directory"]},
            "then": {"properties": {"eab": {"type": "object"}}, "required": ["eab"]},
        }
    )

    directory: Directory = Field(
        default="letsencrypt",
        description="The CA: letsencrypt, letsencrypt-staging, zerossl, google, or the URL of another's "
        "ACME directory. Another directory orders a new certificate.",
        examples=[*DIRECTORIES, "https://ca.example.com/acme/directory"],
    )
    email: Email | None = Field(
        default=None,
        description="Where the CA may write to, told when an account is made.",
        examples=["a@b.com"],
    )
    ca_bundle: PathValue | None = Field(
        default=None,
        description="PEM file of the roots to trust for the connection to a private ACME server; "
        "not for what it issues.",
        examples=["/etc/certbotless/private-ca.pem"],
    )
    eab: Eab | None = Field(
        default=None, description="External account binding; zerossl and google need it for a new account."
    )
    profile: Profile | None = Field(
        default=None,
        description="ACME profile to ask for; refused before an order if the CA lists profiles without "
        "it. It counts from the next order on.",
        examples=["shortlived"],
    )
    key_type: Literal["ec256", "ec384", "rsa2048", "rsa4096"] = Field(
        default="ec256",
        description="Kind of the certificate's key. Another kind orders a new certificate.",
        examples=["ec256", "rsa2048"],
    )

    @property
    def url(self) -> str:
        """The directory's URL."""
        return DIRECTORIES.get(self.directory, self.directory)


class Aliyun(_Model):
    """The account at Aliyun DNS."""

    access_key_id: SecretValue = Field(
        description="The AccessKey of a RAM user that may list, add, update and delete the zone's records.",
        examples=["file:/etc/certbotless/access_key_id"],
    )
    access_key_secret: SecretValue = Field(
        description="The secret of that AccessKey.",
        examples=["file:/etc/certbotless/access_key_secret"],
    )
    security_token: SecretValue | None = Field(
        default=None,
        description="The token of a temporary AccessKey (STS), read anew in each run.",
        examples=["file:/run/sts/token"],
    )
    endpoint: Endpoint = Field(
        default="https://alidns.aliyuncs.com",
        description="The API: https://host[:port]; plain http only to loopback.",
        examples=["https://alidns.ap-southeast-1.aliyuncs.com"],
    )
    ca_bundle: PathValue | None = Field(
        default=None,
        description="PEM file of the roots to trust for the connection to the API.",
        examples=["/etc/certbotless/proxy-ca.pem"],
    )


class Dns(_Model):
    """How changes of the zone are watched."""

    nameservers: tuple[HostAndPort, ...] = Field(
        default=(),
        strict=False,
        description="Name servers to ask instead of the zone's own authoritative ones.",
        examples=[["127.0.0.1:5353"]],
    )
    propagation_timeout: Annotated[
        timedelta, _between(timedelta(seconds=1), timedelta(hours=6)), _DURATION
    ] = Field(
        default=timedelta(minutes=10),
        description="How long to wait, 1s to 6h, until every name server shows a change.",
        examples=["10m"],
    )


class Docker(_Model):
    """The engine that runs the containers."""

    host: DockerHost = Field(
        default_factory=lambda: os.environ.get("DOCKER_HOST") or DOCKER_SOCKET,
        description="The engine's socket; the environment's DOCKER_HOST takes the place of this default.",
        examples=["unix:///run/user/1000/docker.sock", "tcp://127.0.0.1:2375"],
        json_schema_extra={"default": DOCKER_SOCKET},
    )


class Target(_Model):
    """What serves the certificate of its site: a container, every container with a label, or a command."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["container"], "properties": {"container": {"type": "string"}}},
                {"required": ["label"], "properties": {"label": {"type": "string"}}},
                {
                    "required": ["command", "port"],
                    "properties": {
                        "command": {"type": "array"},
                        "port": {"type": ["integer", "string"]},
                        "action": False,
                    },
                },
            ]
        }
    )

    container: Container | None = Field(
        default=None,
        description="Name of the container that serves the certificate. A target has one of container, "
        "label and command.",
        examples=["registry"],
    )
    label: Label | None = Field(
        default=None,
        description="Label, key or key=value, of containers that serve the certificate: all that have "
        "it, one after the other; if the first fails, the others stay as they are.",
        examples=["certbotless.reload=devbox"],
    )
    command: Argv | None = Field(
        default=None,
        description="Program and arguments to run on this machine, without a shell, when the certificate is "
        "new; it needs port.",
        examples=[["systemctl", "reload", "nginx"]],
    )
    action: ActionValue = Field(
        default=Action("restart"),
        description="What makes the container read its files anew: a restart, a signal, or a program run "
        "in it. Not with command.",
        examples=["restart", {"signal": "HUP"}, {"exec": ["nginx", "-s", "reload"]}],
    )
    port: PortValue | None = Field(
        default=None,
        description="Where it serves TLS, so that it can be proved: a port of the site's address, "
        "a host:port, or none for no proof. Absent: the container's one published port.",
        examples=[5000, "10.0.0.5:443", "none"],
    )
    when: When = Field(
        default=None,
        description="When the action may be taken: at once, or in a daily window of local time; "
        "a certificate that would expire does not wait for it.",
        examples=["now", "02:00-05:00"],
        json_schema_extra={"default": "now"},
    )
    stop_timeout: StopTimeout = Field(
        default=timedelta(seconds=10),
        description="How long a restart lets the container end by itself, 1s to 10m.",
        examples=["10s"],
    )

    @property
    def name(self) -> str:
        """What the target is called in status, state and log."""
        return _target_name(self.container, self.label, self.command)


def _target_name(
    container: str | None = None, label: str | None = None, command: tuple[str, ...] | None = None
) -> str:
    if container is not None:
        return container
    return f"label:{label}" if label is not None else shlex.join(command or ())


class Site(_Model):
    """One public name that points at this machine, its certificate, and who serves it."""

    domain: Name = Field(
        description="Names the files, the A record and the certificate; never a wildcard.",
        examples=["registry.example.com"],
    )
    names: tuple[CertificateName, ...] = Field(
        default=(),
        strict=False,
        description="Further names of the certificate, also wildcards. Another set orders a new one.",
        examples=[["*.registry.example.com"]],
    )
    zone: Name | None = Field(
        default=None,
        description="The zone at Aliyun DNS that holds the names. Absent: found through the API, once.",
        examples=["example.com"],
    )
    address: Address = Field(
        default=AddressRule("auto"),
        description="What the A record shows: auto, the address of the default route; auto:INTERFACE or "
        "auto:NETWORK, the one there; an IPv4 address as written; none: there is no record.",
        examples=["auto", "auto:eth0", "auto:10.0.0.0/8", "10.0.0.5", "none"],
    )
    ttl: Ttl = Field(
        default=600,
        description="TTL of the A record in seconds, 1 to 86400; Aliyun's free plan starts at 600.",
        examples=[600],
    )
    records: Annotated[Literal["domain"], BeforeValidator(_records)] = Field(
        default="domain", description="Which names get the A record: the domain.", examples=["domain"]
    )
    certs_dir: PathValue | None = Field(
        default=None,
        description="A folder of its own for this site's files, so that its container sees no other key. "
        "Absent: the certs_dir of the file.",
        examples=["/certs/registry"],
    )
    deploy: tuple[Target, ...] = Field(
        default=(),
        strict=False,
        description="Who serves the certificate. Empty: the site is well when it is published.",
    )

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
    certs_dir: PathValue = Field(
        default=Path("/certs"),
        description="The folder of the published files: DOMAIN.pem and DOMAIN.key of each site.",
        examples=["/certs"],
    )
    state_dir: PathValue = Field(
        default=Path("/var/lib/certbotless"),
        description="The folder of what runs remember: accounts, orders, limits, events.",
        examples=["/var/lib/certbotless"],
    )
    check_every: Annotated[timedelta, _between(timedelta(seconds=1), timedelta(days=1)), _DURATION] = Field(
        default=timedelta(minutes=1),
        description="How often, 1s to 1d, the daemon looks whether all is as it should be.",
        examples=["1m"],
    )
    parallel: Parallel = Field(
        default=8,
        description="How many sites, 1 to 64, talk to the CA or the API at a time; those that wait for DNS "
        "or the CA do not count.",
        examples=[8],
    )
    key_mode: Literal["0600", "0640"] = Field(
        default="0600",
        description="Mode of the key files; 0640 lets the group of certs_dir read them.",
        examples=["0600", "0640"],
    )
    sites: tuple[Site, ...] = Field(
        strict=False, description="The public names to keep.", json_schema_extra={"minItems": 1}
    )

    # Of each secret, as last read: who reads it first may be another user than who goes on (owner.py).
    _secrets_seen: dict[str, str] = PrivateAttr(default_factory=dict)

    def secrets(self) -> dict[str, Secret]:
        """Return every secret by the path of its key."""
        found = {
            "aliyun.access_key_id": self.aliyun.access_key_id,
            "aliyun.access_key_secret": self.aliyun.access_key_secret,
        }
        if self.aliyun.security_token is not None:
            found["aliyun.security_token"] = self.aliyun.security_token
        if self.acme.eab is not None:
            found["acme.eab.hmac_key"] = self.acme.eab.hmac_key
        return found

    def certs_dir_of(self, site: Site) -> Path:
        """Return the folder of the site's pair."""
        return site.certs_dir or self.certs_dir

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
        for path, secret in self.secrets().items():
            try:
                self._secrets_seen[path] = hashlib.sha256(secret.read().encode()).hexdigest()
            except CertbotlessError as exc:
                self._secrets_seen.setdefault(path, exc.message)
        secrets = sorted(self._secrets_seen.items())
        parts = [self.acme, self.aliyun, self.dns, self.docker, self.certs_dir, site, secrets]
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
    if kind == "literal_error":
        return doc.fault(path, error["msg"].replace("Input should be", "must be"))
    return doc.fault(path, _TEXTS.get(kind, error["msg"]))


def _keys_at(path: document.Path) -> list[str]:
    model: Any = Config
    for step in path:
        if isinstance(step, str):
            model = _CHILDREN[model, step]
    return list(model.model_fields)


_CHILDREN: dict[tuple[type[_Model], str], type[_Model]] = {
    (Config, "acme"): Acme,
    (Acme, "eab"): Eab,
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
    if isinstance(acme, dict) and directory in _NEED_EAB and acme.get("eab") is None:
        yield doc.fault(("acme", "directory"), f"{directory} needs eab: {{kid: ..., hmac_key: ...}}")
    if doc.data.get("sites") == []:
        # Not left to pydantic, for which a list of bad entries is an empty one.
        yield doc.fault(("sites",), "needs at least one entry")
    sites = _mappings(doc.data.get("sites"))
    domains = [_valid(_name, site.get("domain")) for site in sites]
    for i, other in _repeats(domains):
        text = f"{domains[i]!r} is already the domain of sites[{other}]"
        yield doc.fault(("sites", i, "domain"), text)
    for i, site in enumerate(sites):
        names = [_valid(_certificate_name, name) for name in _entries(site.get("names"))]
        yield from _check_zone(doc, i, _valid(_name, site.get("zone")), domains[i], names)
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


def _check_wildcards(doc: Document, i: int, domain: str | None, names: list[str | None]) -> Iterator[Fault]:
    """Let's Encrypt refuses an order for a wildcard and a name that it covers as malformed."""
    for j, wildcard in enumerate(names):
        if wildcard is None or not wildcard.startswith("*."):
            continue
        for name in sorted({name for name in (domain, *names) if name is not None} - {wildcard}):
            if name.partition(".")[2] == wildcard.removeprefix("*."):
                text = f"{wildcard!r} covers {name!r} already: a CA refuses the two in one certificate"
                yield doc.fault(("sites", i, "names", j), text)


_WAYS: dict[str, Callable[[object], Any]] = {"container": _container, "label": _label, "command": _argv}


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
        name = None if value is None else _target_name(**{way: value})
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
