"""No name server speaks for the zone: port 53 is blocked, or leads elsewhere. The API's own list counts."""

import logging
from dataclasses import replace

import dns.rcode
import pytest
from support.fakes import EPOCH
from support.scenes import ADDRESS, DAY, DOMAIN, HOUR, MINUTE, ZONE, Scene, failed_with
from support.scripted_ca import ScriptedCa

from certbotless.act.context import SiteContext
from certbotless.act.record import RecordSteps
from certbotless.act.run import run
from certbotless.base.errors import DnsUnavailable
from certbotless.model.decision import Intent
from certbotless.model.memory import Listed
from certbotless.model.records import Record
from certbotless.model.situation import Goal
from certbotless.report import plan_text
from certbotless.service.workers import StartPauses
from certbotless.state.site import SiteFile

OTHER_ADDRESS = "127.0.0.9"


@pytest.fixture(name="scene")
def without_port_53(scene: Scene) -> Scene:
    """All is well but for the name server, which says nothing of the zone."""
    scene.server.rcode = dns.rcode.REFUSED
    scene.publish()
    scene.start()
    return scene


def lists(scene: Scene) -> int:
    return [call.method for call in scene.zone.calls].count("records")


def live(scene: Scene, minutes: int) -> list[str]:
    """Let the daemon look once a minute, with a child for what is due; return the states that it sees."""
    pauses = StartPauses()
    states: list[str] = []
    for _ in range(minutes):
        views = [scene.look(at) for at in range(len(scene.domains))]
        states += [view.state for view in views]
        if [view for view in views if pauses.may_start(view, scene.config.check_every)]:
            scene.run_all()
        scene.clock.advance(60)
    return states


@pytest.mark.row(81)
def test_a_new_site_is_ok_after_one_run_and_one_list(scene: Scene) -> None:
    """Nothing that cannot come is waited for."""
    outcome = scene.run()
    assert (outcome.state, outcome.failure) == ("ok", None)
    assert [record.value for record in scene.zone.held("A")] == [ADDRESS]
    assert (lists(scene), scene.writes) == (1, ["add"])
    assert scene.clock.now() - EPOCH < MINUTE
    view = scene.look()
    assert (view.state, view.decision.steps, view.seen.problems) == ("ok", (), ())


@pytest.mark.row(81)
def test_a_record_that_is_right_is_listed_once_and_not_written(scene: Scene) -> None:
    scene.point()
    assert scene.run().state == "ok"
    assert (lists(scene), scene.writes) == (1, [])


@pytest.mark.row(81)
def test_a_new_lan_address_is_published_at_the_look_that_sees_it(scene: Scene) -> None:
    scene.run()
    scene.clock.advance(DAY.total_seconds())
    scene.keys |= {"address": OTHER_ADDRESS, "deploy": []}
    before = lists(scene)
    assert [step.key for step in scene.look().decision.steps] == ["record"]
    assert scene.run().state == "ok"
    assert [record.value for record in scene.zone.held("A")] == [OTHER_ADDRESS]
    assert lists(scene) == before + 1


@pytest.mark.row(81)
def test_a_new_lan_address_does_not_wait_for_the_retry_time_of_the_one_before(scene: Scene) -> None:
    """As after a night without a network, behind another router."""
    for _ in range(6):
        scene.zone.fail("records", DnsUnavailable("no connection"))
    live(scene, 30)
    failure = scene.state.failures["record"]
    assert (failure.count, failure.address) == (6, ADDRESS)
    scene.remember()
    scene.keys |= {"address": OTHER_ADDRESS, "deploy": []}
    scene.remember()  # as if nobody had edited the file
    assert [step.key for step in scene.look().decision.due(scene.clock.now())] == ["record"]
    scene.zone.fail("records", DnsUnavailable("no connection"))
    scene.run()
    assert scene.state.failures["record"].count == 1
    assert scene.look().decision.due(scene.clock.now()) == ()


@pytest.mark.row(80)
def test_a_record_changed_by_hand_is_put_right_after_the_next_list(scene: Scene) -> None:
    scene.run()
    [record] = scene.zone.held("A")
    scene.zone.delete(record.record_id)
    scene.zone.put(Record(DOMAIN, "A", OTHER_ADDRESS, 600))
    live(scene, 12)
    assert [record.value for record in scene.zone.held("A")] == [ADDRESS]


