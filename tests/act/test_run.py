"""What a run makes of its sites: its steps in order, what it remembers of failures, what it leaves alone."""

import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
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
    ZONE,
    Scene,
    failed_with,
)

from certbotless.act.run import Outcome, run
from certbotless.base.errors import DnsError, DnsRefused, DnsUnavailable
from certbotless.config.addresses import AddressRule
from certbotless.model.decision import Intent
from certbotless.model.ledger import Entry
from certbotless.model.memory import Foreign, WrittenRecord
from certbotless.model.records import Record, Zone
from certbotless.state.ledger_file import LedgerFile
from certbotless.world.containers import Container, DockerContainers
from certbotless.world.dns.alidns_errors import RecordRefusal
from certbotless.world.dns.nameservers import NameServers
from certbotless.world.dns.query import Server


@pytest.fixture
def unserved(scene: Scene) -> Scene:
    """A site whose certificate is published, and its record right; its container does not serve yet."""
    scene.publish()
    scene.point()
    return scene


@pytest.fixture
def unpointed(scene: Scene) -> Scene:
    """A site whose certificate is published and served; its record is missing."""
    scene.publish()
    scene.start()
    return scene


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


# --- the files --------------------------------------------------------------------------------------------


def overwrite(scene: Scene) -> None:
    """Let another program write its own key where ours is."""
    path = scene.certs_dir / f"{DOMAIN}.key"
    path.unlink(missing_ok=True)
    path.write_text("of another tool")


def edit(scene: Scene) -> None:
    """Let somebody edit the published pair itself."""
    (scene.certs_dir / f"{DOMAIN}.pem").resolve().write_text("edited")


@pytest.mark.parametrize("write", [overwrite, edit])
def test_a_second_writer_is_given_way_to_after_three_times_a_day(
    scene: Scene, write: Callable[[Scene], None]
) -> None:
    """It is told of with a hint; nothing is ordered, nothing restarted, and a day later it is tried again."""
    scene.remember()
    scene.point()
    scene.file.save_pair(scene.publish())
    scene.start()
    for _ in range(3):
        write(scene)
        assert scene.run().state == "ok"
        scene.clock.advance(HOUR.total_seconds())
    restarts = list(scene.engine.restarts)
    write(scene)
    outcome = scene.run()
    assert outcome.state == "failing"
    assert "again: certbotless restored it 3 times within a day" in failed_with(outcome)
    failure = scene.state.failures["restore"]
    assert "find the program that writes there" in failure.hint
    assert failure.retry_at == EPOCH + DAY
    assert scene.run().state == "failing"
    assert (scene.engine.restarts, scene.asked_the_ca) == (restarts, False)
    scene.wait_for_retry("restore")
    assert scene.run().state == "ok"
    assert scene.state.failures == {}


@pytest.mark.parametrize("is_edited", [True, False], ids=["an edit of the file", "a command"])
def test_a_person_lets_a_second_writer_be_replaced_at_once(scene: Scene, is_edited: bool) -> None:
    scene.make_well()
    scene.remember(restored=(EPOCH, EPOCH, EPOCH))
    overwrite(scene)
    assert scene.run().state == "failing"
    scene.keys["ttl"] = 700 if is_edited else 600
    outcome = scene.run(NOTHING_ASKED if is_edited else replace(RENEW_NOW, ignore_backoff=True))
    assert (scene.certs_dir / f"{DOMAIN}.key").is_symlink()
    assert (outcome.state == "ok") == is_edited


def test_what_is_merely_gone_is_put_back_each_time(scene: Scene) -> None:
    """There is nobody to fight with, and a folder that is empty after each reboot must be filled."""
    scene.make_well()
    scene.remember()
    for _ in range(5):
        (scene.certs_dir / f"{DOMAIN}.key").unlink()
        assert scene.run().state == "ok"
    assert scene.state.restored == ()


def test_a_run_begins_with_what_a_killed_one_has_left(scene: Scene) -> None:
    scene.make_well()
    scene.remember()
    scene.file.save_order_key(b"key")
    left = [
        scene.state_dir / "sites" / f".{DOMAIN}.json.0123456789abcdef",
        scene.certs_dir / f".{DOMAIN}.pem.0123456789abcdef",
        scene.certs_dir / ".certbotless" / DOMAIN / ".current.trial.0123456789abcdef",
    ]
    for path in left:
        path.write_bytes(b"left")
    half = scene.certs_dir / ".certbotless" / DOMAIN / "20261124T053000Z-01234567"
    half.mkdir()
    (half / "privkey.pem").write_bytes(b"left")
    assert scene.run().state == "ok"
    assert [path for path in (*left, half) if path.exists()] == []
    assert scene.file.order_key() is None


