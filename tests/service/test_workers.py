"""When workers are started, for how long not again, and when they are asked to end."""

import itertools
from collections.abc import Collection, Sequence
from datetime import timedelta
from typing import Any

import pytest
from support.daemons import DOMAIN, ZONE
from support.fakes import EPOCH
from support.jobs import Jobs, MovedClock, StillWorker
from support.views import said

from certbotless.config import load
from certbotless.model.certificate import Published
from certbotless.model.decision import Decision, Step
from certbotless.model.memory import SiteState
from certbotless.model.observation import Observation
from certbotless.model.view import View
from certbotless.service.workers import StartPauses, Workers

OTHER_DOMAIN = f"other.{ZONE}"
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)

# --- for how long not again ---------------------------------------------------------------------------------

WHY = said("due")
ORDER, RECORD, CONFIRM = Step("order", WHY), Step("record", WHY), Step("confirm", WHY)
DEPLOY, DEPLOY_MIRROR = Step("deploy", WHY, "registry"), Step("deploy", WHY, "mirror")
RAW = (
    b"aliyun: {access_key_id: a, access_key_secret: b}\n"
    b"sites: [{domain: devbox.sweetlove.test}, {domain: other.sweetlove.test}]\n"
)
CONFIG = load.parse(RAW, "test.yaml")
SITES = {site.domain: site for site in CONFIG.sites}


def view(age: timedelta, *steps: Step, domain: str = DOMAIN) -> View:
    """What is seen of a site this long after the first look: these steps are called for."""
    seen = Observation(EPOCH + age, {}, {}, Published(None, None), False, {})
    decision = Decision(steps, (), None)
    return View(SITES[domain], SiteState(), seen, decision, "pending", None, {})


def starts(*looks: tuple[int, *tuple[Step, ...]], check_every: timedelta = MINUTE) -> list[int]:
    """Return in which of these checks a worker is started; each is a second, and what is due in it."""
    pauses = StartPauses()
    return [
        second for second, *steps in looks if pauses.may_start(view(second * SECOND, *steps), check_every)
    ]


HELD = Step("order", WHY, wait_until=EPOCH + MINUTE, wait_why=WHY[0])
OTHERS = ((0, ORDER), (1, ORDER, RECORD), (2, RECORD), (3, DEPLOY), (4, DEPLOY_MIRROR))


@pytest.mark.parametrize(
    ("looks", "check_every", "started"),
    [
        # What changes nothing is tried with growing pauses.
        ([(second, ORDER) for second in range(64)], SECOND, [0, 1, 3, 7, 15, 31, 63]),
        # Rare checks do not make the first pause longer: one that comes early, as after a worker has ended.
        ([(0, ORDER), (29, ORDER), (30, ORDER)], timedelta(hours=6), [0, 30]),
        # Something else is tried at once: one thing more or less, another container. Its pauses start anew.
        ([*OTHERS, (33, DEPLOY_MIRROR), (34, DEPLOY_MIRROR)], MINUTE, [0, 1, 2, 3, 4, 34]),
        # A record that spreads needs no worker, and makes no difference beside something else.
        ([(0, CONFIRM), (1, CONFIRM, ORDER), (2, ORDER)], MINUTE, [1]),
        # What must wait is not tried.
        ([(59, HELD), (60, HELD)], MINUTE, [60]),
        # What came true in between is tried at once when it is lost again.
        ([(0, DEPLOY), (1,), (2, DEPLOY)], MINUTE, [0, 2]),
    ],
)
def test_a_worker_is_started_at_once_for_what_is_new_and_after_a_pause_for_what_is_not(
    looks: Sequence[Any], check_every: timedelta, started: list[int]
) -> None:
    assert starts(*looks, check_every=check_every) == started


def test_the_pauses_grow_to_ten_minutes_and_no_further() -> None:
    started = starts(*((second, ORDER) for second in range(3700)))
    pauses = [after - before for before, after in itertools.pairwise(started)]
    assert pauses == [30, 60, 120, 240, 480, 600, 600, 600, 600]


