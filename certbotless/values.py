"""What a value of the configuration file may be, and how each is read.

A function here takes what YAML made of the text and returns the value, or raises a `ValueError` that says
what would be right. A kind of value is its type with that function, and with a pattern that tells an editor
roughly the same. What values say against each other is the matter of `configfile`.

Source: the key table of docs/configuration.md.
"""

from __future__ import annotations

import ipaddress
import re
import signal
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from .errors import printable
from .names import NameFault, normalise
from .secret import Secret

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
    # Of TrustAsia, in China.
    "litessl": "https://acme.litessl.com/acme/v2/directory",
}
# Labels that are neither empty nor too long: the resolver raises errors of its own for them.
_HOST_AND_PORT = re.compile(
    r"(?:[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[0-9A-F:.]+\]):([1-9][0-9]{0,4})", re.ASCII | re.IGNORECASE
)
_WINDOW = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])")
_NOTIFY_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}://\S*")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


IPVersion = Literal[4, 6]


@dataclass(frozen=True, slots=True)
class AddressRule:
    """How the wanted LAN address is found.

    Attributes:
        kind: by the default route, by an interface or a network of this machine, as written, or not at all.
        value: the interface's name, the network as ``10.0.0.0/8``, or the address; else empty.
        version: of IP: 4 for the A record, 6 for the AAAA record.
    """

    kind: Literal["auto", "interface", "network", "literal", "none"]
    value: str = ""
    version: IPVersion = 4


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


# --- reading --------------------------------------------------------------------------------------------


def _parse_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text" + ("" if value is None else ': put it in quotes, "..."'))
    return value


def _parse_duration(value: object) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,9})([smhd])", value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be a duration with its unit, like 30s, 10m, 6h or 30d")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


def _between(least: timedelta, most: timedelta) -> BeforeValidator:
    def check(value: object) -> timedelta:
        duration = _parse_duration(value)
        if not least <= duration <= most:
            raise ValueError(f"{value} is outside {short(least)}..{short(most)}")
        return duration

    return BeforeValidator(check)


