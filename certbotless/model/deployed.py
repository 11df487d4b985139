"""What is remembered of what was done at the targets of a site: values alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from ..base.checked import Model, after
from ..base.times import BoundedMoment

# In a file: a damaged one must not lead a sum or a power out of what a machine can count.
Count = Annotated[int, after(lambda count: min(max(count, 0), 1_000_000))]


@dataclass(frozen=True, slots=True, kw_only=True)
class Restarting(Model):
    """A restart of ours that may be unfinished: of which container, and when it had started before."""

    id: str
    # Only compared; the engine's is in the year 1 for one that was never started.
    started_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial(Model):
    """A generation that no handshake has shown yet, the one before it, and since when it is on trial."""

    generation: str
    previous: str
    at: BoundedMoment


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted(Model):
    """How often a container, or a command, was acted upon for the leaf with this SHA-256.

    `files_at` is when its files had been put where they were, None where an older version has not noted it.
    `has_helped` is whether a handshake has shown the leaf after such an action.
    """

    sha256: str
    count: Count
    files_at: BoundedMoment | None = None
    has_helped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SwarmNode(Model):
    """A node of a Swarm where a service has a task, or had one.

    `down_at` is when it was last seen to have none, as it is down or drained; None where it has one.
    """

    address: str
    down_at: BoundedMoment | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Roll(Model):
    """Our last update of a service.

    Attributes:
        sha256: of the certificate that it was to bring.
        at: when it was asked for.
        index: of the Swarm's history, right after it: what changed since has a larger one.
        before: id and name of the secrets that it replaced, by the names of their files.
        leaves: the certificates that the nodes served before.
        count: how often it was asked for, for this certificate.
        again: how often of late it was made again, as another program had replaced its secrets.
        forced: how often the nodes were made to begin again for it, and `forced_at` when last.
        took_s: how many seconds the last one took that came to its end.
        is_done: whether every node has served it.
        is_back: whether the secrets before were put back, as it could not be used.
    """

    sha256: str
    at: BoundedMoment
    index: int = 0
    before: dict[str, tuple[str, ...]] = field(default_factory=dict)
    leaves: tuple[str, ...] = ()
    count: Count = 0
    again: Count = 0
    forced: Count = 0
    forced_at: BoundedMoment | None = None
    took_s: Count = 0
    is_done: bool = False
    is_back: bool = False