def test_sites_do_not_hold_each_other_up_and_after_an_edit_everything_is_tried_at_once() -> None:
    pauses = StartPauses()
    assert pauses.may_start(view(0 * SECOND, ORDER), MINUTE)
    assert pauses.may_start(view(0 * SECOND, ORDER, domain=OTHER_DOMAIN), MINUTE)
    assert not pauses.may_start(view(1 * SECOND, ORDER), MINUTE)
    pauses.forget()
    assert pauses.may_start(view(1 * SECOND, ORDER), MINUTE)


# --- one machine's workers ----------------------------------------------------------------------------------


class Scene:
    """The workers of one daemon, none of which is a process.

    Attributes:
        started: in order.
        ended: the domains of those that have ended.
    """

    def __init__(self) -> None:
        self.started: list[StillWorker] = []
        self.ended: list[Collection[str]] = []
        self.jobs, self.clock = Jobs(), MovedClock()
        self.workers = Workers(self.jobs, self.clock, self._start)
        self.workers.on_ended = self.ended.append

    def _start(self, *what: object) -> StillWorker:
        self.started.append(StillWorker(*what))  # type: ignore[arg-type]
        return self.started[-1]

    def start(self, *views: View) -> None:
        self.workers.start(RAW, CONFIG, views)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_one_worker_is_started_for_all_sites_of_a_check(scene: Scene) -> None:
    """It is the daemon's until it has ended; then its sites are told."""
    scene.start(view(0 * SECOND, ORDER), view(0 * SECOND, RECORD, domain=OTHER_DOMAIN))
    [worker] = scene.started
    assert (worker.raw, set(worker.addresses)) == (RAW, {DOMAIN, OTHER_DOMAIN})
    assert scene.workers.busy == {DOMAIN, OTHER_DOMAIN}
    scene.jobs.run("children")
    assert scene.ended == []
    worker.has_gone = True
    scene.jobs.run("children")
    assert scene.ended == [[DOMAIN, OTHER_DOMAIN]]
    assert "children" not in scene.jobs.planned


def test_no_process_is_started_after_a_stop(scene: Scene) -> None:
    scene.clock.stop()
    scene.start(view(0 * SECOND, ORDER))
    scene.workers.help("visit", RAW)
    assert (scene.started, scene.jobs.planned) == ([], {})


def test_an_edit_ends_the_workers_of_edited_sites_alone(scene: Scene) -> None:
    scene.start(view(0 * SECOND, ORDER))
    scene.start(view(0 * SECOND, ORDER, domain=OTHER_DOMAIN))
    edited = load.parse(RAW.replace(b"other.sweetlove.test", b"other.sweetlove.test, ttl: 700"), "test.yaml")
    scene.workers.end_edited(CONFIG, CONFIG)
    assert [worker.asked for worker in scene.started] == [0, 0]
    scene.workers.end_edited(CONFIG, edited)
    assert [worker.asked for worker in scene.started] == [0, 1]


def test_addresses_that_come_and_go_let_a_worker_come_to_its_end(scene: Scene) -> None:
    """Where each address lasts for less than a run, three workers are ended; the next one goes on.

    A worker that is about to end is asked once, and the count begins again after the longest run.
    """
    for number in range(8):
        there = f"10.79.40.{number + 10}"
        for _ in range(2):
            scene.workers.end_misled(CONFIG, lambda _, there=there: there)  # type: ignore[misc]
        for worker in scene.started:
            worker.has_gone = worker.is_ending
        scene.workers.reap()
        if not scene.workers.busy:
            seen = Observation(EPOCH, {"A": there}, {}, Published(None, None), False, {})
            scene.workers.pauses.forget()
            scene.start(
                View(SITES[DOMAIN], SiteState(), seen, Decision((ORDER,), (), None), "pending", None, {})
            )
    assert [worker.asked for worker in scene.started] == [1, 1, 1, 0]
    scene.clock.ahead_s = CONFIG.longest_run.total_seconds() + 1
    scene.workers.end_misled(CONFIG, lambda _: "10.79.40.99")
    assert [worker.asked for worker in scene.started] == [1, 1, 1, 1]
