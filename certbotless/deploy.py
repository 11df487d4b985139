"""Act on a container through the Docker engine.

Containers are resolved by name each time, never created, and never started against their admin's will.

Source: Docker Engine API (a container may be created, running, paused, restarting, removing, exited, dead).
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from .errors import DeployError, DeployWaits, printable

# docker.socket may start the engine at our call, so give it the time of a start.
_ENGINE_TIMEOUT_S = 60
# For a program that makes a service read its files anew, here or in a container.
PROGRAM_TIMEOUT_S = 60
# What a program says last is why it failed.
_MOST_WORDS_BYTES = 400
# An image's users and groups are a few dozen lines.
_MOST_NAMES_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Container:
    """A container as the engine sees it now.

    `status` is the engine's word; `ports` are its published TCP ports; `started_at` is when it last started;
    `reads_all` is whether it may read every file that is mounted, whoever owns it.
    """

    id: str
    name: str
    status: str
    ports: tuple[int, ...]
    started_at: datetime
    reads_all: bool = True

    @property
    def is_up(self) -> bool:
        """Whether the engine runs it, be it in a crash loop."""
        return self.status in ("running", "restarting")

    def has_left(self, before: Container) -> bool:
        """Whether it has ended since it was seen as `before`, be it that the engine started it again."""
        return self.status != "running" or self.started_at != before.started_at


@dataclass(frozen=True, slots=True)
class Settings:
    """How a container was made.

    Attributes:
        image: the name that it was made from.
        environment: what its first process gets.
        mounts: what it sees of the host: path in it -> path on the host.
        uid, gids: as whom its first process runs; None where a name in the image cannot be looked up.
    """

    image: str
    environment: Mapping[str, str]
    mounts: Mapping[Path, Path]
    uid: int | None
    gids: frozenset[int]

    @property
    def is_registry(self) -> bool:
        """Whether it looks like a Docker registry."""
        named = self.image.rpartition("/")[2].partition(":")[0] == "registry"
        return named or any(name.startswith("REGISTRY_") for name in self.environment)


class Containers(Protocol):
    """What deploying needs of an engine. Every call may raise `DeployError`."""

    def find(self, name: str) -> Container:
        """Return the container of exactly this name."""

    def matching(self, label: str) -> list[Container]:
        """Return every container with this label (``key`` or ``key=value``), by name; also stopped ones."""

    def restart(self, container_id: str, stop_timeout_s: int) -> None:
        """Stop (kill after the timeout) and start; returns when it was started."""

    def signal(self, container_id: str, name: str) -> None:
        """Send a signal (``HUP``) to its first process."""

    def exec(self, container_id: str, argv: Sequence[str]) -> None:
        """Run a program in it to its end; one that does not end in time, or not with 0, is a failure."""


class DockerContainers:
    """The containers of one Docker engine; a program that is run in one has `program_timeout_s`."""

    def __init__(self, host: str, program_timeout_s: float = PROGRAM_TIMEOUT_S) -> None:
        self._host = host
        self._program_timeout_s = program_timeout_s
        self._client: Any = None

    def find(self, name: str) -> Container:
        with self._engine_errors(name):
            found = self._engine().containers.get(name)
            if found.name != name:
                # The engine also takes the start of an id for a name.
                raise _absent(name)
            return _container(found)

    def ping(self) -> None:
        """Raise `DeployError` unless an engine answers that lets us ask."""
        with self._engine_errors("_ping"):
            self._engine().ping()

    def settings(self, container_id: str) -> Settings:
        """Return how a container was made. Raises `DeployError`."""
        with self._engine_errors(container_id[:12]):
            found = self._engine().containers.get(container_id)
            config, host = found.attrs.get("Config") or {}, found.attrs.get("HostConfig") or {}
            uid, gids = _identity(found, config.get("User") or "0", host.get("GroupAdd") or ())
            variables = (entry.partition("=") for entry in config.get("Env") or ())
            mounts = found.attrs.get("Mounts") or ()
            return Settings(
                image=str(config.get("Image", "")),
                environment={name: value for name, _, value in variables},
                mounts={Path(m["Destination"]): Path(m["Source"]) for m in mounts if m.get("Source")},
                uid=uid,
                gids=gids,
            )

    def running(self) -> list[Container]:
        """Return every container that runs, by name. Raises `DeployError`."""
        with self._engine_errors("the list of containers"):
            found = self._engine().containers.list()
            return sorted(map(_container, found), key=lambda container: container.name)

    def matching(self, label: str) -> list[Container]:
        with self._engine_errors(f"label {label}"):
            found = self._engine().containers.list(all=True, filters={"label": label})
            return sorted(map(_container, found), key=lambda container: container.name)

    def restart(self, container_id: str, stop_timeout_s: int) -> None:
        with self._engine_errors(container_id[:12]):
            self._engine().containers.get(container_id).restart(timeout=stop_timeout_s)

    def signal(self, container_id: str, name: str) -> None:
        with self._engine_errors(container_id[:12]):
            self._engine().containers.get(container_id).kill(signal=name)

    def exec(self, container_id: str, argv: Sequence[str]) -> None:
        hint = "run it there by hand: docker exec"
        with self._engine_errors(container_id[:12]):
            api = self._engine().api
            run_id = api.exec_create(container_id, list(argv))["Id"]
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
            code = api.exec_inspect(run_id)["ExitCode"]
        if code is None:
            text = f"{argv[0]!r} in the container did not end in {self._program_timeout_s:g} s"
            raise DeployError(text, hint=hint)
        if code != 0:
            raise DeployError(f"{argv[0]!r} in the container ended with {code}{_words(output)}", hint=hint)

    def _engine(self) -> Any:
        if self._client is None:
            import docker  # noqa: PLC0415  (100 ms that only a deploy needs)

            self._client = docker.DockerClient(base_url=self._host, timeout=_ENGINE_TIMEOUT_S)
        return self._client

    @contextmanager
    def _engine_errors(self, what: str) -> Iterator[None]:
        import requests  # noqa: PLC0415
        from docker import errors  # noqa: PLC0415

        try:
            yield
        except errors.NotFound as exc:
            raise _absent(what) from exc
        except errors.APIError as exc:
            raise DeployError(
                f"the Docker engine refused for {what!r}: {printable(exc.explanation)}"
            ) from exc
        except (errors.DockerException, requests.RequestException) as exc:
            raise DeployError(
                f"no Docker engine at {self._host!r}: {_cause(exc)}",
                hint="is it running, and may this user use its socket (group docker)? See docker.host",
            ) from exc
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise DeployError(
                f"what answers at {self._host!r} is no Docker engine ({type(exc).__name__})",
                hint="correct docker.host",
            ) from exc


def check_may_act(container: Container, is_our_unfinished_restart: bool) -> None:
    """Let pass only what the admin wants to run.

    Raises:
        DeployWaits: the admin stopped or paused it.
    """
    if container.is_up or is_our_unfinished_restart:
        return
    start = "unpause" if container.status == "paused" else "start"
    raise DeployWaits(
        f"the container {container.name!r} is {container.status}; it is not ours to start",
        hint=f"start it when you want it: docker {start} {container.name}",
    )


def run_command(
    argv: Sequence[str], environment: Mapping[str, str], timeout_s: float = PROGRAM_TIMEOUT_S
) -> None:
    """Run a program of this machine to its end, without a shell, and with this environment alone.

    Raises:
        DeployError: it cannot be run, ends with another code than 0, or does not end in time.
    """
    name, hint = f"the command {argv[0]!r}", "run it by hand"
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
            raise DeployError(f"{name} cannot be run: {exc.strerror}", hint="give its full path") from exc
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired as exc:
            # With all that it started, or each try would leave some more of it.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise DeployError(f"{name} did not end in {timeout_s:g} s", hint=hint) from exc
        if code != 0:
            size = output.seek(0, os.SEEK_END)
            output.seek(max(size - _MOST_WORDS_BYTES, 0))
            raise DeployError(f"{name} ended with {code}{_words(output.read())}", hint=hint)


def published_port(container: Container) -> int:
    """Return the container's single published TCP port.

    Raises:
        DeployWaits: it has none or several.
    """
    if len(container.ports) != 1:
        listed = ", ".join(map(str, container.ports)) or "none"
        raise DeployWaits(
            f"the container {container.name!r} publishes {len(container.ports)} TCP ports ({listed}):"
            " set port in its deploy entry"
        )
    return container.ports[0]


def _container(found: Any) -> Container:
    """Return what we need of the library's container. Raises KeyError and the like for what is none."""
    state = found.attrs["State"]
    # One that is down for a moment, as between two tries to start, has none: then those that it is made with.
    made_with = (found.attrs.get("HostConfig") or {}).get("PortBindings")
    bindings = found.attrs["NetworkSettings"]["Ports"] or made_with or {}
    ports = {
        int(binding["HostPort"])
        for port, published in bindings.items()
        if port.endswith("/tcp")
        for binding in published or ()
        if binding["HostPort"]
    }
    started_at = datetime.fromisoformat(state["StartedAt"])
    return Container(
        found.id, found.name, str(state["Status"]), tuple(sorted(ports)), started_at, _reads_all(found.attrs)
    )


