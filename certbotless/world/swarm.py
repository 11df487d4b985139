"""A service of a Docker Swarm and its secrets, through the engine of one of its managers.

It changes the secrets of a service, and makes its tasks begin again; all else of a service is its admin's.
Secrets of ours are found by their labels, never by their names.

Source: Docker Engine API; docs.docker.com, "Manage sensitive data with Docker secrets" (500 kB, immutable).
"""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol

from ..base.errors import DeployError, SwarmWaits, printable
from ..base.words import N_, Text
from ..model.swarm import Failed, NodeSeen, OurSecret, Rolling, Secret, ServiceSeen, TaskState
from .engine import ENGINE_TIMEOUT_S, Engine, load

DOMAIN, SHA256, NOT_AFTER, FILE = (
    f"certbotless.{name}" for name in ("domain", "sha256", "not_after", "file")
)
# A label of a node, where the Swarm knows it by an address that others do not reach.
ADDRESS = "certbotless.address"

_ROLLING: Mapping[str, Rolling] = {
    "updating": "on",
    "rollback_started": "on",
    "completed": "over",
    "paused": "over",
    "rollback_completed": "back",
    "rollback_paused": "back",
}
# For how long the Swarm watches a new task where the service says nothing.
_SECOND_NS = 1_000_000_000
_MONITOR_NS = 5 * _SECOND_NS
# What a task may be wanted to be that is to serve, and the ends of one that has failed.
_WANTED, _FAILED = {"running", "ready"}, {"failed", "rejected"}
_ENDED = {*_FAILED, "complete", "shutdown", "orphaned", "remove"}
# What managers say, in lower case, that do not agree on a leader, or have not found one in time.
_NO_LEADER = (
    *("does not have a leader", "no leader", "deadline exceeded", "context canceled", "raft"),
    # It has just begun; its connection to the leader has ended.
    *("manager is being prepared", "code = unavailable"),
)
# What a manager says that cannot use the Swarm until a person helps, and what that person does.
_CLOSED = {
    "needs to be unlocked": "docker swarm unlock",
    "certificates have expired": N_("remove it, and let it join again: docker swarm leave --force"),
}


class Conflict(DeployError):
    """Another one has changed the service since it was seen."""


class Services(Protocol):
    """What deploying needs of a Swarm. Every call may raise `DeployError`; `SwarmWaits` for no leader."""

    def find(self, name: str) -> ServiceSeen:
        """Return the service of exactly this name, with the nodes where it has a task or had one."""

    def secrets(self, domain: str) -> list[OurSecret]:
        """Return our secrets of this domain."""

    def make_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> None:
        """Make a secret. Its name may be that of no other one."""

    def remove_secret(self, secret: Secret) -> None:
        """Remove a secret; the engine refuses that for one that a service uses."""

    def update(self, seen: ServiceSeen, secrets: Mapping[str, Secret], *, is_forced: bool = False) -> int:
        """Let a service use these secrets, by file, in one update; return its new index.

        Args:
            is_forced: its tasks begin again, though nothing else may change.

        Raises:
            Conflict: it is not as it was seen any more.
        """


class DockerServices:
    """The services of the Swarm that this engine is a manager of."""

    def __init__(self, engine: Engine) -> None:
        self._to_engine = engine

    def find(self, name: str) -> ServiceSeen:
        with self._errors(name):
            api = self._to_engine.api
            # The engine also takes an id, or the start of one, for a name.
            found = [each for each in api.services(filters={"name": name}) if each["Spec"]["Name"] == name]
            if not found:
                raise _absent(name)
            tasks = api.tasks(filters={"service": found[0]["ID"]})
            return _service(found[0], tasks, api.nodes())

    def secrets(self, domain: str) -> list[OurSecret]:
        with self._errors("the list of secrets"):
            return [_ours(each) for each in self._to_engine.api.secrets({"label": f"{DOMAIN}={domain}"})]

    def make_secret(self, name: str, content: bytes, labels: Mapping[str, str]) -> None:
        with self._errors(name):
            self._to_engine.api.create_secret(name, content, dict(labels))

    def remove_secret(self, secret: Secret) -> None:
        with self._errors(secret.name):
            self._to_engine.api.remove_secret(secret.id)

    def update(self, seen: ServiceSeen, secrets: Mapping[str, Secret], *, is_forced: bool = False) -> int:
        spec = _with(seen.spec, secrets, is_forced=is_forced)
        with self._errors(seen.name):
            api = self._to_engine.api
            # Not by the library's own call: that makes a new specification of the keys that it knows.
            reply = api.post(
                f"{api.base_url}/v{api.api_version}/services/{seen.id}/update",
                params={"version": seen.index, "registryAuthFrom": "spec"},
                data=json.dumps(spec),
                headers={"Content-Type": "application/json"},
                timeout=ENGINE_TIMEOUT_S,
            )
            if not reply.ok:
                raise _refused(reply.text, seen.name)
            return int(api.inspect_service(seen.id)["Version"]["Index"])

    def networks(self, seen: ServiceSeen) -> frozenset[str]:
        """Return the names of the networks of a service. Raises `DeployError`."""
        with self._errors(seen.name):
            used = seen.spec["TaskTemplate"].get("Networks") or seen.spec.get("Networks") or ()
            found = {str(self._to_engine.api.inspect_network(each["Target"])["Name"]) for each in used}
            return frozenset(found)

    def settings(self) -> Mapping[str, Any]:
        """Return what the engine says of its part in a Swarm. Raises `DeployError`."""
        with self._errors("info"):
            found: Mapping[str, Any] = self._to_engine.api.info()["Swarm"]
            return found

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        with self._to_engine.errors(what):
            try:
                yield
            except load().errors.NotFound as exc:
                raise _absent(what) from exc
            except load().errors.APIError as exc:
                raise _refused(str(exc.explanation), what) from exc


