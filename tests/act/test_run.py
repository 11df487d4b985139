"""What a run makes of its sites: its steps in order, when it ends, and what it leaves alone."""

import json
import logging
import resource
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from support.children import DONE, run_in_child
from support.fakes import EPOCH, TlsServer
from support.files import opened_files
from support.scenes import (
    ADDRESS,
    DAY,
    DIRECTORY,
    DOMAIN,
    FAILURE,
    HOUR,
    ID,
    LONG_AGO,
    MINUTE,
    MIRROR_ID,
    NOTHING_ASKED,
    OTHER_DOMAIN,
    RENEW_NOW,
    SECOND,
    Scene,
    failed_with,
)

from certbotless.act.run import Outcome, run
from certbotless.base.errors import DnsRefused
from certbotless.config.addresses import AddressRule
from certbotless.model.decision import Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import WrittenRecord
from certbotless.model.records import Record
from certbotless.state.ledger_file import LedgerFile
from certbotless.world.containers import Container
from certbotless.world.dns.alidns_errors import RecordRefusal


@pytest.fixture
def two(scene: Scene) -> Scene:
    """Two sites that nobody serves, and that want no record; the first one has its certificate."""
    scene.domains, scene.keys = [DOMAIN, OTHER_DOMAIN], {"deploy": [], "address": "none"}
    scene.publish()
    return scene


# --- a run as a whole -------------------------------------------------------------------------------------


def test_a_site_whose_facts_are_true_is_left_alone(scene: Scene) -> None:
    scene.make_well()
    outcome = scene.run()
    assert outcome == Outcome(DOMAIN, "ok", "", is_renewed=False, failure=None)
    assert (scene.zone.calls, scene.engine.restarts) == ([], [])


def test_each_step_is_taken_and_the_site_is_ok_at_the_end(scene: Scene) -> None:
    """The record is added, the pair is put back from its copy, the container is restarted and proved."""
    pair = scene.publish()
    scene.remember()
    scene.file.save_pair(pair)
    scene.damage()
    assert scene.run().state == "ok"
    assert [record.value for record in scene.zone.held("A")] == [ADDRESS]
    assert scene.file.saved_pair() == pair
    assert (scene.certs_dir / f"{DOMAIN}.key").read_text() == pair.key
    assert scene.engine.restarts == [(ID, 10)]
    events = [json.loads(line) for line in (scene.state_dir / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == [
        "record.added",
        "files.restored",
        "container.restarted",
        "certificate.served",
    ]


def test_a_run_reads_the_state_of_its_site_once_and_checks_and_steps_have_it_in_hand(scene: Scene) -> None:
    """A record, an order that fails, and a service that does not show what is published."""
    scene.publish(age=HOUR, left=HOUR)
    scene.remember()
    with opened_files() as opened:
        outcome = scene.run()
    state = scene.state
    assert "no connection to the CA" in failed_with(outcome)
    assert (set(state.failures), set(state.records["A"]), set(state.acted)) == (
        {"order"},
        {DOMAIN},
        {"registry"},
    )
    assert scene.engine.restarts == [(ID, 10)]
    read = [path for path in opened if path == str(scene.state_dir / "sites" / f"{DOMAIN}.json")]
    assert len(read) == 1


def test_a_second_run_finds_nothing_to_do(scene: Scene) -> None:
    scene.publish()
    assert scene.run().state == "ok"
    calls, restarts = list(scene.zone.calls), list(scene.engine.restarts)
    assert scene.run().state == "ok"
    assert (scene.zone.calls, scene.engine.restarts) == (calls, restarts)


def test_where_the_copy_makes_no_sense_a_certificate_is_ordered_in_the_same_run(scene: Scene) -> None:
    scene.point()
    scene.remember()
    scene.file.save_pair(replace(scene.publish(), key="no key"))
    scene.damage()
    assert "no connection to the CA" in failed_with(scene.run())
    assert set(scene.state.failures) == {"order"}
    assert not scene.file.has_pair


@pytest.mark.row(142)
@pytest.mark.process
def test_a_run_of_many_sites_may_have_more_files_open_than_most_programs(scene: Scene) -> None:
    """200 sites at once, 64 of which ask six name servers that are silent, need 1,600 descriptors."""

    def run_with_few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 4096))
        assert run(scene.config, [], scene.edges(), Intent()) == []
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 2000

    assert run_in_child(run_with_few) == DONE


