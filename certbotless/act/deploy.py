"""The containers and commands of a target: which they are, whether and how they are acted upon.

What they show then is proved by `proof`.
"""

import hashlib
import logging
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import timedelta
from functools import partial

from ..base.checked import dump
from ..base.clock import Clock, is_believable
from ..base.errors import CertificateRefused, DeployError, DeployWaits
from ..base.locks import ActionLock
from ..base.log_context import waits_for
from ..base.privileges import environment_of, user_of
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..config.secret import environment_without
from ..config.targets import Target
from ..config.values import Reload
from ..decide.deploy import window_wait
from ..model.deployed import Restarting
from ..model.observation import Endpoint, Observation, endpoints_of, where_of
from ..world.containers import ACTION_EVENTS, Container, published_port, run_command
from .context import SiteContext
from .proof import PROOF_TIMEOUT_S, RELOAD_OVERLAP_S, SILENCE_HINT, Proof, Service

logger = logging.getLogger(__name__)

# The time of the engine itself, beside the container's own.
_CONTAINER_MARGIN_S = 60
# A turn is waited for no longer, so that a run ends in time where the holder of the lock hangs.
_TURNS_S = 1800
# A second action settles what was read a moment before the files were there; a third one cures nothing.
_MOST_ACTIONS = 2
# A machine may be restored from an old backup, or its admin has mended what kept a command from its work.
_LOST_AFTER = timedelta(days=1)