def _absent(name: str) -> DeployError:
    hint = Text("create it, or correct sites[].deploy[].service")
    return DeployError(Text("there is no service {!r} in the Swarm", name), hint=hint)


def _refused(said: str, what: str) -> DeployError:
    """Return the error of what a manager has said."""
    words, lower = printable(said), said.lower()
    is_without_leader = any(each in lower for each in _NO_LEADER)
    if "not a swarm manager" in lower and not is_without_leader:
        hint = Text("run certbotless on a manager, or make this machine one: docker node promote")
        return SwarmWaits(Text("this machine is not a manager of a Swarm"), hint=hint)
    if "update out of sequence" in lower:
        return Conflict(Text("the service {!r} was changed by another program", what))
    for sign, cure in _CLOSED.items():
        if sign in lower:
            return SwarmWaits(Text("this manager cannot use the Swarm: {}", words), hint=Text(cure))
    if is_without_leader:
        hint = Text("start more of its managers: docker node ls")
        return SwarmWaits(Text("the Swarm has no leader now: {}", words), hint=hint)
    return DeployError(Text("the Swarm refused for {!r}: {}", what, words))


# --- from the engine's answers; KeyError and the like for what is none --------------------------------------


def _service(found: Any, tasks: Any, listed: Any) -> ServiceSeen:
    spec, status = found["Spec"], found.get("UpdateStatus") or {}
    mode = spec["Mode"]
    since, names = status.get("StartedAt"), _names(listed)
    failed = [
        Failed(names.get(task.get("NodeID", ""), ""), _ids_in(task["Spec"]), _said(task))
        for task in _in_order(tasks)
        if task["Status"]["State"] in _FAILED
    ]
    unplaced = [
        _said(task) or "pending"
        for task in _in_order(tasks)
        if task["DesiredState"] in _WANTED and not task.get("NodeID")
    ]
    return ServiceSeen(
        id=found["ID"],
        name=spec["Name"],
        index=int(found["Version"]["Index"]),
        spec=spec,
        secrets=_named_in(spec),
        nodes=tuple(_nodes(spec, tasks, listed)),
        rolling=_ROLLING.get(status.get("State", ""), "none"),
        rolling_since=datetime.fromisoformat(since) if since else None,
        why=printable(str(status.get("Message", ""))),
        failed=tuple(failed),
        unplaced=unplaced[-1] if unplaced else "",
        wants=int(mode["Replicated"].get("Replicas", 1)) if "Replicated" in mode else None,
        pause=_pause(spec),
    )


def _pause(spec: Any) -> timedelta:
    """Return for how long an update, or the way back, may change nothing: the longest is at its end.

    After the last node too there is the delay, and then once more that or `Monitor` (swarmkit, updater.go).
    """
    found = []
    for name in ("UpdateConfig", "RollbackConfig"):
        settings = spec.get(name) or {}
        delay, monitor = settings.get("Delay", 0), settings.get("Monitor") or _MONITOR_NS
        found.append(delay + (monitor if delay < monitor else delay + _SECOND_NS))
    return timedelta(microseconds=max(found) / 1000)


def _named_in(spec: Any) -> dict[str, Secret]:
    """Return the secrets of a specification, by the names of their files."""
    listed = spec["TaskTemplate"].get("ContainerSpec", {}).get("Secrets") or ()
    return {
        each["File"]["Name"]: Secret(each["SecretID"], each["SecretName"]) for each in listed if each["File"]
    }


