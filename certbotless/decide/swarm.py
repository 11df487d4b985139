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
_PATIENCE = timedelta(seconds=10)
# Of a silent node whose task runs, as the Swarm says: that one has lost its power it says after 15 s.
_SILENT_FOR = timedelta(seconds=30)
# Of a node whose task is about to run: an engine tries to fetch the image first, which takes 20 s in vain.
_STARTS_WITHIN = timedelta(minutes=1)
# An update that takes longer is reported as a failure.
_LONGEST_ROLL = timedelta(minutes=5)
# For one certificate all nodes begin again so often at most, and so far apart. Where it has helped, the next
# time is later: a node that falls silent now and then must not restart the others all day.
_MOST_FORCED, _FORCED_APART, _CURED_FOR = 3, timedelta(minutes=10), timedelta(hours=8)
# How long a refused certificate waits for another try; the last one counts for all that follow.
_REFUSED_FOR = tuple(timedelta(minutes=minutes) for minutes in (1, 10, 100, 24 * 60))
# Where another program replaces our secrets, so many more updates follow each other, then none for so long.
_MOST_AGAIN, _AGAIN_AFTER = 3, timedelta(hours=1)


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

    # --- its nodes ------------------------------------------------------------------------------------------

    @property
    def live(self) -> list[NodeSeen]:
        """The nodes that are to serve now."""
        return [node for node in self.service.nodes if node.is_live]

    @property
    def wrong(self) -> list[NodeSeen]:
        """Those that do not serve the wanted certificate."""
        return [node for node in self.live if self.leaves.get(node.name) != self.wanted]

    @property
    def changed(self) -> list[NodeSeen]:
        """The nodes that were lost, or came back, since our update: then its end says nothing."""
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
        return max((_patience(node, self.leaves.get(node.name, "")) for node in self.live), default=_PATIENCE)

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing has changed for longer than the Swarm waits for, or after, a node of an update."""
        return self.steady_for >= self.patience + self.service.pause

    # --- our update -----------------------------------------------------------------------------------------

    @property
    def our_try(self) -> Roll | None:
        """Our update to the wanted certificate, as long as it was not seen on every node."""
        ours = self.ours
        return ours if ours and ours.sha256 == self.wanted and not ours.is_done else None

    @property
    def telling_try(self) -> Roll | None:
        """That one, if its end says something of the certificate."""
        ours = self.our_try
        return ours if ours and ours.before and not self.changed else None

    @property
    def taken_back(self) -> Roll | None:
        """That one, if the Swarm, or we, have taken it back."""
        ours = self.our_try
        return ours if ours and (ours.is_back or self.service.rolling == "back") else None

    @property
    def again(self) -> int:
        """How often of late another program has replaced the wanted secrets, if it has done so now."""
        ours = self.ours
        if ours is None or ours.sha256 != self.wanted or not _is_recent(ours.at, _AGAIN_AFTER, self.now):
            return 0
        return ours.again + (self.taken_back is None)

    @property
    def may_force(self) -> bool:
        """Whether all nodes may begin again by now."""
        ours = self.ours
        if ours is None:
            return True
        apart = _FORCED_APART if ours.forced else _CURED_FOR
        is_soon = ours.forced_at is not None and _is_recent(ours.forced_at, apart, self.now)
        return ours.forced < _MOST_FORCED and not is_soon

    # --- the update that goes on ----------------------------------------------------------------------------

    @property
    def rolling_since(self) -> datetime:
        """When it began, by the clock of the leader, but not before we asked for ours by our clock."""
        ours, since = self.our_try, self.service.rolling_since or self.now
        asked = (ours.at, ours.forced_at) if ours else ()
        return max([since, *(at for at in asked if at and is_believable(at, self.now))])

    @property
    def is_long(self) -> bool:
        """Whether it has gone on for longer than it may."""
        longest = _LONGEST_ROLL + len(self.service.nodes) * self.service.pause
        return self.now - self.rolling_since >= longest

    @property
    def is_of_ours(self) -> bool:
        """Whether it is ours, or the Swarm's way back from it."""
        ours = self.our_try
        if ours is None:
            return False
        named = {file: (each.id, each.name) for file, each in self.service.secrets.items()}
        return self.names_wanted or (bool(ours.before) and ours.before.items() <= named.items())


@dataclass(frozen=True, slots=True)
class Doing:
    """What is to be done, and why, where a person should know that.

    `done`: nothing. `look`: look again in a moment. `update`: let the service name the wanted secrets.
    `force`: let its nodes begin again. `put back`: let it name the secrets before; the certificate is
    refused. `refused`: the Swarm did that already. `waits`: nothing, until the Swarm or an admin has done
    something. `fails`: nothing; a person should know.
    """

    kind: Literal["done", "look", "update", "force", "put back", "refused", "waits", "fails"]
    why: str = ""
    hint: str = ""


_DONE, _LOOK, _UPDATE, _FORCE = Doing("done"), Doing("look"), Doing("update"), Doing("force")


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
        return _DONE
    return _wrong_nodes(sight) if sight.names_wanted else _other_secrets(sight)