@pytest.mark.row(80)
@pytest.mark.parametrize("count", [5, pytest.param(20, marks=pytest.mark.soak)])
def test_an_idle_hour_of_many_sites_costs_six_lists_each(scene: Scene, count: int) -> None:
    """And a look itself makes no call at all."""
    scene.domains = [f"box{number}.{ZONE}" for number in range(count)]
    scene.keys = {"deploy": []}
    for domain in scene.domains:
        saved = scene.publish(domain=domain)
        SiteFile(scene.state_dir, domain).save_pair(saved)
    scene.run_all()
    before = lists(scene)
    assert set(live(scene, 60)) == {"ok"}
    assert 5 * count <= lists(scene) - before <= 6 * count


@pytest.mark.row(80)
def test_where_port_53_is_free_a_day_costs_no_call(scene: Scene) -> None:
    scene.server.rcode = None
    scene.run()
    before = len(scene.zone.calls)
    assert set(live(scene, 120)) == {"ok"}
    assert len(scene.zone.calls) == before


def test_the_names_of_one_site_are_listed_by_turns(scene: Scene) -> None:
    """Each name has a list of its own; a site still costs one call in 10 minutes."""
    scene.keys = {"deploy": [], "names": [f"www.{DOMAIN}", f"api.{DOMAIN}"], "records": "all"}
    scene.publish()
    scene.run()
    scene.zone.calls.clear()
    live(scene, 60)
    names = {DOMAIN, f"www.{DOMAIN}", f"api.{DOMAIN}"}
    asked = [call.subject for call in scene.zone.calls if call.subject in names]
    assert len(asked) <= 6
    assert set(asked) == names


@pytest.mark.row(80)
def test_an_api_that_does_not_answer_makes_the_site_fail_after_half_an_hour(scene: Scene) -> None:
    """What was listed last is good for so long."""
    scene.run()
    for _ in range(200):
        scene.zone.fail("records", DnsUnavailable("the API does not answer"))
    assert set(live(scene, 28)) == {"ok"}
    states = live(scene, 10)
    assert states[-1] == "failing"
    assert "the API does not answer" in failed_with(scene.run())


@pytest.mark.row(80)
def test_what_was_listed_in_the_future_is_not_believed(scene: Scene) -> None:
    """The clock has gone back since."""
    listed = Listed(at=EPOCH + HOUR, values={"A": (ADDRESS,)})
    scene.remember(listed={DOMAIN: listed})
    assert [step.key for step in scene.look().decision.steps] == ["record"]


@pytest.mark.row(80, 81)
def test_the_plan_says_where_the_record_is_known_from(scene: Scene) -> None:
    scene.run()
    scene.clock.advance(180)
    seen = [scene.look()]
    assert plan_text.text_of(seen) == f"{DOMAIN}: nothing to do\n1 site, no changes"
    assert plan_text.warnings_of(seen) == [
        f"{DOMAIN}: no authoritative name server answers (REFUSED); the record is known from the API, as of"
        " 3 min ago"
    ]


def test_a_record_that_cannot_be_seen_from_here_is_not_logged_as_shown(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it waited for longer than it takes to find that out."""
    edges, config = scene.edges(), scene.config
    ctx = SiteContext(Goal(config.sites[0], config), edges, Intent())
    with caplog.at_level(logging.DEBUG):
        RecordSteps(ctx, DOMAIN, ADDRESS).confirm()
    assert "record.shown" not in caplog.text
    assert 30 <= scene.clock.monotonic() <= 36


@pytest.mark.row(41)
def test_a_validation_that_fails_in_a_dry_run_makes_the_next_wait_longer_too(scene: Scene) -> None:
    """At a CA without a staging directory, as with an order in earnest; one that goes well makes it 45 s."""
    with ScriptedCa(scene.zone) as ca:
        acme = (replace(scene.config.cas[0], directory=ca.directory),)
        config = replace(scene.config, acme=acme)
        ca.refused.add(DOMAIN)
        failures, waits = [], []
        for _ in range(3):
            began = scene.clock.now()
            [outcome] = run(config, config.sites, scene.edges(), Intent(only_rehearse=True))
            waits.append((scene.clock.now() - began).total_seconds())
            failures.append(scene.state.unseen_failures)
            if outcome.state == "failing":
                assert f"could not validate {DOMAIN}" in outcome.reason
            if len(failures) == 2:
                ca.refused.clear()
    assert failures == [1, 2, 0]
    assert waits == pytest.approx([45, 90, 180], abs=8)
