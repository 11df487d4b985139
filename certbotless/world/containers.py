"""Act on a container through the Docker engine.

Containers are resolved by name each time, never created, and never started against their admin's will.

Source: Docker Engine API (a container may be created, running, paused, restarting, removing, exited, dead).
"""

import ipaddress
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from ..base.errors import DeployError, DeployWaits, NotActedUpon, printable, reason_of
from ..base.words import N_, Text
from ..config.values import Reload
from .engine import ENGINE_TIMEOUT_S, Engine, load
from .identity import (
    MOST_ARCHIVE_BYTES,
    Namespace,
    RootHere,
    identity,
    is_root,
    reads_all,
    root_of_container,
    root_of_engine,
)

# For a program that makes a service read its files anew, here or in a container.
PROGRAM_TIMEOUT_S = 60
# How long the end of a killed program is waited for.
_KILLED_WITHIN_S = 5
# What a program says last is why it failed.
_MOST_WORDS_BYTES = 400


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine sees it now.

    Attributes:
        status: the engine's word.
        ports: its published TCP ports.
        started_at: when it last started.
        reads_all: whether it may read every file of ours that is mounted, whatever its mode.
        namespace: the kind of its user namespace; empty for none.
        bound: by port, the addresses at which it is published, for a port that is not published at every one.
    """

    id: str
    name: str
    status: str
    ports: tuple[int, ...]
    started_at: datetime
    reads_all: bool = True
    namespace: Namespace = ""
    bound: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """Whether the engine runs it, even in a crash loop."""
        return self.status in ("running", "restarting")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a container was made.

    Attributes:
        image: the name that it was made from.
        environment: what its first process gets.
        mounts: what it sees of the host: path in it -> path on the host.
        uid, gids: those of its first process, on this machine; None, or absent, where they are not known.
        namespace: see `Container`.
    """

    image: str
    environment: Mapping[str, str]
    mounts: Mapping[Path, Path]
    uid: int | None
    gids: frozenset[int]
    namespace: Namespace = ""

    @property
    def is_registry(self) -> bool:
        """Whether it looks like a Docker registry."""
        named = self.image.rpartition("/")[2].partition(":")[0] == "registry"
        return named or any(name.startswith("REGISTRY_") for name in self.environment)


class Containers(Protocol):
    """What deploying needs of an engine. Every call may raise `DeployError`.

    Requests name a container by its name, so that a proxy before the engine can hold us to one: ids are no
    secret, every user of the machine reads them below /sys/fs/cgroup.
    """

    def find(self, name: str) -> Container:
        """Return the container of exactly this name."""

    def matching(self, label: str) -> list[Container]:
        """Return every container with this label (``key`` or ``key=value``), by name; also stopped ones."""

    def act(self, name: str, action: Reload, stop_timeout_s: int) -> None:
        """Do to the container what makes it read its files anew; returns when that is done.

        A restart kills the container after `stop_timeout_s`, and ends when it was started. A program that
        does not end in time, or not with 0, is a failure.
        """


# By the kind of an action: its event, and what is waited for until it is done.
ACTION_EVENTS: Mapping[str, tuple[str, str]] = {
    "restart": ("container.restarted", N_("the container to restart")),
    "signal": ("container.signalled", N_("the engine to send the signal")),
    "exec": ("container.executed", N_("the program in the container")),
}


