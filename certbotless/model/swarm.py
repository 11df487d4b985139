"""A service of a Docker Swarm at one moment: values alone. Only a target with `service` loads this."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

# Of the last update of a service: none is known, it goes on, it is over, the Swarm went back.
Rolling = Literal["none", "on", "over", "back"]
# Of the task on a node: it runs, it is about to, it waits for what does not come, its program has ended.
TaskState = Literal["runs", "starts", "stuck", "ended"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret of the Swarm; the engine never gives its content."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class OurSecret(Secret):
    """A secret that certbotless made: one file of the certificate with this SHA-256 of this domain."""

    domain: str
    sha256: str
    file: Literal["cert", "key"]
    made_at: datetime


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node where a service has a task, or had one.

    Attributes:
        address: where it is met in the LAN; empty where the Swarm does not know it.
        state: what the Swarm says of it: ``ready``, ``down``, ``unknown`` or ``disconnected``.
        is_active: whether tasks may start there: it is not drained, and not paused.
        index: of the Swarm's history, when the node changed last.
        task: of the task that shall run there; None for none.
        why: what the Swarm says of that task, empty for nothing.
    """

    name: str
    address: str
    state: str
    is_active: bool = True
    index: int = 0
    task: TaskState | None = "runs"
    why: str = ""

    @property
    def is_live(self) -> bool:
        """Whether the service is to be met there now: where no task may start, one that runs stays."""
        return self.state == "ready" and (self.task is not None if self.is_active else self.task == "runs")


@dataclass(frozen=True, slots=True)
class Failed:
    """A task whose program has ended with a failure: where, with which secrets (ids), and in whose words."""

    node: str
    secrets: frozenset[str]
    why: str


@dataclass(frozen=True, slots=True)
class ServiceSeen:
    """A service as the Swarm has it now.

    Attributes:
        index: of the Swarm's history, when the service changed last: an update names it.
        spec: as the engine has it, to be given back with a change.
        secrets: that it uses, by the names of their files.
        rolling_since: when the update began; None for none.
        why: what the Swarm says of it.
        failed: of late, the oldest first.
        unplaced: what it says of a task that no node can take; empty for none.
        wants: how many tasks it shall have; None for one on each node.
        pause: for how long the Swarm may wait after a node of an update, by the settings of the service.
    """

    id: str
    name: str
    index: int
    spec: Mapping[str, Any] = field(repr=False)
    secrets: Mapping[str, Secret]
    nodes: tuple[NodeSeen, ...]
    rolling: Rolling = "none"
    rolling_since: datetime | None = None
    why: str = ""
    failed: tuple[Failed, ...] = ()
    unplaced: str = ""
    wants: int | None = None
    pause: timedelta = timedelta()
