"""Let a service of a Docker Swarm serve what is published, and prove it on every node.

The Swarm does the work: an update names two other secrets, and it restarts one task after the other, by the
update settings of the service. `decide.swarm` says what is due; this does it.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Literal, NoReturn

from ..base.clock import Pace
from ..base.concurrent import together
from ..base.errors import CertificateRefused, DeployError, DeployWaits, StoreError, SwarmWaits
from ..base.log_context import waits_for
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..config.targets import Target
from ..decide.swarm import Doing, Sight, next_doing
from ..model.deployed import Acted, Roll, SwarmNode
from ..model.observation import Observation
from ..model.swarm import OurSecret, Secret, ServiceSeen
from ..world import swarm
from ..world.tls import served_leaf
from .context import SiteContext
from .proof import Proof

logger = logging.getLogger(__name__)

# For so long one run follows the Swarm; the next one goes on. A roll of three nodes takes some 10 s.
_FOLLOWED_S = 90
# Two follow each other where one was cut short by a power cut, or met another's update.
_MOST_UPDATES = 2
LONGEST_S = _FOLLOWED_S * (_MOST_UPDATES + 2)
_CONNECT_TIMEOUT_S = 0.5
# With less left than that, or than a sixth of its life, a certificate is needed now: one is ordered that the
# Swarm may not be able to take yet.
_NEEDED_WITHIN = timedelta(days=1)
# How long the nodes have to serve the certificate before again.
_BACK_S = 30
# A node that is down is noted again so often, for that is written to disk.
_NOTE_DOWN_EVERY = timedelta(minutes=1)
# And so often that all were asked for.
_NOTE_EVERY = timedelta(minutes=10)

Part = Literal["cert", "key"]


def check_before_order(ctx: SiteContext, seen: Observation) -> None:
    """Check that a new certificate could be rolled out, unless one is needed today.

    Raises:
        SwarmWaits: the Swarm has no leader, or is not met here.
        DeployError: there is no such service, before the first certificate.
    """
    facts = seen.published.facts
    if facts is not None and facts.not_after - ctx.clock.now() < min(_NEEDED_WITHIN, facts.lifetime / 6):
        return
    for target in ctx.site.deploy:
        if target.service is not None:
            try:
                ctx.services.find(target.service)
            except SwarmWaits:
                raise
            except DeployError:
                if facts is None:
                    raise


def look_for_nodes(ctx: SiteContext, target: Target) -> None:
    """Note the nodes of a service, of which the next checks see what they serve."""
    name = target.service or ""
    # Also where the Swarm does not answer: the certificate in use is none the worse for it.
    ctx.file.put("nodes_at", name, ctx.clock.now())
    try:
        _note_nodes(ctx, ctx.services.find(name))
    except DeployError as exc:
        logger.debug("service.nodes_unknown service=%s error=%s", name, exc)


def _note_nodes(ctx: SiteContext, service: ServiceSeen) -> None:
    """Keep where the service is met, for checks, which never ask the engine."""
    known, now = ctx.state.nodes.get(service.name, {}), ctx.clock.now()
    found = {}
    for node in service.nodes:
        seen = SwarmNode(address=node.address, down_at=None if node.is_live else now)
        before = known.get(node.name)
        if before and seen.down_at and before == replace(seen, down_at=before.down_at) and before.down_at:
            seen = before if now - before.down_at < _NOTE_DOWN_EVERY else seen
        found[node.name] = seen
    if found != known:
        ctx.file.put("nodes", service.name, found or None)
    if now - ctx.state.nodes_at.get(service.name, now - _NOTE_EVERY) >= _NOTE_EVERY:
        ctx.file.put("nodes_at", service.name, now)


class ServiceRoll:
    """One target of a site that is a service; hold its lock."""

    def __init__(self, ctx: SiteContext, proof: Proof, target: Target, *, is_canary: bool) -> None:
        self._ctx, self._proof, self._target, self._is_canary = ctx, proof, target, is_canary
        self._name = target.service or ""
        self._port = target.port.number if target.port else 0
        self._files: Mapping[Part, str] = {"cert": target.secrets.cert, "key": target.secrets.key}
        self._key: object = None
        self._since_s = 0.0
        self._updates, self._has_updated = 0, False

    def run(self, *, is_held: bool, is_retry: bool) -> None:
        """Take the steps that are due until every node serves the published certificate.

        Args:
            is_held: nodes that answer are left alone.
            is_retry: the certificate was refused before.

        Raises:
            DeployError: a node does not serve it.
            DeployWaits: the Swarm, or its admin, must do something first.
            CertificateRefused: it could not be used, and the one before is published again.
        """
        pace, acted = self._pace(), False
        while True:
            sight = self._look(is_retry=is_retry and not self._has_updated)
            doing = next_doing(sight)
            match doing.kind:
                case "done":
                    return self._end(sight, acted=acted)
                case "look":
                    if not pace.expired:
                        pace.wait()
                        continue
                    return self._stop(sight, acted=acted)
                case "waits":
                    raise DeployWaits(doing.why, hint=doing.hint)
                case "fails":
                    raise DeployError(doing.why, hint=doing.hint)
                case "refused":
                    self._refuse(doing, Text("the Swarm has put the previous secrets back"))
            if is_held and any(sight.leaves.values()):
                return None  # the step is for a silence that is over, or for a node that starts by itself
            match doing.kind:
                case "update":
                    self._update(sight)
                case "force":
                    self._force(sight)
                case "put back":
                    self._put_back(sight, doing)
            pace, acted, self._key = self._pace(), True, None

    def _pace(self) -> Pace:
        return Pace(self._ctx.clock, _FOLLOWED_S, first_s=0.2, most_s=1)

    # --- what is seen ---------------------------------------------------------------------------------------

    def _look(self, *, is_retry: bool) -> Sight:
        ctx = self._ctx
        service, wanted = ctx.services.find(self._name), self._proof.sha256
        _note_nodes(ctx, service)
        leaves = self._leaves(service)
        ours = {each.file: each.id for each in self._ours(wanted)}
        named = {part: service.secrets.get(file) for part, file in self._files.items()}
        names_wanted = all(secret and secret.id == ours.get(part) for part, secret in named.items())
        nodes = tuple(
            (node.name, self._shown(service, leaves.get(node.name)), node.is_live, node.index)
            for node in service.nodes
        )
        key = (names_wanted, service.rolling, nodes)
        failed = [each for each in service.failed if each.secrets & {*ours.values()}]
        if key != self._key:
            self._key, self._since_s = key, ctx.clock.monotonic()
        return Sight(
            service=service,
            wanted=wanted,
            names_wanted=names_wanted,
            leaves=leaves,
            ours=ctx.state.rolls.get(self._name),
            now=ctx.clock.now(),
            steady_for=timedelta(seconds=ctx.clock.monotonic() - self._since_s),
            failed=next((f"{each.node}: {each.why}" for each in failed[::-1]), ""),
            is_retry=is_retry,
        )

    def _shown(self, service: ServiceSeen, leaf: str | None) -> str | bool | None:
        """Return what of a node counts as a change: in an update each certificate, later only this one."""
        return leaf if service.rolling == "on" else leaf == self._proof.sha256

    def _leaves(self, service: ServiceSeen) -> dict[str, str]:
        """Return what each node serves that is to serve now, by its name."""
        domain, at = (
            self._ctx.site.domain,
            [(node.address, self._port) for node in service.nodes if node.is_live],
        )

        def served(where: tuple[str, int]) -> str:
            return served_leaf(*where, domain, connect_timeout_s=_CONNECT_TIMEOUT_S) if where[0] else ""

        names = [node.name for node in service.nodes if node.is_live]
        return dict(zip(names, together(served, at), strict=True))

    def _ours(self, sha256: str) -> list[OurSecret]:
        return [each for each in self._ctx.services.secrets(self._ctx.site.domain) if each.sha256 == sha256]

    # --- what is done ---------------------------------------------------------------------------------------

    def _update(self, sight: Sight) -> None:
        """Let the service name the secrets of what is published, in one update."""
        ctx, service, wanted = self._ctx, sight.service, sight.wanted
        if self._updates == _MOST_UPDATES:
            raise SwarmWaits(Text("the service {!r} is changed again and again", self._name))
        self._updates += 1
        for file in self._files.values():
            if file not in service.secrets:
                hint = Text("docker service update --secret-add source=SECRET,target={} {}", file, self._name)
                raise DeployError(
                    Text("the service {!r} has no secret with the file {!r}", self._name, file), hint=hint
                )
        secrets = self._secrets()
        if self._is_canary and any(sight.leaves.values()) and self._proof.fallback() is not None:
            self._proof.begin_trial()
        before, tried = ctx.state.rolls.get(self._name), sight.our_try
        roll = Roll(
            sha256=wanted,
            at=sight.now,
            index=service.index,
            before={file: (service.secrets[file].id, service.secrets[file].name) for file in secrets},
            leaves=tuple(sorted({*sight.leaves.values()} - {"", wanted})),
            count=(tried.count if tried else 0) + 1,
            again=sight.again,
            took_s=before.took_s if before else 0,
        )
        # Before the update: a run that is killed after it must know that it was ours.
        ctx.file.put("rolls", self._name, roll)
        try:
            index = ctx.services.update(service, secrets)
        except swarm.Conflict:
            ctx.file.put("rolls", self._name, before)
            return
        self._has_updated = True
        ctx.file.put("rolls", self._name, replace(roll, index=index))
        ctx.tell("service.updated", service=self._name, sha256=wanted)
        self._say_waiting()

    def _force(self, sight: Sight) -> None:
        """Let the tasks of the service begin again, with the secrets that it names."""
        ctx = self._ctx
        roll = sight.ours or Roll(sha256=sight.wanted, at=sight.now, is_done=True)
        noted = replace(roll, sha256=sight.wanted, forced=roll.forced + 1, forced_at=sight.now)
        ctx.file.put("rolls", self._name, noted)
        try:
            index = ctx.services.update(sight.service, {}, is_forced=True)
        except swarm.Conflict:
            ctx.file.put("rolls", self._name, sight.ours)
            return
        ctx.file.put("rolls", self._name, replace(noted, index=index))
        lost = sight.lost if sight.service.rolling == "on" else []
        nodes = ", ".join(node.name for node in lost or sight.wrong)
        ctx.tell("service.forced", service=self._name, nodes=nodes)
        self._say_waiting()

    def _say_waiting(self) -> None:
        extra = waits_for(N_("the Swarm to update the service"), self._name)
        logger.debug("service.rolling service=%s", self._name, extra=extra)

    def _put_back(self, sight: Sight, doing: Doing) -> NoReturn:
        """Let the service name the secrets before; always raises."""
        ctx, ours = self._ctx, sight.ours
        if ours is None:
            raise DeployError(doing.why, hint=doing.hint)
        secrets = {file: Secret(*each) for file, each in ours.before.items() if len(each) == 2}
        outcome = Text("the previous secrets are in use again")
        try:
            index = ctx.services.update(sight.service, secrets)
            ctx.file.put("rolls", self._name, replace(ours, index=index, at=sight.now, is_back=True))
            ctx.tell("service.put_back", service=self._name, refused=sight.wanted)
            if not self._serves_again(ours):
                outcome = Text("its nodes do not serve the previous certificate yet")
        except DeployError as exc:
            outcome = Text("the rollback failed too: {}", exc.message)
        self._refuse(doing, outcome)

    def _serves_again(self, ours: Roll) -> bool:
        pace = Pace(self._ctx.clock, _BACK_S, first_s=0.2, most_s=1)
        while not pace.expired:
            leaves = {*self._leaves(self._ctx.services.find(self._name)).values()}
            if leaves and leaves <= {*ours.leaves}:
                return True
            pace.wait()
        return False

    def _refuse(self, doing: Doing, outcome: str) -> NoReturn:
        """Go back to the certificate before, where there is one; always raises."""
        # What is wrong with them is not known: the next try makes others from the files.
        for each in self._ours(self._proof.sha256):
            self._remove(each)
        failed = DeployError(Text("{}; {}", doing.why, outcome), hint=doing.hint)
        if not self._is_canary or self._proof.fallback() is None:
            raise failed
        self._proof.begin_trial()
        self._proof.take_back(failed)
        raise CertificateRefused(failed.message, hint=failed.hint)

    def _stop(self, sight: Sight, *, acted: bool) -> None:
        """End a run that has followed the Swarm long enough."""
        if not sight.wrong:
            return self._end(sight, acted=acted)  # the Swarm still watches the last node
        nodes = ", ".join(node.name for node in sight.wrong)
        raise SwarmWaits(Text("the Swarm updates the service {!r}; not yet there: {}", self._name, nodes))

    def _end(self, sight: Sight, *, acted: bool) -> None:
        """Note that every node serves what is published, and remove secrets that are of no use any more."""
        ctx, wanted = self._ctx, sight.wanted
        if (ours := sight.ours) and ours.sha256 == wanted and not (ours.is_done and not ours.forced):
            took_s = (
                ours.took_s if ours.is_done or not acted else round((sight.now - ours.at).total_seconds())
            )
            done = replace(ours, is_done=True, is_back=False, forced=0, took_s=took_s)
            ctx.file.put("rolls", self._name, done)
        served = {f"{self._name}@{node.name}": Acted(sha256=wanted, count=1) for node in sight.live}
        ctx.file.change(acted=ctx.state.acted | served)
        self._proof.end_trial()
        if acted:
            at = ", ".join(f"{node.name}:{self._port}" for node in sight.live)
            ctx.tell("service.served", service=self._name, at=at, sha256=wanted)
        if sight.service.rolling != "on":
            self._prune(wanted)

    # --- secrets --------------------------------------------------------------------------------------------

    def _secrets(self) -> dict[str, Secret]:
        """Return the secrets of what is published, by the names of their files; missing ones are made."""
        ctx, published = self._ctx, self._ctx.store.look(self._ctx.state.generations)
        facts, wanted = published.facts, self._proof.sha256
        if facts is None or facts.sha256 != wanted:
            raise StoreError(Text("another certificate was published meanwhile"))
        known = {each.file for each in self._ours(wanted)}
        chain, key = ctx.store.pair(ctx.state.generations)
        domain = hashlib.sha256(ctx.site.domain.encode()).hexdigest()[:12]
        contents: Mapping[Part, tuple[bytes, str]] = {"cert": (chain, "pem"), "key": (key, "key")}
        for part, (content, ending) in contents.items():
            if part not in known:
                labels = {
                    swarm.DOMAIN: ctx.site.domain,
                    swarm.SHA256: wanted,
                    swarm.NOT_AFTER: rfc3339(facts.not_after),
                    swarm.FILE: part,
                }
                ctx.services.make_secret(f"cb-{domain}-{published.generation}.{ending}", content, labels)
        return {self._files[each.file]: each for each in self._ours(wanted)}

    def _prune(self, wanted: str) -> None:
        """Remove the secrets of all certificates but the last two."""
        found = self._ctx.services.secrets(self._ctx.site.domain)
        others = sorted((each for each in found if each.sha256 != wanted), key=lambda each: each.made_at)
        for each in others:
            if each.sha256 != others[-1].sha256:
                self._remove(each)

    def _remove(self, secret: Secret) -> None:
        try:
            self._ctx.services.remove_secret(secret)
        except DeployError as exc:
            # Another service may use it; the next roll tries again.
            logger.debug("service.secret_kept name=%s error=%s", secret.name, exc)
        else:
            logger.debug("service.secret_removed name=%s", secret.name)