class DockerContainers:
    """The containers of one Docker engine; a program that is run in one has `program_timeout_s`."""

    def __init__(self, host: str, program_timeout_s: float = PROGRAM_TIMEOUT_S) -> None:
        self._host = host
        self._program_timeout_s = program_timeout_s
        self._to_engine = Engine(host)

    @property
    def _engine(self) -> Any:
        return self._to_engine.api

    @contextmanager
    def _engine_errors(self, what: str) -> Iterator[None]:
        with self._to_engine.errors(what):
            try:
                yield
            except load().errors.NotFound as exc:
                raise _absent(what) from exc

    def find(self, name: str) -> Container:
        with self._engine_errors(name):
            return self._container(self._inspect(name))

    def ping(self) -> None:
        """Raise `DeployError` unless an engine answers that lets us ask."""
        with self._engine_errors("_ping"):
            self._engine.ping()

    def settings(self, name: str) -> Settings:
        """Return how a container was made. Raises `DeployError`."""
        with self._engine_errors(name):
            attrs = self._inspect(name)
            config = attrs.get("Config") or {}
            root = root_of_container(self._root, attrs)
            uid, gids = identity(attrs, lambda path: self._archive(name, path), root)
            variables = (entry.partition("=") for entry in config.get("Env") or ())
            mounts = attrs.get("Mounts") or ()
            return Settings(
                image=str(config.get("Image", "")),
                environment={name: value for name, _, value in variables},
                mounts={Path(m["Destination"]): Path(m["Source"]) for m in mounts if m.get("Source")},
                uid=uid,
                gids=gids,
                namespace=root.namespace,
            )

    def running(self) -> list[Container]:
        """Return every container that runs, by name. Raises `DeployError`."""
        with self._engine_errors("the list of containers"):
            return self._named(self._engine.containers())

    def matching(self, label: str) -> list[Container]:
        with self._engine_errors(f"label {label}"):
            return self._named(self._engine.containers(all=True, filters={"label": label}))

    def act(self, name: str, action: Reload, stop_timeout_s: int) -> None:
        with self._engine_errors(name):
            match action.kind:
                case "restart":
                    self._engine.restart(name, timeout=stop_timeout_s)
                case "signal":
                    self._engine.kill(name, signal=action.signal)
                case "exec":
                    self._exec(name, action.argv)

    def _exec(self, name: str, argv: Sequence[str]) -> None:
        api = self._engine
        run_id = api.exec_create(name, list(argv))["Id"]
        stream = api.exec_start(run_id, stream=True)
        # The library waits for output without end; closing the stream ends it, though not the program.
        limit = threading.Timer(self._program_timeout_s, stream.close)
        limit.start()
        try:
            output = b""
            for part in stream:
                output = (output + part)[-_MOST_WORDS_BYTES:]
        finally:
            limit.cancel()
            stream._response.close()  # the library leaves it to its caller, without a name for it
        found = api.exec_inspect(run_id)
        # Docker gives no code for one that still runs, Podman gives 0 (libpod/define, InspectExecSession).
        code = None if found.get("Running") else found["ExitCode"]
        if code != 0:
            how = _how(code, self._program_timeout_s, output)
            raise DeployError(
                Text("{!r} in the container {}", argv[0], how), hint=Text("run it there by hand: docker exec")
            )

    @cached_property
    def _root(self) -> RootHere:
        """What root in a container is here; as on this machine where the engine, or a proxy, does not say."""
        try:
            return root_of_engine(self._engine.info(), self._host.removeprefix("unix://"))
        except load().errors.APIError:
            return RootHere()

    def _inspect(self, name: str) -> Any:
        attrs = self._engine.inspect_container(name)
        if attrs["Name"].lstrip("/") != name:
            # The engine also takes the start of an id for a name.
            raise _absent(name)
        return attrs

    def _named(self, listed: Any) -> list[Container]:
        """Return the containers of a list, by name; one that is gone by now is left out."""
        found = []
        # Beside its name, a container has one for each that is linked to it, with a slash in it.
        for name in sorted(each[1:] for row in listed for each in row["Names"] or () if each.count("/") == 1):
            try:
                found.append(self._container(self._inspect(name)))
            except load().errors.NotFound:
                continue
        return found

    def _container(self, attrs: Any) -> Container:
        """Return the container of an engine's answer. Raises KeyError and the like for any other."""
        root = root_of_container(self._root, attrs) if is_root(attrs) else None
        bound = _published(attrs)
        return Container(
            attrs["Id"],
            attrs["Name"].lstrip("/"),
            str(attrs["State"]["Status"]),
            tuple(sorted(bound)),
            datetime.fromisoformat(attrs["State"]["StartedAt"]),
            root is not None and reads_all(root),
            root.namespace if root else "",
            {port: addresses for port, addresses in bound.items() if addresses},
        )

    def _archive(self, name: str, path: str) -> bytes:
        """Return the archive of a file in a container; empty where there is none, or a larger one."""
        api = self._engine
        reply = api.get(
            f"{api.base_url}/v{api.api_version}/containers/{name}/archive",
            params={"path": path},
            headers={"Accept-Encoding": "identity"},
            stream=True,
            timeout=ENGINE_TIMEOUT_S,
        )
        with closing(reply):
            found = bytearray()
            if reply.ok and "Content-Encoding" not in reply.headers:
                for part in reply.iter_content(1 << 16):
                    found += part
                    if len(found) > MOST_ARCHIVE_BYTES:
                        return b""
            return bytes(found)


