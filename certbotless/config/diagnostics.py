"""The words for each wrong value of the configuration: one line for each error of pydantic.

They say what is wrong and what would be right. They are in the tables here, or in a `ValueFault`. `_SLIPS`
has what people are known to write instead of the right thing.

Source: pydantic's list of the kinds of errors, ``docs/errors/validation_errors.md``.
"""

import difflib
import re
from collections.abc import Callable
from typing import Any

from pydantic_core import ErrorDetails, SchemaValidator, ValidationError, core_schema

from ..base.checked import Model, fields_of
from ..base.errors import ValueFault, printable
from ..base.words import N_, Text
from . import credentials
from .addresses import IPV4
from .settings import SECRET_KEYS, Acme, Aliyun, Config, Dns, Docker, Eab, Http, LocalCaSettings, Site
from .site_names import public_name
from .targets import SecretFiles, Target
from .values import ACTION_WORDS, ARGV_WORDS, DIRECTORIES
from .yaml_document import Document, Fault, Path, dotted

_DURATION = N_("must be a duration with its unit, like 30s, 10m, 6h or 30d")
_PATH = N_("must be an absolute path")
_INTERFACE = N_("{0!r} is not an address: for that of an interface write auto:{0}")


def _bounds(model: type[Model], key: str) -> str:
    """Return the least and the most that the model says of a number, as ``1..64``."""
    schema: Any = fields_of(model)[key]["schema"]
    return f"{schema['ge']}..{schema['le']}"


