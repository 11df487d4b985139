"""One episode: things happen, then they are mended, and it must come to rest and stay well."""

import logging
import shutil
import signal
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Literal

from certbotless.base.errors import StoreError
from certbotless.model.decision import is_order
from certbotless.model.view import View
from certbotless.state.site import SiteFile

from .checks import Killed, Violation
from .happenings import Happenings
from .local import LocalHappenings, LocalWorld
from .world import DAY, HOUR, MINUTE, World

# Looks in one wait: enough for whatever comes due in it.
_MOST_LOOKS = 25
# How soon all is well once every fault is lifted; where the CA has given three certificates for these names
# within the week, or may have, only a week brings the next one (docs/limits.md).
_RESTS_WITHIN, _RESTS_WITHIN_IF_LIMITED = 2 * DAY, 8 * DAY
# In a lifetime: at half of each life at the earliest, and what was in flight before.
_MOST_ORDERS = 3
# How soon a certificate comes after at most three validations that failed, once the zone is mended.
_ISSUED_WITHIN = 2 * HOUR
# What an episode may take on a busy machine; one that takes longer does not end.
_MOST_REAL_S = 300


# What certifies the site: a CA of the Internet, or the machine's own.
Kind = Literal["public", "local"]
KINDS: tuple[Kind, ...] = ("public", "local")


@dataclass(frozen=True, slots=True)
class Told:
    """What came of an episode: the violation (empty for none), how it got there, how long it took to rest."""

    seed: int
    violation: str
    story: tuple[str, ...]
    rested_after: timedelta
    kind: Kind = "public"


def explore(seed: int, kind: Kind = "public") -> Told:
    """Live through the episode of this seed, in a world of this kind."""
    home = Path(tempfile.mkdtemp(prefix="explorer-", dir=_quick_disk()))
    logging.disable(logging.CRITICAL)
    try:
        world = LocalWorld(seed, home) if kind == "local" else World(seed, home)
        happenings = LocalHappenings(world) if isinstance(world, LocalWorld) else Happenings(world)
        with world.installed(), _bounded():
            return _Episode(seed, world, happenings).live()
    finally:
        logging.disable(logging.NOTSET)
        shutil.rmtree(home, ignore_errors=True)


def _quick_disk() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108  (a tmpfs: all is synced all the time)


