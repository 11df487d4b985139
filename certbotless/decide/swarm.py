"""What is to be done at a service of a Docker Swarm, by what is seen of it. Pure.

The Swarm rolls an update out and goes back by itself. This only says when to ask for an update, when to wait,
and what the end of an update says of a certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from ..base.clock import is_believable
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..model.deployed import Roll
from ..model.swarm import NodeSeen, ServiceSeen

# How long a ready node may serve another certificate once an update is over, or its program be at its end.
PATIENCE = timedelta(seconds=10)
# Of a silent node whose task runs, as the Swarm says: that one has lost its power it says after 15 s.
_SILENT_FOR = timedelta(seconds=30)
# Of a node whose task is about to run: an engine tries to fetch the image first, which takes 20 s in vain.
_STARTS_WITHIN = timedelta(minutes=1)
# A roll that takes longer is reported as a failure.
_LONGEST_ROLL = timedelta(minutes=5)
# For one certificate all nodes begin again so often at most, and so far apart. Where it has helped, the next
# time is later: a node that falls silent now and then must not restart the others all day.
_MOST_FORCED, _FORCED_APART, _CURED_FOR = 3, timedelta(minutes=10), timedelta(hours=8)
# How long a refused certificate waits for another try; the last one counts for all that follow.
_REFUSED_FOR = tuple(timedelta(minutes=minutes) for minutes in (1, 10, 100, 24 * 60))
_LOST_HINT_IN_ROLL = N_("bring node {} back, or update without it: docker service update --force {}")
# Where another program replaces our secrets, so many more updates follow each other, then none for so long.
_MOST_AGAIN, _AGAIN_AFTER = 3, timedelta(hours=1)
LOST_HINT = N_("bring node {} back or remove it; use the host network")


@dataclass(frozen=True, slots=True)
class Sight:
    """A service at one moment, and what its nodes serve.

    Attributes:
        wanted: SHA-256 of the published certificate.
        names_wanted: whether the service names the secrets of that one.
        leaves: SHA-256 of what each node serves, by its name; empty for no TLS answer.
        ours: our last update of the service; None for none.
        steady_for: for how long none of this has changed.
        failed: what the Swarm says of a program that ended with the wanted secrets; empty for nothing.
        is_retry: whether a refused certificate is given another try now.
    """

    service: ServiceSeen
    wanted: str
    names_wanted: bool
    leaves: Mapping[str, str]
    ours: Roll | None
    now: datetime
    steady_for: timedelta = timedelta()
    failed: str = ""
    is_retry: bool = False

    @property
    def live(self) -> list[NodeSeen]:
        """The nodes that are to serve now."""
        return [node for node in self.service.nodes if node.is_live]

    @property
    def wrong(self) -> list[NodeSeen]:
        """Those that do not serve the wanted certificate."""
        return [node for node in self.live if self.leaves.get(node.name) != self.wanted]

    @property
    def our_try(self) -> Roll | None:
        """Our update to the wanted certificate, as long as it was not seen on every node."""
        ours = self.ours
        return ours if ours and ours.sha256 == self.wanted and not ours.is_done else None

    @property
    def changed(self) -> list[NodeSeen]:
        """The nodes that were lost, or came back, since our update."""
        since = self.ours.index if self.ours else 0
        return [node for node in self.service.nodes if node.index > since]

    @property
    def lost(self) -> list[NodeSeen]:
        """The nodes where no task can start: down, drained or paused, since our update.

        An update leaves out a node that was so before it (swarmkit, global.go: updateNode).
        """
        nodes = self.changed
        return [node for node in nodes if node.state == "down" or not (node.is_active or node.is_live)]

    @property
    def patience(self) -> timedelta:
        """How long the nodes may take, by what their tasks are at: also one that serves may yet start."""
        return max((_patience(node, self) for node in self.live), default=PATIENCE)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing has changed for longer than the Swarm waits for, or after, a node of an update."""
        return self.steady_for >= self.patience + self.service.pause

    @property
    def is_taken_back(self) -> bool:
        """Whether the Swarm, or we, have taken our update to the wanted certificate back."""
        ours = self.our_try
        return ours is not None and (ours.is_back or self.service.rolling == "back")

    @property
    def again(self) -> int:
        """How often of late another program has replaced the wanted secrets, if it has done so now."""
        ours = self.ours
        if ours is None or ours.sha256 != self.wanted or not _is_recent(ours.at, _AGAIN_AFTER, self.now):
            return 0
        return ours.again + (not self.is_taken_back)

    @property
    def is_disturbed(self) -> bool:
        """Whether a node was lost, or came back, since our update: then its end says nothing."""
        return bool(self.changed)


