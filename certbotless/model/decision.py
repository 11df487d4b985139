"""What is to be done about one site, and why: values alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ..base.times import rfc3339
from .memory import Failure

Action = Literal[
    "clean-up",
    "list",
    "record",
    "record6",
    "adopt",
    "order",
    "collect",
    "restore",
    "deploy",
    "redeploy",
    "confirm",
    "confirm6",
    "rehearse",
    "renewal-info",
    "rebuild",
    "note",
]

# What waits for that which the other has written to show: of the A record and of the AAAA record.
CONFIRM_OF: Mapping[Action, Action] = {"record": "confirm", "record6": "confirm6"}

# The type of the records that a step writes.
WRITES: Mapping[Action, str] = {"record": "A", "record6": "AAAA"}

NO_ANSWER = "no TLS answer"
NOBODY_SPEAKS = "no name server speaks for the zone"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    `target` names what a deploy is about, or the further name that a record is of. A step with `wait_until`
    is not due before; one that waits by choice keeps to the target's window, and nothing is wrong.
    """

    action: Action
    reason: str
    target: str = ""
    wait_until: datetime | None = None
    wait_reason: str = ""
    is_by_choice: bool = False

    @property
    def key(self) -> str:
        """Names the fact that the step makes true; failures are kept under it."""
        return f"{self.action}:{self.target}" if self.target else self.action

    @property
    def wait_text(self) -> str:
        """When and why the step waits, empty if it does not."""
        if self.wait_until is None:
            return ""
        return f"{self.key} not before {rfc3339(self.wait_until)}: {self.wait_reason}"

    def is_due(self, now: datetime) -> bool:
        """Whether the step may be taken now."""
        return self.wait_until is None or self.wait_until <= now


@dataclass(frozen=True, slots=True)
class Intent:
    """What a command asks for beyond the facts.

    Attributes:
        renew_since: order unless the certificate was issued after this moment; None orders only what is due.
        ignore_backoff: take steps whose last attempt failed a moment ago.
        ignore_ledger: order whatever was ordered before.
        only_rehearse: get a certificate and forget it; no fact is made true.
    """

    renew_since: datetime | None = None
    ignore_backoff: bool = False
    ignore_ledger: bool = False
    only_rehearse: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one site, in order; empty when all facts are true.

    Attributes:
        steps: every step that a fact asks for, also those that must wait.
        problems: what could not be seen, so nothing can be decided about it.
        next_renewal: the renewal moment of the certificate in hand, if there is one.
        upkeep: what no fact depends on: the site is as well without it.
    """

    steps: tuple[Step, ...]
    problems: tuple[Failure, ...]
    next_renewal: datetime | None
    upkeep: tuple[Step, ...] = ()

    def due(self, now: datetime) -> tuple[Step, ...]:
        """The steps that may be taken now, then the upkeep."""
        return (*(step for step in self.steps if step.is_due(now)), *self.upkeep)
