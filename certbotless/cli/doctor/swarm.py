"""A service of a Docker Swarm: whether it can be updated from here, and what makes a roll of it safe."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ...base.errors import DeployError
from ...base.words import _
from ...config.targets import Target
from ...model.swarm import ServiceSeen
from ...model.view import View
from ...world import registry
from ...world.swarm import DockerServices
from ...world.tls import served_leaf
from .finding import Case

# What the Swarm takes where the service says nothing, in nanoseconds.
_DEFAULT_MONITOR_NS = 5_000_000_000
_UPDATE = "docker service update {} {}"


class Swarm:
    """The services of all sites; what several sites share is reported once."""

    def __init__(self, case: Case, services: DockerServices) -> None:
        self._case = case
        self._services = services
        self._is_manager: bool | None = None
        self._known: set[str] = set()

    def examine(self, view: View, wanted: Target) -> None:
        """Test a service, and what each of its nodes serves."""
        if wanted.service is None or not self._can_ask():
            return
        try:
            seen = self._services.find(wanted.service)
            networks = self._services.networks(seen)
        except DeployError as exc:
            self._case.fail_by("service", wanted.service, exc)
            return
        if seen.name not in self._known:
            self._known.add(seen.name)
            self._settings(view, wanted, seen, networks)
        if self._has_files(wanted, seen):
            self._serves(view, wanted, seen)

    def _can_ask(self) -> bool:
        case, host = self._case, self._case.config.docker.host
        if self._is_manager is None:
            try:
                said = self._services.settings()
                self._is_manager = bool(said.get("ControlAvailable"))
            except DeployError as exc:
                self._is_manager = False
                case.fail_by("engine", host, exc)
                return False
            if self._is_manager:
                case.ok("swarm", host, _("this machine is a manager"))
            else:
                text = _("this machine is not a manager of a Swarm ({})").format(
                    said.get("LocalNodeState", "")
                )
                case.fail("swarm", host, text, _("run certbotless on a manager: docker node ls"))
        return self._is_manager

    def _settings(self, view: View, wanted: Target, seen: ServiceSeen, networks: frozenset[str]) -> None:
        """Report settings that make a roll of it unsafe."""
        case, name = self._case, seen.name
        found = [*_placing(seen, networks), *_meeting(wanted, seen), *_updating(seen), *_sharing(view, seen)]
        for text, cure in found:
            case.warn("service", name, text, cure)
        if not found:
            case.ok("service", name, _("its settings make an update safe"))

    def _has_files(self, wanted: Target, seen: ServiceSeen) -> bool:
        missing = [file for file in (wanted.secrets.cert, wanted.secrets.key) if file not in seen.secrets]
        for file in missing:
            options = f"--secret-add source=SECRET,target={file}"
            text = _("it has no secret with the file name {!r}").format(file)
            self._case.fail("service", seen.name, text, _UPDATE.format(options, seen.name))
        return not missing

    def _serves(self, view: View, wanted: Target, seen: ServiceSeen) -> None:
        case, facts = self._case, view.seen.published.facts
        port = wanted.port.number if wanted.port else 0
        for node in seen.nodes:
            about = _("{} by {}").format(view.site.domain, f"{seen.name}@{node.name}")
            if not node.is_live:
                state = node.state if node.is_active else _("drained")
                case.warn("served", about, _("the node is {}").format(state), "docker node ls")
                continue
            at = f"{node.address}:{port}"
            leaf = served_leaf(node.address, port, view.site.domain) if node.address else ""
            if facts is None:
                continue
            if leaf == facts.sha256:
                case.ok("served", about, _("the published certificate, at {}").format(at))
            elif leaf:
                text = _("the certificate at {} is not the published one").format(at)
                case.fail("served", about, text, f"certbotless --once {view.site.domain}")
            else:
                text = _("no TLS answer at {}").format(at)
                cure = _(
                    "docker service ps {}; is the address right? Else: docker node update --label-add {}"
                )
                label = f"certbotless.address=ADDRESS {node.name}"
                case.fail("served", about, text, cure.format(seen.name, label))


Found = list[tuple[str, str]]


def _placing(seen: ServiceSeen, networks: frozenset[str]) -> Found:
    found: Found = []
    if "Global" not in seen.spec["Mode"]:
        text = _("it has a number of replicas: a node may have none, or several at one port")
        found.append((text, _("create it with --mode global")))
    if "host" not in networks:
        text = _("it does not use the host network: a port may stay in use after a power cut of the leader")
        found.append((text, _("create it with --network host")))
    return found


def _meeting(wanted: Target, seen: ServiceSeen) -> Found:
    number = wanted.port.number if wanted.port else 0
    for port in (seen.spec.get("EndpointSpec") or {}).get("Ports") or ():
        if port.get("PublishedPort") == number and port.get("PublishMode", "ingress") == "ingress":
            text = _("port {} is in ingress mode: a connection to one node may reach the task of another")
            return [(text.format(number), _("create it with --network host, or its port with mode=host"))]
    return []


def _updating(seen: ServiceSeen) -> Found:
    found: Found = []
    config: Mapping[str, Any] = seen.spec.get("UpdateConfig") or {}
    if (number := config.get("Parallelism", 1)) != 1:
        text = _("its update parallelism is {}: several nodes (0: all) restart at the same time")
        found.append((text.format(number), _UPDATE.format("--update-parallelism 1", seen.name)))
    if config.get("Order", "stop-first") != "stop-first":
        text = _("its update order is {}: two tasks would want one port").format(config["Order"])
        found.append((text, _UPDATE.format("--update-order stop-first", seen.name)))
    action = config.get("FailureAction") or "pause"
    if action != "rollback":
        text = _("its update failure action is {}: certbotless itself has to put the old secrets back")
        cure = _UPDATE.format("--update-failure-action rollback", seen.name)
        found.append((text.format(action), cure))
    delay, monitor = config.get("Delay") or 0, config.get("Monitor") or _DEFAULT_MONITOR_NS
    if delay <= monitor:
        text = _(
            "its update delay ({:g} s) is not above its monitor ({:g} s): a bad certificate reaches two nodes"
        )
        seconds = [timedelta(microseconds=each / 1000).total_seconds() for each in (delay, monitor)]
        cure = _UPDATE.format(f"--update-delay {int(seconds[1]) + 5}s", seen.name)
        found.append((text.format(*seconds), cure))
    return found


def _sharing(view: View, seen: ServiceSeen) -> Found:
    """What replicas of a registry need, on several nodes."""
    found: Found = []
    container: Mapping[str, Any] = seen.spec["TaskTemplate"].get("ContainerSpec") or {}
    image = str(container.get("Image", ""))
    if image.partition("/")[0].partition(":")[0] in view.site.all_names:
        text = _("its image is in this registry: a node cannot pull it while the registry there is down")
        found.append((text, _("take the image from elsewhere, or load it on each node: docker load")))
    if len(seen.nodes) < 2:
        return found
    local = [each["Target"] for each in container.get("Mounts") or () if _is_local(each)]
    if local:
        text = _(
            "each node has a volume of its own at {}: an image that was pushed to one is not on the others"
        )
        found.append((text.format(", ".join(local)), _("use a storage that all nodes share, as NFS or S3")))
    names = {str(each).partition("=")[0] for each in container.get("Env") or ()}
    is_registry = image.partition("@")[0].rpartition("/")[2].partition(":")[0] == "registry"
    if (is_registry or registry.CERTIFICATE in names) and "REGISTRY_HTTP_SECRET" not in names:
        text = _("it has no REGISTRY_HTTP_SECRET: a push fails if another node gets a part of it")
        cure = _UPDATE.format("--env-add REGISTRY_HTTP_SECRET=RANDOM", seen.name)
        found.append((text, cure))
    return found


def _is_local(mount: Mapping[str, Any]) -> bool:
    """Whether it is a volume of one node. What a bind mount leads to is not known."""
    driver = (mount.get("VolumeOptions") or {}).get("DriverConfig") or {}
    return (
        mount.get("Type") == "volume" and driver.get("Name", "local") == "local" and not driver.get("Options")
    )