@dataclass(frozen=True, slots=True)
class Doing:
    """What is to be done, and why.

    `done`: nothing. `look`: look again in a moment. `update`: let the service name the wanted secrets.
    `force`: let its nodes begin again. `put back`: let it name the secrets before; the certificate is
    refused. `refused`: the Swarm did that already. `waits`: nothing, until the Swarm or an admin has done
    something. `fails`: nothing; a person should know.
    """

    kind: Literal["done", "look", "update", "force", "put back", "refused", "waits", "fails"]
    why: str = ""
    hint: str = ""


DONE, LOOK = Doing("done"), Doing("look")


def next_doing(sight: Sight) -> Doing:
    """Return what is to be done at a service now."""
    service = sight.service
    if service.wants == 0:
        form = N_("the service {!r} is scaled to 0; certbotless does not start it")
        hint = Text("to start it: docker service scale {}=1", service.name)
        return Doing("waits", Text(form, service.name), hint)
    if not sight.live:
        return Doing("waits", Text("no ready node has a task of the service {!r}", service.name))
    if service.rolling == "on":
        return _rolling(sight)
    if not sight.wrong:
        return DONE
    return _settled(sight) if sight.names_wanted else _other_secrets(sight)


def _rolling(sight: Sight) -> Doing:
    """The Swarm is at it: ours, or that of another one."""
    service, ours = sight.service, sight.our_try
    if ours is not None and sight.names_wanted and (strange := _strange(sight, ours)):
        return strange  # before it reaches the next node
    since = _rolling_since(sight)
    is_long = sight.now - since >= _LONGEST_ROLL + len(service.nodes) * service.pause
    # Nobody sees the task of a node that was removed.
    waits_in_vain = bool(sight.lost) or (is_long and bool(sight.wrong) and _all_run(sight))
    if waits_in_vain and ours is not None and _is_of_ours(sight, ours) and _may_force(sight):
        # An update never goes on from a node lost in it, and that node's return would count as a failure of
        # the certificate on all nodes. Another update leaves the node out (swarmkit#1720).
        is_sure = sight.steady_for >= sight.patience if is_long else sight.is_at_rest
        return Doing("force") if is_sure else LOOK
    if not sight.wrong:
        # Within the time that the Swarm watches the last node for, it may yet go back.
        return DONE if sight.lost and sight.is_at_rest else LOOK
    return _too_long(sight, since) if is_long else LOOK


def _all_run(sight: Sight) -> bool:
    return not sight.service.unplaced and all(node.task == "runs" for node in sight.live)


def _too_long(sight: Sight, since: datetime) -> Doing:
    service, node = sight.service, [*sight.lost, *sight.wrong][0]
    form = N_("the update of the service {!r} has gone on since {}; node {}: {}")
    why = node.why or service.unplaced or service.why or Text("it does not serve the certificate yet")
    hint = Text("see: docker service ps {}", service.name)
    if sight.lost:
        state = node.state if node.is_active else Text("not active")
        why = Text("the Swarm waits for it, and it is {}", state)
        hint = Text(_LOST_HINT_IN_ROLL, node.name, service.name)
    return Doing("fails", Text(form, service.name, rfc3339(since), node.name, why), hint)


def _rolling_since(sight: Sight) -> datetime:
    """Return when the update began, by the clock of the leader, but not before we asked for it by ours."""
    ours, since = sight.our_try, sight.service.rolling_since or sight.now
    asked = (ours.at, ours.forced_at) if ours else ()
    return max([since, *(at for at in asked if at and is_believable(at, sight.now))])


