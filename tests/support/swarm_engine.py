"""The manager of a Docker Swarm in memory, as `docker.APIClient` shows one, with nodes that serve real TLS.

A roll takes one node at each sleep of the clock: its task ends, and one with the new secrets begins. One
whose secrets make no pair ends at once, and the Swarm goes back, as with `--update-failure-action rollback`.
"""

from __future__ import annotations

import copy
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from docker.errors import APIError, NotFound

from certbotless.world.engine import Engine
from support.fakes import FakeClock, TlsServer
from support.listeners import Served


@dataclass
class SwarmNode:
    """A node: `state` is the Swarm's word; `breaks` keeps its task from coming up."""

    number: int
    server: TlsServer
    state: str = "ready"
    availability: str = "active"
    index: int = 1
    breaks: Callable[[], bool] = lambda: False
    task: dict[str, Any] = field(default_factory=dict)
    ended: list[dict[str, Any]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def address(self) -> str:
        return f"127.0.0.{10 + self.number}"


class SwarmEngine(Engine):
    """A manager of a Swarm with a global service `registry`, and the client of it at once.

    Attributes:
        says: what the Swarm says to all that is asked of it; empty for the true answer.
        updates: each update so far: the names of the secrets, and the number of forced ones.
        failure_action: of the service.
        is_manager: whether this node is one.
        on_update: called before each update is taken.
    """

    base_url, api_version = "http://engine", "1.45"

    def __init__(self, home: Path, clock: FakeClock, nodes: list[SwarmNode]) -> None:
        super().__init__("unix:///nowhere")
        self._home, self._clock, self.by_name = home, clock, {node.name: node for node in nodes}
        self.port = nodes[0].server.port
        self.says, self.failure_action, self.is_manager = "", "rollback", True
        self.updates: list[tuple[tuple[str, ...], int]] = []
        self.on_update: Callable[[], object] = lambda: None
        self.held: dict[str, dict[str, Any]] = {}
        self.contents: dict[str, bytes] = {}
        self._index = 10
        self._to_roll: list[str] = []
        self._previous: dict[str, Any] = {}
        self.service: dict[str, Any] = {}
        clock.on_sleep = self.tick

    @property
    def api(self) -> Any:
        return self

    def create(self, chain: bytes, key: bytes) -> None:
        """Create the service as an admin does, with secrets by hand."""
        for name, content in {"hand.pem": chain, "hand.key": key}.items():
            self.create_secret(name, content, {})
        used = [
            {"File": {"Name": f"tls.{end}", "UID": "0", "GID": "0", "Mode": 0o400}}
            | self.named(f"hand.{end}")
            for end in ("pem", "key")
        ]
        template = {"ContainerSpec": {"Image": "registry", "Secrets": used}, "ForceUpdate": 0}
        spec = {
            "Name": "registry",
            "Mode": {"Global": {}},
            "TaskTemplate": template,
            "Labels": {"admin": "1"},
        }
        self.service = {"ID": "s1", "Spec": spec, "Version": {"Index": self._next()}}
        for node in self.by_name.values():
            self._begin(node)

    def named(self, name: str) -> dict[str, str]:
        """Return how a service refers to a secret."""
        secret = next(each for each in self.held.values() if each["Spec"]["Name"] == name)
        return {"SecretID": secret["ID"], "SecretName": name}

    def _next(self) -> int:
        self._index += 1
        return self._index

    # The engine's API.

    def _answer(self) -> None:
        if self.says:
            raise APIError("no", explanation=self.says)

    def info(self) -> dict[str, Any]:
        return {"Swarm": {"ControlAvailable": self.is_manager, "LocalNodeState": "active"}}

    def inspect_network(self, network: str) -> dict[str, Any]:
        return {"Name": network}

    def services(self, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        self._answer()
        found = self.service and self.service["Spec"]["Name"].startswith(filters["name"])
        return [copy.deepcopy(self.service)] if found else []

    def inspect_service(self, service_id: str) -> dict[str, Any]:
        self._answer()
        return copy.deepcopy(self.service)

    def tasks(self, filters: Mapping[str, str]) -> list[dict[str, Any]]:
        self._answer()
        return [copy.deepcopy(t) for node in self.by_name.values() for t in [*node.ended, node.task] if t]

    def nodes(self) -> list[dict[str, Any]]:
        self._answer()
        return [
            {
                "ID": f"id-{node.name}",
                "Version": {"Index": node.index},
                "Spec": {"Labels": {}, "Role": "manager", "Availability": node.availability},
                "Description": {"Hostname": node.name},
                "Status": {"State": node.state, "Addr": node.address},
            }
            for node in self.by_name.values()
        ]

    def secrets(self, filters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
        self._answer()
        name, _, value = (filters or {}).get("label", "").partition("=")
        return [
            copy.deepcopy(s) for s in self.held.values() if not name or s["Spec"]["Labels"].get(name) == value
        ]

    def create_secret(self, name: str, data: bytes, labels: dict[str, str]) -> dict[str, str]:
        self._answer()
        if any(each["Spec"]["Name"] == name for each in self.held.values()):
            raise APIError(
                "no", explanation=f"rpc error: code = AlreadyExists desc = secret {name} already exists"
            )
        new = f"secret{self._next()}"
        made_at = self._clock.now() + timedelta(microseconds=self._index)
        self.held[new] = {
            "ID": new,
            "CreatedAt": made_at.isoformat().replace("+00:00", "Z"),
            "Spec": {"Name": name, "Labels": labels},
        }
        self.contents[new] = data
        return {"ID": new}

    def remove_secret(self, secret_id: str) -> None:
        self._answer()
        if secret_id not in self.held:
            raise NotFound("no", explanation=f"secret {secret_id} not found")
        if secret_id in json.dumps(self.service):
            raise APIError("no", explanation="secret is in use by the following service: registry")
        del self.held[secret_id]

    def post(self, url: str, *, params: Mapping[str, Any], data: str, **_: Any) -> Any:
        assert urlsplit(url).path == f"/v{self.api_version}/services/s1/update"
        self._answer()
        self.on_update()
        if params["version"] != self.service["Version"]["Index"]:
            return SimpleNamespace(ok=False, text="rpc error: code = Unknown desc = update out of sequence")
        self.update(json.loads(data))
        return SimpleNamespace(ok=True, text="")

    # What it does.

    def update(self, spec: dict[str, Any]) -> None:
        """Begin a roll to this specification, as an update does that anyone asks for."""
        self._previous = self.service["Spec"]
        self.updates.append((tuple(self.names_of(spec)), spec["TaskTemplate"]["ForceUpdate"]))
        self._roll(spec, "updating")

    def _roll(self, spec: dict[str, Any], state: str) -> None:
        at = self._clock.now().isoformat().replace("+00:00", "Z")
        status = {"State": state, "StartedAt": at, "Message": "update in progress"}
        self.service |= {"Spec": spec, "Version": {"Index": self._next()}, "UpdateStatus": status}
        self._to_roll = [node.name for node in self.by_name.values() if node.state == "ready"]

    def names_of(self, spec: dict[str, Any] | None = None) -> list[str]:
        """Return the names of the secrets that the service, or a specification of it, names."""
        used = (spec or self.service["Spec"])["TaskTemplate"]["ContainerSpec"]["Secrets"]
        return [each["SecretName"] for each in used]

    @property
    def status(self) -> str:
        """The state of the last update."""
        return str(self.service.get("UpdateStatus", {}).get("State", ""))

    def tick(self) -> None:
        """Let the roll go on by a node."""
        if self.status not in ("updating", "rollback_started"):
            return
        while self._to_roll and self.by_name[self._to_roll[0]].state != "ready":
            self._to_roll.pop(0)
        if self._to_roll:
            node = self.by_name[self._to_roll.pop(0)]
            if not self._begin(node) and self.status == "updating":
                self._fail()
        elif self.status == "updating":
            self._finish("completed")
        else:
            self._finish("rollback_completed")

    def _fail(self) -> None:
        if self.failure_action == "rollback":
            self.go_back()
        else:
            self._finish("paused")

    def go_back(self) -> None:
        """Let the Swarm take an update back."""
        self._roll(self._previous, "rollback_started")

    def _finish(self, state: str) -> None:
        self.service["UpdateStatus"] |= {"State": state, "Message": state}
        self.service["Version"] = {"Index": self._next()}
        self._to_roll = []

    def _begin(self, node: SwarmNode) -> bool:
        """Replace the task of a node; return whether it comes up."""
        template = copy.deepcopy(self.service["Spec"]["TaskTemplate"])
        if node.task:
            node.task["DesiredState"] = "shutdown"
            if node.task["Status"]["State"] == "running":
                node.task["Status"]["State"] = "shutdown"
            node.ended = [*node.ended, node.task][-4:]
        made_at = f"{self._next():09d}"
        node.task = {
            "NodeID": f"id-{node.name}",
            "CreatedAt": made_at,
            "DesiredState": "running",
            "Spec": template,
        }
        used = {each["File"]["Name"]: each["SecretID"] for each in template["ContainerSpec"]["Secrets"]}
        files = [self._home / f"{node.name}.{Path(name).name}" for name in used]
        for path, secret in zip(files, used.values(), strict=True):
            path.write_bytes(self.contents[secret])
        try:
            if node.breaks():
                raise ssl.SSLError
            node.server.load(*files)
            node.task["Status"] = {"State": "running"}
        except ssl.SSLError:
            node.server.unload()
            node.task["Status"] = {"State": "failed", "Err": "task: non-zero exit (1)"}
        return bool(node.task["Status"]["State"] == "running")

    def power_off(self, number: int, state: str = "down") -> SwarmNode:
        """Cut the power of a node, and let the Swarm say so; the task there is wanted no more."""
        node = self.by_name[f"node{number}"]
        node.server.unload()
        node.state, node.index = state, self._next()
        node.task["DesiredState"] = "shutdown"
        return node

    def begin(self, number: int) -> None:
        """Let a node have a task of the service as it is now."""
        self._begin(self.by_name[f"node{number}"])

    def power_on(self, number: int) -> None:
        """Let it come back, with a task as the service is now."""
        node = self.by_name[f"node{number}"]
        node.state, node.index = "ready", self._next()
        self._begin(node)


class _At(TlsServer):
    """A TLS server at an address of loopback of its own; at any free port for 0."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__()
        self._server.server_close()
        kind, handler = type(self._server), self._server.RequestHandlerClass
        Served.__init__(self, kind((address, port), handler))


@contextmanager
def swarm_of(count: int, home: Path, clock: FakeClock) -> Iterator[SwarmEngine]:
    """Run the nodes of a Swarm, each at an address of loopback, and at one port."""
    with ExitStack() as stack:
        nodes, port = [], 0
        for number in range(1, count + 1):
            server = stack.enter_context(_At(f"127.0.0.{10 + number}", port))
            port = server.port
            nodes.append(SwarmNode(number, server))
        home.mkdir(exist_ok=True)
        yield SwarmEngine(home, clock, nodes)
