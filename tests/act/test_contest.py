"""Two programs keep one A record: it is put right three times a day, and then the site fails."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from support.fakes import FakeClock, FakeZone, TlsServer, ZoneServer
from support.scenes import DAY, DOMAIN, HOUR, ZONE, Scene, failed_with

from certbotless.act.contest import MOST
from certbotless.act.run import Outcome
from certbotless.base.errors import DnsUnavailable
from certbotless.model.decision import Intent
from certbotless.model.records import Record

HERE, THERE, MOVED = "10.79.40.5", "10.79.40.6", "10.79.40.7"
MINUTE = 60


@pytest.fixture
def zone() -> FakeZone:
    return FakeZone(ZONE)


@pytest.fixture
def hosts(tmp_path: Path, zone: FakeZone) -> Iterator[tuple[Scene, Scene]]:
    """Two machines with the same site, each with its own address, certificate and state; nobody serves."""
    clock = FakeClock()
    with ZoneServer(zone) as server, TlsServer() as tls:
        hosts = []
        for name, address in (("a", HERE), ("b", THERE)):
            scene = Scene(tmp_path / name, zone, server, tls, clock)
            scene.keys = {"deploy": [], "address": address}
            scene.publish(left=89 * DAY)
            hosts.append(scene)
        yield hosts[0], hosts[1]


def writes(zone: FakeZone) -> list[str]:
    """Return each value that was written, in order."""
    return [
        call.subject.value
        for call in zone.calls
        if call.method in ("add", "update") and isinstance(call.subject, Record)
    ]


def by_hand(scene: Scene, value: str) -> None:
    """Let a DDNS client change the record."""
    [record] = scene.zone.held("A")
    scene.zone.put(replace(record, value=value))


def set_back(scene: Scene) -> Outcome:
    """Change the record by hand, and let the run see to it."""
    by_hand(scene, THERE)
    scene.clock.advance(MINUTE)
    return scene.run()


@pytest.fixture
def fought(hosts: tuple[Scene, Scene]) -> Scene:
    """A machine whose record was set back as often as it will be."""
    scene, _ = hosts
    scene.run()
    for _ in range(MOST):
        assert set_back(scene).state == "ok"
    return scene


@pytest.mark.long
def test_two_machines_that_keep_one_record_stop_after_three_times_and_fail(
    hosts: tuple[Scene, Scene], zone: FakeZone
) -> None:
    """For two days, looked at every 10 minutes: each writes it as often as it may."""
    told: list[Outcome] = []
    for _ in range(2 * 24 * 6):
        told += [scene.run() for scene in hosts]
        hosts[0].clock.advance(10 * MINUTE)
    each = 1 + 2 * MOST
    assert len(writes(zone)) <= 2 * each, writes(zone)
    assert "failing" in {outcome.state for outcome in told[-2:]}
    failed = next(outcome for outcome in told if outcome.state == "failing")
    assert failed.failure is not None
    assert repr(DOMAIN) in failed.failure.what
    assert "another machine or a DDNS client" in failed.failure.hint


def test_after_three_times_in_a_day_it_stays_as_others_have_it(fought: Scene) -> None:
    """With one list of the API for each time that it may be tried again."""
    calls = len(fought.zone.calls)
    outcome = set_back(fought)
    assert (outcome.state, fought.zone.held("A")[0].value) == ("failing", THERE)
    assert outcome.failure is not None
    assert outcome.failure.what == (
        f"the A record of {DOMAIN!r} is {THERE!r} again: certbotless had set it to {HERE!r}"
        " 3 times within a day"
    )
    assert outcome.failure.retry_at - fought.clock.now() > timedelta(hours=23)
    for _ in range(60):
        fought.clock.advance(MINUTE)
        fought.run()
    assert [call.method for call in fought.zone.calls[calls:]] == ["records"]


def test_when_the_first_time_is_a_day_old_it_is_set_back_once_more(fought: Scene) -> None:
    set_back(fought)
    fought.wait_for_retry("record")
    assert fought.run().state == "ok"
    assert fought.zone.held("A")[0].value == HERE


@pytest.mark.parametrize(
    ("ttl", "intent"), [(900, Intent()), (600, Intent(ignore_backoff=True))], ids=["edits", "asks for it"]
)
def test_a_person_lifts_it(fought: Scene, ttl: int, intent: Intent) -> None:
    assert set_back(fought).state == "failing"
    fought.keys["ttl"] = ttl
    assert fought.run(intent).state == "ok"
    assert fought.zone.held("A")[0].value == HERE


def test_another_address_of_this_machine_is_written_at_once(fought: Scene) -> None:
    """A literal one that is edited lifts it anyway; so the machine moves, as with `auto`."""
    assert set_back(fought).state == "failing"
    fought.keys["address"] = MOVED
    fought.remember()  # as if nobody had edited the file
    assert fought.run().state == "ok"
    assert fought.zone.held("A")[0].value == MOVED


def test_a_record_that_is_deleted_again_and_again_counts_too(hosts: tuple[Scene, Scene]) -> None:
    scene, _ = hosts
    scene.run()
    for _ in range(MOST + 1):
        [record] = scene.zone.held("A")
        scene.zone.delete(record.record_id)
        scene.clock.advance(MINUTE)
        outcome = scene.run()
    assert outcome.failure is not None
    assert "is gone again" in outcome.failure.what


def test_what_this_machine_changes_itself_is_no_fight(hosts: tuple[Scene, Scene]) -> None:
    """Its address to and fro, and the TTL."""
    scene, _ = hosts
    for number in range(8):
        scene.keys |= {"address": (HERE, MOVED)[number % 2], "ttl": 600 + number // 4}
        assert scene.run().state == "ok"
        scene.clock.advance(MINUTE)
    assert scene.state.rewritten == {}


def test_what_the_api_did_not_take_was_not_set_back(hosts: tuple[Scene, Scene], zone: FakeZone) -> None:
    """A record that was changed by hand, once, and an API that is busy: no fight."""
    scene, _ = hosts
    scene.run()
    by_hand(scene, THERE)
    for _ in range(MOST + 1):
        zone.fail("update", DnsUnavailable("busy"))
        scene.clock.advance(HOUR.total_seconds())
        assert failed_with(scene.run()) == "busy"
    scene.wait_for_retry("record")
    assert scene.run().state == "ok"
    assert scene.zone.held("A")[0].value == HERE