# By key: what its value must be. {0} is the value as it is written, {1} that of `_FORM_VALUES`.
_FORMS = {
    "directory": N_("{0!r} is neither {1} nor an https:// URL"),
    "email": N_("{0!r} is not an e-mail address"),
    "kid": N_("must be the key id that the CA gave, printable ASCII"),
    "profile": N_("{0!r} is not the name of a profile"),
    "endpoint": N_("{0!r} is not of the form https://host[:port]"),
    "sts_endpoint": N_("{0!r} is not of the form https://host[:port]"),
    "nameservers": N_("{0!r} is not of the form host:port"),
    "propagation_timeout": _DURATION,
    "host": N_("{0!r} is not of the form unix:///path or tcp://host:port"),
    "listen": N_("{0!r} is not an IP address and a port, like 127.0.0.1:9109"),
    "share": N_("{0!r} is not an IP address and a port, like 10.0.0.5:9110"),
    "certs_dir": _PATH,
    "state_dir": _PATH,
    "ca_bundle": _PATH,
    "check_every": _DURATION,
    "lifetime": _DURATION,
    "permit": N_("{0!r} is neither a domain nor a private network, like 10.0.0.0/8 or fc00::/7"),
    "parallel": N_("{0} is outside {1}"),
    "notify": N_("must be a URL of apprise, like mailtos://..., or where one is: credential:NAME"),
    "address": N_("{0!r} is not auto, auto:INTERFACE, auto:NETWORK, an IPv4 address or none"),
    "address[]": N_("{0!r} is not an IPv4 address, like 10.0.0.5"),
    "address6": N_("{0!r} is not auto, auto:INTERFACE, an IPv6 address or none"),
    "ttl": N_("{0} is outside {1} (Aliyun's free plan starts at 600)"),
    "container": N_("{0!r} is not a container name"),
    "label": N_("{0!r} is not a label: key or key=value"),
    "service": N_("{0!r} is not the name of a service"),
    **dict.fromkeys(("cert", "key"), N_("{0!r} is not the name of a file")),
    "command": ARGV_WORDS,
    **credentials.WORDS,
    **ACTION_WORDS,
    "port": N_("must be a port number, 1..65535 without quotes, or host:port, or none"),
    "when": N_('must be now, or a daily window in local time, like "02:00-05:00"'),
    "stop_timeout": _DURATION,
    "timeout": _DURATION,
    **dict.fromkeys(("access_key_id", "access_key_secret", "security_token", "hmac_key"), N_("is empty")),
}
_FORM_VALUES = {
    "directory": ", ".join(DIRECTORIES),
    "parallel": _bounds(Config, "parallel"),
    "ttl": _bounds(Site, "ttl"),
}
# Hints, by key and by a pattern of the whole value. The first match counts; {1} is the pattern's group.
# The group may be absent for a host alone.
_SLIPS = (
    *(
        (
            key,
            r"(?i:http)://[^\s/?#@]+/*",
            N_("plain http is for loopback only (127.0.0.0/8, ::1, localhost): write https"),
        )
        for key in ("endpoint", "sts_endpoint")
    ),
    # What the library needs for SSH is not installed, and root's key would be in the hands of a service.
    (
        "host",
        r"ssh://(?:((?:[A-Za-z0-9_.-]+@)?[A-Za-z0-9_.-]+)(?::[0-9]+)?/?|.*)",
        N_(
            "{0!r} cannot be used: forward the engine's socket (ssh -nNT -L "
            "/run/remote-docker.sock:/var/run/docker.sock {1}), and write unix:///run/remote-docker.sock"
        ),
    ),
    (
        "address",
        rf"{IPV4}(?:(?:\s*[,;]\s*|\s+){IPV4})+",
        N_("{0!r} is several addresses: write them as a list, like [10.0.0.5, 10.0.0.6]"),
    ),
    ("address", "auto:(.*/.*)", N_("{1!r} is not an IPv4 network like 10.0.0.0/8")),
    ("address", "auto:(.*)", N_("{1!r} is neither an interface like eth0 nor a network like 10.0.0.0/8")),
    ("address6", "auto:(.*)", N_("{1!r} is not an interface like eth0")),
    ("address6", ".*:.*%.*", N_("{0!r} leads to no machine by itself; write a ULA or global address")),
    (
        "address",
        f"({IPV4})/.*",
        N_("{0!r} is a network: write {1}, or auto: and the network, like auto:10.0.0.0/24"),
    ),
    (
        "address",
        "[A-Za-z][A-Za-z0-9._-]{0,14}",
        _INTERFACE,
    ),
    (
        "address6",
        "[A-Za-z][A-Za-z0-9._-]{0,14}",
        _INTERFACE,
    ),
    (
        "listen",
        "(?:localhost:|:)?([1-9][0-9]{0,4})",
        N_("{0!r} is not an IP address and a port: write 127.0.0.1:{1}"),
    ),
    (
        "role",
        "acs:ram::[^:]*:user/.*",
        N_("{0!r} is a user: write the role that it assumes, acs:ram::ACCOUNT:role/NAME"),
    ),
    (
        "share",
        "(?:(?:[A-Za-z][A-Za-z0-9.-]*)?:)?([1-9][0-9]{0,4})",
        N_("{0!r} is not an IP address and a port: write the LAN address, like 10.0.0.5:{1}"),
    ),
    ("ttl", ".*[^-0-9].*", N_("must be a whole number of seconds")),
    (
        "port",
        "([0-9]{1,5}):[0-9]+",
        N_("{0!r} names two ports: write only {1}, the one at which clients reach the service"),
    ),
    ("port", ".*:.*", N_("{0!r} is not of the form host:port")),
    *(
        (key, pattern, text)
        for key in ("domain", "names", "zone")
        for pattern, text in (
            (r"(?i:https?)://([^/:]+).*", N_("{0!r} is a web address: write only the name, {1}")),
            (r"([^/:]+):[0-9]+", N_("{0!r} has a port: write only the name, {1}")),
            (r"(\w[\w.-]*)/.*", N_("{0!r} has a path: write only the name, {1}")),
            (IPV4, N_("{0!r} is an IP address: a certificate is for a name, like registry.example.com")),
            (r"[^.*]+", N_("{0!r} has no domain: write the full name, like {0}.example.com")),
        )
    ),
)
_SLIP_KEYS = {key for key, _, _ in _SLIPS}
# By pydantic's name of the kind of error, for kinds whose words do not depend on the key.
_KINDS = {
    "missing": N_("is needed"),
    "dict_type": N_("must be a mapping: write its keys below it, each as 'key: value'"),
    "tuple_type": N_("must be a list: begin each entry with '- '"),
    "too_short": N_("needs at least one entry"),
    "string_type": N_('must be text: put it in quotes, "..."'),
    "int_type": N_("must be a whole number"),
}
# Keys with the same words for a wrong value of any type.
_SELF_EVIDENT = {
    "propagation_timeout",
    "check_every",
    "stop_timeout",
    "timeout",
    "command",
    "action",
    "exec",
    "port",
    "when",
}
# A fault of a part of these is told as a fault of the whole: their parts have no names.
_WHOLE = ("credentials", "command", "action", "port")
_MODELS: tuple[type[Model], ...] = (Acme, Aliyun, Dns, Docker, Eab, Http)
_SECTIONS = {model.__name__.lower(): model for model in _MODELS} | {
    "local_ca": LocalCaSettings,
    "sites": Site,
    "deploy": Target,
    "secrets": SecretFiles,
}