def _reads_all(attrs: Any) -> bool:
    """Whether the first process is root with the capability that takes no account of modes."""
    user = attrs.get("Config", {}).get("User") or ""
    dropped = {name.upper().removeprefix("CAP_") for name in attrs.get("HostConfig", {}).get("CapDrop") or ()}
    return user.partition(":")[0] in {"", "0", "root"} and not dropped & {"ALL", "DAC_OVERRIDE"}


def _identity(found: Any, user: str, further: Sequence[str]) -> tuple[int | None, frozenset[int]]:
    """Return as which uid and gids a container's first process runs; a name that nobody knows is None."""
    name, _, group = user.partition(":")
    users: dict[str, list[int]] = {}
    groups: dict[str, list[int]] = {}
    if not name.isdecimal() or (not group and int(name) != 0):
        users = _ids_in(found, "/etc/passwd")
    if not all(each.isdecimal() for each in (group or "0", *further)):
        groups = _ids_in(found, "/etc/group")
    uid = int(name) if name.isdecimal() else users.get(name, [None])[0]
    login = next((ids[1] for ids in users.values() if ids[0] == uid and len(ids) > 1), 0)
    named = [group or str(login), *further]
    gids = [int(each) if each.isdecimal() else groups.get(each, [None])[0] for each in named]
    return uid, frozenset(gid for gid in gids if gid is not None)


