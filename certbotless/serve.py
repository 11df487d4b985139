"""Make the container serve what is published, and prove it: what the step `deploy` does."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from datetime import datetime

from .clock import Pace
from .config import Target
from .deploy import PROGRAM_TIMEOUT_S, Container, check_may_act, published_port, run_command
from .errors import DeployError, DeployWaits, StoreError
from .leaf import rfc3339
from .observe import Observation, places_of
from .probe import served_leaf
from .state import Acted, ActionLock, Restarting
from .workbench import Workbench

# A registry restarts in half a second; one that drains its uploads takes its drain time more.
PROOF_TIMEOUT_S = 30
# A lost SYN is sent again only after a second, so give up on it sooner and try anew.
_CONNECT_TIMEOUT_S = 0.5
# A service that reloads answers from its old workers too for a moment: nginx for 0.1 s.
_RELOAD_OVERLAP_S = 0.5
# The time of the engine itself, beside the container's own.
_CONTAINER_MARGIN_S = 60
# A second action settles what was read a moment before the files were there; a third one cures nothing.
_MOST_ACTIONS = 2


class Serving:
    """The step `deploy` of one site."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def deploy(self, target: Target, seen: Observation) -> None:
        """Make all of the target serve what is published, and see that it does.

        Of several containers with one label the first is the canary: where it fails, the others stay as they
        are. A later failure, or one that waits for its admin, leaves none out.

        Raises:
            DeployError: of what failed first.
            DeployWaits: its admin, or a port in the file, must come first.
        """
        if target.command is not None:
            self._run(target, seen)
            return
        failed: list[DeployError] = []
        for i, found in enumerate(self._resolve(target)):
            try:
                self._serve(target, found, seen)
            except DeployError as exc:
                failed.append(exc)
                if i == 0 and not isinstance(exc, DeployWaits):
                    break
        if failed:
            raise min(failed, key=lambda exc: isinstance(exc, DeployWaits))

    def _resolve(self, target: Target) -> list[Container]:
        if target.label is None:
            return [self._bench.containers.find(target.name)]
        found = self._bench.containers.matching(target.label)
        names = tuple(container.name for container in found)
        matched = {**self._bench.file.load().matched, target.label: names}
        self._bench.file.change(matched=matched)
        if not found:
            raise DeployError(
                f"there is no container with the label {target.label!r}",
                hint="label it, or correct sites[].deploy[].label",
            )
        return found

    def _serve(self, target: Target, found: Container, seen: Observation) -> None:
        """Make one container serve what is published.

        1. Act alone on it, for other sites may share it, and leave it alone if its admin stopped it.
        2. Look at what it serves; it may be right by now, or an action may be no cure.
        3. Act, with the intent on disk: a run killed in between finds its own work unfinished.
        4. Prove it by a handshake.
        """
        sha256, issued_at = _published(seen)
        timeout_s = PROOF_TIMEOUT_S + target.stop_timeout.total_seconds() + _CONTAINER_MARGIN_S
        with ActionLock(self._bench.config.state_dir, found.id, self._bench.clock, timeout_s) as lock:  # 1
            container = self._bench.containers.find(found.name)
            journalled = self._bench.file.load().restarting.get(container.name)
            is_ours = container.status == "exited" and journalled == _restarting(container)
            check_may_act(container, is_ours)
            where = self._where(target, container, seen.address)
            leaf = self._served(*where) if where else ""  # 2
            if leaf == sha256 if where else self._was_acted_upon(container.name, sha256, seen, lock):
                return
            if where and not is_ours and not self._may_help(container, leaf, sha256, issued_at):
                started = f"was started after the files, at {rfc3339(container.started_at)}"
                what = "was acted upon for it" if self._acted_for(container.name, sha256) else started
                raise _not_served(where, leaf, f"{container.name!r} {what}", container)
            lock.note_action()
            self._act(target, container)  # 3
            self._note_acted(container.name, sha256)
            if where:
                overlap_s = 0 if target.action.kind == "restart" else _RELOAD_OVERLAP_S
                self._prove(where, sha256, overlap_s, container)  # 4

    def _where(self, target: Target, container: Container, address: str) -> tuple[str, int] | None:
        """Return where the container serves; None where the file says that it cannot be proved."""
        if target.port is not None and target.port.kind == "none":
            return None
        state = self._bench.file.load()
        if target.port is None and state.ports.get(container.name) not in container.ports:
            ports = {**state.ports, container.name: published_port(container)}
            state = self._bench.file.change(ports=ports)
        places = places_of(self._bench.site, target, state, address)
        where = next((place.where for place in places if place.name == container.name), None)
        if where is None:
            raise DeployError("without a LAN address nothing can be proved", hint="set sites[].address")
        return where

    def _may_help(self, container: Container, leaf: str, sha256: str, issued_at: datetime) -> bool:
        """Whether an action may help this container.

        One that was started before the files were there has not read them. One that was started since, and
        serves another leaf, may have read them a moment before: one more action settles it. One that does not
        answer is starting still, or broken: neither is cured by restarting it for ever.
        """
        count = self._acted_for(container.name, sha256)
        if count == 0:
            return container.started_at <= issued_at or bool(leaf)
        return count == 1 and bool(leaf)

    def _act(self, target: Target, container: Container) -> None:
        action = target.action
        match action.kind:
            case "restart":
                self._restart(target, container)
                self._bench.tell("container.restarted", f"container={container.name}")
            case "signal":
                self._bench.containers.signal(container.id, action.signal)
                self._bench.tell("container.signalled", f"container={container.name} signal={action.signal}")
            case "exec":
                self._bench.containers.exec(container.id, action.argv)
                self._bench.tell("container.executed", f"container={container.name} argv={action.argv!r}")

    def _restart(self, target: Target, container: Container) -> None:
        """Restart it, with the intent on disk for as long as the restart may be half done."""
        self._note_restarting(container.name, _restarting(container))
        try:
            self._bench.containers.restart(container.id, int(target.stop_timeout.total_seconds()))
        except DeployError:
            # Where the engine refused, and it runs as before, a later stop is its admin's and not ours.
            with suppress(DeployError):
                if self._bench.containers.find(container.name) == container:
                    self._note_restarting(container.name, None)
            raise
        self._note_restarting(container.name, None)

    def _run(self, target: Target, seen: Observation) -> None:
        """Run the target's command and prove what it is for.

        Other sites may share it: act alone, for one run may serve all of them.
        """
        sha256, _ = _published(seen)
        places = places_of(self._bench.site, target, self._bench.file.load(), seen.address)
        where = places[0].where
        lock_id = hashlib.sha256(target.name.encode()).hexdigest()
        timeout_s = PROOF_TIMEOUT_S + PROGRAM_TIMEOUT_S
        with ActionLock(self._bench.config.state_dir, lock_id, self._bench.clock, timeout_s) as lock:
            leaf = self._served(*where) if where else ""
            if leaf == sha256 if where else self._was_acted_upon(target.name, sha256, seen, lock):
                return
            if self._acted_for(target.name, sha256) >= _MOST_ACTIONS:
                raise _not_served(where, leaf, f"{target.name!r} was run for it {_MOST_ACTIONS} times")
            lock.note_action()
            run_command(target.command or ())
            self._bench.tell("command.run", f"command={target.name!r}")
            self._note_acted(target.name, sha256)
            if where:
                self._prove(where, sha256, _RELOAD_OVERLAP_S)

    def _acted_for(self, name: str, sha256: str) -> int:
        """Return how often it was acted upon for this leaf."""
        acted = self._bench.file.load().acted.get(name)
        return acted.count if acted and acted.sha256 == sha256 else 0

    def _was_acted_upon(self, name: str, sha256: str, seen: Observation, lock: ActionLock) -> bool:
        """Whether what cannot be proved was acted upon for this leaf, be it for another site."""
        if self._acted_for(name, sha256):
            return True
        last = lock.last_action()
        if last is None or last < seen.at:
            return False
        self._note_acted(name, sha256)  # it began after the files were seen in their place
        return True

    def _note_acted(self, name: str, sha256: str) -> None:
        count = self._acted_for(name, sha256) + 1
        acted = {**self._bench.file.load().acted, name: Acted(sha256=sha256, count=count)}
        self._bench.file.change(acted=acted)

    def _note_restarting(self, name: str, restarting: Restarting | None) -> None:
        others = {k: v for k, v in self._bench.file.load().restarting.items() if k != name}
        self._bench.file.change(restarting=others | ({name: restarting} if restarting else {}))

    def _served(self, host: str, port: int) -> str:
        """Return the leaf that is served now, empty for no TLS answer."""
        try:
            return served_leaf(host, port, self._bench.site.domain, connect_timeout_s=_CONNECT_TIMEOUT_S)
        except DeployError:
            return ""

    def _prove(
        self, where: tuple[str, int], sha256: str, overlap_s: float, container: Container | None = None
    ) -> None:
        """Wait until the leaf, and none but it, is served for `overlap_s`; at most `PROOF_TIMEOUT_S`."""
        pace = Pace(self._bench.clock, PROOF_TIMEOUT_S, first_s=0.05, most_s=1)
        other_until_s = 0.0
        while (leaf := self._served(*where)) != sha256 or pace.waited_s - other_until_s < overlap_s:
            if pace.expired:
                raise _not_served(where, leaf, f"{PROOF_TIMEOUT_S} s after the action", container)
            if leaf != sha256:
                other_until_s = pace.waited_s
            pace.wait()
        at = f"{where[0]}:{where[1]}"
        self._bench.tell("certificate.served", f"at={at} sha256={sha256} after_s={pace.waited_s:.2f}")


def _published(seen: Observation) -> tuple[str, datetime]:
    """Return the SHA-256 of the published leaf, and when it was issued."""
    facts, origin = seen.published.facts, seen.published.origin
    if facts is None or origin is None:
        raise StoreError("nothing is published that could be served")
    return facts.sha256, origin.issued_at


def _not_served(
    where: tuple[str, int] | None, leaf: str, when: str, container: Container | None = None
) -> DeployError:
    at = f"{where[0]}:{where[1]}" if where else "the target"
    if not leaf:
        hint = "look into its log: does it run, and is this its TLS port?"
        if container is not None and not container.reads_all:
            hint = (
                'can it read the key? It is no full root: set key_mode "0640", and let the group of certs_dir'
                " be one of its own (docs/configuration.md); else look into its log"
            )
        return DeployError(f"no TLS answer at {at}; {when}", hint=hint)
    return DeployError(
        f"{at} serves another certificate ({leaf[:16]}...); {when}",
        hint="does the container mount certs_dir as a folder, and read these two files?",
    )


def _restarting(container: Container) -> Restarting:
    return Restarting(id=container.id, started_at=container.started_at)
