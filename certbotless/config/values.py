"""The values that the configuration file may have: the form of each kind, as pydantic checks it.

Each kind of value states its form once, as a constraint of pydantic. What no constraint can check, a function
checks: it returns the value or raises a `ValueError`, or a `ValueFault` with its own words. All other words
for people are in `diagnostics`. `load` checks values against each other.

Source: the key table of docs/configuration.md.
"""

import ipaddress
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import time, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic_core import CoreSchema, core_schema

from ..base.checked import Mark, after
from ..base.errors import ValueFault
from ..base.names import certified_name, normalise
from ..base.words import N_, Text, _
from .addresses import IPV4
from .secret import Secret
from .site_names import is_of_a_lan, permit_entry, shared_name, site_domain

DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
    "zerossl": "https://acme.zerossl.com/v2/DV90",
    "google": "https://dv.acme-v02.api.pki.goog/directory",
    "google-staging": "https://dv.acme-v02.test-api.pki.goog/directory",
    # Of TrustAsia, in China.
    "litessl": "https://acme.litessl.com/acme/v2/directory",
}
WORDS = {url: word for word, url in DIRECTORIES.items()}
# Those of certificates that no client trusts.
STAGING_WORDS = ("letsencrypt-staging", "google-staging")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True, slots=True)
class Reload:
    """What makes a container read its files again: a restart, a signal, a program run in it, or nothing."""

    kind: Literal["restart", "signal", "exec", "none"]
    signal: str = ""
    argv: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, object]:
        """The signal or the program, by name; empty for a restart and for nothing."""
        values = {"signal": self.signal, "argv": [*self.argv]}
        return {name: value for name, value in values.items() if value}

    @property
    def written(self) -> str | dict[str, object]:
        """The action as the file has it."""
        held: list[object] = [*self.values.values()]
        return {self.kind: held[0]} if held else self.kind

    def spoken(self, container: str) -> str:
        """Return what is done to a container, as a part of a sentence."""
        what = self.signal or " ".join(self.argv[:1])
        return _(_DONE[self.kind]).format(container, what)


# What each kind does to a container, {0}, with its signal or program, {1}.
_DONE = {
    "restart": N_("restart {0}"),
    "signal": N_("send {1} to {0}"),
    "exec": N_("run {1} in {0}"),
    "none": N_("wait for {0}"),
}


@dataclass(frozen=True, slots=True)
class Port:
    """Where a target serves TLS: a port on the site's address, elsewhere, or nowhere (no proof then)."""

    kind: Literal["number", "elsewhere", "none"]
    number: int = 0
    host: str = ""

    @property
    def written(self) -> str:
        """The port as the file has it."""
        host = f"[{self.host}]:" if ":" in self.host else f"{self.host}:" if self.host else ""
        return f"{host}{self.number or 'none'}"


@dataclass(frozen=True, slots=True)
class DailyWindow:
    """A daily window in local time; one that ends before it starts goes over midnight."""

    start: time
    end: time


# --- what no constraint can check ---------------------------------------------------------------------------


def _require(is_so: object) -> None:
    if not is_so:
        raise ValueError


def _printable(text: str) -> str:
    _require(text.isprintable())
    return text


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])