def _with(spec: Mapping[str, Any], secrets: Mapping[str, Secret], *, is_forced: bool) -> dict[str, Any]:
    """Return a specification with other secrets under the same file names, owners and modes."""
    changed = copy.deepcopy(dict(spec))
    template = changed["TaskTemplate"]
    for each in template["ContainerSpec"].get("Secrets") or ():
        if each["File"] and (secret := secrets.get(each["File"]["Name"])):
            each["SecretID"], each["SecretName"] = secret.id, secret.name
    if is_forced:
        template["ForceUpdate"] = int(template.get("ForceUpdate", 0)) + 1
    return changed


def _nodes(spec: Any, tasks: Any, listed: Any) -> list[NodeSeen]:
    by_node: dict[str, list[Any]] = {}
    for task in _in_order(tasks):
        by_node.setdefault(task.get("NodeID", ""), []).append(task)
    names, found = _names(listed), []
    for node in listed:
        own = by_node.get(node["ID"], [])
        wanted = [task for task in own if task["DesiredState"] in _WANTED]
        # One that has left the node of a service with a number of tasks is on another one.
        if not own or not (wanted or "Global" in spec["Mode"]):
            continue
        if not wanted and node["Spec"]["Availability"] == "active" and _has_given_up(spec, own[-1]):
            wanted = own[-1:]
        task, why = _task(spec, own, wanted[-1]) if wanted else (None, "")
        found.append(
            NodeSeen(
                name=names[node["ID"]],
                address=_address(node),
                state=node["Status"]["State"],
                is_active=node["Spec"]["Availability"] == "active",
                index=int(node["Version"]["Index"]),
                task=task,
                why=why,
            )
        )
    return sorted(found, key=lambda each: each.name)


def _task(spec: Any, own: Sequence[Any], wanted: Any) -> tuple[TaskState, str]:
    """Return the state of the task that shall run on a node, and what the Swarm says of it."""
    state, said = wanted["Status"]["State"], _said(wanted)
    if state == "running":
        return "runs", ""
    ours = _ids_in(spec["TaskTemplate"])
    if failed := [
        each for each in own if each["Status"]["State"] in _FAILED and _ids_in(each["Spec"]) == ours
    ]:
        return "ended", _said(failed[-1])
    if state in _ENDED:
        return "ended", said
    return ("stuck" if state == "pending" and said else "starts"), said


def _has_given_up(spec: Any, last: Any) -> bool:
    """Whether the Swarm starts a program no more that has failed, by the restart policy of the service.

    Not where the service may have nothing on that node any more.
    """
    template, failed = spec["TaskTemplate"], last["Spec"]
    policy = template.get("RestartPolicy") or {}
    has_end = policy.get("Condition", "any") != "any" or bool(policy.get("MaxAttempts"))
    is_same = _ids_in(failed) == _ids_in(template) and failed.get("Placement") == template.get("Placement")
    return has_end and is_same and last["Status"]["State"] in _FAILED


def _in_order(tasks: Any) -> list[Any]:
    return sorted(tasks, key=lambda each: str(each["CreatedAt"]))


def _said(task: Any) -> str:
    return printable(str(task["Status"].get("Err", "")))


def _ids_in(template: Any) -> frozenset[str]:
    """Return the ids of the secrets of a task."""
    listed = template.get("ContainerSpec", {}).get("Secrets") or ()
    return frozenset(str(each["SecretID"]) for each in listed)


def _names(listed: Any) -> dict[str, str]:
    """Return the name of each node by its id: its host name, made unique.

    The node itself says what it is called. One that has joined, and was never met since, has no name.
    """
    hosts = [printable(each["Description"].get("Hostname") or each["ID"][:12]) for each in listed]
    return {
        each["ID"]: host if hosts.count(host) == 1 else f"{host}-{each['ID'][:6]}"
        for each, host in zip(listed, hosts, strict=True)
    }


def _address(node: Any) -> str:
    """Return where a node is met; a manager may know itself by no address of the LAN."""
    label = (node["Spec"].get("Labels") or {}).get(ADDRESS, "")
    manager = (node.get("ManagerStatus") or {}).get("Addr", "").rpartition(":")[0].strip("[]")
    said = node["Status"].get("Addr", "")
    return str(label or (manager if said in ("", "0.0.0.0", "127.0.0.1", "::") else said))  # noqa: S104


def _ours(found: Any) -> OurSecret:
    spec = found["Spec"]
    labels = spec.get("Labels") or {}
    file: Literal["cert", "key"] = "key" if labels.get(FILE) == "key" else "cert"
    made_at = datetime.fromisoformat(found["CreatedAt"])
    return OurSecret(found["ID"], spec["Name"], labels[DOMAIN], labels.get(SHA256, ""), file, made_at)