class DeploySteps:
    """The steps `deploy` and `redeploy` of one site; `seen` is from a moment ago.

    `is_retry`: the published certificate was refused before, and this is another try of it.
    """

    def __init__(self, ctx: SiteContext, seen: Observation, *, is_retry: bool = False) -> None:
        self._ctx = ctx
        self._seen = seen
        self._is_retry = is_retry
        self._proof = Proof(ctx, seen)

    def deploy(self, target: Target) -> None:
        """Make all of the target serve what is published, and see that it does.

        Of several containers with one label, the first that may be acted upon is the canary: if it fails, the
        others are left as they are. If a later one fails, or waits for its admin, the others are still acted
        upon.

        Raises:
            DeployError: of what failed first.
            DeployWaits: its admin, or a port in the file, must come first.
            CertificateRefused: the first one answered before and does not with the new certificate, so the
                one before is published again.
        """
        is_first = target.name == self._ctx.site.deploy[0].name
        if target.service is not None:
            self._roll(target, is_canary=is_first)
            return
        if not target.has_containers:
            self._serve_places(target, is_canary=is_first)
            return
        failed: list[DeployError] = []
        containers = self._resolve(target)
        canary = self._canary(containers)
        for found in containers:
            try:
                self._serve(target, found, is_canary=is_first and found is canary)
            except DeployError as exc:
                failed.append(exc)
                if found is canary and not isinstance(exc, DeployWaits):
                    break
        if failed:
            raise min(failed, key=lambda exc: isinstance(exc, DeployWaits))

    def announce(self, target: Target) -> None:
        """Put what is published on trial if this target may be a reason to go back.

        This is done before any site acts: another site that shares the container may be the first, and what
        answers now may be down when the turn of this site comes.
        """
        is_canary = target.name == self._ctx.site.deploy[0].name and not target.reads_by_itself
        if not is_canary or target.service is not None or self._is_held(target):
            return
        name = target.name
        if target.label is not None:
            with suppress(DeployError):  # reported by the deploy itself
                found = self._ctx.containers.matching(target.label)
                name = self._canary(found).name if found else ""
        leaf = self._seen.served.get(Endpoint(name, None, target.name).key)
        if leaf and leaf != self._proof.sha256 and self._proof.fallback() is not None:
            self._proof.begin_trial()

    def redeploy(self) -> None:
        """Give the refused certificate another try at the first target; raises as `deploy` does.

        It is published only once the target is there to take it.
        """
        ctx, target = self._ctx, self._ctx.site.deploy[0]
        if target.has_containers and not target.reads_by_itself:
            canary = self._canary(self._resolve(target))
            _check_may_act(canary, self._is_left_by_us(canary, is_canary=True))
        if target.service is not None:
            ctx.services.find(target.service)
        if (trial := ctx.state.trial) is not None:
            ctx.store.select(trial.generation)
        published = ctx.store.look(ctx.state.generations)
        DeploySteps(ctx, replace(self._seen, published=published), is_retry=True).deploy(target)

    def _roll(self, target: Target, *, is_canary: bool) -> None:
        """Let a service of the Swarm serve what is published; other sites may have a secret in it too."""
        from .service import LONGEST_S, ServiceRoll  # noqa: PLC0415  (nothing of it is loaded for others)

        with self._alone_on(target, target.name, LONGEST_S):
            roll = ServiceRoll(self._ctx, self._proof, target, is_canary=is_canary)
            roll.run(is_held=self._is_held(target), is_retry=self._is_retry)

    def _canary(self, found: Sequence[Container]) -> Container:
        """Return the first that may be acted upon; one that its admin stopped proves nothing."""
        may_act = (each for each in found if each.is_up or self._is_left_by_us(each, is_canary=True))
        return next(may_act, found[0])

    def _resolve(self, target: Target) -> list[Container]:
        if target.label is None:
            return [self._ctx.containers.find(target.name)]
        found = self._ctx.containers.matching(target.label)
        names = tuple(container.name for container in found)
        self._ctx.file.put("matched", target.label, names)
        if not found:
            raise DeployError(
                Text("there is no container with the label {!r}", target.label),
                hint=Text("label it, or correct sites[].deploy[].label"),
            )
        return found

    def _serve(self, target: Target, found: Container, *, is_canary: bool) -> None:
        """Make one container serve what is published, under its lock; not if its admin stopped it."""
        if target.reads_by_itself:
            _check_may_act(found, is_our_unfinished_restart=False)
            self._wait(found.name, self._where(target, found))
            return
        timeout_s = PROOF_TIMEOUT_S + target.stop_timeout.total_seconds() + _CONTAINER_MARGIN_S
        with self._alone_on(target, found.name, timeout_s) as lock:
            container = self._ctx.containers.find(found.name)
            is_ours = self._is_left_by_us(container, is_canary=is_canary)
            _check_may_act(container, is_ours)

            def act(stop_timeout_s: int | None) -> None:
                nonlocal container
                container = self._ctx.containers.find(found.name)
                self._act(target, container, stop_timeout_s)
                container = self._ctx.containers.find(found.name)

            def is_dead() -> bool:
                with suppress(DeployError):  # an engine that is away says nothing about the container
                    now = self._ctx.containers.find(found.name)
                    # The engine may have started it again. A container of another id was created by its admin
                    # since, and may be about to come up.
                    has_left = now.status != "running" or now.started_at != container.started_at
                    return now.id == container.id and has_left
                return False

            acted, age = self._proof.acted(container.name), self._ctx.clock.now() - container.started_at
            hopeless = Text("{!r} was already reloaded for it", container.name)
            if not acted:
                form = N_("{!r} was started after the files, at {}")
                hopeless = Text(form, container.name, rfc3339(container.started_at))
            what = dump(target.action).decode()
            service = Service(
                name=container.name,
                where=self._where(target, container),
                target=target.name,
                what=what,
                act=act,
                may_help=lambda leaf: is_ours or self._may_help(container, leaf, lock, what),
                hopeless=hopeless,
                is_canary=is_canary,
                is_held=self._is_held(target),
                is_coming_up=abs(age) < timedelta(seconds=PROOF_TIMEOUT_S),
                is_dead=is_dead,
                overlap_s=0 if target.action.kind == "restart" else RELOAD_OVERLAP_S,
                hint=_hint_at(container),
            )
            self._proof.settle(service, lock)

    def _alone_on(self, target: Target, name: str, timeout_s: float) -> ActionLock:
        # By the name: a container that is made again has the same lock, and no file is left of the old one.
        lock_id, config = hashlib.sha256(name.encode()).hexdigest(), self._ctx.config
        # The sites that have it act one after the other, each for that long at most.
        sharers = sum(each.name == target.name for site in config.sites for each in site.deploy)
        turns_s = min(timeout_s * sharers, _TURNS_S)
        return ActionLock(config.state_dir, lock_id, self._ctx.clock, max(turns_s, timeout_s))

    def _is_left_by_us(self, container: Container, *, is_canary: bool) -> bool:
        """Whether a restart of ours that was cut short, or our new certificate, ended the container."""
        state = self._ctx.state
        if container.status != "exited":
            return False
        is_on_trial = is_canary and self._proof.is_on_trial
        if is_on_trial and state.trial and container.started_at >= state.trial.at:
            return True
        return state.restarting.get(container.name) == _restarting(container)

    def _wait(self, name: str, where: tuple[str, int] | None) -> None:
        if where is None:
            raise _without_address()
        self._proof.wait_for_itself(name, where)

    def _serve_places(self, target: Target, *, is_canary: bool) -> None:
        """Make each place of a target without a container serve the published certificate; all are tried."""
        failed = list[DeployError]()
        several = self._ctx.site.address.several
        places = endpoints_of(target, self._ctx.state, self._seen.host, several)
        for place in places:
            try:
                if target.command:
                    self._reload(target, place, is_canary=is_canary and place is places[0])
                else:
                    self._wait(place.name, place.where)
            except CertificateRefused:
                raise
            except DeployError as exc:
                failed.append(exc)
        if failed:
            raise failed[0]

    def _reload(self, target: Target, place: Endpoint, *, is_canary: bool) -> None:
        """Run the target's command for this site, and prove it at this place.

        A run for another site counts only where a handshake shows that it has done its work: what a command
        does with the variables is not known.
        """
        domain, timeout_s = self._ctx.site.domain, target.timeout.total_seconds()
        argv, what = target.argv(domain), f"run for {domain}"

        def act(_: int | None) -> None:
            logger.debug("command.running command=%s", target.name, extra=waits_for(N_("the command")))
            hidden = self._ctx.config.secrets().values()
            environment = environment_without(hidden) | environment_of(user_of(os.geteuid()))
            run_command(argv, environment | self._variables(), timeout_s)
            self._ctx.tell("command.run", command=target.name)

        lock = self._alone_on(target, shlex.join(argv), PROOF_TIMEOUT_S + timeout_s)
        service = Service(
            name=place.name,
            where=place.where,
            target=target.name,
            what=what,
            act=act,
            may_help=lambda _: self._may_act_again(place.name) or _is_long_ago(lock, what, self._ctx.clock),
            hopeless=Text("{!r} was run for it {} times", target.name, _MOST_ACTIONS),
            is_canary=is_canary,
            is_held=self._is_held(target),
            overlap_s=RELOAD_OVERLAP_S,
        )
        with lock:
            self._proof.settle(service, lock)

    def _variables(self) -> dict[str, str]:
        """Return what a command learns of what is published now: after a failure, the certificate before."""
        ctx = self._ctx
        facts, site = ctx.store.look(ctx.state.generations).facts, ctx.site
        chain = ctx.config.certs_dir_of(site) / f"{site.domain}.pem"
        key = chain.with_name(f"{site.domain}.key")
        found = {"DOMAIN": site.domain, "CHAIN": str(chain), "KEY": str(key)}
        if facts is not None:
            found |= {
                "NAMES": " ".join(facts.names),
                "SHA256": facts.sha256,
                "NOT_AFTER": rfc3339(facts.not_after),
            }
        return {f"CERTBOTLESS_{name}": value for name, value in found.items()}

    def _where(self, target: Target, container: Container) -> tuple[str, int] | None:
        """Return where the container serves; None where the file says that it cannot be proved."""
        if target.port is not None and target.port.kind == "none":
            return None
        file = self._ctx.file
        if target.port is None and file.state.ports.get(container.name) not in container.ports:
            file.put("ports", container.name, published_port(container))
        state = file.put("bound", container.name, dict(container.bound) or None)
        where = where_of(target, self._seen.host, state.ports.get(container.name), container.bound)
        if where is None:
            raise _without_address()
        return where

    def _is_held(self, target: Target) -> bool:
        now, facts = self._ctx.clock.now(), self._seen.published.facts
        if facts is not None and facts.not_after <= now:
            return True  # an expired certificate replaces no other one
        return window_wait(target, self._ctx.state.deploy_by, now) is not None

    def _may_act_again(self, name: str) -> bool:
        acted = self._proof.acted(name)
        return acted is None or acted.count < _MOST_ACTIONS

    def _may_help(self, container: Container, leaf: str, lock: ActionLock, what: str) -> bool:
        """Whether an action may help this container.

        One that was started before the files were there has not read them, also where they had been there
        once before. One that was started since, and serves another leaf, may have read them a moment before:
        one more action settles it. Where an action has helped, others have made it serve another leaf since:
        each day one may help again. One that does not answer is starting still, or broken: neither is cured
        by restarting it for ever.
        """
        acted, files_at = self._proof.acted(container.name), self._ctx.store.linked_at()
        if leaf and acted is not None and acted.has_helped and _is_long_ago(lock, what, self._ctx.clock):
            return True
        if leaf:
            return self._may_act_again(container.name)
        if acted is not None and acted.files_at in (None, files_at):
            return False
        there_since = max(self._proof.issued_at, files_at or self._proof.issued_at)
        # A start in the future was noted by a clock that was ahead: the true time is not known.
        is_known = is_believable(container.started_at, self._ctx.clock.now())
        return not is_known or container.started_at <= there_since

    def _act(self, target: Target, container: Container, stop_timeout_s: int | None) -> None:
        action = target.action if container.is_up else Reload("restart")
        stop_timeout_s = stop_timeout_s or int(target.stop_timeout.total_seconds())
        event, awaited = ACTION_EVENTS[action.kind]
        logger.debug("container.acting container=%s", container.name, extra=waits_for(awaited))
        with self._noted_restart(container) if action.kind == "restart" else nullcontext():
            self._ctx.containers.act(container.name, action, stop_timeout_s)
        self._ctx.tell(event, container=container.name, **action.values)

    @contextmanager
    def _noted_restart(self, container: Container) -> Iterator[None]:
        """Have the intent to restart it on disk for as long as the restart may be half done."""
        note = partial(self._ctx.file.put, "restarting", container.name)
        note(_restarting(container))
        try:
            yield
        except DeployError:
            # Where the engine refused, and it runs as before, a later stop is its admin's and not ours.
            with suppress(DeployError):
                if container.is_up and self._ctx.containers.find(container.name) == container:
                    note(None)
            raise
        note(None)


