"""What is to be done about one site, and why: values alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from ..base.times import moment, rfc3339
from ..base.words import N_, Text, _
from .memory import Failure
from .reason import Reason, Why

Action = Literal[
    "clean-up",
    "list",
    "record",
    "record6",
    "rotate",
    "adopt",
    "order",
    "collect",
    "take",
    "restore",
    "deploy",
    "redeploy",
    "confirm",
    "confirm6",
    "dry_run",
    "renewal-info",
    "rebuild",
    "note",
    "verify",
    "nodes",
    "account",
    "watch",
]

# The name of each action, as `status` shows it in the reader's language.
_NAMES = (
    N_("clean-up"),
    N_("list"),
    N_("record"),
    N_("record6"),
    N_("rotate"),
    N_("adopt"),
    N_("order"),
    N_("collect"),
    N_("take"),
    N_("restore"),
    N_("deploy"),
    N_("redeploy"),
    N_("confirm"),
    N_("confirm6"),
    N_("dry_run"),
    N_("renewal-info"),
    N_("rebuild"),
    N_("note"),
    N_("verify"),
    N_("nodes"),
    N_("account"),
    N_("watch"),
)

# By step that writes a record, the step that waits until the name servers show it.
CONFIRM_OF: Mapping[Action, Action] = {"record": "confirm", "record6": "confirm6"}

# The type of the records that a step writes.
WRITES: Mapping[Action, str] = {"record": "A", "record6": "AAAA"}

# What a renewal does, in this order; the record and the files are right meanwhile.
RENEWAL: frozenset[Action] = frozenset(("clean-up", "rotate", "order", "collect", "take", "deploy"))

# What a step makes true; `look` stands for what cannot be seen.
Fact = Literal["record", "certificate", "files", "served", "look"]

FACT_OF: Mapping[str, Fact] = {
    **dict.fromkeys(("record", "record6", "confirm", "confirm6"), "record"),
    **dict.fromkeys(
        ("rotate", "order", "collect", "take", "adopt", "clean-up", "dry_run", "renewal-info", "account"),
        "certificate",
    ),
    **dict.fromkeys(("restore", "rebuild", "note", "verify"), "files"),
    **dict.fromkeys(("deploy", "redeploy"), "served"),
    **dict.fromkeys(("list", "nodes", "watch"), "look"),
}


def fact_of(key: str) -> Fact:
    """Return the fact that the step with this key makes true."""
    return FACT_OF.get(key.partition(":")[0], "look")


def is_order(key: str) -> bool:
    """Whether a step with this key orders a certificate, at whatever CA."""
    return key.partition(":")[0] == "order"


def named(key: str) -> Text:
    """Return the key of a step as a text that can be spoken."""
    action, colon, target = key.partition(":")
    return Text.joined(colon, (Text(action), target)) if colon else Text(action)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do.

    `target` names what a deploy is about, the further name that a record is of, or the CA, if there are
    several. A step with `wait_until`
    is not due before; where it waits for the target's window, or for what reads its files by itself, nothing
    is wrong.

    Texts are for programs: English, moments in UTC. Those with `spoken` are for people.
    """

    action: Action
    why: tuple[Reason, ...]
    target: str = ""
    wait_until: datetime | None = None
    wait_why: Reason | None = None
    waits_for_window: bool = False

    @property
    def key(self) -> str:
        """The name under which failures of the step are kept."""
        return f"{self.action}:{self.target}" if self.target else self.action

    @property
    def reason(self) -> str:
        """Why it is asked for, in words."""
        return Text.joined(", ", sorted(each.words for each in self.why))

    @property
    def named(self) -> Text:
        """What is done, and to what: the key."""
        return named(self.key)

    @property
    def spoken_key(self) -> str:
        """What is done, and to what."""
        return _(self.named)

    @property
    def spoken_reason(self) -> str:
        """Why it is asked for, in words."""
        return _(", ").join(sorted(each.spoken for each in self.why))

    @property
    def fact(self) -> Fact:
        """The fact that it makes true. Where the name servers cannot be asked, the record may be right."""
        return "look" if self.has(Why.UNREACHABLE) else fact_of(self.action)

    @property
    def wait_reason(self) -> str:
        """Why it waits, in words; empty if it does not."""
        return self.wait_why.words if self.wait_why else ""

    @property
    def wait_text(self) -> str:
        """When and why the step waits, empty if it does not."""
        if self.wait_until is None:
            return ""
        if self.waits_for_another:
            return self.wait_reason
        return Text("{} not before {}: {}", self.named, rfc3339(self.wait_until), self.wait_reason)

    @property
    def spoken_wait(self) -> str:
        """When and why the step waits, empty if it does not."""
        if self.wait_until is None:
            return ""
        if self.waits_for_another:
            return self.spoken_wait_reason
        return _("{} not before {}: {}").format(
            self.spoken_key, moment(self.wait_until), self.spoken_wait_reason
        )

    @property
    def spoken_wait_reason(self) -> str:
        """Why it waits, in words; empty if it does not."""
        return self.wait_why.spoken if self.wait_why else ""

    @property
    def waits_for_another(self) -> bool:
        """Whether it waits for a certificate that sites share: when that comes is not known."""
        return self.has(Why.SHARED_COMES)

    def has(self, kind: Why) -> bool:
        """Whether this is one of the reasons."""
        return any(each.kind is kind for each in self.why)

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
        ca: the name of the only CA to ask; empty for the CAs of the file in their order.
    """

    renew_since: datetime | None = None
    ignore_backoff: bool = False
    ignore_ledger: bool = False
    only_rehearse: bool = False
    ca: str = ""


NOTHING_ASKED = Intent()


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do about one site, in order; empty when all facts are true.

    Attributes:
        steps: every step that a fact asks for, also those that must wait.
        problems: what could not be seen, so nothing can be decided about it.
        next_renewal: the renewal moment of the certificate in hand, if there is one.
        optional: steps that no fact depends on.
        next_rotation: when the rotation of the local CA takes its next step; None for a site of another CA.
    """

    steps: tuple[Step, ...]
    problems: tuple[Failure, ...]
    next_renewal: datetime | None
    optional: tuple[Step, ...] = ()
    next_rotation: datetime | None = None

    def due(self, now: datetime) -> tuple[Step, ...]:
        """The steps that may be taken now, then the optional ones."""
        return (*(step for step in self.steps if step.is_due(now)), *self.optional)


def failures_of(steps: Sequence[Step], failures: Mapping[str, Failure]) -> dict[str, Failure]:
    """Return the failures of these steps by key, in their order; those of several CAs are one, at the first.

    Where another CA has not been asked yet, the failure of the first is as it is.
    """
    found = {step.key: failures[step.key] for step in steps if step.key in failures}
    orders = [step for step in steps if step.action == "order"]
    if len(orders) < 2 or not all(step.key in found for step in orders):
        return found
    first, *others = ((step.target, found[step.key]) for step in orders)
    each = [Text("{}: {}", name, failure.what) for name, failure in (first, *others)]
    merged = replace(
        first[1],
        at=max(failure.at for _, failure in (first, *others)),
        what=Text("no CA of the list gave a certificate: {}", Text.joined("; ", each)),
        retry_at=min(failure.retry_at for _, failure in (first, *others)),
        parts={},
    )
    for step in orders[1:]:
        del found[step.key]
    return {**found, orders[0].key: merged}
