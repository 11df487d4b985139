"""Make the container serve what is published, prove it, and go back where it does not come up."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from . import trial
from .clock import Pace, is_believable
from .config import Target
from .decide import window_wait
from .deploy import PROGRAM_TIMEOUT_S, Container, check_may_act, published_port, run_command
from .errors import CertificateRefused, DeployError, DeployWaits, StoreError
from .locks import ActionLock
from .observe import Observation, Place, places_of
from .probe import served_leaf
from .state import Acted, Restarting
from .times import rfc3339
from .workbench import Workbench

logger = logging.getLogger(__name__)

# A registry restarts in half a second; one that drains its uploads takes its drain time more.
PROOF_TIMEOUT_S = 30
# A lost SYN is sent again only after a second, so give up on it sooner and try anew.
_CONNECT_TIMEOUT_S = 0.5
# A service that reloads answers from its old workers too for a moment: nginx for 0.1 s.
_RELOAD_OVERLAP_S = 0.5
# The time of the engine itself, beside the container's own.
_CONTAINER_MARGIN_S = 60
# What does not answer has nothing to finish, and nobody is served until it has ended.
_DOWN_STOP_TIMEOUT_S = 1
# A second action settles what was read a moment before the files were there; a third one cures nothing.
_MOST_ACTIONS = 2
_SILENCE_HINT = "look into its log: does it run, and is this its TLS port?"


@dataclass(frozen=True, slots=True)
class _Service:
    """What a target is about, as it is now: one container, or what a command reloads.

    Attributes:
        key: of its place in `Observation.served`.
        where: where it is proved, None where the file says that it cannot be.
        what: what is done to it, in one line, so that another site knows whether it was done for it too.
        act: makes it read its files anew; takes how long it may need to end by itself, None for the
            target's own time.
        may_help: whether that may be a cure, for the leaf that it serves now (empty for no TLS answer);
            `hopeless` says why it is not.
        is_coming_up: whether it was started so short a time ago that it need not answer yet.
        is_dead: whether it has ended since the action, so that nothing is to be waited for.
        overlap_s: how long its old workers may answer beside the new ones.
        hint: what to look into where it does not answer.
        is_held: whether its window is closed, or what is published has expired, so that it is left alone as
            long as it answers.
    """

    name: str
    key: str
    where: tuple[str, int] | None
    what: str
    act: Callable[[int | None], None]
    may_help: Callable[[str], bool]
    hopeless: str
    is_coming_up: bool = False
    is_dead: Callable[[], bool] = lambda: False
    overlap_s: float = 0
    hint: str = _SILENCE_HINT
    is_held: bool = False


class Serving:
    """The steps `deploy` and `redeploy` of one site."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def deploy(self, target: Target, seen: Observation) -> None:
        """Make all of the target serve what is published, and see that it does.

        Of several containers with one label the first that may be acted upon is the canary: where it fails,
        the others stay as they are. A later failure, or one that waits for its admin, leaves none out.

        Raises:
            DeployError: of what failed first.
            DeployWaits: its admin, or a port in the file, must come first.
            CertificateRefused: the first one answered before and does not with the new certificate, so the
                one before is published again.
        """
        is_first = target.name == self._bench.site.deploy[0].name
        if target.command is not None:
            self._reload(target, seen, is_canary=is_first)
            return
        failed: list[DeployError] = []
        containers = self._resolve(target)
        canary = self._canary(containers, seen)
        for found in containers:
            try:
                self._serve(target, found, seen, is_canary=is_first and found is canary)
            except DeployError as exc:
                failed.append(exc)
                if found is canary and not isinstance(exc, DeployWaits):
                    break
        if failed:
            raise min(failed, key=lambda exc: isinstance(exc, DeployWaits))

    def announce(self, target: Target, seen: Observation) -> None:
        """Put what is published on trial if this target may be a reason to go back.

        Before anybody acts: another site that shares the container may be the first, and what answers now may
        be down by the time that it is our turn.
        """
        if target.name != self._bench.site.deploy[0].name or self._is_held(target, seen):
            return
        places = places_of(self._bench.site, target, self._bench.file.load(), seen.address)
        if target.label is not None:
            with suppress(DeployError):  # told by the deploy itself
                found = self._bench.containers.matching(target.label)
                canary = self._canary(found, seen).name if found else ""
                places = [place for place in places if place.name == canary]
        leaf = seen.served.get(places[0].key) if places else ""
        if leaf and leaf != _published(seen)[0] and trial.fallback(self._bench, seen) is not None:
            trial.begin(self._bench, seen)

    def redeploy(self, seen: Observation) -> None:
        """Give the refused certificate another try at the first target; raises as `deploy` does.

        It is published only once the target is there to take it.
        """
        target = self._bench.site.deploy[0]
        if target.command is None:
            canary = self._canary(self._resolve(target), seen)
            check_may_act(canary, self._is_left_by_us(canary, seen, is_canary=True))
        self.deploy(target, replace(seen, published=trial.try_again(self._bench)))

    def _canary(self, found: Sequence[Container], seen: Observation) -> Container:
        """Return the first that may be acted upon; one that its admin stopped proves nothing."""
        may_act = (each for each in found if each.is_up or self._is_left_by_us(each, seen, is_canary=True))
        return next(may_act, found[0])

    def _resolve(self, target: Target) -> list[Container]:
        if target.label is None:
            return [self._bench.containers.find(target.name)]
        found = self._bench.containers.matching(target.label)
        names = tuple(container.name for container in found)
        self._bench.file.put("matched", target.label, names)
        if not found:
            raise DeployError(
                f"there is no container with the label {target.label!r}",
                hint="label it, or correct sites[].deploy[].label",
            )
        return found

    def _serve(self, target: Target, found: Container, seen: Observation, *, is_canary: bool) -> None:
        """Make one container serve what is published.

        Alone on it, for other sites may share it; and not if its admin stopped it.
        """
        sha256, issued_at = _published(seen)
        timeout_s = PROOF_TIMEOUT_S + target.stop_timeout.total_seconds() + _CONTAINER_MARGIN_S
        with self._alone_on(found.name, timeout_s) as lock:
            container = self._bench.containers.find(found.name)
            is_ours = self._is_left_by_us(container, seen, is_canary=is_canary)
            check_may_act(container, is_ours)

            def act(stop_timeout_s: int | None) -> None:
                nonlocal container
                container = self._bench.containers.find(found.name)
                self._act(target, container, stop_timeout_s)
                container = self._bench.containers.find(found.name)

            def is_dead() -> bool:
                with suppress(DeployError):  # an engine that is away says nothing about the container
                    now = self._bench.containers.find(found.name)
                    # One of another id was made anew by its admin, and may be about to come up.
                    return now.id == container.id and now.has_left(container)
                return False

            count = self._acted_for(container.name, sha256)
            since = f"started after the files, at {rfc3339(container.started_at)}"
            service = _Service(
                container.name,
                Place(container.name, None, target.name).key,
                self._where(target, container, seen.address),
                ascii(target.action),
                act,
                lambda leaf: is_ours or self._may_help(container, leaf, sha256, issued_at),
                f"{container.name!r} was {'acted upon for it' if count else since}",
                abs(self._bench.clock.now() - container.started_at) < timedelta(seconds=PROOF_TIMEOUT_S),
                is_dead,
                0 if target.action.kind == "restart" else _RELOAD_OVERLAP_S,
                _hint_at(container),
                self._is_held(target, seen),
            )
            self._settle(service, seen, lock, is_canary=is_canary)

    def _alone_on(self, name: str, timeout_s: float) -> ActionLock:
        # By the name: a container that is made again has the same lock, and no file is left of the old one.
        lock_id = hashlib.sha256(name.encode()).hexdigest()
        return ActionLock(self._bench.config.state_dir, lock_id, self._bench.clock, timeout_s)

    def _is_left_by_us(self, container: Container, seen: Observation, *, is_canary: bool) -> bool:
        """Whether it is a restart of ours, cut short, or a certificate of ours, that ended the container."""
        state = self._bench.file.load()
        if container.status != "exited":
            return False
        is_on_trial = is_canary and trial.is_open(self._bench, seen)
        if is_on_trial and state.trial and container.started_at >= state.trial.at:
            return True
        return state.restarting.get(container.name) == _restarting(container)

    def _reload(self, target: Target, seen: Observation, *, is_canary: bool) -> None:
        """Run the target's command; other sites may share it, and one run may serve all of them."""
        sha256, _ = _published(seen)
        places = places_of(self._bench.site, target, self._bench.file.load(), seen.address)

        def act(_: int | None) -> None:
            logger.debug("command.running command=%r", target.name)
            run_command(target.command or (), self._bench.config.environment_of_commands())
            self._bench.tell("command.run", f"command={target.name!r}")

        service = _Service(
            target.name,
            places[0].key,
            places[0].where,
            "run",
            act,
            lambda _: self._acted_for(target.name, sha256) < _MOST_ACTIONS,
            f"{target.name!r} was run for it {_MOST_ACTIONS} times",
            overlap_s=_RELOAD_OVERLAP_S,
            is_held=self._is_held(target, seen),
        )
        with self._alone_on(target.name, PROOF_TIMEOUT_S + PROGRAM_TIMEOUT_S) as lock:
            self._settle(service, seen, lock, is_canary=is_canary)

    def _settle(self, service: _Service, seen: Observation, lock: ActionLock, *, is_canary: bool) -> None:
        """Make a service show what is published, and prove it.

        1. Look at what it shows: it may be right by now, its window closed, or an action no cure.
        2. Put the certificate on trial, if the service answers now, and there is one to go back to.
        3. Act.
        4. Prove it by a handshake.
        5. Go back, if it does not answer any more: it came down with the new certificate.
        """
        sha256, _ = _published(seen)
        leaf = self._served(*service.where) if service.where else ""  # 1
        if leaf == sha256 if service.where else self._was_acted_upon(service, sha256, seen, lock):
            return
        if leaf and service.is_held:
            return  # the step is for another container of the label, or for a silence that is over
        answered = bool(leaf or seen.served.get(service.key)) or trial.is_open(self._bench, seen)
        may_go_back = is_canary and answered and trial.fallback(self._bench, seen) is not None
        may_help = service.where is None or service.may_help(leaf)
        if not may_help and (leaf or not (may_go_back or service.is_coming_up)):
            raise _not_served(service, leaf, service.hopeless)
        if may_go_back and service.where:
            trial.begin(self._bench, seen)  # 2
        if may_help:
            began = self._bench.clock.now()
            service.act(None)  # 3
            # Only now: an action that failed was none for the sites that share the service either.
            lock.note_action(began, service.what)
            self._note_acted(service.name, sha256)
        if service.where is None:
            return
        leaf = self._wait_for(service, sha256)  # 4
        if leaf == sha256:
            trial.end(self._bench)
            return
        late = f"{PROOF_TIMEOUT_S} s after the action" if may_help else service.hopeless
        failed = _not_served(service, leaf, f"{service.name!r} has ended" if service.is_dead() else late)
        if leaf or not may_go_back:
            raise failed
        self._go_back(service, seen, lock, failed)  # 5

    def _go_back(self, service: _Service, seen: Observation, lock: ActionLock, failed: DeployError) -> None:
        """Let the service have the certificate before; always raises, for the new one is not served."""
        before = trial.fallback(self._bench, seen)
        trial.go_back(self._bench, seen, failed.message)
        # What was done with the refused one shall not keep it from another try.
        self._bench.file.put("acted", service.name, None)
        outcome = "the certificate before serves again"
        try:
            began = self._bench.clock.now()
            service.act(_DOWN_STOP_TIMEOUT_S)
            lock.note_action(began, service.what)
            sha256 = before.facts.sha256 if before and before.facts else ""
            if self._wait_for(service, sha256) != sha256:
                outcome = "it does not come up with the certificate before either"
        except DeployError as exc:
            outcome = f"going back failed too: {exc.message}"
        raise CertificateRefused(f"{failed.message}; {outcome}", hint=failed.hint) from failed

    def _where(self, target: Target, container: Container, address: str) -> tuple[str, int] | None:
        """Return where the container serves; None where the file says that it cannot be proved."""
        if target.port is not None and target.port.kind == "none":
            return None
        file = self._bench.file
        if target.port is None and file.load().ports.get(container.name) not in container.ports:
            file.put("ports", container.name, published_port(container))
        state = file.put("bound", container.name, dict(container.bound) or None)
        places = places_of(self._bench.site, target, state, address)
        where = next((place.where for place in places if place.name == container.name), None)
        if where is None:
            raise DeployError("without a LAN address nothing can be proved", hint="set sites[].address")
        return where

    def _is_held(self, target: Target, seen: Observation) -> bool:
        now, facts = self._bench.clock.now(), seen.published.facts
        if facts is not None and facts.not_after <= now:
            return True  # an expired certificate replaces no other one
        return window_wait(target, self._bench.file.load().deploy_by, now) is not None

    def _may_help(self, container: Container, leaf: str, sha256: str, issued_at: datetime) -> bool:
        """Whether an action may help this container.

        One that was started before the files were there has not read them, also where they had been there
        once before. One that was started since, and serves another leaf, may have read them a moment before:
        one more action settles it. One that does not answer is starting still, or broken: neither is cured by
        restarting it for ever.
        """
        if leaf:
            return self._acted_for(container.name, sha256) < _MOST_ACTIONS
        acted, files_at = self._acted(container.name, sha256), self._bench.store.linked_at()
        if acted is not None and acted.count and acted.files_at in (None, files_at):
            return False
        # A start in the future was noted by a clock that was ahead: the true time is not known.
        is_known = is_believable(container.started_at, self._bench.clock.now())
        return not is_known or container.started_at <= max(issued_at, files_at or issued_at)

    def _act(self, target: Target, container: Container, stop_timeout_s: int | None) -> None:
        action = target.action
        match action.kind if container.is_up else "restart":
            case "restart":
                self._restart(container, stop_timeout_s or int(target.stop_timeout.total_seconds()))
                self._bench.tell("container.restarted", f"container={container.name}")
            case "signal":
                self._bench.containers.signal(container.name, action.signal)
                self._bench.tell("container.signalled", f"container={container.name} signal={action.signal}")
            case "exec":
                logger.debug("container.executing container=%s", container.name)
                self._bench.containers.exec(container.name, action.argv)
                self._bench.tell("container.executed", f"container={container.name} argv={action.argv!r}")

    def _restart(self, container: Container, stop_timeout_s: int) -> None:
        """Restart it, with the intent on disk for as long as the restart may be half done."""
        note = partial(self._bench.file.put, "restarting", container.name)
        note(_restarting(container))
        logger.debug("container.restarting container=%s", container.name)
        try:
            self._bench.containers.restart(container.name, stop_timeout_s)
        except DeployError:
            # Where the engine refused, and it runs as before, a later stop is its admin's and not ours.
            with suppress(DeployError):
                if container.is_up and self._bench.containers.find(container.name) == container:
                    note(None)
            raise
        note(None)

    def _acted_for(self, name: str, sha256: str) -> int:
        """Return how often it was acted upon for this leaf."""
        acted = self._acted(name, sha256)
        return acted.count if acted else 0

    def _acted(self, name: str, sha256: str) -> Acted | None:
        acted = self._bench.file.load().acted.get(name)
        return acted if acted and acted.sha256 == sha256 else None

    def _was_acted_upon(self, service: _Service, sha256: str, seen: Observation, lock: ActionLock) -> bool:
        """Whether what cannot be proved was acted upon for this leaf, be it for another site."""
        if self._acted_for(service.name, sha256):
            return True
        last = lock.last_action(service.what)
        if last is None or last < seen.at:
            return False
        self._note_acted(service.name, sha256)  # it began after the files were seen in their place
        return True

    def _note_acted(self, name: str, sha256: str) -> None:
        count = self._acted_for(name, sha256) + 1
        acted = Acted(sha256=sha256, count=count, files_at=self._bench.store.linked_at())
        self._bench.file.put("acted", name, acted)

    def _served(self, host: str, port: int) -> str:
        """Return the leaf that is served now, empty for no TLS answer."""
        try:
            return served_leaf(host, port, self._bench.site.domain, connect_timeout_s=_CONNECT_TIMEOUT_S)
        except DeployError:
            return ""

    def _wait_for(self, service: _Service, sha256: str) -> str:
        """Wait until this leaf, and none but it, is served for as long as old workers may answer.

        Returns:
            The leaf that was seen last, empty for no TLS answer; after `PROOF_TIMEOUT_S`, or once the service
            is dead, it is another one than was waited for.
        """
        if service.where is None:
            return sha256
        at = f"{service.where[0]}:{service.where[1]}"
        logger.debug("certificate.proving at=%s", at)
        pace = Pace(self._bench.clock, PROOF_TIMEOUT_S, first_s=0.05, most_s=1)
        other_until_s = 0.0
        while (leaf := self._served(*service.where)) != sha256 or (
            pace.waited_s - other_until_s < service.overlap_s
        ):
            if pace.expired or (not leaf and service.is_dead()):
                return leaf if leaf != sha256 else ""
            if leaf != sha256:
                other_until_s = pace.waited_s
            pace.wait()
        self._bench.tell("certificate.served", f"at={at} sha256={sha256} after_s={pace.waited_s:.2f}")
        return sha256


def _published(seen: Observation) -> tuple[str, datetime]:
    """Return the SHA-256 of the published leaf, and when it was issued."""
    facts, origin = seen.published.facts, seen.published.origin
    if facts is None or origin is None:
        raise StoreError("nothing is published that could be served")
    return facts.sha256, origin.issued_at


def _not_served(service: _Service, leaf: str, when: str) -> DeployError:
    at = f"{service.where[0]}:{service.where[1]}" if service.where else repr(service.name)
    if not leaf:
        return DeployError(f"no TLS answer at {at}; {when}", hint=service.hint)
    return DeployError(
        f"{at} serves another certificate ({leaf[:16]}...); {when}",
        hint="does the container mount certs_dir as a folder, and read these two files?",
    )


def _hint_at(container: Container) -> str:
    if container.reads_all:
        return _SILENCE_HINT
    why = {
        "": "It is no full root",
        "rootless": "Its engine is rootless",
        "userns": "It has a user namespace of its own",
    }[container.namespace]
    return (
        f'can it read the key? {why}: set key_mode "0640", and let the group of certs_dir'
        " be one of its own (docs/configuration.md); else look into its log"
    )


def _restarting(container: Container) -> Restarting:
    return Restarting(id=container.id, started_at=container.started_at)