def _is_of_ours(sight: Sight, ours: Roll) -> bool:
    """Whether the update that goes on is ours, or the Swarm's way back from it."""
    named = {file: (each.id, each.name) for file, each in sight.service.secrets.items()}
    before = dict(ours.before)
    return sight.names_wanted or (bool(before) and named == named | before)


def _may_force(sight: Sight) -> bool:
    forced, at = (sight.ours.forced, sight.ours.forced_at) if sight.ours else (0, None)
    apart = _FORCED_APART if forced else _CURED_FOR
    return forced < _MOST_FORCED and not (at and _is_recent(at, apart, sight.now))


def _is_recent(moment: datetime, span: timedelta, now: datetime) -> bool:
    return now < moment + span and is_believable(moment, now)


def _other_secrets(sight: Sight) -> Doing:
    ours, service = sight.our_try, sight.service
    if ours is None or not sight.is_taken_back:
        return _replaced(sight)
    if sight.is_disturbed:
        # A power cut says nothing of a certificate.
        return Doing("update") if sight.steady_for >= PATIENCE else LOOK
    wait = _REFUSED_FOR[min(max(ours.count, 1), len(_REFUSED_FOR)) - 1]
    if sight.is_retry or not _is_recent(ours.at, wait, sight.now):
        return Doing("update")
    form = N_("the service {!r} did not come up with the new secrets: {}")
    hint = Text("see: docker service ps --no-trunc {}", service.name)
    return Doing("refused", Text(form, service.name, sight.failed or service.why), hint)


def _replaced(sight: Sight) -> Doing:
    """It names secrets that others gave it: those before ours, or since."""
    if sight.again <= _MOST_AGAIN or sight.is_retry:
        return Doing("update")
    form = N_("another program replaces the secrets of the service {!r} again and again")
    hint = Text("run one certbotless for it, and no job that deploys its first stack file again")
    return Doing("fails", Text(form, sight.service.name), hint)


def _settled(sight: Sight) -> Doing:
    """No update goes on, and the service names the wanted secrets, but a node does not serve them."""
    ours, service = sight.our_try, sight.service
    active = [node for node in sight.wrong if node.is_active]
    node = [*active, *sight.wrong][0]
    if sight.steady_for < sight.patience:
        return LOOK
    if ours is not None and ours.before and not sight.is_disturbed:
        if strange := _strange(sight, ours):
            return strange
        if any(each.task == "ended" and not sight.leaves.get(each.name) for each in sight.wrong):
            form = N_("the service {!r} did not come up with the new secrets: {}")
            return Doing("put back", Text(form, service.name, sight.failed or node.why))
    if not active:
        # The Swarm leaves its task as it is: to begin again would be for the other nodes alone.
        form = N_("node {} is paused, so the Swarm does not update the service {!r} there")
        hint = Text("to allow it: docker node update --availability active {}", node.name)
        return Doing("waits", Text(form, node.name, service.name), hint)
    leaf = sight.leaves.get(node.name, "")
    form = N_("node {} of the service {!r} serves another certificate ({}...)")
    why = Text(form, node.name, service.name, leaf[:16])
    if not leaf:
        why = Text("no TLS answer from node {} of the service {!r}", node.name, service.name)
        if node.why:
            why = Text("{}: {}", why, node.why)
    return Doing("force", why) if _may_force(sight) else Doing("fails", why, Text(LOST_HINT, node.name))


def _strange(sight: Sight, ours: Roll) -> Doing | None:
    """Return what is due where a node serves neither the wanted certificate nor one from before."""
    served = {sight.leaves.get(each.name, "") for each in sight.live} - {"", sight.wanted, *ours.leaves}
    if not served or not ours.before or sight.is_disturbed:
        return None
    form = N_("the service {!r} serves another certificate ({}...) from the new secrets")
    return Doing("put back", Text(form, sight.service.name, min(served)[:16]))


def _patience(node: NodeSeen, sight: Sight) -> timedelta:
    if node.task == "starts":
        # The one before may end its requests until then, and serve what it has; or the new one serves, and
        # its first health check is yet to come, which is after 30 s where nothing else is said.
        return _STARTS_WITHIN
    return PATIENCE if sight.leaves.get(node.name) or node.task in ("ended", "stuck") else _SILENT_FOR