def _check_may_act(container: Container, is_our_unfinished_restart: bool) -> None:
    """Let pass only what the admin wants to run.

    Raises:
        DeployWaits: the admin stopped or paused it.
    """
    if container.is_up or is_our_unfinished_restart:
        return
    start = "unpause" if container.status == "paused" else "start"
    raise DeployWaits(
        Text("the container {!r} is {}; certbotless does not start it", container.name, container.status),
        hint=Text("to start it: docker {} {}", start, container.name),
    )


def _is_long_ago(lock: ActionLock, what: str, clock: Clock) -> bool:
    """Whether the last action is so old that the service may have lost what it was given."""
    last = lock.last_action(what)
    return last is not None and clock.now() - last >= _LOST_AFTER


def _without_address() -> DeployError:
    return DeployError(Text("without a LAN address nothing can be proved"), hint=Text("set sites[].address"))


def _hint_at(container: Container) -> str:
    if container.reads_all:
        return SILENCE_HINT
    why = {
        "": Text("It does not run as full root"),
        "rootless": Text("Its engine is rootless"),
        "userns": Text("It has a user namespace of its own"),
    }[container.namespace]
    return Text(
        'it may not be able to read the key. {}: set key_mode "0640", and set the group of certs_dir to one '
        "of its own (docs/configuration.md); otherwise see its log",
        why,
    )


def _restarting(container: Container) -> Restarting:
    return Restarting(id=container.id, started_at=container.started_at)
