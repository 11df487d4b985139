"""When the daemon asks the name servers again. Real name servers on loopback; time passes as a test says."""

import math
import sys
import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import dns.rcode
import pytest
from support.scenes import ADDRESS, SECOND, ZONE, Scene

from certbotless.model.memory import SiteState, WrittenRecord
from certbotless.model.records import Record
from certbotless.model.situation import Goal
from certbotless.model.view import View
from certbotless.observe.dns_schedule import DnsSchedule
from certbotless.observe.views import Looking, look
from certbotless.state.ledger_file import LedgerFile
from certbotless.state.site import SiteFile
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.dns.query import Server

MINUTE_S, HOUR_S = 60, 3600
OTHER_ADDRESS = "127.0.0.9"


class Watcher:
    """The daemon's eyes on all sites of a scene: a look each minute, and servers asked when a turn comes."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.questions: list[float] = []
        self.woken = 0
        self.spread = DnsSchedule(scene.clock, self._wake)
        self.servers = NameServers([scene.server.place], scene.clock)
        self.spread.follow(self.servers, timedelta(minutes=1))
        scene.server.on_query = lambda: self.questions.append(scene.clock.monotonic())

    def _wake(self) -> None:
        self.woken += 1

    def look(self) -> list[View]:
        config, now = self.scene.config, self.scene.clock.now()
        ledger = LedgerFile(self.scene.state_dir).entries()
        looking = Looking(self.spread.shown, ledger)
        views = [look(Goal(site, config), looking, now) for site in config.sites]
        for view in views:
            self.spread.judge(view)
        return views

    def pass_time(self, seconds: int) -> None:
        """Let time pass, with a look each minute and where something else is shown."""
        for second in range(seconds):
            if self.ask_due() or second % MINUTE_S == 0:
                self.look()
            self.scene.clock.advance(1)

    def ask_due(self) -> bool:
        """Ask about those whose turn has come, and return whether something else is shown."""
        before = self.woken
        if self.spread.wait_s() == 0:
            self.spread.ask_due()
        return self.woken > before


@pytest.fixture
def watcher(scene: Scene) -> Watcher:
    """Twenty sites whose records are right."""
    scene.domains = [f"box{number}.{ZONE}" for number in range(20)]
    scene.keys = {"deploy": []}
    for domain in scene.domains:
        scene.point(domain)
    return Watcher(scene)


@pytest.mark.row(92)
def test_in_the_first_hour_each_site_is_asked_about_once_a_minute_and_not_in_one_burst(
    watcher: Watcher,
) -> None:
    watcher.pass_time(MINUTE_S)
    watcher.questions.clear()
    watcher.pass_time(10 * MINUTE_S)
    assert len(watcher.questions) == pytest.approx(200, abs=20)
    assert max(Counter(watcher.questions).values()) <= 4
    assert len({at % MINUTE_S for at in watcher.questions}) >= 12


@pytest.mark.row(92)
@pytest.mark.long
def test_after_an_hour_that_was_right_the_servers_are_asked_twelve_times_an_hour(watcher: Watcher) -> None:
    watcher.pass_time(HOUR_S + 6 * MINUTE_S)
    watcher.questions.clear()
    watcher.pass_time(HOUR_S)
    assert 20 * 11 <= len(watcher.questions) <= 20 * 12
    assert max(Counter(watcher.questions).values()) <= 4
    # In no five minutes more than one question about each site.
    assert max(Counter(at // 300 for at in watcher.questions).values()) <= 2 * 20


@pytest.mark.long
@pytest.mark.row(92)
@pytest.mark.long
def test_a_record_changed_by_hand_is_seen_within_five_minutes(watcher: Watcher) -> None:
    watcher.pass_time(2 * HOUR_S)
    domain = watcher.scene.domains[7]
    [record] = [record for record in watcher.scene.zone.held("A") if record.fqdn == domain]
    watcher.scene.zone.delete(record.record_id)
    watcher.scene.zone.put(Record(domain, "A", OTHER_ADDRESS, 600))
    for _ in range(300):
        watcher.scene.clock.advance(1)
        if watcher.ask_due():
            break
    assert watcher.woken == 1
    wrong = [view for view in watcher.look() if [s.key for s in view.decision.steps if s.action == "record"]]
    assert [view.site.domain for view in wrong] == [domain]
    # It is no more right, so it is asked about each minute again.
    watcher.questions.clear()
    watcher.pass_time(10 * MINUTE_S)
    assert len(watcher.questions) >= 2 * 19 + 9


def asked_now(watcher: Watcher) -> int:
    watcher.questions.clear()
    watcher.look()
    return len(watcher.questions)


@pytest.mark.row(92)
def test_a_look_asks_nothing_until_something_has_moved(watcher: Watcher) -> None:
    """An edit, a new address, a clock that jumped, a child that has ended."""
    assert asked_now(watcher) == 20
    assert asked_now(watcher) == 0
    watcher.spread.forget([watcher.scene.domains[0]])
    assert asked_now(watcher) == 1
    watcher.spread.forget()
    assert asked_now(watcher) == 20
    watcher.spread.follow(watcher.servers, timedelta(minutes=1))
    assert asked_now(watcher) == 20


def test_a_record_that_was_written_since_is_asked_for_at_once(watcher: Watcher) -> None:
    """By whoever: also a command that a person has started."""
    watcher.look()
    watcher.scene.clock.advance(1)
    domain = watcher.scene.domains[3]
    written = WrittenRecord(value=ADDRESS, ttl_s=600, at=watcher.scene.clock.now())
    SiteFile(watcher.scene.state_dir, domain).change(records={"A": {domain: written}})
    assert asked_now(watcher) == 1
    assert asked_now(watcher) == 0
    ahead = replace(written, at=written.at + 9 * SECOND)
    SiteFile(watcher.scene.state_dir, domain).change(records={"A": {domain: ahead}})
    assert asked_now(watcher) == 0


def test_servers_that_fall_silent_bring_a_look(watcher: Watcher) -> None:
    watcher.look()
    watcher.scene.server.rcode = dns.rcode.REFUSED
    watcher.scene.clock.advance(60)
    assert watcher.ask_due()
    assert {view.state for view in watcher.look()} == {"failing"}
    watcher.scene.clock.advance(60)
    assert not watcher.ask_due()


def test_each_site_that_shows_something_else_brings_a_look_by_itself(watcher: Watcher) -> None:
    """Not when the slowest of all has answered."""
    watcher.look()
    for record in watcher.scene.zone.held("A"):
        watcher.scene.zone.delete(record.record_id)
    watcher.scene.clock.advance(60)
    watcher.spread.ask_due()
    assert watcher.woken == 20


def test_the_next_turn_is_known(watcher: Watcher) -> None:
    """A daemon that has not looked yet has none."""
    assert watcher.spread.wait_s() == math.inf
    watcher.look()
    first_s = watcher.spread.wait_s()
    assert 0 < first_s < 60
    watcher.scene.clock.advance(first_s)
    assert watcher.spread.wait_s() == 0
    watcher.questions.clear()
    watcher.spread.ask_due()
    assert len(watcher.questions) == 1
    assert watcher.spread.wait_s() > 0


class EditedMeanwhile(NameServers):
    """Name servers that are edited while they are asked."""

    def __init__(self, watcher: Watcher) -> None:
        super().__init__([watcher.scene.server.place], watcher.scene.clock)
        self.watcher = watcher

    def of(self, zone: str) -> tuple[Server, ...]:
        found = super().of(zone)
        self.watcher.spread.follow(self.watcher.servers, timedelta(minutes=1))
        return found


def test_an_answer_of_name_servers_before_an_edit_is_not_kept(watcher: Watcher) -> None:
    watcher.scene.domains = watcher.scene.domains[:1]
    watcher.spread.follow(EditedMeanwhile(watcher), timedelta(minutes=1))
    assert asked_now(watcher) == 1
    assert asked_now(watcher) == 1
    assert asked_now(watcher) == 0


def test_looks_at_many_sites_do_not_disturb_that_some_are_forgotten(watcher: Watcher) -> None:
    """The daemon's worker forgets what children were about, while looks take in what is shown."""
    watcher.scene.keys = {"deploy": [], "address": "none"}  # nothing is asked for these
    watcher.scene.domains = [f"box{number}.{ZONE}" for number in range(3000)]
    config, now = watcher.scene.config, watcher.scene.clock.now()
    goals = [Goal(site, config) for site in config.sites]
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        looks = threading.Thread(
            target=lambda: [watcher.spread.shown(goal, SiteState(), now) for goal in goals]
        )
        looks.start()
        while looks.is_alive():
            watcher.spread.forget([])
            watcher.spread.forget([ZONE])
    finally:
        sys.setswitchinterval(before_s)
        looks.join()
    assert len(watcher.spread.kept) == len(goals)