def run_command(
    argv: Sequence[str], environment: Mapping[str, str], timeout_s: float = PROGRAM_TIMEOUT_S
) -> None:
    """Run a program of this machine to its end, without a shell, and with this environment alone.

    Raises:
        NotActedUpon: it cannot be run, ends with another code than 0, or does not end in time.
    """
    name = Text("the command {!r}", argv[0])
    hint = Text("run it by hand, as the user that runs certbotless")
    # A file and no pipe: a service that the command starts may keep its output open for ever.
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        except OSError as exc:
            raise NotActedUpon(
                Text("{} cannot be run: {}", name, reason_of(exc)), hint=Text("give its full path")
            ) from exc
        code: int | None = None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            # With all that it started, or each try would leave some more of it. One that sudo has made
            # root's cannot be ended, and one that waits for a dead NFS server ends when that is back.
            with suppress(PermissionError, subprocess.TimeoutExpired):
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(_KILLED_WITHIN_S)
        if code != 0:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(size - _MOST_WORDS_BYTES, 0))
            raise NotActedUpon(Text("{} {}", name, _how(code, timeout_s, output.read())), hint=hint)


def published_port(container: Container) -> int:
    """Return the container's single published TCP port.

    Raises:
        DeployWaits: it has none or several.
    """
    if len(container.ports) != 1:
        listed = ", ".join(map(str, container.ports)) or Text("none")
        raise DeployWaits(
            Text(
                "the container {!r} publishes {} TCP ports ({}): set port in its deploy entry",
                container.name,
                len(container.ports),
                listed,
            )
        )
    return container.ports[0]


def _published(attrs: Any) -> dict[int, tuple[str, ...]]:
    """Return the published TCP ports, and the addresses of each; none where it is published at every one."""
    # One that is down for a moment, as between two tries to start, has none: then those that it is made with.
    made_with = (attrs.get("HostConfig") or {}).get("PortBindings")
    bindings = attrs["NetworkSettings"]["Ports"] or made_with or {}
    found: dict[int, set[str]] = {}
    for port, published in bindings.items():
        for binding in published or ():
            # It is made with none, 0, or a range (`-p 5000-5010:5000`) where the engine chooses the port.
            number = binding["HostPort"]
            if port.endswith("/tcp") and number not in ("", "0") and "-" not in number:
                found.setdefault(int(number), set()).add(_address(binding.get("HostIp")))
    # The address of IPv4 first: checks ask there.
    in_order = {port: tuple(sorted(found[port], key=lambda each: (":" in each, each))) for port in found}
    return {port: () if "" in addresses else addresses for port, addresses in in_order.items()}


def _address(text: str | None) -> str:
    """Return the address that a port is published at, empty for every one of them."""
    address = ipaddress.ip_address((text or "::").strip("[]"))
    return "" if address.is_unspecified else str(address)


def _how(code: int | None, timeout_s: float, output: bytes = b"") -> str:
    """Return how a program has failed, with what it said last; `code` is None for one that did not end."""
    how = Text("did not end in {:g} s", timeout_s) if code is None else Text("ended with {}", code)
    # A command has the private key, and these words go to state, log and messages.
    words = printable(_without_secrets(output.decode(errors="replace").strip()))
    return Text("{}: {}", how, words) if words else how


def _without_secrets(text: str) -> str:
    from ..config.redact import without_likely_secrets  # noqa: PLC0415  (only a failure needs it)

    return without_likely_secrets(text)


def _absent(name: str) -> DeployError:
    return DeployError(
        Text("there is no container {!r}", name),
        hint=Text("create it, or correct sites[].deploy[].container"),
        container=name,
    )