def _rolling(sight: Sight) -> Doing:
    """An update goes on: ours, or that of another one."""
    if sight.names_wanted and (third := _third_certificate(sight)):
        return third  # before it reaches the next node
    if _waits_in_vain(sight) and sight.is_of_ours and sight.may_force:
        # An update never goes on from a node lost in it, and that node's return would count as a failure of
        # the certificate on all nodes. Another update leaves the node out (swarmkit#1720).
        is_sure = sight.steady_for >= sight.patience if sight.is_long else sight.is_at_rest
        return _FORCE if is_sure else _LOOK
    if not sight.wrong:
        # Within the time that the Swarm watches the last node for, it may yet go back.
        return _DONE if sight.lost and sight.is_at_rest else _LOOK
    return _too_long(sight) if sight.is_long else _LOOK


def _waits_in_vain(sight: Sight) -> bool:
    """Whether the update waits for a node that is lost, or removed: nobody sees the task of such a one."""
    all_run = not sight.service.unplaced and all(node.task == "runs" for node in sight.live)
    return bool(sight.lost) or (sight.is_long and bool(sight.wrong) and all_run)


def _too_long(sight: Sight) -> Doing:
    """Name the node that an update waits for."""
    service, node = sight.service, [*sight.lost, *sight.wrong][0]
    if sight.lost:
        state = node.state if node.is_active else Text("not active")
        why: str = Text("the Swarm waits for it, and it is {}", state)
        form = N_("bring node {} back, or update without it: docker service update --force {}")
        hint = Text(form, node.name, service.name)
    else:
        why = node.why or service.unplaced or service.why or Text("it does not serve the certificate yet")
        hint = Text("see: docker service ps {}", service.name)
    form = N_("the update of the service {!r} has gone on since {}; node {}: {}")
    return Doing("fails", Text(form, service.name, rfc3339(sight.rolling_since), node.name, why), hint)


def _other_secrets(sight: Sight) -> Doing:
    """No update goes on, and the service names other secrets than the wanted ones."""
    service, ours = sight.service, sight.taken_back
    if ours is None:
        # Others gave it those: before our update, or since.
        if sight.again <= _MOST_AGAIN or sight.is_retry:
            return _UPDATE
        form = N_("another program replaces the secrets of the service {!r} again and again")
        hint = Text("run one certbotless for it, and no job that deploys its first stack file again")
        return Doing("fails", Text(form, service.name), hint)
    if sight.changed:
        # A power cut says nothing of a certificate.
        return _UPDATE if sight.steady_for >= _PATIENCE else _LOOK
    wait = _REFUSED_FOR[min(max(ours.count, 1), len(_REFUSED_FOR)) - 1]
    if sight.is_retry or not _is_recent(ours.at, wait, sight.now):
        return _UPDATE
    form = N_("the service {!r} did not come up with the new secrets: {}")
    hint = Text("see: docker service ps --no-trunc {}", service.name)
    return Doing("refused", Text(form, service.name, sight.failed or service.why), hint)


def _wrong_nodes(sight: Sight) -> Doing:
    """No update goes on, and the service names the wanted secrets, but a node does not serve them."""
    service = sight.service
    if sight.steady_for < sight.patience:
        return _LOOK
    if third := _third_certificate(sight):
        return third
    active = [node for node in sight.wrong if node.is_active]
    node = [*active, *sight.wrong][0]
    has_ended = any(each.task == "ended" and not sight.leaves.get(each.name) for each in sight.wrong)
    if has_ended and sight.telling_try:
        form = N_("the service {!r} did not come up with the new secrets: {}")
        return Doing("put back", Text(form, service.name, sight.failed or node.why))
    if not active:
        # The Swarm leaves its task as it is: to begin again would be for the other nodes alone.
        form = N_("node {} is paused, so the Swarm does not update the service {!r} there")
        hint = Text("to allow it: docker node update --availability active {}", node.name)
        return Doing("waits", Text(form, node.name, service.name), hint)
    return _FORCE if sight.may_force else _not_served(sight, node)


def _not_served(sight: Sight, node: NodeSeen) -> Doing:
    """Say what a node serves though it has begun again."""
    service, leaf = sight.service, sight.leaves.get(node.name, "")
    if leaf:
        form = N_("node {} of the service {!r} serves another certificate ({}...)")
        why = Text(form, node.name, service.name, leaf[:16])
    else:
        why = Text("no TLS answer from node {} of the service {!r}", node.name, service.name)
        why = Text("{}: {}", why, node.why) if node.why else why
    return Doing("fails", why, Text("bring node {} back or remove it; use the host network", node.name))


def _third_certificate(sight: Sight) -> Doing | None:
    """Return what is due where a node serves neither the wanted certificate nor one from before."""
    ours = sight.telling_try
    if ours is None:
        return None
    served = {sight.leaves.get(node.name, "") for node in sight.live} - {"", sight.wanted, *ours.leaves}
    if not served:
        return None
    form = N_("the service {!r} serves another certificate ({}...) from the new secrets")
    return Doing("put back", Text(form, sight.service.name, min(served)[:16]))


def _patience(node: NodeSeen, leaf: str) -> timedelta:
    if node.task == "starts":
        # The one before may end its requests until then, and serve what it has; or the new one serves, and
        # its first health check is yet to come, which is after 30 s where nothing else is said.
        return _STARTS_WITHIN
    return _PATIENCE if leaf or node.task in ("ended", "stuck") else _SILENT_FOR


def _is_recent(moment: datetime, span: timedelta, now: datetime) -> bool:
    return now < moment + span and is_believable(moment, now)