# --- the mode of the key ----------------------------------------------------------------------------------


def mode_of_key(scene: Scene) -> str:
    return oct((scene.certs_dir / f"{DOMAIN}.key").stat().st_mode & 0o7777)


def test_an_edit_of_key_mode_takes_effect_by_itself(scene: Scene) -> None:
    """Of the key that is there already: no certificate is published, restarted or ordered for it."""
    scene.make_well()
    scene.run()
    before, done = scene.published.generation, len(scene.engine.restarts)
    for mode in ("0640", "0600"):
        scene.settings = {"key_mode": mode}
        assert scene.run().state == "ok"
        assert mode_of_key(scene) == f"0o{mode[1:]}"
    assert (scene.published.generation, len(scene.engine.restarts)) == (before, done)
    assert scene.state.restored == ()
    assert not scene.asked_the_ca


def test_a_key_whose_mode_cannot_be_set_is_reported_and_still_served(scene: Scene) -> None:
    """One with a second name is not ours alone."""
    scene.make_well()
    scene.run()
    (scene.certs_dir / "second").hardlink_to((scene.certs_dir / f"{DOMAIN}.key").resolve())
    scene.settings = {"key_mode": "0640"}
    outcome = scene.run()
    assert outcome.state == "failing"
    assert "this user may not set its mode" in failed_with(outcome)
    assert mode_of_key(scene) == "0o600"
    assert not [step for step in scene.state.failures if step.startswith("deploy")]


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


# --- what failed ------------------------------------------------------------------------------------------


class _BrokenAccount:
    """A DNS account whose library has a bug."""

    def find(self, fqdn: str) -> str:
        raise ZeroDivisionError

    def open(self, name: str) -> Zone:
        raise ZeroDivisionError

    def prove(self, zones: Iterable[str]) -> None:
        raise ZeroDivisionError


