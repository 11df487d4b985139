"""Make the container serve what is published, and prove it: what the step `deploy` does."""

from __future__ import annotations

from .clock import Pace
from .config import Target
from .deploy import Container, check_may_act, published_port
from .errors import DeployError, StoreError
from .leaf import rfc3339
from .observe import Observation, endpoint_of
from .probe import served_leaf
from .state import Restarting, container_lock
from .workbench import Workbench

# A registry restarts in half a second; one that drains its uploads takes its drain time more.
PROOF_TIMEOUT_S = 30
# A lost SYN is sent again only after a second, so give up on it sooner and try anew.
_CONNECT_TIMEOUT_S = 0.5
# The time of the engine itself, beside the container's own.
_CONTAINER_MARGIN_S = 60


class Serving:
    """The step `deploy` of one site."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench

    def deploy(self, target: Target, seen: Observation) -> None:
        """Make the target serve what is published, and see that it does.

        1. Resolve the container by its name; act alone on it, for other sites may share it.
        2. Leave it alone if its admin stopped it.
        3. Look at what it serves; it may be right by now, or a restart may be no cure.
        4. Restart it, with the intent on disk: a run killed in between finds its own work unfinished.
        5. Prove it by a handshake.
        """
        facts, origin = seen.published.facts, seen.published.origin
        if facts is None or origin is None:
            raise StoreError("nothing is published that could be served")
        found = self._bench.containers.find(target.container)  # 1
        timeout_s = PROOF_TIMEOUT_S + target.stop_timeout.total_seconds() + _CONTAINER_MARGIN_S
        with container_lock(self._bench.config.state_dir, found.id, self._bench.clock, timeout_s):
            container = self._bench.containers.find(target.container)
            journalled = self._bench.file.load().restarting.get(target.container)
            is_ours = container.status == "exited" and journalled == _restarting(container)
            check_may_act(container, is_ours)  # 2
            host, port = self._endpoint(target, container, seen.address)
            leaf = self._served(host, port)  # 3
            if leaf == facts.sha256:
                return
            is_fresh = container.started_at > origin.issued_at and not is_ours
            if is_fresh and not self._is_worth_one_more(target, leaf):
                when = f"{target.container!r} was started after the files, at {rfc3339(container.started_at)}"
                raise _not_served(host, port, leaf, when)
            self._note_restarting(target, _restarting(container))  # 4
            self._bench.containers.restart(container.id, int(target.stop_timeout.total_seconds()))
            self._note_restarting(target, None)
            self._bench.tell("container.restarted", f"container={target.container}")
            waited_s = self._prove(host, port, facts.sha256)  # 5
        self._bench.tell(
            "certificate.served", f"at={host}:{port} sha256={facts.sha256} after_s={waited_s:.2f}"
        )

    def _endpoint(self, target: Target, container: Container, address: str) -> tuple[str, int]:
        state = self._bench.file.load()
        if target.port is None and state.ports.get(target.container) not in container.ports:
            ports = {**state.ports, target.container: published_port(container)}
            state = self._bench.file.change(ports=ports)
        where = endpoint_of(self._bench.site, target, state, address)
        if where is None:
            raise DeployError("without a LAN address nothing can be proved", hint="set sites[].address")
        return where

    def _note_restarting(self, target: Target, restarting: Restarting | None) -> None:
        others = {k: v for k, v in self._bench.file.load().restarting.items() if k != target.container}
        self._bench.file.change(restarting=others | ({target.container: restarting} if restarting else {}))

    def _is_worth_one_more(self, target: Target, leaf: str) -> bool:
        """Whether a restart may help a container that was started after the files were there.

        One that serves another leaf may have read them a moment before; a second restart settles it. One that
        does not answer is starting still, or broken: neither is cured by restarting it for ever.
        """
        failure = self._bench.file.load().failures.get(f"deploy:{target.container}")
        return bool(leaf) and (failure is None or failure.count < 2)

    def _served(self, host: str, port: int) -> str:
        """Return the leaf that is served now, empty for no TLS answer."""
        try:
            return served_leaf(host, port, self._bench.site.domain, connect_timeout_s=_CONNECT_TIMEOUT_S)
        except DeployError:
            return ""

    def _prove(self, host: str, port: int, sha256: str) -> float:
        """Return the seconds until the leaf was served. Takes at most `PROOF_TIMEOUT_S`."""
        pace = Pace(self._bench.clock, PROOF_TIMEOUT_S, first_s=0.05, most_s=1)
        while (leaf := self._served(host, port)) != sha256:
            if pace.expired:
                raise _not_served(host, port, leaf, f"{PROOF_TIMEOUT_S} s after the restart")
            pace.wait()
        return pace.waited_s


def _not_served(host: str, port: int, leaf: str, when: str) -> DeployError:
    if not leaf:
        hint = "look into its log: does it run, and is this its TLS port?"
        return DeployError(f"no TLS answer at {host}:{port}; {when}", hint=hint)
    return DeployError(
        f"{host}:{port} serves another certificate ({leaf[:16]}...); {when}",
        hint="does the container mount certs_dir as a folder, and read these two files?",
    )


def _restarting(container: Container) -> Restarting:
    return Restarting(id=container.id, started_at=container.started_at)