@contextmanager
def _bounded() -> Iterator[None]:
    def too_long(*_: object) -> None:
        raise Violation("the episode does not end")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(_MOST_REAL_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class _Episode:
    def __init__(self, seed: int, world: World, happenings: Happenings) -> None:
        self._seed = seed
        self._world = world
        self._happenings = happenings
        self._rested_after = timedelta()

    def live(self) -> Told:
        world, phase = self._world, "while things happen"
        try:
            for _ in range(world.random.randrange(3, 25)):
                self._happenings.happen()
                self._wait(timedelta(seconds=10 ** world.random.uniform(0, 5.5)))
            phase = "once all is mended"
            self._rest()
            phase = "in peace"
            self._stay_well()
        except (Violation, Killed) as exc:
            return self._told(f"{phase}: {exc}")
        except Exception as exc:  # noqa: BLE001  (whatever it is, it is a finding)
            where = traceback.extract_tb(exc.__traceback__)[-1]
            return self._told(
                f"{phase}: crash, {type(exc).__name__}: {exc} ({Path(where.filename).name}:{where.lineno})"
            )
        return self._told("")

    def _told(self, violation: str) -> Told:
        world = self._world
        head = (
            f"CA {world.config.cas[0].url}, {world.lifetime}, ari {world.ca.ari}",
            f"the second name server is {world.dns.lag_s:.0f} s behind",
            f"site {world.settings['sites'][0]}, dns {world.settings.get('dns', {})}",
        )
        end = f"{world.clock.true_now():%m-%d %H:%M:%S} the end"
        story = (*head, *self._happenings.story[-12:], end)
        kind: Kind = "local" if world.site.is_local else "public"
        return Told(self._seed, violation, story, self._rested_after, kind)

    def _wait(self, duration: timedelta) -> None:
        """Let time pass, with looks as the daemon takes them: when something comes due, and now and then."""
        clock = self._world.clock
        end = clock.monotonic() + duration.total_seconds()
        for _ in range(_MOST_LOOKS):
            if clock.monotonic() >= end:
                return
            step = self._next_look(self._look(), HOUR * 12)
            clock.advance(min(step.total_seconds(), max(end - clock.monotonic(), 0.001)))
        clock.advance(max(end - clock.monotonic(), 0))

    def _look(self) -> View:
        world = self._world
        if self._happenings.has_rival:
            for record in world.zone.held("A"):
                if record.fqdn == world.domain and record.value == world.lan:
                    world.zone.replace_value(record, "10.8.8.8")
        return world.look()

    def _next_look(self, view: View, at_most: timedelta) -> timedelta:
        now = self._world.clock.now()
        moments = [view.decision.next_renewal, *(step.wait_until for step in view.decision.steps)]
        coming = [moment - now for moment in moments if moment is not None and moment > now]
        step = min([*coming, at_most])
        if view.decision.due(view.seen.at) or view.state != "ok":
            step = min(step, MINUTE if view.decision.due(view.seen.at) else HOUR)
        return max(step, timedelta(seconds=1))

    def _rest(self) -> None:
        """Mend everything, and see that it comes to rest, and then does nothing."""
        world = self._world
        self._happenings.heal()
        began = world.clock.true_now()
        within = _RESTS_WITHIN_IF_LIMITED if world.rests_late else _RESTS_WITHIN
        must_issue = self._must_issue_soon()
        view = world.look()
        while view.state != "ok":
            self._rested_after = world.clock.true_now() - began
            if must_issue and self._rested_after > _ISSUED_WITHIN and not view.seen.published.facts:
                raise Violation(f"no certificate {_ISSUED_WITHIN} after the zone was mended: {view.reason}")
            if self._rested_after > within:
                steps = [(step.key, step.reason, step.wait_text) for step in view.decision.steps]
                raise Violation(f"not well after {within}: {view.state} {view.reason}; {steps}")
            world.clock.advance(self._next_look(view, MINUTE).total_seconds())
            view = world.look()
        self._be_quiet()

    def _must_issue_soon(self) -> bool:
        """Whether nothing but three failed validations at most stands before the certificate."""
        world = self._world
        try:
            failures = SiteFile(world.state_dir, world.domain).load().failures
            failure = next((each for key, each in failures.items() if is_order(key)), None)
        except StoreError:
            return False
        if failure is None or world.ca.unheard:
            return False
        has_failed = all(order.state == "invalid" for order in world.ca.orders.values())
        return has_failed and "could not validate" in failure.what and failure.count <= 3

    def _be_quiet(self) -> None:
        world = self._world
        if world.lifetime <= HOUR:
            return  # it is renewed all the time
        for _ in range(3):
            world.clock.advance(1)
            view = world.look()
        due = [step.key for step in world.view().decision.due(view.seen.at) if step.action != "renewal-info"]
        if due:
            raise Violation(f"not quiet: {due}")

    def _stay_well(self) -> None:
        """Lifetimes without a fault: never an expired certificate, and no order beyond the renewals."""
        world, asked = self._world, self._world.certificates_asked_for
        lifetimes, end = world.watched_for, world.clock.monotonic()
        end += lifetimes * world.lifetime.total_seconds()
        while world.clock.monotonic() < end:
            view = world.look()
            facts = view.seen.published.facts
            if facts is None or facts.not_after <= world.clock.now():
                raise Violation(f"expired: {facts}; {view.state} {view.reason}")
            world.clock.advance(self._next_look(view, world.lifetime / 20).total_seconds())
        made = world.certificates_asked_for - asked
        if made > _MOST_ORDERS * lifetimes:
            raise Violation(f"{made} orders in {lifetimes} times {world.lifetime}, ari {world.ca.ari}")


def told_in_words(told: Told) -> str:
    """Say what came of an episode, and how it is replayed."""
    lines = [
        f"seed {told.seed}: {told.violation or 'nothing found'}",
        *(f"    {line}" for line in told.story),
    ]
    return "\n".join(
        [*lines, f"    replay: PYTHONPATH=tests .venv/bin/python -m explorer {told.seed} 1 {told.kind}"]
    )
