"""What serves the certificate of a site: a target, as the file has it. It is only data."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Annotated, Any

from ..base.checked import Section, after, default_of
from ..base.words import Text
from . import values
from .values import Reload

# What stands for the domain of the site in an argument of `command`.
_DOMAIN = "{domain}"
# The keys that say which kind of target it is. One that has none of them has only its port.
KINDS = ("container", "label", "command", "service")


def _file_name(text: str) -> str:
    # docker takes `,` and `=` for its own in `--secret source=...,target=...`.
    if not text or not text.isprintable() or set(text) & set(" ,="):
        raise ValueError
    return text


FileName = Annotated[str, after(_file_name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFiles(Section):
    """The secrets of a service that are replaced, by the names of their files in its containers."""

    cert: FileName = "tls.pem"
    key: FileName = "tls.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target(Section):
    """What serves the certificate.

    A container, every container with a label, a command, a service of a Docker Swarm, or only a port.
    """

    container: values.Container | None = None
    label: values.Label | None = None
    command: values.Argv | None = None
    service: values.Container | None = None
    secrets: SecretFiles = SecretFiles()
    action: values.ActionValue = Reload("restart")
    port: values.PortValue | None = None
    when: values.When = None
    stop_timeout: values.ActionTimeout = timedelta(seconds=10)
    timeout: values.ActionTimeout = timedelta(seconds=60)

    @property
    def name(self) -> str:
        """What the target is called in status, state and log."""
        port = self.port.written if self.port else None
        return name_of({"port": port, **{key: getattr(self, key) for key in KINDS}})

    @property
    def has_containers(self) -> bool:
        """Whether it is a container, or those with a label."""
        return self.container is not None or self.label is not None

    @property
    def reads_by_itself(self) -> bool:
        """Whether nothing is done to it: it is waited for and proved."""
        return self.action.kind == "none" or not (self.has_containers or self.command or self.service)

    def argv(self, domain: str) -> tuple[str, ...]:
        """Return the command of a site with this domain."""
        return tuple(word.replace(_DOMAIN, domain) for word in self.command or ())


def name_of(target: Mapping[str, Any]) -> str:
    """Return what a target with these keys is called."""
    if target.get("container") is not None:
        return str(target["container"])
    if target.get("label") is not None:
        return f"label:{target['label']}"
    if target.get("command") is not None:
        return shlex.join(target["command"])
    if target.get("service") is not None:
        return f"service:{target['service']}"
    return f"port:{target['port']}"


def faults_of(target: Mapping[str, Any]) -> list[tuple[str, Text]]:
    """Return the contradictions of a target's keys: the key, empty for the whole, and the words."""
    ways = [key for key in KINDS if target.get(key) is not None]
    has_port = target.get("port") is not None
    if len(ways) > 1 or not (ways or has_port):
        text = Text("needs one of container, label, command and service, or only port")
        if ways:
            text = Text("needs one of container, label, command and service, not {}", reduce(_and, ways))
        return [("", text)]
    found = []
    if ways != ["service"] and target.get("secrets") is not None:
        found.append(("secrets", Text("goes only with service")))
    if ways != ["command"] and "timeout" in target:
        found.append(("timeout", Text("goes only with command; a container has stop_timeout")))
    if ways == ["command"]:
        if "action" in target:
            found.append(("action", Text("does not go with command: the command is the action")))
        if not has_port:
            found.append(("", Text("a command needs port: a number, host:port, or none")))
        return found
    if ways == ["service"]:
        return [*found, *_faults_of_service(target)]
    if not ways and target.get("action", "none") != "none":
        found.append(("action", Text("without container, label or command nothing is done: write none")))
    elif not ways or target.get("action") == "none":
        late = [key for key in ("when", "stop_timeout") if key in target]
        found += [(key, Text("does not go with action none: nothing is done")) for key in late]
        if target.get("port") == "none":
            text = Text("none does not go with action none: nothing would be done, and nothing checked")
            found.append(("port", text))
    return found


def secret_files(target: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each secret that a target with these keys replaces: the service, and the name of the file."""
    service, given = target.get("service"), target.get("secrets")
    for key in ("cert", "key") if isinstance(service, str) else ():
        file = given.get(key) if isinstance(given, dict) else None
        file = default_of(SecretFiles, key) if file is None else file
        if isinstance(file, str):
            yield str(service), file


def _faults_of_service(target: Mapping[str, Any]) -> Iterator[tuple[str, Text]]:
    for key in ("action", "stop_timeout"):
        if key in target:
            text = Text("does not go with service: the update settings of the service say how it restarts")
            yield key, text
    if not isinstance(target.get("port"), int):
        key = "port" if "port" in target else ""
        yield key, Text("a service needs port: a number, at which each of its nodes serves")
    secrets = target.get("secrets")
    given = secrets if isinstance(secrets, dict) else {}
    cert, key = (given.get(name, default_of(SecretFiles, name)) for name in ("cert", "key"))
    if cert == key:
        yield "secrets", Text("cert and key need different names")


def _and(one: str, other: str) -> str:
    return Text("{} and {}", one, other)
