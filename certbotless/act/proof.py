"""Make one service show what is published, prove it by a handshake, and go back where it does not come up.

A certificate is on trial from before the service is acted upon until it was seen in service. The trial is on
disk, so a run that is killed in between is followed by one that goes on with it. Which generation is
published tells the rest: the one on trial, or, once it was refused, the one before. Only that one is ever
gone back to, and only while it is valid.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from ..base.clock import Pace
from ..base.errors import CertificateRefused, DeployError, NotActedUpon, StoreError
from ..base.locks import ActionLock
from ..base.log_context import waits_for
from ..base.times import rfc3339
from ..base.words import N_, Text
from ..decide.deploy import reads_until
from ..model.certificate import LeafFacts, Origin, Published
from ..model.deployed import Acted, Trial
from ..model.observation import Endpoint, Observation
from ..world.tls import served_leaf
from .context import SiteContext

logger = logging.getLogger(__name__)

# A registry restarts in half a second; one that drains its uploads takes its drain time more.
PROOF_TIMEOUT_S = 30
# A service that reloads answers from its old workers too for a moment: nginx for 0.1 s.
RELOAD_OVERLAP_S = 0.5
# A lost SYN is sent again only after a second, so give up on it sooner and try again.
_CONNECT_TIMEOUT_S = 0.5
# A service that does not answer has nothing to finish, and serves no client until it has ended.
_DOWN_STOP_TIMEOUT_S = 1
# An action and its proof are over by then; what is left of an older trial says nothing of today's service.
_TRIAL_LASTS = timedelta(minutes=10)
SILENCE_HINT = Text("check that it runs and that this is its TLS port; see its log, and certbotless doctor")


@dataclass(frozen=True, slots=True)
class Service(Endpoint):
    """A place where a target serves, as it is now: one container, or what a command reloads.

    Attributes:
        where: where it is proved, None where the file says that it cannot be.
        what: what is done to it, in one line, so that another site knows whether it was done for it too.
        act: makes it read its files again; its argument is how many seconds it may need to end by itself,
            None for the target's own time.
        may_help: whether that may be a cure, by the leaf that it serves now (empty for no TLS answer);
            `hopeless` says why it is none.
        is_canary: whether it may be a reason to go back.
        is_held: whether its window is closed, or what is published has expired, so that it is left alone as
            long as it answers.
        is_coming_up: whether it was started so short a time ago that it need not answer yet.
        is_dead: whether it has ended since the action, so that nothing is to be waited for.
        overlap_s: how long its old workers may answer beside the new ones.
        hint: what to look into where it does not answer.
    """

    what: str
    act: Callable[[int | None], None]
    may_help: Callable[[str], bool]
    hopeless: str
    is_canary: bool
    is_held: bool
    is_coming_up: bool = False
    is_dead: Callable[[], bool] = lambda: False
    overlap_s: float = 0
    hint: str = SILENCE_HINT


class Proof:
    """What one site has published, as it was seen a moment ago, and whether its services serve it."""

    def __init__(self, ctx: SiteContext, seen: Observation) -> None:
        self._ctx = ctx
        self._seen = seen

    @property
    def sha256(self) -> str:
        """Of the published certificate. Raises `StoreError` for none."""
        return self._published()[0].sha256

    @property
    def issued_at(self) -> datetime:
        """When it was issued. Raises `StoreError` for none."""
        return self._published()[1].issued_at

    def _published(self) -> tuple[LeafFacts, Origin]:
        facts, origin = self._seen.published.facts, self._seen.published.origin
        if facts is None or origin is None:
            raise StoreError(Text("no certificate is published yet"))
        return facts, origin

    @property
    def is_on_trial(self) -> bool:
        """Whether what is published was on trial already when it was looked at."""
        trial = self._ctx.state.trial
        return trial is not None and self._is_tried and self._ctx.clock.now() - trial.at < _TRIAL_LASTS

    @property
    def _is_tried(self) -> bool:
        trial = self._ctx.state.trial
        return trial is not None and trial.generation == self._seen.published.generation

    def fallback(self) -> Published | None:
        """Return the generation before the published one, None where it cannot be gone back to."""
        previous, known = self._seen.published.previous, self._ctx.state.generations
        found = self._ctx.store.look_at(previous, known) if previous else None
        if found is None or found.facts is None or found.facts.not_after <= self._ctx.clock.now():
            return None
        return found

    def begin_trial(self) -> None:
        """Put what is published on trial; it may be so already."""
        published, now = self._seen.published, self._ctx.clock.now()
        if not self.is_on_trial:
            trial = Trial(generation=published.generation, previous=published.previous, at=now)
            self._ctx.file.change(trial=trial)

    def end_trial(self) -> None:
        """Note that what is published was seen in service.

        That the one before is served again says nothing of the one that was refused.
        """
        if self._is_tried:
            self._ctx.file.change(trial=None)

    def acted(self, name: str) -> Acted | None:
        """Return how often, if at all, the container or command was acted upon for this certificate."""
        acted = self._ctx.state.acted.get(name)
        return acted if acted and acted.sha256 == self.sha256 and acted.count else None

    def settle(self, service: Service, lock: ActionLock) -> None:
        """Make a service show what is published, and prove it.

        1. Ask what it shows: it may be right by now, its window may be closed, or an action may be no cure.
        2. Put the certificate on trial, if the service answers now, and there is one to go back to.
        3. Act.
        4. Prove it by a handshake.
        5. Go back, if it does not answer any more: it came down with the new certificate.

        Raises:
            DeployError: it does not show it.
            CertificateRefused: the one before is published again.
        """
        leaf = self._served(*service.where) if service.where else ""  # 1
        if leaf == self.sha256 if service.where else self._was_acted_upon(service, lock):
            return
        if leaf and service.is_held:
            return  # the step is for another container of the label, or for a silence that is over
        answered = bool(leaf or self._seen.served.get(service.key)) or self.is_on_trial
        before = self.fallback() if service.is_canary and answered else None
        may_help = service.where is None or service.may_help(leaf)
        if not may_help and (leaf or not (before or service.is_coming_up)):
            raise _not_served(service, leaf, service.hopeless)
        if before and service.where:
            self.begin_trial()  # 2
        if may_help:
            began = self._ctx.clock.now()
            service.act(None)  # 3
            # Only now: an action that failed was none for the sites that share the service either.
            lock.note_action(began, service.what)
            self._note_acted(service.name)
        if service.where is None:
            return
        leaf = self._wait_for(service.where, self.sha256, service=service)  # 4
        if leaf == self.sha256:
            self.end_trial()
            if may_help and (acted := self.acted(service.name)):
                self._ctx.file.put("acted", service.name, replace(acted, has_helped=True))
            return
        late = Text("{} s after the action", PROOF_TIMEOUT_S) if may_help else service.hopeless
        if service.is_dead():
            late = Text("{!r} has ended", service.name)
        failed = _not_served(service, leaf, late)
        if leaf or before is None:
            raise failed
        self._go_back(service, before, lock, failed)  # 5

    def wait_for_itself(self, name: str, where: tuple[str, int]) -> None:
        """Wait until a service shows what is published that reads its files by itself, and prove it.

        It is waited for as after an action. Then it has a day, or less where the certificate before ends
        sooner, and each check asks it. That it is silent says nothing of the certificate, since nobody knows
        when it has read it: there is no way back.

        Raises:
            NotActedUpon: it is silent, or its time is over.
        """
        ctx = self._ctx
        until = reads_until(ctx.state, name, self.sha256)
        leaf = self._wait_for(where, self.sha256, 0) if until else self._wait_for(where, self.sha256)
        if leaf == self.sha256:
            return
        at, now = f"{where[0]}:{where[1]}", ctx.clock.now()
        if not leaf:
            raise NotActedUpon(Text("no TLS answer at {}", at), hint=SILENCE_HINT)
        if until is None:
            ctx.file.put("acted", name, Acted(sha256=self.sha256, count=1, files_at=now))
        elif until <= now:
            form = N_("{} serves another certificate ({}...); it had time until {}")
            hint = Text("it reads the files by itself: check when it does that, and in which folder")
            raise NotActedUpon(Text(form, at, leaf[:16], rfc3339(until)), hint=hint)

    def _go_back(self, service: Service, before: Published, lock: ActionLock, failed: DeployError) -> None:
        """Give the service the certificate before; always raises, because the new one is not served."""
        ctx = self._ctx
        self.take_back(failed)
        # What was done with the refused one shall not keep it from another try.
        ctx.file.put("acted", service.name, None)
        outcome = Text("the previous certificate is in use again")
        try:
            began = ctx.clock.now()
            service.act(_DOWN_STOP_TIMEOUT_S)
            lock.note_action(began, service.what)
            sha256 = before.facts.sha256 if before.facts else ""
            if service.where and self._wait_for(service.where, sha256, service=service) != sha256:
                outcome = Text("it does not start with the previous certificate either")
        except DeployError as exc:
            outcome = Text("the rollback failed too: {}", exc.message)
        raise CertificateRefused(Text("{}; {}", failed.message, outcome), hint=failed.hint) from failed

    def take_back(self, failed: DeployError) -> None:
        """Publish the certificate before again, and say why."""
        self._ctx.store.select(self._seen.published.previous)
        self._ctx.tell("certificate.rolled_back", refused=self.sha256, reason=failed.message)

    def _was_acted_upon(self, service: Service, lock: ActionLock) -> bool:
        """Whether a service that cannot be proved was acted upon for this leaf, by this site or another."""
        if self.acted(service.name):
            return True
        last = lock.last_action(service.what)
        if last is None or last < self._seen.at:
            return False
        self._note_acted(service.name)  # it began after the files were seen in their place
        return True

    def _note_acted(self, name: str) -> None:
        acted = self.acted(name) or Acted(sha256=self.sha256, count=0)
        acted = replace(acted, count=acted.count + 1, files_at=self._ctx.store.linked_at())
        self._ctx.file.put("acted", name, acted)

    def _served(self, host: str, port: int) -> str:
        """Return the leaf that is served now, empty for no TLS answer."""
        return served_leaf(host, port, self._ctx.site.domain, connect_timeout_s=_CONNECT_TIMEOUT_S)

    def _wait_for(
        self,
        where: tuple[str, int],
        sha256: str,
        timeout_s: float = PROOF_TIMEOUT_S,
        service: Service | None = None,
    ) -> str:
        """Wait until this leaf, and none but it, is served for as long as old workers may answer.

        Args:
            service: what was acted upon; None for what reads its files by itself, at a moment of its own.

        Returns:
            The leaf that was seen last, empty for no TLS answer; after `timeout_s`, or once the service
            is dead, it is another one than was waited for.
        """
        at, overlap_s = f"{where[0]}:{where[1]}", service.overlap_s if service else RELOAD_OVERLAP_S
        overlap_s = min(overlap_s, timeout_s)
        logger.debug(
            "certificate.proving at=%s", at, extra=waits_for(N_("the service to use the new certificate"), at)
        )
        pace = Pace(self._ctx.clock, timeout_s, first_s=0.05, most_s=1)
        other_until_s = 0.0
        while (leaf := self._served(*where)) != sha256 or pace.waited_s - other_until_s < overlap_s:
            if pace.expired or (not leaf and service and service.is_dead()):
                if leaf != sha256:
                    return leaf
                break
            if leaf != sha256:
                other_until_s = pace.waited_s
            pace.wait()
        self._ctx.tell("certificate.served", at=at, sha256=sha256, after_s=round(pace.waited_s, 2))
        return sha256


def _not_served(service: Service, leaf: str, when: str) -> DeployError:
    at = f"{service.where[0]}:{service.where[1]}" if service.where else repr(service.name)
    if not leaf:
        return DeployError(Text("no TLS answer at {}; {}", at, when), hint=service.hint)
    return DeployError(
        Text("{} serves another certificate ({}...); {}", at, leaf[:16], when),
        hint=Text("check that the container mounts certs_dir as a folder, and reads these two files"),
    )