def short(duration: timedelta) -> str:
    """Return a duration as the file writes it, in its largest whole unit."""
    seconds = int(duration.total_seconds())
    unit = next(u for u in "dhms" if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def _path(text: str) -> Path:
    path = Path(text)
    if ".." in path.parts or not text.isprintable():
        raise ValueFault(Text("must be a path of printable characters, without .."))
    return path


def _directory(text: str) -> str:
    _require(text in DIRECTORIES or _url(text).hostname)
    return text


def _endpoint(text: str) -> str:
    url = _url(text)
    _require(url.hostname and (url.scheme == "https" or is_loopback(url.hostname)))
    return f"{url.scheme}://{url.netloc}"


def _url(text: str) -> SplitResult:
    """Return the parts of a URL. Raises ValueError for what is none."""
    url = urlsplit(text)
    _require(url.port != 0 and text.isprintable() and " " not in text)
    return url


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_every_address(host: str) -> bool:
    """Whether who listens at this address listens at every one of this machine."""
    return ipaddress.ip_address(host).is_unspecified


def _host_and_port(text: str) -> str:
    _require(int(text.rpartition(":")[2]) <= 65535)
    return text


def _listen(text: str) -> str:
    # A name could lead to any address, and would need a resolver at each start.
    ipaddress.ip_address(text.rpartition(":")[0].strip("[]"))
    return _host_and_port(text)


def where_of(listen: str) -> tuple[str, int]:
    """Return the address and the port of a place to listen at."""
    host, _, port = listen.rpartition(":")
    return host.strip("[]"), int(port)


def _share(text: str) -> str:
    host, _ = where_of(_listen(text))
    if not is_of_a_lan(host):
        form = N_("{!r} is a public address: the root is handed out in the LAN only")
        raise ValueFault(Text(form, host))
    return text


def _notify_url(text: str) -> Secret:
    secret = Secret.parse(text)
    _require(secret.kind != "literal" or len(secret.where.split()) == 1)
    return secret


def _label(text: str) -> str:
    # Lengths in the pattern would cost each command 4 ms.
    key, _, value = text.partition("=")
    _require(len(key) <= 128 and len(value) <= 255)
    return _printable(text)


def _argv(words: tuple[str, ...]) -> tuple[str, ...]:
    # The log and `status` show it in one line.
    _require(words[0] and all(map(str.isprintable, words)))
    return words


def _signal(text: str) -> str:
    name = text.upper().removeprefix("SIG")
    _require(f"SIG{name}" in signal.Signals.__members__)
    # signal(7): no program can catch these two, so none reads its files again for them.
    if name in ("KILL", "STOP"):
        text = Text("{} makes no program read its files: write restart, or a signal such as HUP", name)
        raise ValueFault(text)
    return name


def _port(written: int | str) -> Port:
    if isinstance(written, int):
        return Port("number", written)
    if written == "none":
        return Port("none")
    host, _, number = _host_and_port(written).rpartition(":")
    _require(not host.isdigit())  # `5000:5000` is what docker has of a port
    return Port("elsewhere", int(number), host.strip("[]"))


def _window(written: str | None) -> DailyWindow | None:
    if written in (None, "now"):
        return None
    start, end = map(time.fromisoformat, str(written).split("-"))
    if start == end:
        raise ValueFault(Text("the window is empty"))
    return DailyWindow(start, end)


# --- kinds of values, as the model's fields have them -------------------------------------------------------


def _written(form: CoreSchema, make: Callable[[Any], object] | None = None) -> Mark:
    """Return the mark of a value that is written in this form; `make` turns it into the final value."""
    return lambda _: form if make is None else after(make)(form)


def _kind(pattern: str, make: Callable[[str], object] | None = None) -> Mark:
    """Return the mark of a value that is text of this form; `make` turns it into the final value."""
    return _written(core_schema.str_schema(pattern=pattern), make)


def _duration(least: str, most: str) -> Mark:
    bounds = f"{least}..{most}"

    def check(text: str) -> timedelta:
        duration = _seconds(text)
        if not _seconds(least) <= duration <= _seconds(most):
            raise ValueFault(Text("{0} is outside {1}", text, bounds))
        return duration

    return _kind("^[0-9]{1,9}[smhd]$", check)


def _number(least: int, most: int) -> Mark:
    return _written(core_schema.int_schema(ge=least, le=most))


def _one_key(key: str, value: CoreSchema) -> CoreSchema:
    return core_schema.typed_dict_schema({key: core_schema.typed_dict_field(value)}, extra_behavior="forbid")


# The scheme of a URL may be in capitals (RFC 3986, section 3.1).
_HTTP = "[Hh][Tt][Tt][Pp]"
# Labels that are neither empty nor too long: the resolver has its own errors for those.
_LABEL = "[A-Za-z0-9_-]{1,63}"
_PORT_NUMBER = "[1-9][0-9]{0,4}"
_HOST_AND_PORT = rf"({_LABEL}(\.{_LABEL})*\.?|\[[0-9A-Fa-f:.]+\]):{_PORT_NUMBER}"
_TIME_OF_DAY = "([01][0-9]|2[0-3]):[0-5][0-9]"

SecretValue = Annotated[Secret, _kind(r"\S", Secret.parse)]
NotifyUrl = Annotated[
    Secret, _kind(r"^\s*(\$\{|file:|credential:|[A-Za-z][A-Za-z0-9+.-]{0,31}://)", _notify_url)
]
PathValue = Annotated[Path, _kind("^/", _path)]
Name = Annotated[str, after(normalise)]
Domain = Annotated[str, after(site_domain)]
CertificateName = Annotated[str, after(certified_name)]
Wildcard = Annotated[str, after(shared_name)]
Permit = Annotated[str, after(permit_entry)]
CertificateLife = Annotated[timedelta, _duration("1d", "397d")]
Directory = Annotated[str, _kind(rf"^({'|'.join(DIRECTORIES)}|{_HTTP}[Ss]://\S+)$", _directory)]
Email = Annotated[str, _kind(r"^[^\s@,?]+@[^\s@,?]+$", _printable)]
Kid = Annotated[str, _kind("^[!-~]{1,256}$")]
Profile = Annotated[str, _kind("^[A-Za-z0-9._-]{1,64}$")]
Endpoint = Annotated[
    str, _kind(rf"^({_HTTP}[Ss]://[^\s/?#@]+|{_HTTP}://(127\.|localhost|\[::1\])[^\s/?#@]*)/*$", _endpoint)
]
HostAndPort = Annotated[str, _kind(f"^{_HOST_AND_PORT}$", _host_and_port)]
_LISTEN = rf"^({IPV4}|\[[0-9A-Fa-f:.]+\]):{_PORT_NUMBER}$"
Listen = Annotated[str, _kind(_LISTEN, _listen)]
Share = Annotated[str, _kind(_LISTEN, _share)]
DockerHost = Annotated[str, _kind(r"^(unix:///|tcp://)\S+$", _printable)]
PropagationTimeout = Annotated[timedelta, _duration("1s", "6h")]
CheckEvery = Annotated[timedelta, _duration("1s", "1d")]
ActionTimeout = Annotated[timedelta, _duration("1s", "10m")]
Ttl = Annotated[int, _number(1, 86400)]
Parallel = Annotated[int, _number(1, 64)]
# The engine's own rule for the names of containers.
Container = Annotated[str, _kind("^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")]
Label = Annotated[str, _kind(r"^[^\s=,]+(=.*)?$", _label)]
_WORDS = core_schema.tuple_variable_schema(core_schema.str_schema(), strict=False, min_length=1)
Argv = Annotated[tuple[str, ...], _written(_WORDS, _argv)]
ARGV_WORDS = N_(
    'must be a list of a program and its arguments, each one line of text: ["nginx", "-s", "reload"]'
)


def _way(written: object) -> str | None:
    """Return the form of a written action; None for an unknown one."""
    if isinstance(written, dict):
        return next(iter(written), None) if len(written) == 1 else None
    return str(written) if written in ("restart", "none") else None


def _action(written: str | dict[str, Any]) -> Reload:
    if isinstance(written, str):
        return Reload("none" if written == "none" else "restart")
    return (
        Reload("signal", written["signal"]) if "signal" in written else Reload("exec", argv=written["exec"])
    )


_ACTION = core_schema.tagged_union_schema(
    {
        "restart": core_schema.literal_schema(["restart"]),
        "none": core_schema.literal_schema(["none"]),
        "signal": _one_key("signal", after(_signal)(core_schema.str_schema(pattern="^[A-Za-z0-9]+$"))),
        "exec": _one_key("exec", after(_argv)(_WORDS)),
    },
    discriminator=_way,
)
ActionValue = Annotated[Reload, _written(_ACTION, _action)]
# By key: what a faulty action must be (diagnostics). {0} is the value as it is written.
ACTION_WORDS = {
    "action": N_('must be restart, {{signal: HUP}}, {{exec: ["nginx", "-s", "reload"]}} or none'),
    "signal": N_("{0!r} is not the name of a signal, such as HUP"),
    "exec": ARGV_WORDS,
}
_PORT = core_schema.union_schema(
    [core_schema.int_schema(ge=1, le=65535), core_schema.str_schema(pattern=f"^(none|{_HOST_AND_PORT})$")]
)
PortValue = Annotated[Port, _written(_PORT, _port)]
_WHEN = core_schema.nullable_schema(core_schema.str_schema(pattern=f"^(now|{_TIME_OF_DAY}-{_TIME_OF_DAY})$"))
When = Annotated[DailyWindow | None, _written(_WHEN, _window)]