def short(duration: timedelta) -> str:
    """Return a duration as the file writes it, in its largest whole unit."""
    seconds = int(duration.total_seconds())
    unit = next(u for u in "dhms" if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def parse_name(value: object) -> str:
    return _as_value_error(lambda: normalise(_parse_text(value)))


def parse_certificate_name(value: object) -> str:
    return _as_value_error(lambda: normalise(_parse_text(value), wildcard=True))


def _as_value_error(make: Any) -> str:
    try:
        return str(make())
    except NameFault as exc:
        raise ValueError(str(exc)) from exc


def parse_absolute_path(value: object) -> Path:
    path = Path(_parse_text(value))
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    if ".." in path.parts or not str(path).isprintable():
        raise ValueError("must be a path of printable characters, without ..")
    return path


def _parse_secret(value: object) -> Secret:
    return Secret.parse(_parse_text(value))


def _parse_notify_url(value: object) -> Secret:
    secret = _parse_secret(value)
    # What is wrong with it is said without it.
    if secret.kind == "literal" and not _NOTIFY_URL.fullmatch(secret.where):
        raise ValueError("must be a URL of apprise, like mailtos://..., or where one is: credential:NAME")
    return secret


def parse_directory(value: object) -> str:
    text = _parse_text(value)
    if text in DIRECTORIES:
        return text
    url = _url(text)
    if url.scheme != "https" or not url.hostname:
        known = ", ".join(DIRECTORIES)
        raise ValueError(f"{printable(text, 80)!r} is neither {known} nor an https:// URL")
    return text


def _parse_endpoint(value: object) -> str:
    text = _parse_text(value)
    url = _url(text)
    extras = url.path.strip("/") or url.query or url.fragment or "@" in url.netloc
    if url.scheme not in ("https", "http") or not url.hostname or extras:
        raise ValueError(f"{printable(text, 80)!r} is not of the form https://host[:port]")
    if url.scheme == "http" and not is_loopback(url.hostname):
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


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse_host_and_port(value: object) -> str:
    text = _parse_text(value)
    match = _HOST_AND_PORT.fullmatch(text)
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{printable(text, 80)!r} is not of the form host:port")
    return text


def _parse_listen(value: object) -> str:
    text = _parse_text(value)
    match = _HOST_AND_PORT.fullmatch(text)
    try:
        ipaddress.ip_address(text.rpartition(":")[0].strip("[]"))
    except ValueError:
        match = None
    # A name would be opened at whatever it leads to, and be a question to a resolver at each start.
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{printable(text, 80)!r} is not an IP address and a port, like 127.0.0.1:9109")
    return text


def parse_docker_host(value: object) -> str:
    text = _parse_text(value)
    shown = printable(text, 80)
    if text.startswith("ssh://"):
        # What the library needs for it is not installed, and root's key would be in the hands of a service.
        host = re.fullmatch(r"ssh://((?:[\w.-]+@)?[\w.-]+)(?::[0-9]+)?/?", text, re.ASCII)
        forward = f"ssh -nNT -L /run/remote-docker.sock:/var/run/docker.sock {host[1] if host else 'HOST'}"
        raise ValueError(
            f"{shown!r} cannot be used: forward the engine's socket ({forward}),"
            " and write unix:///run/remote-docker.sock"
        )
    if not re.fullmatch(r"(unix:///|tcp://)\S+", text) or not text.isprintable():
        raise ValueError(f"{shown!r} is not of the form unix:///path or tcp://host:port")
    return text


def parse_address(value: object) -> AddressRule:
    text = _parse_text(value)
    if text in ("auto", "none"):
        return AddressRule("auto" if text == "auto" else "none")
    if text.startswith("auto:"):
        return _parse_address_source(text.removeprefix("auto:"))
    try:
        return AddressRule("literal", str(ipaddress.IPv4Address(text)))
    except ValueError:
        forms = "auto, auto:INTERFACE, auto:NETWORK, an IPv4 address or none"
        raise ValueError(f"{printable(text, 80)!r} is not {forms}") from None


def _parse_address_source(text: str) -> AddressRule:
    if "/" in text:
        try:
            return AddressRule("network", str(ipaddress.IPv4Network(text)))
        except ValueError:
            raise ValueError(f"{printable(text, 80)!r} is not an IPv4 network like 10.0.0.0/8") from None
    # Digits and dots alone are a network cut short.
    if not _is_interface(text) or not text.strip("0123456789."):
        form = "an interface like eth0 nor a network like 10.0.0.0/8"
        raise ValueError(f"{printable(text, 80)!r} is neither {form}")
    return AddressRule("interface", text)


def _is_interface(text: str) -> bool:
    """The kernel's own rule for the names of interfaces."""
    return re.fullmatch(r"[^\s:/]{1,15}", text) is not None and text.isprintable()


def _parse_address6(value: object) -> AddressRule:
    text = _parse_text(value)
    if text in ("auto", "none"):
        return AddressRule("auto" if text == "auto" else "none", version=6)
    if text.startswith("auto:"):
        interface = text.removeprefix("auto:")
        if not _is_interface(interface):
            raise ValueError(f"{printable(interface, 80)!r} is not an interface like eth0")
        return AddressRule("interface", interface, version=6)
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        forms = "auto, auto:INTERFACE, an IPv6 address or none"
        raise ValueError(f"{printable(text, 80)!r} is not {forms}") from None
    is_of_a_link = address.is_link_local or address.scope_id is not None
    if is_of_a_link or address.is_multicast or address.is_unspecified or address.ipv4_mapped:
        raise ValueError(
            f"{printable(text, 80)!r} leads to no machine by itself; write a ULA or global address"
        )
    return AddressRule("literal", str(address), version=6)


def _parse_ttl(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number of seconds")
    if not 1 <= value <= 86400:
        raise ValueError(f"{value} is outside 1..86400 (Aliyun's free plan starts at 600)")
    return value


def _parse_parallel(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("must be a whole number")
    if not 1 <= value <= 64:
        raise ValueError(f"{value} is outside 1..64")
    return value


def _parse_word(value: object, pattern: str, what: str) -> str:
    text = _parse_text(value)
    if not re.fullmatch(pattern, text) or not text.isprintable():
        raise ValueError(f"{printable(text, 80)!r} is not {what}")
    return text


def parse_container(value: object) -> str:
    # The engine's own rule for container names.
    return _parse_word(value, r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}", "a container name")


def parse_label(value: object) -> str:
    return _parse_word(value, r"[^\s=,]{1,128}(=.{0,255})?", "a label: key or key=value")


def parse_argv(value: object) -> tuple[str, ...]:
    words = value if isinstance(value, list) else []
    # What is run stands in the log and in `status`, each of which is a line.
    if not words or not all(isinstance(word, str) and word.isprintable() for word in words) or not words[0]:
        raise ValueError(
            'must be a list of a program and its arguments, each one line of text: ["nginx", "-s", "reload"]'
        )
    return tuple(words)


def _parse_action(value: object) -> Action:
    if value == "restart":
        return Action("restart")
    if isinstance(value, dict) and value.keys() == {"exec"}:
        return Action("exec", argv=parse_argv(value["exec"]))
    if isinstance(value, dict) and value.keys() == {"signal"}:
        return Action("signal", signal=_parse_signal(value["signal"]))
    raise ValueError('must be restart, {signal: HUP} or {exec: ["nginx", "-s", "reload"]}')


def _parse_signal(value: object) -> str:
    name = _parse_text(value).upper().removeprefix("SIG")
    if f"SIG{name}" not in signal.Signals.__members__:
        raise ValueError(f"{printable(name, 40)!r} is not the name of a signal, such as HUP")
    # signal(7): no program can catch these two, so none reads its files anew for them.
    if name in ("KILL", "STOP"):
        raise ValueError(f"{name} makes no program read its files: write restart, or a signal such as HUP")
    return name


def _parse_port(value: object) -> Port:
    if value == "none":
        return Port("none")
    if isinstance(value, str) and ":" in value:
        host, _, number = _parse_host_and_port(value).rpartition(":")
        return Port("elsewhere", int(number), host.strip("[]"))
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise ValueError("must be a port number, 1..65535, or host:port, or none")
    return Port("number", value)


def _parse_window(value: object) -> Window | None:
    if value is None or value == "now":
        return None
    match = _WINDOW.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('must be now, or a daily window in local time, like "02:00-05:00"')
    start, end = (time(int(match[i]), int(match[i + 1])) for i in (1, 3))
    if start == end:
        raise ValueError("the window is empty")
    return Window(start, end)


def _parse_kid(value: object) -> str:
    text = _parse_text(value)
    if not re.fullmatch(r"[!-~]{1,256}", text):
        raise ValueError("must be the key id that the CA gave, printable ASCII")
    return text


def _parse_profile(value: object) -> str:
    return _parse_word(value, r"[A-Za-z0-9._-]{1,64}", "the name of a profile")


def parse_email(value: object) -> str:
    return _parse_word(value, r"[^\s@,?]+@[^\s@,?]+", "an e-mail address")


# --- kinds of values, as the model's fields have them ----------------------------------------------------


def _number(name: str, least: int, most: int) -> WithJsonSchema:
    return WithJsonSchema({"title": name, "type": "integer", "minimum": least, "maximum": most})


def _one_key(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}


def _form(name: str, pattern: str) -> WithJsonSchema:
    """Say how text is written: what the table of keys calls it, and roughly how an editor can tell it."""
    return WithJsonSchema({"title": name, "type": "string", "pattern": pattern})


_DURATION = _form("duration", "^[0-9]{1,9}[smhd]$")
SecretValue = Annotated[Secret, BeforeValidator(_parse_secret), _form("secret", r"\S")]
NotifyUrl = Annotated[
    Secret,
    BeforeValidator(_parse_notify_url),
    _form("secret URL", r"^\s*(\$\{|file:|credential:|[A-Za-z][A-Za-z0-9+.-]*://)"),
]
PathValue = Annotated[Path, BeforeValidator(parse_absolute_path), _form("absolute path", "^/")]
Name = Annotated[str, BeforeValidator(parse_name), _form("host name", r"^[^\s*/:]+\.[^\s*/:]+$")]
CertificateName = Annotated[
    str,
    BeforeValidator(parse_certificate_name),
    _form("host name or wildcard", r"^(\*\.)?[^\s*/:]+\.[^\s*/:]+$"),
]
Directory = Annotated[
    str,
    BeforeValidator(parse_directory),
    _form("name or https URL", rf"^({'|'.join(DIRECTORIES)}|https://\S+)$"),
]
Email = Annotated[str, BeforeValidator(parse_email), _form("e-mail address", r"^[^\s@,?]+@[^\s@,?]+$")]
Kid = Annotated[str, BeforeValidator(_parse_kid), _form("text", "^[!-~]{1,256}$")]
Profile = Annotated[str, BeforeValidator(_parse_profile), _form("text", "^[A-Za-z0-9._-]{1,64}$")]
Endpoint = Annotated[
    str,
    BeforeValidator(_parse_endpoint),
    _form("URL", r"^(https://[^\s/?#@]+|http://(127\.|localhost|\[::1\])[^\s/?#@]*)/*$"),
]
HostAndPort = Annotated[
    str, BeforeValidator(_parse_host_and_port), _form("host:port", r"^\S+:[1-9][0-9]{0,4}$")
]
Listen = Annotated[
    str,
    BeforeValidator(_parse_listen),
    _form("address:port", r"^([0-9]+(\.[0-9]+){3}|\[[0-9A-Fa-f:.]+\]):[1-9][0-9]{0,4}$"),
]
DockerHost = Annotated[
    str, BeforeValidator(parse_docker_host), _form("URL of a socket", r"^(unix:///|tcp://)\S+$")
]
Address = Annotated[
    AddressRule,
    BeforeValidator(parse_address),
    _form("address", r"^(auto|none|auto:[^\s:]+|[0-9]+(\.[0-9]+){3})$"),
]
Address6 = Annotated[
    AddressRule,
    BeforeValidator(_parse_address6),
    _form("IPv6 address", r"^(auto|none|auto:[^\s:/]+|[0-9A-Fa-f]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*)$"),
]
PropagationTimeout = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(hours=6)), _DURATION]
CheckEvery = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(days=1)), _DURATION]
StopTimeout = Annotated[timedelta, _between(timedelta(seconds=1), timedelta(minutes=10)), _DURATION]
Ttl = Annotated[int, BeforeValidator(_parse_ttl), _number("seconds", 1, 86400)]
Parallel = Annotated[int, BeforeValidator(_parse_parallel), _number("number", 1, 64)]
Container = Annotated[
    str, BeforeValidator(parse_container), _form("text", "^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")
]
Label = Annotated[str, BeforeValidator(parse_label), _form("text", r"^[^\s=,]{1,128}(=.{0,255})?$")]
_ARGV = {"type": "array", "items": {"type": "string"}, "minItems": 1}
Argv = Annotated[
    tuple[str, ...], BeforeValidator(parse_argv), WithJsonSchema({"title": "list of text", **_ARGV})
]
ActionValue = Annotated[
    Action,
    BeforeValidator(_parse_action),
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
    BeforeValidator(_parse_port),
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
    BeforeValidator(_parse_window),
    WithJsonSchema(
        {
            "title": 'now or "HH:MM-HH:MM"',
            "oneOf": [{"type": "null"}, {"type": "string", "pattern": f"^(now|{_WINDOW.pattern})$"}],
        }
    ),
]