def test_every_site_is_told_of_and_none_holds_up_another(two: Scene) -> None:
    told: list[Outcome] = []
    config = two.config
    outcomes = run(config, config.sites, two.edges(), NOTHING_ASKED, told.append)
    assert [(outcome.domain, outcome.state) for outcome in outcomes] == [
        (DOMAIN, "ok"),
        (OTHER_DOMAIN, "failing"),
    ]
    assert sorted(told, key=lambda outcome: outcome.domain) == outcomes


def test_a_state_that_cannot_be_read_is_the_failure_of_its_site_alone(
    two: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    (two.state_dir / "sites" / f"{OTHER_DOMAIN}.json").mkdir(parents=True)
    well, ill = two.run_all()
    assert (well.domain, well.state) == (DOMAIN, "ok")
    assert (ill.domain, ill.state, ill.reason) == (OTHER_DOMAIN, "failing", failed_with(ill))
    assert f"{OTHER_DOMAIN}.json" in ill.reason
    assert [record.levelname for record in caplog.records if "site.failed" in record.message] == ["ERROR"]


def test_a_fault_of_the_program_at_one_site_is_no_matter_to_the_others(
    two: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """In its look, and before anything of it has begun."""
    two.keys_of = {OTHER_DOMAIN: {"deploy": [], "address": ADDRESS}}
    config, edges = two.config, two.edges()

    def crashing(rule: AddressRule) -> str:
        if rule == config.sites[1].address:
            raise ZeroDivisionError
        return ""

    class Incomparable(str):
        def __ne__(self, other: object) -> bool:
            raise ZeroDivisionError

    well, other = config.sites
    # The digest of a site is the first thing that a run makes of it.
    impossible = replace(config, sites=(well, replace(other, zone=Incomparable(other.zone))))
    for given, broken, event in (
        (config, replace(edges, address_of=crashing), "check.crashed"),
        (impossible, edges, "site.crashed"),
    ):
        caplog.clear()
        outcomes = run(given, given.sites, broken, NOTHING_ASKED)
        (ill,) = [outcome for outcome in outcomes if outcome.state == "failing"]
        assert failed_with(ill) == "internal error: ZeroDivisionError"
        told = f"{event} domain={OTHER_DOMAIN}"
        crashed = [record for record in caplog.records if record.message.startswith(told)]
        assert [record.exc_info is not None for record in crashed] == [True]
        assert len(outcomes) == 2


def test_a_ledger_that_cannot_be_read_keeps_orders_from_being_placed_and_nothing_else(scene: Scene) -> None:
    """The record is written, the service restarted; an order waits, forced or not, and says for what."""
    scene.publish()
    ledger = scene.state_dir / "ledger.jsonl"
    ledger.mkdir(parents=True)
    assert scene.run().state == "ok"
    assert (scene.writes, scene.engine.restarts) == (["add"], [(ID, 10)])
    for intent in (RENEW_NOW, replace(RENEW_NOW, ignore_backoff=True, ignore_ledger=True)):
        outcome = scene.run(intent)
        assert outcome.state == "failing"
        assert str(ledger) in outcome.reason
        assert not scene.asked_the_ca
    ledger.rmdir()
    scene.run(RENEW_NOW)
    assert scene.asked_the_ca


def test_no_container_is_waited_for_by_a_site_that_wants_to_talk(scene: Scene) -> None:
    """Slots are for the CA and the API: both containers restart at once though one site talks at a time."""
    scene.domains, scene.settings = [DOMAIN, OTHER_DOMAIN], {"parallel": 1}
    scene.engine.put(Container(MIRROR_ID, "mirror", "running", (scene.tls.port,), LONG_AGO))
    with TlsServer() as mirror:
        servers = {DOMAIN: ("registry", scene.tls), OTHER_DOMAIN: ("mirror", mirror)}
        scene.keys_of = {
            domain: {"deploy": [{"container": name, "port": server.port}]}
            for domain, (name, server) in servers.items()
        }
        for domain in servers:
            scene.point(domain)
            scene.publish(domain=domain)
        both_restart = threading.Barrier(2, timeout=60)

        def come_up(container: Container) -> None:
            both_restart.wait()
            for domain, (name, server) in servers.items():
                if name == container.name:
                    server.load(scene.certs_dir / f"{domain}.pem", scene.certs_dir / f"{domain}.key")

        scene.engine.on_restart = come_up
        assert [outcome.state for outcome in scene.run_all()] == ["ok", "ok"]


# --- asked to stop ----------------------------------------------------------------------------------------


def test_nothing_begins_once_the_clock_is_stopped(scene: Scene) -> None:
    """No call, no order, no restart; and nothing failed."""
    scene.clock.stop()
    outcome = scene.run()
    assert outcome == Outcome(DOMAIN, "pending", "asked to stop", is_renewed=False, failure=None)
    assert (scene.zone.calls, scene.engine.restarts, scene.state.failures) == ([], [], {})
    assert not scene.asked_the_ca
    assert LedgerFile(scene.state_dir).entries() == []


@pytest.mark.parametrize("is_pointed", [False, True], ids=["a record is due", "a restart is due"])
def test_nothing_is_changed_once_the_clock_is_stopped_during_a_look(scene: Scene, is_pointed: bool) -> None:
    scene.publish()
    if is_pointed:
        scene.point()
    scene.server.on_query = scene.clock.stop
    assert scene.run().reason == "asked to stop"
    assert (scene.writes, scene.engine.restarts, scene.state.failures) == ([], [], {})


@pytest.mark.row(5)
def test_a_stop_during_one_restart_keeps_the_next_one_from_beginning(unserved: Scene) -> None:
    unserved.engine.put(Container(MIRROR_ID, "mirror", "running", (unserved.tls.port,), LONG_AGO))
    unserved.keys["deploy"].append({"container": "mirror", "port": unserved.tls.port})
    unserved.engine.on_restart = lambda _: unserved.clock.stop()
    assert unserved.run().reason == "asked to stop"
    assert [container_id for container_id, _ in unserved.engine.restarts] == [ID]
    assert unserved.state.failures == {}


# --- the record -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intent", [NOTHING_ASKED, replace(RENEW_NOW, ignore_backoff=True)])
@pytest.mark.parametrize(
    ("stray", "refusal"),
    [
        (("A 203.0.112.9", f"A {ADDRESS}"), None),
        (("A 8.8.8.8", "A 10.0.0.5"), None),
        (("CNAME elsewhere.test",), None),
        (("A 10.0.0.5",), RecordRefusal("locked", code="DomainRecordLocked")),
    ],
)
def test_a_record_that_a_person_must_see_to_keeps_no_order_from_being_placed(
    scene: Scene, stray: tuple[str, ...], refusal: DnsRefused | None, intent: Intent
) -> None:
    """Not by a timer, whose back-off is over at each run, and not by `--renew-now`."""
    for type_, value in (record.split(" ") for record in stray):
        scene.zone.put(Record(DOMAIN, type_, value, 600))
    if refusal:
        scene.zone.fail("update", refusal)
    scene.publish(left=20 * HOUR)
    scene.start()
    assert scene.run(intent).state == "failing"
    assert set(scene.state.failures) == {"record", "order"}
    assert scene.asked_the_ca


def test_a_record_that_was_written_is_waited_for_and_then_known_as_seen(unpointed: Scene) -> None:
    """One write, however long the name server needs."""
    unpointed.server.shows = lambda: []

    def spread() -> None:
        if unpointed.clock.now() >= EPOCH + 5 * MINUTE:
            unpointed.server.shows = unpointed.zone.held

    unpointed.clock.on_sleep = spread
    assert unpointed.run().state == "ok"
    assert unpointed.writes == ["add"]
    assert unpointed.state.records["A"] == {
        DOMAIN: WrittenRecord(value=ADDRESS, ttl_s=600, at=EPOCH, is_seen=True)
    }


def test_a_record_that_does_not_show_in_time_fails(unpointed: Scene) -> None:
    """That it was waited for in vain is told, not only that it is wrong."""
    unpointed.server.shows = lambda: []
    outcome = unpointed.run()
    assert outcome.state == "failing"
    assert "does not show" in failed_with(outcome)
    assert unpointed.writes == ["add"]
    assert not unpointed.state.records["A"][DOMAIN].is_seen


# --- the container ----------------------------------------------------------------------------------------


def test_a_container_that_its_admin_stopped_is_waited_for(
    unserved: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """Pending, not failing, and nothing that a human must look at."""
    unserved.put_container(status="exited")
    outcome = unserved.run()
    assert (outcome.state, outcome.is_renewed, outcome.failure) == ("pending", False, None)
    assert "the container 'registry' is exited; certbotless does not start it" in outcome.reason
    assert unserved.engine.restarts == []
    assert unserved.state.failures["deploy:registry"].is_waiting
    assert all(record.levelno < logging.ERROR for record in caplog.records)


# --- whether it was renewed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("age", "intent", "is_renewed", "is_ordered"),
    [
        (SECOND, RENEW_NOW, True, False),
        (HOUR, RENEW_NOW, False, True),
        (-HOUR, RENEW_NOW, False, True),
        (SECOND, NOTHING_ASKED, False, False),
    ],
    ids=["by another command", "before it began", "by a clock that was ahead", "no moment is given"],
)
def test_a_certificate_issued_since_the_command_began_is_a_renewal(
    scene: Scene, age: timedelta, intent: Intent, is_renewed: bool, is_ordered: bool
) -> None:
    """What another command has just made, for which this one waited, needs no second order."""
    scene.make_well(age=age)
    outcome = scene.run(intent)
    assert (outcome.state, outcome.is_renewed) == ("failing" if is_ordered else "ok", is_renewed)
    assert scene.asked_the_ca == is_ordered
    if is_ordered:
        assert "no connection to the CA" in failed_with(outcome)


@pytest.mark.parametrize("is_deployed", [True, False])
def test_a_fresh_certificate_on_disk_is_a_renewal_where_nobody_serves(
    scene: Scene, is_deployed: bool
) -> None:
    scene.publish(age=SECOND)
    scene.point()
    if is_deployed:
        scene.put_container(status="exited")
    else:
        scene.keys["deploy"] = []
    assert scene.run(RENEW_NOW).is_renewed is not is_deployed


# --- the ledger -------------------------------------------------------------------------------------------


@pytest.fixture
def limited(scene: Scene) -> Scene:
    """A site that needs a certificate, for which three orders were placed within the last hours."""
    scene.point()
    scene.keys["deploy"] = []
    for hours in (1, 2, 3):
        LedgerFile(scene.state_dir).append(Entry(EPOCH - hours * HOUR, "order", DIRECTORY, (DOMAIN,)))
    return scene


def test_an_order_beyond_our_own_limit_waits_and_says_until_when(limited: Scene) -> None:
    """Who lifts the limit is not held by it."""
    outcome = limited.run()
    assert (outcome.state, outcome.failure) == ("pending", None)
    assert outcome.reason.startswith("order not before 2026-12-01T02:30:00Z: 3 orders for these names")
    assert not limited.asked_the_ca
    assert "no connection to the CA" in failed_with(limited.run(Intent(ignore_ledger=True)))


def test_a_command_that_is_held_by_our_own_limit_says_so_and_not_what_failed_before(limited: Scene) -> None:
    """And whoever asks how it stands is told of the limit's time, which is the later one."""
    limited.remember(failures={"order": FAILURE})
    outcome = limited.run(Intent(EPOCH, ignore_backoff=True))
    assert (outcome.state, outcome.failure) == ("failing", None)
    assert outcome.reason.startswith("order not before 2026-12-01T02:30:00Z: 3 orders for these names")
    told = limited.run().failure
    assert told is not None
    assert (told.what, told.retry_at) == (FAILURE.what, EPOCH + 7 * DAY - 3 * HOUR)
    assert limited.state.failures == {"order": FAILURE}