def test_a_step_that_crashes_is_a_failure_and_the_other_steps_go_on(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    """What it was is in the log, with its traceback; the container is restarted all the same."""
    scene.publish()
    scene.zones = lambda _: _BrokenAccount()
    outcome = scene.run()
    failure = scene.state.failures["record"]
    assert (outcome.state, outcome.failure) == ("failing", failure)
    assert failure.what == "internal error: ZeroDivisionError"
    assert "report it" in failure.hint
    assert (failure.retry_at - failure.at, failure.count) == (MINUTE, 1)
    assert [container_id for container_id, _ in scene.engine.restarts] == [ID]
    (crash,) = [record.exc_info for record in caplog.records if record.exc_info]
    assert crash[0] is ZeroDivisionError


@pytest.mark.parametrize("is_forced", [False, True])
def test_a_step_that_failed_is_not_tried_again_before_its_time_but_by_a_command(
    unpointed: Scene, is_forced: bool
) -> None:
    unpointed.zone.fail("records", DnsUnavailable("busy"))
    unpointed.run()
    calls = list(unpointed.zone.calls)
    outcome = unpointed.run()
    assert unpointed.zone.calls == calls
    assert (outcome.state, outcome.failure) == ("failing", unpointed.state.failures["record"])
    assert outcome.reason == "record not before 2026-11-24T05:31:00Z: busy"
    if not is_forced:
        unpointed.wait_for_retry("record")
    assert unpointed.run(Intent(ignore_backoff=is_forced)).state == "ok"
    assert unpointed.state.failures == {}


@pytest.mark.parametrize(
    ("fault", "is_ordered"), [(DnsRefused("forbidden", hint="ask"), False), (DnsUnavailable("busy"), True)]
)
def test_no_order_is_tried_where_the_record_is_refused(
    scene: Scene, fault: DnsError, is_ordered: bool
) -> None:
    """Whoever may not write the one may not write the other; a record that may yet be written holds none."""
    scene.zone.fail("add", fault)
    scene.run()
    failures = scene.state.failures
    assert failures["record"].what == fault.message
    assert set(failures) == ({"record", "order"} if is_ordered else {"record"})
    assert scene.asked_the_ca == is_ordered


def test_a_zone_that_was_found_and_is_gone_is_looked_for_again(unpointed: Scene) -> None:
    """A zone of its own has become a part of its parent. One that the file names is a person's to correct."""
    unpointed.keys["zone"] = None
    unpointed.remember(zone=DOMAIN, alias_zones={f"x.{DOMAIN}": DOMAIN})
    assert f"no zone {DOMAIN!r}" in failed_with(unpointed.run())
    assert (unpointed.state.zone, unpointed.state.alias_zones) == ("", {})
    unpointed.wait_for_retry("record")
    assert unpointed.run().state == "ok"
    assert unpointed.state.zone == ZONE


class NobodyNames(NameServers):
    """No resolver names the servers of a zone that is no more."""

    @property
    def need_zone(self) -> bool:
        return True

    def of(self, zone: str) -> tuple[Server, ...]:
        if zone != ZONE:
            raise DnsUnavailable(f"no resolver names the authoritative servers of {zone!r}")
        return super().of(zone)


@pytest.mark.process
def test_a_gone_zone_whose_servers_no_resolver_names_is_looked_for_again(unpointed: Scene) -> None:
    """Then nothing is shown of the record: the API is asked, and has not the zone."""
    unpointed.keys["zone"] = None
    unpointed.remember(zone=DOMAIN)
    servers = NobodyNames([unpointed.server.place], unpointed.clock)
    outcomes: list[str] = []
    for _ in range(2):
        config = unpointed.config
        [outcome] = run(config, config.sites, replace(unpointed.edges(), servers=servers), NOTHING_ASKED)
        outcomes.append(outcome.state)
        unpointed.clock.advance(HOUR.total_seconds())
    assert outcomes == ["failing", "ok"]
    assert unpointed.state.zone == ZONE


def test_the_wait_that_the_service_asks_for_is_the_least(unpointed: Scene) -> None:
    unpointed.zone.fail("records", DnsUnavailable("busy", retry_after=HOUR))
    unpointed.run()
    failure = unpointed.state.failures["record"]
    assert failure.retry_at - failure.at == HOUR
    assert failure.limited_until is None


def test_the_wait_of_an_order_grows_as_the_ca_wants_it(scene: Scene) -> None:
    """1, 10, 100 minutes, and at most a quarter more."""
    scene.point()
    scene.keys["deploy"] = []
    for count, least in enumerate([MINUTE, 10 * MINUTE, 100 * MINUTE], 1):
        scene.run()
        failure = scene.wait_for_retry("order")
        assert failure.count == count
        assert least <= failure.retry_at - failure.at <= least * 5 / 4


def test_what_keeps_an_order_from_being_placed_here_is_tried_again_soon(scene: Scene) -> None:
    """A name that cannot be published, so no CA was asked."""
    scene.point()
    (scene.certs_dir / f"{DOMAIN}.pem").mkdir(parents=True)
    for minutes in (1, 2):
        assert "is a directory" in failed_with(scene.run())
        failure = scene.wait_for_retry("order")
        assert failure.retry_at - failure.at == minutes * MINUTE
    assert not scene.asked_the_ca


def test_an_absent_container_that_keeps_an_order_from_being_placed_is_told_as_its_own(scene: Scene) -> None:
    scene.engine.remove("registry")
    assert failed_with(scene.run()) == "there is no container 'registry'"
    assert [record.value for record in scene.zone.held("A")] == [ADDRESS]  # that does not wait for it
    failures = scene.state.failures
    assert set(failures) == {"order", "deploy:registry"}
    assert failures["order"] == failures["deploy:registry"]
    assert not scene.asked_the_ca


def test_an_engine_that_is_not_there_is_told_of_no_container_without_a_name(scene: Scene) -> None:
    scene.point()
    scene.containers = DockerContainers("unix:///nowhere/docker.sock")
    assert "no Docker engine" in failed_with(scene.run())
    assert set(scene.state.failures) <= {"order", "deploy:registry"}
    assert not scene.asked_the_ca


def test_a_failure_is_forgotten_when_its_fact_came_true_by_itself(scene: Scene) -> None:
    scene.make_well()
    scene.remember(failures=dict.fromkeys(("record", "restore", "deploy:registry"), FAILURE))
    assert scene.run() == Outcome(DOMAIN, "ok", "", is_renewed=False, failure=None)
    assert scene.state.failures == {}


def test_a_failed_order_is_remembered_until_one_succeeds(scene: Scene) -> None:
    """All is well, and the certificate that was asked for in vain is told of all the same."""
    scene.make_well()
    scene.remember(failures={"order": FAILURE})
    outcome = scene.run()
    assert outcome.state == "ok"
    assert outcome.failure == scene.state.failures["order"] == FAILURE


def test_a_failure_counts_only_for_the_configuration_that_it_happened_with(unserved: Scene) -> None:
    """After an edit everything is tried at once."""
    unserved.remember(failures={"deploy:registry": FAILURE})
    assert unserved.run().state == "failing"
    assert unserved.engine.restarts == []
    unserved.keys["deploy"][0]["stop_timeout"] = "3s"
    assert unserved.run().state == "ok"
    assert unserved.engine.restarts == [(ID, 3)]
    assert unserved.state.failures == {}


TOKENS = 8


def token_of(scene: Scene) -> Path:
    """Let the key be a temporary one, and return the file of its token."""
    token = scene.state_dir.parent / "token"
    token.write_text("the first one")
    keys = {"access_key_id": "id", "access_key_secret": "secret", "security_token": f"file:{token}"}
    scene.settings = {"aliyun": keys}
    return token


def rotate(scene: Scene) -> Iterator[int]:
    """Let the key be a temporary one, and yield once for each token, a quarter of an hour apart."""
    token = token_of(scene)
    for number in range(TOKENS):
        token.write_text(str(number))
        yield number
        scene.clock.advance(15 * 60)


def test_a_temporary_key_restarts_no_container_that_restarts_do_not_cure(scene: Scene) -> None:
    """As one that mounts the two files: twice, however often the token is another one."""
    scene.make_well()
    scene.publish()
    scene.engine.on_restart = lambda _: None
    for _ in rotate(scene):
        for _ in range(3):
            scene.run()
            scene.clock.advance(60)
    assert len(scene.engine.restarts) == 2
    scene.keys["deploy"][0]["stop_timeout"] = "3s"
    scene.run()
    assert len(scene.engine.restarts) == 3


def test_a_temporary_key_gives_a_refused_certificate_no_further_try(scene: Scene) -> None:
    """1, 10, 100 minutes: within two hours four tries, each of which restarts twice."""
    rotation = rotate(scene)
    next(rotation)
    scene.make_well()
    scene.publish()
    scene.refuse(scene.published)
    for _ in rotation:
        for _ in range(3):
            scene.run()
            scene.clock.advance(60)
    assert scene.state.failures["redeploy"].count in (3, 4)
    assert len(scene.engine.restarts) == 2 * scene.state.failures["redeploy"].count


def test_a_temporary_key_asks_no_ca_before_its_time(scene: Scene) -> None:
    """Nor does it forget how often another program has written our files, or what it has put there."""
    rotation = rotate(scene)
    next(rotation)
    scene.point()
    scene.keys["deploy"] = []
    limited = replace(FAILURE, retry_at=EPOCH + 34 * HOUR, limited_until=EPOCH + 34 * HOUR)
    foreign = Foreign(files="1:2:3", why="it is self-signed")
    kept = {"failures": {"order": limited}, "restored": (EPOCH,), "foreign": foreign}
    scene.remember(**kept)
    for _ in rotation:
        scene.run()
        assert {field: getattr(scene.state, field) for field in kept} == kept
    assert not scene.asked_the_ca


@pytest.mark.row(27)
@pytest.mark.parametrize(
    ("refusal", "is_cured"), [(DnsRefused("the key may not"), True), (DnsUnavailable("busy"), False)]
)
def test_another_secret_gives_another_try_to_what_a_secret_can_cure(
    scene: Scene, refusal: DnsError, is_cured: bool
) -> None:
    """At once; and to nothing else."""
    token = token_of(scene)
    scene.publish()
    scene.start()
    scene.zone.fail("records", refusal)
    for _ in range(2):
        assert scene.run().state == "failing"
    token.write_text("right")
    assert (scene.run().state == "ok") == is_cured


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