def _ids_in(found: Any, path: str) -> dict[str, list[int]]:
    """Return the ids by name in the container's own /etc/passwd (uid, gid) or /etc/group (gid)."""
    from docker import errors  # noqa: PLC0415

    try:
        stream, facts = found.get_archive(path)
        if facts["size"] > _MOST_NAMES_BYTES:
            return {}
        with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            text = member.read().decode(errors="replace") if member else ""
    except (errors.APIError, tarfile.TarError, KeyError, IndexError):
        return {}  # an image of one program has no such file, and a proxy before the engine may give none
    rows = (line.split(":") for line in text.splitlines())
    return {
        row[0]: [int(word) for word in row[2:4] if word.isdecimal()]
        for row in rows
        if len(row) > 2 and row[2].isdecimal()
    }


def _words(output: bytes) -> str:
    words = output.decode(errors="replace").strip()
    return f": {printable(words)}" if words else ""


def _absent(name: str) -> DeployError:
    return DeployError(
        f"there is no container {name!r}",
        hint="create it, or correct sites[].deploy[].container",
        container=name,
    )


def _cause(exc: BaseException) -> str:
    """Return the system's own words from below the layers of HTTP that wrap them."""
    seen: BaseException | None = exc
    while seen is not None:
        if isinstance(seen, OSError) and seen.strerror:
            return seen.strerror
        seen = seen.__cause__ or seen.__context__
    return printable(exc, 200)