def place_of(error: ErrorDetails) -> Path:
    """Return the path of the wrong value."""
    loc = error["loc"]
    return loc[: next((i + 1 for i, step in enumerate(loc) if step in _WHOLE), len(loc))]


def describe(doc: Document, error: ErrorDetails) -> Fault:
    """Return an error of the model as a fault, at its place in the file."""
    path = place_of(error)
    if error["type"] != "extra_forbidden":
        return doc.fault(path, text_of(error))
    key = str(path[-1])
    if hidden := next((name for name in SECRET_KEYS if key.startswith(name) and key != name), ""):
        # `hmac_key:x`, with no space, is a key as a whole: what follows the name is not for the log.
        text = Text("a longer key begins so; write a colon, a space and the secret after the name")
        return (*doc.locate(path, at_key=True), Text("{}: {}", dotted((*path[:-1], hidden)), text))
    known = fields_of(_model_of(path))
    near = difflib.get_close_matches(key.lower(), known, n=1)
    help_ = Text("did you mean {!r}?", near[0]) if near else Text("the keys here are {}", ", ".join(known))
    return doc.fault(path, Text("unknown key {!r}; {}", printable(key, 60), help_), at_key=True)


def text_of(error: ErrorDetails) -> str:
    """Return what is wrong with a value, and what would be right, without its place."""
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    steps = [str(step) for step in reversed(error["loc"]) if isinstance(step, str)]
    if steps[:1] == ["address"] and error["loc"][-1] != "address":
        steps[0] = "address[]"
    slip_key = next((step for step in steps if step in _SLIP_KEYS), "")
    if slip_key in ("domain", "names") and type(context.get("error")) is ValueFault:
        return str(context["error"])  # a name, but not one for this place
    for of_key, pattern, text in _SLIPS:
        found = re.fullmatch(pattern, str(value), re.DOTALL) if isinstance(value, str | int) else None
        if of_key == slip_key and found:
            return Text(text, *(printable(part, 80) for part in (value, *found.groups("HOST"))))
    if isinstance(context.get("error"), ValueFault):
        return str(context["error"])
    key = next((step for step in steps if step in _FORMS), "")
    if kind == "literal_error" and not key:
        return Text("must be {} or {}", *context["expected"].rsplit(" or ", 1))
    if value is None and kind != "missing" and key not in _SELF_EVIDENT:
        return Text("is empty")
    if kind == "too_long":
        return Text("has more than {} entries", context["max_length"])
    if kind in _KINDS and key not in _SELF_EVIDENT:
        if kind == "string_type" and isinstance(value, list | dict):
            return Text("must be one value, not several")
        return Text(_KINDS[kind])
    return Text(_FORMS[key], printable(value, 80), _FORM_VALUES.get(key)) if key else error["msg"]


def _model_of(path: Path) -> type[Model]:
    """Return the model that the last key of the path belongs to."""
    section = next((step for step in reversed(path[:-1]) if isinstance(step, str)), "")
    return _SECTIONS.get(section, Config)


def check(model: type[Model], key: str) -> Callable[[object], Any]:
    """Return a function that returns the value of this key as the file would, or raises a `ValueFault`."""
    alone = SchemaValidator(
        core_schema.typed_dict_schema({key: fields_of(model)[key]}, config={"strict": model.strict})
    )

    def checked(value: object) -> Any:
        try:
            return alone.validate_python({key: value})[key]
        except ValidationError as exc:
            raise ValueFault(text_of(exc.errors(include_url=False)[0])) from None

    return checked


def public(key: str, value: str) -> str:
    """Return a name that a public CA can certify, as `domain` or an entry of `names`. Raises `ValueFault`."""
    try:
        return public_name(value, wildcard=key == "names")
    except ValueFault as exc:
        error: Any = {"type": "value_error", "input": value, "loc": (key,), "ctx": {"error": exc}}
        raise ValueFault(text_of(error)) from None
